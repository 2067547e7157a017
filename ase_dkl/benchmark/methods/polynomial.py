"""Polynomials of the lattice parameters, averaged over the symmetry images, by Bayesian ridge regression.

Values and slopes are rows of one regression, each in units of its own kind's noise. The ratio of the two is found in a
few rounds from leave-one-out errors, which, unlike residuals, do not shrink where there are as many monomials as rows.

Source: leave-one-out errors of linear smoothers: Hastie, Tibshirani & Friedman (2009), section 7.10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import BayesianRidge
from sklearn.preprocessing import PolynomialFeatures

from ase_dkl.arrays import Floats, Integers
from ase_dkl.benchmark.methods.method import BadMethod, Method, Model, Settings
from ase_dkl.dataset import Dataset
from ase_dkl.model.labels import Labels, Units
from ase_dkl.model.layout import VALUE, by_column
from ase_dkl.model.prediction import Normal, Prediction, as_cells
from ase_dkl.model.space import Lattice

ROUNDS = 4
"""How often the noises' ratio is found anew."""
HIGHEST_LEVERAGE = 0.99
"""Leverage of a row on its own fitted value: beyond this its leave-one-out error is mostly rounding."""
LEAST_VARIANCE = 1e-14
"""Variance of a prediction at least, in units of the energies' spread."""
_CHUNK = 2**22
"""Numbers in the largest array of a prediction."""


@dataclass(frozen=True, eq=False)
class Monomials:
    """Products of powers of the scaled lattice parameters, averaged over the images.

    Attributes:
        powers: of each lattice parameter in each monomial, shape (P, p).
        weights: prior standard deviations of the coefficients, relative to each other, shape (P,).
    """

    powers: Integers
    weights: Floats

    @classmethod
    def up_to(cls, degree: int, decay: float, p: int) -> Monomials:
        """All monomials of p numbers up to a degree; beyond the second, each degree's prior is narrower by a factor."""
        features = PolynomialFeatures(degree).fit(np.zeros((1, p)))
        degrees = features.powers_.sum(axis=1)
        return cls(features.powers_, decay ** np.maximum(degrees - 2.0, 0.0))

    def values(self, coordinates: Floats) -> Floats:
        """The monomials of image coordinates (n, g, p), shape (n, P)."""
        return np.asarray(self._products(coordinates, self.powers).mean(axis=1) * self.weights)

    def slopes(self, coordinates: Floats, tangents: Floats) -> Floats:
        """Derivatives along tangents (n, g, t, p), shape (n, t, P)."""
        total = np.zeros((len(coordinates), tangents.shape[2], len(self.powers)))
        for i in range(self.powers.shape[1]):
            # ∂(x_i^k …)/∂x_i = k x_i^(k−1) …
            lowered = self.powers.copy()
            lowered[:, i] = np.maximum(lowered[:, i] - 1, 0)
            partial = self.powers[:, i] * self._products(coordinates, lowered)
            total += tangents[..., i].mT @ partial
        return np.asarray(total * self.weights / coordinates.shape[1])

    @staticmethod
    def _products(coordinates: Floats, powers: Integers) -> Floats:
        """Products of the coordinates' powers, shape (n, g, P)."""
        table = coordinates[..., None] ** np.arange(powers.max() + 1)
        product = np.ones(())
        for i in range(powers.shape[1]):
            product = product * table[..., i, powers[:, i]]
        return np.asarray(product)


@dataclass(frozen=True, eq=False)
class PolynomialModel:
    """A fitted polynomial in physical units.

    Attributes:
        space: of the cells.
        units: of the energies.
        monomials: of the polynomial.
        coefficients: mean, shape (P,).
        root: C with C Cᵀ their covariance, shape (P, P).
        noises: standard deviations of the labels' noise, by the kind of label, eV; zero without stress labels.
        stress_offset: the labels' constant in V·σ of xx, yy and zz (Pulay stress), eV; 0 without stress labels.
    """

    space: Lattice
    units: Units
    monomials: Monomials
    coefficients: Floats
    root: Floats
    noises: Mapping[str, float]
    stress_offset: float

    def predict_cells(self, cells: ArrayLike, *, stress: bool = True) -> Prediction:
        """Predict cells in the reference's basis, (n, 3, 3), Å; energies are per reference cell."""
        given = as_cells(cells, stress=stress)
        noise = by_column(self.noises, self.space.blocks if stress else {})
        answers = np.empty((2, len(given), len(noise)))
        size = max(1, _CHUNK // (len(self.monomials.powers) * len(self.space.frame.images)))
        for start in range(0, len(given), size):
            part = slice(start, start + size)
            rows = self._rows(given[part], stress)
            answers[0, part] = rows @ self.coefficients
            answers[1, part] = np.sqrt(np.maximum(((rows @ self.root) ** 2).sum(-1), LEAST_VARIANCE))
        mean, uncertainty = answers * self.units.scale
        mean[:, 0] += self.units.shift
        return Prediction.of(given, Normal(mean, uncertainty, np.broadcast_to(noise, mean.shape)))

    def _rows(self, cells: Floats, stress: bool) -> Floats:
        if not stress:
            return self.monomials.values(self.space.coordinates(cells))[:, None]
        seen = self.space.seen_along_all(cells)
        values = self.monomials.values(seen.coordinates)[:, None]
        return np.concatenate([values, self.monomials.slopes(seen.coordinates, seen.tangents)], axis=1)


def _fit(dataset: Dataset, settings: Settings, _: int) -> Model:
    if settings["degree"] < 1 or settings["decay"] <= 0:
        raise BadMethod(
            f"A polynomial of degree {settings['degree']} with decay {settings['decay']} cannot be fitted: the degree "
            "is 1 or more, the decay above zero."
        )
    if not settings["stress"]:
        dataset = dataset.without_stresses()
    space = Lattice.of(dataset.crystal, dataset.cells, symmetry=settings["symmetry"])
    labels = Labels.of(dataset, space)
    m, directions = len(labels.slopes), labels.directions
    monomials = Monomials.up_to(settings["degree"], settings["decay"], len(space.names))
    seen = space.seen(labels.points, directions)
    rows = monomials.values(seen.coordinates)
    if seen.tangents is not None:
        of_slopes = monomials.slopes(seen.coordinates[:m], seen.tangents)
        # The last column is the labels' offset, of which values have nothing.
        traces = labels.offsets[..., None]
        slope_rows = np.concatenate([of_slopes, traces], axis=-1).reshape(-1, rows.shape[1] + 1)
        rows = np.concatenate([np.pad(rows, ((0, 0), (0, 1))), slope_rows])
    regression, noises = _regression(rows, labels.together(), len(labels.values))

    P, scale = len(monomials.powers), labels.units.scale
    variances, axes = np.linalg.eigh(regression.sigma_[:P, :P])
    root = axes * np.sqrt(np.maximum(variances, 0))
    offset = float(regression.coef_[P]) * scale if m else 0.0
    noise = {VALUE: float(noises[0] * scale), "strain": float(noises[1] * scale) if m else 0.0}
    return PolynomialModel(space, labels.units, monomials, regression.coef_[:P], root, noise, offset)


def _regression(rows: Floats, labels: Floats, n: int) -> tuple[BayesianRidge, Floats]:
    """Fit n values and then slopes; also the standard deviations of both kinds' noise."""
    kinds = np.repeat([0, 1], [n, len(labels) - n])
    units = np.array([1.0, float(np.sqrt(np.mean(labels[n:] ** 2))) if len(labels) > n else 1.0])
    for _ in range(ROUNDS if len(labels) > n else 1):
        weights = 1 / units[kinds]
        seen = rows * weights[:, None]
        regression = BayesianRidge(fit_intercept=False, max_iter=1000).fit(seen, labels * weights)
        noises = units / np.sqrt(regression.alpha_)
        leverage = regression.alpha_ * np.einsum("ij,jk,ik->i", seen, regression.sigma_, seen, optimize=True)
        error = (labels - rows @ regression.coef_) / (1 - np.minimum(leverage, HIGHEST_LEVERAGE))
        units = np.array(
            [np.sqrt(np.mean(error[kinds == kind] ** 2)) if (kinds == kind).any() else 1 for kind in (0, 1)]
        )
    return regression, noises


def _no_passes(_: Settings) -> int:
    return 0


METHODS = (
    Method(
        name="polynomial",
        title="polynomial ridge",
        fit=_fit,
        defaults={"degree": 6, "decay": 0.1, "symmetry": True, "stress": True},
        grid={"degree": (2, 3, 4, 5, 6), "decay": (0.03, 0.1, 0.3)},
        learns_from_stress=True,
        predicts_stress=True,
        passes=_no_passes,
        random=False,
    ),
)
