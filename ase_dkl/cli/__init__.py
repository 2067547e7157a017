"""The command line. Each command lives in its module and imports what is heavy only when it runs."""

from typing import Annotated

import typer

from ase_dkl.cli.active import active
from ase_dkl.cli.benchmark import benchmark
from ase_dkl.cli.demo import demo
from ase_dkl.cli.elastic import elastic
from ase_dkl.cli.eos import eos
from ase_dkl.cli.evaluate import evaluate
from ase_dkl.cli.info import info
from ase_dkl.cli.options import Quiet, Verbose
from ase_dkl.cli.phonons import phonons
from ase_dkl.cli.predict import predict
from ase_dkl.cli.relax import relax
from ase_dkl.cli.report import report
from ase_dkl.cli.scan import scan
from ase_dkl.cli.terminal import Discreet
from ase_dkl.cli.train import train

app = typer.Typer(
    name="ase-dkl",
    cls=Discreet,
    help="Surrogates of strained crystals from DFT databases: energy, stress, and how sure they are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version
        from platform import python_version

        others = ", ".join(f"{name} {version(name)}" for name in ("ase", "numpy", "torch", "gpytorch"))
        typer.echo(f"ase-dkl {version('ase-dkl')} (Python {python_version()}, {others})")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """What holds for all commands."""
    del version, verbose, quiet


for command in (train, evaluate, predict, scan, eos, relax, elastic, phonons, report, info, demo, benchmark):
    app.command()(command)
app.add_typer(active)
