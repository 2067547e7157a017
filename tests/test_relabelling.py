import numpy as np
import pytest
from ase.build import bulk
from ase.geometry import minkowski_reduce
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ase_dkl.crystal.motif import Motif
from ase_dkl.crystal.relabelling import isometries, near_bases

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)
repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=25)


def random_reduced(rng: np.random.Generator, dimension: int) -> Floats:
    cell = np.eye(3)
    cell[:dimension, :dimension] = np.eye(dimension) * 3 + rng.uniform(-1, 1, (dimension, dimension))
    return np.asarray(minkowski_reduce(cell, [axis < dimension for axis in range(3)])[0])[:dimension]


@pytest.mark.parametrize("dimension", [1, 2, 3])
@given(seed=seeds)
@repeatable
def test_near_bases_finds_the_basis_that_was_hidden(dimension: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cell = random_reduced(rng, dimension)
    strain = np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))
    strained = np.zeros((3, 3))
    strained[:dimension] = cell @ strain
    reduced, change = minkowski_reduce(
        np.where(np.arange(3)[:, None] < dimension, strained, np.eye(3)), [axis < dimension for axis in range(3)]
    )
    lattice = np.asarray(reduced)[:dimension]
    bases, distortions = near_bases(lattice @ lattice.T, cell @ cell.T, 0.1)
    hidden = np.rint(np.linalg.inv(np.asarray(change)[:dimension, :dimension]))
    assert any((basis == hidden).all() or (basis == -hidden).all() for basis in bases)
    assert (np.abs(np.rint(np.linalg.det(bases))) == 1).all()
    assert (np.diff(distortions) >= -1e-9).all()
    assert len({tuple(sign * basis.ravel()) for basis in bases for sign in (1, -1)}) == 2 * len(bases)


def test_distortion_is_zero_for_a_change_of_volume_and_grows_with_shear() -> None:
    metric = bulk("Cu").cell @ bulk("Cu").cell.T
    assert near_bases(1.3 * metric, metric, 0.01)[1] == pytest.approx(np.zeros(24))
    shear = np.array([[1, 0.1, 0], [0, 1, 0], [0, 0, 1]])
    lattice = np.eye(3) @ shear
    assert near_bases(lattice @ lattice.T, np.eye(3), 0.02)[1].min() == pytest.approx(0.1**2 / 3)


def test_no_basis_is_near_a_lattice_that_is_very_different() -> None:
    assert len(near_bases(np.diag([1, 1, 30.0]), np.eye(3), 0.3)[0]) == 0


@pytest.mark.parametrize(("dimension", "number"), [(3, 2), (2, 4)])
def test_isometries_keep_metrics_and_offsets(dimension: int, number: int) -> None:
    atoms = bulk("Mg")
    atoms.pbc = [axis < dimension for axis in range(3)]
    motif = Motif.from_atoms(atoms)
    matrices = list(isometries(motif, motif, 1e-3))
    assert len({matrix.tobytes() for matrix in matrices}) == number
    np.testing.assert_array_equal(matrices[0], np.eye(3))
    for matrix in matrices:
        np.testing.assert_array_equal(np.abs(matrix), np.eye(3))
