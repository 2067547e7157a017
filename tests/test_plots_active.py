from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ase_dkl.active.status import Status
from ase_dkl.active.stopping import Stage, Stop
from ase_dkl.active.target import Target
from ase_dkl.figures.active import campaign_figure


def stage(number: int, **values: Any) -> Stage:
    sigma = 0.008 / 2**number
    given: dict[str, Any] = {
        "stage": number,
        "labels": 8 + 4 * number,
        "failed": 0,
        "rms_uncertainty": sigma,
        "rms_bound": 1.4 * sigma,
        "largest_uncertainty": 4 * sigma,
        "noise": 2e-4,
        "batch_errors": (sigma, -sigma, 2 * sigma, 1e-6) if number else (),
        "batch_uncertainties": (2 * sigma,) * 4 if number else (),
        "calibration": 1.5,
        "target_value": 97 + sigma,
        "target_std": 200 * sigma,
        "refitted": True,
        "seconds": 3.0,
    }
    return Stage(**given | values)


@pytest.fixture
def status() -> Status:
    stages = tuple(stage(number) for number in range(5))
    return Status("x", True, 2, 2, 24, 0, stages, Stop(tolerance_meV=1.0), None, "Stage 4.", 0.0, None)


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): np.asarray(line.get_xydata()).T for line in axes.lines}


def drawn_last(axes: Any, number: int) -> list[Any]:
    return [np.asarray(line.get_xydata()).T for line in axes.lines[-number:]]


def test_uncertainties_and_errors_are_drawn_in_meV(status: Status, tmp_path: Path) -> None:
    (axes,) = campaign_figure(status, "Si").axes
    drawn = lines(axes)
    labels, rms = drawn["RMS σ over the box"]
    np.testing.assert_allclose(labels, [8, 12, 16, 20, 24])
    np.testing.assert_allclose(rms, [8, 4, 2, 1, 0.5])
    np.testing.assert_allclose(drawn["largest σ over the box"][1], 4 * rms)
    np.testing.assert_allclose(drawn["RMS error at most, 95 %, × calibration"][1], 1.5 * 1.4 * rms)
    np.testing.assert_allclose(drawn["tolerance of it, 1 meV"][1], 1)
    np.testing.assert_allclose(drawn["RMS error of a batch"], [labels[1:], 1.5**0.5 * rms[1:]], rtol=1e-5)
    np.testing.assert_allclose(drawn["expected of it"][1], 2 * rms[1:])
    campaign_figure(status, "Si").savefig(tmp_path / "campaign.png")


def test_what_is_judged_by_the_largest_says_so(status: Status) -> None:
    (axes,) = campaign_figure(replace(status, stop=Stop(tolerance_meV=1.0, measure="largest")), "Si").axes
    drawn = lines(axes)
    np.testing.assert_allclose(drawn["largest σ × calibration"][1], 1.5 * drawn["largest σ over the box"][1])


def test_small_errors_take_no_decades(status: Status) -> None:
    (axes,) = campaign_figure(status, "Si").axes
    assert 0.1 < axes.get_ylim()[0] < 0.5


def test_a_target_has_error_bars_and_the_tolerance_about_its_last_value(status: Status) -> None:
    aimed = replace(status, stop=Stop(target=Target("C44", 1.0)), target_unit="GPa")
    upper, lower = campaign_figure(aimed, "Si").axes
    assert "tolerance" not in " ".join(lines(upper))
    assert lower.get_ylabel() == "C44 (GPa)"
    (bars,) = lower.containers
    collection: Any = bars[2][0]
    heights = [float(np.ptp(path.vertices[:, 1])) for path in collection.get_paths()]
    np.testing.assert_allclose(heights, 4 * 200 * 0.008 / 2.0 ** np.arange(5))
    value = status.stages[-1].target_value
    assert value is not None
    np.testing.assert_allclose([line[1, 0] for line in drawn_last(lower, 2)], [value - 2, value + 2])


@pytest.mark.parametrize("count", [1, 2])
def test_the_first_stages_are_enough(status: Status, count: int, tmp_path: Path) -> None:
    unknown = tuple(stage(number, target_value=None, target_std=None) for number in range(count))
    aimed = replace(status, stages=unknown, stop=Stop(target=Target("a", 1e-3)), target_unit="Å")
    campaign_figure(aimed, "Si").savefig(tmp_path / "campaign.png")
    campaign_figure(replace(status, stages=unknown), "Si").savefig(tmp_path / "campaign.png")
