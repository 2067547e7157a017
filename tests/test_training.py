import re
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa
from made import known

from ase_dkl import BadTraining, Crystal, Dataset, Prediction, Surrogate, TrainConfig, evaluate, fit
from ase_dkl.arrays import Floats
from ase_dkl.crystal import lattice
from ase_dkl.crystal.lattice import STRAIN_GENERATORS
from ase_dkl.model.records import KERNELS
from ase_dkl.training.fit import COLD
from ase_dkl.training.gp import INITIAL_BREADTH

QUICK = TrainConfig(networks=1, steps=60)


@pytest.fixture(scope="module")
def few(srtio3_dataset: Dataset) -> Dataset:
    return srtio3_dataset.subset(np.arange(20))


@pytest.fixture(scope="module")
def unseen(srtio3_dataset: Dataset) -> Dataset:
    return srtio3_dataset.subset(np.arange(200, 240))


def stress_of(prediction: Prediction) -> Floats:
    assert prediction.stress is not None
    return prediction.stress


def spread_of(dataset: Dataset) -> float:
    return 1e3 * float(np.std(dataset.energies))


def test_same_seed_same_model_to_the_last_bit(few: Dataset) -> None:
    first, second = fit(few, QUICK, progress=False), fit(few, QUICK, progress=False)
    assert first.digest == second.digest
    assert first.digest != fit(few, replace(QUICK, seed=1), progress=False).digest


def test_training_leaves_the_global_random_state_alone(few: Dataset) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(few, replace(QUICK, steps=2), progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_stress_labels_help(few: Dataset, unseen: Dataset) -> None:
    with_stress = evaluate(fit(few, QUICK, progress=False), unseen)
    without = evaluate(fit(few, replace(QUICK, stress="ignore"), progress=False), unseen)
    assert known(with_stress.energy_rmse_meV) < 0.5 * known(without.energy_rmse_meV) < 0.5 * spread_of(unseen)


@pytest.mark.parametrize("stress", ["use", "ignore"])
def test_a_sextic_mean_in_the_strain_helps(few: Dataset, unseen: Dataset, stress: Literal["use", "ignore"]) -> None:
    sextic, cubic = (
        known(evaluate(fit(few, replace(QUICK, mean=mean, stress=stress), progress=False), unseen).energy_rmse_meV)
        for mean in ("sextic", "cubic")
    )
    assert sextic < 0.5 * cubic


def test_the_sextic_mean_is_as_broad_as_the_bound_finds(few: Dataset) -> None:
    surrogate = fit(few, replace(QUICK, mean="sextic", networks=2), progress=False)
    assert surrogate.report.mean_breadth is not None
    assert len(surrogate.report.mean_breadth) == 2
    assert max(surrogate.report.mean_breadth) < 0.9 * INITIAL_BREADTH
    assert fit(few, replace(QUICK, steps=1), progress=False).report.mean_breadth is None


def test_without_symmetry_the_sextic_mean_has_all_monomials(few: Dataset) -> None:
    config = replace(QUICK, steps=1, mean="sextic", symmetry=False, stress="ignore")
    assert fit(few, config, progress=False).process.weights.shape[1] == 20 + 924 + 1


def test_symmetry_helps(few: Dataset, unseen: Dataset) -> None:
    errors = [
        known(evaluate(fit(few, replace(QUICK, symmetry=symmetry), progress=False), unseen).energy_rmse_meV)
        for symmetry in (True, False)
    ]
    assert errors[0] < 0.5 * errors[1]


def test_rows_with_and_without_stress_train_together(few: Dataset, unseen: Dataset) -> None:
    stresses = few.stresses.copy()
    stresses[::2] = np.nan
    surrogate = fit(replace(few, stresses=stresses), QUICK, progress=False)
    assert (surrogate.report.n_rows, surrogate.report.n_stress) == (20, 10)
    assert known(evaluate(surrogate, unseen).energy_rmse_meV) < 0.1 * spread_of(unseen)


def test_the_order_of_rows_hardly_matters(few: Dataset, unseen: Dataset) -> None:
    """Observations are sorted internally; the labels have to follow."""
    stresses = few.stresses.copy()
    stresses[::2] = np.nan
    mixed = replace(few, stresses=stresses)
    reordered = mixed.subset(np.arange(20)[::-1])
    first, second = (fit(each, QUICK, progress=False).predict_cells(unseen.cells) for each in (mixed, reordered))
    assert first.energy == pytest.approx(second.energy, abs=0.05)


def test_an_offset_between_the_labels_is_found_and_kept_out_of_the_stress(few: Dataset, unseen: Dataset) -> None:
    volumes = np.linalg.det(few.cells)[:, None]
    shifted = few.stresses.copy()
    shifted[:, :3] += 0.5 / volumes
    before, after = fit(few, QUICK, progress=False), fit(replace(few, stresses=shifted), QUICK, progress=False)
    assert after.stress_offset - before.stress_offset == pytest.approx(0.5, abs=0.05)
    difference = stress_of(after.predict_cells(unseen.cells)) - stress_of(before.predict_cells(unseen.cells))
    assert np.abs(difference * np.linalg.det(unseen.cells)[:, None]).mean() < 0.1
    assert after.report.stress_offset_std_GPa


def test_an_offset_that_is_large_beside_the_energies_is_found() -> None:
    """Pulay stress as of iron at a low cutoff, 0.25 eV a cell, where strains of half a percent cost 0.2 meV."""
    crystal = Crystal.from_atoms(bulk("Fe", "bcc", a=2.83))
    strains = np.random.default_rng(3).uniform(-0.005, 0.005, (30, 6))
    elastic = np.full((6, 6), 0.0)
    elastic[:3, :3] = 0.87
    elastic[np.arange(6), np.arange(6)] = [1.5] * 3 + [0.75] * 3
    # E = V₀/2 ε C ε, so that ∂E/∂ε = V σ is V₀ C ε to the order of the strain.
    cells = lattice.strained(np.repeat(crystal.cell[None], 30, axis=0), strains)
    volume, volumes = np.linalg.det(crystal.cell), np.linalg.det(cells)
    energies = 0.5 * volume * np.einsum("ni,ij,nj->n", strains, elastic, strains)
    offset = 0.25 * np.array([1, 1, 1, 0, 0, 0])
    stresses = (volume * strains @ elastic + offset) / volumes[:, None]
    dataset = Dataset(crystal, cells, energies, stresses, np.arange(30), {}, ())
    report = fit(dataset, TrainConfig(networks=1, steps=60, width=8, depth=1), progress=False).report
    assert report.stress_offset_GPa == pytest.approx(0.25 / volume / GPa, rel=0.01)
    assert report.energy_noise < 0.1 * energies.std()


@pytest.mark.parametrize("kind", KERNELS)
def test_both_kernels_train(few: Dataset, unseen: Dataset, kind: Literal["rbf", "matern52"]) -> None:
    surrogate = fit(few, replace(QUICK, kernel=kind), progress=False)
    assert known(evaluate(surrogate, unseen).energy_rmse_meV) < 0.05 * spread_of(unseen)


def test_the_stochastic_bound_learns(srtio3_dataset: Dataset, unseen: Dataset) -> None:
    config = replace(QUICK, bound="stochastic", epochs=120, batch_size=48)
    surrogate = fit(srtio3_dataset.subset(np.arange(192)).without_stresses(), config, progress=False)
    assert surrogate.report.bound == "stochastic"
    assert surrogate.report.steps == 120 * 4
    assert known(evaluate(surrogate, unseen).energy_rmse_meV) < 0.05 * spread_of(unseen)


def test_the_stochastic_bound_takes_stresses(few: Dataset, unseen: Dataset) -> None:
    surrogate = fit(few, replace(QUICK, bound="stochastic", epochs=200, batch_size=10), progress=False)
    assert surrogate.report.n_stress == 20
    assert known(evaluate(surrogate, unseen).energy_rmse_meV) < 0.1 * spread_of(unseen)


def test_the_bare_method_trains(srtio3_dataset: Dataset, unseen: Dataset) -> None:
    config = replace(TrainConfig.paper(), epochs=40)
    surrogate = fit(srtio3_dataset.subset(np.arange(96)), config, progress=False)
    assert len(surrogate.crystal.images) == 1
    assert surrogate.report.n_stress == 0
    assert any("No stress labels" in warning for warning in surrogate.report.warnings)
    assert known(evaluate(surrogate, unseen).energy_rmse_meV) < spread_of(unseen)


def test_inducing_points_are_at_most_one_for_each_label(few: Dataset) -> None:
    surrogate = fit(few, replace(QUICK, stress="ignore", steps=2), progress=False)
    assert surrogate.process.points.shape[1] == 20


@pytest.mark.parametrize("start", ["kmeans", "random"])
def test_inducing_points_may_start_elsewhere(few: Dataset, unseen: Dataset, start: Literal["kmeans", "random"]) -> None:
    surrogate = fit(few, replace(QUICK, inducing=start), progress=False)
    assert surrogate.report.fuzzifier is None
    assert known(evaluate(surrogate, unseen).energy_rmse_meV) < 0.05 * spread_of(unseen)


def test_demanded_stresses_that_are_not_there(few: Dataset) -> None:
    with pytest.raises(BadTraining, match='No row has a stress label, and stress="use"'):
        fit(few.without_stresses(), replace(QUICK, stress="use"), progress=False)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda rows: rows.subset(np.zeros(10, dtype=int)), "only one lattice in 10 rows"),
        (lambda rows: rows.subset(np.zeros(10, dtype=int)).without_stresses(), "only one lattice in 10 rows"),
        (lambda rows: rows.subset(np.arange(1)), "only one lattice in 1 row,"),
        (
            lambda rows: replace(rows, cells=rows.cells[:1] * (1 + 1e-7 * np.arange(16)[:, None, None])),
            "only one lattice",
        ),
        (lambda rows: rows.subset(np.arange(0)), "no rows"),
        (lambda rows: replace(rows, energies=np.full(16, -30.0)), "All 16 energies are -30.000000 eV"),
        (lambda rows: replace(rows, energies=np.where(np.arange(16) == 3, np.nan, rows.energies)), "1 row: 4"),
        (lambda rows: replace(rows, energies=np.where(np.arange(16) == 3, 1e300, rows.energies)), "1 row: 4"),
        (lambda rows: replace(rows, stresses=1e100 * rows.stresses), "absurd: 16 rows"),
        (lambda rows: replace(rows, cells=np.nan * rows.cells), "absurd: 16 rows"),
    ],
)
def test_rows_that_tell_nothing_are_refused(few: Dataset, spoil: Callable[[Dataset], Dataset], words: str) -> None:
    with pytest.raises(BadTraining, match=re.escape(words)):
        fit(spoil(few.subset(np.arange(16))), TrainConfig(networks=1, steps=1), progress=False)


def test_linear_algebra_that_fails_is_told_in_words(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data are known that still lead there: the noise is made to vanish."""
    monkeypatch.setattr("ase_dkl.training.gp.SparseGP.noise", lambda _, given: 0 * given.basis[:, 0].expand(1, -1))
    with pytest.raises(BadTraining, match="matrices that are singular"):
        fit(few, TrainConfig(networks=1, steps=1), progress=False)


def test_the_report_says_what_was_found(few: Dataset, unseen: Dataset) -> None:
    report = fit(few, replace(QUICK, networks=2), test=unseen, progress=False).report
    assert report.test is not None
    assert report.test.n == 40
    assert report.bound == "collapsed"
    assert 0 < report.energy_noise < 1
    assert all(max(values) <= 0.9 + 1e-9 for name, values in report.singular_values.items() if "block" in name)
    assert len(report.centre_spread) == 2
    assert report.converged
    assert not report.warnings


def test_a_training_too_short_to_settle_says_so(few: Dataset) -> None:
    report = fit(few, replace(QUICK, steps=10), progress=False).report
    assert not report.converged
    assert any("still rising after 10 steps" in warning for warning in report.warnings)


def test_training_stops_when_the_bound_stops_rising(few: Dataset) -> None:
    report = fit(few, replace(QUICK, steps=400, learning_rate=1e-6), progress=False).report
    assert report.converged
    assert report.steps < 100


def test_folds_matter_to_several_networks_and_not_to_one(few: Dataset, unseen: Dataset) -> None:
    for networks in (1, 2):
        with_folds, without = (
            fit(few, replace(QUICK, networks=networks, steps=20, folds=folds), progress=False).predict_cells(
                unseen.cells
            )
            for folds in (True, False)
        )
        assert np.array_equal(with_folds.energy, without.energy) == (networks == 1)


def test_progress_goes_to_stderr(few: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    fit(few, replace(QUICK, steps=3))
    out, err = capsys.readouterr()
    assert not out
    assert "nats a label" in err


def sheet(strain: np.ndarray, vacuum: float) -> Atoms:
    """A square sheet with an energy that is quadratic in its strain, standing upright in the xz plane."""
    deformation = np.eye(3) + np.einsum("j,jkl->kl", strain, STRAIN_GENERATORS)
    cell = np.diag([3.0, vacuum, 3.0]) @ deformation
    atoms = Atoms("C", cell=cell, pbc=[True, False, True])
    lattice = cell[[0, 2]]
    metric = lattice @ lattice.T / 9
    green = 0.5 * (metric - np.eye(2))
    energy = 20 * np.trace(green) ** 2 + 30 * (green**2).sum()
    slope = (40 * np.trace(green) * np.eye(2) + 60 * green) / 9
    tangents = 2 * lattice @ STRAIN_GENERATORS @ lattice.T
    stress = 0.5 * np.einsum("kl,jkl->j", slope, tangents) / atoms.get_volume()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, stress=stress)
    return atoms


def test_a_sheet_has_three_lattice_parameters_and_no_stress_across() -> None:
    rng = np.random.default_rng(0)
    structures = []
    for _ in range(24):
        strain = np.zeros(6)
        strain[[0, 2, 4]] = rng.uniform(-0.05, 0.05, 3)
        structures.append(sheet(strain, rng.uniform(12, 20)))
    dataset = Dataset.from_atoms(structures)
    surrogate = fit(dataset.subset(np.arange(16)), replace(QUICK, steps=150), progress=False)
    prediction = surrogate.predict(structures[16:])
    expected = np.array([atoms.get_stress() for atoms in structures[16:]])
    energies = np.array([atoms.get_potential_energy() for atoms in structures[16:]])
    assert np.abs(prediction.energy - energies).max() < 0.02 * np.ptp(energies)
    in_plane, across = [0, 2, 4], [1, 3, 5]
    largest = np.abs(expected).max()
    assert stress_of(prediction)[:, in_plane] == pytest.approx(expected[:, in_plane], abs=0.05 * largest)
    assert stress_of(prediction)[:, across] == pytest.approx(0, abs=1e-12)


class TestGoingOn:
    @pytest.fixture(scope="class")
    @classmethod
    def many(cls, srtio3_dataset: Dataset) -> Dataset:
        return srtio3_dataset.subset(np.arange(COLD + 16)).without_stresses()

    @pytest.fixture(scope="class")
    @classmethod
    def start(cls, many: Dataset) -> Surrogate:
        return fit(many.subset(np.arange(COLD)), QUICK, progress=False)

    def test_takes_a_third_of_the_steps_and_keeps_the_units(self, start: Surrogate, many: Dataset) -> None:
        again = fit(many, QUICK, start=start, progress=False)
        assert again.report.steps == 20
        assert again.report.n_rows == COLD + 16
        assert np.array_equal(again.space.frame.centre, start.space.frame.centre)
        assert again.config == start.config

    def test_begins_where_the_other_ended(self, start: Surrogate, many: Dataset, unseen: Dataset) -> None:
        one = fit(many, replace(QUICK, steps=1), start=start, progress=False)
        errors = [known(evaluate(each, unseen).energy_rmse_meV) for each in (one, start)]
        afresh = known(evaluate(fit(many, replace(QUICK, steps=1), progress=False), unseen).energy_rmse_meV)
        assert errors[0] < 1.2 * errors[1]
        assert errors[0] < 0.5 * afresh

    def test_takes_the_breadth_of_the_mean_along(self, many: Dataset) -> None:
        sextic = replace(QUICK, mean="sextic")
        start = fit(many.subset(np.arange(COLD)), sextic, progress=False)
        one = fit(many, replace(sextic, steps=1), start=start, progress=False)
        assert one.report.mean_breadth == pytest.approx(start.report.mean_breadth, rel=0.01)

    def test_few_rows_are_trained_from_the_beginning(self, start: Surrogate, many: Dataset) -> None:
        few = many.subset(np.arange(COLD))
        assert fit(few, QUICK, start=start, progress=False).digest == start.digest

    def test_only_from_the_same_configuration_and_crystal(self, start: Surrogate, many: Dataset) -> None:
        with pytest.raises(BadTraining, match="another configuration"):
            fit(many, replace(QUICK, width=16), start=start, progress=False)
        other = replace(many, crystal=replace(many.crystal, images=many.crystal.images[:1]))
        with pytest.raises(BadTraining, match="another reference crystal"):
            fit(other, QUICK, start=start, progress=False)
