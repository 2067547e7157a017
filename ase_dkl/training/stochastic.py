"""The stochastic bound: the same sparse Gaussian process on minibatches, for data that do not fit.

Here q is a parameter of its own instead of being put in at its optimum. It is found by natural gradients, which in
weight space are a running average of closed forms. The bare method finds it otherwise: `ase_dkl.training.variational`.

Source: Hensman, Fusi & Lawrence, UAI 2013; derivative observations: Padidar et al., NeurIPS 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ase_dkl.training.gp import Observations, SparseGP

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
