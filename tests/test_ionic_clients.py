"""Programs of ASE's on a model of free ions."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCom, FixSymmetry
from ase.db import connect
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.vibrations import Vibrations
from made import displaced, labelled
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from ase_dkl import (
    Dataset,
    DKLCalculator,
    ExtrapolationError,
    IonConfig,
    IonicSurrogate,
    NotThisCrystal,
    database_fields,
    fit_ions,
)


@pytest.fixture(scope="module")
def water() -> IonicSurrogate:
    """H2O of EMT about its own minimum."""
    at_rest = molecule("H2O")
    at_rest.calc = EMT()
    BFGS(at_rest, logfile=None).run(fmax=1e-4)
    at_rest.calc = None
    rows = [labelled(each, "energy", "forces") for each in displaced(at_rest, 30, size=0.04)]
    return fit_ions(Dataset.from_atoms(rows), progress=False)


def attached(model: IonicSurrogate, *, extrapolation: str = "ignore", size: float = 0.02) -> Atoms:
    """The reference, its ions a little off their sites."""
    atoms = model.crystal.atoms()
    atoms.rattle(size, seed=2)
    atoms.calc = DKLCalculator(model, extrapolation=extrapolation)
    return atoms


def heat(atoms: Atoms, kelvin: float) -> None:
    """Momenta of a temperature, together at rest."""
    momenta = np.random.default_rng(0).normal(size=(len(atoms), 3))
    momenta *= np.sqrt(units.kB * kelvin * atoms.get_masses())[:, None]
    atoms.set_momenta(momenta - momenta.mean(axis=0))


class TestRelaxation:
    @pytest.mark.parametrize("optimiser", [BFGS, FIRE])
    def test_finds_the_potentials_minimum(self, water: IonicSurrogate, optimiser: type[BFGS] | type[FIRE]) -> None:
        atoms = attached(water)
        assert optimiser(atoms, logfile=None).run(fmax=1e-4, steps=400)
        truth = atoms.copy()
        truth.calc = EMT()
        # Forces of the labels where the model has none: its error.
        assert np.abs(truth.get_forces()).max() < 0.05

    def test_atoms_that_are_fixed_stay(self, ionic: IonicSurrogate) -> None:
        atoms = attached(ionic)
        before = atoms.positions.copy()
        atoms.set_constraint(FixAtoms([0, 1]))
        assert BFGS(atoms, logfile=None).run(fmax=1e-3, steps=100)
        assert np.array_equal(atoms.positions[:2], before[:2])
        assert np.abs(atoms.positions[2:] - before[2:]).max() > 1e-3

    def test_symmetry_that_is_fixed_is_kept(self, ionic: IonicSurrogate) -> None:
        atoms = attached(ionic, size=0)
        atoms.set_cell(atoms.cell.array * 1.01, scale_atoms=True)
        atoms.set_constraint(FixSymmetry(atoms))
        assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=100)  # type: ignore[arg-type]
        a, b, c, *angles = atoms.cell.cellpar()
        assert [b, c] == pytest.approx([a, a], abs=1e-9)
        assert angles == pytest.approx([90] * 3, abs=1e-9)


def test_vibrations(water: IonicSurrogate, tmp_path: Path) -> None:
    found = []
    for calculator in (DKLCalculator(water, extrapolation="ignore"), EMT()):
        atoms = attached(water)
        atoms.calc = calculator
        BFGS(atoms, logfile=None).run(fmax=1e-4)
        vibrations = Vibrations(atoms, name=str(tmp_path / type(calculator).__name__))
        vibrations.run()
        found.append(vibrations.get_frequencies())
    ours, theirs = (np.sort(np.real(each))[-3:] for each in found)
    # Three frequencies of a molecule whose every motion is in the data.
    assert ours == pytest.approx(theirs, rel=0.03)


def test_phonopy() -> None:
    """A model of a supercell has the phonons that fit into it."""
    unit = bulk("Cu", "fcc", a=3.61)
    rows = [labelled(each, "energy", "forces") for each in displaced(unit.repeat(2), 6, size=0.04, strain=0.005)]
    model = fit_ions(Dataset.from_atoms(rows), IonConfig(n_inducing=60), progress=False)
    cell = PhonopyAtoms(unit.symbols, cell=unit.cell.array, scaled_positions=unit.get_scaled_positions())
    found = []
    for calculator in (DKLCalculator(model, extrapolation="ignore"), EMT()):
        phonons = Phonopy(cell, supercell_matrix=np.diag([2, 2, 2]))
        phonons.generate_displacements(distance=0.01)
        displacements = [
            Atoms(each.symbols, cell=each.cell, positions=each.positions, pbc=True)
            for each in phonons.supercells_with_displacements or []
        ]
        phonons.forces = [calculator.get_property("forces", atoms) for atoms in displacements]
        phonons.produce_force_constants()
        found.append(phonons.run_qpoints([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5]]).frequencies)
    # THz, of up to 7; ions at rest have no frequency to the last digit where it is the root of a rounding error.
    assert found[0] == pytest.approx(found[1], abs=0.1)
    assert found[1].max() > 6


class TestPaths:
    def test_between_two_images_within_the_data(self, ionic: IonicSurrogate) -> None:
        """Where nothing is between, the path is downhill and uphill, and its forces vanish across it."""
        first, last = attached(ionic, size=0.02), attached(ionic, size=0)
        last.positions = 2 * last.positions - first.positions
        images = [first, *(first.copy() for _ in range(3)), last]
        for image in images:
            image.calc = DKLCalculator(ionic, extrapolation="raise")
        band = NEB(images, method="improvedtangent")
        band.interpolate()
        assert BFGS(band, logfile=None).run(fmax=0.05, steps=60)  # type: ignore[arg-type]
        energies = [image.get_potential_energy() for image in images]
        assert np.argmin(energies) == 2

    def test_atoms_that_change_places_are_refused(self, ionic: IonicSurrogate) -> None:
        """Half way between two places an ion is at neither."""
        first = attached(ionic, size=0)
        last = first.copy()
        last.positions[[0, 1]] = last.positions[[1, 0]]
        images = [first, first.copy(), last]
        for image in images:
            image.calc = DKLCalculator(ionic, extrapolation="raise")
        band = NEB(images, method="improvedtangent")
        band.interpolate()
        with pytest.raises((NotThisCrystal, ExtrapolationError)):
            band.get_forces()


class TestDynamics:
    def test_energy_is_conserved(self, water: IonicSurrogate) -> None:
        """What is left falls with the square of the step, and so is the integrator's, not the model's."""
        drifts = []
        for step in (0.4, 0.2):
            atoms = attached(water, size=0)
            heat(atoms, 150)
            energies = [atoms.get_total_energy()]
            dynamics = VelocityVerlet(atoms, step * units.fs)
            dynamics.attach(lambda atoms=atoms, energies=energies: energies.append(atoms.get_total_energy()))
            dynamics.run(round(40 / step))
            drifts.append(np.ptp(energies) / len(atoms))
        assert drifts[0] < 1e-3
        assert drifts[1] == pytest.approx(drifts[0] / 4, rel=0.35)

    def test_langevin_keeps_its_temperature_and_stays_in_the_data(self, ionic: IonicSurrogate) -> None:
        atoms = attached(ionic, extrapolation="raise", size=0)
        rng = np.random.default_rng(0)
        heat(atoms, 100)
        atoms.set_constraint(FixCom())
        temperatures = []
        dynamics = Langevin(atoms, 3 * units.fs, temperature_K=100, friction=0.05, fixcm=False, rng=rng)
        dynamics.attach(lambda: temperatures.append(atoms.get_temperature()))
        dynamics.run(150)
        assert 30 < np.mean(temperatures) < 250

    def test_a_run_that_is_too_hot_stops_before_it_explodes(self, water: IonicSurrogate) -> None:
        atoms = attached(water, extrapolation="raise", size=0)
        heat(atoms, 8000)
        with pytest.raises(ExtrapolationError, match="beyond the training range"):
            VelocityVerlet(atoms, 0.5 * units.fs).run(500)
        assert atoms.get_all_distances().max() < 3


class TestElsewhere:
    def test_threads_and_pickles_give_the_same(self, ionic: IonicSurrogate) -> None:
        structures = [attached(ionic, size=0.01 * (1 + i)) for i in range(6)]
        expected = [atoms.get_forces() for atoms in structures]
        shared = structures[0].calc
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda atoms: shared.get_property("forces", atoms), structures))
        assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
        again = pickle.loads(pickle.dumps(shared))
        assert again.get_property("forces", structures[1]) == pytest.approx(expected[1], abs=1e-10)

    def test_results_are_written(self, ionic: IonicSurrogate, tmp_path: Path) -> None:
        atoms = attached(ionic)
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        for name in ("one.xyz", "one.traj", "one.json"):
            atoms.write(tmp_path / name)
            again = read(tmp_path / name)
            assert isinstance(again, Atoms)
            # Text keeps eight digits.
            assert again.get_potential_energy() == pytest.approx(energy, abs=1e-7)
            assert again.get_forces() == pytest.approx(forces, abs=1e-7)
            assert again.get_stress() == pytest.approx(stress, abs=1e-7)

    def test_a_database_keeps_uncertainties(self, ionic: IonicSurrogate, tmp_path: Path) -> None:
        atoms = attached(ionic)
        atoms.get_stress()
        with connect(tmp_path / "rows.db") as database:
            database.write(atoms, **database_fields(atoms.calc.results))
            row = database.get("energy_uncertainty>0")
        assert row.forces == pytest.approx(atoms.get_forces(), abs=1e-12)
        assert row.data["forces_uncertainty"].shape == (4, 3)
        assert row.data["stress_uncertainty"].shape == (6,)
        assert json.loads(json.dumps(row.key_value_pairs)) == {
            "energy_uncertainty": pytest.approx(atoms.calc.results["energy_uncertainty"])
        }
