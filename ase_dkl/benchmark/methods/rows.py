"""What network methods learn from: scaled coordinates, their tangents, and labels less a polynomial trend.

Networks by themselves are slow to learn what a low polynomial says exactly. So the trend is fitted first, in closed
form, and the network explains what is left, in units of its own size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods.method import BadMethod, Settings
from ase_dkl.dataset import Dataset
from ase_dkl.model.labels import Labels, Units
from ase_dkl.model.layout import Layout
from ase_dkl.model.mean import POLYNOMIALS, Cubic, Mean
from ase_dkl.model.space import Lattice, Seen

SHARED: Settings = {"trend": "cubic", "stress": True, "symmetry": True}
"""Settings of every network method: degree of the trend, whether stress labels are used, and whether a prediction
averages over the crystal's symmetry images."""
TRENDS = {"trend": tuple(POLYNOMIALS)}
"""Candidates for the search."""
RIDGE = np.logspace(-12, 4, 65)
"""Strengths of the ridge on the trend's coefficients, of which the evidence picks one."""
LEAST_UNIT = 1e-6
"""Unit of what the trend leaves at least, in units of the energies' spread."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Cells and eV on one side, what a network sees and answers with on the other.

    Attributes:
        space: of the cells.
        units: of the energies.
        mean: functions of the trend.
        trend: their coefficients, scaled, shape (P + 1,).
        offset: what a cubic trend takes for the labels' constant in V·σ of xx, yy and zz (Pulay stress), eV.
        unit: of energies that the network answers with, eV.
        slope_unit: of its derivatives along strains, in units of `unit`: both kinds of label then vary by about one.
        has_slopes: whether there were stress labels.
    """

    space: Lattice
    units: Units
    mean: Mean
    trend: Floats
    offset: float
    unit: float
    slope_unit: float
    has_slopes: bool

    def inputs(self, cells: Floats, *, stress: bool) -> tuple[Floats, Floats | None]:
        """Image coordinates of cells (n, 3, 3), shape (n, g, p), and tangents in slope units, (n, g, 6, p), or None."""
        if not stress:
            return self.space.coordinates(cells), None
        seen = self.space.seen_along_all(cells)
        return seen.coordinates, seen.tangents / self.slope_unit

    def trend_of(self, coordinates: Floats, tangents: Floats | None) -> Floats:
        """The trend's energies and derivatives, without the labels' offset, eV, shape (n, 1) or (n, 1 + t)."""
        n = len(coordinates)
        layout = Layout(n) if tangents is None else Layout(n, n, self.space.blocks)
        if tangents is not None:
            tangents = tangents * self.slope_unit
        functions = self.mean.functions(Seen(coordinates, None, coordinates, tangents))
        values = functions @ self.trend * self.units.scale
        values[:n] += self.units.shift
        return layout.by_point(values)


@dataclass(frozen=True, eq=False)
class Rows:
    """Training rows as networks see them, those with stress labels first, in single precision.

    Attributes:
        frame: how they came from cells and eV.
        coordinates: of every image, shape (n, g, p).
        tangents: of the first m rows along t directions, in slope units, shape (m, g, t, p); None for m = 0.
        values: energies less the trend, shape (n,).
        slopes: derivatives of the energy less the trend's and the frame's offset, shape (m, t).
        traces: what one unit more of the labels' offset adds to the slopes, shape (m, t).
    """

    frame: Frame
    coordinates: Tensor
    tangents: Tensor | None
    values: Tensor
    slopes: Tensor
    traces: Tensor

    @classmethod
    def of(cls, dataset: Dataset, settings: Settings) -> Rows:
        """Fit the trend to a dataset and take it off.

        Args:
            dataset: labelled cells.
            settings: those in `SHARED`.

        Raises:
            BadMethod: there is no such trend.
        """
        if settings["trend"] not in POLYNOMIALS:
            raise BadMethod(f"The trend is {settings['trend']!r}; choose one of {', '.join(POLYNOMIALS)}.")
        if not settings["stress"]:
            dataset = dataset.without_stresses()
        space = Lattice.of(dataset.crystal, dataset.cells, symmetry=settings["symmetry"])
        given = Labels.of(dataset, space)
        n, slopes = len(given.values), given.slopes
        seen, basis = given.observed(Cubic(space))
        labels = given.together()
        # A slope's error is as many times a value's as slopes are larger than values.
        weights = np.repeat([1.0, 1 / _size(slopes)], [n, slopes.size])
        # The slopes of a low polynomial are wrong by a constant too: only the cubic one can tell an offset.
        offset = _ridge(basis, labels, weights)[-1]
        labels = labels - offset * basis[:, -1]
        mean = POLYNOMIALS[settings["trend"]](space)
        polynomials = mean.functions(seen)
        trend = _ridge(polynomials, labels, weights)
        left = labels - polynomials @ trend
        unit = _size(left[:n])
        slope_unit = _size(left[n:]) / unit if slopes.size else _size(space.seen_along_all(given.points).tangents)
        energy_scale = given.units.scale
        frame = Frame(
            space,
            given.units,
            mean,
            trend,
            offset * energy_scale,
            unit * energy_scale,
            slope_unit,
            slopes.size > 0,
        )
        return cls(
            frame,
            _single(seen.coordinates),
            None if seen.tangents is None else _single(seen.tangents / slope_unit),
            _single(left[:n] / unit),
            _single(left[n:].reshape(slopes.shape) / (unit * slope_unit)),
            _single(given.offsets),
        )

    @property
    def n_labels(self) -> int:
        """Energies and derivatives together."""
        return self.values.numel() + self.slopes.numel()


def _ridge(basis: Floats, labels: Floats, weights: Floats) -> Floats:
    """Coefficients with the prior N(0, σ²/λ), the weighted labels' noise σ² and λ as the evidence has them, shape (P,).

    Source: Rasmussen & Williams (2006), section 2.3 and 5.4.1, in the basis of singular vectors.
    """
    basis, labels = basis * weights[:, None], labels * weights
    left, sizes, right = np.linalg.svd(basis, full_matrices=False)
    seen = left.T @ labels
    unseen = max(float(labels @ labels - seen @ seen), 0.0)
    shrunk = RIDGE[:, None] / (sizes**2 + RIDGE[:, None])
    noise = np.maximum((shrunk * seen**2).sum(1) + unseen, 1e-20 * (labels @ labels) + 1e-300) / len(labels)
    # −2 log evidence = N log σ² − Σ log(λ / (s² + λ)) + constant
    best = np.argmin(len(labels) * np.log(noise) - np.log(shrunk).sum(1))
    return np.asarray(right.T @ (sizes / (sizes**2 + RIDGE[best]) * seen))


def _size(labels: Floats) -> float:
    """Root mean square, or one where there are none."""
    return max(float(np.sqrt(np.mean(labels**2))), LEAST_UNIT) if labels.size else 1.0


def _single(array: Floats) -> Tensor:
    return torch.tensor(array, dtype=torch.float32)
