"""The stochastic bound: the same sparse Gaussian process on minibatches, with GPyTorch's variational strategy.

Here q(u) is a parameter of its own instead of being put in at its optimum, and the mean's coefficients are point
estimates; both are found along with everything else, from a few structures at a time.

Source: Hensman, Fusi & Lawrence, UAI 2013; natural gradients for q(u): Salimbeni, Eleftheriadis & Hensman, AISTATS
2018; derivative observations: Padidar et al., NeurIPS 2021.
"""

from __future__ import annotations

from typing import Any

import gpytorch
import torch
from gpytorch.distributions import MultivariateNormal
from gpytorch.variational import CholeskyVariationalDistribution, NaturalVariationalDistribution, VariationalStrategy
from torch import Tensor, nn

from ase_dkl.gp import JITTER, Observations, SparseGP
from ase_dkl.kernel import functional_rows
from ase_dkl.posterior import Posterior


class _ValueInducingStrategy(VariationalStrategy):  # type: ignore[misc]
    """Inducing variables are function values, whatever the observations are."""

    def forward(self, x: Tensor, inducing_points: Tensor, *args: Any, **kwargs: Any) -> MultivariateNormal:
        return super().forward(x, functional_rows(inducing_points), *args, **kwargs)


class VariationalGP(gpytorch.models.ApproximateGP):  # type: ignore[misc]
    """A sparse process with an explicit q(u).

    Args:
        gp: gives kernel, noise and the first inducing points; its inducing points are trained in place.
        mean: the first coefficients of the mean's basis functions, shape (P,).
        natural: parametrise q(u) for natural gradients; otherwise by its mean and a Cholesky factor.
    """

    def __init__(self, gp: SparseGP, mean: Tensor, natural: bool) -> None:
        networks, n_inducing = gp.inducing_points.shape[:2]
        distribution = NaturalVariationalDistribution if natural else CholeskyVariationalDistribution
        q = distribution(n_inducing, batch_shape=torch.Size([networks]))
        super().__init__(_ValueInducingStrategy(self, gp.inducing_points.detach(), q, jitter_val=JITTER))
        self.gp = gp
        gp.inducing_points = self.variational_strategy.inducing_points
        self.mean = nn.Parameter(mean.expand(networks, -1).clone())
        self.double()

    def forward(self, rows: Tensor) -> MultivariateNormal:
        """The prior of the functionals in the rows, less their mean."""
        return MultivariateNormal(torch.zeros(rows.shape[:-1], dtype=rows.dtype), self.gp.kernel(rows))

    def bound(self, observations: Observations, labels: Tensor, share: float) -> Tensor:
        """An unbiased estimate of the evidence lower bound of all data, one for each network, shape (K,), nats.

        Args:
            observations: of one minibatch.
            labels: y, shape (n + m t,).
            share: the minibatch's part of all data.
        """
        q = self(observations.rows())
        noise = self.gp.noise(observations)
        residual = labels - (observations.basis @ self.mean.unsqueeze(2)).squeeze(2) - q.mean
        # E_q log N(y; f, D) = −½ [log 2πD + ((y − μ)² + var) / D]
        expected = -0.5 * (torch.log(2 * torch.pi * noise) + (residual**2 + q.variance) / noise)
        bound: Tensor = expected.sum(1) / share - self.variational_strategy.kl_divergence()
        return bound

    def distribution_parameters(self) -> list[nn.Parameter]:
        """The parameters of q(u)."""
        return list(self.variational_strategy._variational_distribution.parameters())

    @torch.no_grad()
    def posterior(self) -> Posterior:
        """The posterior under q(u) as it was trained, with the mean's coefficients as they are."""
        q = self.variational_strategy.variational_distribution
        whitening = torch.linalg.inv(self.gp.chol_inducing()).mT
        # Whitened: u = L v, so k_Zᵀ K_ZZ⁻¹ u = (L⁻ᵀ v)ᵀ k_Z
        weights = torch.cat([(whitening @ q.mean.unsqueeze(2)).squeeze(2), self.mean], dim=1)
        root = whitening @ torch.linalg.cholesky(q.covariance_matrix)
        return self.gp.posterior(whitening, nn.functional.pad(root, (0, 0, 0, self.mean.shape[1])), weights)
