"""Do recalibrated error bars hold? Fractions of unseen labels in intervals that shall hold 95 % of them.

A model of n rows is calibrated on five folds of these rows, and judged on rows that neither has seen: those of the
SrTiO3 pool from 192 on, and random lattices of copper (EMT) in the same box. "raw" is prediction ± 1.96 σ as the model
says it, with label noise in σ; "scaled" the same with σ times the factor; "conformal" the interval that the model file
answers with. Beside each stands the mean half-width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from _common import THREE_DIGITS, Floats, arguments, configured, console, judged, print_environment, stderr
from _copper import box, labelled
from ase.units import GPa
from rich.progress import track
from rich.table import Table
from scipy.stats import norm

from ase_dkl import Dataset, TrainConfig, fit, srtio3
from ase_dkl.model.calibration import Scores
from ase_dkl.model.evaluation import stress_labels
from ase_dkl.training.calibrate import calibrate

LEVEL = 0.95
GAUSSIAN = float(norm.ppf((1 + LEVEL) / 2))
UNSEEN = 192
ROWS = {"SrTiO3": (20, 32), "Cu": (32,)}
MEANS: tuple[Literal["cubic", "sextic"], ...] = ("cubic", "sextic")
WAYS = ("raw", "scaled", "conformal")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(seeds=[0])
    options = parser.parse_args()
    print_environment(options.seeds, options.quick)
    cases = [("SrTiO3", 20)] if options.quick else [(name, n) for name, sizes in ROWS.items() for n in sizes]
    found: dict[tuple[str, int, str, str], list[list[float]]] = {}
    jobs = [(*case, mean, seed) for case in cases for mean in MEANS for seed in options.seeds]
    for name, n, mean, seed in track(jobs, "calibrating", console=stderr):
        for label, numbers in judgements(name, n, configured(TrainConfig(mean=mean, seed=seed), options.quick)):
            found.setdefault((name, n, mean, label), []).append(numbers)
    table = Table("data", "rows", "mean", "label", "factor", *(f"{way},\nin / half-width" for way in WAYS))
    for (name, n, trend, label), runs in found.items():
        factor, *rest = np.transpose(runs)
        unit = "meV" if label == "energy" else "GPa"
        cells = [f"{judged(rest[i], '.3f')} / {judged(rest[i + 1], THREE_DIGITS)} {unit}" for i in range(0, 6, 2)]
        table.add_row(name, str(n), trend, label, judged(factor, ".2f"), *cells)
    console.print(table)


def judgements(name: str, n: int, config: TrainConfig) -> Iterator[tuple[str, list[float]]]:
    """The factor for energies and for stresses, then fraction inside and mean half-width of every way."""
    training, test = rows(name, n)
    surrogate = fit(training, config, progress=False)
    calibration = calibrate(training, config, progress=False)
    p = surrogate.predict_cells(test.cells)
    yield "energy", coverages(p.energy - test.energies, p.value.total, calibration.energy, 1e3)
    assert calibration.stress is not None
    stress = p.slopes["strain"]
    error = stress.mean - stress_labels(test, surrogate.stress_offset)
    yield "stress", coverages(error, stress.total, calibration.stress, 1 / GPa)


def coverages(error: Floats, total: Floats, scores: Scores, unit: float) -> list[float]:
    numbers = [scores.factor]
    for width in (GAUSSIAN, GAUSSIAN * scores.factor, scores.half_width(LEVEL)):
        numbers += [float(np.mean(np.abs(error) <= width * total)), unit * width * float(total.mean())]
    return numbers


def rows(name: str, n: int) -> tuple[Dataset, Dataset]:
    """Rows to train on, and others."""
    if name == "Cu":
        everything = Dataset.from_atoms(labelled(np.concatenate([box(0, n), box(1, 256)])))
        return everything.subset(np.arange(n)), everything.subset(np.arange(n, len(everything)))
    training = Dataset.read(srtio3(), select=f"set=pool,index<{n}")
    return training, Dataset.read(srtio3(), select=f"set=pool,index>={UNSEEN}", reference=training.crystal)


if __name__ == "__main__":
    main()
