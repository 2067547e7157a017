import copy
import json
import multiprocessing
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from ase.calculators.calculator import CalculatorSetupError, PropertyNotImplementedError, get_calculator_class
from ase.calculators.fd import FiniteDifferenceCalculator, calculate_numerical_stress
from ase.eos import calculate_eos
from ase.filters import FrechetCellFilter, StrainFilter
from ase.io.trajectory import Trajectory
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from ase_dkl import (
    DKLCalculator,
    ExtrapolationError,
    ExtrapolationWarning,
    NotThisCrystal,
    Surrogate,
    database_fields,
)


@pytest.fixture
def calculator(surrogate: Surrogate) -> DKLCalculator:
    return DKLCalculator(surrogate)


@pytest.fixture
def strained(surrogate: Surrogate) -> Atoms:
    return at_strain(surrogate, [0.01, -0.02, 0.015, 0.01, -0.03, 0.02])


@pytest.fixture
def attached(strained: Atoms, calculator: DKLCalculator) -> Atoms:
    strained.calc = calculator
    return strained


def at_strain(surrogate: Surrogate, strain: list[float]) -> Atoms:
    xx, yy, zz, yz, xz, xy = strain
    deformation = np.eye(3) + np.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
    atoms: Atoms = surrogate.crystal.atoms(surrogate.crystal.cell @ deformation)
    return atoms


def relax(
    atoms: Atoms, *, fmax: float, steps: int, cell_filter: type = StrainFilter, trajectory: str | None = None
) -> bool:
    optimiser = BFGS(cell_filter(atoms), logfile=None, trajectory=trajectory)
    return bool(optimiser.run(fmax=fmax, steps=steps))


def test_results_are_the_surrogates(attached: Atoms, surrogate: Surrogate) -> None:
    prediction = surrogate.predict(attached)
    calc = attached.calc
    assert prediction.stress is not None
    assert prediction.stress_uncertainty is not None
    assert attached.get_potential_energy() == pytest.approx(prediction.energy[0], abs=1e-9)
    assert attached.get_potential_energy(force_consistent=True) == attached.get_potential_energy()
    assert calc.get_property("energy_uncertainty", attached) == pytest.approx(prediction.energy_uncertainty[0])
    np.testing.assert_allclose(attached.get_stress(), prediction.stress[0], atol=1e-12)
    np.testing.assert_allclose(
        calc.get_property("stress_uncertainty", attached), prediction.stress_uncertainty[0], atol=1e-12
    )


def test_only_what_is_asked_for_is_computed(attached: Atoms) -> None:
    attached.get_potential_energy()
    assert set(attached.calc.results) == {"energy", "free_energy", "energy_uncertainty"}
    attached.get_stress()
    assert set(attached.calc.results) == {*attached.calc.implemented_properties}


def test_a_changed_lattice_is_a_new_calculation(attached: Atoms, surrogate: Surrogate) -> None:
    attached.get_stress()
    attached.set_cell(attached.cell.array * 1.01, scale_atoms=True)
    energy = attached.get_potential_energy()
    assert energy == pytest.approx(surrogate.predict(attached).energy[0], abs=1e-9)
    assert "stress" not in attached.calc.results


def test_what_ase_exports_belongs_to_the_atoms_it_was_asked_for(attached: Atoms, surrogate: Surrogate) -> None:
    attached.get_stress()
    other = surrogate.crystal.atoms()
    properties = attached.calc.calculate_properties(other, ["energy"])
    assert properties["energy"] == pytest.approx(surrogate.predict(other).energy[0], abs=1e-9)
    assert "stress" not in properties


def test_supercells_scale_energy_and_uncertainty(attached: Atoms, calculator: DKLCalculator) -> None:
    energy, stress = attached.get_potential_energy(), attached.get_stress()
    uncertainty = attached.calc.get_property("energy_uncertainty", attached)
    supercell = make_supercell(attached, [[2, 1, 0], [0, 1, 0], [0, 0, 3]])
    supercell.calc = calculator
    assert supercell.get_potential_energy() == pytest.approx(6 * energy)
    assert calculator.get_property("energy_uncertainty", supercell) == pytest.approx(6 * uncertainty)
    np.testing.assert_allclose(supercell.get_stress(), stress, atol=1e-8)


def test_stress_turns_with_the_crystal(attached: Atoms) -> None:
    stress = voigt_6_to_full_3x3_stress(attached.get_stress())
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    attached.set_cell(attached.cell.array @ rotation, scale_atoms=True)
    np.testing.assert_allclose(
        attached.get_stress(), full_3x3_to_voigt_6_stress(rotation.T @ stress @ rotation), atol=1e-9
    )


def test_forces_are_refused_with_a_way_out(attached: Atoms) -> None:
    with pytest.raises(PropertyNotImplementedError, match=r"StrainFilter.*rigid_ions=True"):
        attached.get_forces()


def test_rigid_ions_answer_zero_forces(strained: Atoms, surrogate: Surrogate) -> None:
    strained.calc = DKLCalculator(surrogate, rigid_ions=True)
    np.testing.assert_array_equal(strained.get_forces(), np.zeros((5, 3)))
    strained.calc.set(rigid_ions=False)
    with pytest.raises(PropertyNotImplementedError):
        strained.get_forces()


def test_other_crystals_are_refused_and_do_no_harm(attached: Atoms) -> None:
    energy = attached.get_potential_energy()
    displaced = attached.copy()
    displaced.positions[1] += 0.3
    displaced.calc = attached.calc
    with pytest.raises(NotThisCrystal):
        displaced.get_potential_energy()
    with pytest.raises(NotThisCrystal):
        displaced.get_potential_energy()
    assert attached.get_potential_energy() == energy


def test_a_calculator_without_atoms_says_so(calculator: DKLCalculator) -> None:
    with pytest.raises(CalculatorSetupError, match="no atoms"):
        calculator.get_property("energy")


@pytest.mark.parametrize("arguments", [{"extrapolation": "never"}, {"model": "other.dkl"}])
def test_what_cannot_be_set_is_refused(calculator: DKLCalculator, arguments: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="extrapolation"):
        calculator.set(**arguments)


class TestExtrapolation:
    @pytest.fixture
    def far(self, surrogate: Surrogate) -> Atoms:
        return at_strain(surrogate, [0.4, 0, 0, 0, 0, 0])

    def test_warns_once_for_a_lattice(self, far: Atoms, calculator: DKLCalculator) -> None:
        far.calc = calculator
        with pytest.warns(ExtrapolationWarning) as caught:
            far.get_potential_energy()
        far.get_stress()
        assert len(caught) == 1
        far.set_cell(far.cell.array * 1.01, scale_atoms=True)
        with pytest.warns(ExtrapolationWarning):
            far.get_stress()

    def test_warning_points_at_the_caller(self, far: Atoms, calculator: DKLCalculator) -> None:
        far.calc = calculator
        with pytest.warns(ExtrapolationWarning) as caught:
            far.get_potential_energy()
        assert caught[0].filename == __file__

    def test_raises(self, far: Atoms, surrogate: Surrogate) -> None:
        far.calc = DKLCalculator(surrogate, extrapolation="raise")
        for _ in range(2):  # whoever asks again is refused again
            with pytest.raises(ExtrapolationError):
                far.get_potential_energy()
            assert far.calc.results == {}

    def test_is_ignored(self, far: Atoms, surrogate: Surrogate) -> None:
        far.calc = DKLCalculator(surrogate, extrapolation="ignore")
        far.get_potential_energy()

    def test_training_lattices_are_inside(self, surrogate: Surrogate) -> None:
        atoms = surrogate.crystal.atoms()
        atoms.calc = DKLCalculator(surrogate, extrapolation="raise")
        atoms.get_potential_energy()


class TestASE:
    def test_stress_is_the_numerical_derivative(self, attached: Atoms) -> None:
        numerical = calculate_numerical_stress(attached, eps=1e-5)
        np.testing.assert_allclose(attached.get_stress(), numerical, atol=1e-7)

    def test_finite_difference_calculator(self, attached: Atoms) -> None:
        stress = attached.get_stress()
        attached.calc = FiniteDifferenceCalculator(attached.calc, eps_strain=1e-5)
        np.testing.assert_allclose(attached.get_stress(), stress, atol=1e-7)
        np.testing.assert_array_equal(attached.get_forces(), np.zeros((5, 3)))

    def test_strain_filter_relaxes_the_lattice(self, attached: Atoms) -> None:
        before = attached.get_potential_energy()
        assert relax(attached, fmax=1e-4, steps=60)
        assert attached.get_potential_energy() < before
        # StrainFilter's forces are −V σ.
        assert np.abs(attached.get_stress()).max() * attached.get_volume() < 1e-4

    def test_filters_that_insist_on_forces_need_rigid_ions(self, attached: Atoms, surrogate: Surrogate) -> None:
        with pytest.raises(PropertyNotImplementedError):
            relax(attached, fmax=1e-3, steps=1, cell_filter=FrechetCellFilter)
        attached.calc = DKLCalculator(surrogate, rigid_ions=True)
        assert relax(attached, fmax=1e-3, steps=60, cell_filter=FrechetCellFilter)

    def test_equation_of_state(self, surrogate: Surrogate, calculator: DKLCalculator) -> None:
        atoms = surrogate.crystal.atoms()
        atoms.calc = calculator
        eos = calculate_eos(atoms, npoints=7, eps=0.02)
        volume, energy, bulk_modulus = eos.fit()
        scale = np.cbrt(volume / atoms.get_volume())
        np.testing.assert_allclose(surrogate.predict_cells([atoms.cell.array * scale]).energy, energy, atol=1e-4)
        assert bulk_modulus > 0

    def test_database_keeps_uncertainties(self, attached: Atoms, tmp_path: Path, surrogate: Surrogate) -> None:
        attached.get_stress()
        with ase.db.connect(tmp_path / "x.db") as database:
            database.write(attached, **database_fields(attached.calc.results))
            row = database.get("energy_uncertainty>0")
        assert row.energy == attached.get_potential_energy()
        np.testing.assert_array_equal(row.stress, attached.get_stress())
        assert row.energy_uncertainty == attached.calc.results["energy_uncertainty"]
        np.testing.assert_array_equal(row.data["stress_uncertainty"], attached.calc.results["stress_uncertainty"])
        assert row.calculator == "dkl"
        assert row.calculator_parameters["digest"] == surrogate.digest

    @pytest.mark.parametrize("name", ["x.traj", "x.xyz", "x.json"])
    def test_files_keep_energy_and_stress(self, attached: Atoms, tmp_path: Path, name: str) -> None:
        attached.get_stress()
        ase.io.write(tmp_path / name, attached)
        read = ase.io.read(tmp_path / name)
        assert isinstance(read, Atoms)
        assert read.get_potential_energy() == pytest.approx(attached.get_potential_energy(), abs=1e-7)
        np.testing.assert_allclose(read.get_stress(), attached.get_stress(), atol=1e-7)

    def test_trajectory_of_a_relaxation(self, attached: Atoms, tmp_path: Path) -> None:
        path = str(tmp_path / "relax.traj")
        relax(attached, fmax=0.05, steps=3, trajectory=path)
        with Trajectory(path) as frames:
            assert len(frames) > 1
            energies = [frame.get_potential_energy() for frame in frames]
        assert energies[-1] == attached.get_potential_energy()

    def test_todict_is_json_without_weights(self, model_file: Path, surrogate: Surrogate) -> None:
        parameters = DKLCalculator(model_file).todict()
        assert json.loads(json.dumps(parameters)) == {
            "model": str(model_file),
            "digest": surrogate.digest,
            "extrapolation": "warn",
            "rigid_ions": False,
        }


class TestCopies:
    def test_saved_model_predicts_the_same(self, attached: Atoms, model_file: Path) -> None:
        attached.get_stress()
        saved = attached.copy()
        saved.calc = DKLCalculator(str(model_file))
        saved.get_stress()
        for name, expected in attached.calc.results.items():
            np.testing.assert_array_equal(saved.calc.results[name], expected)

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
    def test_copies_are_independent_and_equal(self, attached: Atoms, duplicate: object) -> None:
        assert callable(duplicate)
        energy = attached.get_potential_energy()
        twin = attached.copy()
        twin.calc = duplicate(attached.calc)
        assert twin.get_potential_energy() == energy
        twin.set_cell(twin.cell.array * 1.01, scale_atoms=True)
        twin.calc.set(extrapolation="ignore")
        assert twin.get_potential_energy() != energy
        assert attached.calc.results["energy"] == energy
        assert attached.calc.parameters["extrapolation"] == "warn"

    @pytest.fixture
    def many(self, surrogate: Surrogate) -> list[Atoms]:
        structures = [at_strain(surrogate, [e, -e, 0, 2 * e, 0, 0]) for e in np.linspace(-0.04, 0.04, 24)]
        for atoms in structures:
            atoms.calc = DKLCalculator(surrogate)
        return structures

    def test_threads_share_a_surrogate(self, many: list[Atoms]) -> None:
        expected = [atoms.get_stress() for atoms in many]
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                for atoms in many:
                    atoms.calc.reset()
                np.testing.assert_array_equal(list(pool.map(Atoms.get_stress, many)), expected)

    def test_processes_get_their_own(self, many: list[Atoms]) -> None:
        expected = [atoms.get_potential_energy() for atoms in many]
        for atoms in many:
            atoms.calc.reset()
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            energies = list(pool.map(Atoms.get_potential_energy, many, chunksize=len(many)))
        np.testing.assert_allclose(energies, expected, rtol=1e-11)


class TestDiscovery:
    def test_by_name(self) -> None:
        assert get_calculator_class("dkl") is DKLCalculator

    def test_as_a_plugin(self) -> None:
        plugins = pytest.importorskip("ase._4.plugins", reason="ASE older than its plugins").plugins
        (plugin,) = [p for p in plugins.calculators if p.name == "dkl"]
        assert plugin.implementation is DKLCalculator

    def test_listing_plugins_and_importing_load_nothing_heavy(self) -> None:
        program = """
import sys
import ase_dkl
import ase_dkl.cli
from ase_dkl import plugin
plugin.__ase_plugins__
heavy = {"torch", "pymatgen", "gpytorch", "spglib", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
        subprocess.run([sys.executable, "-c", program], check=True)


def test_every_public_name_can_be_imported() -> None:
    import ase_dkl

    assert set(ase_dkl.__all__) <= set(dir(ase_dkl))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ase_dkl.__all__:
            assert getattr(ase_dkl, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = ase_dkl.nothing_of_the_kind  # type: ignore[attr-defined]
