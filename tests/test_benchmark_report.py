from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from ase_dkl.benchmark.report import tables, write_report
from ase_dkl.benchmark.results import Results
from ase_dkl.benchmark.settings import ENERGIES, LABELS, BadStudy, Entry, Source, Study
from ase_dkl.benchmark.table import blocks, shown


def study_of(*sizes: int) -> Study:
    entries = (Entry("dkl", "ours", {}, 0, LABELS), Entry("dkl", "theirs", {"networks": 1}, 0, (ENERGIES,)))
    return Study("two", (0, 1), (Source("srtio3", sizes),), entries)


def results_of(study: Study, path: Path) -> Results:
    """Ours has half the error, and its second fit from energies fails."""
    with Results.written(path) as results:
        for case in study.cases:
            for seed in study.seeds:
                row = {"key": case.key, "label": case.entry.label, "n": case.n, "seed": seed}
                error = (1 if case.entry.label == "ours" else 2) * (1 + seed) * 100 / case.n
                coverage = 0.9 if case.entry.label == "ours" else 0.99
                if case.entry.label == "ours" and case.labels == ENERGIES and seed:
                    results.add({**row, "error": "ValueError: too bad"})
                else:
                    scores = {"energy_rmse_meV": error, "energy_nll": np.log(error), "energy_coverage_95": coverage}
                    results.add({**row, **scores, "fit_s": 2, "predict_us": 3, "passes": 4, "auroc": 0.5})
    return results


def test_means_spreads_and_winners(tmp_path: Path) -> None:
    study = study_of(16, 32)
    first, second, *_ = blocks(study, results_of(study, tmp_path / "t.csv").rows)
    assert first.title == "srtio3, 16 rows, energies"
    assert second.title == "srtio3, 16 rows, energies and stresses"
    ours, theirs = first.lines
    assert (ours.fits, ours.failed, theirs.failed) == (2, 1, 0)
    assert theirs.mean("energy_rmse_meV") == pytest.approx(18.75)
    assert theirs.spread("energy_rmse_meV") == pytest.approx(12.5 / 2**0.5)
    assert shown(theirs, "energy_rmse_meV") == "18.8 ± 8.8"
    assert shown(ours, "stress_rmse_GPa") == "–"
    assert first.best("energy_rmse_meV") is ours
    assert first.best("energy_coverage_95") is theirs
    assert first.best("passes") is None
    assert second.best("energy_rmse_meV") is None


def test_rows_of_other_studies_are_left_out(tmp_path: Path) -> None:
    results = results_of(study_of(16, 32), tmp_path / "t.csv")
    assert {block.n for block in blocks(study_of(32), results.rows)} == {32}
    with pytest.raises(BadStudy, match="no results of the study two"):
        tables(study_of(64), results)


@pytest.mark.parametrize(
    ("sizes", "figures"), [((16, 32), ["calibration", "cost", "error"]), ((16,), ["cost", "methods"])]
)
def test_report_is_written_with_its_figures(tmp_path: Path, sizes: tuple[int, ...], figures: list[str]) -> None:
    study = study_of(*sizes)
    page = write_report(study, results_of(study, tmp_path / "t.csv"), tmp_path / "report")
    assert sorted(path.name for path in page.parent.iterdir()) == sorted([*(f"{f}.png" for f in figures), "report.md"])
    text = page.read_text(encoding="utf-8")
    assert "**6.25**" in text
    assert "1 of 2" in text
    assert "- ours, srtio3, 16 rows, energies, seed 1: ValueError: too bad" in text
    for name in figures:
        assert f"]({name}.png)" in text
        assert imread(page.parent / f"{name}.png").std() > 0.01


def test_a_method_alone_is_not_drawn_beside_others(tmp_path: Path) -> None:
    study = study_of(16)
    alone = Study("one", (0, 1), study.sources, study.entries[:1])
    page = write_report(alone, results_of(alone, tmp_path / "t.csv"), tmp_path / "report")
    assert sorted(path.name for path in page.parent.iterdir()) == ["cost.png", "report.md"]


def test_tables_for_the_terminal_have_the_best_in_bold(tmp_path: Path) -> None:
    study = study_of(16)
    console = Console(width=200, force_terminal=True, color_system="truecolor")
    with console.capture() as said:
        console.print(*tables(study, results_of(study, tmp_path / "t.csv")))
    assert "\x1b[1m6.25\x1b[0m" in said.get()
