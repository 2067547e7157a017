"""Eight threads that share a surrogate or a calculator get what one alone gets."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from ase import Atoms

from ase_dkl import DKLCalculator, Surrogate
from ase_dkl.arrays import Floats
from ase_dkl.model.loading import Loaded

MODEL = Path(__file__).parent / "models" / "format2-metric.dkl"
THREADS, EACH = 8, 1000
# Each thread does the same operations in the same order as one alone; room for a library that does not.
TOLERANCE = 1e-9


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def structures(surrogate: Loaded) -> list[Atoms]:
    """One for each thread; all different."""
    return [surrogate.crystal.atoms(surrogate.crystal.cell * (1 + 0.002 * i)) for i in range(THREADS)]


def test_one_calculator(recwarn: pytest.WarningsRecorder) -> None:
    del recwarn  # of extrapolation
    alone = DKLCalculator(MODEL, extrapolation="ignore")
    shared = DKLCalculator(MODEL, extrapolation="ignore")
    atoms = structures(alone.surrogate)
    energies = [alone.get_property("energy", each) for each in atoms]
    assert np.ptp(energies) > 1e3 * TOLERANCE
    begin = Barrier(THREADS)

    def ask(number: int) -> Floats:
        mine = atoms[number].copy()
        mine.calc = shared
        begin.wait()
        return np.array([mine.get_potential_energy() + 0 * len(mine.get_stress()) for _ in range(EACH)])

    with ThreadPoolExecutor(THREADS) as pool:
        for found, expected in zip(pool.map(ask, range(THREADS)), energies, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_one_surrogate_that_was_never_asked_before() -> None:
    alone, shared = Surrogate.load(MODEL), Surrogate.load(MODEL)
    atoms = structures(alone)
    cells = np.array([each.cell.array for each in atoms])
    energies, outside = alone.predict_cells(cells).energy, alone.extrapolation(cells).distance
    begin = Barrier(THREADS)

    def ask(number: int) -> tuple[Floats, Floats]:
        begin.wait()
        told = [shared.extrapolation(cells[number, None]).distance[0] for _ in range(EACH // 10)]
        return shared.predict_cells(np.repeat(cells[number, None], EACH, axis=0)).energy, np.array(told)

    with ThreadPoolExecutor(THREADS) as pool:
        for number, (found, told) in enumerate(pool.map(ask, range(THREADS))):
            np.testing.assert_allclose(found, energies[number], rtol=0, atol=TOLERANCE)
            np.testing.assert_allclose(told, outside[number], rtol=0, atol=TOLERANCE)


def test_a_copy_has_a_lock_of_its_own() -> None:
    calculator = DKLCalculator(MODEL, extrapolation="ignore")
    (atoms, *_) = structures(calculator.surrogate)
    with calculator._lock, ThreadPoolExecutor(1) as pool:
        energy = pool.submit(deepcopy(calculator).get_property, "energy", atoms).result(timeout=60)
    assert energy == pytest.approx(calculator.get_property("energy", atoms))
