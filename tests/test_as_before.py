"""Models predict, and trainings find, what they did before the package was built anew (at version 0.1.0, format 3)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ase_dkl import Dataset, Surrogate, TrainConfig, fit, mgo_slab, mos2, silicon, srtio3

MODELS = Path(__file__).parent / "models"
BEFORE: dict[str, Any] = json.loads((MODELS / "before.json").read_text())
SOURCES = {"srtio3": srtio3, "silicon": silicon, "mos2": mos2, "mgo_slab": mgo_slab}


@pytest.fixture(params=BEFORE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def check(surrogate: Surrogate, name: str, *, exact: float, sigma: float) -> None:
    """Hold predictions against those of before: energies to a part of themselves, error bars to one of theirs."""
    before = BEFORE[name]
    found = surrogate.predict_cells(before["cells"])
    joint = surrogate.posterior(before["cells"][:2])
    assert found.stress is not None
    assert found.stress_uncertainty is not None
    largest = np.abs(before["stress"]).max()
    np.testing.assert_allclose(found.energy, before["energy"], rtol=exact)
    np.testing.assert_allclose(found.energy_uncertainty, before["energy_uncertainty"], rtol=sigma)
    np.testing.assert_allclose(found.energy_noise, before["energy_noise"], rtol=sigma)
    np.testing.assert_allclose(found.stress, before["stress"], atol=10 * exact * largest)
    np.testing.assert_allclose(found.stress_uncertainty, before["stress_uncertainty"], rtol=sigma, atol=sigma * largest)
    np.testing.assert_allclose(joint.mean, before["joint_mean"], atol=10 * exact * np.abs(before["joint_mean"]).max())
    variances = np.diagonal(joint.covariance)
    np.testing.assert_allclose(variances, before["joint_variance"], rtol=sigma, atol=sigma * variances.max())


def test_a_model_of_before_predicts_the_same(name: str) -> None:
    # Variances are differences of larger numbers, which rounding has changed.
    check(Surrogate.load(MODELS / f"format3-{name}.dkl"), name, exact=1e-9, sigma=1e-6)


def test_training_finds_the_same(name: str) -> None:
    before = BEFORE[name]
    rows = Dataset.read(SOURCES[name](), select=before["select"]).subset(np.arange(16))
    size: dict[str, Any] = {"networks": 2, "width": 8, "depth": 2, "n_features": 3, "n_inducing": 8, "steps": 3}
    surrogate = fit(rows, TrainConfig(**size, mean=before["mean"]), progress=False)
    # Networks train in single precision: on one machine numbers are the same to the last bit, on another processor
    # energies differed by up to 2e-6 of their spread, and error bars by 2e-5 of themselves.
    spread = before["spread"] / np.abs(before["energy"]).max()
    check(surrogate, name, exact=1e-4 * spread, sigma=1e-3)
    assert surrogate.report.left_out is not None
    assert surrogate.report.left_out.energy_rmse_meV == pytest.approx(before["left_out_meV"], rel=1e-3)
