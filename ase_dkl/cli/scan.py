"""`ase-dkl scan`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ase_dkl.addresses import display_name
from ase_dkl.cli.inputs import opened, paths_of
from ase_dkl.cli.options import Follow, Ions, Json, Model, Overwrite, Pbc, finite
from ase_dkl.cli.output import check_endings, deliver, save
from ase_dkl.cli.terminal import bars, in_words, note
from ase_dkl.errors import Refused
from ase_dkl.files import check_outputs
from ase_dkl.mechanics.paths import ALONG
from ase_dkl.tables import as_csv, rows_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ase_dkl.arrays import Floats
    from ase_dkl.dataset import Dataset
    from ase_dkl.mechanics.grid import Grid
    from ase_dkl.mechanics.points import Points
    from ase_dkl.mechanics.scan import Scan
    from ase_dkl.model.lattice_energy import LatticeEnergy

WHAT = ", ".join(ALONG).replace("area", "area (of a sheet)")


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
    ions: Ions = None,
    follow: Follow = False,
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

    if (across is None) != (across_bounds is None):
        raise Refused("A map takes both --across and --across-range; a line takes neither.")
    offsets = [np.linspace(*_ordered("--range", bounds), n)]
    if across_bounds is not None:
        offsets.append(np.linspace(*_ordered("--across-range", across_bounds), n))
    check_endings(figure=plot, table=output)
    check_outputs(plot, output, inputs=[model, *paths_of([data] if data else [])], overwrite=overwrite)
    from ase_dkl.mechanics.ionic_lattice import with_ions

    with opened(model) as (given, told):
        surrogate = with_ions(given, ions, follow=follow)
        if data is not None and given.crystal.ions == "free":
            raise Refused("--data compares with strained lattices; rows of free ions are none. Leave it out.")
        if stress is None:
            stress = across is None and (as_json or output is not None or plot is None) and _has_volume(surrogate)
        rows = None
        if data is not None:
            rows = Dataset.read(data, reference=surrogate.crystal, pbc=pbc, stress=False, progress=bars())
        directions = (along,) if across is None else (along, across)
        result, points = _scanned(surrogate, directions, offsets, stress, rows)
    if rows is not None and points is not None:
        where = "line" if across is None else "plane"
        note(f"{len(points.energies)} of {len(rows)} rows of {display_name(str(data))} lie on the {where}.")
    if output is not None:
        result.to_csv(output)
        note(f"{result.outside.size} points in {output}.")
    if plot is not None:
        save(plot, "Figure", _figure(result, points).savefig)
    table = "" if output or plot else as_csv(rows_of(result.table()))
    further = {} if points is None else {"data": rows_of(points.table(result.coordinate_names))}
    words = partial(typer.echo, table, nl=False)
    deliver(result, "", as_json=as_json, words=words, **further, warnings=told)


def _scanned(
    surrogate: "LatticeEnergy", along: tuple[str, ...], offsets: "list[Floats]", stress: bool, rows: "Dataset | None"
) -> "tuple[Scan | Grid, Points | None]":
    from ase_dkl.mechanics.grid import scan_grid
    from ase_dkl.mechanics.points import points_on_line, points_on_plane
    from ase_dkl.mechanics.scan import scan_along

    if len(along) == 1:
        line = scan_along(surrogate, along[0], offsets[0], stress=stress)
        return line, None if rows is None else points_on_line(surrogate, along[0], rows)
    plane, axes = (along[0], along[1]), (offsets[0], offsets[1])
    grid = scan_grid(surrogate, plane, axes, stress=stress)
    return grid, None if rows is None else points_on_plane(surrogate, plane, rows)


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


def _has_volume(surrogate: "LatticeEnergy") -> bool:
    from ase_dkl.crystal.lattice import volumes

    if volumes(surrogate.crystal.cell) > 0:
        return True
    note("The vacuum vector is zero, so that there is no volume to refer a stress to: energies alone.")
    return False
