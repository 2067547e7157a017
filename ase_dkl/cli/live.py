"""How far a campaign is while it runs: a picture that changes in a terminal, lines elsewhere."""

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

if TYPE_CHECKING:
    from ase_dkl.active.status import Status

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
    for name, words in status.words().items():
        table.add_row(name, words)
        if name == "labels":
            table.add_row("", _labels_bar(status))
        elif name == "aim":
            table.add_row("", _aim_bar(status))
    style = "green" if status.finished else "blue"
    return Panel(table, title=status.name, title_align="left", border_style=style)


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
