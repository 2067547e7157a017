"""Models of free ions: forces, symmetry, errors, and what ASE does with them."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from made import displaced, known, labelled, rattled_alloy

from ase_dkl import (
    Dataset,
    DKLCalculator,
    ExtrapolationError,
    IonConfig,
    IonicSurrogate,
    NotThisCrystal,
    Refused,
    Surrogate,
    evaluate,
    fit,
    fit_ions,
    load,
)
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import STRAIN_GENERATORS
from ase_dkl.model.model_file import BadModelFile
from ase_dkl.model.pairs import Pairs
from ase_dkl.model.records import BadTraining


@pytest.fixture(scope="module")
def unseen(alloy_dataset: Dataset) -> Dataset:
    return alloy_dataset.subset(np.arange(24, 40))


@pytest.fixture(scope="module")
def water() -> IonicSurrogate:
    rows = [labelled(each, "energy", "forces") for each in displaced(molecule("H2O"), 24, size=0.05)]
    return fit_ions(Dataset.from_atoms(rows), progress=False)


def structure(ionic: IonicSurrogate, point: Floats) -> Atoms:
    """The atoms of a point."""
    atoms = ionic.crystal.atoms()
    atoms.set_cell(point[:3])
    atoms.positions = point[3:]
    return atoms


def strained(points: Floats, strain: Floats) -> Floats:
    """Points with cell and ions strained."""
    return np.asarray(points + points @ np.einsum("j,jkl->kl", strain, STRAIN_GENERATORS))


class TestSpace:
    def test_operations_permute_the_pairs(self, ionic: IonicSurrogate, unseen: Dataset) -> None:
        """Every environment of a crystal that an operation turned is an image of one before."""
        space, operations = ionic.space, ionic.crystal.operations
        point = unseen.points[0]
        for turn in (5, 17, len(operations.rotations) - 1):
            rotation = operations.rotations[turn]
            moved = space.reference.copy()
            # The displacement of a site goes to the site on which it comes to lie.
            shift = point[3:] - ionic.crystal.scaled_positions @ point[:3]
            moved[:3] = ionic.crystal.cell @ rotation.T @ np.linalg.inv(ionic.crystal.cell) @ point[:3] @ rotation
            moved[3:] = ionic.crystal.scaled_positions @ moved[:3]
            moved[3 + operations.permutations[turn]] += shift @ rotation
            assert ionic.marginals(moved[None], False)[0] == pytest.approx(
                ionic.marginals(point[None], False)[0], abs=1e-9
            )

    def test_pairs_hold_the_reference_together(self, ionic: IonicSurrogate) -> None:
        assert ionic.space.is_rigid
        assert Pairs.of(ionic.crystal).lengths == pytest.approx(ionic.space.lengths, abs=0)

    def test_a_molecule_is_one_environment(self, water: IonicSurrogate) -> None:
        assert water.crystal.space_group == "C2v"
        (whole,) = water.space.environments
        assert whole.places.shape == (1, 3)
        assert len(whole.images) == 2

    def test_hydrogens_of_a_methyl_group_change_places(self) -> None:
        """Where bonds tell which atoms are alike; by symmetry two of the three are."""
        rows = Dataset.from_atoms(
            [labelled(each, "energy", "forces") for each in displaced(molecule("CH3OH"), 8, size=0.05)]
        )
        point = rows.points[0]
        near = np.linalg.norm(point[3:] - point[3], axis=1) < 1.3
        hydrogens = np.flatnonzero((rows.crystal.numbers == 1) & near)
        assert len(hydrogens) == 3
        turned = point.copy()
        turned[3 + hydrogens] = point[3 + np.roll(hydrogens, 1)]
        for interchange, same in (("bonds", True), ("symmetry", False)):
            model = fit_ions(rows, IonConfig(n_inducing=60, interchange=interchange), progress=False)  # type: ignore[arg-type]
            energies = model.marginals(np.stack([point, turned]), False)[0][:, 0]
            assert (abs(np.ptp(energies)) < 1e-9) == same
            again = IonicSurrogate.from_bytes(model.to_bytes())
            assert again.marginals(point[None], False)[0][0, 0] == pytest.approx(energies[0], abs=1e-9)

    def test_bonds_are_those_of_small_molecules(self, alloy_dataset: Dataset) -> None:
        with pytest.raises(Refused, match="in molecules of up to 24 atoms"):
            fit_ions(alloy_dataset, IonConfig(interchange="bonds"), progress=False)


class TestPredictions:
    def test_errors_on_unseen_rows_are_small(self, ionic: IonicSurrogate, unseen: Dataset) -> None:
        found = evaluate(ionic, unseen)
        assert known(found.energy_rmse_meV) < 0.05e3 * unseen.energies.std()
        assert known(found.force_relative_rmse) < 0.08
        assert known(found.stress_rmse_GPa) < 0.08 * unseen.stresses.std() / units.GPa
        assert 0.85 < known(found.force_coverage_95) <= 1

    def test_each_row_left_out_errs_as_unseen_ones_do(self, ionic: IonicSurrogate, unseen: Dataset) -> None:
        left_out, found = ionic.report.left_out, evaluate(ionic, unseen)
        assert left_out is not None
        assert 0.4 < known(left_out.force_rmse_meV_A) / known(found.force_rmse_meV_A) < 2.5

    def test_left_out_is_what_the_others_say(self, alloy_dataset: Dataset) -> None:
        """The closed form against a posterior from all other rows, with the hyperparameters as they are."""
        from ase_dkl.model.ion_labels import IonLabels
        from ase_dkl.training.local import condition

        rows = alloy_dataset.subset(np.arange(8))
        model = fit_ions(rows, IonConfig(n_inducing=60), progress=False)
        labels = IonLabels.of(rows, model.space, model.units)
        process = model.trained
        noise = np.array([process.noise[kind] for kind in ("value", "strain", "displacement")]) ** 2
        everything = condition(labels, process.inducing, process.unit, process.scales, noise)
        others = condition(labels.part(np.arange(1, 8)), process.inducing, process.unit, process.scales, noise)
        seen = labels.part(np.arange(1)).seen()
        mean, variance = others.process.marginals(*seen)
        assert everything.left_out is not None
        error, covariance = (each[0] for each in everything.left_out)
        offset = labels.offsets[0] * others.process.weights[-1]
        assert labels.labels[0] - error == pytest.approx((mean[0] + offset).ravel(), abs=1e-6)
        # The offset's own uncertainty is in what is said of labels of the stress.
        free = labels.offsets[0] == 0
        assert np.diagonal(covariance)[free] == pytest.approx(variance[0][free], rel=1e-6, abs=1e-9)

    def test_slopes_are_the_energys(self, ionic: IonicSurrogate, unseen: Dataset) -> None:
        points, step = unseen.points[:2], 1e-5
        means = ionic.marginals(points, True)[0]
        for ion, axis in ((0, 0), (2, 1), (3, 2)):
            ahead, behind = points.copy(), points.copy()
            ahead[:, 3 + ion, axis] += step
            behind[:, 3 + ion, axis] -= step
            slope = (ionic.marginals(ahead, False)[0] - ionic.marginals(behind, False)[0])[:, 0] / (2 * step)
            assert slope == pytest.approx(means[:, 7 + 3 * ion + axis], abs=1e-6)
        for j in range(6):
            strain = step * np.eye(6)[j]
            ahead, behind = strained(points, strain), strained(points, -strain)
            slope = (ionic.marginals(ahead, False)[0] - ionic.marginals(behind, False)[0])[:, 0] / (2 * step)
            assert slope == pytest.approx(means[:, 1 + j], abs=1e-5)

    def test_joint_and_marginals_agree(self, ionic: IonicSurrogate, unseen: Dataset) -> None:
        points = unseen.points[:3]
        mean, std = ionic.marginals(points, True)
        joint = ionic.joint(points, True)
        assert joint.layout.by_point(joint.mean) == pytest.approx(mean, abs=1e-9)
        deviations = np.sqrt(np.diagonal(joint.covariance))
        assert joint.layout.by_point(deviations) == pytest.approx(std, rel=1e-6, abs=1e-9)
        assert np.linalg.eigvalsh(joint.covariance)[0] > -1e-9
        assert ionic.means(points) == pytest.approx(mean, abs=1e-12)
        energies = ionic.joint(points, False)
        assert energies.mean == pytest.approx(joint.mean[:3])
        assert energies.covariance == pytest.approx(joint.covariance[:3, :3], rel=1e-6)

    def test_forces_sum_to_zero_and_turn_with_the_structure(self, ionic: IonicSurrogate, unseen: Dataset) -> None:
        atoms = structure(ionic, unseen.points[0])
        turned = atoms.copy()
        turned.rotate(40, (1, 2, 3), rotate_cell=True)
        turned.positions += [0.3, -0.2, 0.1]
        order = np.random.default_rng(0).permutation(len(atoms))
        one, other = ionic.predict(atoms), ionic.predict(turned[order])
        assert one.forces is not None
        assert other.forces is not None
        assert one.forces_uncertainty is not None
        assert one.forces[0].sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)
        assert other.energy == pytest.approx(one.energy, abs=1e-9)
        assert (one.forces_uncertainty > 0).all()
        rotation = np.linalg.lstsq(atoms.cell.array, turned.cell.array, rcond=None)[0]
        assert other.forces[0] == pytest.approx((one.forces[0] @ rotation)[order], abs=1e-8)

    def test_a_supercell_that_repeats(self, ionic: IonicSurrogate, unseen: Dataset) -> None:
        atoms = structure(ionic, unseen.points[0])
        one, eight = ionic.predict(atoms), ionic.predict(atoms.repeat(2))
        assert one.forces is not None
        assert eight.forces is not None
        assert eight.energy == pytest.approx(8 * one.energy, abs=1e-8)
        assert eight.forces[0] == pytest.approx(np.tile(one.forces[0], (8, 1)), abs=1e-9)
        broken = atoms.repeat(2)
        broken.positions[3] += [0.05, 0, 0]
        with pytest.raises(NotThisCrystal):
            ionic.predict(broken)

    def test_sigma_grows_where_structures_leave_the_data(self, ionic: IonicSurrogate) -> None:
        reference = ionic.reference
        away = np.random.default_rng(3).normal(size=reference[3:].shape)
        points = np.stack([reference] * 3)
        points[:, 3:] += np.array([0.05, 0.15, 0.3])[:, None, None] * away
        std = ionic.marginals(points, False)[1][:, 0]
        assert (np.diff(std) > 0).all()
        assert ionic.extrapolation(points).outside.tolist() == [False, True, True]
        assert "the distance" in ionic.extrapolation(points).describe(2)

    def test_ions_that_are_held_are_no_extrapolation(self) -> None:
        alloy = rattled_alloy(1)[0]
        rows = displaced(alloy, 8, strain=0)
        for each in rows:
            each.positions[:2] = alloy.positions[:2]
        held = Dataset.from_atoms([labelled(each, "energy", "forces") for each in rows])
        assert held.crystal.mobile.tolist() == [False, False, True, True]
        model = fit_ions(held, IonConfig(n_inducing=40), progress=False)
        assert not model.extrapolation(model.points * (1 + 1e-14)).outside.any()


class TestFiles:
    def test_a_file_gives_the_same_model(self, ionic: IonicSurrogate, unseen: Dataset, tmp_path: Path) -> None:
        ionic.save(tmp_path / "ions.dkl")
        again = load(tmp_path / "ions.dkl")
        assert isinstance(again, IonicSurrogate)
        assert again.digest == ionic.digest
        for one, other in zip(
            again.marginals(unseen.points[:2], True), ionic.marginals(unseen.points[:2], True), strict=True
        ):
            assert one == pytest.approx(other, abs=1e-12)
        with pytest.raises(BadModelFile, match=r"is one of free ions. Read it with ase_dkl.load"):
            Surrogate.load(tmp_path / "ions.dkl")

    def test_models_of_lattices_are_read_too(self, surrogate: Surrogate, tmp_path: Path) -> None:
        surrogate.save(tmp_path / "lattice.dkl")
        assert isinstance(load(tmp_path / "lattice.dkl"), Surrogate)
        with pytest.raises(BadModelFile, match="knows lattices only"):
            IonicSurrogate.load(tmp_path / "lattice.dkl")


class TestTraining:
    def test_the_same_again(self, ionic: IonicSurrogate, alloy_dataset: Dataset) -> None:
        again = fit_ions(alloy_dataset.subset(np.arange(24)), ionic.config, progress=False)
        assert again.digest == ionic.digest

    def test_forces_alone(self, alloy_dataset: Dataset, unseen: Dataset) -> None:
        from dataclasses import replace

        rows = alloy_dataset.subset(np.arange(12)).without_stresses()
        rows = replace(rows, energies=np.full(12, np.nan))
        model = fit_ions(rows, IonConfig(n_inducing=80), progress=False)
        assert any("up to a constant" in each for each in model.report.warnings)
        assert known(evaluate(model, unseen).force_relative_rmse) < 0.15
        assert evaluate(model, rows).energy_rmse_meV is None

    def test_other_data_are_refused(self, srtio3_dataset: Dataset, alloy_dataset: Dataset) -> None:
        with pytest.raises(BadTraining, match=r"Use fit, or read it with ions=\"free\""):
            fit_ions(srtio3_dataset)
        with pytest.raises(BadTraining, match="fit_ions"):
            fit(alloy_dataset)
        with pytest.raises(BadTraining, match="demands some"):
            fit_ions(alloy_dataset.without_stresses(), IonConfig(stress="use"))
        with pytest.raises(BadTraining, match="n_inducing is 0"):
            IonConfig(n_inducing=0)

    def test_an_evidence_that_cannot_be_computed_is_no_model(
        self, alloy_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        def fails(matrix: torch.Tensor) -> torch.Tensor:
            raise torch.linalg.LinAlgError(f"{len(matrix)} rows are singular.")  # type: ignore[attr-defined]

        monkeypatch.setattr(torch.linalg, "cholesky", fails)
        with pytest.raises(BadTraining, match="evidence of the labels cannot be computed"):
            fit_ions(alloy_dataset.subset(np.arange(4)), IonConfig(n_inducing=20), progress=False)

    def test_a_search_that_is_cut_short_is_told(self, alloy_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
        rows, config = alloy_dataset.subset(np.arange(6)), IonConfig(n_inducing=20)
        for steps, enough in ((200, True), (2, False)):
            monkeypatch.setattr("ase_dkl.training.local.STEPS", steps)
            assert fit_ions(rows, config, progress=False).report.converged == enough


class TestCalculator:
    def test_relaxes_ions_and_cell(self, ionic: IonicSurrogate, unseen: Dataset) -> None:
        atoms = structure(ionic, unseen.points[1])
        atoms.calc = DKLCalculator(ionic, extrapolation="ignore")
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=200)  # type: ignore[arg-type]
        reference = ionic.crystal.atoms()
        reference.calc = EMT()
        BFGS(FrechetCellFilter(reference), logfile=None).run(fmax=1e-3, steps=200)  # type: ignore[arg-type]
        assert atoms.get_volume() == pytest.approx(reference.get_volume(), rel=0.01)

    def test_results(self, ionic: IonicSurrogate, unseen: Dataset) -> None:
        atoms = structure(ionic, unseen.points[0])
        atoms.calc = DKLCalculator(ionic)
        assert atoms.get_forces().shape == (4, 3)
        assert atoms.get_stress().shape == (6,)
        assert atoms.calc.results.keys() == {
            *("energy", "free_energy", "energy_uncertainty", "stress", "stress_uncertainty"),
            *("forces", "forces_uncertainty"),
        }
        with pytest.raises(ValueError, match="rigid_ions=True is for models of lattices"):
            DKLCalculator(ionic, rigid_ions=True)

    def test_a_molecule_has_no_stress(self, water: IonicSurrogate) -> None:
        calculator = DKLCalculator(water, extrapolation="ignore")
        assert "stress" not in calculator.implemented_properties
        atoms = water.crystal.atoms()
        atoms.calc = calculator
        BFGS(atoms, logfile=None).run(fmax=0.01)
        assert np.abs(atoms.get_forces()).max() < 0.01

    def test_leaving_the_data_stops_a_run_that_asked_for_it(self, ionic: IonicSurrogate) -> None:
        atoms = ionic.crystal.atoms()
        atoms.positions[0] += 0.6
        atoms.calc = DKLCalculator(ionic, extrapolation="raise")
        with pytest.raises(ExtrapolationError, match="beyond the training range"):
            atoms.get_forces()

    def test_energy_is_conserved(self, ionic: IonicSurrogate) -> None:
        atoms = ionic.crystal.atoms()
        rng = np.random.default_rng(0)
        atoms.set_momenta(rng.normal(size=(4, 3)) * np.sqrt(units.kB * 150 * atoms.get_masses())[:, None])
        atoms.calc = DKLCalculator(ionic, extrapolation="ignore")
        begin = atoms.get_total_energy()
        VelocityVerlet(atoms, 2 * units.fs).run(100)
        # The rest is the integrator's, of second order in the step.
        assert atoms.get_total_energy() == pytest.approx(begin, abs=8e-4)
