import copy
import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_stress
from ase.db import connect
from ase.eos import calculate_eos
from ase.filters import StrainFilter
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from ase.units import GPa, kB
from made import labelled

from ase_dkl import Crystal, Dataset, DKLCalculator, NotThisCrystal, Surrogate, TrainConfig, fit, mos2, silicon
from ase_dkl.active.box import Box
from ase_dkl.active.on_the_fly import ActiveCalculator
from ase_dkl.active.questions import NoLabel
from ase_dkl.active.retraining import due
from ase_dkl.active.stopping import calibration
from ase_dkl.arrays import Floats

QUICK = TrainConfig(networks=1, steps=40, width=16, depth=2, n_inducing=20)
SURE, UNSURE = 1.0, 1e-9
"""Tolerances in eV that every energy meets, and none."""
NEAR, FAR = [0.01, -0.01, 0.005, 0.01, 0, 0.01], [0.12, 0, 0, 0, 0, 0]
"""Strains inside the training domain and outside it."""


class Copper(EMT):
    """EMT that counts its calls, and can fail in the ways in which DFT does or differ as its settings do."""

    def __init__(self, fault: str = "", *, shift: float = 0.0, pulay: float = 0.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fault, self.shift, self.pulay = fault, shift, pulay
        self.calls = 0

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        self.calls += 1
        if self.fault == "diverges":
            raise RuntimeError("Did not converge!\nSee the text output.")
        if self.fault == "interrupted":
            raise KeyboardInterrupt
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        self.results["energy"] += self.shift * len(self.atoms)
        self.results["stress"][:3] += self.pulay * len(self.atoms) / 4 / self.atoms.get_volume()
        if self.fault in self.results:
            self.results[self.fault] = self.results[self.fault] * np.nan


class WithoutStress(Copper):
    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012


@pytest.fixture(scope="module")
def crystal() -> Crystal:
    return Crystal.from_atoms(bulk("Cu", "fcc", a=3.6, cubic=True))


@pytest.fixture(scope="module")
def few(crystal: Crystal) -> Dataset:
    return labels(crystal, Copper())


@pytest.fixture(scope="module")
def model(few: Dataset) -> Surrogate:
    return fit(few, QUICK, progress=False)


@pytest.fixture
def reference() -> Copper:
    return Copper()


def labels(crystal: Crystal, reference: Copper) -> Dataset:
    structures = []
    for cell in Box((-0.04, 0.04), (-4, 4)).design(crystal, 12):
        atoms = crystal.atoms(cell)
        structures.append(labelled(atoms, by=reference))
    return Dataset.from_atoms(structures, reference=crystal)


def strained(crystal: Crystal, strain: list[float]) -> Atoms:
    xx, yy, zz, yz, xz, xy = strain
    deformation = np.eye(3) + np.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
    return crystal.atoms(crystal.cell @ deformation)


def attached(crystal: Crystal, strain: list[float], calculator: ActiveCalculator) -> Atoms:
    atoms = strained(crystal, strain)
    atoms.calc = calculator
    return atoms


def by_emt(atoms: Atoms) -> tuple[float, Floats]:
    twin = atoms.copy()
    twin.calc = EMT()
    return twin.get_potential_energy(), twin.get_stress()


class TestAnswers:
    def test_come_from_the_surrogate_while_it_is_sure(self, model: Surrogate, reference: Copper) -> None:
        atoms = attached(model.crystal, NEAR, ActiveCalculator(model, reference, SURE))
        passive = strained(model.crystal, NEAR)
        passive.calc = DKLCalculator(model)
        assert atoms.get_potential_energy() == passive.get_potential_energy()
        np.testing.assert_array_equal(atoms.get_stress(), passive.get_stress())
        assert atoms.calc.results.keys() == passive.calc.results.keys()
        assert reference.calls == 0
        assert atoms.calc.requests == []
        assert atoms.calc.surrogate is model

    def test_come_from_the_surrogate_that_has_learnt(self, model: Surrogate, reference: Copper) -> None:
        atoms = strained(model.crystal, NEAR)
        before = float(model.predict(atoms, stress=False).energy_uncertainty[0])
        rows, digest = model.report.n_rows, model.digest
        atoms.calc = ActiveCalculator(model, reference, 0.999 * before)
        energy, stress = atoms.get_potential_energy(), atoms.get_stress()
        (question,) = atoms.calc.requests
        assert "uncertainty is" in question.reason
        assert (question.uncertainty, question.doubt, question.retrained) == (pytest.approx(before), None, False)
        assert question.uncertainty_after < before
        assert question.energy == question.atoms.get_potential_energy() == pytest.approx(by_emt(atoms)[0])
        learnt = atoms.calc.surrogate
        assert energy == pytest.approx(float(learnt.predict(atoms).energy[0]), abs=1e-12)
        np.testing.assert_allclose(stress, by_emt(atoms)[1], atol=3 * GPa)
        np.testing.assert_allclose(stress, calculate_numerical_stress(atoms, eps=1e-5), atol=1e-6)
        assert learnt.report.n_rows == rows + 1
        assert (model.report.n_rows, model.digest) == (rows, digest)

    def test_outside_the_domain_are_asked_for_whatever_the_uncertainty(
        self, model: Surrogate, reference: Copper
    ) -> None:
        atoms = attached(model.crystal, FAR, ActiveCalculator(model, reference, SURE))
        energy = atoms.get_potential_energy()
        assert "beyond the range" in atoms.calc.requests[0].reason
        assert abs(energy - by_emt(atoms)[0]) < abs(atoms.calc.requests[0].expected - by_emt(atoms)[0])
        atoms.set_cell(atoms.cell.array * 1.0001, scale_atoms=True)
        atoms.get_stress()
        assert reference.calls == 1

    def test_a_distant_label_makes_no_domain_of_what_lies_between(self, model: Surrogate, reference: Copper) -> None:
        atoms = attached(model.crystal, [0.6, 0, 0, 0, 0, 0], ActiveCalculator(model, reference, 1e3))
        atoms.get_potential_energy()
        atoms.set_cell(strained(model.crystal, [0.3, 0, 0, 0, 0, 0]).cell, scale_atoms=True)
        assert not atoms.calc.surrogate.extrapolation([atoms.cell.array]).outside[0]
        atoms.get_potential_energy()
        assert "nearest training lattice" in atoms.calc.requests[1].reason

    def test_one_label_serves_supercells_other_bases_and_orientations(
        self, model: Surrogate, reference: Copper
    ) -> None:
        atoms = attached(model.crystal, FAR, ActiveCalculator(model, reference, SURE))
        rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
        rotation *= np.linalg.det(rotation)
        other = make_supercell(atoms, [[2, 1, 0], [0, 1, 0], [0, 0, 1]])[::-1]
        other.set_cell(other.cell.array @ rotation, scale_atoms=True)
        other.calc = atoms.calc
        energy, stress = other.get_potential_energy(), voigt_6_to_full_3x3_stress(other.get_stress())
        assert len(atoms.calc.requests[0].atoms) == 4
        assert energy == pytest.approx(2 * atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(
            full_3x3_to_voigt_6_stress(rotation @ stress @ rotation.T), atoms.get_stress(), atol=1e-8
        )
        assert reference.calls == 1

    def test_another_crystal_is_refused(self, model: Surrogate, reference: Copper) -> None:
        atoms = bulk("Cu", "hcp", a=2.55)
        atoms.calc = ActiveCalculator(model, reference, SURE)
        with pytest.raises(NotThisCrystal):
            atoms.get_potential_energy()
        assert reference.calls == 0


class TestTheLabelItself:
    """The answer where the surrogate is unsure after all."""

    def test_is_the_answer_once_and_again(self, model: Surrogate, reference: Copper) -> None:
        log = io.StringIO()
        atoms = attached(model.crystal, NEAR, ActiveCalculator(model, reference, UNSURE, log=log))
        for strain in (NEAR, [0.02, 0, 0, 0, 0, 0], NEAR):
            atoms.set_cell(strained(model.crystal, strain).cell, scale_atoms=True)
            assert atoms.get_potential_energy() == atoms.get_potential_energy(force_consistent=True)
            assert atoms.get_potential_energy() == pytest.approx(by_emt(atoms)[0], abs=1e-10)
            assert atoms.calc.get_property("energy_uncertainty", atoms) == atoms.calc.surrogate.report.energy_noise
        assert reference.calls == len(atoms.calc.requests) == 2
        assert all(question.doubt for question in atoms.calc.requests)
        lines = log.getvalue().splitlines()
        assert ["answer is the label" in line for line in lines] == [True] * 3
        assert lines[0].startswith("1. ")

    def test_has_a_stress_without_the_labels_offset(self, crystal: Crystal) -> None:
        reference = Copper(pulay=0.5)
        surrogate = fit(labels(crystal, reference), TrainConfig(networks=1, steps=150), progress=False)
        assert surrogate.stress_offset == pytest.approx(0.5, abs=0.1)
        atoms = attached(crystal, NEAR, ActiveCalculator(surrogate, reference, UNSURE))
        supercell = make_supercell(atoms, np.diag([1, 1, 2]))
        supercell.calc = atoms.calc
        energy, stress = by_emt(supercell)
        assert supercell.get_potential_energy() == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(supercell.get_stress(), stress, atol=0.1 / atoms.get_volume())
        error = np.abs(supercell.get_stress() - stress)
        assert (error < 4 * atoms.calc.get_property("stress_uncertainty", supercell)).all()
        raw = atoms.calc.requests[0].atoms.get_stress()
        np.testing.assert_allclose(raw[:3] - stress[:3], 0.5 / atoms.get_volume())

    @pytest.mark.parametrize("asked_first", ["energy", "stress"])
    def test_has_the_surrogates_stress_where_labels_have_none(self, few: Dataset, asked_first: str) -> None:
        surrogate = fit(few.without_stresses(), QUICK, progress=False)
        for reference in (Copper(), WithoutStress()):
            atoms = attached(few.crystal, NEAR, ActiveCalculator(surrogate, reference, UNSURE))
            atoms.calc.get_property(asked_first, atoms)
            expected = atoms.calc.surrogate.predict(atoms)
            np.testing.assert_array_equal(atoms.get_stress(), expected.stress[0])
            np.testing.assert_array_equal(
                atoms.calc.get_property("stress_uncertainty", atoms), expected.stress_uncertainty[0]
            )
            assert atoms.get_potential_energy() == pytest.approx(by_emt(atoms)[0], abs=1e-10)

    def test_is_also_that_of_a_training_row_far_from_the_model(
        self, model: Surrogate, few: Dataset, reference: Copper
    ) -> None:
        odd = few.energies + 0.01 * (np.arange(12) == 3)
        calculator = ActiveCalculator(model, reference, 5e-3, dataset=replace(few, energies=odd))
        for row in (3, 4):
            atoms = few.crystal.atoms(few.cells[row])
            atoms.calc = calculator
            assert (atoms.get_potential_energy() == odd[row]) == (row == 3)
        assert reference.calls == 0

    def test_of_a_sheet_has_no_stress_across_it(self) -> None:
        dataset = Dataset.read(mos2())
        begin = fit(dataset.subset(np.arange(10)), QUICK, progress=False)
        # A model of all rows, of which the calculator knows ten, is as good a reference as the DFT that it is of.
        better = DKLCalculator(fit(dataset, QUICK, progress=False), extrapolation="ignore")
        atoms = attached(begin.crystal, [0.01, 0, 0, 0, 0, 0.01], ActiveCalculator(begin, better, UNSURE))
        stress, std = atoms.get_stress(), atoms.calc.get_property("stress_uncertainty", atoms)
        in_plane = [0, 1, 5]
        assert (std[in_plane] > 0).all()
        np.testing.assert_allclose(std[2:5], 0, atol=1e-12)
        np.testing.assert_allclose(stress[2:5], 0, atol=1e-12)
        offset = begin.stress_offset / atoms.get_volume()
        assert np.abs(stress - better.get_property("stress", atoms))[in_plane].max() < 2 * abs(offset) + 0.1 * GPa


class TestLearning:
    def test_a_quarter_more_labels_train_it_again(self, model: Surrogate, few: Dataset, reference: Copper) -> None:
        calculator = ActiveCalculator(model, reference, UNSURE, dataset=few)
        for cell in Box((-0.03, 0.03), (-3, 3)).design(few.crystal, 7, seed=5):
            atoms = few.crystal.atoms(cell)
            atoms.calc = calculator
            atoms.get_potential_energy()
        again = [i + 1 for i, question in enumerate(calculator.requests) if question.retrained]
        surprises = [
            i + 1
            for i, question in enumerate(calculator.requests)
            if abs(question.energy - question.expected) > 3 * np.hypot(question.uncertainty, model.report.energy_noise)
        ]
        assert surprises == []
        assert again == [3, 7]  # 15 of 12, 19 of 15: a quarter more
        assert calculator.dataset is not None
        assert len(calculator.dataset) == calculator.surrogate.report.n_rows == 19
        assert len(few) == 12

    def test_a_surprise_trains_it_again(self, model: Surrogate, few: Dataset) -> None:
        atoms = attached(few.crystal, NEAR, ActiveCalculator(model, Copper(shift=0.02), UNSURE, dataset=few))
        atoms.get_potential_energy()
        assert atoms.calc.requests[0].retrained

    def test_it_is_trained_when_a_campaign_would_be(self, model: Surrogate, few: Dataset) -> None:
        """With labels half of which are off by more than is expected of them."""
        calculator = ActiveCalculator(model, Copper(shift=0.006), UNSURE, dataset=few)
        trained_on, errors, totals = len(few), list[float](), list[float]()
        for place, cell in enumerate(Box((-0.03, 0.03), (-3, 3)).design(few.crystal, 6, seed=5)):
            atoms = few.crystal.atoms(cell)
            atoms.calc = calculator
            atoms.get_potential_energy()
            asked = calculator.requests[-1]
            errors.append(asked.energy - asked.expected)
            totals.append(float(np.hypot(asked.uncertainty, asked.noise)))
            labels = len(few) + place + 1
            assert asked.retrained == due(labels, trained_on, calibration(errors, totals))
            trained_on = labels if asked.retrained else trained_on
        assert calibration(errors, totals) > 1.5

    def test_without_its_rows_it_is_only_conditioned(self, model: Surrogate) -> None:
        atoms = attached(model.crystal, NEAR, ActiveCalculator(model, Copper(shift=0.02), UNSURE))
        atoms.get_potential_energy()
        assert not atoms.calc.requests[0].retrained
        assert atoms.calc.surrogate.layers is model.layers

    def test_goes_on_from_where_another_has_come(self, model: Surrogate, few: Dataset, reference: Copper) -> None:
        first = attached(few.crystal, FAR, ActiveCalculator(model, reference, SURE, dataset=few))
        energy = first.get_potential_energy()
        second = attached(
            few.crystal, FAR, ActiveCalculator(first.calc.surrogate, reference, SURE, dataset=first.calc.dataset)
        )
        # Features of many rows and of one are not the same to the last bit.
        assert second.get_potential_energy() == pytest.approx(energy, abs=1e-9)
        assert reference.calls == 1


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ("diverges", "RuntimeError: See the text output"),
            ("energy", "energy is nan"),
            ("stress", "not six finite numbers"),
        ],
    )
    def test_of_the_reference_are_told_and_not_learnt(self, model: Surrogate, fault: str, words: str) -> None:
        reference = Copper(fault)
        atoms = attached(model.crystal, FAR, ActiveCalculator(model, reference, SURE))
        for name in ("energy", "energy", "stress"):
            with pytest.raises(NoLabel, match=rf"\(copper\).*4\.0320.*{words}.*Nothing was learnt"):
                atoms.calc.get_property(name, atoms)
        assert (atoms.calc.requests, atoms.calc.results) == ([], {})
        assert atoms.calc.surrogate is model
        reference.fault = ""
        reference.reset()  # type: ignore[no-untyped-call]
        assert atoms.get_potential_energy() == pytest.approx(by_emt(atoms)[0], abs=0.2)

    def test_an_interrupted_reference_leaves_no_answer(self, model: Surrogate) -> None:
        atoms = attached(model.crystal, FAR, ActiveCalculator(model, Copper("interrupted"), SURE))
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                atoms.get_potential_energy()

    def test_a_reference_with_another_zero_is_refused(self, model: Surrogate) -> None:
        atoms = attached(model.crystal, NEAR, ActiveCalculator(model, Copper(shift=-10), UNSURE))
        with pytest.raises(NoLabel, match="trained on labels of another calculator"):
            atoms.get_potential_energy()
        assert atoms.calc.requests == []

    @pytest.mark.parametrize("tolerance", [0.0, -1.0, np.nan, np.inf])
    def test_tolerances_are_positive(self, model: Surrogate, reference: Copper, tolerance: float) -> None:
        with pytest.raises(ValueError, match="eV per reference cell"):
            ActiveCalculator(model, reference, tolerance)

    def test_other_rows_than_the_surrogates_are_refused(
        self, model: Surrogate, few: Dataset, reference: Copper, srtio3_dataset: Dataset
    ) -> None:
        with pytest.raises(ValueError, match="11 rows and the surrogate knows 12"):
            ActiveCalculator(model, reference, SURE, dataset=few.subset(np.arange(11)))
        with pytest.raises(ValueError, match="another reference crystal"):
            ActiveCalculator(model, reference, SURE, dataset=srtio3_dataset)

    def test_models_of_relaxed_ions_are_refused(self) -> None:
        relaxed = fit(
            Dataset.read(silicon(), select="set=pool,ions=relaxed").subset(np.arange(6)), QUICK, progress=False
        )
        with pytest.raises(ValueError, match="relaxed ions"):
            ActiveCalculator(relaxed, EMT(), SURE)


class TestRecords:
    def test_a_database_has_each_label_at_once(self, model: Surrogate, reference: Copper, tmp_path: Path) -> None:
        path = tmp_path / "labels.db"
        atoms = attached(model.crystal, FAR, ActiveCalculator(model, reference, SURE, database=path))
        for n, stretch in enumerate((1.0, 1.05), start=1):
            atoms.set_cell(strained(model.crystal, FAR).cell.array * stretch, scale_atoms=True)
            atoms.get_potential_energy()
            rows = list(connect(path).select())
            assert len(rows) == len(Dataset.read(path, reference=model.crystal)) == n
        question = atoms.calc.requests[0]
        assert rows[0].energy == question.energy
        assert (rows[0].reason, rows[0].uncertainty_before) == (question.reason, question.uncertainty)
        assert rows[0].calculator == "copper"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_label_that_cannot_be_written_is_learnt(
        self, model: Surrogate, reference: Copper, tmp_path: Path
    ) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        calculator = ActiveCalculator(model, reference, SURE, database=folder / "labels.db")
        (folder / "labels.db").unlink()
        folder.rmdir()
        atoms = attached(model.crystal, FAR, calculator)
        with pytest.raises(OSError, match=r"could not be written.*labels\.db"):
            atoms.get_potential_energy()
        assert len(calculator.requests) == 1
        assert atoms.get_potential_energy() == pytest.approx(by_emt(atoms)[0], abs=0.2)
        assert reference.calls == 1

    def test_what_is_no_database_is_refused_before_anything_is_asked(
        self, model: Surrogate, reference: Copper, tmp_path: Path
    ) -> None:
        (tmp_path / "labels.db").write_text("no database, but a text that is longer than a header" * 10)
        with pytest.raises(ValueError, match="cannot be used as a database"):
            ActiveCalculator(model, reference, SURE, database=tmp_path / "labels.db")

    def test_a_log_grows_by_a_line_for_each_request(self, model: Surrogate, reference: Copper, tmp_path: Path) -> None:
        for _ in range(2):
            calculator = ActiveCalculator(model, reference, SURE, log=tmp_path / "requests.log")
            attached(model.crystal, FAR, calculator).get_potential_energy()
        lines = (tmp_path / "requests.log").read_text().splitlines()
        assert len(lines) == 2
        assert "copper asked at 4.0320 3.6000 3.6000 Å" in lines[0]
        assert "beyond the range of the training lattices" in lines[0]

    def test_what_ase_stores_names_the_model_of_the_moment(
        self, model: Surrogate, reference: Copper, tmp_path: Path
    ) -> None:
        model.save(tmp_path / "begin.dkl")
        calculator = ActiveCalculator(tmp_path / "begin.dkl", reference, SURE)
        assert calculator.todict()["model"] == str(tmp_path / "begin.dkl")
        attached(model.crystal, FAR, calculator).get_potential_energy()
        stored = json.loads(json.dumps(calculator.todict()))
        assert (stored["model"], stored["reference"], stored["tolerance"]) == (None, "copper", SURE)
        assert stored["digest"] == calculator.surrogate.digest != model.digest

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
    def test_copies_learn_for_themselves(self, model: Surrogate, duplicate: Any) -> None:
        calculator = ActiveCalculator(model, EMT(), SURE)
        twin = duplicate(calculator)
        attached(model.crystal, FAR, twin).get_potential_energy()
        assert (len(twin.requests), len(calculator.requests)) == (1, 0)
        assert calculator.surrogate.digest == model.digest


class TestInside:
    """ASE's own ways of using a calculator."""

    def test_a_relaxation(self, model: Surrogate, few: Dataset, reference: Copper) -> None:
        atoms = attached(
            few.crystal, [0.09, -0.06, 0, 0.05, 0, 0.03], ActiveCalculator(model, reference, 2e-3, dataset=few)
        )
        lattice: Any = StrainFilter(atoms)
        optimiser = BFGS(lattice, logfile=None)
        assert optimiser.run(fmax=1e-3, steps=100)
        np.testing.assert_allclose(atoms.cell.lengths(), 3.590, atol=0.01)
        np.testing.assert_allclose(atoms.cell.angles(), 90, atol=0.2)
        assert 0 < reference.calls < optimiser.nsteps

    def test_a_walk_over_strains(self, model: Surrogate, few: Dataset, reference: Copper) -> None:
        atoms = attached(few.crystal, [0.0] * 6, ActiveCalculator(model, reference, 5e-3, dataset=few))
        rng = np.random.default_rng(1)
        errors, visited = [], 60
        for _ in range(visited):
            before, old = atoms.cell.array.copy(), atoms.get_potential_energy()
            known = len(atoms.calc.requests)
            strain = rng.normal(scale=0.012, size=(3, 3))
            atoms.set_cell(before @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
            new = atoms.get_potential_energy()
            errors.append(new - by_emt(atoms)[0])
            if len(atoms.calc.requests) > known:
                twin = few.crystal.atoms(before)
                twin.calc = atoms.calc
                old = twin.get_potential_energy()
            if rng.random() > np.exp(min(0, (old - new) / (600 * kB))):
                atoms.set_cell(before, scale_atoms=True)
        assert 0 < reference.calls < visited / 2
        assert np.sqrt(np.mean(np.square(errors))) < 5e-3

    def test_an_equation_of_state(self, model: Surrogate, few: Dataset, reference: Copper) -> None:
        atoms = attached(few.crystal, [0.0] * 6, ActiveCalculator(model, reference, 2e-3, dataset=few))
        volume, _, bulk_modulus = calculate_eos(atoms, npoints=7, eps=0.05).fit()
        twin = few.crystal.atoms()
        twin.calc = EMT()
        by_reference = calculate_eos(twin, npoints=7, eps=0.05).fit()
        assert volume == pytest.approx(by_reference[0], rel=0.01)
        assert bulk_modulus == pytest.approx(by_reference[2], rel=0.1)
        assert reference.calls < 7

    def test_clients_that_insist_on_forces(self, model: Surrogate, reference: Copper) -> None:
        atoms = attached(model.crystal, FAR, ActiveCalculator(model, reference, UNSURE))
        atoms.calc.set(rigid_ions=True)
        np.testing.assert_array_equal(atoms.get_forces(), np.zeros((4, 3)))
        assert atoms.get_potential_energy() == pytest.approx(by_emt(atoms)[0], abs=1e-10)
