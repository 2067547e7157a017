"""The scripts that make the shipped data with displaced ions, with EMT in place of DFT."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import SCFError
from ase.calculators.emt import EMT

FOLDER = Path(__file__).parent.parent / "examples"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("_rows", monkeypatch)


@pytest.fixture
def ions(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("dft_ions", monkeypatch)


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("framework_data", monkeypatch)


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


class Labels:
    """EMT, which at some of its calls does something else."""

    def __init__(self, rows: ModuleType, problems: dict[int, BaseException] | None = None) -> None:
        self.frozen, self.problems, self.calls = rows.frozen, problems or {}, 0

    def __call__(self, atoms: Atoms) -> Atoms:
        self.calls += 1
        if self.calls in self.problems:
            raise self.problems[self.calls]
        copy = atoms.copy()
        copy.constraints = []
        copy.calc = EMT()
        results: dict[str, Any] = {"energy": float(copy.get_potential_energy()), "forces": copy.get_forces()}
        if copy.pbc.all():
            results["stress"] = copy.get_stress()
        labelled: Atoms = self.frozen(atoms, **results)
        return labelled


def copper(ions: ModuleType, points: int = 5) -> Any:
    design = ions.Strained(0.03, 0.04, (0.02, 0.08), polar_A=0.03)
    axes = tuple((ion, axis) for ion in range(4) for axis in range(3))
    return ions.System("Copper", bulk("Cu", cubic=True), None, design, points, displaced=axes)


def cluster(ions: ModuleType, points: int = 4) -> Any:
    atoms = Atoms("Cu4", positions=2.4 / 8**0.5 * np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]))
    axes = tuple((ion, axis) for ion in range(4) for axis in range(3))
    return ions.System("Cu4", atoms, None, ions.Thermal(10), points, relaxed=True, displaced=axes)


class TestRows:
    def test_a_killed_run_goes_on_where_it_was(self, rows: ModuleType, ions: ModuleType, tmp_path: Path) -> None:
        kill = Labels(rows, {28: KeyboardInterrupt()})
        with pytest.raises(KeyboardInterrupt), rows.Growing(tmp_path / "cu.db", {}, kill) as killed:
            ions.run(copper(ions), killed)
        again = rows.Rows(tmp_path / "cu.db")
        assert again.database.count() == 27
        label = Labels(rows)
        with rows.Growing(tmp_path / "cu.db", {}, label) as continued:
            ions.run(copper(ions), continued)
        with rows.Growing(tmp_path / "whole.db", {}, Labels(rows)) as whole:
            ions.run(copper(ions), whole)
        assert label.calls == whole.database.count() - 27
        for name, count in {"finite": 24, "pool": 5, "check": 7}.items():
            one, other = again.read(name), whole.read(name)
            assert len(one) == len(other) == count
            for a, b in zip(one, other, strict=True):
                assert np.array_equal(a.positions, b.positions)
                assert np.array_equal(a.get_forces(), b.get_forces())

    def test_two_runs_on_one_file_are_one_too_many(self, rows: ModuleType, tmp_path: Path) -> None:
        with (
            rows.Growing(tmp_path / "cu.db", {}, Labels(rows)),
            pytest.raises(SystemExit, match="Another run is at work"),
        ):
            rows.Growing(tmp_path / "cu.db", {}, Labels(rows))

    def test_what_does_not_converge_is_said_and_left_out(
        self, rows: ModuleType, ions: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        jobs = list(ions.pool(copper(ions), None))
        with rows.Growing(tmp_path / "cu.db", {}, Labels(rows, {2: SCFError("200 iterations")})) as database:
            database.add(jobs)
            assert "index 1 is left out, for it did not converge (200 iterations)" in capsys.readouterr().err
            assert [atoms.info["key_value_pairs"]["index"] for atoms in database.read("pool")] == [0, 2, 3, 4]
            database.add(jobs)
            assert len(database.read("pool")) == 5

    def test_a_packed_copy_has_all_labels_and_keys(self, rows: ModuleType, ions: ModuleType, tmp_path: Path) -> None:
        with rows.Growing(tmp_path / "cu.db", {"code": "EMT"}, Labels(rows)) as database:
            ions.run(copper(ions), database)
        database.ship(tmp_path / "small.db", "Copper", without=["check"], numbers=ions.numbers(copper(ions), database))
        shipped = rows.Rows(tmp_path / "small.db")
        assert not shipped.read("check")
        for a, b in zip(database.read("pool"), shipped.read("pool"), strict=True):
            assert a.get_potential_energy() == b.get_potential_energy()
            assert np.array_equal(a.get_stress(), b.get_stress())
            assert a.info["key_value_pairs"] == b.info["key_value_pairs"]
        found = shipped.database.metadata["labels"]
        # Central differences over 0.01 Å and 0.3 %, of an energy of some eV/Å⁴: the third order is below 1 meV.
        assert abs(found["finite_difference_less_force_meV_A"]) < 1
        assert abs(found["finite_difference_less_stress_meV"]) < 5
        assert abs(found["slope_along_a_strain_eV"]) > 0.1
        assert found["energy_scatter_when_shifted_meV"] < 1e-6


class TestDesigns:
    def test_a_smaller_pool_is_the_beginning_of_a_larger_one(self, ions: ModuleType) -> None:
        few, many = (list(ions.pool(copper(ions, points), None)) for points in (5, 40))
        for (_, a), (_, b) in zip(few, many[:5], strict=True):
            assert np.array_equal(a.positions, b.positions)
            assert np.array_equal(a.cell, b.cell)

    def test_displacements_have_the_sizes_asked_for_and_no_mean(self, ions: ModuleType) -> None:
        system = copper(ions, 64)
        sites = system.reference.get_scaled_positions()
        steps = [atoms.positions - sites @ atoms.cell for _, atoms in ions.pool(system, None)]
        sizes = np.array([ions.rms(each) for each in steps])
        assert sizes.min() > 0.02
        assert sizes.max() < 0.08
        # Evenly from the smallest to the largest: Sobol points leave no quarter of the range without its quarter.
        assert np.histogram(sizes, np.linspace(0.02, 0.08, 5))[0].tolist() == [16, 16, 16, 16]
        assert np.abs(np.mean(steps, axis=1)).max() < 1e-12

    def test_a_mode_is_turned_with_its_crystal(self, ions: ModuleType) -> None:
        reference = ions.systems()["batio3"].reference
        along_x = np.zeros((5, 3))
        along_x[:, 0] = [0, 1, 2, 3, 4]  # Ba, Ti, O in the faces normal to z, y and x
        for axis, oxygens in ((1, [3, 4, 2]), (2, [4, 2, 3])):
            turned = ions.turned(reference, along_x, axis)
            assert turned[:, axis].tolist() == [0, 1, *oxygens]
            assert not np.delete(turned, axis, axis=1).any()

    def test_thermal_energies_are_those_of_equipartition(
        self, rows: ModuleType, ions: ModuleType, tmp_path: Path
    ) -> None:
        system = cluster(ions, 64)
        with rows.Growing(tmp_path / "cu4.db", {}, Labels(rows)) as database:
            ions.run(system, database)
        reference = database.read("relaxation")[-1]
        assert ions.largest_force(reference, system) < 0.005
        modes = ions.Modes.of(ions.at_rest(system, database), database.read("finite"))
        frequencies = modes.frequencies_THz
        assert np.abs(np.sort(np.abs(frequencies))[:6]).max() < 0.2 * frequencies.max()
        # A tetrahedron's vibrations: E, T2 and A1.
        assert np.ptp(frequencies[-6:-4]) == pytest.approx(0, abs=0.05)
        energies = [a.get_potential_energy() - reference.get_potential_energy() for a in database.read("pool")]
        # 64 Sobol points of six modes; ½ kT each, and 10 K is little enough for the wells to be harmonic.
        assert np.mean(energies) == pytest.approx(3 * ions.kB * 10, rel=0.1)

    def test_only_what_is_adsorbed_and_the_top_layer_move(self, ions: ModuleType) -> None:
        system = ions.systems()["co_mgo"]
        reference = system.reference
        for _, atoms in list(ions.pool(system, None))[:8]:
            moved = np.linalg.norm(atoms.positions - reference.positions, axis=1)
            assert not moved[:4].any()
            assert (moved[4:] > 0).all()
            assert atoms.get_distance(8, 9) == pytest.approx(1.14, abs=0.2)


class TestFrameworks:
    def test_atoms_have_the_neighbours_that_they_should_have(self, framework: ModuleType) -> None:
        formulas = {"mil53": "C32H20Al4O20", "dmof": "C34H28N2O8Zn2", "paf": "C50H32"}
        for name, each in framework.frameworks().items():
            atoms = each.built
            assert atoms.get_chemical_formula() == formulas[name]
            distances = atoms.get_all_distances(mic=True) + 9 * np.eye(len(atoms))
            carbons = atoms.symbols == "C"
            assert (distances[carbons] < 1.65).sum(axis=1).max() <= 4
            assert (distances[carbons] < 1.65).sum(axis=1).min() >= 3
            assert ((distances < 1.15).sum(axis=1) == 1)[atoms.symbols == "H"].all()
            for metal, count in (("Al", 6), ("Zn", 5)):
                assert ((distances < 2.3).sum(axis=1) == count)[atoms.symbols == metal].all()

    def test_springs_hold_nothing_but_the_ground_against_a_shift(self, framework: ModuleType) -> None:
        atoms = framework.frameworks()["mil53"].built
        hessian = framework.springs(atoms) - framework.GROUND * np.eye(3 * len(atoms))
        assert np.abs(hessian - hessian.T).max() < 1e-9
        assert np.abs(hessian @ np.tile(np.eye(3), (len(atoms), 1))).max() < 1e-9
        assert np.linalg.eigvalsh(hessian).min() > -1e-9

    def test_a_path_keeps_its_volumes_and_is_followed(
        self, rows: ModuleType, framework: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        built = bulk("Cu", cubic=True)
        built.rattle(0.02, seed=0)
        monkeypatch.setattr(framework, "AT_REST", 0.002)  # of a cell this small, 0.07 GPa
        given = framework.Framework("Copper", built, (1, -1, 0, 0, 0, 0), (0.98, 0.96, 0.94), (1.02,), rattled=3)
        calls = Labels(rows)
        with rows.Growing(tmp_path / "cu.db", {}, Labels(rows)) as database:
            framework.run(given, database, EMT(), Labels(rows))
            framework.run(given, database, EMT(), calls)
        assert calls.calls == 0
        reference = database.read("relaxation")[-1]
        assert reference.get_volume() == pytest.approx(built.get_volume(), rel=1e-6)
        for name, ratios in (("closing", given.closing), ("opening", given.opening), ("reopening", (0.96, 0.98))):
            atoms = database.read(name)
            assert [a.get_volume() / reference.get_volume() for a in atoms] == pytest.approx(ratios, rel=1e-6)
            assert max(np.linalg.norm(a.get_forces(), axis=1).max() for a in atoms) < framework.AT_REST
            for a in atoms:
                deformation = np.linalg.solve(reference.cell.array, a.cell.array)
                assert deformation == pytest.approx(deformation.T, abs=1e-9)
            # The volume was strained to a rectangular box, and its shape is relaxed to a cube.
            assert all(np.ptp(a.cell.lengths()) < 0.02 for a in atoms)
        assert len(database.read("rattled")) == 3
