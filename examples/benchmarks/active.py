"""Active learning against Sobol and random points: how many labels it takes, and whether its stops can be believed.

SrTiO3 is replayed on the shipped DFT data: batches are chosen among the first 192 rows of the pool. Copper (EMT) is
live: batches are chosen among 128 points of the box. Models are judged on rows that were never asked for. Each campaign
is written to a file as it ends, and not run again where it stands there.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from _common import Floats, arguments, configured, console, print_environment, stderr
from _copper import A, labelled
from _replay import Labeller, Point, replay
from ase.build import bulk
from ase.cell import Cell
from rich.progress import track
from rich.table import Table

from ase_dkl import Crystal, Dataset, TrainConfig, srtio3
from ase_dkl.active.acquisition import ACQUISITIONS, Acquisition
from ase_dkl.active.box import Box
from ase_dkl.active.stopping import Stage, Stop, StopReason
from ase_dkl.active.target import Target
from ase_dkl.mechanics.paths import ParameterPath

Kind = Acquisition | Literal["target"]
Task = tuple[str, str, Kind, int]
INITIAL, INITIAL_TARGET, BATCH = 8, 6, 2
"""Labels of the initial design, of one for a property, and of a batch."""
MOST = 32
CANDIDATES = 128
THRESHOLDS = (5.0, 2.0, 1.0)
"""meV per cell."""
TARGET = Target("C44", 0.5)
TARGET_BOX = Box((-0.05, 0.05), (-5, 5))
TARGET_KINDS: tuple[Kind, ...] = ("target", "sobol")
STEP = 5e-4
"""Strain of the finite differences that give copper's true constants."""


@functools.cache
def copper() -> Crystal:
    return Crystal.from_atoms(bulk("Cu", "fcc", a=A, cubic=True))


def label_copper(cells: Floats) -> Dataset:
    return Dataset.from_atoms(labelled(Cell(cell).cellpar() for cell in cells), reference=copper())


@functools.cache
def shipped() -> tuple[Dataset, dict[str, Dataset]]:
    """The pool, and the rows that models are judged on: those of the scans that are inside the box."""
    pool = Dataset.read(srtio3(), select="set=pool,index<192")
    unseen = Dataset.read(srtio3(), select="set=pool,index>=192,above_min_eV<2.5", reference=pool.crystal)
    scans = Dataset.read(srtio3(), select="set!=pool", reference=pool.crystal)
    lengths, angles = np.linalg.norm(scans.cells, axis=2), _angles(scans.cells)
    inside = (np.abs(lengths / 3.945 - 1) < 0.1001).all(axis=1) & (np.abs(angles - 90) < 10.01).all(axis=1)
    return pool, {"random": unseen, "scans": scans.subset(inside)}


@functools.cache
def copper_tests() -> dict[str, Dataset]:
    lines = [
        ParameterPath(names, copper().cell, [0, 1, 2]).cells(
            np.linspace(-width, width, 17)[:, None] * np.ones(len(names))
        )
        for names, width in ((("a", "b", "c"), 0.1), (("a",), 0.1), (("alpha",), 10.0))
    ]
    return {
        "random": label_copper(Box().design(copper(), 512, seed=2**20)),
        "scans": label_copper(np.concatenate(lines)),
    }


def run(system: str, kind: Kind, seed: int, quick: bool, aim: str) -> list[Point]:
    """One campaign."""
    import torch

    torch.set_num_threads(1)
    config = configured(TrainConfig(seed=seed), quick)
    target = TARGET if aim == "property" else None
    most = INITIAL + 4 if quick else MOST
    if system == "SrTiO3":
        pool, tests = shipped()
        crystal, (initial, candidates) = pool.crystal, _pool_cells(pool, seed)
        places = {cell.tobytes(): i for i, cell in enumerate(pool.cells)}
        label: Labeller = functools.partial(_look_up, pool, places)
        truth = None
    else:
        crystal, tests = copper(), {} if target else copper_tests()
        region = TARGET_BOX if target else Box()
        n = INITIAL_TARGET if target else INITIAL
        design = region.design(crystal, n + CANDIDATES, seed=seed)
        initial, candidates = design[:n], design[n:]
        label = label_copper
        truth = true_C44() if target else None
    return replay(
        label,
        candidates,
        initial,
        "variance" if kind == "target" else kind,
        tests,
        config,
        most=most,
        batch=BATCH,
        box=Box().design(crystal, 256, seed=2**21),
        target=target,
        aimed=kind == "target",
        truth=truth,
        seed=seed,
        enough=functools.partial(_finished, kind) if target is None else _known,
    )


def _pool_cells(pool: Dataset, seed: int) -> tuple[Floats, Floats]:
    """An initial design and candidates: the pool is one Sobol sequence, and each seed begins 16 points later."""
    cells = np.roll(pool.cells, -16 * seed, axis=0)
    return cells[:INITIAL], cells[INITIAL:]


def _look_up(pool: Dataset, places: dict[bytes, int], cells: Floats) -> Dataset:
    return pool.subset(np.array([places[cell.tobytes()] for cell in cells]))


def _finished(kind: str, points: list[Point]) -> bool:
    """All thresholds reached, and known to be by those who look at their uncertainty."""
    sigma = 1e3 * points[-1].stage.rms_bound * points[-1].stage.calibration
    known = kind in ("sobol", "random") or sigma <= THRESHOLDS[-1]
    return known and points[-1].errors_meV["random"] <= THRESHOLDS[-1]


def _known(points: list[Point]) -> bool:
    return stopped(points, Stop(target=TARGET), StopReason.target) is not None


@functools.cache
def true_C44() -> float:
    """C44 of EMT copper at its own lattice constant, GPa, by finite strains."""
    from ase.calculators.emt import EMT
    from ase.filters import StrainFilter
    from ase.optimize import BFGS
    from ase.units import GPa

    atoms = bulk("Cu", "fcc", a=A, cubic=True)
    atoms.calc = EMT()
    lattice: Any = StrainFilter(atoms)
    BFGS(lattice, logfile=None).run(fmax=1e-6)
    stresses = []
    for shear in (STEP, -STEP):
        strained = atoms.copy()
        strain = np.eye(3)
        strain[1, 2] = strain[2, 1] = shear / 2
        strained.set_cell(atoms.cell @ strain, scale_atoms=True)
        strained.calc = EMT()
        stresses.append(strained.get_stress()[3])
    return float((stresses[0] - stresses[1]) / (2 * STEP) / GPa)


def _angles(cells: Floats) -> Floats:
    return np.array([Cell(cell).angles() for cell in cells])


Campaigns = dict[Task, list[Point]]


def campaigns(tasks: list[Task], quick: bool, results: Path) -> Campaigns:
    """Run what is not in the file yet, one process a core."""
    found = dict(read(results)) if results.exists() else {}
    missing = [task for task in tasks if task not in found]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool, results.open("a", encoding="utf-8") as file:
        futures = {
            pool.submit(run, system, kind, seed, quick, aim): (aim, system, kind, seed)
            for aim, system, kind, seed in missing
        }
        for future in track(as_completed(futures), "campaigns", len(futures), console=stderr):
            found[futures[future]] = future.result()
            points = [asdict(point) for point in future.result()]
            file.write(json.dumps({"task": futures[future], "points": points}) + "\n")
            file.flush()
    return {task: found[task] for task in tasks}


def read(results: Path) -> Iterator[tuple[Task, list[Point]]]:
    for line in results.read_text(encoding="utf-8").splitlines():
        entry: dict[str, Any] = json.loads(line)
        yield (
            tuple(entry["task"]),
            [Point(Stage(**point.pop("stage")), **point) for point in entry["points"]],
        )


def labels_until(runs: list[list[Point]], reached: Callable[[Point], bool]) -> tuple[list[int], int]:
    """Labels of each campaign's first model that is good enough; of one that ended before, all; how many did."""
    first = [next((point.stage.labels for point in points if reached(point)), None) for points in runs]
    labels = [points[-1].stage.labels if count is None else count for points, count in zip(runs, first, strict=True)]
    return labels, first.count(None)


def in_words(values: list[int], missed: int) -> str:
    """Mean ± standard deviation: a lower bound where some campaigns ended before."""
    text = f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")
    return f"> {text} ({missed} not)" if missed else text


def by_task(found: Campaigns, aim: str, system: str, kind: str) -> list[list[Point]]:
    return [points for (*task, _), points in found.items() if task == [aim, system, kind]]


def labels_table(found: Campaigns) -> Table:
    columns = [f"{test},\n{threshold:g} meV" for test in ("random", "scans") for threshold in THRESHOLDS]
    title = "Labels (energy and stress) to an RMSE over random lattices of the box, and over scans through it"
    table = Table("system", "acquisition", "campaigns", *columns, title=title)
    for system in ("SrTiO3", "copper"):
        for kind in ACQUISITIONS:
            runs = by_task(found, "energy", system, kind)
            if not runs:
                continue
            counts = [
                in_words(*labels_until(runs, functools.partial(_reached, test, threshold)))
                for test in ("random", "scans")
                for threshold in THRESHOLDS
            ]
            table.add_row(system, kind, str(len(runs)), *counts, end_section=kind == ACQUISITIONS[-1])
    return table


def _reached(test: str, threshold: float, point: Point) -> bool:
    return point.errors_meV[test] <= threshold


def stops_table(found: Campaigns) -> Table:
    title = "Where a campaign says that its tolerance is met: is it?"
    table = Table("system", "tolerance, meV", "said so", "labels", "true RMSE, meV", "RMSE below it", title=title)
    for system in ("SrTiO3", "copper"):
        for tolerance in THRESHOLDS:
            stops = [
                stop
                for kind in ACQUISITIONS
                for points in by_task(found, "energy", system, kind)
                if (stop := stopped(points, Stop(tolerance_meV=tolerance), StopReason.tolerance)) is not None
            ]
            errors = [stop.errors_meV["random"] for stop in stops]
            if stops:
                below = f"{sum(error <= tolerance for error in errors)} of {len(stops)}"
                labels = np.mean([stop.stage.labels for stop in stops])
                worst = f"{np.mean(errors):.2f}, at most {max(errors):.2f}"
                table.add_row(system, f"{tolerance:g}", str(len(stops)), f"{labels:.1f}", worst, below)
    return table


def stopped(points: list[Point], rule: Stop, reason: StopReason) -> Point | None:
    """Where a campaign with this rule first stops for this reason."""
    stages = [point.stage for point in points]
    for n, point in enumerate(points, 1):
        verdict = rule.verdict(stages[:n])
        if verdict is not None and verdict[0] == reason:
            return point
    return None


def target_table(found: Campaigns) -> Table:
    title = f"Labels until a campaign says that {TARGET.name} of copper is known to {TARGET.tolerance:g} GPa"
    table = Table("chosen by", "labels", "Sobol takes as many times", "error then, GPa", "error / σ, RMS", title=title)
    runs = {kind: by_task(found, "property", "copper", kind) for kind in TARGET_KINDS}
    ends = {kind: [stopped(points, Stop(target=TARGET), StopReason.target) for points in runs[kind]] for kind in runs}
    labels = {
        kind: [(end or points[-1]).stage.labels for points, end in zip(runs[kind], ends[kind], strict=True)]
        for kind in runs
    }
    for kind in TARGET_KINDS:
        known = [end for end in ends[kind] if end is not None]
        errors = np.array([end.target_error for end in known], dtype=np.float64)
        sigmas = np.array([end.stage.target_std for end in known], dtype=np.float64)
        scores = (f"{errors.mean():.2f}", f"{np.sqrt(np.mean((errors / sigmas) ** 2)):.2f}") if known else ("–", "–")
        ratio = np.mean(labels["sobol"]) / np.mean(labels[kind])
        table.add_row(kind, in_words(labels[kind], ends[kind].count(None)), f"{ratio:.2f}", *scores)
    return table


def figure(found: Campaigns, path: Path) -> None:
    """Medians and quartiles of the error, and of the property's error bar, over the campaigns."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(11, 3.8), layout="constrained")
    panels = [
        ("energy", "SrTiO3", ACQUISITIONS),
        ("energy", "copper", ACQUISITIONS),
        ("property", "copper", TARGET_KINDS),
    ]
    for axes, (aim, system, kinds) in zip(canvas.subplots(1, 3), panels, strict=True):
        for i, kind in enumerate(kinds):
            _band(
                axes,
                by_task(found, aim, system, kind),
                aim,
                kind,
                f"C{3 if kind == 'sobol' else i + 4 * (aim == 'property')}",
            )
        axes.set(yscale="log", xlabel="labels (energy and stress)")
        axes.set_title({"energy": f"{system}: random lattices"}.get(aim, f"{system}: {TARGET.name}"))
        axes.set_ylabel("RMSE, meV per cell" if aim == "energy" else "σ, GPa")
        levels = THRESHOLDS if aim == "energy" else (TARGET.tolerance,)
        for level in levels:
            axes.axhline(level, color="0.8", zorder=0, linewidth=0.8)
        axes.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
        axes.yaxis.set_minor_formatter("")
        axes.legend(frameon=False, fontsize="small")
    canvas.savefig(path, dpi=150)


def _band(axes: Any, runs: list[list[Point]], aim: str, kind: str, colour: str) -> None:
    """Draw as far as half of the campaigns go; one that has ended stays at its last value."""
    if not runs:
        return
    last = int(np.median([points[-1].stage.labels for points in runs]))
    labels = np.arange(runs[0][0].stage.labels, last + 1, BATCH)
    values = np.full((len(runs), len(labels)), np.nan)
    for row, points in zip(values, runs, strict=True):
        for point in points:
            std = np.nan if point.stage.target_std is None else point.stage.target_std
            row[labels >= point.stage.labels] = point.errors_meV["random"] if aim == "energy" else std
    low, middle, high = np.nanpercentile(values, [25, 50, 75], axis=0)
    axes.plot(labels, middle, color=colour, label=kind)
    axes.fill_between(labels, low, high, color=colour, alpha=0.15, linewidth=0)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(seeds=list(range(10)))
    parser.add_argument("--results", type=Path, default=Path("active.jsonl"), help="campaigns that have ended")
    parser.add_argument("--figure", type=Path, default=Path("active.png"))
    options = parser.parse_args()
    print_environment(options.seeds, options.quick)
    kinds = ACQUISITIONS[:1] if options.quick else ACQUISITIONS
    tasks: list[Task] = [
        ("energy", system, kind, seed) for seed in options.seeds for system in ("SrTiO3", "copper") for kind in kinds
    ]
    tasks += [("property", "copper", kind, seed) for seed in options.seeds for kind in TARGET_KINDS]
    found = campaigns(tasks, options.quick, options.results)
    for table in (labels_table(found), stops_table(found), target_table(found)):
        console.print(table)
    figure(found, options.figure)


if __name__ == "__main__":
    main()
