"""Model files that earlier versions wrote: `models/answers.json` has what those versions said of two cells."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ase_dkl import Surrogate
from ase_dkl.model.model_file import VERSION, unpack

MODELS = Path(__file__).parent / "models"
ANSWERS: dict[str, dict[str, Any]] = json.loads((MODELS / "answers.json").read_text())


@pytest.mark.parametrize("name", ANSWERS)
def test_are_read_and_say_what_they_said(name: str) -> None:
    surrogate, answers = Surrogate.load(MODELS / name), ANSWERS[name]
    prediction = surrogate.predict_cells(answers["cells"])
    # Energies are some −40 eV; sums in another order differ by rounding.
    for array, answer in answers.items():
        if array != "cells":
            atol = 1e-12 if array.startswith("stress") else 1e-11
            np.testing.assert_allclose(getattr(prediction, array), answer, rtol=0, atol=atol, err_msg=array)
    assert (prediction.energy_uncertainty > 0).all()
    assert (surrogate.written is not None) == name.startswith("format3")
    assert not surrogate.extrapolation(surrogate.cells).outside.any()
    joint = surrogate.posterior(surrogate.cells[:2])
    assert np.linalg.eigvalsh(joint.covariance).min() > -1e-9


@pytest.mark.parametrize("name", ANSWERS)
def test_are_written_again_in_the_present_format(name: str) -> None:
    surrogate = Surrogate.load(MODELS / name)
    header, _ = unpack(surrogate.to_bytes(), name)
    assert header["version"] == VERSION
    again = Surrogate.from_bytes(surrogate.to_bytes())
    assert again.digest == surrogate.digest
    assert again.report == surrogate.report
    assert (again.calibration is None) == ("calibrated" not in name)


def test_tell_no_folders_of_the_machine_that_wrote_them() -> None:
    for name in (name for name in ANSWERS if name < "format3"):
        assert b"/home/me/" in (MODELS / name).read_bytes()
        surrogate = Surrogate.load(MODELS / name)
        assert surrogate.report.dataset["source"] == "sto3.db"
        assert b"/home/me" not in surrogate.to_bytes()


def test_say_which_choices_there_were() -> None:
    assert not Surrogate.load(MODELS / "format1-modules.dkl").config.folds
    assert Surrogate.load(MODELS / "format2.dkl").config.folds
    assert Surrogate.load(MODELS / "format2-calibrated.dkl").calibration is not None
