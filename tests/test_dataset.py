import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.singlepoint import SinglePointCalculator
from made import labelled

from ase_dkl.crystal import BadReference
from ase_dkl.dataset import BadDataset, Dataset, mgo_slab, mos2, silicon, srtio3, srtio3_direct

Rows = list[Atoms]


def copper(strain: np.ndarray) -> Atoms:
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain + strain.T), scale_atoms=True)
    return labelled(atoms)


@pytest.fixture(scope="module")
def strained_copper() -> Rows:
    return [copper(strain) for strain in np.random.default_rng(4).uniform(-0.04, 0.04, (30, 3, 3))]


@pytest.fixture
def rows(strained_copper: Rows) -> Rows:
    return deepcopy(strained_copper)


def write(path: Path, rows: Rows) -> Path:
    if path.suffix in {".db", ".json"}:
        with ase.db.connect(path) as database:
            for atoms in rows:
                database.write(atoms, key_value_pairs=atoms.info)
    else:
        ase.io.write(path, rows)
    return path


class TestShippedData:
    def test_pool(self) -> None:
        dataset = Dataset.read(srtio3(), select="set=pool")
        assert len(dataset) == 357
        assert dataset.cells.shape == (357, 3, 3)
        assert dataset.has_stress.all()
        assert dataset.crystal.space_group == "Pm-3m (221)"
        assert len(dataset.crystal.images) == 24
        assert dataset.crystal.ions == "clamped"
        assert dataset.energies.min() == pytest.approx(-39.386406, abs=1e-5)
        assert dataset.warnings == ()

    def test_labels_are_the_rows(self) -> None:
        dataset = Dataset.read(srtio3(), select="set=pool,index<8")
        for i, row in enumerate(ase.db.connect(srtio3()).select("set=pool,index<8")):
            assert dataset.ids[i] == row.id
            assert dataset.energies[i] == row.energy
            assert (dataset.stresses[i] == row.stress).all()
            assert (dataset.cells[i] == row.cell).all()

    def test_provenance_says_where_rows_come_from_and_how_they_were_made(self) -> None:
        provenance = Dataset.read(srtio3(), select="set=pool").provenance
        assert json.loads(json.dumps(provenance)) == {
            "source": srtio3().name,
            "select": "set=pool",
            "sha256": "37657aed949b1fe4042d18f277c19d83dcb5e52d041d59b59240b2f48b8e6512",
            "rows": 357,
            "labels": 357,
            "settings": {
                "code": "gpaw",
                "code_version": "v26.7.0",
                "ecut_eV": "800",
                "kpts": "3x3x3 gamma",
                "smearing_eV": "0.05",
                "xc": "pbe",
            },
        }

    @pytest.mark.parametrize(
        ("database", "ions", "rows", "group", "images"),
        [
            (srtio3_direct, "clamped", {"volumes": 9, "xx": 8, "yz": 8}, "Pm-3m (221)", 24),
            (mos2, "clamped", {"pool": 40, "volumes": 9, "xx": 8}, "p-6m2 (layer group 78)", 6),
            (mgo_slab, "clamped", {"pool": 16, "volumes": 9, "xx": 8}, "p4/nmm (layer group 64)", 4),
            (silicon, "clamped", {"pool": 40, "volumes": 9, "xx": 8, "yz": 8}, "Fd-3m (227)", 24),
            (silicon, "relaxed", {"pool": 40, "volumes": 9, "xx": 8, "yz": 8}, "Fd-3m (227)", 24),
        ],
    )
    def test_other_databases(
        self, database: Callable[[], Path], ions: str, rows: dict[str, int], group: str, images: int
    ) -> None:
        whole = Dataset.read(database(), select=f"ions={ions}")
        assert whole.crystal.space_group == group
        assert len(whole.crystal.images) == images
        assert whole.crystal.ions == ions
        assert whole.has_stress.all()
        assert whole.provenance["settings"]["code"] == "gpaw"
        for name, count in rows.items():
            assert len(Dataset.read(database(), select=f"set={name},ions={ions}", reference=whole.crystal)) == count
        assert len(whole) == sum(rows.values())

    def test_clamped_and_relaxed_silicon_are_the_same_lattices(self) -> None:
        clamped, relaxed = (Dataset.read(silicon(), select=f"set=pool,ions={ions}") for ions in ("clamped", "relaxed"))
        assert relaxed.cells == pytest.approx(clamped.cells, abs=1e-9)
        assert (relaxed.energies < clamped.energies).all()

    def test_rows_that_symmetry_repeats_are_told(self) -> None:
        (warning,) = Dataset.read(srtio3()).warnings
        assert warning.startswith("The lattice of an earlier row up to symmetry")
        assert "10 rows: " in warning


@pytest.mark.parametrize("name", ["cu.db", "cu.json", "cu.extxyz", "cu.traj"])
def test_every_kind_of_file_gives_the_same_dataset(tmp_path: Path, rows: Rows, name: str) -> None:
    expected = Dataset.from_atoms(rows)
    dataset = Dataset.read(write(tmp_path / name, rows))
    for column in ("cells", "energies", "stresses"):
        assert getattr(dataset, column) == pytest.approx(getattr(expected, column), abs=1e-7)
    assert dataset.crystal.space_group == expected.crystal.space_group == "Fm-3m (225)"
    assert dataset.has_stress.all()


def test_supercells_count_as_often_as_they_hold_the_crystal(rows: Rows) -> None:
    expected = Dataset.from_atoms(rows)
    rows[7] = labelled(make_supercell(rows[7], np.diag([1, 2, 1])))
    dataset = Dataset.from_atoms(rows)
    assert dataset.energies == pytest.approx(expected.energies, abs=1e-9)
    assert dataset.stresses == pytest.approx(expected.stresses, abs=1e-9)


class TestReference:
    def test_a_file(self, tmp_path: Path, rows: Rows) -> None:
        ase.io.write(tmp_path / "cu.cif", bulk("Cu", a=3.6, cubic=True))
        crystal = Dataset.from_atoms(rows, reference=tmp_path / "cu.cif").crystal
        assert crystal.cell == pytest.approx(3.6 * np.eye(3), abs=1e-6)

    def test_another_setting_sets_the_basis_and_the_cell_of_energies(self, rows: Rows) -> None:
        dataset = Dataset.from_atoms(rows, reference=bulk("Cu", a=3.6))
        assert dataset.energies == pytest.approx(Dataset.from_atoms(rows).energies / 4)
        assert np.linalg.det(dataset.cells) == pytest.approx([atoms.get_volume() / 4 for atoms in rows])

    def test_a_crystal_takes_any_number_of_rows(self, rows: Rows) -> None:
        crystal = Dataset.from_atoms(rows).crystal
        dataset = Dataset.from_atoms(rows[:1], reference=crystal)
        assert dataset.crystal is crystal
        assert len(dataset) == 1

    def test_an_unreadable_file_is_refused(self, tmp_path: Path, rows: Rows) -> None:
        with pytest.raises(BadReference, match="cannot be read as a reference crystal"):
            Dataset.from_atoms(rows, reference=tmp_path / "none.cif")

    def test_a_reference_that_is_no_crystal_is_refused(self, rows: Rows) -> None:
        with pytest.raises(BadReference, match="periodic along no axis"):
            Dataset.from_atoms(rows, reference=Atoms("Cu4", positions=np.eye(4, 3)))

    def test_the_reference_of_something_else_is_refused(self, rows: Rows) -> None:
        with pytest.raises(BadDataset, match="Rows of another crystal"):
            Dataset.from_atoms(rows, reference=bulk("Al", a=4.05, cubic=True))

    def test_without_symmetry_there_is_one_image(self, rows: Rows) -> None:
        dataset = Dataset.from_atoms(rows, symmetry=False)
        assert len(dataset.crystal.images) == 1
        assert dataset.warnings == ()


def without_energy(rows: Rows) -> None:
    for atoms in rows[3:6]:
        atoms.calc = None


def without_stress(rows: Rows) -> None:
    for atoms in rows[3:6]:
        del atoms.calc.results["stress"]


def with_full_stress(rows: Rows) -> None:
    rows[2].calc.results["stress"] = rows[2].get_stress(voigt=False)


def left_handed(rows: Rows) -> None:
    rows[4].set_cell(rows[4].cell.array[[1, 0, 2]])
    rows[4] = labelled(rows[4])


def with_flipped_stresses(rows: Rows) -> None:
    for atoms in rows:
        atoms.calc.results["stress"] *= -1


def with_other_k_points(rows: Rows) -> None:
    for index, atoms in enumerate(rows):
        atoms.info["kpts"] = "4x4x4" if index % 2 else "4x4x3"


@pytest.mark.parametrize(
    ("spoil", "n", "n_stress", "words"),
    [
        (without_energy, 27, 27, "no energy or none that is finite: 3 rows: 4, 5, 6"),
        (without_stress, 30, 27, "Without a stress label: 3 rows: 4, 5, 6"),
        (with_full_stress, 30, 30, None),
        (left_handed, 30, 30, "Left-handed cells, relabelled to right-handed ones: 1 row: 5"),
        (with_other_k_points, 30, 30, "kpts differs among the rows"),
    ],
)
def test_what_can_be_mended_is_told(
    tmp_path: Path, rows: Rows, spoil: Callable[[Rows], None], n: int, n_stress: int, words: str | None
) -> None:
    spoil(rows)
    dataset = Dataset.read(write(tmp_path / "cu.db", rows))
    assert len(dataset) == n
    assert dataset.has_stress.sum() == n_stress
    assert words is None or words in "\n".join(dataset.warnings)
    assert bool(dataset.warnings) == (words is not None)


def mixed_elements(rows: Rows) -> None:
    rows[7] = labelled(bulk("Al", a=4.05, cubic=True))


def mixed_phases(rows: Rows) -> None:
    rows[7] = labelled(bulk("Cu", "diamond", a=5.6))


def mixed_dimensions(rows: Rows) -> None:
    energy = rows[7].calc.results["energy"]
    rows[7].pbc = [True, True, False]
    rows[7].calc = SinglePointCalculator(rows[7], energy=energy)


def mixed_cutoffs(rows: Rows) -> None:
    for index, atoms in enumerate(rows):
        atoms.info = {"code": "GPAW", "ecut_eV": 500.0 if index == 7 else 600.0}


def mixed_references(rows: Rows) -> None:
    rows[7] = labelled(rows[3].copy())
    rows[7].calc.results["energy"] += 12.0


def not_finite(rows: Rows) -> None:
    rows[7].positions[2] = np.nan
    rows[7].calc = SinglePointCalculator(rows[7], energy=0.1)


def flat(rows: Rows) -> None:
    rows[7].set_cell(np.ones((3, 3)) + 1e-9 * np.eye(3))
    rows[7].calc = SinglePointCalculator(rows[7], energy=0.1)


@pytest.mark.parametrize(
    ("spoil", "words", "select"),
    [
        (mixed_elements, "2 compositions: Cu, 3 periodic axes (29 rows: ", "formula=Cu4"),
        (mixed_dimensions, "Cu, 2 periodic axes (1 row: 8)", "pbc=TTT"),
        (mixed_phases, "Rows of another crystal", "formula=Cu4"),
        (mixed_cutoffs, "2 ways of computing: ecut_eV=600 (29 rows: ", "ecut_eV=600.0"),
        (mixed_references, "rows 4 and 8 by 12 eV", None),
        (flat, "no crystal. 1 row: 8: The structure has a flat cell", "id!=8"),
    ],
)
def test_what_cannot_be_mended_is_refused_with_a_selection_that_works(
    tmp_path: Path, rows: Rows, spoil: Callable[[Rows], None], words: str, select: str | None
) -> None:
    spoil(rows)
    source = write(tmp_path / "cu.db", rows)
    with pytest.raises(BadDataset) as caught:
        Dataset.read(source)
    assert words in str(caught.value)
    if select is not None:
        assert f"--select {select}" in str(caught.value).replace("'", "")
        assert len(Dataset.read(source, select=select)) == 29


def test_stresses_that_are_no_derivatives_are_refused_and_can_be_left_alone(rows: Rows) -> None:
    with_flipped_stresses(rows)
    with pytest.raises(BadDataset, match=r"they are of the opposite sign\..*--stress ignore") as caught:
        Dataset.from_atoms(rows)
    assert len(caught.value.problems) == 1
    dataset = Dataset.from_atoms(rows, stress=False)
    assert len(dataset) == 30
    assert not dataset.has_stress.any()
    assert not dataset.warnings


def test_every_problem_is_listed_at_once(tmp_path: Path, rows: Rows) -> None:
    mixed_cutoffs(rows)
    rows[2] = labelled(bulk("Al", a=4.05, cubic=True))
    rows[2].info = {"ecut_eV": 600.0}
    flat(rows[5:])
    source = write(tmp_path / "cu.db", rows)
    with pytest.raises(BadDataset) as caught:
        Dataset.read(source)
    assert len(caught.value.problems) == 4
    together = caught.value.problems[-1]
    assert together.startswith("All these selections together: --select ")
    assert len(Dataset.read(source, select=together.split("--select ")[1].strip("'"))) == 27


@pytest.mark.parametrize("count", [1, 4])
def test_too_few_rows_are_refused(rows: Rows, count: int) -> None:
    with pytest.raises(BadDataset, match=f"Too few rows: {count} usable, and at least 5"):
        Dataset.from_atoms(rows[:count])


def test_nothing_but_unlabelled_rows_is_refused(rows: Rows) -> None:
    for atoms in rows:
        atoms.calc = None
    with pytest.raises(BadDataset, match="None of the 30 rows has a finite energy"):
        Dataset.from_atoms(rows)


def test_a_crystal_without_symmetry_is_told() -> None:
    rng = np.random.default_rng(6)
    base = Atoms(
        "CuAgAu", scaled_positions=rng.uniform(size=(3, 3)), cell=[[4, 0, 0], [0.3, 5, 0], [0.6, 0.9, 6]], pbc=True
    )
    rows = []
    for strain in rng.uniform(-0.02, 0.02, (6, 3, 3)):
        atoms = base.copy()
        atoms.set_cell(base.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        rows.append(labelled(atoms))
    (warning,) = Dataset.from_atoms(rows).warnings
    assert "has no symmetry that would make a row count more than once" in warning


class TestParts:
    @pytest.fixture
    def dataset(self, rows: Rows) -> Dataset:
        return Dataset.from_atoms(rows)

    def test_subset_by_positions_and_by_mask(self, dataset: Dataset) -> None:
        mask = np.isin(np.arange(30), [4, 9])
        for part in (dataset.subset(np.array([4, 9])), dataset.subset(mask)):
            assert part.ids.tolist() == [4, 9]
            assert (part.energies == dataset.energies[mask]).all()
            assert (part.cells == dataset.cells[mask]).all()
            assert (part.stresses == dataset.stresses[mask]).all()
            assert part.crystal is dataset.crystal

    def test_without_stresses(self, dataset: Dataset) -> None:
        part = dataset.without_stresses()
        assert not part.has_stress.any()
        assert (part.energies == dataset.energies).all()
        assert dataset.has_stress.all()

    @pytest.mark.parametrize(("fraction", "count"), [(0.1, 3), (0.5, 15), (0.001, 1), (0.999, 29)])
    def test_split(self, dataset: Dataset, fraction: float, count: int) -> None:
        train, test = dataset.split(fraction, seed=1)
        assert len(test) == count
        assert sorted([*train.ids, *test.ids]) == list(range(30))

    def test_equal_seeds_split_equally(self, dataset: Dataset) -> None:
        first, second, other = (dataset.split(0.3, seed=seed)[1].ids.tolist() for seed in (5, 5, 6))
        assert first == second != other

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, np.nan])
    def test_a_fraction_that_splits_nothing_is_refused(self, dataset: Dataset, fraction: float) -> None:
        with pytest.raises(ValueError, match="cannot be split"):
            dataset.split(fraction, seed=0)
