import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal

from ase_dkl import Crystal
from ase_dkl.arrays import Floats
from ase_dkl.mechanics.frame import laue_class, standard_frame

GENERAL = [(0.11, 0.23, 0.37), (0, 0, 0)]


def made(space_group: int, cellpar: list[float], basis: list[tuple[float, float, float]] = GENERAL) -> Atoms:
    return crystal(["O", "Ti"][: len(basis)], basis, spacegroup=space_group, cellpar=cellpar)


CRYSTALS = {
    "m-3m": made(225, [5.4, 5.4, 5.4, 90, 90, 90], [(0, 0, 0), (0.5, 0.5, 0.5)]),
    "m-3": made(205, [5.4, 5.4, 5.4, 90, 90, 90]),
    "6/mmm": made(194, [3.2, 3.2, 5.2, 90, 90, 120], [(1 / 3, 2 / 3, 0.25)]),
    "6/m": made(176, [6.5, 6.5, 4.1, 90, 90, 120]),
    "-3m": made(154, [4.916, 4.916, 5.405, 90, 90, 120], [(0.4135, 0.2669, 0.1191), (0.4697, 0, 2 / 3)]),
    "-3": made(147, [5.1, 5.1, 6.3, 90, 90, 120]),
    "4/mmm": made(136, [4.6, 4.6, 2.95, 90, 90, 90], [(0.305, 0.305, 0), (0, 0, 0)]),
    "4/m": made(83, [5.0, 5.0, 5.2, 90, 90, 90]),
    "mmm": made(62, [5.5, 7.6, 5.3, 90, 90, 90]),
    "2/m": made(14, [5.2, 4.7, 6.1, 90, 101, 90]),
    "-1": made(2, [4.1, 5.3, 6.2, 96, 103, 81]),
}
LOW = {
    "2/m, right angle": made(11, [5.2, 4.7, 6.1, 90, 90, 90]),
    "-3m, two-fold axes between the vectors": made(162, [5.1, 5.1, 6.3, 90, 90, 120]),
    "-3m, rhombohedral": made(167, [4.76, 4.76, 12.99, 90, 90, 120], [(0.306, 0, 0.25), (0, 0, 0.352)]),
    "4/m, body centred": made(88, [5.2, 5.2, 5.0, 90, 90, 90]),
}


def seen(atoms: Atoms) -> Floats:
    """An even tensor of the fourth rank that follows from the structure, in the crystal's frame."""
    reference = Crystal.from_atoms(atoms)
    rotation = standard_frame(reference, reference.cell)
    i, j, apart, distance = neighbor_list("ijDd", reference.atoms(), 6.0)
    along = apart @ rotation.T
    weights = (1 + reference.numbers[i] / 9) * (1 + reference.numbers[j] / 9) / distance**9
    tensor = np.einsum("p,pi,pj,pk,pl->ijkl", weights, along, along, along, along)
    return np.asarray(tensor / len(reference.numbers))


def written_otherwise(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """The same crystal turned, in another basis, its atoms in another order."""
    while True:
        basis = rng.integers(-1, 2, (3, 3))
        if np.linalg.det(basis) == 1:
            break
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    other = Atoms(atoms.numbers, atoms.positions @ turn, cell=basis @ atoms.cell.array @ turn, pbc=True)
    other.wrap()
    return other[rng.permutation(len(other))]


@pytest.mark.parametrize("name", CRYSTALS)
def test_the_class_is_that_of_the_space_group(name: str) -> None:
    reference = Crystal.from_atoms(CRYSTALS[name])
    assert laue_class(reference, reference.cell) == name


@pytest.mark.parametrize("name", [*CRYSTALS, *LOW])
def test_a_crystal_has_one_frame_however_it_is_written(name: str) -> None:
    atoms = (CRYSTALS | LOW)[name]
    expected, rng = seen(atoms), np.random.default_rng(0)
    assert np.abs(expected).max() > 0.01
    for _ in range(3):
        # Sites that files and searches of symmetry round to 1e-12 leave digits of this order.
        assert seen(written_otherwise(atoms, rng)) == pytest.approx(
            expected, rel=1e-5, abs=1e-6 * np.abs(expected).max()
        )


def test_a_tetragonal_axis_is_z_whether_it_is_long_or_short() -> None:
    for c in (4.8, 5.2):
        reference = Crystal.from_atoms(made(83, [5.0, 5.0, c, 90, 90, 90]))
        lengths = np.abs(reference.cell @ standard_frame(reference, reference.cell).T)
        assert lengths.max(axis=0) == pytest.approx([5.0, 5.0, c])
        assert lengths[2] == pytest.approx([0, 0, c], abs=1e-9)


def test_axes_of_an_orthorhombic_crystal_go_by_length() -> None:
    reference = Crystal.from_atoms(CRYSTALS["mmm"])
    turned = reference.cell @ standard_frame(reference, reference.cell).T
    assert np.abs(turned).max(axis=0) == pytest.approx([5.5, 7.6, 5.3])


def test_a_monoclinic_angle_is_obtuse() -> None:
    reference = Crystal.from_atoms(CRYSTALS["2/m"])
    a, b, c = reference.cell @ standard_frame(reference, reference.cell).T
    x, z = sorted((a, c), key=np.linalg.norm, reverse=True)
    assert np.abs(z) == pytest.approx([0, 0, np.linalg.norm(z)], abs=1e-9)
    assert np.abs(b) == pytest.approx([0, np.linalg.norm(b), 0], abs=1e-9)
    assert x[0] * x[2] * z[2] * np.sign(x[0]) < 0
