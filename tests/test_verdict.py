"""One place says what is the matter with a model; whoever uses one says it too."""

import json
import re
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.db import connect
from ase.units import GPa, Ry
from commands import Command

from ase_dkl import Dataset, Surrogate, evaluate, srtio3
from ase_dkl.model.records import Contradiction, Evaluation
from ase_dkl.model.verdict import disagreement, faults
from ase_dkl.report.accuracy import accuracy
from ase_dkl.report.page import page

COMMAND = Command()
run = COMMAND.succeed


@pytest.fixture(scope="module")
def unseen(srtio3_dataset: Dataset) -> Dataset:
    return srtio3_dataset.subset(np.arange(100, 112))


def with_report(surrogate: Surrogate, **changes: Any) -> Surrogate:
    model = copy(surrogate)
    model.report = replace(surrogate.report, **changes)
    return model


def errors(surrogate: Surrogate, unseen: Dataset, **changes: Any) -> Evaluation:
    return replace(evaluate(surrogate, unseen), **changes)


def test_nothing_is_the_matter_with_a_good_model(surrogate: Surrogate, unseen: Dataset) -> None:
    assert faults(surrogate) == ()
    assert faults(with_report(surrogate, test=errors(surrogate, unseen))) == ()


def test_noise_that_is_not_small_against_the_spread(surrogate: Surrogate) -> None:
    spread = surrogate.units.scale
    (sentence,) = faults(with_report(surrogate, noise={"value": 0.16 * spread}))
    assert "16% of their spread" in sentence
    assert faults(with_report(surrogate, noise={"value": 0.01 * spread})) == ()


def test_errors_of_several_sigma(surrogate: Surrogate, unseen: Dataset) -> None:
    found = errors(surrogate, unseen, energy_rms_z=5.2)
    (sentence,) = faults(with_report(surrogate, test=found))
    assert "Errors on 12 held-out rows are 5.2 times as large as the model says" in sentence
    (sentence,) = faults(with_report(surrogate, left_out=found))
    assert "12 rows, each left out in turn," in sentence


@pytest.mark.parametrize(("n", "coverage", "told"), [(12, 0.75, False), (12, 0.5, True), (100, 0.8, True)])
def test_coverage_is_judged_by_what_chance_does(
    surrogate: Surrogate, unseen: Dataset, n: int, coverage: float, told: bool
) -> None:
    """9 of 12 rows in the 95 % interval: once in 50 models, so that it says nothing."""
    found = faults(with_report(surrogate, test=errors(surrogate, unseen, n=n, coverage_95=coverage)))
    assert [f"{coverage:.0%} have an energy within" in sentence for sentence in found] == [True] * told


def test_errors_as_large_as_the_spread(surrogate: Surrogate, unseen: Dataset) -> None:
    found = errors(surrogate, unseen, energy_rmse_meV=500 * surrogate.units.scale)
    (sentence,) = faults(with_report(surrogate, test=found))
    assert "learnt little" in sentence


def test_contradictions_are_told_with_what_is_expected(surrogate: Surrogate) -> None:
    found = (Contradiction("7", "energy", -37.5, -38.0, 0.001), Contradiction("9", "stress xy", -3.21, 3.2, 0.01))
    (sentence,) = faults(with_report(surrogate, contradictions=found))
    assert "Row 7: its energy is 0.5000 ± 0.0010 eV above what they make of it." in sentence
    assert "Row 9: its stress xy is -3.21 GPa, where they expect 3.200 ± 0.010 GPa." in sentence
    assert "id!=7,id!=9" in sentence


@pytest.mark.parametrize("command", ["info", "elastic", "eos", "relax", "scan", "predict", "evaluate"])
def test_every_command_that_uses_a_model_warns_of_it(
    surrogate: Surrogate, tmp_path: Path, command: str, structure: Path
) -> None:
    model = tmp_path / "noisy.dkl"
    with_report(surrogate, noise={"value": 0.2 * surrogate.units.scale}).save(model)
    options: dict[str, list[object]] = {
        "scan": ["--along", "a", "--range", "-0.02", "0.02", "-n", "3"],
        "predict": [structure],
        "evaluate": [srtio3(), "--select", "set=pool,index=100"],
    }
    result = run(command, model, *options.get(command, []), "--json")
    assert "20% of their spread" in " ".join(result.stderr.split())
    if command != "predict":
        assert any("of their spread" in each for each in json.loads(result.stdout)["warnings"])


@pytest.fixture
def structure(surrogate: Surrogate, tmp_path: Path) -> Path:
    surrogate.crystal.atoms().write(tmp_path / "one.cif")
    return tmp_path / "one.cif"


def test_the_page_says_it_too(surrogate: Surrogate) -> None:
    noisy = with_report(surrogate, noise={"value": 0.2 * surrogate.units.scale})
    assert "20% of their spread" in page(noisy, "noisy.dkl", [], None)


def test_training_names_the_wrong_row_and_judges_every_row_where_few_are_held_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    with connect(srtio3()) as source, connect(path) as target:
        for index, row in enumerate(source.select("set=pool,index<20")):
            atoms = row.toatoms()
            atoms.calc.results["energy"] += 0.5 * (index == 6)
            target.write(atoms)
    result = run("train", path, "-o", tmp_path / "x.dkl", "--networks", 2, "--inducing", 20, "--json")
    report = json.loads(result.stdout)["report"]
    assert report["test"] is None
    assert report["left_out"]["n"] == 20
    assert [each["id"] for each in report["contradictions"]] == ["7"]
    assert "--select 'id!=7'" in " ".join(result.stderr.split())


def test_few_rows_have_errors_and_no_calibration(surrogate: Surrogate, unseen: Dataset) -> None:
    words = evaluate(surrogate, unseen.subset(np.arange(2))).words()
    assert words["structures"] == "2"
    assert "energy error, RMS" in words
    assert not [name for name in words if "band" in name or "correlation" in name]


def test_the_headline_is_of_ten_rows_at_least(surrogate: Surrogate, srtio3_dataset: Dataset, unseen: Dataset) -> None:
    model = with_report(surrogate, left_out=replace(errors(surrogate, unseen), n=24))
    for rows in (None, unseen.subset(np.arange(2)), srtio3_dataset.subset(np.arange(12))):
        assert "energy error (RMS of 24 rows)" in accuracy(model, rows).headlines
    assert "energy error (RMS of 12 rows)" in accuracy(model, unseen).headlines
    assert 'data-figure="coverage"' not in accuracy(model, unseen.subset(np.arange(2))).html()


class TestLabelsFarFromAModel:
    def test_right_labels(self, surrogate: Surrogate, unseen: Dataset) -> None:
        assert disagreement(surrogate, unseen) is None
        assert disagreement(surrogate, unseen.subset(np.array([0]))) is None

    def test_another_zero_of_energy(self, surrogate: Surrogate, unseen: Dataset) -> None:
        sentence = disagreement(surrogate, replace(unseen, energies=unseen.energies + 12.3))
        assert sentence is not None
        found = re.search(r"lie (\S+) ± \S+ eV per cell above the model's", sentence)
        assert found is not None
        # The model errs by some meV.
        assert float(found[1]) == pytest.approx(12.3, abs=0.01)

    def test_another_unit(self, surrogate: Surrogate, unseen: Dataset) -> None:
        assert "in Ry" in str(disagreement(surrogate, replace(unseen, energies=unseen.energies / Ry)))
        assert "in GPa" in str(disagreement(surrogate, replace(unseen, stresses=unseen.stresses / GPa)))
        assert "opposite sign" in str(disagreement(surrogate, replace(unseen, stresses=-unseen.stresses)))
