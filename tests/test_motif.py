import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from hypothesis import given, settings
from hypothesis import strategies as st

from ase_dkl.crystal.lattice import normals
from ase_dkl.crystal.motif import Motif
from ase_dkl.crystal.unusable import unusable

seeds = st.integers(0, 2**32 - 1)
repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=25)


def crystal() -> Atoms:
    return Atoms(
        "Na2Cl",
        scaled_positions=[[0.1, 0.2, 0.9], [0.4, 0.6, 0.3], [0.8, 0.3, 0.5]],
        cell=[4, 5, 6, 80, 95, 110],
        pbc=True,
    )


@given(seed=seeds)
@repeatable
def test_a_shuffled_and_shifted_motif_is_laid_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    atoms = crystal()
    order, shift = rng.permutation(3), rng.normal(size=3)
    other = atoms[order]
    other.translate(shift)
    other.wrap()
    placements = list(Motif.from_atoms(atoms).placements(Motif.from_atoms(other), 1e-6))
    assert len(placements) == 1
    np.testing.assert_array_equal(placements[0].partners, order)
    assert placements[0].distances.max() < 1e-9


def test_distances_are_measured_after_the_best_translation() -> None:
    atoms, other = crystal(), crystal()
    other.positions[0] += [0.3, 0, 0]
    other.translate([1, 1, 1])
    motif = Motif.from_atoms(atoms)
    placements = list(motif.placements(Motif.from_atoms(other), 0.3))
    np.testing.assert_allclose(placements[0].distances, [0.2, 0.1, 0.1])
    assert not list(motif.placements(Motif.from_atoms(other), 0.19))
    np.testing.assert_allclose(motif.laid(placements[0]) - motif.sites, placements[0].displacements, atol=1e-12)


@given(seed=seeds)
@repeatable
def test_a_site_that_is_far_from_its_place_does_not_mislead(seed: int) -> None:
    rng = np.random.default_rng(seed)
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    other = atoms.copy()
    # The first site gives the translations that are tried.
    other.positions[0] += 1.0 * (direction := rng.normal(size=3)) / np.linalg.norm(direction)
    placements = Motif.from_atoms(atoms).placements(Motif.from_atoms(other[rng.permutation(8)]), 1.0)
    assert min(placement.distances.max() for placement in placements) == pytest.approx(1 - 1 / 8)


@given(seed=seeds)
@repeatable
def test_misfits_are_lower_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    atoms, other = crystal(), crystal()
    other.positions += rng.uniform(-0.3, 0.3, (3, 3))
    motif, displaced = Motif.from_atoms(atoms), Motif.from_atoms(other[rng.permutation(3)])
    shear = np.eye(3, dtype=np.int64)
    shear[tuple(rng.choice(3, 2, replace=False))] = 1
    signs = np.array([np.eye(3), -np.eye(3)])
    bounds = motif.misfits(displaced, shear[None], signs)
    for bound, sign in zip(bounds[0], signs, strict=True):
        for placement in motif.placements(displaced.in_basis(shear).transformed(sign), 2.0):
            assert bound <= placement.distances.max() + 1e-9


def test_sites_in_order_are_laid_without_a_search() -> None:
    atoms, other = crystal(), crystal()
    other.positions[0] += [0.3, 0, 0]
    other.translate([7, 1, -9])
    other.wrap()
    motif = Motif.from_atoms(atoms)
    placement = motif.in_order(Motif.from_atoms(other))
    assert placement is not None
    np.testing.assert_allclose(placement.distances, [0.2, 0.1, 0.1])
    np.testing.assert_allclose(motif.laid(placement) - motif.sites, placement.displacements, atol=1e-12)
    assert motif.in_order(Motif.from_atoms(other[[2, 1, 0]])) is None


@pytest.mark.parametrize(
    ("atoms", "sites"),
    [(bulk("Cu", cubic=True), 1), (bulk("Si", cubic=True), 2), (bulk("Mg"), 2), (crystal(), 3)],
)
@given(seed=seeds)
@repeatable
def test_the_primitive_cell_of_strained_supercells(atoms: Atoms, sites: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.1, 0.1, (3, 3))), scale_atoms=True)
    copies = np.triu(rng.integers(-1, 2, (3, 3)), 1) + np.diag(rng.integers(1, 4, 3))
    supercell = make_supercell(atoms, copies)
    motif = Motif.from_atoms(supercell)
    primitive, reduction = motif.primitive(1e-6)
    assert len(primitive) == sites
    np.testing.assert_allclose(primitive.lattice, reduction @ motif.lattice)
    assert abs(np.linalg.det(reduction)) * len(supercell) == pytest.approx(sites)
    # The same crystal: every site of the supercell is a site of the primitive cell.
    assert np.abs(primitive.displacements(motif.in_basis(reduction))).max() < 1e-9


def test_reversed_moments_are_no_translation() -> None:
    atoms = bulk("Fe", cubic=True)
    atoms.set_initial_magnetic_moments([2, -2])
    motif = Motif.from_atoms(atoms)
    assert sorted(placement.flip for placement in motif.placements(motif, 1e-6)) == [-1, 1]
    assert len(motif.primitive(1e-6)[0]) == 2


@pytest.mark.parametrize("axes", [[0, 1], [0, 2], [1, 2], [0], [2]])
def test_sites_of_sheets_and_chains_need_no_vacuum(axes: list[int]) -> None:
    atoms = crystal()
    atoms.pbc = [axis in axes for axis in range(3)]
    motif = Motif.from_atoms(atoms)
    frame = np.vstack([motif.lattice, normals(motif.lattice)])
    np.testing.assert_allclose(frame @ normals(motif.lattice).T, np.eye(3)[:, len(axes) :], atol=1e-12)
    np.testing.assert_allclose(motif.sites @ frame, atoms.positions, atol=1e-12)
    for axis in set(range(3)) - set(axes):
        atoms.cell[axis] = 0
    np.testing.assert_allclose(Motif.from_atoms(atoms).sites, motif.sites)


def test_the_closest_sites_may_be_in_neighbouring_cells() -> None:
    skewed = bulk("Po", "sc", a=3.3)
    skewed.set_cell(np.array([[1, 0, 0], [3, 1, 0], [0, -2, 1]]) @ skewed.cell.array)
    assert Motif.from_atoms(skewed).closest == pytest.approx(3.3)
    assert Motif.from_atoms(bulk("Si")).closest == pytest.approx(5.43 * np.sqrt(3) / 4)
    sheet = Atoms("BN", positions=[[0, 0, 0], [0, 1.4, 0.2]], cell=[2.5, 4.3, 0], pbc=(True, True, False))
    assert Motif.from_atoms(sheet).closest == pytest.approx(np.hypot(1.4, 0.2))


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (Atoms(cell=[1, 1, 1], pbc=True), "no atoms"),
        (Atoms("Cu", cell=[3, 3, np.inf], pbc=True), "not finite"),
        (Atoms("Cu", positions=[[np.nan] * 3], cell=[3, 3, 3], pbc=True), "not finite"),
        (Atoms("Cu", cell=[3, 3, 3]), "periodic along no axis"),
        (Atoms("Cu", cell=[3, 3, 0], pbc=True), "flat cell"),
        (Atoms("Cu", cell=[[3, 0, 0], [3, 1e-4, 0], [0, 0, 3]], pbc=(True, True, False)), "flat cell"),
        (Atoms("Cu", cell=[3e-9, 3e-9, 3e-9], pbc=True), "no crystal has"),
        (Atoms("Cu", cell=[3e9, 3, 3], pbc=True), "no crystal has"),
        (Atoms("Cu2", positions=[[0.05, 0, 1], [2.98, 0, 1]], cell=[3, 3, 3], pbc=True), "in one place, 0 and 1"),
        (Atoms("Cu2", positions=[[0, 0, 0], [0, 3.1, 9]], cell=[3, 3, 9], pbc=(True, True, False)), "None"),
        (Atoms("Cu", magmoms=[[0, 0, 1]], cell=[3, 3, 3], pbc=True), "are vectors"),
    ],
)
def test_what_has_no_motif(atoms: Atoms, reason: str) -> None:
    assert reason in str(unusable(atoms))


def test_a_zero_vacuum_vector_is_no_flat_cell() -> None:
    assert unusable(Atoms("C", cell=[3, 3, 0], pbc=(True, True, False))) is None
