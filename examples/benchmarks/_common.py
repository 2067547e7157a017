"""What the benchmarks share: the machine they ran on, and numbers beside their targets."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ase_dkl.benchmark.environment import environment

if TYPE_CHECKING:
    from ase_dkl import Dataset, Surrogate, TrainConfig

stderr = Console(stderr=True)
console = Console()
if not console.is_terminal:
    console = Console(width=180)

Floats = NDArray[np.float64]
Result = Mapping[str, float | None]

THREE_DIGITS = "three digits"
"""A number format: as many decimals as the mean needs for three significant digits."""
COLUMNS = {
    "energy_rmse_meV": ("energy RMSE,\nmeV", THREE_DIGITS),
    "stress_rmse_GPa": ("stress RMSE,\nGPa", THREE_DIGITS),
    "coverage_95": ("95 % coverage,\nenergy", ".3f"),
    "stress_coverage_95": ("95 % coverage,\nstress", ".3f"),
    "energy_nll": ("NLL, nats", ".2f"),
    "seconds": ("fit, s", ".1f"),
}
AT_LEAST = {"coverage_95", "stress_coverage_95", "auroc"}


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the networks")
    parser.add_argument("--quick", action="store_true", help="see that it runs: the numbers mean nothing")
    return parser


def print_environment(seeds: Sequence[int], quick: bool) -> None:
    import torch

    console.print(
        f"{environment()}\n{torch.get_num_threads()} torch threads; seeds {', '.join(map(str, seeds))}", highlight=False
    )
    if quick:
        console.print("[bold]--quick: the numbers below mean nothing.[/]")


def configured(config: TrainConfig, quick: bool) -> TrainConfig:
    """The configuration, or one that trains for a moment only."""
    return replace(config, networks=min(config.networks, 2), steps=4, epochs=1) if quick else config


def fit_and_evaluate(training: Dataset, test: Dataset, config: TrainConfig) -> tuple[Surrogate, Result]:
    from ase_dkl import evaluate, fit

    start = time.perf_counter()
    surrogate = fit(training, config, progress=False)
    seconds = time.perf_counter() - start
    return surrogate, {**evaluate(surrogate, test).to_dict(), "seconds": seconds}


def result_table(title: str) -> Table:
    """A table for `add_results`: mean ± standard deviation over the seeds, and the targets beside them."""
    table = Table("method", "n", "labels", *(heading for heading, _ in COLUMNS.values()), title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def add_results(
    table: Table,
    method: str,
    n: int,
    labels: str,
    results: Sequence[Result],
    targets: Mapping[str, float] | None = None,
) -> None:
    table.add_row(method, str(n), labels, *judged_row(results, COLUMNS, targets or {}))


def judged_row(
    results: Sequence[Result], columns: Mapping[str, tuple[str, str]], targets: Mapping[str, float]
) -> list[str]:
    """One text a column, which is a heading and a number's format by the name of the result."""
    row = []
    for name, (_, form) in columns.items():
        values = [value for result in results if (value := result.get(name)) is not None]
        row.append(judged(values, form, targets.get(name), at_least=name in AT_LEAST))
    return row


def judged(values: Sequence[float], form: str, target: float | None = None, *, at_least: bool = False) -> str:
    """Mean ± standard deviation, then the target and whether the mean meets it."""
    if not values:
        return "–"
    mean = float(np.mean(values))
    if form == THREE_DIGITS:
        form = f".{max(0, 2 - math.floor(math.log10(abs(mean) or 1)))}f"
    text = f"{mean:{form}}"
    if len(values) > 1:
        text += f" ± {np.std(values, ddof=1):{form}}"
    return text if target is None else f"{text}\n{verdict(mean, target, at_least=at_least)}"


def verdict(value: float, target: float, *, at_least: bool = False) -> str:
    """The target, and whether the value meets it."""
    met = value >= target if at_least else value <= target
    return f"{'≥' if at_least else '≤'} {target:,g} {'[green]met[/]' if met else '[bold red]missed[/]'}"
