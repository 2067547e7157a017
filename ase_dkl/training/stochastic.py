"""The stochastic bound: the same sparse Gaussian process on minibatches, for data that do not fit.

Here q is a parameter of its own instead of being put in at its optimum. It is found by natural gradients, which in
weight space are a running average of closed forms; or, as in the bare method, by GPyTorch's variational strategy with
Adam, along with everything else.

Source: Hensman, Fusi & Lawrence, UAI 2013; derivative observations: Padidar et al., NeurIPS 2021.
"""

from __future__ import annotations

from typing import Any

import gpytorch
import torch
from gpytorch.distributions import MultivariateNormal
from gpytorch.variational import CholeskyVariationalDistribution, VariationalStrategy
from torch import Tensor, nn

from ase_dkl.model.kernel import functional_rows
from ase_dkl.model.posterior import Posterior
from ase_dkl.training.gp import JITTER, Observations, SparseGP

NATURAL_STEP = 0.3
"""Step length of the natural gradients: the weight of the latest minibatch in q."""


class NaturalVariational:
    """q(w) = N(Λ⁻¹ η, Λ⁻¹) over the weights of inducing values and basis functions, by natural gradients.

    Args:
        gp: the process.
        n_basis: number of basis functions, P.
    """

    def __init__(self, gp: SparseGP, n_basis: int) -> None:
        self._gp = gp
        networks, n_inducing = gp.inducing_points.shape[:2]
        self._identity = torch.eye(n_inducing + n_basis, dtype=torch.float64)
        self._precision = self._identity.repeat(networks, 1, 1)
        self._shift = torch.zeros(networks, n_inducing + n_basis, 1, dtype=torch.float64)

    @torch.no_grad()
    def update(self, observations: Observations, labels: Tensor, share: float, step: float = NATURAL_STEP) -> None:
        """Go a natural-gradient step: towards the q that is best if all data are like this minibatch.

        Args:
            observations: of one minibatch.
            labels: y, shape (n + m t,).
            share: the minibatch's part of all data.
            step: length; 1 forgets all before.
        """
        _, scaled, residual = self._gp.whitened(observations, labels)
        # Λ → I + A Aᵀ / share,  η → A r / share
        self._precision += step * (self._identity + scaled @ scaled.mT / share - self._precision)
        self._shift += step * (scaled @ residual.unsqueeze(2) / share - self._shift)

    def bound(self, observations: Observations, labels: Tensor, share: float) -> Tensor:
        """An unbiased estimate of the evidence lower bound of all data, one for each network, shape (K,), nats.

        Args:
            observations: of one minibatch.
            labels: y, shape (n + m t,).
            share: the minibatch's part of all data.
        """
        gp = self._gp
        inducing_part, scaled, residual = gp.whitened(observations, labels)
        noise = gp.noise(observations)
        root = torch.linalg.cholesky(self._precision)
        mean = torch.cholesky_solve(self._shift, root)
        # E_q log N(y; f, D) = −½ [log 2πD + ((y − μ)² + var) / D]
        misfit = (residual - (scaled.mT @ mean).squeeze(2)) ** 2
        left = (torch.linalg.solve_triangular(root, scaled, upper=False) ** 2).sum(1)
        variance = gp.prior_variances(observations) / noise - (inducing_part**2).sum(1) + left
        expected = -0.5 * (torch.log(2 * torch.pi * noise) + misfit + variance).sum(1)
        # KL(q ‖ N(0, I)) = ½ [tr Λ⁻¹ + ‖Λ⁻¹ η‖² − dim + log |Λ|]
        trace = torch.cholesky_inverse(root).diagonal(dim1=1, dim2=2).sum(1)
        log_determinant = 2 * root.diagonal(dim1=1, dim2=2).log().sum(1)
        divergence = 0.5 * (trace + (mean**2).sum((1, 2)) - len(self._identity) + log_determinant)
        bound: Tensor = expected / share - divergence
        return bound


class _ValueInducingStrategy(VariationalStrategy):  # type: ignore[misc]
    """Inducing variables are function values, whatever the observations are."""

    def forward(self, x: Tensor, inducing_points: Tensor, *args: Any, **kwargs: Any) -> MultivariateNormal:
        return super().forward(x, functional_rows(inducing_points), *args, **kwargs)


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
        gp.inducing_points = self.variational_strategy.inducing_points
        self.mean = nn.Parameter(mean.expand(networks, -1).clone())
        self.double()

    def forward(self, rows: Tensor) -> MultivariateNormal:
        """The prior of the functionals in the rows, less their mean."""
        return MultivariateNormal(torch.zeros(rows.shape[:-1], dtype=rows.dtype), self.gp.kernel(rows))

    def bound(self, observations: Observations, labels: Tensor, share: float) -> Tensor:
        """As `NaturalVariational.bound`."""
        q = self(observations.rows())
        noise = self.gp.noise(observations)
        residual = labels - (observations.basis @ self.mean.unsqueeze(2)).squeeze(2) - q.mean
        expected = -0.5 * (torch.log(2 * torch.pi * noise) + (residual**2 + q.variance) / noise)
        bound: Tensor = expected.sum(1) / share - self.variational_strategy.kl_divergence()
        return bound

    def own_parameters(self) -> list[nn.Parameter]:
        """The parameters of q(u) and the mean."""
        return [self.mean, *self.variational_strategy._variational_distribution.parameters()]

    @torch.no_grad()
    def posterior(self) -> Posterior:
        """The posterior under q(u) as it was trained, with the mean's coefficients as they are."""
        q = self.variational_strategy.variational_distribution
        whitening = torch.linalg.inv(self.gp.chol_inducing()).mT
        # Whitened: u = L v, so k_Zᵀ K_ZZ⁻¹ u = (L⁻ᵀ v)ᵀ k_Z
        weights = torch.cat([(whitening @ q.mean.unsqueeze(2)).squeeze(2), self.mean], dim=1)
        root = whitening @ torch.linalg.cholesky(q.covariance_matrix)
        return self.gp.posterior(whitening, nn.functional.pad(root, (0, 0, 0, self.mean.shape[1])), weights)
