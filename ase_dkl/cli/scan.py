"""`ase-dkl scan`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_dkl.addresses import display_name
from ase_dkl.cli.inputs import paths_of
from ase_dkl.cli.terminal import (
    Json,
    Model,
    Overwrite,
    Pbc,
    bars,
    check_endings,
    finite,
    in_words,
    note,
    print_json,
    warnings_told,
)
from ase_dkl.crystal.lattice import volumes
from ase_dkl.errors import Refused
from ase_dkl.files import check_outputs, written_whole
from ase_dkl.tables import as_csv, rows_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ase_dkl.dataset import Dataset
    from ase_dkl.mechanics.grid import Grid
    from ase_dkl.mechanics.points import Points
    from ase_dkl.mechanics.scan import Scan
    from ase_dkl.model.surrogate import Surrogate

WHAT = "a, b, c, alpha, beta, gamma, volume, area (of a sheet), xx, yy, zz, yz, xz, xy"


@in_words
def scan(
    model: Model,
    along: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help=f"{WHAT}, or any strain such as xx=1,yy=-0.5,xy=0.2, times --range.",
            show_default=False,
        ),
    ],
    bounds: Annotated[
        tuple[float, float],
        typer.Option(
            "--range",
            metavar="LO HI",
            callback=finite,
            help="Offsets from the reference: fractions for lengths, area, volume and strains (shears engineering), "
            "degrees for angles.",
            show_default=False,
        ),
    ],
    across: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="A second direction, for a map: two lattice parameters (one may be the volume), or two strains.",
            show_default=False,
        ),
    ] = None,
    across_bounds: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--across-range",
            metavar="LO HI",
            callback=finite,
            help="Offsets in that direction.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=2, help="Number of points, each way.")] = 41,
    stress: Annotated[
        bool | None,
        typer.Option(
            "--stress/--no-stress",
            help="Stresses in the table; by default along a line, not for a map.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATABASE",
            help="Compare with the rows of this database that lie on the line or plane (to a strain of 0.002).",
            show_default=False,
        ),
    ] = None,
    pbc: Pbc = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the scan.", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.csv", help="Write a table.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Predict along a lattice parameter, the volume or a strain, or over a map of two; all else as in the reference."""
    import numpy as np

    from ase_dkl.dataset import Dataset
    from ase_dkl.model.surrogate import Surrogate
    from ase_dkl.model.verdict import warn_of

    if (across is None) != (across_bounds is None):
        raise Refused("A map takes both --across and --across-range; a line takes neither.")
    offsets = np.linspace(*_ordered("--range", bounds), n)
    check_endings(figure=plot, table=output)
    check_outputs(plot, output, inputs=[model, *paths_of([data] if data else [])], overwrite=overwrite)
    surrogate = Surrogate.load(model)
    if stress is None:
        stress = across is None and (as_json or output is not None or plot is None) and _has_volume(surrogate)
    rows = (
        None
        if data is None
        else Dataset.read(data, reference=surrogate.crystal, pbc=pbc, stress=False, progress=bars())
    )
    result: Scan | Grid
    with warnings_told() as told:
        warn_of(surrogate)
        if across is None or across_bounds is None:
            result, points = _line(surrogate, along, offsets, stress, rows)
        else:
            across_offsets = np.linspace(*_ordered("--across-range", across_bounds), n)
            result, points = _map(surrogate, (along, across), (offsets, across_offsets), stress, rows)
    if rows is not None and points is not None:
        where = "line" if across is None else "plane"
        note(f"{len(points.energies)} of {len(rows)} rows of {display_name(str(data))} lie on the {where}.")
    if output is not None:
        result.to_csv(output)
        note(f"{result.outside.size} points in {output}.")
    if plot is not None:
        with written_whole(plot) as path:
            _figure(result, points).savefig(path)
        note(f"Figure in {plot}.")
    if as_json:
        print_json({**_json(result, points), "warnings": told})
    elif output is None and plot is None:
        typer.echo(as_csv(rows_of(result.table())), file=sys.stdout, nl=False)


def _line(
    surrogate: "Surrogate", along: str, offsets: Any, stress: bool, rows: "Dataset | None"
) -> "tuple[Scan, Points | None]":
    from ase_dkl.mechanics.scan import points_on_line, scan_along

    result = scan_along(surrogate, along, offsets, stress=stress)
    return result, None if rows is None else points_on_line(surrogate, along, rows)


def _map(
    surrogate: "Surrogate", along: tuple[str, str], offsets: Any, stress: bool, rows: "Dataset | None"
) -> "tuple[Grid, Points | None]":
    from ase_dkl.mechanics.grid import scan_grid
    from ase_dkl.mechanics.points import points_on_plane

    result = scan_grid(surrogate, along, offsets, stress=stress)
    return result, None if rows is None else points_on_plane(surrogate, along, rows)


def _figure(result: "Scan | Grid", points: "Points | None") -> "Figure":
    from ase_dkl.figures.plots import grid_figure, scan_figure
    from ase_dkl.mechanics.scan import Scan

    formula = result.surrogate.crystal.formula
    if isinstance(result, Scan):
        return scan_figure([result], [points], f"{formula} along {result.along}")
    return grid_figure(result, points, f"{formula}: {result.along[0]} and {result.along[1]}")


def _ordered(option: str, bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if not low < high:
        raise Refused(f"{option} {low:g} {high:g}: the first number must be the lower one.")
    return bounds


def _has_volume(surrogate: "Surrogate") -> bool:

    if volumes(surrogate.crystal.cell) > 0:
        return True
    note("The vacuum vector is zero, so that there is no volume to refer a stress to: energies alone.")
    return False


def _json(result: "Scan | Grid", points: "Points | None") -> dict[str, Any]:
    if points is None:
        return {"scan": rows_of(result.table())}
    labels = [
        {
            **dict(zip(result.coordinate_names, at, strict=True)),
            "energy_eV": float(energy),
            "error_meV": 1e3 * float(error),
        }
        for at, energy, error in zip(
            points.coordinate.reshape(len(points.energies), -1).tolist(), points.energies, points.errors, strict=True
        )
    ]
    return {"scan": rows_of(result.table()), "data": labels}
