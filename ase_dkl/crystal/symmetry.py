"""Which relabellings of a strained lattice leave its energy alone: the images of the reference crystal.

An image W turns lattice vectors C into W C, and so the metric G into W G Wᵀ. With clamped ions the energies at both
metrics are equal, whatever G is, as soon as W or −W lays the motif on itself: then C and W C are the same crystal.
The metric of the reference only makes the choice finite: the images are those that leave it as it is.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import spglib
from ase.geometry import minkowski_reduce
from scipy.special import fdtri

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal.lattice import normals
from ase_dkl.crystal.motif import Motif, Placement
from ase_dkl.crystal.relabelling import isometries, near_bases, one_of_each_sign
from ase_dkl.errors import Refused

LATTICE_TOLERANCE = 4e-3
"""Relative difference below which two metrics are the same: strains of 0.2 %, the residue of a relaxation."""

_CONFIDENCE = 0.998
"""Probability that the mean of strains about a symmetric lattice passes for one of a symmetric lattice."""
_CURVATURE = 0.15
"""Strains drawn evenly in lengths and angles, or in components, are not quite so in others: of the mean square of what
breaks a symmetry up to this part remains in the mean, with the widest boxes of 5 and 10 % about simple lattices."""

_LARGEST_GROUP = {1: 1, 2: 6, 3: 24}
"""Operations of the largest point groups of lattices, W and −W counted once."""


SYMMETRY_TOLERANCE = 1e-4
"""Distance within which spglib must confirm the symmetrised crystal, Å."""


class BadReference(Refused, ValueError):
    """Atoms that cannot be a reference crystal."""


@dataclass(frozen=True)
class Symmetry:
    """A motif made exactly symmetric.

    Attributes:
        motif: the symmetrised motif, its lattice holding the symmetrised metric.
        images: operations W, W and −W once and the identity first, shape (g, d, d).
        space_group: symbol and number.
    """

    motif: Motif
    images: Integers
    space_group: str


def find_symmetry(motif: Motif, metrics: Floats, tolerance: float) -> Symmetry:
    """Find the group that explains a motif and the metrics at which it was seen, and symmetrise the motif with it.

    Operations are tried from the one that changes the mean metric least. Each is kept if it lays the motif on itself
    and generates, with those before, a finite group under which the metrics look like strains of a symmetric lattice.
    With clamped ions too large a group is never wrong, since every operation that lays the motif on itself is exact.

    Args:
        motif: mean motif, with lattice vectors of the mean metric.
        metrics: all metrics, in the same basis, shape (n, d, d), Å².
        tolerance: distance within which sites coincide, Å.
    """
    d = motif.dimension
    frame = np.vstack([motif.lattice, normals(motif.lattice)])
    reduction = np.asarray(minkowski_reduce(frame, [axis < d for axis in range(3)])[1])[:d, :d]
    reduced = motif.in_basis(reduction)
    metrics = reduction @ metrics @ reduction.T
    group = np.eye(d, dtype=np.int64)[None]
    for operation in near_bases(reduced.metric, reduced.metric, 0.05)[0]:
        if _contains(group, operation) or next(_self_placements(reduced, operation, tolerance), None) is None:
            continue
        larger = _generate(np.concatenate([group, operation[None]]), _LARGEST_GROUP[d])
        if larger is not None and _explains(larger, group, metrics):
            group = larger
    symmetrised = with_metric(reduced, _average(group, reduced.metric))
    # Products of operations that barely lay the motif on itself may fail to, so that the first average is not exact.
    for _ in range(3):
        symmetrised = _symmetrised(symmetrised, group, tolerance)
    symmetrised = symmetrised.in_basis(np.rint(np.linalg.inv(reduction)).astype(np.int64))
    return _confirm(symmetrised)


def _symmetrised(motif: Motif, group: Integers, tolerance: float) -> Motif:
    placements = [placement for operation in group for placement in _self_placements(motif, operation, tolerance)]
    moments = [placement.flip * motif.moments[np.argsort(placement.partners)] for placement in placements]
    return replace(motif.averaged(placements), moments=np.mean(moments, axis=0))


def _self_placements(motif: Motif, operation: Integers, tolerance: float) -> Iterator[Placement]:
    relabelled = motif.in_basis(operation)
    for isometry in isometries(motif, relabelled, tolerance):
        yield from motif.placements(relabelled.transformed(isometry), tolerance)


def _explains(larger: Integers, group: Integers, metrics: Floats) -> bool:
    """Whether metrics that look like strains of a lattice with a group's symmetry look so with a larger group's too.

    Strains about a symmetric lattice break its symmetry this way and that: their mean is as near to nothing as the mean
    of so many is (Snedecor's F). A lattice that has the symmetry proves it by itself, if not by chance.
    """
    triangular = np.linalg.inv(np.linalg.cholesky(_average(larger, metrics.mean(axis=0))))
    every, allowed, symmetric = (
        triangular @ each @ triangular.T for each in (metrics, _average(group, metrics), _average(larger, metrics))
    )
    n, breaking = len(metrics), every - symmetric
    mean = np.linalg.norm((allowed - symmetric).mean(axis=0))
    if n == 1:
        return bool(mean <= LATTICE_TOLERANCE)
    covariance = np.atleast_2d(np.cov(breaking.reshape(n, -1), rowvar=False))
    total = np.trace(covariance)
    nearest = np.linalg.norm(breaking, axis=(1, 2)).min()
    directions = total**2 / max((covariance**2).sum(), np.finfo(float).tiny)
    if nearest <= LATTICE_TOLERANCE and n * nearest**directions <= (1 - _CONFIDENCE) * np.sqrt(total) ** directions:
        return True
    freedom, forbidden = (_invariants(smaller) - _invariants(larger) for smaller in (group[:1], group))
    variance = total / max(freedom, 1)
    error = np.sqrt(variance / n * forbidden * fdtri(forbidden, (n - 1) * freedom, _CONFIDENCE)) if forbidden else 0.0
    return bool(mean <= LATTICE_TOLERANCE + error + _CURVATURE * total)


def _invariants(group: Integers) -> int:
    """Number of independent elements of metrics that a group leaves alone."""
    traces = np.trace(group, axis1=1, axis2=2) ** 2 + np.trace(group @ group, axis1=1, axis2=2)
    return round(float(traces.mean()) / 2)


def _average(group: Integers, metrics: Floats) -> Floats:
    return np.asarray((group @ metrics[..., None, :, :] @ group.swapaxes(1, 2)).mean(axis=-3))


def with_metric(motif: Motif, metric: Floats) -> Motif:
    """Give the lattice another metric by a strain without rotation."""
    triangular = np.linalg.cholesky(motif.metric)
    axes = np.linalg.solve(triangular, motif.lattice)
    inverse = np.linalg.inv(triangular)
    squared, directions = np.linalg.eigh(inverse @ metric @ inverse.T)
    stretch = (directions * np.sqrt(squared)) @ directions.T
    return replace(motif, lattice=triangular @ stretch @ axes)


def _generate(operations: Integers, limit: int) -> Integers | None:
    """Close operations under products; None where that takes more than the limit."""
    group = _unique(operations)
    while True:
        products = (group[:, None] @ group[None]).reshape(-1, *group.shape[1:])
        larger = _unique(np.concatenate([group, products]))
        if len(larger) > limit:
            return None
        if len(larger) == len(group):
            return group
        group = larger


def _contains(group: Integers, operation: Integers) -> bool:
    return bool((group == one_of_each_sign(operation[None])).all(axis=(1, 2)).any())


def _unique(operations: Integers) -> Integers:
    operations = np.unique(one_of_each_sign(operations), axis=0)
    others = (operations != np.eye(operations.shape[1])).any(axis=(1, 2))
    return operations[np.argsort(others, kind="stable")]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Where spglib finds nothing it answers None or raises, as whatever else is loaded has told it to: here neither."""
    with warnings.catch_warnings(), contextlib.suppress(spglib.SpglibError):
        warnings.filterwarnings("ignore", "Set OLD_ERROR_HANDLING", DeprecationWarning)
        yield


def _confirm(motif: Motif) -> Symmetry:
    """Read images and name off a symmetric motif with spglib, at a tight tolerance."""
    d = motif.dimension
    if d == 1:
        return Symmetry(motif, np.ones((1, 1, 1), dtype=np.int64), "a chain")
    lattice, positions = motif.lattice, motif.sites % 1.0
    if d == 2:
        # No operation can exchange the vacuum vector, longer than the others and than the layer, with another.
        heights = motif.sites[:, 2]
        vacuum = np.ptp(heights) + 3 * np.sqrt(np.diag(motif.metric).max())
        lattice = np.vstack([motif.lattice, vacuum * normals(motif.lattice)])
        positions = (motif.sites - [0, 0, heights.min()]) / [1, 1, vacuum]
    # For the name, sites of one element with different moments are different species.
    kinds = np.unique(np.column_stack([motif.numbers, np.round(motif.moments, 3)]), axis=0, return_inverse=True)[1]
    cell = lattice.tolist(), positions.tolist(), kinds.tolist()
    magnetic_cell = *cell[:2], motif.numbers.tolist(), motif.moments.tolist()
    group = magnetic = None
    with quietly():
        if d == 2:
            group = spglib.get_layergroup(cell, 2, SYMMETRY_TOLERANCE)
        else:
            group = spglib.get_symmetry_dataset(cell, SYMMETRY_TOLERANCE)
        magnetic = spglib.get_magnetic_symmetry(magnetic_cell, SYMMETRY_TOLERANCE) if motif.moments.any() else None
    if group is None:
        raise BadReference("spglib finds no space group for the reference crystal: are two of its atoms too close?")
    rotations = group.rotations if magnetic is None else magnetic["rotations"]
    unmixed = (rotations[:, d:, :d] == 0).all(axis=(1, 2)) & (rotations[:, :d, d:] == 0).all(axis=(1, 2))
    # spglib's rotations act on columns of fractional coordinates, images on rows of lattice vectors: W = Rᵀ.
    images = _unique(rotations[unmixed, :d, :d].swapaxes(1, 2).astype(np.int64))
    motif = with_metric(motif, _average(images, motif.metric))
    assert np.allclose(images @ motif.metric @ images.swapaxes(1, 2), motif.metric, rtol=1e-10, atol=1e-10)
    name = f"{group.international} ({group.number})"
    return Symmetry(motif, images, name if d == 3 else name.replace("(", "(layer group "))
