"""The crystal that strained structures have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.crystal.motif import LOOSEST, Motif
from ase_dkl.crystal.symmetry import with_metric


@dataclass(frozen=True)
class MeanCrystal:
    """Mean of the structures in the most common setting, which is the same basis of the lattice and the same cell.

    Attributes:
        motif: mean sites, in a lattice of mean lengths and angles.
        metrics: metrics of the structures in that setting, shape (n, d, d), Å².
        members: their indices.
        sites: of each of them in the order and coordinates of the motif, shape (n, sites, 3).
        typical_displacement: root mean square of the sites' distances from their means, of the worst site, Å.
        largest_displacement: the largest such distance, Å.
    """

    motif: Motif
    metrics: Floats
    members: tuple[int, ...]
    sites: Floats
    typical_displacement: float
    largest_displacement: float


def mean_crystal(motifs: Sequence[Motif], *, by_order: bool = False) -> MeanCrystal:
    """Find the most common setting and average the structures in it.

    Args:
        motifs: at least one.
        by_order: whether sites are the same that have the same place in the order, however far from each other; what
            stands for all is then the structure of median size.
    """
    aligned: dict[int, Floats] = {}
    rest = list(range(len(motifs)))
    while len(rest) > len(aligned):
        setting = {i: sites for i in rest if (sites := _aligned(motifs[rest[0]], motifs[i], by_order)) is not None}
        rest = [i for i in rest if i not in setting]
        aligned = max(aligned, setting, key=len)
    members = tuple(aligned)
    lattices = np.array([motifs[i].lattice for i in members])
    metrics = lattices @ lattices.swapaxes(1, 2)
    every = np.array(list(aligned.values()))
    sites = every.mean(axis=0)
    if by_order:
        median = int(np.argsort(np.linalg.det(metrics))[len(metrics) // 2])
        sites = every[median]
        motif = replace(motifs[members[0]], lattice=lattices[median], sites=sites)
    else:
        motif = replace(motifs[members[0]], lattice=_oriented(lattices), sites=sites)
        motif = with_metric(motif, _mean_metric(metrics))
    distances = motif.distances(every - sites)
    typical = np.sqrt((distances**2).mean(axis=0)).max()
    return MeanCrystal(motif, metrics, members, every, float(typical), float(distances.max()))


def _aligned(base: Motif, other: Motif, by_order: bool) -> Floats | None:
    if base.dimension != other.dimension or not np.array_equal(np.sort(base.numbers), np.sort(other.numbers)):
        return None
    loosest = LOOSEST * base.closest
    same = base.in_order(other)
    if same is not None and (by_order or same.distances.max() <= loosest / 2):
        return base.laid(same)
    placements = base.placements(other, loosest)
    best = min(placements, key=lambda placement: placement.distances.max(), default=None)
    return None if best is None else base.laid(best)


def _mean_metric(metrics: Floats) -> Floats:
    """Metric of the mean lengths and angles: strain designs are centred there, not on the mean metric."""
    lengths = np.sqrt(np.diagonal(metrics, axis1=1, axis2=2))
    cosines = metrics / (lengths[:, :, None] * lengths[:, None, :])
    mean = lengths.mean(axis=0)
    mean_cosines = np.cos(np.arccos(np.clip(cosines, -1, 1)).mean(axis=0))
    return np.asarray(np.outer(mean, mean) * mean_cosines)


def _oriented(lattices: Floats) -> Floats:
    """Lattice vectors in the Cartesian orientation that the structures share, or else in the first one's."""
    mean = lattices.mean(axis=0)
    sizes = np.sqrt(np.linalg.det(lattices @ lattices.swapaxes(1, 2)))
    shared = np.sqrt(np.linalg.det(mean @ mean.T)) > 0.5 * sizes.mean()
    return np.asarray(mean if shared else lattices[0])
