"""Equilibrium lattice and elastic constants from DFT rows alone: what a surrogate's are held against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _common import Floats
from ase.db import connect
from ase.eos import EquationOfState, birchmurnaghan
from ase.units import GPa, J, m
from numpy.typing import NDArray
from scipy.optimize import curve_fit

N_PER_M = J / m**2
"""1 N/m in eV/Å²."""
WHOLE, NARROW = "Birch–Murnaghan to all volumes, degree 4 to ±2 %", "without its ends, degree 2 to ±1 %"
"""What is fitted to what, and another choice as good: how far the two are apart is no part of an error bar."""


class Number(NamedTuple):
    """A value and one standard deviation of it."""

    value: float
    std: float

    def __str__(self) -> str:
        decimals = max(0, 1 - int(np.floor(np.log10(self.std or 1))))
        return f"{self.value:.{decimals}f} ± {self.std:.{decimals}f}"


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one set, in the order of their strain.

    Attributes:
        dimensions: 3, or 2 for sheets and slabs.
        strains: what the set is named after, zero where that is the volume, shape (n,).
        edges: length of the first lattice vector, Å, shape (n,).
        sizes: volumes, Å³, or areas, Å², shape (n,).
        energies: eV, shape (n,).
        derivatives: V σ of the labels, eV, shape (n, 6).
    """

    dimensions: int
    strains: Floats
    edges: Floats
    sizes: Floats
    energies: Floats
    derivatives: Floats

    @classmethod
    def read(cls, database: Path, name: str, ions: str) -> Rows:
        rows = list(connect(database).select(set=name, ions=ions))
        rows.sort(key=lambda row: (row.get("strain", 0.0), row.volume))
        dimensions = int(sum(rows[0].pbc))
        cells = np.array([row.cell for row in rows])
        volumes = np.abs(np.linalg.det(cells))
        return cls(
            dimensions=dimensions,
            strains=np.array([row.get("strain", 0.0) for row in rows]),
            edges=np.linalg.norm(cells[:, 0], axis=1),
            # The vacuum of a sheet is along z.
            sizes=volumes if dimensions == 3 else volumes / cells[:, 2, 2],
            energies=np.array([row.energy for row in rows]),
            derivatives=volumes[:, None] * np.array([row.stress for row in rows]),
        )

    def only(self, keep: NDArray[np.bool_]) -> Rows:
        """Some of the rows, by a mask."""
        columns = ("strains", "edges", "sizes", "energies", "derivatives")
        return replace(self, **{name: getattr(self, name)[keep] for name in columns})


def direct(database: Path, ions: str = "clamped", *, narrow: bool = False) -> dict[str, Number]:
    """What the rows tell: the edge "a" of their cell, Å, "B0", "B0'" and constants, GPa or N/m, and the "offset", eV.

    The labels' offset in V σ (Pulay stress) is what stresses at isotropic strains are more than the slope of the
    energies. It is taken off before anything else is done with them: of p₀/V in a stress, −p₀/V is in its slope.

    Args:
        database: with the sets `volumes`, `xx` and, of a bulk crystal, `yz`.
        ions: "clamped" or "relaxed".
        narrow: make the other choice of what is fitted to what, `NARROW`.
    """
    isotropic = Rows.read(database, "volumes", ions)
    if narrow:
        isotropic = isotropic.only(np.abs(isotropic.sizes / isotropic.sizes.mean() - 1) < 0.019 * isotropic.dimensions)
    d, sizes = isotropic.dimensions, isotropic.sizes
    unit = GPa if d == 3 else N_PER_M
    guess = EquationOfState(sizes, isotropic.energies, eos="birchmurnaghan")
    guess.fit(warn=False)
    values, covariance = curve_fit(birchmurnaghan, sizes, isotropic.energies, p0=guess.eos_parameters)
    std = np.sqrt(np.diagonal(covariance))
    slopes = (birchmurnaghan(1.0001 * sizes, *values) - birchmurnaghan(0.9999 * sizes, *values)) / 2e-4
    offsets = isotropic.derivatives[:, :d].mean(axis=1) - slopes
    offset = float(offsets.mean())
    edge = isotropic.edges[0] * (values[3] / sizes[0]) ** (1 / d)
    found = {
        "a": Number(edge, edge * std[3] / values[3] / d),
        "B0": Number(values[1] / unit, std[1] / unit),
        "B0'": Number(values[2], std[2]),
    }
    stretched = Rows.read(database, "xx", ions)
    found["C11"] = _slope(stretched, [0], offset, unit, narrow)
    found["C12"] = _slope(stretched, [1, 2][: d - 1], offset, unit, narrow)
    if d == 3:
        found["C44"] = _slope(Rows.read(database, "yz", ions), [3], offset, unit, narrow)
    return found | {"offset": Number(offset, float(offsets.std(ddof=1) / np.sqrt(len(offsets))))}


def _slope(rows: Rows, components: list[int], offset: float, unit: float, narrow: bool) -> Number:
    """Slope of a Cauchy stress along a strain at zero, from a polynomial, with the error of the regression."""
    if narrow:
        rows = rows.only(np.abs(rows.strains) < 0.011)
    labels = rows.derivatives - offset * np.array([1, 1, 1, 0, 0, 0])
    stresses = labels[:, components].mean(axis=1) / rows.sizes / unit
    coefficients, covariance = np.polyfit(rows.strains, stresses, 2 if narrow else 4, cov=True)
    return Number(float(coefficients[-2]), float(np.sqrt(covariance[-2, -2])))
