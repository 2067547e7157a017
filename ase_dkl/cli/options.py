"""Options and arguments that several commands have."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

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
Ions = Annotated[
    Literal["clamped", "relaxed"] | None,
    typer.Option(
        help="Of a model of free ions: relaxed ions come to rest in every cell, clamped ones keep their fractional "
        "coordinates. By default relaxed; a model of lattices has those of its data.",
        show_default=False,
    ),
]
Follow = Annotated[
    bool, typer.Option("--follow", help="Where ions are at rest on a saddle, follow its unstable mode to a minimum.")
]
FixedCell = Annotated[bool, typer.Option("--fixed-cell", help="Keep the reference's cell, and relax ions alone.")]
DataIons = Annotated[
    Literal["auto", "clamped", "relaxed", "free"],
    typer.Option(
        "--ions",
        help="What ions do in the data: clamped keep their fractional coordinates, relaxed feel no forces, free are "
        "displaced and have forces. auto finds out.",
    ),
]
Mobile = Annotated[
    str | None,
    typer.Option(
        metavar="IONS",
        help="Which ions move, where they are free: indices of the first row's atoms, ranges, symbols, such as 8-11,O. "
        "By default those that do in the data.",
        show_default=False,
    ),
]
Match = Annotated[
    Literal["auto", "order", "sites"],
    typer.Option(
        help="Which atom is which: by the order of atoms, checked by bonds, as in flexible frameworks, or by sites. "
        "auto takes the order where sites do not do.",
    ),
]
