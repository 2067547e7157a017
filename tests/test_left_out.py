"""Layout of the training, each predicted without itself."""

from dataclasses import replace

import numpy as np
import pytest
from made import known

from ase_dkl import Dataset, Surrogate, TrainConfig, evaluate, fit, mos2
from ase_dkl.metrics import rmse
from ase_dkl.model.conditioning import observed
from ase_dkl.model.labels import Labels
from ase_dkl.model.posterior import Posterior
from ase_dkl.training.batches import folds
from ase_dkl.training.gp import BASIS_SCALE

TWO = TrainConfig(networks=2, steps=40)


def of_prior(posterior: Posterior) -> Posterior:
    """The same process before it has seen a label."""
    (networks, n, _), inducing = posterior.factor.shape, posterior.points.shape[1]
    factor = np.zeros((networks, n, n))
    factor[:, :inducing, :inducing] = posterior.whitening
    factor[:, inducing:, inducing:] = BASIS_SCALE * np.eye(n - inducing)
    return replace(posterior, factor=factor, weights=np.zeros((networks, n)))


@pytest.fixture(scope="module")
def mixed(srtio3_dataset: Dataset) -> Dataset:
    """The first eight of twelve rows have stresses."""
    rows = srtio3_dataset.subset(np.arange(12))
    stresses = rows.stresses.copy()
    stresses[8:] = np.nan
    return replace(rows, stresses=stresses)


@pytest.fixture(scope="module")
def model(mixed: Dataset) -> Surrogate:
    return fit(mixed, TWO, progress=False)


@pytest.mark.parametrize("row", [3, 10])
def test_it_is_the_process_that_never_saw_the_row(mixed: Dataset, model: Surrogate, row: int) -> None:
    labels = Labels.of(mixed, model.space, model.units)
    means, covariances = model.process.left_out(*observed(model, labels), labels.together(), labels.layout)
    assert np.isnan(means[:, 8:, 1:]).all()

    others = Labels.of(mixed.subset(np.arange(12) != row), model.space, model.units)
    without = of_prior(model.process).conditioned(*observed(model, others), others.together(), others.layout)
    one = Labels.of(mixed.subset(np.array([row])), model.space, model.units)
    mean, covariance = without.joint(*observed(model, one))
    known = mean.shape[1]
    assert known == (7 if row < 8 else 1)
    # Two ways through matrices with condition numbers of some 1e9.
    np.testing.assert_allclose(means[:, row, :known], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(covariances[:, row, :known, :known], covariance, rtol=1e-3, atol=1e-5)


def test_each_row_is_judged_by_the_network_that_was_trained_without_it(mixed: Dataset, model: Surrogate) -> None:
    labels = Labels.of(mixed, model.space, model.units)
    means, _ = model.process.left_out(*observed(model, labels), labels.together(), labels.layout)
    fold = folds(12, TWO)
    errors = model.units.scale * (means[fold, np.arange(12), 0] - labels.values)
    found = model.report.left_out
    assert found is not None
    assert found.n == 12
    assert found.energy_rmse_meV == pytest.approx(1e3 * rmse(errors))
    assert found.stress_coverage_95 is not None


def test_errors_are_as_large_as_on_unseen_rows(srtio3_dataset: Dataset) -> None:
    """Where the model's own rows, which it has seen, have errors several times smaller."""
    model = fit(srtio3_dataset.subset(np.arange(16)), replace(TWO, steps=100), progress=False)
    found, unseen = model.report.left_out, evaluate(model, srtio3_dataset.subset(np.arange(100, 140)))
    seen = evaluate(model, srtio3_dataset.subset(np.arange(16)))
    assert found is not None
    assert known(found.energy_mae_meV) > 2 * known(seen.energy_mae_meV)
    assert 1 / 4 < known(found.energy_mae_meV) / known(unseen.energy_mae_meV) < 4
    assert found.stress_rmse_GPa is not None
    assert unseen.stress_rmse_GPa is not None
    assert 1 / 4 < found.stress_rmse_GPa / unseen.stress_rmse_GPa < 4


def test_a_sheet_s_stresses_are_compared_in_its_plane() -> None:
    rows = Dataset.read(mos2(), select="set=pool").subset(np.arange(16))
    found = fit(rows, TWO, progress=False).report.left_out
    assert found is not None
    assert found.stress_rmse_GPa is not None
    # Labels are 2 GPa.
    assert found.stress_rmse_GPa < 0.5


@pytest.mark.parametrize("config", [replace(TWO, networks=1, steps=2), replace(TWO, folds=False, steps=2)])
def test_networks_that_have_seen_every_row_are_no_judges(mixed: Dataset, config: TrainConfig) -> None:
    assert fit(mixed, config, progress=False).report.left_out is None


def test_it_is_kept_in_the_file(model: Surrogate) -> None:
    assert model.report.left_out is not None
    assert Surrogate.from_bytes(model.to_bytes()).report == model.report
