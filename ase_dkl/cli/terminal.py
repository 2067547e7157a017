"""How commands speak: what is refused and what is noted in words, on stderr."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, ParamSpec

import typer
from typer.core import TyperGroup

from ase_dkl.addresses import without_secrets
from ase_dkl.cli.encoding import write_in_any_encoding
from ase_dkl.cli.options import Quiet, Verbose
from ase_dkl.errors import Refused, warnings_in_words

P = ParamSpec("P")

UsageError: Any = typer.BadParameter.__base__  # of click, which typer brings along under a name of its own
log = logging.getLogger("ase_dkl")


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
            except BrokenPipeError:
                raise  # whoever read has seen enough, and click ends without a word
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
    try:
        with warnings_in_words() as told:
            yield told
    finally:
        for words in told:
            warn(words)
