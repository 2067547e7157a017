"""A study's results told: tables for the terminal, and a folder with tables and figures in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ase_dkl.benchmark.figures import against_cost, against_rows, by_method
from ase_dkl.benchmark.results import Results
from ase_dkl.benchmark.settings import BadStudy, Study
from ase_dkl.benchmark.table import BEYOND, COST, ENERGY, SCORES, STRESS, SUMMARY, Block, Line, blocks, shown
from ase_dkl.files import written_whole

PARTS = {"Energies": ENERGY, "Stresses": STRESS, "Beyond the box": BEYOND, "Cost": COST}
MEANING = """\
Every number is a mean ± standard deviation over the seeds; the best mean of a column is in bold. Energies are per
reference cell, errors those of rows that no fit was trained on. Likelihoods (NLL) are in nats, of energies in eV and of
stress components in GPa. Coverages, likelihoods, CRPS, ENCE (10 bins) and sharpness (RMS σ) are of model uncertainty
and label noise together; Spearman's correlation, the area under the risk–coverage curve (mean absolute error of the
surest predictions) and AUROC are of the model uncertainty alone. Times are CPU seconds of one thread, those of
predictions for each structure in a batch (1,000 energies; 100 energies with stresses). Memory is by how much the peak
of a fresh process grew in the fit and its predictions.
"""


def tables(study: Study, results: Results) -> list[Table]:
    """The main scores, a table for each data set, number of rows and kind of labels.

    Raises:
        BadStudy: there are no results.
    """
    made = []
    for block in _blocks(study, results):
        table = Table("method", title=block.title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True)
        columns = _columns(block, SUMMARY)
        for score in columns:
            table.add_column(SCORES[score].title, justify="right")
        table.add_column("failed", justify="right")
        for line in block.lines:
            best = [f"[bold]{text}[/]" if wins else text for text, wins in _cells(block, line, columns)]
            table.add_row(line.case.entry.label, *best, _failed(line))
        made.append(table)
    return made


def numbers(study: Study, results: Results) -> list[dict[str, Any]]:
    """What the tables show, unrounded, for JSON: one entry for each case that has fits."""
    return [
        {
            "data": block.data,
            "n": block.n,
            "labels": block.labels,
            "method": line.case.entry.label,
            "fits": line.fits,
            "failed": line.failed,
            "scores": {
                score: {"mean": line.mean(score), "std": line.spread(score)}
                for score, values in line.values.items()
                if values
            },
        }
        for block in blocks(study, results.rows)
        for line in block.lines
    ]


def write_report(study: Study, results: Results, folder: Path) -> Path:
    """Write `report.md` and its figures.

    Args:
        study: whose cases, in their order and under their names.
        results: its table.
        folder: made where there is none.

    Returns:
        The report.

    Raises:
        BadStudy: there are no results.
    """
    found = _blocks(study, results)
    folder.mkdir(exist_ok=True)
    figures = []
    growing = [block for block in found if len({b.n for b in found if b.data == block.data}) > 1]
    # A method alone has nothing beside it to be drawn with.
    single = [block for block in found if block not in growing and len(block.lines) > 1]
    scores = [["energy_rmse_meV", "stress_rmse_GPa"], ["energy_nll", "energy_coverage_95"]]
    for name, wanted in zip(("error", "calibration"), scores, strict=True):
        if growing:
            drawn = [score for score in wanted if any(_columns(block, [score]) for block in growing)]
            figures.append((f"{name}.png", against_rows(growing, drawn, study.name)))
    if single:
        wanted = ["energy_rmse_meV", "stress_rmse_GPa", "energy_nll", "energy_coverage_95", "auroc"]
        drawn = [score for score in wanted if any(_columns(block, [score]) for block in single)]
        figures.append(("methods.png", by_method(single, drawn, study.name)))
    figures.append(("cost.png", against_cost(found, study.name)))
    for file, figure in figures:
        with written_whole(folder / file) as path:
            figure.savefig(path, dpi=150)
    with written_whole(folder / "report.md") as path:
        path.write_text("\n".join(_page(study, results, found, [file for file, _ in figures])), encoding="utf-8")
    return folder / "report.md"


def _blocks(study: Study, results: Results) -> list[Block]:
    if not (found := blocks(study, results.rows)):
        raise BadStudy(f"{results.path} has no results of the study {study.name}. Run it first, without --report.")
    return found


def _page(study: Study, results: Results, found: Sequence[Block], figures: Sequence[str]) -> Iterator[str]:
    fits = sum(line.fits for block in found for line in block.lines)
    planned = sum(len(case.seeds) for case in study.cases)
    failed = sum(line.failed for block in found for line in block.lines)
    yield f"# {study.name}\n"
    yield (
        f"{fits} of {planned} fits are done and {failed} of them failed; seeds "
        f"{', '.join(map(str, study.seeds))}. Searches: {_searches(study)}.\n"
    )
    yield MEANING
    for file in figures:
        yield f"![{file.removesuffix('.png')}]({file})\n"
    for block in found:
        yield f"## {block.title}\n"
        for part, scores in PARTS.items():
            if columns := _columns(block, scores):
                yield f"### {part}\n"
                yield from _markdown(block, columns)
    yield from _failures(study, results)


def _searches(study: Study) -> str:
    budgets = sorted({entry.search for entry in study.entries if entry.search})
    return f"{' or '.join(map(str, budgets))} settings for each method that has any to search" if budgets else "none"


def _markdown(block: Block, columns: Sequence[str]) -> Iterator[str]:
    yield f"| method | {' | '.join(SCORES[score].title for score in columns)} | failed |"
    yield f"|---|{'---:|' * (len(columns) + 1)}"
    for line in block.lines:
        texts = [f"**{text}**" if wins else text for text, wins in _cells(block, line, columns)]
        yield f"| {line.case.entry.label} | {' | '.join(texts)} | {_failed(line)} |"
    yield ""


def _failures(study: Study, results: Results) -> Iterator[str]:
    keys = {(case.key, seed): case for case in study.cases for seed in case.seeds}
    failures = [row for row in results.rows if row["error"] and (row["key"], int(row["seed"])) in keys]
    if failures:
        yield "## Failed fits\n"
        for row in failures:
            yield f"- {keys[row['key'], int(row['seed'])]}, seed {row['seed']}: {row['error']}"
        yield ""


def _columns(block: Block, scores: Iterable[str]) -> list[str]:
    """Those scores that some case has."""
    return [score for score in scores if any(line.values[score] for line in block.lines)]


def _cells(block: Block, line: Line, columns: Sequence[str]) -> list[tuple[str, bool]]:
    return [(shown(line, score), block.best(score) is line) for score in columns]


def _failed(line: Line) -> str:
    return f"{line.failed} of {line.fits}" if line.failed else "0"
