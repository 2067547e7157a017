import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from ase_dkl.crystal.motif import Motif
from ase_dkl.crystal.relabelling import isometries
from ase_dkl.crystal.symmetry import BadReference, Symmetry, find_symmetry, with_metric


def test_symmetrised_motifs_are_exactly_symmetric() -> None:
    rng = np.random.default_rng(0)
    atoms = bulk("ZnO", "wurtzite", a=3.25, c=5.2)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-1e-4, 1e-4, (3, 3))), scale_atoms=True)
    atoms.rattle(1e-4, seed=1)
    motif = Motif.from_atoms(atoms)
    found = find_symmetry(motif, motif.metric[None], 1e-3)
    assert (found.space_group, len(found.images)) == ("P6_3mc (186)", 12)
    metric = found.motif.metric
    np.testing.assert_allclose(
        found.images @ metric @ found.images.swapaxes(1, 2), np.broadcast_to(metric, (12, 3, 3)), atol=1e-9
    )
    for image in found.images:
        relabelled = found.motif.in_basis(image)
        laid = [
            placement.distances.max()
            for matrix in isometries(found.motif, relabelled, 1e-3)
            for placement in found.motif.placements(relabelled.transformed(matrix), 1e-3)
        ]
        assert min(laid) < 1e-12
    moved = found.motif.distances(found.motif.sites - motif.sites)
    assert 0 < moved.max() < 1e-3


def test_operations_that_barely_hold_still_make_an_exactly_symmetric_motif() -> None:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    perovskite = Atoms("SrTiO3", scaled_positions=sites, cell=[3.945] * 3, pbc=True)
    for seed, space_group in ((4, "Pm-3m (221)"), (6, "P1 (1)"), (7, "Pm-3m (221)")):
        atoms = perovskite.copy()
        atoms.rattle(6e-4, seed=seed)
        motif = Motif.from_atoms(atoms)
        assert find_symmetry(motif, motif.metric[None], 1e-3).space_group == space_group


@pytest.mark.parametrize(
    ("spread", "images"),
    # Simple orthorhombic lattices with edges 3, 3.2 and 4: rows that scatter too widely to tell them from tetragonal
    # ones are taken for those.
    [(0.0, 4), (0.02, 4), (0.1, 4), (0.4, 8)],
)
def test_the_group_depends_on_what_the_strains_have_explored(spread: float, images: int) -> None:
    rng = np.random.default_rng(0)
    edges = np.array([3, 3.2, 4]) * (1 + rng.uniform(-spread, spread, (64, 3)))
    metrics = np.array([np.diag(edge**2) for edge in edges])
    motif = Motif.from_atoms(Atoms("Po", cell=[3, 3.2, 4], pbc=True))
    assert len(find_symmetry(motif, metrics, 1e-3).images) == images


def test_one_row_that_is_symmetric_proves_the_group() -> None:
    # One-sided: all other rows are stretched along x.
    metrics = np.array([np.diag([3 * (1 + strain), 3, 3]) ** 2 for strain in (0, 0.02, 0.04, 0.06)])
    motif = Motif.from_atoms(Atoms("Po", cell=[3.09, 3, 3], pbc=True))
    assert len(find_symmetry(motif, metrics, 1e-3).images) == 24
    assert len(find_symmetry(motif, metrics[1:], 1e-3).images) == 8


def strained(reference: Atoms, number: int, size: float, seed: int) -> Symmetry:
    rng = np.random.default_rng(seed)
    strains = rng.uniform(-size, size, (number, 3, 3))
    cells = reference.cell.array @ (np.eye(3) + (strains + strains.swapaxes(1, 2)) / 2)
    metrics = cells @ cells.swapaxes(1, 2)
    return find_symmetry(with_metric(Motif.from_atoms(reference), metrics.mean(axis=0)), metrics, 1e-3)


@pytest.mark.parametrize(
    ("reference", "images"),
    [(bulk("Cu"), 24), (bulk("Cu", cubic=True), 24), (bulk("Mg"), 12), (bulk("NaCl", "rocksalt", a=5.6), 24)],
)
@pytest.mark.parametrize("size", [0.03, 0.05])
def test_six_random_rows_are_enough(reference: Atoms, images: int, size: float) -> None:
    assert [len(strained(reference, 6, size, seed).images) for seed in range(6)] == [images] * 6


@pytest.mark.parametrize(("number", "size", "ratio"), [(6, 0.01, 1.02), (24, 0.03, 1.03), (24, 0.05, 1.08)])
def test_a_tetragonal_lattice_is_no_cubic_one(number: int, size: float, ratio: float) -> None:
    indium = bulk("In", "fcc", a=4.6, cubic=True)
    indium.set_cell(indium.cell.array * [1, 1, ratio], scale_atoms=True)
    assert [len(strained(indium, number, size, seed).images) for seed in range(6)] == [8] * 6


@pytest.mark.parametrize("old", [True, False])
def test_coinciding_atoms_have_no_space_group(old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spglib.error.OLD_ERROR_HANDLING", old)
    motif = Motif.from_atoms(Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 1e-6]], cell=[3, 3, 3], pbc=True))
    with pytest.raises(BadReference, match="too close"):
        find_symmetry(motif, motif.metric[None], 1e-9)
