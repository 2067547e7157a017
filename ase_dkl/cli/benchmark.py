"""`ase-dkl benchmark`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ase_dkl.cli.options import Json, Overwrite, Trust
from ase_dkl.cli.output import print_json, print_rich
from ase_dkl.cli.terminal import bars, in_words, note
from ase_dkl.errors import Refused
from ase_dkl.files import check_outputs

if TYPE_CHECKING:
    from rich.table import Table

    from ase_dkl.benchmark.settings import Study


@in_words
def benchmark(
    study: Annotated[
        Path, typer.Argument(metavar="STUDY", help="A study's TOML file: data sets, methods, sizes, seeds.")
    ],
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="The table of results; without, the study's name with .csv, in the working directory.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Fits at a time, each with one thread.")] = 1,
    report: Annotated[
        bool, typer.Option("--report", help="Fit nothing: show tables of what there is, and write them with figures.")
    ] = False,
    overwrite: Overwrite = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Compare methods of getting energies with uncertainties, on the same rows of the same data sets.

    Interrupt it as you like: started again it does only the fits that the table has not. To have a failed one done
    again, take its row out of the table.
    """
    from ase_dkl.benchmark.report import numbers, tables, write_report
    from ase_dkl.benchmark.results import Results
    from ase_dkl.benchmark.settings import read_study

    described = read_study(study, trust=trust)
    path = results or Path(f"{described.name}.csv")
    files = (file for source in described.sources for file in (source.database, source.reference))
    check_outputs(path, inputs=[study, *files], overwrite=True)
    if report:
        folder = path.with_name(f"{path.stem}-report")
        if folder.exists() and not overwrite:
            raise Refused(f"{folder} exists already. Move it, or replace what is in it: --overwrite.")
        found = Results(path)
        shown = tables(described, found)
        if not as_json:
            _print(shown)
        note(f"In full, with figures: {write_report(described, found, folder)}")
    else:
        _run(described, path, workers)
        note(f"Results in {path}. For tables and figures: the same command with --report.")
    if as_json:
        print_json(numbers(described, Results(path)))


def _run(study: "Study", path: Path, workers: int) -> None:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from ase_dkl.benchmark.environment import environment
    from ase_dkl.benchmark.runner import run
    from ase_dkl.benchmark.worker import Task

    note(environment())
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}"),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=3600, disable=not bars()) as bar:
        shown = bar.add_task("", total=None, last="reading the data")

        def told(task: Task, error: str | None) -> None:
            bar.update(shown, advance=1, last=str(task))
            if error is not None:
                bar.console.print(f"Failed: {task}: {error}", style="yellow", highlight=False, markup=False)
            elif not bar.console.is_terminal:
                note(f"Done: {task}")

        try:
            run(study, path, workers=workers, begun=lambda tasks: bar.update(shown, total=tasks), told=told)
        except KeyboardInterrupt:
            bar.stop()
            note(f"\nInterrupted. {path} has every fit that had ended; the same command goes on from there.")
            raise typer.Exit(130) from None


def _print(tables: "list[Table]") -> None:
    print_rich(*tables, width=None if sys.stdout.isatty() else 200)
