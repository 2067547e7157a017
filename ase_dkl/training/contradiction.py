"""Labels that the others contradict: one wrong energy or stress among right ones.

Networks warp their features until a wrong label fits, and the noise grows over what is left. Polynomials of the strain
cannot. Here the labels are explained by invariant polynomials alone, a linear model in closed form:

    y = A w + residual,   w ~ N(0, β_k) for degree k,   residual ~ N(0, D)

1. With a heavy-tailed residual (Student's t with `TAIL` degrees of freedom), the few wrong labels do not move the fit.
   The prior's breadths β and the two noises come out of the same iteration, expectation and maximisation. Labels far
   from what the labels of all other rows say of them are suspects.
2. A label may also be far off because the polynomials are. So suspects are let in, one by one, the least suspicious
   first. One stays outside if the evidence is in favour of that: if the others alone, and any value for this one, are
   far more probable than all of them together.

Source: the t distribution as a mixture: Lange, Little & Taylor (1989), doi:10.2307/2290063; leave-one-out in closed
form: Rasmussen & Williams (2006), section 5.4.2; the invariant polynomials: `invariants`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.crystal.invariants import Invariants
from ase_dkl.crystal.lattice import VOIGT_NAMES, volumes
from ase_dkl.dataset import Dataset
from ase_dkl.model.labels import Labels
from ase_dkl.model.records import Contradiction
from ase_dkl.model.space import Lattice

DEGREE, FEW_IMAGES, LOW_DEGREE = 6, 4, 4
"""The polynomials' degree, and what it is with fewer images than these, where there are so many polynomials."""
TAIL = 1.0
SUSPICIOUS = np.array([12.0, 20.0])
"""Standard deviations, of energies and slopes. Right energies come to 5, right slopes far out in the strains to 13."""
DECISIVE = 20.0
"""Nats by which the evidence speaks against a label."""
LEAST_NOISE = np.array([4e-4, 2.5e-3])
"""The same, in units of their spread. Less than `SUSPICIOUS` times this, 0.5 and 5 %, is left alone."""
FIRST_NOISE, FIRST_BREADTH, CONSTANT = 1e-2, 3.0, 10.0
"""Where the iteration begins, in units of the labels' spread, and the prior of the constant and of the offset."""
STEPS, SETTLED = 100, 1e-2
"""The iteration takes at most so many steps, and has settled where no variance changes by more than this part."""
TOGETHER = 2000
"""Rows judged together; of more, parts drawn at random are."""
MOST = 0.25
"""Part of the rows. Where more are suspects, the polynomials are wrong, or all labels are."""


Mask = NDArray[np.bool_]


def contradicted(dataset: Dataset) -> tuple[Contradiction, ...]:
    """Find labels that the others contradict.

    Args:
        dataset: labelled cells of one crystal.

    Returns:
        In the order of the rows, energies before stresses.
    """
    parts = np.array_split(np.random.default_rng(0).permutation(len(dataset)), -(-len(dataset) // TOGETHER) or 1)
    found = [each for part in parts for each in _among(dataset.subset(np.sort(part)))]
    place = {str(row): at for at, row in enumerate(dataset.ids)}
    return tuple(sorted(found, key=lambda each: (place[each.id], each.label)))


def _among(dataset: Dataset) -> list[Contradiction]:
    dataset = dataset.stressed_first()
    problem = _Problem.of(dataset)
    first = problem.explained(problem.known, robust=True)
    far = first.far_off(problem)
    suspects = np.argwhere(far > SUSPICIOUS)
    if not len(suspects) or len(np.unique(suspects[:, 0])) > max(1, MOST * len(dataset)):
        return []
    trusted = problem.known & (far <= SUSPICIOUS)[:, problem.kinds]
    base = problem.explained(trusted, start=first)
    wrong = []
    for row, kind in suspects[np.argsort(far[tuple(suspects.T)])]:
        with_it = trusted.copy()
        with_it[row] |= problem.known[row] & (problem.kinds == kind)
        together = problem.explained(with_it, start=base)
        label = with_it[row] & ~trusted[row]
        # The most favourable density for a label that may be anything: a Gaussian as wide as it is far off.
        width = np.sqrt(np.mean((problem.labels[row] - base.means[row])[label] ** 2))
        anything = -0.5 * label.sum() * (np.log(2 * np.pi * width**2) + 1)
        if base.evidence + anything - together.evidence > DECISIVE:
            wrong.append((row, kind))
        else:
            trusted, base = with_it, together
    return [_told(dataset, problem, base, row, kind) for row, kind in wrong]


@dataclass(frozen=True, eq=False)
class _Problem:
    """Labels of n structures in weight space: an energy and t slopes of each, as far as they are known.

    Attributes:
        scale: eV.
        shift: eV, of energies.
        functions: A for a prior N(0, I), shape (n, 1 + t, P).
        degrees: of the functions; 0 of the constant and of the labels' offset, shape (P,).
        labels: scaled, 0 where there is none, shape (n, 1 + t).
        known: where there is one, shape (n, 1 + t).
        directions: strains of the slopes of the first m structures, shape (m, t, 6).
        spread: root mean square of the energies, which is 1, and of the slopes, shape (2,).
    """

    scale: float
    shift: float
    functions: Floats
    degrees: NDArray[np.int_]
    labels: Floats
    known: Mask
    directions: Floats
    spread: Floats

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Labels of a dataset whose rows with stresses come first."""
        space = Lattice.of(dataset.crystal, dataset.cells)
        labels = Labels.of(dataset, space)
        n, (m, t) = len(labels.values), labels.slopes.shape
        assert space.metric is not None
        degree = DEGREE if len(space.frame.images) >= FEW_IMAGES else LOW_DEGREE
        invariants = Invariants.of(space.metric, space.frame.images, degree)
        values, slopes = invariants.functions(space.crystal.vectors(labels.points), labels.directions)
        functions = np.zeros((n, 1 + t if m else 1, values.shape[1] + 1))
        functions[:, 0, :-1] = values
        together, known = np.zeros(functions.shape[:2]), np.zeros(functions.shape[:2], dtype=bool)
        together[:, 0], known[:, 0] = labels.values, True
        if m:
            functions[:m, 1:, :-1] = slopes
            functions[:m, 1:, -1] = labels.offsets
            together[:m, 1:], known[:m, 1:] = labels.slopes, True
        degrees = np.repeat(np.arange(degree + 1), [1, *(each.mixing.shape[1] for each in invariants.degrees)])
        spread = np.array([1.0, np.sqrt(np.mean(labels.slopes**2)) if m else 1.0])
        scales = labels.units.scale, labels.units.shift
        return cls(*scales, functions, np.append(degrees, 0), together, known, labels.directions, spread)

    @property
    def kinds(self) -> NDArray[np.int_]:
        """Kinds of the labels of a structure: 0 is an energy, 1 a slope, shape (1 + t,)."""
        return (np.arange(self.labels.shape[1]) > 0).astype(int)

    def explained(self, used: Mask, *, robust: bool = False, start: _Explained | None = None) -> _Explained:
        """Fit the weights to the labels `used`, and noises and breadths by maximising the evidence.

        Args:
            used: shape (n, 1 + t).
            robust: against labels far off: each row's energy, and its slopes together, have noise of their own.
            start: from where the iteration begins.
        """
        n, b, p = self.functions.shape
        kinds, least = self.kinds, (LEAST_NOISE * self.spread) ** 2
        noises = (FIRST_NOISE * self.spread) ** 2 if start is None else start.noises
        breadths = np.full(self.degrees.max() + 1, FIRST_BREADTH**2) if start is None else start.breadths
        breadths[0] = CONSTANT**2
        trust = np.ones((n, 2))
        counts = np.stack([used[:, kinds == kind].sum(axis=1) for kind in (0, 1)], axis=1)
        members = np.bincount(self.degrees, minlength=len(breadths))
        for _ in range(STEPS):
            noise = np.where(used, (noises / trust)[:, kinds], 1.0)
            scaled = self.functions * np.sqrt(breadths)[self.degrees]
            rows = np.where(used, 1.0, 0.0)[..., None] * scaled / np.sqrt(noise)[..., None]
            rows, residual = rows.reshape(n * b, p), (used * self.labels / np.sqrt(noise)).ravel()
            # B = I + Aᵀ D⁻¹ A = L Lᵀ,  w = B⁻¹ Aᵀ D⁻¹ y
            root = np.linalg.cholesky(np.eye(p) + rows.T @ rows)
            inverse = np.linalg.inv(root)
            projected = inverse @ (rows.T @ residual)
            weights, seen = inverse.T @ projected, scaled @ inverse.T
            means = scaled @ weights
            squares = np.where(used, (self.labels - means) ** 2 + (seen**2).sum(-1), 0.0)
            squares = np.stack([squares[:, kinds == kind].sum(axis=1) for kind in (0, 1)], axis=1)
            if robust:
                trust = (TAIL + counts) / (TAIL + squares / noises)
            before = np.concatenate([noises, breadths])
            noises = np.maximum((trust * squares).sum(axis=0) / np.maximum(counts.sum(axis=0), 1), least)
            sizes = weights**2 + (inverse**2).sum(axis=0)
            # A degree of few functions is told by few numbers: one more, which says that nothing changes.
            changes = (np.bincount(self.degrees, sizes, minlength=len(breadths)) + 1) / (members + 1)
            breadths = breadths * np.append(1.0, changes[1:])
            if np.abs(np.log(np.concatenate([noises, breadths]) / before)).max() < SETTLED:
                break
        # log N(y; 0, A Aᵀ + D)
        evidence = (
            -0.5 * (residual @ residual - projected @ projected)
            - np.log(np.diagonal(root)).sum()
            - 0.5 * np.log(2 * np.pi * noise[used]).sum()
        )
        return _Explained(noises, breadths, noise, means, seen, float(evidence))


@dataclass(frozen=True, eq=False)
class _Explained:
    """What labels look like as polynomials.

    Attributes:
        noises: variance of energies and of slopes, shape (2,).
        breadths: of the prior, by degree.
        noise: variance of every label, shape (n, 1 + t).
        means: shape (n, 1 + t).
        seen: roots of the means' covariances, shape (n, 1 + t, P).
        evidence: log probability of the labels that were used, nats.
    """

    noises: Floats
    breadths: Floats
    noise: Floats
    means: Floats
    seen: Floats
    evidence: float

    def far_off(self, problem: _Problem) -> Floats:
        """How far each row's energy, and its slopes, are from what all other rows say of them, in σ, shape (n, 2).

        σ has the noise of the others in it, not that of the label itself.
        """
        identity = np.eye(self.noise.shape[1])
        noise = identity * self.noise[..., None]
        # e = D (D − C)⁻¹ r and covariance D (D − C)⁻¹ D − D of a row left out, C the posterior's
        left = noise @ np.linalg.inv(noise - self.seen @ self.seen.mT)
        errors = (left @ (problem.labels - self.means)[..., None])[..., 0]
        variances = np.diagonal(left @ noise - noise, axis1=1, axis2=2)
        sigmas = np.sqrt(np.maximum(variances, 0) + self.noises[problem.kinds])
        scores = np.where(problem.known, np.abs(errors) / sigmas, 0.0)
        return np.stack([scores[:, 0], scores[:, 1:].max(axis=1, initial=0.0)], axis=1)


def _told(dataset: Dataset, problem: _Problem, fitted: _Explained, row: int, kind: int) -> Contradiction:
    """A contradiction in the units of the labels."""
    identity = str(dataset.ids[row])
    of_kind = problem.kinds == kind
    given, expected, seen = (problem.scale * each[row][of_kind] for each in (problem.labels, fitted.means, fitted.seen))
    covariance = seen @ seen.T + problem.scale**2 * fitted.noises[kind] * np.eye(len(seen))
    if kind == 0:
        label, other = (float(each[0]) + problem.shift for each in (given, expected))
        return Contradiction(identity, "energy", label, other, float(np.sqrt(covariance[0, 0])))
    # A sheet's slopes are along strains in its plane; this is the stress that has them.
    to_GPa = np.linalg.pinv(problem.directions[row]) / (volumes(dataset.cells[row]) * GPa)
    given, expected, stds = to_GPa @ given, to_GPa @ expected, np.sqrt(np.diagonal(to_GPa @ covariance @ to_GPa.T))
    sigmas = np.divide(np.abs(given - expected), stds, out=np.zeros(6), where=stds > 0)
    worst = int(sigmas.argmax())
    label, other, std = (float(each[worst]) for each in (given, expected, stds))
    return Contradiction(identity, f"stress {VOIGT_NAMES[worst]}", label, other, std)
