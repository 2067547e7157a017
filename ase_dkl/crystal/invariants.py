"""Polynomials of the strain that are the same for all symmetry images of a lattice.

With G₀ = L Lᵀ the metric of the unstrained lattice and C = L⁻¹ G L⁻ᵀ that of a strained one, the strain is

    A = (C − I) (C + I)⁻¹ = I − 2 (C + I)⁻¹ = tanh H,   H = ½ log C the logarithmic (Hencky) strain

to third order H itself, but a rational function of the metric. A symmetry image G → W G Wᵀ turns it, A → Q A Qᵀ with
the orthogonal Q = L⁻¹ W L, so that images mix polynomials of one degree only. In Mandel's notation x (p numbers, off
the diagonal times √2, in units of `UNIT`) an image is x → R x with orthogonal R.

The functions φ of degree k are an orthonormal basis of the polynomials that no image changes, in Bombieri's inner
product: that of the coefficients c of c x^α √(k! / α!). A prior N(0, I) on their coefficients is the covariance

    Σ φ(x) φ(x') = DECAY^(2 max(k − 2, 0)) mean_W (x · R_W x')^k

whatever basis was taken. A cubic crystal has 72 of them up to the sixth degree, a triclinic one 924.

Source: Bombieri's product: Beauzamy, Bombieri, Enflo & Montgomery, J. Number Theory 36, 219 (1990); means over a group
(Reynolds operator): Sturmfels, Algorithms in Invariant Theory (2008), chapter 2.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Self

import numpy as np

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal import lattice

UNIT = 1 / 16
"""Unit of strain. Energies of crystals change their kind over about as much, whatever the data are."""
DECAY = 0.1
"""Decay of the prior from degree to degree, beyond the second: crystals are nearly harmonic."""
NOTHING = 1e-6
"""Norm of what is left of a polynomial that is a combination of others."""


@dataclass(frozen=True, eq=False)
class Degree:
    """Invariant polynomials of one degree.

    Attributes:
        first: each monomial of this degree is a coordinate, by its place, shape (N,) …
        rest: … times a monomial of one degree less, by its place, shape (N,).
        mixing: the invariants' coefficients of the monomials, shape (N, R).
    """

    first: Integers
    rest: Integers
    mixing: Floats


@dataclass(frozen=True, eq=False)
class Invariants:
    """Invariant polynomials from the zeroth degree on.

    Attributes:
        root: L⁻¹, shape (d, d), 1/Å.
        degrees: those from the first on.
    """

    root: Floats
    degrees: tuple[Degree, ...]

    @classmethod
    def of(cls, metric: Floats, images: Floats, degree: int) -> Self:
        """All up to a degree.

        Args:
            metric: G₀, which no image changes, shape (d, d), Å².
            images: W, shape (g, d, d).
            degree: the highest.
        """
        factor = np.linalg.cholesky(metric)
        root = np.linalg.inv(factor)
        # To twelve digits, so that metrics that differ by rounding share what is costly.
        turns = _unique(_on_strains(root @ images @ factor)).round(12) + 0.0
        return cls(root, _degrees(turns.tobytes(), turns.shape[-1], degree))

    @property
    def count(self) -> int:
        """Number of the functions, the constant one among them."""
        return 1 + sum(len(each.mixing.T) for each in self.degrees)

    def functions(self, cells: Floats, directions: Floats) -> tuple[Floats, Floats]:
        """Values, and derivatives of the first m cells along strains.

        Args:
            cells: periodic rows, shape (n, d, 3), Å.
            directions: Voigt strains, shape (m, t, 6).

        Returns:
            Arrays of shape (n, P) and (m, t, P).
        """
        stretched = self.root @ lattice.metric(cells) @ self.root.T
        identity = np.eye(len(self.root))
        halved = np.linalg.inv(stretched + identity)
        x = _mandel(identity - 2 * halved) / UNIT
        m, t, _ = directions.shape
        changes = self.root @ lattice.metric_tangents(cells[:m]) @ self.root.T
        # d (C + I)⁻¹ = −(C + I)⁻¹ dC (C + I)⁻¹
        dx = directions @ _mandel(2 * halved[:m, None] @ changes @ halved[:m, None]) / UNIT
        powers, tangents = np.ones((len(x), 1)), np.zeros((m, t, 1))
        values, slopes = [powers], [tangents]
        for each in self.degrees:
            lower, of_lower = powers[:, each.rest], tangents[..., each.rest]
            powers = x[:, each.first] * lower
            tangents = dx[..., each.first] * lower[:m, None] + x[:m, None, each.first] * of_lower
            values.append(powers @ each.mixing)
            slopes.append(tangents @ each.mixing)
        return np.concatenate(values, axis=1), np.concatenate(slopes, axis=2)


@lru_cache(maxsize=8)
def _degrees(turns_in_bytes: bytes, p: int, degree: int) -> tuple[Degree, ...]:
    """Invariant polynomials of R, (g, p, p), from the first degree to the last."""
    turns = np.frombuffer(turns_in_bytes).reshape(-1, p, p)
    monomials: list[tuple[int, ...]] = [()]
    turned = np.ones((len(turns), 1, 1))
    degrees = []
    for k in range(1, degree + 1):
        lower = {monomial: place for place, monomial in enumerate(monomials)}
        monomials = list(combinations_with_replacement(range(p), k))
        place = {monomial: at for at, monomial in enumerate(monomials)}
        first = np.array([monomial[0] for monomial in monomials])
        rest = np.array([lower[monomial[1:]] for monomial in monomials])
        # An image of x_i m is Σ_j R_ij x_j times the image of m: coefficients (images, of monomial, in monomial).
        factors, shape = turned[:, rest], (len(monomials), len(monomials))
        mean, turned = np.zeros(shape), np.zeros((len(turns) if k < degree else 0, *shape))
        for j in range(p):
            times_j = [place[tuple(sorted((*monomial, j)))] for monomial in lower]
            weights = turns[:, first, j]
            mean[:, times_j] += np.einsum("gi,gij->ij", weights, factors) / len(turns)
            turned[:, :, times_j] += weights[: len(turned), :, None] * factors[: len(turned)]
        norms = np.sqrt([_multinomial(monomial) for monomial in monomials])
        basis = _independent(mean * norms[:, None] / norms)
        degrees.append(Degree(first, rest, DECAY ** max(k - 2, 0) * norms[:, None] * basis))
    return tuple(degrees)


def _mandel(matrices: Floats) -> Floats:
    """Symmetric matrices (..., d, d) as vectors of the same norm, shape (..., p)."""
    i, j = np.triu_indices(matrices.shape[-1])
    return np.asarray(matrices[..., i, j] * np.where(i == j, 1, math.sqrt(2)))


def _on_strains(turns: Floats) -> Floats:
    """What A → Q A Qᵀ does to Mandel vectors, of Q (g, d, d), shape (g, p, p)."""
    d = turns.shape[-1]
    i, j = np.triu_indices(d)
    units = np.zeros((len(i), d, d))
    places = np.arange(len(i))
    units[places, i, j] = units[places, j, i] = np.where(i == j, 1, math.sqrt(0.5))
    return _mandel(turns[:, None] @ units @ turns.mT[:, None]).mT


def _unique(turns: Floats) -> Floats:
    """Each of them once: Q and −Q do the same to strains."""
    _, kept = np.unique(turns.round(6), axis=0, return_index=True)
    return turns[np.sort(kept)]


def _multinomial(monomial: tuple[int, ...]) -> float:
    return math.factorial(len(monomial)) / math.prod(math.factorial(n) for n in Counter(monomial).values())


def _independent(projector: Floats) -> Floats:
    """An orthonormal basis of a projector's range, shape (N, R), by Gram and Schmidt.

    Not its eigenvectors, which are an accident of rounding: this basis is the same on every machine.
    """
    basis = np.zeros((len(projector), 0))
    for row in projector:
        left = row - basis @ (row @ basis)
        left -= basis @ (left @ basis)  # twice is enough
        if (size := np.linalg.norm(left)) > NOTHING:
            basis = np.column_stack([basis, left / size])
    return basis
