"""A campaign under load: 64 workers, labels of 10 ms, 5,000 of them. What do they cost the campaign itself?

The workers sleep, so that what is measured is the time that the campaign's own process spends on the database, on
choosing and on learning, label by label. Networks are trained at a fourth more labels, above 512 at twice as many; how
long that takes grows with the labels, and is told apart. For labels this fast trainings are kept short.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import arguments, configured, console, print_environment, stderr
from _copper import A, copper
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from ase_dkl.active.plan import Plan
    from ase_dkl.active.status import Status

WORKERS, SECONDS = 64, 0.01
LABELS, BATCH = 5000, 64
STEPS = 90
"""Steps of a training from the beginning; one that goes on takes a third."""
QUICK_WORKERS, QUICK_LABELS, QUICK_BATCH = 2, 24, 6
PARTS = ("database", "choosing", "conditioning", "fit", "other")


class Clock:
    """Seconds spent in each part, by thousands of labels."""

    def __init__(self, step: int) -> None:
        self.step, self.labels = step, 0
        self.since, self.cpu_since = time.perf_counter(), time.process_time()
        self.rows: dict[int, dict[str, float]] = {}
        self.fits: list[tuple[int, float]] = []

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with what it takes added to a part."""

        def timing(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds = time.perf_counter() - start
                self.row[part] += seconds
                if part == "fit":
                    self.fits.append((self.labels, seconds))

        return timing

    @property
    def row(self) -> dict[str, float]:
        """What the labels at present cost."""
        return self.rows.setdefault(self.labels // self.step, dict.fromkeys(("all", "CPU", "waiting", *PARTS), 0.0))

    def watch(self, status: Status) -> None:
        """Give the time since the last call to the labels that are done now."""
        now, cpu = time.perf_counter(), time.process_time()
        self.row["all"] += now - self.since
        self.row["CPU"] += cpu - self.cpu_since
        self.since, self.cpu_since, self.labels = now, cpu, status.done


@contextmanager
def measured(clock: Clock) -> Iterator[None]:
    """Have the campaign's parts timed."""
    from ase_dkl.active import stages
    from ase_dkl.active.dispatch import Dispatcher
    from ase_dkl.active.store import Store

    places: list[tuple[Any, str, str]] = [
        (stages, "choose", "choosing"),
        (stages, "conditioned", "conditioning"),
        (stages, "fit", "fit"),
        (Store, "request", "database"),
        (Store, "finish", "database"),
        (Dispatcher, "outcomes", "waiting"),
    ]
    bare = [getattr(where, name) for where, name, _ in places]
    for (where, name, part), function in zip(places, bare, strict=True):
        setattr(where, name, clock.timed(part, function))
    yield
    for (where, name, _), function in zip(places, bare, strict=True):
        setattr(where, name, function)


def main() -> None:
    options = arguments("What a campaign costs beside its labels.")
    options.set_defaults(seeds=[0])
    options.add_argument("--labels", type=int, default=LABELS)
    given = options.parse_args()
    from ase_dkl.active.campaign import Campaign

    seed = given.seeds[0]
    print_environment([seed], given.quick)
    workers, labels = (QUICK_WORKERS, QUICK_LABELS) if given.quick else (WORKERS, given.labels)
    clock = Clock(max(1, min(1000, labels // 5)))
    with TemporaryDirectory() as folder, measured(clock), Progress(console=stderr) as bar:
        task = bar.add_task("labels", total=labels)

        def watch(status: Status) -> None:
            clock.watch(status)
            bar.update(task, completed=status.done)

        start = time.perf_counter()
        Campaign(_plan(Path(folder), labels, given.quick, seed), lambda: _pool(workers)).run(watch)
        seconds = time.perf_counter() - start
    console.print(_table(clock))
    for at, spent in clock.fits:
        console.print(f"networks trained with {at:,} labels there: {spent:.1f} s")
    console.print(f"{labels:,} labels in {seconds:.0f} s with {workers} workers.")


def _plan(folder: Path, labels: int, quick: bool, seed: int) -> Plan:
    from ase_dkl import Crystal, TrainConfig
    from ase_dkl.active.box import Box
    from ase_dkl.active.labels.calculation import Calculation
    from ase_dkl.active.plan import Plan
    from ase_dkl.active.stopping import Stop

    sleeping = f"{Path(__file__).with_name('_sleeping.py')}:Sleeping"
    batch = QUICK_BATCH if quick else BATCH
    return Plan(
        name="load",
        database=str(folder / "load.db"),
        folder=folder / "load",
        crystal=Crystal.from_atoms(copper(np.array([A, A, A, 90, 90, 90]))),
        calculation=Calculation(sleeping, {"constant": A, "seconds": SECONDS}),
        box=Box(),
        stop=Stop(budget=labels),
        initial=batch,
        batch=batch,
        config=configured(TrainConfig(networks=1, steps=STEPS, seed=seed), quick),
        own_process=False,
        seed=seed,
    )


def _pool(workers: int) -> Executor:
    context = get_context("forkserver")
    context.set_forkserver_preload(["ase_dkl.active.labels.labelling"])
    return ProcessPoolExecutor(workers, mp_context=context)


def _table(clock: Clock) -> Table:
    table = Table(title="Cost of a label beside its calculation, ms")
    for heading in ("labels", "without fits", *PARTS, "waiting for workers", "CPU, all"):
        table.add_column(heading, justify="right")
    for place, row in clock.rows.items():
        labels = min(clock.labels, (place + 1) * clock.step) - place * clock.step
        if not labels:
            continue
        cost = {name: 1e3 * seconds / labels for name, seconds in row.items()}
        cost["other"] = cost["all"] - sum(cost[name] for name in (*PARTS[:-1], "waiting"))
        names = (*PARTS, "waiting", "CPU")
        numbers = (cost["all"] - cost["fit"] - cost["waiting"], *(cost[name] for name in names))
        first = place * clock.step
        table.add_row(f"{first:,} to {first + labels:,}", *(f"{number:.2f}" for number in numbers))
    return table


if __name__ == "__main__":
    main()
