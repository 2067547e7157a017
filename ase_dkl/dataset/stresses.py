"""Are stresses the derivatives of energies? If not: of which unit, sign, order or volume are they?

Polynomials of the strain that no symmetry image changes are fitted to the stresses alone. What they say of the
energies, f times over, is compared with the energies: log p(E | σ, f). Where f = 1 explains the energies far worse than
another factor does, or another order of the six numbers, one of the two kinds of label is wrong. Every row counts, and
every image of it. The noise of the stresses is found in the fit, and that of the energies is integrated out, so that
what is clear depends on the data alone. Of linear terms stresses say nothing here: a constant in V σ (Pulay stress) is
no fault.

Measured on random crystals of all Laue classes, sheets and chains, strained by 0.3 to 10 %, 5 to 60 rows, noise of up
to a tenth of the spread, Pulay offsets of up to 0.5 eV, and on the shipped data, 5 rows to all: right labels stay below
4 nats, and at least 0.92 of their stresses' variance is a smooth function of the lattice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import GPa
from numpy.typing import NDArray
from scipy.special import logsumexp

from ase_dkl.arrays import Floats
from ase_dkl.crystal import lattice
from ase_dkl.crystal.invariants import Invariants
from ase_dkl.crystal.lattice import volumes
from ase_dkl.dataset.units import causes

CLEAR = 12.0
"""Nats by which another meaning of the labels must explain them better than the right one does."""
NEAR = 1.5
"""Factors up to this and down to its inverse are no matter of units."""
ROUGH = 0.6
"""Standard deviation that no smooth function of the lattice explains, of all: from here on stresses contradict each
other. Right labels are at most at 0.27, those of other rows or in another frame mostly above 0.5."""
FEWEST_STRESSES = 30
"""Numbers that tell rough from smooth."""
MOST_ROWS = 512
"""Rows that judge; with more of them a random choice judges as well."""
FEW_FUNCTIONS = 60
"""Polynomials are of the fourth degree where those of the third are no more than this, and else of the third."""
LINEAR, OFFSET, ANISOTROPY = 10.0, 100.0, 1.0
"""Prior of the linear terms, of the labels' hydrostatic offset and of any other that symmetry allows, in units of the
other terms'."""
EXACT = 1e-4
"""Noise that labels have at least, of their spread."""
RANGE = 1e12
"""The largest factor that is thought of, and the inverse of the smallest."""
DEGENERATE = 1e-11

ORDERS = {
    "": [0, 1, 2, 3, 4, 5],
    "in the order xx yy zz xy yz zx (VASP's)": [0, 1, 2, 4, 5, 3],
    "in the order xx yy zz xy xz yz": [0, 1, 2, 5, 4, 3],
    "in the order xx yy zz xz yz xy": [0, 1, 2, 4, 3, 5],
    "in the order xx yy zz yz xy xz": [0, 1, 2, 3, 5, 4],
    "in the order xx yy zz xz xy yz": [0, 1, 2, 5, 3, 4],
    "in the order xx xy xz yy yz zz": [0, 3, 5, 4, 2, 1],
    "in the order xx xy yy xz yz zz": [0, 2, 5, 4, 3, 1],
}
"""Where each of ASE's six components stands."""


@dataclass(frozen=True)
class Meaning:
    """How well labels explain the energies, taken in one order.

    Attributes:
        order: words of `ORDERS`.
        factor: f, energies' derivatives over the labels.
        error: standard deviation of its logarithm.
        evidence: with that factor, nats.
        near: the largest with a factor near 1, nats.
        noise: of the energies about what labels times f say of them, of their standard deviation.
        rough: of the labels about a smooth function of the lattice, of their standard deviation.
        numbers: how many labels there are.
        stiffness: how much the stress varies over how much the strain does, GPa.
        worst: rows by what they add to that, the worst first, and their shares of it.
    """

    order: str
    factor: float
    error: float
    evidence: float
    near: float
    noise: float
    rough: float
    numbers: int
    stiffness: float
    worst: tuple[NDArray[np.int_], Floats]


def meanings(
    images: NDArray[np.int_], periodic: tuple[int, ...], cells: Floats, energies: Floats, stresses: Floats
) -> list[Meaning]:
    """What the stresses may mean, the given order first; nothing where the labels have no say.

    Args:
        images: the crystal's, shape (g, d, d).
        periodic: the d periodic axes.
        cells: shape (n, 3, 3), Å.
        energies: eV per cell, shape (n,).
        stresses: NaN where there is none, shape (n, 6).
    """
    if len(cells) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(0).choice(len(cells), MOST_ROWS, replace=False))
        cells, energies, stresses = cells[chosen], energies[chosen], stresses[chosen]
    order = np.argsort(np.isnan(stresses).any(axis=1), kind="stable")
    cells, energies, stresses = cells[order], energies[order], stresses[order]
    m = int(np.isfinite(stresses).all(axis=1).sum())
    sizes = volumes(cells[:m])[:, None]
    virials = sizes * stresses[:m]
    if np.ptp(energies) <= 1e-13 * np.abs(energies).max() or not virials.any():
        return []
    fit = _Smooth(images.astype(float), cells[:, list(periodic)], m)
    found = []
    for words, places in ORDERS.items():
        labels = (fit.directions @ virials[:, places, None])[..., 0]
        if not labels.any():
            continue
        expected, root, evidence, left = fit.to(labels)
        likelihood = Energies(energies - energies.mean(), expected, root)
        factor, best = max((likelihood.best(1 / RANGE, RANGE, sign) for sign in (1, -1)), key=lambda pair: pair[1])
        _, near = likelihood.best(1 / NEAR, NEAR, 1)
        # In a sheet another order takes other numbers, whose likelihoods do not compare.
        evidence = evidence if len(periodic) == 3 else 0.0
        by_row = (left**2).sum(axis=1)
        worst = np.argsort(-by_row)
        found.append(
            Meaning(
                order=words,
                factor=factor,
                error=likelihood.error(factor),
                evidence=evidence + best,
                near=evidence + near,
                noise=likelihood.noise(factor) / energies.std(),
                rough=float(np.sqrt(by_row.sum() / max(((labels - labels.mean(axis=0)) ** 2).sum(), 1e-300))),
                numbers=labels.size,
                stiffness=float((labels.std(axis=0).max() / sizes.mean()) / fit.spread / GPa),
                worst=(order[worst], by_row[worst] / max(by_row.sum(), 1e-300)),
            )
        )
    return found


class _Smooth:
    """Polynomials of the strain, to be fitted to ∂E/∂ε.

    Args:
        images: shape (g, d, d).
        cells: periodic rows, shape (n, d, 3), Å.
        m: how many of them have stresses; these come first.

    Attributes:
        directions: of the strains, shape (m, t, 6).
        spread: standard deviation of the component of the strain that varies most.
    """

    def __init__(self, images: Floats, cells: Floats, m: int) -> None:
        metric = (images @ lattice.metric(cells).mean(axis=0) @ images.mT).mean(axis=0)
        invariants = Invariants.of(metric, images, 3)
        if invariants.count <= FEW_FUNCTIONS:
            invariants = Invariants.of(metric, images, 4)
        self.directions = lattice.independent_strains(cells[:m])
        strains = invariants.root @ lattice.metric(cells[:m]) @ invariants.root.T / 2
        self.spread = float(strains.std(axis=0).max())
        values, slopes = (each[..., 1:] for each in invariants.functions(cells, self.directions))
        mixing = invariants.degrees[0].mixing
        linear = slice(mixing.shape[1])
        i, j = np.triu_indices(cells.shape[1])
        offsets = slopes[..., linear] @ np.column_stack(
            [ANISOTROPY * np.eye(mixing.shape[1]), OFFSET * mixing[i == j].sum(0)]
        )
        values[:, linear] *= LINEAR
        slopes[..., linear] *= LINEAR
        self._slopes = np.concatenate([slopes, offsets], axis=2).reshape(slopes.shape[0] * slopes.shape[1], -1)
        values = np.pad(values, ((0, 0), (0, offsets.shape[2])))
        self._values = values - values.mean(axis=0)
        self._eigenvalues, self._vectors = np.linalg.eigh(self._slopes.T @ self._slopes)

    def to(self, labels: Floats) -> tuple[Floats, Floats, float, Floats]:
        """Fit labels of ∂E/∂ε, shape (m, t).

        Returns:
            The energies that follow, less their mean, shape (n,); R with R Rᵀ their covariance, shape (n, P); the fit's
            log evidence, nats; and what is left of the labels, shape (m, t).
        """
        d, vectors, y = self._eigenvalues, self._vectors, labels.ravel()
        told = d > DEGENERATE * d[-1]
        d = np.where(told, d, 0.0)
        products = np.where(told, vectors.T @ (self._slopes.T @ y), 0.0)
        solution = np.divide(products, d, out=np.zeros_like(d), where=told)
        left = y - self._slopes @ (vectors @ solution)
        beside = left @ left + EXACT**2 * (y @ y)
        # y ~ N(0, A² (Φ Φᵀ + λ I)) with the likeliest A for each λ.
        ratios = np.geomspace(1e-10, 1e2, 49) * np.median(d[told])
        quadratic = beside / ratios + (products * solution / (d + ratios[:, None])).sum(axis=1)
        determinant = np.log1p(d / ratios[:, None]).sum(axis=1) + y.size * np.log(ratios)
        evidence = -0.5 * (y.size * np.log(quadratic / y.size) + determinant)
        at = int(evidence.argmax())
        noise = np.sqrt(ratios[at] * quadratic[at] / y.size)
        weights = vectors @ (products / (d + ratios[at]))
        root = self._values @ (vectors * (noise / np.sqrt(d + ratios[at])))
        return self._values @ weights, root, float(evidence[at]), (y - self._slopes @ weights).reshape(labels.shape)


class Energies:
    """log p(E | σ, f), less a constant, as a function of f.

    Args:
        energies: less their mean, shape (n,).
        expected: by the stresses, with f = 1, less their mean, shape (n,).
        root: R with R Rᵀ the covariance of these expectations, shape (n, P).
    """

    def __init__(self, energies: Floats, expected: Floats, root: Floats) -> None:
        directions, sizes, _ = np.linalg.svd(root, full_matrices=False)
        told = sizes > DEGENERATE * sizes[0]
        directions, self._variances = directions[:, told], sizes[told] ** 2
        self._energies, self._expected = directions.T @ energies, directions.T @ expected
        left, left_expected = energies - directions @ self._energies, expected - directions @ self._expected
        self._left = float(left @ left), float(left @ left_expected), float(left_expected @ left_expected)
        self._freedom = max(len(energies) - 1 - len(self._variances), 0)
        self._noises = energies.std() * np.geomspace(EXACT, 1e3, 43)

    def by_noise(self, factors: Floats) -> Floats:
        """Likelihoods of each factor and each noise, shape (F, noises)."""
        noise = self._noises**2
        variances = factors[:, None, None] ** 2 * self._variances + noise[:, None]
        misfits = (self._energies - factors[:, None, None] * self._expected) ** 2
        ee, em, mm = self._left
        left = np.maximum(ee - 2 * factors * em + factors**2 * mm, 0)[:, None]
        within = (np.log(variances) + misfits / variances).sum(axis=2)
        return np.asarray(-0.5 * (within + self._freedom * np.log(noise) + left / noise))

    def __call__(self, factors: Floats) -> Floats:
        """Likelihoods with the noise integrated out, shape (F,)."""
        return np.asarray(logsumexp(self.by_noise(factors), axis=1) - np.log(len(self._noises)))

    def best(self, low: float, high: float, sign: int) -> tuple[float, float]:
        """The likeliest factor between two, and its likelihood."""
        low, high = np.log(low), np.log(high)
        for points in (129, 17, 17, 17, 17):
            grid = np.linspace(low, high, points)
            values = self(sign * np.exp(grid))
            at = int(values.argmax())
            low, high = grid[max(at - 1, 0)], grid[min(at + 1, points - 1)]
        return sign * float(np.exp(grid[at])), float(values[at])

    def error(self, factor: float) -> float:
        """Standard deviation of the factor's logarithm about the likeliest."""
        step = 1e-2
        below, here, above = self(factor * np.exp([-step, 0, step]))
        return float(step / np.sqrt(max(2 * here - below - above, step**2)))

    def noise(self, factor: float) -> float:
        """Noise of the energies, eV."""
        return float(self._noises[self.by_noise(np.array([factor]))[0].argmax()])


def contradiction(found: list[Meaning], periodic: int, atoms: Atoms, ids: NDArray[np.int_]) -> str | None:
    """What is wrong with stresses, in words, or None.

    Args:
        found: of `meanings`.
        periodic: number of periodic axes.
        atoms: a typical structure.
        ids: row ids, shape (n,).
    """
    if not found:
        return None
    given, best = found[0], max(found, key=lambda meaning: meaning.evidence)
    wrong = best.evidence - given.near > CLEAR
    if wrong and max(best.noise, best.rough) < ROUGH:
        return f"The stresses are not the derivatives of the energies: {_in_words(best, periodic, atoms)}"
    if given.rough > ROUGH and (wrong or given.numbers >= FEWEST_STRESSES):
        rows, shares = given.worst
        most = f", most of it in row {ids[rows[0]]}" if shares[0] > 0.5 else ""
        return (
            f"The stresses are not the derivatives of any energy: {100 * min(given.rough**2, 1):.0f} % of their "
            f"variance is no smooth function of the lattice{most}. Stresses of other rows, or in another frame than "
            "the cells, do this."
        )
    return None


def _in_words(best: Meaning, periodic: int, atoms: Atoms) -> str:
    ratio = 1 / abs(best.factor)
    parts = []
    stiffness = ""
    if not 1 / NEAR < ratio < NEAR:
        size = f"{ratio:.4g} times too large" if ratio > 1 else f"{1 / ratio:.4g} times too small"
        if likely := causes(ratio, best.error, atoms):
            size += "".join(f", {'or ' * (i > 0)}as if {cause}" for i, cause in enumerate(likely))
        elif periodic < 3:
            size += ", as with another vacuum or thickness (ASE divides by the volume of the whole cell)"
        parts.append(size)
        if periodic == 3:
            by_stresses, by_energies = (_rounded(best.stiffness * f) for f in (1, abs(best.factor)))
            stiffness = (
                f" By the stresses the crystal's stiffness is about {by_stresses} GPa, by the energies {by_energies}."
            )
    if best.factor < 0:
        parts.append("of the opposite sign")
    if best.order:
        parts.append(best.order)
    return f"they are {'; '.join(parts)}.{stiffness}"


def _rounded(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"
