"""Whether what was read from a file can be a model: shapes, signs and sizes of all its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ase_dkl.crystal.lattice import flat, metric
from ase_dkl.model.calibration import Scores
from ase_dkl.model.ion_labels import KINDS
from ase_dkl.model.kernel import covariances_with_values
from ase_dkl.model.layout import VALUE
from ase_dkl.model.local_kernel import PROFILES

if TYPE_CHECKING:
    from ase_dkl.arrays import Floats
    from ase_dkl.crystal import Crystal
    from ase_dkl.model.ionic_surrogate import IonicSurrogate
    from ase_dkl.model.posterior import Posterior
    from ase_dkl.model.surrogate import Surrogate

_SOME = 64
"""Training lattices that are looked at more closely."""
_LARGEST = 1e30
_LARGEST_WEIGHT = 1e6
"""Largest weight of a network: trained ones have some tens."""
_FAR = 1e4
"""Largest distance from the training lattices, in their standard deviations."""


_LARGEST_CELL, _CLOSEST = 1e3, 0.3
"""Å. No reference is larger, and none has planes of atoms nearer to the same in the next cell."""


def check(surrogate: Surrogate) -> None:
    """Look at every number, and predict once.

    Raises:
        ValueError: in words.
    """
    with np.errstate(all="ignore"):
        _check(surrogate)


def _check(surrogate: Surrogate) -> None:
    crystal, config, report = surrogate.crystal, surrogate.config, surrogate.report
    space, frame, process = surrogate.space, surrogate.space.frame, surrogate.process
    d = _check_crystal(crystal)
    if not d or crystal.ions not in ("clamped", "relaxed"):
        raise ValueError("the crystal is not described")
    p, k = d * (d + 1) // 2, config.networks
    _expect("units.shift", np.array(surrogate.units.shift, dtype=float))
    _expect("units.scale", np.array(surrogate.units.scale, dtype=float), positive=True)
    _expect("scaling.centre", frame.centre, p)
    _expect("scaling.scale", frame.scale, p, positive=True)
    _expect("scaling.images", frame.images, -1, d, d)
    if not np.array_equal(frame.images, crystal.images[: len(frame.images)]):
        raise ValueError("the images of the scaling are not the crystal's")
    if space.metric is not None:
        _expect("scaling.metric", space.metric, d, d)
        np.linalg.cholesky(space.metric)
    _expect("cells", surrogate.cells, -1, 3, 3)
    lattices = crystal.vectors(surrogate.cells)
    if len(lattices) != report.n_rows or not (np.linalg.det(metric(lattices)) > 0).all():
        raise ValueError("the training lattices are not all there, or flat")
    if not (np.abs(frame.of(lattices[:_SOME])) < _FAR).all():
        raise ValueError("the training lattices are nowhere near what was trained on")
    widths = [p, *[config.width] * (config.depth + 1), config.n_features]
    for i, (weight, bias) in enumerate(surrogate.layers):
        _expect(f"layer{i}.weight", weight, k, widths[i], widths[i + 1])
        _expect(f"layer{i}.bias", bias, k, 1, widths[i + 1])
        if max(np.abs(weight).max(), np.abs(bias).max()) > _LARGEST_WEIGHT:
            raise ValueError(f"layer{i} has numbers that are too large")
    m, n_weights = process.points.shape[1], process.weights.shape[1]
    _expect("posterior.points", process.points, k, m, config.n_features)
    _expect("posterior.whitening", process.whitening, k, m, m)
    _expect("posterior.factor", process.factor, k, n_weights, process.factor.shape[2])
    _expect("posterior.weights", process.weights, k, n_weights)
    for name, axes in (
        ("lengthscale", (k, 1, 1)),
        ("scale", (k, 1, 1)),
    ):
        _expect(f"posterior.{name}", getattr(process, name), *axes, positive=True)
    kinds = tuple(process.noise)
    for kind in kinds:
        _expect(f"posterior.noise.{kind}", process.noise[kind], k, positive=True)
    _check_whitening(process)
    if VALUE not in report.noise or report.noise.keys() - set(kinds):
        raise ValueError("the noise of the labels is of something else")
    if min(report.noise.values()) < 0:
        raise ValueError("the noise of the labels is negative")
    if not isinstance(report.dataset.get("settings") or {}, dict):
        raise ValueError("the settings of the labels are no settings")
    if surrogate.calibration is not None:
        labels = {VALUE: 1, **surrogate.space.blocks}
        for kind in {VALUE, *surrogate.calibration.scores}:
            # A sheet has no stress across it.
            _check_scores(kind, surrogate.calibration.scores[kind], labels[kind], complete=kind == VALUE or d == 3)
    _predict(surrogate)


def check_ionic_crystal(crystal: Crystal) -> None:
    """Look at the reference of free ions, before pairs of its atoms are searched for.

    Raises:
        ValueError: in words.
    """
    with np.errstate(all="ignore"):
        _check_crystal(crystal)
    if crystal.ions != "free" or {type(crystal.symmetric), type(crystal.by_order)} != {bool}:
        raise ValueError("the crystal is not described")
    if crystal.mobile.shape != crystal.numbers.shape or not crystal.mobile.any():
        raise ValueError("it is not said which ions move")
    lengths = np.linalg.norm(crystal.cell, axis=1)[crystal.pbc]
    if (lengths > _LARGEST_CELL).any() or np.abs(crystal.atoms().positions).max() > _LARGEST_CELL:
        raise ValueError("the reference is far too large")
    heights = 1 / np.linalg.norm(np.linalg.pinv(crystal.cell[crystal.pbc]), axis=0)
    if (heights < _CLOSEST).any():
        raise ValueError("the reference cell is far too small")


def check_ionic(surrogate: IonicSurrogate) -> None:
    """Look at every number of a model of free ions, and predict once.

    Raises:
        ValueError: in words.
    """
    with np.errstate(all="ignore"):
        _check_ionic(surrogate)


def _check_ionic(surrogate: IonicSurrogate) -> None:
    space, process, report = surrogate.space, surrogate.trained, surrogate.report
    _expect("units.shift", np.array(surrogate.units.shift, dtype=float))
    _expect("units.scale", np.array(surrogate.units.scale, dtype=float), positive=True)
    _expect("process.unit", np.array(process.unit, dtype=float), positive=True)
    _expect("points", surrogate.points, report.n_rows, *space.reference.shape)
    if not np.isclose(space.size(surrogate.points), process.unit, rtol=1e-6):
        raise ValueError("the training structures are not those that it was trained on")
    _expect("scales", process.scales, len(PROFILES))
    if not (process.scales >= 0).all() or not process.scales.any():
        raise ValueError("scales has numbers that are not positive")
    for i, each in enumerate(process.inducing):
        q = each.environment.places.shape[1]
        _expect(f"inducing{i}.points", each.points, -1, q)
        _expect(f"inducing{i}.along", each.along, len(each.of), q)
        if each.of.dtype != np.int64 or each.of.ndim != 1 or not np.isin(each.of, np.arange(len(each.points))).all():
            raise ValueError(f"inducing{i}.of names points that there are not")
    size = sum(map(len, process.inducing)) + 2
    _expect("posterior.factor", process.factor, size, size)
    _expect("posterior.weights", process.weights, size)
    kinds = {VALUE, *space.blocks}
    if set(process.noise) != set(KINDS) or report.noise.keys() - kinds or VALUE not in report.noise:
        raise ValueError("the noise of the labels is of something else")
    noises = np.array([*process.noise.values(), *report.noise.values()], dtype=float)
    if not ((noises >= 0) & (noises < _LARGEST)).all():
        raise ValueError("the noise of the labels is negative")
    if not isinstance(report.dataset.get("settings") or {}, dict):
        raise ValueError("the settings of the labels are no settings")
    means, stds = surrogate.marginals(space.reference[None], True)
    if not np.isfinite(means + stds).all():
        raise ValueError("its predictions are not finite")


def _check_crystal(crystal: Crystal) -> int:
    """The number of periodic axes."""
    atoms, d = len(crystal.numbers), int(crystal.pbc.sum())
    if crystal.pbc.shape != (3,):
        raise ValueError("it is not said what is periodic")
    if crystal.numbers.shape != (atoms,) or not atoms or not ((crystal.numbers > 0) & (crystal.numbers < 119)).all():
        raise ValueError("there are no such atoms")
    _expect("the reference cell", crystal.cell, 3, 3)
    _expect("the ions' coordinates", crystal.scaled_positions, atoms, 3)
    _expect("magnetic moments", crystal.magnetic_moments, atoms)
    _expect("the tolerance", np.array(crystal.tolerance, dtype=float), positive=True)
    if not isinstance(crystal.space_group, str):
        raise ValueError("the crystal is not described")
    reference, images = metric(crystal.cell[crystal.pbc]), crystal.images
    if d and not np.linalg.det(reference) > 0:
        raise ValueError("the reference cell is flat")
    if images.shape != (len(images), d, d) or not len(images):
        raise ValueError(f"the crystal's images have the shape {images.shape}")
    if d and not np.allclose(images @ reference @ images.mT, reference, rtol=0, atol=1e-2 * np.trace(reference)):
        raise ValueError("the crystal's images are no symmetries of its lattice")
    return d


def _check_whitening(process: Posterior) -> None:
    """T_Zᵀ K_ZZ T_Z is the identity, but where the jitter on K_ZZ matters."""
    points = process.points / process.lengthscale
    covariance = process.scale**2 * covariances_with_values(process.kind, points, None, points)
    largest = np.linalg.eigvalsh(process.whitening.mT @ covariance @ process.whitening)[:, -1]
    if not np.allclose(largest, 1, atol=0.1):
        raise ValueError("posterior.whitening is not of these inducing points")


def _check_scores(name: str, scores: Scores, components: int, *, complete: bool) -> None:
    rows = len(scores.fold)
    if scores.fold.dtype != np.int64 or scores.fold.shape != (rows,) or (np.abs(scores.z) > _LARGEST).any():
        raise ValueError(f"the calibration of the {name} is damaged")
    known = np.isfinite(scores.z).all() if complete else np.isfinite(scores.z).any()
    if scores.z.shape != (rows, components) or scores.z.dtype != np.float64 or not known:
        raise ValueError(f"the calibration of the {name} is damaged")


def _expect(name: str, array: Floats, *shape: int, positive: bool = False) -> None:
    """Finite numbers in some shape, −1 standing for any length but zero."""
    if (
        array.dtype != np.float64
        or len(array.shape) != len(shape)
        or not array.size * all(axis in (-1, length) for axis, length in zip(shape, array.shape, strict=True))
    ):
        raise ValueError(f"{name} has the shape {array.shape} of {array.dtype}")
    if not (np.abs(array) < _LARGEST).all():
        raise ValueError(f"{name} has numbers that are not finite, or far too large")
    if positive and not (array > 0).all():
        raise ValueError(f"{name} has numbers that are not positive")


def _predict(surrogate: Surrogate) -> None:
    reference = surrogate.crystal.cell[None]
    prediction = surrogate.predict_cells(reference, stress=not flat(reference)[0])
    found = (prediction.value, *prediction.slopes.values())
    if not all(np.isfinite(each.total + each.mean).all() for each in found):
        raise ValueError("its predictions are not finite")
