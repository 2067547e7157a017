import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from ase_dkl.crystal.motif import Motif
from ase_dkl.crystal.reference import mean_crystal


def strained(atoms: Atoms, number: int, seed: int = 0) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    copies = [atoms.copy() for _ in range(number)]
    for copy in copies:
        copy.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))), scale_atoms=True)
    return copies


def test_lengths_and_angles_are_averaged() -> None:
    structures = strained(bulk("Mg"), 20)
    mean = mean_crystal([Motif.from_atoms(atoms) for atoms in structures])
    wanted = np.mean([atoms.cell.cellpar() for atoms in structures], axis=0)
    np.testing.assert_allclose(Atoms(cell=mean.motif.lattice).cell.cellpar(), wanted, rtol=1e-10)
    assert mean.members == tuple(range(20))
    assert mean.metrics.shape == (20, 3, 3)
    assert mean.largest_displacement < 1e-12


def test_order_and_translation_of_the_atoms_play_no_part() -> None:
    rng = np.random.default_rng(1)
    structures = strained(bulk("ZnO", "wurtzite", a=3.25, c=5.2), 10)
    wanted = mean_crystal([Motif.from_atoms(atoms) for atoms in structures])
    disguised = [structures[0]]
    for atoms in structures[1:]:
        shuffled = atoms[rng.permutation(4)]
        shuffled.translate(rng.normal(size=3))
        disguised.append(shuffled)
    mean = mean_crystal([Motif.from_atoms(atoms) for atoms in disguised])
    np.testing.assert_allclose(mean.motif.sites, wanted.motif.sites, atol=1e-12)
    np.testing.assert_allclose(mean.motif.lattice, wanted.motif.lattice, atol=1e-12)
    assert mean.largest_displacement < 1e-12


def test_the_most_common_setting_is_taken_whichever_comes_first() -> None:
    structures = strained(bulk("Mg"), 10)
    structures[:4] = [atoms.repeat((1, 1, 2)) for atoms in structures[:4]]
    mean = mean_crystal([Motif.from_atoms(atoms) for atoms in structures])
    assert mean.members == tuple(range(4, 10))
    assert len(mean.motif) == 2


def test_displacements_are_measured_from_the_mean_sites() -> None:
    structures = strained(bulk("Si"), 2)
    for sign, atoms in zip((1, -1), structures, strict=True):
        fractional = atoms.get_scaled_positions()
        fractional[1, 0] += 0.02 * sign
        atoms.set_scaled_positions(fractional)
    mean = mean_crystal([Motif.from_atoms(atoms) for atoms in structures])
    length = np.linalg.norm(mean.motif.lattice[0])
    # Half of the relative displacement on either atom.
    assert mean.largest_displacement == pytest.approx(0.01 * length)
    assert mean.typical_displacement == pytest.approx(0.01 * length)
    np.testing.assert_allclose(mean.motif.sites[1] - mean.motif.sites[0], 0.25, atol=1e-12)


def test_structures_that_share_no_orientation_are_oriented_like_the_first() -> None:
    rng = np.random.default_rng(0)
    structures = [bulk("Mg") for _ in range(30)]
    for atoms in structures[1:]:
        atoms.rotate(rng.uniform(0, 360), rng.normal(size=3), rotate_cell=True)
    mean = mean_crystal([Motif.from_atoms(atoms) for atoms in structures])
    np.testing.assert_allclose(mean.motif.lattice, structures[0].cell.array, atol=1e-9)
