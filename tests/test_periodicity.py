"""Sheets and chains, whatever their files say of periodic axes."""

from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, mx2
from commands import Command

from ase_dkl import BadDataset, Crystal, Dataset, DKLCalculator, NotThisCrystal, Surrogate, TrainConfig, fit
from ase_dkl.crystal.periodicity import empty_space, in_dimension, periodic_axes, vacuum_that_never_varies

CASES = Path(__file__).parent / "cases"


@pytest.fixture(scope="module")
def sheet() -> Surrogate:
    rows = Dataset.read(CASES / "phosphorene_ttt.xyz", pbc="TTF")
    return fit(rows, TrainConfig(networks=1, steps=5, n_inducing=8), progress=False)


def frames(name: str) -> list[Atoms]:
    return list(ase.io.iread(CASES / name))


def mos2(vacuum: float = 6.0) -> Atoms:
    atoms: Atoms = mx2("MoS2", vacuum=vacuum)
    atoms.pbc = True
    return atoms


class TestNamingThem:
    @pytest.mark.parametrize("pbc", ["TTF", "ttf", (True, True, False), np.array([True, True, False])])
    def test_letters_and_truth_values(self, pbc: str) -> None:
        assert periodic_axes(pbc).tolist() == [True, True, False]

    @pytest.mark.parametrize("pbc", ["TT", "TTX", "", (True, True), (1, 1, 0), True])
    def test_anything_else(self, pbc: str) -> None:
        with pytest.raises((ValueError, TypeError)):
            periodic_axes(pbc)


class TestVacuum:
    def test_where_the_layer_lies_does_not_matter(self) -> None:
        atoms = mos2()
        height = np.ptp(atoms.positions[:, 2])
        for shift in (0, 7.5, -3):
            atoms.translate([0.3, 0.2, shift])
            assert empty_space(atoms)[2] == pytest.approx(atoms.cell[2, 2] - height)
        assert (empty_space(bulk("Cu")) < 3).all()

    def test_only_axes_too_many_and_only_empty_ones(self) -> None:
        atoms = mos2()
        assert in_dimension(atoms, 2).pbc.tolist() == [True, True, False]
        assert atoms.pbc.all()
        assert in_dimension(atoms, 3) is atoms
        assert in_dimension(atoms, 1) is atoms
        assert in_dimension(mos2(vacuum=3.5), 2).pbc.all()
        assert in_dimension(bulk("Cu"), 2).pbc.all()

    def test_vacuum_that_varies_is_none(self) -> None:
        assert vacuum_that_never_varies([mos2(), mos2()]).tolist() == [False, False, True]
        assert not vacuum_that_never_varies([mos2(), mos2(vacuum=7)]).any()


class TestDataset:
    @pytest.mark.parametrize(
        ("name", "right", "pbc", "axes"),
        [("phosphorene_ttt.xyz", "phosphorene_ok.xyz", "TTF", "c"), ("chain_ttt.xyz", "chain.xyz", "TFF", "b and c")],
    )
    def test_plane_wave_codes_files(self, name: str, right: str, pbc: str, axes: str) -> None:
        wanted = Dataset.read(CASES / right)
        found = Dataset.read(CASES / name, pbc=pbc)
        assert found.crystal.space_group == wanted.crystal.space_group
        assert not any("vacuum" in warning for warning in (*found.warnings, *wanted.warnings))
        np.testing.assert_array_equal(found.cells, wanted.cells)
        np.testing.assert_array_equal(found.stresses, wanted.stresses)
        (hint,) = [warning for warning in Dataset.read(CASES / name).warnings if "vacuum" in warning]
        assert hint.startswith(f"Along {axes} ")
        assert f"--pbc {pbc}" in hint

    def test_a_model_of_a_sheet_decides(self) -> None:
        wanted = Dataset.read(CASES / "phosphorene_ok.xyz")
        found = Dataset.read(CASES / "phosphorene_ttt.xyz", reference=wanted.crystal)
        np.testing.assert_allclose(found.cells, wanted.cells, atol=1e-12)
        assert not any("vacuum" in warning for warning in found.warnings)

    def test_the_reference_has_the_same_axes(self) -> None:
        structures = frames("phosphorene_ttt.xyz")
        found = Dataset.from_atoms(structures, pbc="TTF", reference=structures[0])
        assert found.crystal.pbc.tolist() == [True, True, False]

    def test_changed_by_hand_the_labels_are_lost(self) -> None:
        structures = frames("phosphorene_ttt.xyz")
        for atoms in structures:
            atoms.pbc = (True, True, False)
        with pytest.raises(BadDataset, match=r"20 rows: .* had pbc changed after the calculation.*pbc='TTF'"):
            Dataset.from_atoms(structures)
        for atoms in structures:
            atoms.pbc = True
            atoms.rattle(0.01)
        with pytest.raises(BadDataset, match=r"had positions changed after the calculation.*SinglePointCalculator"):
            Dataset.from_atoms(structures)

    def test_a_cluster_is_told_what_it_is(self) -> None:
        structures = frames("phosphorene_ttt.xyz")
        with pytest.raises(
            BadDataset, match=r"periodic along no axis .* A molecule or a cluster has no lattice.*--ions free"
        ):
            Dataset.from_atoms(structures, pbc="FFF", ions="clamped")


class TestModelOfASheet:
    def test_calculator(self, sheet: Surrogate) -> None:
        for said, flat in zip(frames("phosphorene_ttt.xyz"), frames("phosphorene_ok.xyz"), strict=True):
            said.calc, flat.calc = (DKLCalculator(sheet, extrapolation="ignore") for _ in range(2))
            assert said.get_potential_energy() == pytest.approx(flat.get_potential_energy(), abs=1e-9)
            np.testing.assert_allclose(said.get_stress(), flat.get_stress(), atol=1e-12)

    def test_too_little_vacuum_is_for_the_user_to_judge(self, sheet: Surrogate) -> None:
        atoms = sheet.crystal.atoms()
        cell = atoms.cell.array
        cell[2] *= 0.45
        atoms.set_cell(cell)
        atoms.pbc = True
        with pytest.raises(NotThisCrystal, match=r"periodic along 3 of its axes .*--pbc"):
            sheet.crystal.map(atoms)
        atoms.pbc = (True, True, False)
        assert sheet.crystal.map(atoms).multiplicity == 1

    def test_commands(self, sheet: Surrogate, tmp_path: Path) -> None:
        sheet.save(tmp_path / "sheet.dkl")
        said = CASES / "phosphorene_ttt.xyz"
        run: Callable[..., str] = lambda *words: Command().run(*words).stdout  # noqa: E731
        flat = run("predict", tmp_path / "sheet.dkl", CASES / "phosphorene_ok.xyz", "--json")
        for options in ([], ["--pbc", "TTF"]):
            found = run("predict", tmp_path / "sheet.dkl", said, "--json", *options)
            assert found.replace("phosphorene_ttt", "phosphorene_ok") == flat
            assert '"n": 20' in run("evaluate", tmp_path / "sheet.dkl", said, "--json", *options)
        result = Command().run("evaluate", tmp_path / "sheet.dkl", said, "--pbc", "TTX")
        assert result.exit_code == 2
        assert "does not name the periodic axes" in result.output


def test_mapping_a_bulk_crystal_asks_nothing_of_vacuum() -> None:
    crystal = Crystal.from_atoms(bulk("Cu"))
    assert crystal.map(bulk("Cu").repeat(2)).multiplicity == 8
