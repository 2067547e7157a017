from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from ase_dkl.crystal.mapping import CLAMPED_TOLERANCE, NotThisCrystal, Pattern
from ase_dkl.crystal.motif import Motif

PEROVSKITE = Atoms(
    "SrTiO3",
    scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    cell=[3.945] * 3,
    pbc=True,
)


def target(atoms: Atoms = PEROVSKITE, ions: str = "clamped", tolerance: float = CLAMPED_TOLERANCE) -> Pattern:
    return Pattern(Motif.from_atoms(atoms), "SrTiO3 (Pm-3m (221))", ions, tolerance)


def moved(index: int, distance: float) -> Callable[[Atoms], Atoms]:
    def change(atoms: Atoms) -> Atoms:
        atoms.positions[index, 1] += distance
        return atoms

    return change


def with_symbol(index: int, symbol: str) -> Callable[[Atoms], Atoms]:
    def change(atoms: Atoms) -> Atoms:
        atoms.symbols[index] = symbol
        return atoms

    return change


def with_attributes(**attributes: object) -> Callable[[Atoms], Atoms]:
    def change(atoms: Atoms) -> Atoms:
        for name, value in attributes.items():
            setattr(atoms, name, value)
        return atoms

    return change


def magnetic(atoms: Atoms) -> Atoms:
    atoms.set_initial_magnetic_moments(np.ones(len(atoms)))
    return atoms


def flattened(atoms: Atoms) -> Atoms:
    atoms.cell[2] = atoms.cell[0] + atoms.cell[1]
    return atoms


def stretched(atoms: Atoms) -> Atoms:
    atoms.set_cell(atoms.cell.array @ np.diag([1, 1, 4]), scale_atoms=True)
    return atoms


@pytest.mark.parametrize("copies", [(1, 1, 1), (2, 1, 2)])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_symbol(0, "Ba"), "of another composition"),
        (with_attributes(pbc=(True, True, False)), "periodic along 2 of its axes"),
        (with_attributes(pbc=False), "is periodic along no axis"),
        (magnetic, "SrTiO3 .* without magnetic moments; the structure has some"),
        (flattened, "has a flat cell"),
        (stretched, "another phase, or is strained too far"),
        (moved(2, np.nan), "not finite numbers"),
    ],
)
def test_refusals_say_what_differs(
    change: Callable[[Atoms], Atoms], message: str, copies: tuple[int, int, int]
) -> None:
    structure = PEROVSKITE.repeat(copies)
    structure.set_cell(structure.cell.array @ [[1.03, 0.02, 0], [0, 0.97, 0], [0.01, 0, 1.01]], scale_atoms=True)
    structure = change(structure[::-1])
    with pytest.raises(NotThisCrystal, match=message):
        target().lay(structure)


@pytest.mark.parametrize("copies", [(1, 1, 1), (2, 1, 2)])
@pytest.mark.parametrize(("index", "distance"), [(0, 0.3), (3, 0.3), (3, 0.01), (4, -0.6)])
def test_a_displaced_ion_is_named(index: int, distance: float, copies: tuple[int, int, int]) -> None:
    structure = moved(index, distance)(PEROVSKITE.repeat(copies)[::-1])
    seen = abs(distance) * (1 - 1 / len(structure))
    with pytest.raises(
        NotThisCrystal, match=rf"Atom {index} \({structure.symbols[index]}\) is {seen:.2g} Å from its clamped"
    ):
        target().lay(structure)


@pytest.mark.parametrize(
    "reference",
    [bulk("ZnO", "wurtzite", a=3.25, c=5.2), bulk("NaCl", "rocksalt", a=5.64), bulk("Mg"), PEROVSKITE],
)
def test_far_strained_copies_are_laid_by_their_ions(reference: Atoms) -> None:
    rng = np.random.default_rng(0)
    parameters = reference.cell.cellpar()
    strict, loose = target(reference), target(reference, ions="relaxed", tolerance=0.6)
    for _ in range(6):
        strain = rng.uniform(-0.2, 0.2, 6)
        atoms = reference.copy()
        atoms.set_cell([*(parameters[:3] * (1 + strain[:3])), *(parameters[3:] + 100 * strain[3:])], scale_atoms=True)
        assert strict.lay(atoms)[1] < 1e-9
        atoms.positions += rng.normal(0, 0.02, (len(atoms), 3))
        # Distances are measured in the reference's lattice, which differs by up to a fifth along each axis.
        assert loose.lay(atoms[rng.permutation(len(atoms))])[1] < 0.15


def test_another_number_of_atoms() -> None:
    with pytest.raises(NotThisCrystal, match="no whole number of primitive cells of 2 atoms"):
        target(bulk("Mg")).lay(bulk("Mg").repeat((1, 1, 2))[:3])


def test_another_phase() -> None:
    with pytest.raises(NotThisCrystal, match=r"another phase|from its clamped site"):
        target(bulk("Si")).lay(bulk("Si", "bcc", a=3.1).repeat((2, 1, 1)))
    with pytest.raises(NotThisCrystal, match="another phase"):
        target(bulk("ZnS", "wurtzite", a=3.8, c=6.2)).lay(bulk("ZnS", "zincblende", a=5.4).repeat((2, 1, 1)))


def test_a_magnetic_reference_wants_moments() -> None:
    iron = bulk("Fe", cubic=True)
    bare = iron.copy()
    bare.set_initial_magnetic_moments(None)
    with pytest.raises(NotThisCrystal, match=r"with magnetic moments; the structure has none. Use atoms.set_initial"):
        target(iron).lay(bare)


def test_relaxed_ions_have_room() -> None:
    structure = PEROVSKITE.repeat((1, 2, 1))[::-1]
    structure.positions[4] += 0.2
    basis, displacement = target(ions="relaxed", tolerance=0.4).lay(structure)
    np.testing.assert_allclose(basis, np.diag([1, 0.5, 1]), atol=1e-12)
    # The mean displacement of the ten is a translation.
    assert displacement == pytest.approx(0.2 * np.sqrt(3) * 0.9)
    with pytest.raises(
        NotThisCrystal, match=r"Atom 4 \(Sr\) is 0.31 Å from its site; .* has room for 0.2 Å: relax the ions"
    ):
        target(ions="relaxed", tolerance=0.2).lay(structure)


def test_a_polar_crystal_is_laid_by_its_ions_and_not_by_its_edges() -> None:
    polar = PEROVSKITE.copy()
    polar.set_cell([3.9, 3.9, 4.1], scale_atoms=True)
    polar.positions[1, 2] += 0.3
    turned = polar.copy()
    turned.set_cell([4.1, 3.9, 3.9], scale_atoms=True)
    turned = turned[[0, 4, 1, 2, 3]]
    basis, _ = target(polar, ions="relaxed", tolerance=0.4).lay(turned)
    np.testing.assert_allclose(np.abs(basis[2]), [0, 0, 1])
