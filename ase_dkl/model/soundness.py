"""Whether what was read from a file can be a model: shapes, signs and sizes of all its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ase_dkl.crystal.lattice import flat, metric
from ase_dkl.model.calibration import Scores
from ase_dkl.model.kernel import covariances_with_values
from ase_dkl.model.layout import VALUE

if TYPE_CHECKING:
    from ase_dkl.arrays import Floats
    from ase_dkl.crystal import Crystal
    from ase_dkl.model.posterior import Posterior
    from ase_dkl.model.surrogate import Surrogate

_SOME = 64
"""Training lattices that are looked at more closely."""
_LARGEST = 1e30
_LARGEST_WEIGHT = 1e6
"""Largest weight of a network: trained ones have some tens."""
_FAR = 1e4
"""Largest distance from the training lattices, in their standard deviations."""


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


def _check_crystal(crystal: Crystal) -> int:
    """The number of periodic axes."""
    atoms, d = len(crystal.numbers), int(crystal.pbc.sum())
    if crystal.pbc.shape != (3,) or not d:
        raise ValueError("nothing is periodic")
    if crystal.numbers.shape != (atoms,) or not atoms or not ((crystal.numbers > 0) & (crystal.numbers < 119)).all():
        raise ValueError("there are no such atoms")
    _expect("the reference cell", crystal.cell, 3, 3)
    _expect("the ions' coordinates", crystal.scaled_positions, atoms, 3)
    _expect("magnetic moments", crystal.magnetic_moments, atoms)
    _expect("the tolerance", np.array(crystal.tolerance, dtype=float), positive=True)
    if crystal.ions not in ("clamped", "relaxed") or not isinstance(crystal.space_group, str):
        raise ValueError("the crystal is not described")
    reference, images = metric(crystal.cell[crystal.pbc]), crystal.images
    if not np.linalg.det(reference) > 0:
        raise ValueError("the reference cell is flat")
    if images.shape != (len(images), d, d) or not len(images):
        raise ValueError(f"the crystal's images have the shape {images.shape}")
    if not np.allclose(images @ reference @ images.mT, reference, rtol=0, atol=1e-2 * np.trace(reference)):
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
