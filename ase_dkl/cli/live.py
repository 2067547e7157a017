"""How far a campaign is, in words, and while it runs: a picture that changes in a terminal, lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from ase_dkl.cli.terminal import bars, note
from ase_dkl.metrics import rmse
from ase_dkl.wording import number, plus_minus

if TYPE_CHECKING:
    from ase_dkl.active.status import Status
    from ase_dkl.active.stopping import Stage

_BAR: dict[str, Any] = {"width": 24, "complete_style": "blue", "finished_style": "green"}


@contextmanager
def watching(console: Console | None = None) -> Iterator[Callable[[Status], None]]:
    """Show a campaign while the block lasts, and nothing of it afterwards in a terminal.

    Args:
        console: where; stderr by default. What is no terminal gets a line for each event.

    Yields:
        What to call with each new status.
    """
    if not bars():
        yield _Nothing()
        return
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda status: live.update(picture(status))


def picture(status: Status) -> RenderableType:
    """A campaign's state as a panel: bars of the labels and of the uncertainty, and what they are in words."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in words_of(status).items():
        table.add_row(name, words)
        if name == "labels":
            table.add_row("", _labels_bar(status))
        elif name == "aim":
            table.add_row("", _aim_bar(status))
    style = "green" if status.finished else "blue"
    return Panel(table, title=status.name, title_align="left", border_style=style)


def words_of(status: Status) -> dict[str, str]:
    """A campaign's state, by what it is."""
    rows = {"labels": f"{status.done} done, {status.running} running, {status.waiting} waiting, {status.failed} failed"}
    if status.stop.budget is not None:
        rows["labels"] += f"; at most {status.stop.budget}"
    if status.reason is None:
        rows["to go"] = "not to be told yet" if (n := status.labels_to_go) is None else f"about {n} labels"
    if (stage := status.stage) is None:
        rows["model"] = "none yet: the initial design comes first"
    else:
        rows |= _of_stage(status, stage)
    if status.event and (status.reason is None or status.reason not in status.event):
        rows["last event"] = status.event
    if status.reason is not None:
        rows["stop"] = status.reason + ("" if status.finished else " What was begun is brought to its end.")
    if not status.alive and not status.finished:
        rows["process"] = "none is at work on it: ase-dkl active run begins, or goes on where it was"
    return rows


def _of_stage(status: Status, stage: Stage) -> dict[str, str]:
    rows = {}
    if (aim := _aim(status, stage)) is not None:
        rows["aim"] = aim
    rms, largest = (number(1e3 * value, 3) for value in (stage.rms_uncertainty, stage.largest_uncertainty))
    rows["σ over the box"] = f"RMS {rms}, largest {largest} meV per cell"
    if stage.batch_errors:
        off, expected = (number(1e3 * rmse(each), 2) for each in (stage.batch_errors, stage.batch_uncertainties))
        rows["newest errors"] = f"{off} meV, where {expected} meV were expected (RMS, noise included)"
    made = "trained" if stage.refitted else "conditioned on new labels"
    rows["model"] = (
        f"of {stage.labels} labels, {made} in {stage.seconds:.1f} s; noise {number(1e3 * stage.noise, 2)} meV"
    )
    return rows


def _aim(status: Status, stage: Stage) -> str | None:
    """What is held against the tolerance, and that."""
    stop = status.stop
    if (aim := stop.aim(stage)) is None:
        return None
    unit, factor = "meV", f", with errors {stage.calibration:.2f} times as large as expected" * (stage.calibration > 1)
    if stop.target is None:
        what = "RMS error at most" if stop.measure == "rms" else "largest σ"
        sure = " (95 %)" * (stop.measure == "rms")
        return f"{what} {aim[0] / stage.calibration:.3g} {unit}{sure}{factor}; tolerance {aim[1]:g} {unit}"
    unit, known = status.target_unit or "", f"{stop.target.name} is not known yet"
    if stage.target_value is not None and stage.target_std is not None:
        known = f"{stop.target.name} = {plus_minus(stage.target_value, stage.target_std, unit)}{factor}"
    return f"{known}; tolerance {stop.target.tolerance:g} {unit}"


class _Nothing:
    """No line, for who wants it quiet."""

    def __call__(self, status: Status) -> None:
        del status


class _Lines:
    """A line where something happened or labels came."""

    def __init__(self) -> None:
        self._event, self._settled = "", -1

    def __call__(self, status: Status) -> None:
        event = status.event if status.event != self._event else ""
        settled = status.done + status.failed
        if event or settled != self._settled:
            self._event, self._settled = status.event, settled
            counts = f"{status.done} done, {status.running} running, {status.failed} failed"
            note(f"{time.strftime('%H:%M:%S')}  {counts}  {event}".rstrip())


def _labels_bar(status: Status) -> ProgressBar:
    behind = status.done + status.failed
    ahead = max(status.labels_to_go or 0, status.running + status.waiting)
    return ProgressBar(total=max(behind + ahead, 1), completed=behind, **_BAR)


def _aim_bar(status: Status) -> ProgressBar:
    """How far the uncertainty has come from where it began to the tolerance, by its logarithm."""
    known = [stage for stage in status.stages if status.stop.target is None or stage.target_std is not None]
    aims = [aim for stage in known if (aim := status.stop.aim(stage)) is not None]
    if not aims:
        return ProgressBar(total=1, completed=0, **_BAR)
    (first, tolerance), (now, _) = aims[0], aims[-1]
    way = math.log(max(first, 1.1 * tolerance) / tolerance)
    done = 1 - math.log(max(now, tolerance) / tolerance) / way
    return ProgressBar(total=1, completed=max(done, 0), **_BAR)
