import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk, graphene, mx2
from ase.calculators.emt import EMT
from ase.geometry import find_mic

from ase_dkl import Crystal
from ase_dkl.crystal.symmetry import quietly

POLYMER = Atoms("C2", [[0, 0.4, 0.3], [1.2, -0.4, 0.3]], cell=[2.4, 0, 0], pbc=[True, False, False])
CRYSTALS = {
    "perovskite": bulk("Sr", "sc", a=3.9)
    + Atoms("TiO3", scaled_positions=[[0.5] * 3, [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], cell=[3.9] * 3),
    "fcc, four atoms": bulk("Cu", cubic=True),
    "diamond, primitive": bulk("Si"),
    "hcp": bulk("Mg"),
    "sheet": mx2("MoS2"),
    "graphene": graphene(vacuum=5.0),
    "chain": POLYMER,
}


@pytest.fixture(scope="module", params=CRYSTALS)
def crystal(request: pytest.FixtureRequest) -> Crystal:
    return Crystal.from_atoms(CRYSTALS[request.param])


def test_each_lays_the_crystal_on_itself(crystal: Crystal) -> None:
    atoms, found = crystal.atoms(), crystal.operations
    for rotation, translation, permutation in zip(found.rotations, found.translations, found.permutations, strict=True):
        assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-9)
        assert (atoms.numbers[permutation] == atoms.numbers).all()
        apart = atoms.positions @ rotation + translation - atoms.positions[permutation]
        # The origin of a sheet or chain across it is its own.
        assert find_mic(apart, atoms.cell, atoms.pbc)[1] == pytest.approx(0, abs=1e-6)


def test_they_are_a_group(crystal: Crystal) -> None:
    found = crystal.operations
    keys = {
        (rotation.round(3) + 0.0).tobytes() + permutation.tobytes()
        for rotation, permutation in zip(found.rotations, found.permutations, strict=True)
    }
    assert len(keys) == len(found.rotations)
    for rotation, permutation in zip(found.rotations[:8], found.permutations[:8], strict=True):
        products = zip(found.rotations @ rotation, permutation[found.permutations], strict=True)
        assert {(turned.round(3) + 0.0).tobytes() + moved.tobytes() for turned, moved in products} == keys


@pytest.mark.parametrize("name", ["perovskite", "fcc, four atoms", "diamond, primitive", "hcp"])
def test_they_are_as_many_as_spglib_finds(name: str) -> None:
    atoms = Crystal.from_atoms(CRYSTALS[name]).atoms()
    with quietly():
        dataset = spglib.get_symmetry_dataset(
            (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers)
        )
    assert dataset is not None
    assert len(Crystal.from_atoms(CRYSTALS[name]).operations.rotations) == len(dataset.rotations)


def test_energies_and_forces_of_displaced_ions_go_with_them() -> None:
    crystal = Crystal.from_atoms(bulk("Cu", cubic=True))
    rng, found = np.random.default_rng(0), crystal.operations
    displacements = 0.1 * rng.normal(size=(4, 3))

    def computed(moved: np.ndarray) -> tuple[float, np.ndarray]:
        atoms = crystal.atoms()
        atoms.positions += moved
        atoms.calc = EMT()
        return atoms.get_potential_energy(), atoms.get_forces()

    energy, forces = computed(displacements)
    for i in rng.integers(len(found.rotations), size=6):
        image, of_image = np.empty((4, 3)), np.empty((4, 3))
        image[found.permutations[i]] = displacements @ found.rotations[i]
        of_image[found.permutations[i]] = forces @ found.rotations[i]
        again, turned = computed(image)
        assert again == pytest.approx(energy)
        assert turned == pytest.approx(of_image, abs=1e-9)
