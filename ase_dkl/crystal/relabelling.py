"""Other bases of a lattice, and isometries of space: what may differ between two descriptions of one crystal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal.motif import Motif

SURE_DISTORTION = 0.05
"""Up to this distortion a structure's own basis is kept. More may mean a skewed basis of the same lattice: shears that
turn simple lattices into themselves have 1/8 and more, so that half way, in strain, is at least a quarter of that. The
corners of a box of 10 % and 10° about a cubic cell have 0.04."""


def distortion(metrics: Floats, target: Floats) -> Floats:
    """How far metrics, shape (..., d, d), are from being proportional to a target, shape (d, d); see `near_bases`."""
    d = len(target)
    scale = (np.linalg.det(metrics) / np.linalg.det(target)) ** (1 / d)
    return np.asarray(np.einsum("ij,...ji->...", np.linalg.inv(target), metrics) / d / scale - 1)


def reach_of(distortion: float, dimension: int) -> float:
    """How large √Σ(ln e)², e the eigenvalues of T⁻¹ U G Uᵀ at constant volume, can be at a distortion."""
    if dimension == 1:
        return 0.0
    shortest, longest = _stretches(dimension, distortion)
    return float(max(-np.log(shortest), np.log(longest)) * np.sqrt(dimension / (dimension - 1)))


def distortion_at(reach: float, dimension: int) -> float:
    """The largest distortion within a reach: the inverse of `reach_of` for a stretch along one axis."""
    if dimension == 1:
        return 0.0
    longest = reach * np.sqrt((dimension - 1) / dimension)
    return float((np.exp(longest) + (dimension - 1) * np.exp(-longest / (dimension - 1))) / dimension - 1)


def near_bases(metric: Floats, target: Floats, limit: float) -> tuple[Integers, Floats]:
    """Lattice bases in which a metric comes near to a target, the nearest first.

    Nearness is the distortion tr(T⁻¹ U G Uᵀ) / d / det(T⁻¹ G)^(1/d) − 1, which is 0 when U G Uᵀ is proportional to T
    and about 2/3 of the squared deviatoric strain (d = 3) when it is nearly so.

    Args:
        metric: G, of a Minkowski-reduced lattice, shape (d, d), Å².
        target: T, of a Minkowski-reduced lattice, shape (d, d), Å².
        limit: largest distortion.

    Returns:
        Unimodular matrices U, of U and −U only one, shape (m, d, d), and their distortions, shape (m,).
    """
    d = len(metric)
    scale = (np.linalg.det(metric) / np.linalg.det(target)) ** (1 / d)
    vectors = np.array(list(product(range(-4, 5), repeat=d)))
    squared = np.einsum("vi,ij,vj->v", vectors, metric, vectors) / scale
    shortest, longest = _stretches(d, limit)
    rows = [vectors[(squared >= shortest * length) & (squared <= longest * length)] for length in np.diag(target)]
    if not all(map(len, rows)):
        return np.empty((0, d, d), dtype=np.int64), np.empty(0)
    rows[0] = one_of_each_sign(rows[0][:, None])[:, 0]
    choices = np.meshgrid(*(np.arange(len(row)) for row in rows), indexing="ij")
    bases = np.stack([row[choice.ravel()] for row, choice in zip(rows, choices, strict=True)], axis=1)
    bases = bases[np.abs(np.rint(np.linalg.det(bases))) == 1]
    distortions = distortion(bases @ metric @ bases.swapaxes(1, 2), target)
    near = distortions <= limit
    bases, distortions = bases[near], distortions[near]
    order = np.argsort(np.round(distortions, 9), kind="stable")
    return bases[order], distortions[order]


def _stretches(dimension: int, distortion: float) -> tuple[float, float]:
    """Smallest and largest factor of a squared length at a distortion and constant volume."""
    # One eigenvalue y² of T⁻¹ U G Uᵀ is extreme where the others are equal: y² + (d − 1) y^(−2 / (d − 1)) = d (1 + δ).
    sum_of_all = dimension * (1 + distortion)
    if dimension == 1:
        extremes = [1.0]
    elif dimension == 2:
        extremes = np.roots([1, -sum_of_all, 1]).real.tolist()
    else:
        extremes = [root**2 for root in np.roots([1, 0, -sum_of_all, 2]).real if root > 0]
    margin = 1e-6
    return min(extremes) - margin, max(extremes) + margin


def isometries(target: Motif, other: Motif, tolerance: float) -> Iterator[Floats]:
    """Rotations and mirrors of space that keep every lattice, so that the energy does not see them.

    Inversion always, for sheets and chains also the mirror across, and for chains the turns about the axis that lay a
    site of the other motif on the outermost site of the target.

    Returns:
        Matrices that act on site coordinates from the right, shape (3, 3).
    """
    along = np.arange(3) < target.dimension
    turns = _turns(target, other, tolerance) if target.dimension == 1 else iter([np.eye(3)])
    signs = [(1, 1), (-1, -1)] if target.dimension == 3 else [(1, 1), (-1, -1), (1, -1), (-1, 1)]
    for turn in turns:
        for sign_along, sign_across in signs:
            yield turn * np.where(along, sign_along, sign_across)


def _turns(target: Motif, other: Motif, tolerance: float) -> Iterator[Floats]:
    wanted, offsets = (motif.sites[:, 1:] - motif.sites[:, 1:].mean(axis=0) for motif in (target, other))
    radii = np.linalg.norm(wanted, axis=1)
    outermost = int(np.argmax(radii))
    if radii[outermost] <= tolerance:
        yield np.eye(3)
        return
    direction = complex(*wanted[outermost]) / radii[outermost]
    candidates = other.numbers == target.numbers[outermost]
    for x, y in offsets[candidates & (np.abs(np.linalg.norm(offsets, axis=1) - radii[outermost]) <= tolerance)]:
        for mirror in (1, -1):
            angle = np.angle(direction / complex(x, mirror * y))
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            yield np.block([[np.ones((1, 1)), np.zeros((1, 2))], [np.zeros((2, 1)), np.diag([1, mirror]) @ turn]])


def one_of_each_sign(operations: Integers) -> Integers:
    """Keep that one of W and −W whose first non-zero entry is positive; shape (n, r, c)."""
    flat = operations.reshape(len(operations), -1)
    first = flat[np.arange(len(flat)), np.argmax(flat != 0, axis=1)]
    return np.unique(operations * np.sign(first)[:, None, None], axis=0)
