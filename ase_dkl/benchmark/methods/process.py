"""Exact Gaussian processes of lattices: values and derivatives along strains, with a kernel summed over images.

An observation of a lattice with image coordinates x_W (one for each symmetry image W) has the covariance

    cov(y, y') = s² mean_{W W'} κ(x_W, x'_W') + τ² φᵀ φ'

with a length scale for every kind of lattice parameter and the basis functions φ of the trend, which contain the
labels' offset (Pulay stress). Where images only exchange lattice parameters and turn angles α into 180° − α, κ is the
same for both lattices' images, and summing over those of one is enough.

Source: invariant kernels by summing: Haasdonk & Burkhardt, Machine Learning 68, 35 (2007); explicit basis functions:
Rasmussen & Williams (2006), section 2.7; derivatives: see `ase_dkl.model.kernel`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import gpytorch
import numpy as np
import torch
from gpytorch.distributions import MultivariateNormal
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ase_dkl.arrays import Floats
from ase_dkl.model import kernel
from ase_dkl.model.records import BadTraining
from ase_dkl.training.gp import BASIS_SCALE

Loss = Callable[[Floats], tuple[float, Floats]]

LENGTH_SCALES = (2.0, 8.0)
"""Where length scales may start, in units of the coordinates' spread."""
TRIAL = 8
"""Steps from each of them, before going on from where the evidence is best."""
START_NOISE, LEAST_NOISE = 1e-2, 1e-8
"""Variances of the noise, where it starts and at least, in units of the labels' spread."""
BOUNDS = {"raw_noise": (-25.0, 0.0), "log_lengthscales": (-1.0, 5.0), "log_scale": (-4.0, 5.0)}
"""Bounds of the parameters: with larger scales rounding is no longer small beside the least noise."""
_CHUNK = 2**17
"""Numbers in an intermediate of the kernel."""
LARGEST_MATRIX = 2**28
"""Numbers in the largest matrix of a fit, of which there are about a dozen at a time."""
LEAST_VARIANCE = 1e-14
"""Rounding may leave less, or less than nothing."""


def kernel_rows(coordinates: Floats, tangents: Floats | None, basis: Floats) -> Tensor:
    """What the kernel sees of observations: [derivative or not, φ, x of all images, ẋ of all images].

    Args:
        coordinates: of n structures, shape (n, g, p).
        tangents: of the first m along t directions, shape (m, g, t, p), or None.
        basis: shape (n + m t, P).

    Returns:
        Shape (n + m t, 1 + P + 2 g p).
    """
    points = coordinates.reshape(len(coordinates), -1)
    rows = np.concatenate([np.zeros((len(points), 1)), basis[: len(points)], points, np.zeros_like(points)], axis=1)
    if tangents is not None:
        m, g, t, p = tangents.shape
        along = np.moveaxis(tangents, 2, 1).reshape(m * t, g * p)
        of_slopes = [np.ones((m * t, 1)), basis[len(points) :], np.repeat(points[:m], t, axis=0), along]
        rows = np.concatenate([rows, np.concatenate(of_slopes, axis=1)])
    return torch.tensor(rows)


class ImageKernel(gpytorch.kernels.Kernel):  # type: ignore[misc]
    """The covariance in the module's docstring, between rows of `kernel_rows`.

    Attributes:
        log_scale: log s.
        log_lengthscales: one for each set of lattice parameters that images exchange.
    """

    def __init__(self, kind: str, images: Floats) -> None:
        super().__init__()
        d = images.shape[1]
        exchanged = np.abs(images).sum(axis=0) > 0
        lengths = connected_components(exchanged, directed=False)[1]
        angles = {1: [], 2: [0], 3: lengths}[d]
        self.kind, self.images, self.p = kind, len(images), d * (d + 1) // 2
        self.which = torch.tensor(np.concatenate([lengths, np.max(lengths) + 1 + np.array(angles, dtype=int)]))
        self.one_sided = bool((np.count_nonzero(images, axis=2) == 1).all())
        count = int(self.which.max()) + 1
        self.log_lengthscales = nn.Parameter(torch.full((count,), 0.0, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        """Covariances, shape (n, m), or (n,) of x1's rows with the same rows of x2 (``diag=True``)."""
        (basis1, left), (basis2, right) = self._split(x1), self._split(x2)
        left = left[:, :1] if self.one_sided else left
        variance = torch.exp(2 * self.log_scale)
        if diag:
            pairs = kernel.covariances_row_by_row(self.kind, left[:, :, None], right[:, None])
            return variance * pairs.mean((1, 2)) + BASIS_SCALE**2 * (basis1 * basis2).sum(1)
        return variance * self._mean_over_images(left, right) + BASIS_SCALE**2 * basis1 @ basis2.mT

    def _mean_over_images(self, left: Tensor, right: Tensor) -> Tensor:
        """A part at a time, near the caches, and computed again for the gradient: the whole would not fit in memory."""
        rows = max(1, _CHUNK // (left.shape[1] * len(right)))
        images = max(1, _CHUNK // (min(rows, len(left)) * left.shape[1] * len(right)))
        blocks = []
        for some in left.split(rows):
            parts: Any = [checkpoint(self._sum, some, more, use_reentrant=False) for more in right.split(images, dim=1)]
            blocks.append(sum(parts))
        return torch.cat(blocks) / (left.shape[1] * right.shape[1])

    def _sum(self, left: Tensor, right: Tensor) -> Tensor:
        pairs = kernel.covariances(self.kind, left.flatten(0, 1), right.flatten(0, 1))
        summed: Tensor = pairs.unflatten(0, left.shape[:2]).unflatten(2, right.shape[:2]).sum((1, 3))
        return summed

    def largest_matrix(self, labels: int) -> int:
        """Numbers in the largest matrix that covariances of so many labels take."""
        return labels**2 * (1 if self.one_sided else self.images)

    def _split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Basis functions, and the rows [x, ẋ, w] of `kernel.covariances` for every image, in length scales."""
        size = 2 * self.images * self.p
        inputs = rows[:, -size:].unflatten(1, (2, self.images, self.p))
        inputs = inputs * torch.exp(-self.log_lengthscales)[self.which]
        weight = (1 - rows[:, :1, None]).expand(-1, self.images, 1)
        return rows[:, 1:-size], torch.cat([inputs[:, 0], inputs[:, 1], weight], dim=-1)


class ExactProcess(gpytorch.models.ExactGP):  # type: ignore[misc]
    """GPyTorch's exact process with this kernel, and one noise for values and another for derivatives.

    Args:
        rows: of `kernel_rows`, shape (N, ...).
        labels: shape (N,).
        covariance: the kernel.

    Raises:
        BadTraining: the matrices would not fit in memory.
    """

    def __init__(self, rows: Tensor, labels: Floats, covariance: ImageKernel) -> None:
        if covariance.largest_matrix(len(rows)) > LARGEST_MATRIX:
            raise BadTraining(
                f"An exact Gaussian process of {len(rows)} labels and {covariance.images} symmetry images takes "
                "matrices that are too large. Give fewer rows, or leave out stresses or the symmetry."
            )
        least = gpytorch.constraints.GreaterThan(LEAST_NOISE)
        if rows[:, 0].any():
            likelihood = gpytorch.likelihoods.HadamardGaussianLikelihood(
                2, noise_constraint=least, task_feature_index=0
            )
        else:
            likelihood = gpytorch.likelihoods.GaussianLikelihood(noise_constraint=least)
        super().__init__(rows, torch.tensor(labels), likelihood.double())
        self.likelihood.noise = torch.full_like(self.likelihood.noise, START_NOISE)
        self.covariance = covariance

    def forward(self, rows: Tensor) -> MultivariateNormal:
        """The prior."""
        return MultivariateNormal(rows.new_zeros(len(rows)), self.covariance(rows))

    def maximise_evidence(self, steps: int, some: NDArray[np.int_]) -> None:
        """Find kernel and noise by L-BFGS-B, in at most so many steps from the better of two starts.

        Args:
            steps: iterations.
            some: places of the labels whose evidence is meant.
        """
        evidence = gpytorch.mlls.ExactMarginalLogLikelihood(self.likelihood, self)
        parameters = list(self.parameters())
        everything = self.train_inputs[0], self.train_targets
        rows, labels = (each[torch.tensor(some)] for each in everything)
        self.set_train_data(rows, labels, strict=False)

        def loss(values: Floats) -> tuple[float, Floats]:
            nn.utils.vector_to_parameters(torch.tensor(values), parameters)
            self.zero_grad()
            negative = -evidence(self(rows), labels, rows)
            negative.backward()
            gradients = nn.utils.parameters_to_vector([p.grad for p in parameters if p.grad is not None])
            return float(negative.detach()), gradients.numpy()

        self.train()
        bounds = [BOUNDS[name.split(".")[-1]] for name, each in self.named_parameters() for _ in range(each.numel())]
        starts = []
        for length_scale in LENGTH_SCALES:
            nn.init.constant_(self.covariance.log_lengthscales, np.log(length_scale))
            starts.append(nn.utils.parameters_to_vector(parameters).detach().numpy())
        with _exactly():
            tried = [_minimised(loss, start, bounds, TRIAL) for start in starts]
            best = _minimised(loss, min(tried, key=lambda each: float(each.fun)).x, bounds, steps)
        nn.utils.vector_to_parameters(torch.tensor(best.x), parameters)
        self.set_train_data(*everything, strict=False)
        self.eval()

    @torch.no_grad()
    def marginals(self, rows: Tensor) -> tuple[Floats, Floats]:
        """Mean and standard deviation of observations without their noise, two arrays of shape (n,)."""
        with _exactly():
            posterior = self(rows)
            variance = posterior.lazy_covariance_matrix.diagonal(dim1=-1, dim2=-2)
            return posterior.mean.numpy(), variance.clamp(min=LEAST_VARIANCE).sqrt().numpy()

    @torch.no_grad()
    def explained(self) -> Floats:
        """(K + D)⁻¹ y, shape (N,): the mean of anything is its covariances with the training rows times this."""
        rows = self.train_inputs[0]
        with _exactly():
            prior = self.likelihood(MultivariateNormal(self.train_targets * 0, self.covariance(rows)), rows)
            weights = prior.lazy_covariance_matrix.solve(self.train_targets.unsqueeze(1))
        return np.asarray(weights.squeeze(1).numpy())

    def noises(self) -> Floats:
        """Standard deviations of the noise of values, and of derivatives where there are any."""
        return np.asarray(np.sqrt(self.likelihood.noise.detach().numpy().ravel()))


def _minimised(loss: Loss, start: Floats, bounds: list[tuple[float, float]], steps: int) -> OptimizeResult:
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps})


@contextlib.contextmanager
def _exactly() -> Iterator[None]:
    """Cholesky factors however large the matrices, kept between predictions."""
    settings = gpytorch.settings
    cholesky = settings.fast_computations(covar_root_decomposition=False, log_prob=False, solves=False)
    with cholesky, settings.fast_pred_var(), settings.debug(False):
        yield
