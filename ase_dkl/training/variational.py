"""The stochastic bound as in the bare method: q(u) by GPyTorch's variational strategy, with Adam along with the rest.

Source: Hensman, Fusi & Lawrence, UAI 2013; derivative observations: Padidar et al., NeurIPS 2021.
"""

from __future__ import annotations

from typing import Any

import gpytorch
import torch
from gpytorch.distributions import MultivariateNormal
from gpytorch.variational import CholeskyVariationalDistribution, VariationalStrategy
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor, nn

from ase_dkl.model.kernel import covariances, covariances_row_by_row, functional_rows
from ase_dkl.model.posterior import Posterior
from ase_dkl.training.gp import JITTER, Observations, SparseGP


class _ValueInducingStrategy(VariationalStrategy):  # type: ignore[misc]
    """Inducing variables are function values, whatever the observations are."""

    def forward(self, x: Tensor, inducing_points: Tensor, *args: Any, **kwargs: Any) -> MultivariateNormal:
        return super().forward(x, functional_rows(inducing_points), *args, **kwargs)


class RadialKernel(gpytorch.kernels.Kernel):  # type: ignore[misc]
    """s² κ(|ψ − ψ'| / ℓ) of a process between rows [ψ, v, w], for GPyTorch."""

    def __init__(self, gp: SparseGP) -> None:
        super().__init__(batch_shape=gp.log_lengthscale.shape[:-2])
        self.gp = gp

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        """Covariances, shape (K, n, m), or (K, n) of x1's rows with the same rows of x2 (``diag=True``)."""
        f = (x1.shape[-1] - 1) // 2
        inverse = torch.exp(-self.gp.log_lengthscale)
        x1, x2 = (torch.cat([x[..., : 2 * f] * inverse, x[..., 2 * f :]], dim=-1) for x in (x1, x2))
        variance = torch.exp(2 * self.gp.log_scale)
        if diag:
            return variance.squeeze(-1) * covariances_row_by_row(self.gp.kernel, x1, x2)
        return variance * covariances(self.gp.kernel, x1, x2)


class VariationalGP(gpytorch.models.ApproximateGP):  # type: ignore[misc]
    """A sparse process whose q(u) and mean are trained by whatever optimiser trains the rest.

    Args:
        gp: gives kernel, noise and the first inducing points; its inducing points are trained in place.
        mean: the first coefficients of the mean's basis functions, shape (P,).
    """

    def __init__(self, gp: SparseGP, mean: Tensor) -> None:
        networks, n_inducing = gp.inducing_points.shape[:2]
        q = CholeskyVariationalDistribution(n_inducing, batch_shape=torch.Size([networks]))
        super().__init__(_ValueInducingStrategy(self, gp.inducing_points.detach(), q, jitter_val=JITTER))
        self.gp = gp
        self._q = q
        self._kernel = RadialKernel(gp)
        gp.inducing_points = self.variational_strategy.inducing_points
        self.mean = nn.Parameter(mean.expand(networks, -1).clone())
        self.double()

    def forward(self, rows: Tensor) -> MultivariateNormal:
        """The prior of the functionals in the rows, less their mean."""
        return MultivariateNormal(torch.zeros(rows.shape[:-1], dtype=rows.dtype), self._kernel(rows))

    def bound(self, observations: Observations, labels: Tensor, share: float) -> Tensor:
        """As `NaturalVariational.bound`."""
        try:
            q = self(observations.functionals())
        except (NanError, NotPSDError) as error:
            raise torch.linalg.LinAlgError(str(error)) from error  # type: ignore[attr-defined]
        noise = self.gp.noise(observations)
        residual = labels - (observations.basis @ self.mean.unsqueeze(2)).squeeze(2) - q.mean
        expected = -0.5 * (torch.log(2 * torch.pi * noise) + (residual**2 + q.variance) / noise)
        bound: Tensor = expected.sum(1) / share - self.variational_strategy.kl_divergence()
        return bound

    def own_parameters(self) -> list[nn.Parameter]:
        """The parameters of q(u) and the mean."""
        return [self.mean, *self._q.parameters()]

    @torch.no_grad()
    def posterior(self) -> Posterior:
        """The posterior under q(u) as it was trained, with the mean's coefficients as they are."""
        q = self.variational_strategy.variational_distribution
        whitening = torch.linalg.inv(self.gp.chol_inducing()).mT
        # Whitened: u = L v, so k_Zᵀ K_ZZ⁻¹ u = (L⁻ᵀ v)ᵀ k_Z
        weights = torch.cat([(whitening @ q.mean.unsqueeze(2)).squeeze(2), self.mean], dim=1)
        root = whitening @ torch.linalg.cholesky(q.covariance_matrix)
        return self.gp.posterior(whitening, nn.functional.pad(root, (0, 0, 0, self.mean.shape[1])), weights)
