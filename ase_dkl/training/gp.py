"""The sparse Gaussian process in training: kernel, inducing points, linear prior mean, noise, and the collapsed bound.

Prior and posterior live in one weight space. With L Lᵀ = K_ZZ, an observation o has the coordinates

    a(o) = [L⁻¹ k_Z(o); τ φ(o)],   y(o) = a(o)ᵀ w + residual,   w ~ N(0, I),

where φ are the basis functions of the mean (polynomials of the scaled lattice parameters, label offset) with their
broad prior τ. Fitting the mean is then part of the same linear algebra, exact, and its uncertainty part of the
posterior.

| text | code |
|---|---|
| Z, M | `inducing_points`, `n_inducing` |
| L | `chol_inducing` |
| D | `noise` (one variance for values, one for the slopes of each block) |
| A = a D^{-1/2}, r = y D^{-1/2} | `scaled`, `residual` |
| L_B with L_B L_Bᵀ = B = I + A Aᵀ | `chol_precision` |

Source: collapsed bound: Titsias, AISTATS 2009; explicit basis functions: Rasmussen & Williams (2006), section 2.7.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ase_dkl.arrays import Floats
from ase_dkl.model import kernel
from ase_dkl.model.layout import VALUE, Layout
from ase_dkl.model.posterior import Posterior

JITTER = 1e-9
"""Added to the diagonal of K_ZZ, in units of the prior variance."""
BASIS_SCALE = 10.0
"""τ: prior standard deviation of the mean's coefficients, in units of the energies' spread."""
OFFSET_SCALE = 1e3
"""The same of the labels' offset, the last basis function: Pulay stresses are as large as they are, however little the
energies spread."""
RESCUES = (1e-8, 1e-7, 1e-6)
"""Added in turn to the diagonal of matrices that rounding has left not positive definite."""
INITIAL_BREADTH = 0.3
"""What τ is multiplied by where training begins, if that is learnt."""
INITIAL_NOISE, INITIAL_SLOPE_NOISE = 0.1, 0.02
"""Standard deviations of the noise where training begins, in units of the energies' spread. From larger ones on
derivatives, networks of few structures end where everything is noise; from smaller ones on energies, those of many."""


@dataclass(frozen=True)
class Observations:
    """What the process sees of n structures, m of them with derivatives, which come first.

    Attributes:
        features: ψ, shape (K, n, f).
        derivatives: ∂ψ/∂ε of the first m structures along t directions, shape (K, m, t, f), or None.
        basis: basis functions of the mean, of all values and then of all derivatives, shape (n + m t, P).
        blocks: the kinds of the t directions; see `Layout`.
    """

    features: Tensor
    derivatives: Tensor | None
    basis: Tensor
    blocks: Mapping[str, int] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        """Where values and derivatives stand."""
        return Layout(self.features.shape[1], 0 if self.derivatives is None else self.derivatives.shape[1], self.blocks)

    def functionals(self) -> Tensor:
        """The kernel's rows [ψ, v, w], shape (K, n + m t, 2 f + 1)."""
        values = kernel.functional_rows(self.features)
        if self.derivatives is None:
            return values
        m = self.derivatives.shape[1]
        return torch.cat([values, kernel.functional_rows(self.features[:, :m], self.derivatives)[:, m:]], dim=1)


class SparseGP(nn.Module):
    """K sparse Gaussian processes, one for each network, on values and directional derivatives.

    Args:
        inducing_points: Z, shape (K, M, f).
        kernel: "rbf" or "matern52".
        log_lengthscale: log ℓ where training begins, shape (K, 1, 1).
        blocks: kinds of slopes, each with noise of its own.
        learnt: basis functions whose prior is as broad as the bound finds it, True or False, shape (P,); none by
            default.
    """

    def __init__(
        self,
        inducing_points: Tensor,
        kernel: str,
        log_lengthscale: Tensor,
        blocks: Iterable[str] = (),
        learnt: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.inducing_points = nn.Parameter(inducing_points)
        self.log_lengthscale = nn.Parameter(log_lengthscale)
        self.log_scale = nn.Parameter(torch.zeros_like(log_lengthscale))
        each = inducing_points.new_ones(inducing_points.shape[:1])
        first = {VALUE: INITIAL_NOISE} | dict.fromkeys(blocks, INITIAL_SLOPE_NOISE)
        self.log_noise = nn.ParameterDict({kind: nn.Parameter(each * math.log(noise)) for kind, noise in first.items()})
        self._learnt = learnt
        self.log_breadth = None if learnt is None else nn.Parameter(each * math.log(INITIAL_BREADTH))

    @torch.no_grad()
    def go_on_from(self, posterior: Posterior, breadth: list[float] | None = None) -> None:
        """Take the hyperparameters of a trained process, and its inducing points where there are as many."""
        if self.log_breadth is not None and breadth is not None:
            self.log_breadth.copy_(torch.tensor(breadth).log())
        if posterior.points.shape == self.inducing_points.shape:
            self.inducing_points.copy_(torch.tensor(posterior.points))
        self.log_lengthscale.copy_(torch.tensor(posterior.lengthscale).log())
        self.log_scale.copy_(torch.tensor(posterior.scale).log())
        for kind, log_noise in self.log_noise.items():
            log_noise.copy_(torch.tensor(posterior.noise[kind]).log())

    def cross_covariances(self, observations: Observations) -> Tensor:
        """K_oZ, shape (K, n + m t, M)."""
        inverse = torch.exp(-self.log_lengthscale)
        derivatives = observations.derivatives
        return torch.exp(2 * self.log_scale) * kernel.covariances_with_values(
            self.kernel,
            observations.features * inverse,
            None if derivatives is None else derivatives * inverse.unsqueeze(-1),
            self.inducing_points * inverse,
        )

    def prior_variances(self, observations: Observations) -> Tensor:
        """Diagonal of K_oo, shape (K, n + m t)."""
        derivatives = observations.derivatives
        if derivatives is not None:
            derivatives = derivatives * torch.exp(-self.log_lengthscale).unsqueeze(-1)
        variance = torch.exp(2 * self.log_scale).squeeze(-1)
        return variance * kernel.variances(self.kernel, observations.features, derivatives)

    def chol_inducing(self) -> Tensor:
        """L with L Lᵀ = K_ZZ + jitter, shape (K, M, M)."""
        covariance = self.cross_covariances(Observations(self.inducing_points, None, self.inducing_points))
        variance = torch.exp(2 * self.log_scale)
        return cholesky(covariance + JITTER * variance * _identity(covariance))

    def basis_scale(self, count: int) -> Tensor:
        """τ, of each of P basis functions, shape (K or 1, P, 1)."""
        scale = torch.full((1, count, 1), BASIS_SCALE, dtype=torch.float64)
        scale[:, -1] = OFFSET_SCALE
        if self.log_breadth is None or self._learnt is None:
            return scale
        return scale * torch.where(self._learnt[:, None], torch.exp(self.log_breadth)[:, None, None], 1.0)

    def noise(self, observations: Observations) -> Tensor:
        """D, the noise variance of every observation, shape (K, n + m t)."""
        return observations.layout.of_kinds({kind: torch.exp(2 * each) for kind, each in self.log_noise.items()})

    def whitened(
        self, observations: Observations, labels: Tensor, used: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates and labels in units of the noise.

        Args:
            observations: n structures, m of them with derivatives.
            labels: y, shape (n + m t,).
            used: which labels a network has, 1 or 0, shape (K, n + m t); all by default.

        Returns:
            A_Z, shape (K, M, n + m t); A with the basis functions below it, shape (K, M + P, n + m t); and
            r, shape (K, n + m t).
        """
        root = self.noise(observations).rsqrt().unsqueeze(1)
        if used is not None:
            root = root * used.unsqueeze(1)
        cross = self.cross_covariances(observations).mT * root
        inducing_part = torch.linalg.solve_triangular(self.chol_inducing(), cross, upper=False)
        basis_part = self.basis_scale(observations.basis.shape[1]) * observations.basis.T * root
        return inducing_part, torch.cat([inducing_part, basis_part], dim=1), labels * root.squeeze(1)

    def collapsed_bound(self, observations: Observations, labels: Tensor, used: Tensor | None = None) -> Tensor:
        """The evidence lower bound with the optimal q(w) put in, one for each network, shape (K,), nats.

            ELBO = −½ n log 2π − ½ log|B| − ½ Σ log D − ½ rᵀr + ½ ‖L_B⁻¹ A r‖² − ½ Σ (var_o / D) + ½ ‖A_Z‖²_F

        Args:
            observations: n structures, m of them with derivatives.
            labels: y, shape (n + m t,).
            used: which labels a network has, 1 or 0, shape (K, n + m t); all by default.
        """
        noise = self.noise(observations)
        used = torch.ones_like(noise) if used is None else used
        inducing_part, scaled, residual = self.whitened(observations, labels, used)
        # B = I + A Aᵀ
        chol_precision = cholesky(scaled @ scaled.mT + _identity(scaled))
        # L_B⁻¹ A r
        projected = torch.linalg.solve_triangular(chol_precision, scaled @ residual.unsqueeze(2), upper=False)
        trace = (used * self.prior_variances(observations) / noise).sum(1) - (inducing_part**2).sum((1, 2))
        bound: Tensor = (
            -0.5 * used.sum(1) * math.log(2 * math.pi)
            - chol_precision.diagonal(dim1=1, dim2=2).log().sum(1)
            - 0.5 * (used * noise.log()).sum(1)
            - 0.5 * (residual**2).sum(1)
            + 0.5 * (projected**2).sum((1, 2))
            - 0.5 * trace
        )
        return bound

    @torch.no_grad()
    def condition(self, batches: Iterable[tuple[Observations, Tensor]]) -> Posterior:
        """The posterior under the optimal q(w), gathered batch by batch.

        Args:
            batches: observations and their labels; together, all data.
        """
        precision, moment = (torch.zeros((), dtype=torch.float64) for _ in range(2))
        for observations, labels in batches:
            _, scaled, residual = self.whitened(observations, labels)
            precision = precision + scaled @ scaled.mT
            moment = moment + scaled @ residual.unsqueeze(2)
        chol_precision = cholesky(precision + _identity(precision))
        whitening = torch.linalg.inv(self.chol_inducing())
        n_inducing = whitening.shape[-1]
        scaling = _identity(precision).repeat(len(whitening), 1, 1)
        scaling[:, n_inducing:] *= self.basis_scale(scaling.shape[-1] - n_inducing)
        scaling[:, :n_inducing, :n_inducing] = whitening
        # T = L_B⁻¹ diag(L⁻¹, τ), and the mean of the weights is Tᵀ L_B⁻¹ A r
        factor = torch.linalg.solve_triangular(chol_precision, scaling, upper=False)
        projected = torch.linalg.solve_triangular(chol_precision, moment, upper=False)
        return self.posterior(whitening.mT, factor.mT, (factor.mT @ projected).squeeze(2))

    @torch.no_grad()
    def posterior(self, whitening: Tensor, factor: Tensor, weights: Tensor) -> Posterior:
        """What predictions take of this process and the distribution of its weights; see `Posterior`."""
        numbers = (
            self.inducing_points,
            self.log_lengthscale.exp(),
            self.log_scale.exp(),
            whitening,
            factor,
            weights,
        )
        noise = {kind: _array(each.exp()) for kind, each in self.log_noise.items()}
        return Posterior(self.kernel, noise, *map(_array, numbers))


def _array(numbers: Tensor) -> Floats:
    return np.array(numbers.contiguous().numpy())


def _identity(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-2], dtype=torch.float64)


def cholesky(matrix: Tensor) -> Tensor:
    """L with L Lᵀ = a batch of matrices, with `RESCUES` added to those that need it.

    Raises:
        torch.linalg.LinAlgError: they are not finite, or far from positive definite.
    """
    root: Tensor
    root, failed = torch.linalg.cholesky_ex(matrix)
    added = matrix.new_zeros(matrix.shape[:-2])
    for more in RESCUES:
        if not failed.any():
            return root
        added = torch.where(failed > 0, more, added)
        root, failed = torch.linalg.cholesky_ex(matrix + added[..., None, None] * _identity(matrix))
    if failed.any():
        raise torch.linalg.LinAlgError("Matrices are not finite, or not positive definite.")  # type: ignore[attr-defined]
    return root
