"""A progress bar for what takes long."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
_PATIENCE = 2.0
"""Seconds without a bar."""


def tracked(items: Sequence[T], words: str, *, shown: bool) -> Iterator[T]:
    """Go through items; where it is shown and takes long, a bar on stderr says how far it has come."""
    if not shown:
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    began, bar = time.monotonic(), Progress(console=Console(stderr=True))
    task = bar.add_task(words, total=len(items))
    try:
        for done, item in enumerate(items):
            bar.update(task, completed=done)
            if not bar.live.is_started and time.monotonic() - began > _PATIENCE:
                bar.start()
            yield item
        bar.update(task, completed=len(items))
    finally:
        if bar.live.is_started:
            bar.stop()
