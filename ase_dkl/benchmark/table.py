"""Results of a study by case: mean and spread over the seeds, and which method is best at what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ase_dkl.benchmark.results import Row
from ase_dkl.benchmark.settings import Case, Study

SPREAD = 2
"""Digits of a mean after its first."""
ENDLESS = 1e6
"""A mean of this size says no more than that: its digits and its spread are not shown."""


@dataclass(frozen=True)
class Score:
    """How a score is shown.

    Attributes:
        title: heading of its column, and label of its axis.
        best: "low", "high", or the value that the best is nearest to; None where there is no better.
    """

    title: str
    best: Literal["low", "high"] | float | None = "low"


def _of(quantity: str, unit: str) -> dict[str, Score]:
    return {
        f"{quantity}_rmse_{unit}": Score(f"{quantity} RMSE, {unit}"),
        f"{quantity}_mae_{unit}": Score(f"{quantity} MAE, {unit}"),
        f"{quantity}_nll": Score(f"{quantity} NLL, nats"),
        f"{quantity}_crps_{unit}": Score(f"{quantity} CRPS, {unit}"),
        f"{quantity}_coverage_68": Score("68 % coverage", 0.68),
        f"{quantity}_coverage_95": Score("95 % coverage", 0.95),
        f"{quantity}_miscalibration_area": Score("miscalibration area"),
        f"{quantity}_ence": Score("ENCE"),
        f"{quantity}_sharpness_{unit}": Score(f"sharpness, {unit}", None),
        f"{quantity}_spearman": Score("Spearman, error and σ", "high"),
        f"{quantity}_risk_coverage_{unit}": Score(f"risk–coverage area, {unit}"),
    }


ENERGY, STRESS = _of("energy", "meV"), _of("stress", "GPa")
BEYOND = {
    "auroc": Score("AUROC of σ, around the box", "high"),
    "outside_auroc": Score("AUROC of σ, labelled rows outside", "high"),
    "outside_rmse_meV": Score("RMSE outside, meV"),
    "outside_coverage_95": Score("95 % coverage outside", 0.95),
}
COST = {
    "fit_s": Score("fit, CPU s"),
    "predict_us": Score("energy in a batch, µs"),
    "predict_stress_us": Score("with stress, µs"),
    "single_ms": Score("one energy, ms"),
    "memory_MiB": Score("memory of the fit, MiB"),
    "passes": Score("forward passes", None),
}
SCORES = ENERGY | STRESS | BEYOND | COST
SUMMARY = (
    "energy_rmse_meV energy_nll energy_crps_meV energy_coverage_95 energy_miscalibration_area energy_spearman auroc "
    "stress_rmse_GPa stress_coverage_95 fit_s predict_us"
).split()


@dataclass(frozen=True)
class Line:
    """One case in a table.

    Attributes:
        case: of the study.
        values: of each score, one for each fit that did not fail.
        fits: seeds that have a row.
        failed: of them, those that failed.
    """

    case: Case
    values: dict[str, list[float]]
    fits: int
    failed: int

    def mean(self, score: str) -> float | None:
        """Over the seeds; None where no fit has this score."""
        values = self.values[score]
        return float(np.mean(values)) if values else None

    def spread(self, score: str) -> float:
        """Standard deviation over the seeds; 0 of a single one."""
        values = self.values[score]
        return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class Block:
    """Cases that are compared with each other: the same data, number of rows and kind of labels."""

    data: str
    n: int
    labels: str
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        """The block's name in tables."""
        return f"{self.data}, {self.n} rows, {self.labels.replace('+', ' and ')}"

    def best(self, score: str) -> Line | None:
        """The line whose mean is best; None where there is no better, or none to compare with."""
        known = [(mean, line) for line in self.lines if (mean := line.mean(score)) is not None]
        best = SCORES[score].best
        if best is None or len(known) < 2:
            return None
        if isinstance(best, float):
            target = best
            return min(known, key=lambda each: abs(each[0] - target))[1]
        return (min if best == "low" else max)(known, key=lambda each: each[0])[1]


def blocks(study: Study, rows: Sequence[Row]) -> list[Block]:
    """Order the rows of a study's table; rows of other studies, or of earlier settings, are left out."""
    fits: dict[str, list[Row]] = {}
    for row in rows:
        fits.setdefault(row["key"], []).append(row)
    grouped: dict[tuple[str, int, str], list[Line]] = {}
    for case in study.cases:
        if own := [row for row in fits.get(case.key, ()) if int(row["seed"]) in case.seeds]:
            good = [row for row in own if not row["error"]]
            values = {score: [float(row[score]) for row in good if row[score]] for score in SCORES}
            line = Line(case, values, len(own), len(own) - len(good))
            grouped.setdefault((case.source.name, case.n, case.labels), []).append(line)
    return [Block(*key, tuple(lines)) for key, lines in grouped.items()]


def shown(line: Line, score: str) -> str:
    """Mean ± standard deviation over the seeds, to three digits of the mean."""
    mean = line.mean(score)
    if mean is None:
        return "–"
    if abs(mean) >= ENDLESS:
        return f"{mean:.2g}"
    digits = max(0, SPREAD - math.floor(math.log10(abs(mean)))) if mean else SPREAD
    # Shares and scores of ranks need no more than three places, and large numbers no unit's fraction.
    digits = min(digits, 3) if abs(mean) < 1 and SCORES[score].best != "low" else digits
    text = f"{mean:,.{digits}f}"
    return f"{text} ± {line.spread(score):,.{digits}f}" if len(line.values[score]) > 1 else text
