"""A process of free ions that knows further labels than those that it was trained on, and one that knows none.

The update is exact: a Gaussian process that is conditioned on labels is one again, whose prior is the old posterior. It
learns of structures that no inducing environment is like, and takes longer with every label; training is what makes a
process of many labels fast.

Before any label the expected energy is that of springs between the ions. Coordinates are scaled such that these springs
are alike, so that what labels are expected to change is a part of what the springs say.

Source: force constants from distances: Lindh et al., Chem. Phys. Lett. 241, 423 (1995), and their decay with the
distance: Packwood et al., J. Chem. Phys. 144, 164109 (2016); springs as prior mean of relaxations: Meyer & Hauser,
J. Chem. Phys. 152, 084112 (2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from ase.data import covalent_radii
from ase.units import Bohr, Hartree
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from ase_dkl.arrays import Floats
from ase_dkl.dataset import Dataset
from ase_dkl.model.ion_labels import KINDS, IonLabels
from ase_dkl.model.ionic_surrogate import IonicSurrogate
from ase_dkl.model.labels import Units
from ase_dkl.model.local_kernel import PROFILES, Inducing
from ase_dkl.model.local_process import CONSTANT, LocalProcess, Seen, observations, prior_cross
from ase_dkl.model.pairs import Pairs
from ase_dkl.model.records import IonConfig, TrainingReport

STRETCH = 0.225 * Hartree / Bohr**2
"""Force constant of a bond of the reference length, eV/Å²: half of the source's, which holds for molecules. Relaxations
on metals take fewer calculations with it."""
LENGTHS = np.array([[1.35, 2.10, 2.53], [2.10, 2.87, 3.40], [2.53, 3.40, 3.40]]) * Bohr
STEEPNESS = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]]) / Bohr**2
"""Of bonds between elements of the first, second and later rows."""
DECAY = 3.0
"""How fast springs become weaker, per length of a bond."""
PULL = 1.0
"""What slopes are expected to be at the reference, in coordinates whose square is twice the springs' energy, √eV."""
DOUBT = 0.5
"""By which part curvatures differ from the springs'."""
SPREAD = 1.0
"""By which part all springs between two elements may be stiffer or softer."""
WIDTH = 2.0
"""Way in these coordinates over which curvatures change, √eV."""
FIRST_NOISE = {"value": 1e-4, "strain": 1e-2, "displacement": 2e-3}
"""Of labels, for want of better: eV, eV and eV/Å."""
TRUST = 30.0
"""Labels that weigh as much as what is expected beforehand of the size of all deviations from the springs."""


@dataclass(frozen=True, eq=False)
class FurtherLabels:
    """A process that is conditioned on labels beyond its own; it answers as a `LocalProcess` does.

    Attributes:
        base: without them.
        springs: κ of springs ½ Σ κ x² that the base does not know of, by kind, shape (S, p). How stiff those of a kind
            are labels may change.
        seen: of the structures with further labels, along the directions of these.
        known: which of their values and slopes are labels, shape (n, 1 + t).
        rows: what the base's functions are of these labels, shape (m, M + 2).
        root: a Cholesky factor of their covariance, as `cho_factor` has it.
        pulls: their inverse covariance times what they differ from the base's, shape (m,).
        size: what the base's variances are multiplied by.
    """

    base: LocalProcess
    springs: Floats
    seen: Seen
    known: NDArray[np.bool_]
    rows: Floats
    root: tuple[Floats, bool]
    pulls: Floats
    size: float

    @classmethod
    def of(cls, base: LocalProcess, springs: Floats, labels: IonLabels, *, sized: bool) -> FurtherLabels:
        """Condition a process.

        Args:
            base: the process.
            springs: beside it.
            labels: what is known beyond it.
            sized: whether labels tell the size of the base's variances.
        """
        seen = labels.seen()
        known = labels.known
        rows = observations(base.prior, base.inducing, seen[0] / base.unit, seen[1] / base.unit)
        rows[..., -1] = labels.offsets
        rows = rows[known]
        covariance = _between(base, springs, rows, seen, known, *seen)[known.ravel()]
        expected = rows @ base.weights + _sprung(springs, *seen).sum(axis=-1)[known]
        residual = labels.labels[known] - expected
        variances = np.array([base.noise[kind] ** 2 for kind in KINDS])[labels.kinds]
        covariance[np.diag_indices(len(covariance))] += np.broadcast_to(variances, known.shape)[known]
        root = cho_factor(covariance, lower=True)
        pulls = cho_solve(root, residual)
        size = (TRUST + residual @ pulls) / (TRUST + len(residual)) if sized else 1.0
        return cls(base, springs, seen, known, rows, root, pulls, float(size))

    @property
    def noise(self) -> Mapping[str, float]:
        """Of labels, by kind."""
        return self.base.noise

    @property
    def weights(self) -> Floats:
        """As many numbers as a prediction weighs."""
        return np.concatenate([self.base.weights, self.pulls])

    def means(self, coordinates: Floats, tangents: Floats) -> Floats:
        """The first of `marginals`."""
        return self._means(coordinates, tangents, self._across(coordinates, tangents))

    def marginals(self, coordinates: Floats, tangents: Floats) -> tuple[Floats, Floats]:
        """See `LocalProcess.marginals`."""
        across = self._across(coordinates, tangents)
        variances = self.base.marginals(coordinates, tangents)[1]
        variances = variances + SPREAD**2 * (_sprung(self.springs, coordinates, tangents) ** 2).sum(axis=-1)
        gained = solve_triangular(self.root[0], across.T, lower=True)
        variances = np.maximum(variances - (gained**2).sum(axis=0).reshape(variances.shape), 0)
        return self._means(coordinates, tangents, across), self.size * variances

    def joint(self, coordinates: Floats, tangents: Floats) -> tuple[Floats, Floats]:
        """See `LocalProcess.joint`."""
        across = self._across(coordinates, tangents)
        covariance = self.base.joint(coordinates, tangents)[1]
        stretched = _sprung(self.springs, coordinates, tangents).reshape(len(covariance), -1)
        covariance = covariance + SPREAD**2 * stretched @ stretched.T
        gained = solve_triangular(self.root[0], across.T, lower=True)
        return self._means(coordinates, tangents, across).ravel(), self.size * (covariance - gained.T @ gained)

    def _means(self, coordinates: Floats, tangents: Floats, across: Floats) -> Floats:
        means = self.base.means(coordinates, tangents) + _sprung(self.springs, coordinates, tangents).sum(axis=-1)
        return np.asarray(means + (across @ self.pulls).reshape(means.shape))

    def _across(self, coordinates: Floats, tangents: Floats) -> Floats:
        """Covariances of values and slopes with the labels, shape (n (1 + t), m)."""
        return _between(self.base, self.springs, self.rows, self.seen, self.known, coordinates, tangents)


def _between(
    base: LocalProcess,
    springs: Floats,
    rows: Floats,
    seen: Seen,
    known: NDArray[np.bool_],
    coordinates: Floats,
    tangents: Floats,
) -> Floats:
    """Posterior covariances, by the base, of structures' values and slopes with labels; see `FurtherLabels`."""
    unit, size = base.unit, len(base.whitening)
    here, there = (coordinates / unit, tangents / unit), (seen[0] / unit, seen[1] / unit)
    own = observations(base.prior, base.inducing, *here).reshape(-1, len(base.weights))
    environments = tuple(each.environment for each in base.inducing)
    found = prior_cross(base.prior, environments, here, there)[:, known.ravel()]
    found += (own @ base.factor) @ (rows @ base.factor).T
    stretched = _sprung(springs, coordinates, tangents).reshape(len(own), -1)
    found += SPREAD**2 * stretched @ _sprung(springs, *seen)[known].T
    return np.asarray(found - (own[:, :size] @ base.whitening) @ (rows[:, :size] @ base.whitening).T)


def _sprung(springs: Floats, coordinates: Floats, tangents: Floats) -> Floats:
    """Energies of springs of S kinds and their slopes, shape (n, 1 + t, S)."""
    pulls = springs[:, None] * coordinates
    energies = (pulls * coordinates).sum(axis=2) / 2
    return np.concatenate([energies.T[:, None], tangents @ np.moveaxis(pulls, 0, -1)], axis=1)


def begun(dataset: Dataset, config: IonConfig) -> IonicSurrogate:
    """A model of a few labels, from what is expected of any structure.

    Args:
        dataset: labelled structures of free ions; at least one energy, from which others are counted.
        config: of the model.
    """
    space = Pairs.of(dataset.crystal).as_one()
    stiffness = springs(space)
    (environment,) = space.environments
    environment = replace(environment, weights=np.sqrt(stiffness))
    space = replace(space, environments=(environment,))
    units = Units(float(np.nanmin(dataset.energies)), 1.0)
    inducing = (Inducing.values(environment, np.zeros((1, len(stiffness)))),)
    scales = np.zeros(len(PROFILES))
    for profile, scale in _SCALES.items():
        scales[PROFILES.index(profile)] = scale
    factor = np.zeros((3, 3))
    base = LocalProcess(WIDTH, scales, inducing, FIRST_NOISE, factor, np.zeros(3))
    factor[0, 0], factor[1, 1] = base.whitening[0, 0], CONSTANT
    process = FurtherLabels.of(base, by_kind(space, stiffness), IonLabels.of(dataset, space, units), sized=True)
    report = TrainingReport(
        n_rows=len(dataset),
        n_stress=int(dataset.has_stress.sum()),
        test=None,
        noise=dict(FIRST_NOISE),
        stress_offset_GPa=None,
        stress_offset_std_GPa=None,
        singular_values={},
        centre_spread=[],
        fuzzifier=None,
        bound="none",
        bound_per_label=float("nan"),
        steps=0,
        converged=True,
        seconds=0.0,
        dataset=dataset.provenance,
        warnings=(),
        n_forces=int(dataset.has_forces.sum()),
    )
    return IonicSurrogate(space, units, config, report, dataset.points, process)


_SCALES = {"degree 1": PULL**2 * WIDTH**2, "gaussian 1": (DOUBT * WIDTH**2) ** 2}


def springs(space: Pairs) -> Floats:
    """κ of the springs ½ Σ κ x² that pairs are expected to be before any label, shape (p,), eV/Å²."""
    numbers = space.crystal.numbers[space.first], space.crystal.numbers[space.second]
    first, second = (np.searchsorted([2, 10], each, side="left") for each in numbers)
    bonds = covalent_radii[numbers[0]] + covalent_radii[numbers[1]]
    constants = STRETCH * np.exp(STEEPNESS[first, second] * (LENGTHS[first, second] ** 2 - bonds**2))
    return np.asarray(constants * np.exp(-DECAY * (space.lengths / bonds - 1)) / space.weights**2)


def by_kind(space: Pairs, stiffness: Floats) -> Floats:
    """Stiffness of pairs, by their two elements, shape (S, p)."""
    elements = np.sort(np.stack([space.crystal.numbers[space.first], space.crystal.numbers[space.second]]), axis=0)
    kinds = np.unique(elements, axis=1, return_inverse=True)[1].ravel()
    return np.asarray(np.eye(kinds.max() + 1)[:, kinds] * stiffness)


def learnt(surrogate: IonicSurrogate, dataset: Dataset) -> IonicSurrogate:
    """A trained model that also knows further rows.

    Args:
        surrogate: the model, as it was trained.
        dataset: all rows since then, of the model's crystal.
    """
    if "strain" not in surrogate.report.noise:
        dataset = dataset.without_stresses()
    assert isinstance(surrogate.process, LocalProcess)
    labels = IonLabels.of(dataset, surrogate.space, surrogate.units)
    process = FurtherLabels.of(surrogate.process, np.zeros((0, len(surrogate.space.lengths))), labels, sized=False)
    report = replace(
        surrogate.report,
        n_rows=surrogate.report.n_rows + len(dataset),
        n_stress=surrogate.report.n_stress + int(dataset.has_stress.sum()),
        n_forces=surrogate.report.n_forces + int(dataset.has_forces.sum()),
        test=None,
        left_out=None,
    )
    points = np.concatenate([surrogate.points, dataset.points])
    return IonicSurrogate(surrogate.space, surrogate.units, surrogate.config, report, points, process)
