import numpy as np
import pytest
from ase.build import bulk, graphene, mx2
from numpy.typing import NDArray

from ase_dkl import Crystal
from ase_dkl.crystal.lattice import strained
from ase_dkl.mechanics.strains import invariant_strains, laue_group


def crystal(name: str) -> Crystal:
    atoms = {
        "cubic": bulk("Cu", cubic=True),
        "primitive": bulk("Si"),
        "hexagonal": bulk("Mg"),
        "sheet": mx2("MoS2", vacuum=6.0),
        "flat": graphene(vacuum=0.0),
    }[name]
    return Crystal.from_atoms(atoms)


@pytest.mark.parametrize(
    ("name", "free"), [("cubic", 1), ("primitive", 1), ("hexagonal", 2), ("sheet", 1), ("flat", 1)]
)
def test_as_many_strains_keep_the_symmetry_as_there_are_free_lattice_parameters(name: str, free: int) -> None:
    reference = crystal(name)
    strains = invariant_strains(reference, reference.cell)
    assert strains.shape == (free, 6)
    assert strains @ strains.T == pytest.approx(np.eye(free), abs=1e-12)


def test_a_cube_stays_one_by_growing_alone() -> None:
    reference = crystal("primitive")
    (strain,) = invariant_strains(reference, reference.cell)
    assert np.abs(strain) == pytest.approx(np.array([1, 1, 1, 0, 0, 0]) / np.sqrt(3))


def test_a_strained_crystal_has_the_symmetry_that_is_left() -> None:
    reference = crystal("cubic")
    tetragonal = strained(reference.cell, np.array([0, 0, 0.05, 0, 0, 0]))
    assert len(invariant_strains(reference, tetragonal)) == 2
    triclinic = strained(reference.cell, np.array([0.01, 0.03, 0.05, 0.01, 0.02, 0.04]))
    assert len(invariant_strains(reference, triclinic)) == 6
    assert len(laue_group(reference, reference.cell)) == 3 * len(laue_group(reference, tetragonal))


@pytest.mark.parametrize("name", ["cubic", "primitive", "hexagonal", "sheet", "flat"])
def test_rotations_of_a_strain_give_images_of_the_lattice(name: str) -> None:
    reference = crystal(name)
    periodic = list(reference.periodic)
    strain = np.array([0.01, -0.02, 0.03, 0.004, 0.005, 0.006])
    if len(periodic) == 2:
        strain[2:5] = 0

    def metric(cell: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((cell @ cell.T)[np.ix_(periodic, periodic)])

    images = [W @ metric(strained(reference.cell, strain)) @ W.T for W in reference.images]
    group = laue_group(reference, reference.cell)
    assert len(group) == len(images)
    for turned in group:
        rotated = metric(strained(reference.cell, turned @ strain))
        assert min(np.abs(rotated - image).max() for image in images) < 1e-10
