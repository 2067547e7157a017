"""What commands print and write: JSON alone on stdout where it is asked for, else tables; files whole or not at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ase_dkl.cli.terminal import note
from ase_dkl.errors import Refused
from ase_dkl.files import written_whole
from ase_dkl.shown import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ase_dkl.shown import Shown


def deliver(
    result: Shown, title: str, *, as_json: bool, words: Callable[[], object] | None = None, **further: Any
) -> None:
    """Print a result.

    Args:
        result: its record is the JSON, its words are the table.
        title: of the table.
        as_json: print JSON.
        words: what prints it in words, where that is no table of names and values.
        further: what else belongs to the JSON.
    """
    if as_json:
        print_json({**result.record(), **further})
    elif words is None:
        print_table(title, result.words())
    else:
        words()


def save(path: Path | None, what: str, write: Callable[[Path], object]) -> None:
    """Write a file where one is asked for, and say what is in it."""
    if path is not None:
        with written_whole(path) as beside:
            write(beside)
        note(f"{what} in {path}.")


def print_json(value: Any) -> None:
    """Print strict JSON, which has no NaN."""
    typer.echo(json.dumps(plain(value), indent=2, allow_nan=False), file=sys.stdout)


def print_table(title: str, rows: Mapping[str, str]) -> None:
    """Print names and values in two columns."""
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, value)
    # As a title of the table it would be broken to the table's width.
    typer.secho(title, file=sys.stdout, italic=True)
    print_rich(table)


def print_columns(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns: names of files and of substances, and what has no heading, from the left, numbers to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("file", "formula", "") else "right")
    for row in rows:
        table.add_row(*row)
    print_rich(table)


def print_rich(*shown: RenderableType, width: int | None = None) -> None:
    """Print tables; what they hold is text, and no markup in it is followed."""
    from rich.console import Console

    Console(markup=False, highlight=False, width=width).print(*shown, sep="\n\n")


def check_append(output: Path | None, *, append: bool, overwrite: bool) -> None:
    """Refuse to add rows to what has none."""
    if append and (output is None or output.suffix != ".db"):
        raise Refused("--append adds rows to an ASE database. Name one with -o, ending in .db, or leave it out.")
    if append and overwrite:
        raise Refused("--append keeps what a database has, and --overwrite does not. Choose one of them.")


def check_endings(*, figure: Path | None = None, table: Path | None = None) -> None:
    """Find out before the work that a figure or a table is not written in files of that kind.

    Raises:
        Refused: in words.
    """
    if table is not None and table.suffix != ".csv":
        raise Refused(f"{table}: a table is written as .csv. Choose that ending.")
    if figure is not None:
        from matplotlib.backend_bases import FigureCanvasBase

        formats = sorted(FigureCanvasBase.get_supported_filetypes())
        if figure.suffix[1:] not in formats:
            raise Refused(f"{figure}: a figure is written as one of {', '.join(formats)}. Choose one of these endings.")
