"""What the commands share: mistakes told in words, and JSON alone on stdout."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import math
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, ParamSpec

import typer
from typer.core import TyperGroup

from ase_dkl.addresses import without_secrets
from ase_dkl.cli.encoding import write_in_any_encoding
from ase_dkl.errors import Refused

if TYPE_CHECKING:
    from rich.console import RenderableType

P = ParamSpec("P")

UsageError: Any = typer.BadParameter.__base__  # of click, which typer brings along under a name of its own
log = logging.getLogger("ase_dkl")

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file, as written by train.")]
Databases = Annotated[
    list[str],
    typer.Argument(
        metavar="DATABASE",
        help="Labelled structures: ASE databases, files ASE reads (runs/*/OUTCAR), directories of runs, - for stdin.",
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Run the code that the file names, also where it is not ASE's or ase_dkl's.")
]


Stress = Annotated[
    Literal["auto", "ignore"], typer.Option(help="ignore: compare energies alone, and do not even read stresses.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
Select = Annotated[
    str | None,
    typer.Option(
        metavar="Q",
        help="Use only the rows of this ase.db query, e.g. 'set=pool,index<64'.",
        show_default=False,
    ),
]


def finite(value: Any) -> Any:
    """For options that take numbers: refuse infinity and NaN."""
    for number in value if isinstance(value, tuple) else (value,):
        if number is not None and not math.isfinite(number):
            raise typer.BadParameter(f"{number} is not a finite number.")
    return value


Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Say more on stderr: what is done and how long it takes.")
]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="No notes and no progress bars on stderr; warnings and errors stay.")
]


def axes(value: str | None) -> str | None:
    """For --pbc: refuse what names no axes."""
    if value is not None:
        from ase_dkl.crystal.periodicity import periodic_axes

        try:
            periodic_axes(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return value


Pbc = Annotated[
    str | None,
    typer.Option(
        metavar="TTF",
        callback=axes,
        help="Which axes of the structures are periodic, whatever their file says: TTF for a sheet, TFF for a chain.",
        show_default=False,
    ),
]
Pressure = Annotated[float, typer.Option(metavar="GPA", callback=finite, help="Hydrostatic pressure, GPa.")]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace what is written to where it exists. What is read, labels that ase-dkl did not predict, and "
        "models (but by models) are never replaced.",
    ),
]
Append = Annotated[bool, typer.Option("--append", help="Add rows to the ASE database (.db) that is written to.")]
Symmetry = Annotated[bool, typer.Option(help="Keep the symmetry of the reference crystal.")]


def in_words(command: Callable[P, None]) -> Callable[P, None]:
    """Make a command end with a message on stderr and exit status 1 where its user made a mistake.

    The command gets --verbose and --quiet, which may also stand before its name.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        above = kwargs.pop("context").find_root().params  # type: ignore[attr-defined]
        verbose, quiet = (bool(kwargs.pop(name) or above.get(name)) for name in ("verbose", "quiet"))
        with heard(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO):
            began = time.perf_counter()
            try:
                command(*args, **kwargs)
                log.debug(f"{command.__name__}: {time.perf_counter() - began:.1f} s")
            except (Refused, OSError) as error:
                given = list(_texts([*args, *kwargs.values()]))
                log.debug(without_secrets(traceback.format_exc(), given))
                log.error(without_secrets(_words(error), given))
                raise typer.Exit(1) from None

    signature = inspect.signature(command)
    more = [
        inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Verbose),
        inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet),
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
    ]
    vars(wrapped)["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), *more])
    return wrapped


class Discreet(TyperGroup):
    """Commands that do not repeat a password where they cannot make sense of what was given."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and write whatever the terminal's encoding is."""
        write_in_any_encoding()
        return super().main(*args, **kwargs)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep what is given."""
        ctx.meta["given"] = [*args, *(arg.partition("=")[2] for arg in args if arg.startswith("-"))]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is named."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            error.message = without_secrets(error.message, ctx.meta["given"])
            raise


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _texts(value)
        elif isinstance(value, str | Path):
            yield from (str(value), *map(str, Path(value).parents))


class _Stderr(logging.Handler):
    """Lines on whatever stderr is at the time."""

    _LOOKS: ClassVar[dict[int, tuple[str, str | None]]] = {
        logging.ERROR: ("Error: ", typer.colors.RED),
        logging.WARNING: ("Warning: ", typer.colors.YELLOW),
        logging.DEBUG: ("", typer.colors.BRIGHT_BLACK),
    }

    def emit(self, record: logging.LogRecord) -> None:
        prefix, colour = self._LOOKS.get(record.levelno, ("", None))
        typer.secho(prefix + self.format(record), file=sys.stderr, fg=colour)


@contextmanager
def heard(level: int) -> Iterator[None]:
    """What the package's logger says from a level on is on stderr while the block lasts."""
    handler, before = _Stderr(), log.level
    log.addHandler(handler)
    log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}."
    return str(error)


def note(text: str) -> None:
    """Say something on stderr, where it never mixes with results, unless the user wants it quiet."""
    log.info(text)


def warn(text: str) -> None:
    """Say on stderr what may make a result wrong."""
    log.warning(text)


def bars() -> bool:
    """Whether progress bars are wanted."""
    return log.isEnabledFor(logging.INFO)


@contextmanager
def warnings_told() -> Iterator[list[str]]:
    """Tell the library's warnings in words on stderr when the block ends; the list then holds them, for JSON."""
    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield told
    for each in caught:
        if not issubclass(each.category, UserWarning):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        elif str(each.message) not in told:
            told.append(str(each.message))
            warn(str(each.message))


def print_json(value: Any) -> None:
    """Print strict JSON: no NaN."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False), file=sys.stdout)


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
