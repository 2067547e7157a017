"""Relaxations that learn: how many real calculations, and whether what they end at is a minimum."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111
from ase.calculators.emt import EMT
from ase.cluster import Octahedron
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from made import displaced, labelled

from ase_dkl import (
    ActiveCalculator,
    ActiveIonCalculator,
    Crystal,
    Dataset,
    IonicSurrogate,
    NoLabel,
    Refused,
    Surrogate,
    fit_ions,
)
from ase_dkl.model.further import FurtherLabels, begun, learnt
from ase_dkl.model.records import IonConfig

FMAX = 0.02


class Counted(EMT):
    """EMT that counts its calls, and fails from one of them on."""

    def __init__(self, fails_from: float = np.inf) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls, self.fails_from = 0, fails_from

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        self.calls += 1
        if self.calls >= self.fails_from:
            raise RuntimeError("Did not converge!")
        super().calculate(*args, **kwargs)  # type: ignore[no-untyped-call]


def rattled(atoms: Atoms, seed: int = 0, size: float = 0.12) -> Atoms:
    moved: Atoms = atoms.copy()
    moved.positions += np.random.default_rng(seed).normal(scale=size, size=atoms.positions.shape)
    if atoms.constraints:
        held = atoms.constraints[0].get_indices()
        moved.positions[held] = atoms.positions[held]
    return moved


def cluster() -> Atoms:
    return Atoms(Octahedron("Cu", 2))


def slab() -> Atoms:
    atoms: Atoms = fcc111("Cu", (2, 2, 2), vacuum=6.0)
    add_adsorbate(atoms, "O", 1.2, "fcc")
    atoms.set_constraint(FixAtoms(mask=atoms.get_tags() == 2))
    return atoms


def alloy() -> Atoms:
    atoms: Atoms = bulk("Cu", cubic=True)
    atoms.symbols[:1] = "Au"
    atoms.set_cell(atoms.cell.array @ [[1.02, 0.01, 0], [0.01, 0.98, 0], [0, 0, 1.03]], scale_atoms=True)
    return atoms


def by_bfgs(atoms: Atoms, cell: bool = False) -> tuple[int, float]:
    calculator = Counted()
    atoms.calc = calculator
    BFGS(FrechetCellFilter(atoms) if cell else atoms, logfile=None).run(fmax=FMAX)  # type: ignore[arg-type]
    return calculator.calls, float(atoms.get_potential_energy())


def largest(atoms: Atoms) -> float:
    """Largest force that EMT has for free atoms."""
    twin = atoms.copy()
    twin.calc = EMT()
    return float(np.linalg.norm(twin.get_forces(), axis=1).max())


@pytest.fixture(scope="module")
def one_label() -> IonicSurrogate:
    label = labelled(rattled(cluster()), "energy", "forces")
    crystal = Crystal.from_atoms(rattled(cluster()), ions="free")
    return begun(Dataset.from_atoms([label], reference=crystal, ions="free"), IonConfig())


@pytest.fixture(scope="module")
def known() -> Dataset:
    return Dataset.from_atoms([labelled(each, "energy", "forces") for each in displaced(cluster(), 12, size=0.04)])


@pytest.fixture(scope="module")
def model(known: Dataset) -> IonicSurrogate:
    return fit_ions(known, progress=False)


class TestFromNothing:
    @pytest.mark.parametrize("make", [cluster, slab])
    def test_half_as_many_calculations_end_in_the_same_minimum(self, make: Any) -> None:
        calls, energy = by_bfgs(rattled(make()))
        atoms, reference = rattled(make()), Counted()
        log = io.StringIO()
        found = ActiveIonCalculator(atoms, reference, log=log).relax(atoms, FMAX)
        assert found.converged
        assert found.force == pytest.approx(largest(atoms), abs=1e-6)
        assert largest(atoms) <= FMAX
        assert reference.calls <= calls / 2
        # Forces of 0.02 eV/Å on springs of some eV/Å²: less than 1 meV an atom.
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=2e-3)
        assert "Relaxed: the largest force is" in log.getvalue().splitlines()[-1]

    def test_held_atoms_stay(self) -> None:
        atoms = rattled(slab())
        held = atoms.get_tags() == 2
        before = atoms.positions[held].copy()
        ActiveIonCalculator(atoms, Counted()).relax(atoms, 0.1)
        assert np.array_equal(atoms.positions[held], before)

    def test_cells_relax_with_the_ions(self) -> None:
        calls, energy = by_bfgs(rattled(alloy()), cell=True)
        atoms, reference = rattled(alloy()), Counted()
        calculator = ActiveIonCalculator(atoms, reference, stress=True)
        found = calculator.relax(FrechetCellFilter(atoms), FMAX)
        assert found.converged
        assert reference.calls <= calls / 2
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=2e-3)
        twin = atoms.copy()
        twin.calc = EMT()
        assert np.abs(twin.get_stress()).max() * atoms.get_volume() < 2 * FMAX * len(atoms)

    def test_optimisers_of_ase_may_walk_on_it(self) -> None:
        atoms, reference = rattled(cluster()), Counted()
        atoms.calc = ActiveIonCalculator(atoms, reference)
        BFGS(atoms, logfile=None).run(fmax=FMAX, steps=200)
        calculator = atoms.calc
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() <= FMAX
        # What the model says here it may say within its tolerance.
        assert largest(atoms) <= FMAX + 4 * max(calculator.force_tolerance, calculator.relative_tolerance * FMAX)
        asked = reference.calls
        calculator.confirm(atoms)
        calculator.confirm(atoms)
        assert reference.calls <= asked + 1
        np.testing.assert_allclose(np.linalg.norm(atoms.get_forces(), axis=1).max(), largest(atoms), atol=1e-6)

    def test_labels_are_kept(self, tmp_path: Path) -> None:
        atoms = rattled(cluster())
        calculator = ActiveIonCalculator(atoms, Counted(), database=tmp_path / "labels.db")
        calculator.relax(atoms, 0.1)
        kept = Dataset.read(tmp_path / "labels.db", reference=calculator.surrogate.crystal)
        assert calculator.dataset is not None
        np.testing.assert_allclose(kept.energies, calculator.dataset.energies)
        np.testing.assert_allclose(kept.forces, calculator.dataset.forces, atol=1e-9)

    def test_a_calculation_that_fails_is_said_and_learnt_of_nothing(self) -> None:
        atoms = rattled(cluster())
        calculator = ActiveIonCalculator(atoms, Counted(fails_from=3))
        with pytest.raises(NoLabel, match="Did not converge"):
            calculator.relax(atoms, FMAX)
        assert len(calculator.requests) == 2
        assert calculator.dataset is not None
        assert len(calculator.dataset) == 2
        assert calculator.results == {}


class TestOneLabel:
    def test_is_answered_and_says_how_far_it_reaches(self, one_label: IonicSurrogate) -> None:
        point = one_label.points[0]
        label = labelled(rattled(cluster()), "energy", "forces")
        means, stds = one_label.marginals(point[None], True)
        assert means[0, 0] == pytest.approx(label.get_potential_energy(), abs=1e-3)
        np.testing.assert_allclose(-means[0, 7:], label.get_forces().ravel(), atol=0.01)
        assert stds[0, 7:].max() < 0.02
        away = point + np.vstack([np.zeros((3, 3)), 0.2 * np.random.default_rng(1).normal(size=(6, 3))])
        assert one_label.marginals(away[None], True)[1][0, 7:].max() > 0.1

    def test_forces_are_derivatives_and_covariances_agree(self, one_label: IonicSurrogate) -> None:
        points = np.stack([one_label.points[0], one_label.points[0]])
        points[1, 3:] += 0.05 * np.random.default_rng(2).normal(size=(6, 3))
        means, stds = one_label.marginals(points, True)
        joint = one_label.joint(points, True)
        np.testing.assert_allclose(joint.mean[:2], means[:, 0])
        spread = np.sqrt(np.diagonal(joint.covariance)[2:].reshape(2, -1))
        np.testing.assert_allclose(spread, stds[:, 1:], atol=1e-5)
        step = np.zeros_like(points[1])
        step[4, 1] = 1e-4
        energies = one_label.marginals(np.stack([points[1] + step, points[1] - step]), False)[0][:, 0]
        assert (energies[0] - energies[1]) / 2e-4 == pytest.approx(means[1, 7 + 4], abs=1e-5)

    def test_is_no_file(self, one_label: IonicSurrogate, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="fit_ions"):
            one_label.save(tmp_path / "model.dkl")


class TestFromAModel:
    def test_what_is_learnt_beyond_it_agrees_with_the_labels(self, model: IonicSurrogate) -> None:
        far = labelled(rattled(cluster(), 3), "energy", "forces")
        new = Dataset.from_atoms([far], reference=model.crystal, ions="free")
        after = learnt(model, new)
        assert (after.report.n_rows, model.report.n_rows) == (13, 12)

        errors, stds = [], []
        for each in (model, after):
            mean, std = each.marginals(new.points, True)
            errors.append(np.abs(-mean[0, 7:] - new.forces[0].ravel()).max())
            stds.append(std[0, 7:])
        assert errors[1] < 0.1 * errors[0]
        assert (stds[1] < stds[0]).all()

    def test_it_asks_where_it_is_unsure_alone(self, model: IonicSurrogate, known: Dataset) -> None:
        reference = Counted()
        calculator = ActiveIonCalculator(model, reference, force_tolerance=0.01, relative_tolerance=0, dataset=known)
        near, far = rattled(cluster(), 1, 0.02), rattled(cluster(), 1, 0.25)
        near.calc = far.calc = calculator
        near.get_forces()
        assert reference.calls == 0
        np.testing.assert_allclose(far.get_forces(), labelled(far.copy(), "forces").get_forces(), atol=1e-6)
        assert reference.calls == 1
        assert "uncertainty" in calculator.requests[0].reason
        turned = far.copy()
        turned.rotate(30, "z")
        turned.calc = calculator
        assert turned.get_potential_energy() == pytest.approx(far.get_potential_energy(), abs=0.02)

    def test_a_quarter_more_labels_train_it_again(self, model: IonicSurrogate, known: Dataset) -> None:
        calculator = ActiveIonCalculator(
            model, Counted(), force_tolerance=1e-6, relative_tolerance=0, tolerance=1e-6, dataset=known
        )
        for seed in range(4):
            atoms = rattled(cluster(), seed, 0.1)
            atoms.calc = calculator
            atoms.get_forces()
        assert [each.retrained for each in calculator.requests] == [False, False, True, False]
        assert calculator.surrogate.report.n_rows == 16


class TestRefused:
    def test_models_of_the_other_kind(self, surrogate: Surrogate) -> None:
        with pytest.raises(ValueError, match="Use ActiveCalculator"):
            ActiveIonCalculator(surrogate, EMT())  # type: ignore[arg-type]

    def test_the_reverse(self, ionic: IonicSurrogate) -> None:
        with pytest.raises(ValueError, match="Use ActiveIonCalculator"):
            ActiveCalculator(ionic, EMT(), 0.01)  # type: ignore[arg-type]

    def test_rows_that_are_not_the_models(self, ionic: IonicSurrogate, alloy_dataset: Dataset) -> None:
        with pytest.raises(ValueError, match="are not the"):
            ActiveIonCalculator(ionic, EMT(), dataset=alloy_dataset.subset(np.arange(3)))

    @pytest.mark.parametrize("name", ["tolerance", "force_tolerance", "relative_tolerance"])
    def test_tolerances_that_are_none(self, name: str) -> None:
        with pytest.raises(ValueError, match=name):
            ActiveIonCalculator(cluster(), EMT(), **{name: -1})  # type: ignore[arg-type]

    def test_atoms_that_are_all_held(self) -> None:
        atoms = cluster()
        atoms.set_constraint(FixAtoms(indices=range(6)))
        with pytest.raises(ValueError, match="nothing to learn"):
            ActiveIonCalculator(atoms, EMT())


def expected_stiffness(atoms: Atoms) -> dict[float, float]:
    """Stiffness of the springs of a model that knows next to nothing, by their lengths, eV/Å²."""
    rows = Dataset.from_atoms([labelled(atoms, "energy", "forces")], reference=Crystal.from_atoms(atoms, ions="free"))
    model = begun(rows, IonConfig())
    assert isinstance(model.process, FurtherLabels)
    constants = model.process.springs.sum(axis=0) * model.space.weights**2
    return dict(zip(model.space.lengths.round(3).tolist(), constants.tolist(), strict=True))


def test_a_spring_is_as_stiff_in_a_crystal_as_in_a_molecule() -> None:
    crystal = expected_stiffness(bulk("Cu", a=3.6, cubic=True))
    for length in (3.6 / 2**0.5, 3.6):
        (alone,) = expected_stiffness(Atoms("Cu2", [[0, 0, 0], [0, 0, length]])).values()
        assert crystal[round(length, 3)] == pytest.approx(alone, rel=1e-6)


def test_forces_at_the_reference_are_not_known_beforehand() -> None:
    """Without labels of slopes, forces of the unrelaxed reference are as unsure as `PULL` says; with them, not."""
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.positions[0] += [0.05, 0, 0]
    crystal = Crystal.from_atoms(atoms, ions="free")
    for properties, unsure in ((("energy",), True), (("energy", "forces"), False)):
        rows = Dataset.from_atoms([labelled(atoms, *properties)], reference=crystal)
        std = begun(rows, IonConfig()).predict_points(rows.points).forces_uncertainty
        assert std is not None
        assert bool(std.max() > 0.1) == unsure
