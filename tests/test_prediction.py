import json

import numpy as np
import pytest

from ase_dkl import Normal, Prediction, Surrogate
from ase_dkl.model.quantity import Quantity

ONES, SIX = np.ones(2), np.ones((2, 6))
VALUE = Normal(2 * ONES, 3 * ONES, 4 * ONES)
STRESS = Normal(0.1 * SIX, 0.3 * SIX, 0.4 * SIX)
GAP = Quantity("gap", "eV", ("meV", 1e3), extensive=False)


def test_a_label_scatters_by_model_and_noise_together() -> None:
    assert VALUE.total == pytest.approx([5, 5])
    assert STRESS.total == pytest.approx(np.full((2, 6), 0.5))


def test_of_another_unit_only_the_mean_has_a_sign() -> None:
    turned = VALUE.times(-2)
    assert [each.tolist() for each in (turned.mean, turned.std, turned.noise)] == [[-4, -4], [6, 6], [8, 8]]


def test_arrays_by_their_names() -> None:
    prediction = Prediction(VALUE, {"strain": STRESS})
    for name, normal in (("energy", VALUE), ("stress", STRESS)):
        assert getattr(prediction, name) is normal.mean
        assert getattr(prediction, f"{name}_uncertainty") is normal.std
        assert getattr(prediction, f"{name}_noise") is normal.noise
    alone = Prediction(VALUE)
    assert (alone.stress, alone.stress_uncertainty, alone.stress_noise) == (None, None, None)


def test_for_json() -> None:
    names = "energy energy_uncertainty energy_noise stress stress_uncertainty stress_noise".split()
    told = Prediction(VALUE, {"strain": STRESS}).to_dict()
    assert list(told) == names
    assert told["stress_noise"] == [[0.4] * 6] * 2
    assert list(Prediction(VALUE).to_dict().items())[2:4] == [("energy_noise", [4, 4]), ("stress", None)]
    assert json.dumps(told)


def test_another_quantity_is_no_energy() -> None:
    prediction = Prediction(VALUE[:1], quantity=GAP)
    assert repr(prediction) == "Prediction of 1 structure: gap = 2(3) eV"
    assert list(prediction.to_dict()) == ["gap", "gap_uncertainty", "gap_noise"]
    with pytest.raises(AttributeError, match="a prediction of the gap and has no energy"):
        _ = prediction.energy


def test_of_arrays_as_it_was_once_made() -> None:
    arrays = (VALUE.mean, VALUE.std, VALUE.noise, STRESS.mean, STRESS.std, STRESS.noise)
    with pytest.warns(DeprecationWarning, match=r"now Prediction\(Normal\(energy, ") as told:
        prediction = Prediction(*arrays)
    assert told[0].filename == __file__
    assert prediction.stress_noise is STRESS.noise
    with pytest.warns(DeprecationWarning, match="is now"):
        named = Prediction(energy=VALUE.mean, energy_uncertainty=VALUE.std, energy_noise=VALUE.noise)
    assert named.to_dict() == Prediction(VALUE).to_dict()


def test_a_stress_is_the_derivative_over_the_volume(surrogate: Surrogate) -> None:
    cells = surrogate.cells[:3]
    stress = surrogate.predict_cells(cells).stress
    assert stress is not None
    np.testing.assert_allclose(stress * np.abs(np.linalg.det(cells))[:, None], surrogate.derivatives(cells), rtol=1e-12)
