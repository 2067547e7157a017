"""The data sets of a study: rows to train on, rows to test on, and lattices beyond the box."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from ase_dkl.active.box import Box
from ase_dkl.arrays import Floats
from ase_dkl.benchmark.settings import SHIPPED, BadStudy, Source
from ase_dkl.crystal import Crystal
from ase_dkl.dataset import Dataset, srtio3

SRTIO3_LENGTH = 3.945
"""Å; the shipped data fill a box about it."""
TESTS = 512
"""Lattices with labels of effective medium theory to test on, in the box."""
AROUND, LABELLED_AROUND = 512, 128
"""Lattices around the box, between two multiples of its half-widths; and how many of those get labels."""
INNER, OUTER = 1.2, 1.8
ORDER = 0
"""Seed of the order in which a database's rows are taken."""


@dataclass(frozen=True, eq=False)
class Data:
    """Rows of one crystal, whose symmetry is taken as known.

    Attributes:
        pool: the first n are to train on, for every n.
        test: rows in the box that no size trains on.
        outside: rows beyond the box; None where there are none.
        around: lattices at 1.2 to 1.8 times the box's half-widths, shape (k, 3, 3), Å.
    """

    pool: Dataset
    test: Dataset
    outside: Dataset | None
    around: Floats


def load(source: Source) -> Data:
    """Read or make a data set.

    Raises:
        BadStudy: it has too few rows in the box.
        BadDataset: it cannot be used.
    """
    if source.database is not None:
        data = _of_database(source)
    elif source.name == SHIPPED:
        data = _srtio3(source.box)
    else:
        data = _of_metal(source.name.partition(":")[2], max(source.sizes), source.box)
    if max(source.sizes) > len(data.pool) or not len(data.test):
        raise BadStudy(
            f"{source.name} has {len(data.pool)} rows to train on and {len(data.test)} to test on in the box; the "
            f"largest of the sizes is {max(source.sizes)}. Choose smaller sizes, or a wider box."
        )
    return data


def _srtio3(box: Box) -> Data:
    with connect(srtio3()) as rows:
        ideal: Atoms = next(rows.select(limit=1)).toatoms()
    ideal.set_cell([SRTIO3_LENGTH] * 3 + [90] * 3, scale_atoms=True)
    crystal = Crystal.from_atoms(ideal)
    pool, test, scans = (
        Dataset.read(srtio3(), select=select, reference=crystal)
        for select in ("set=pool,index<192", "set=pool,index>=192,above_min_eV<2.5", "set!=pool")
    )
    outside = scans.subset(box.reach(crystal, scans.cells) > 1 + 1e-6)
    return Data(pool, test, outside, _around(crystal, box))


def _of_metal(symbol: str, n: int, box: Box) -> Data:
    unstrained = bulk(symbol, cubic=True)
    crystal = Crystal.from_atoms(unstrained)
    pool, test = (_labelled(unstrained, crystal, _in_box(crystal, box, m, seed)) for m, seed in ((n, 1), (TESTS, 2)))
    around = _around(crystal, box)
    return Data(pool, test, _labelled(unstrained, crystal, around[:LABELLED_AROUND]), around)


def _of_database(source: Source) -> Data:
    assert source.database is not None
    database = str(source.database)
    every = Dataset.read(database, select=source.select, reference=source.reference, stress=source.stress)
    within = source.box.reach(every.crystal, every.cells) <= 1 + 1e-6
    order = np.random.default_rng(ORDER).permutation(np.flatnonzero(within))
    if source.test is None:
        pool, test = np.split(order, [max(source.sizes)])
    else:
        tests = Dataset.read(database, select=source.test, reference=every.crystal, stress=False).ids
        of_tests = np.isin(every.ids[order], tests)
        pool, test = order[~of_tests], order[of_tests]
    outside = None if within.all() else every.subset(~within)
    return Data(every.subset(pool), every.subset(test), outside, _around(every.crystal, source.box))


def _in_box(crystal: Crystal, box: Box, n: int, seed: int) -> Iterable[Floats]:
    """Scrambled Sobol points: lattice parameters, Å and degrees."""
    from scipy.stats import qmc

    lengths = np.linalg.norm(crystal.cell, axis=1)
    low, high = np.transpose([box.lengths] * 3 + [box.angles] * 3)
    # A power of two, as Sobol's points are even only so.
    drawn = qmc.Sobol(6, rng=np.random.default_rng(seed)).random(2 ** int(np.ceil(np.log2(n))))
    points = low + (high - low) * drawn[:n]
    return np.hstack([lengths * (1 + points[:, :3]), 90 + points[:, 3:]])


def _around(crystal: Crystal, box: Box) -> Floats:
    (low, high), (least, most) = box.lengths, box.angles
    wider = Box((OUTER * low, OUTER * high), (OUTER * least, OUTER * most))
    cells = wider.design(crystal, 2 * AROUND, seed=3)
    return cells[box.reach(crystal, cells) >= INNER][:AROUND]


def _labelled(unstrained: Atoms, crystal: Crystal, lattices: Iterable[Floats]) -> Dataset:
    structures = []
    for each in lattices:
        atoms = unstrained.copy()
        atoms.set_cell(each, scale_atoms=True)
        atoms.calc = EMT()
        energy, stress = atoms.get_potential_energy(), atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, stress=stress)
        structures.append(atoms)
    return Dataset.from_atoms(structures, reference=crystal)
