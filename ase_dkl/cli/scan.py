"""`ase-dkl scan`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_dkl.atomic import written_whole
from ase_dkl.cli.predict import as_csv, columns
from ase_dkl.cli.terminal import Json, Mistake, Model, check_writable, in_words, note, print_json

if TYPE_CHECKING:
    from ase_dkl.mechanics.scan import Scan

Along = StrEnum("Along", "a b c alpha beta gamma volume xx yy zz yz xz xy")
"""The values of `--along`; `ase_dkl.mechanics.scan` has the same, but is too heavy for a help text."""


@in_words
def scan(
    model: Model,
    along: Annotated[Along, typer.Option(help="Lattice parameter, volume, or strain component.", show_default=False)],
    bounds: Annotated[
        tuple[float, float],
        typer.Option(
            "--range",
            metavar="LO HI",
            help="Offsets from the reference: fractions for lengths, volume and strains (shears engineering), degrees "
            "for angles.",
            show_default=False,
        ),
    ],
    n: Annotated[int, typer.Option("-n", min=2, help="Number of points.")] = 41,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATABASE",
            help="Compare with the rows of this database that lie on the line (to a strain of 0.002).",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the scan.", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.csv", help="Write a table.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict along one lattice parameter, the volume or one strain, all else as in the reference."""
    import numpy as np

    from ase_dkl.dataset import Dataset
    from ase_dkl.mechanics.scan import points_on_line, scan_along
    from ase_dkl.surrogate import Surrogate

    low, high = bounds
    if not low < high:
        raise Mistake(f"--range {low:g} {high:g}: the first number must be the lower one.")
    _check_outputs(plot, output)
    surrogate = Surrogate.load(model)
    result = scan_along(surrogate, along.value, np.linspace(low, high, n))
    points = None
    if data is not None:
        rows = Dataset.read(data, reference=surrogate.crystal)
        points = points_on_line(surrogate, along.value, rows)
        note(f"{len(points.coordinate)} of {len(rows)} rows of {data} lie on the line.")
    table = _table(result)
    if output is not None:
        with written_whole(output) as path:
            path.write_text(as_csv(table), newline="")
        note(f"{n} points in {output}.")
    if plot is not None:
        from ase_dkl.plots import scan_figure

        title = f"{surrogate.crystal.formula} along {along.value}"
        with written_whole(plot) as path:
            scan_figure([result], [points], title).savefig(path)
        note(f"Figure in {plot}.")
    if as_json:
        print_json(_json(table, points))
    elif output is None and plot is None:
        typer.echo(as_csv(table), nl=False)


def _check_outputs(plot: Path | None, output: Path | None) -> None:
    if output is not None and output.suffix != ".csv":
        raise Mistake(f"{output}: a scan is written as .csv. Choose that ending.")
    if plot is not None:
        from matplotlib.backend_bases import FigureCanvasBase

        formats = sorted(FigureCanvasBase.get_supported_filetypes())
        if plot.suffix[1:] not in formats:
            raise Mistake(f"{plot}: a figure is written as one of {', '.join(formats)}. Choose one of these endings.")
    for path in (plot, output):
        if path is not None:
            check_writable(path)


def _table(scan: "Scan") -> list[dict[str, Any]]:
    from ase_dkl.mechanics.scan import ANGLES, LENGTHS

    units = dict.fromkeys(LENGTHS, "_A") | dict.fromkeys(ANGLES, "_deg") | {"volume": "_A3"}
    name = f"{scan.along}{units[scan.along]}" if scan.along in units else f"strain_{scan.along}"
    offset = "offset_deg" if scan.along in ANGLES else "offset"
    return [
        {
            name: float(scan.coordinate[i]),
            offset: float(scan.offsets[i]),
            **columns(scan.prediction, i),
            "outside_domain": bool(scan.outside[i]),
        }
        for i in range(len(scan.offsets))
    ]


def _json(table: list[dict[str, Any]], points: Any) -> dict[str, Any]:
    if points is None:
        return {"scan": table}
    name = next(iter(table[0]))
    data = zip(points.coordinate, points.energies, points.errors, strict=True)
    return {
        "scan": table,
        "data": [{name: float(x), "energy_eV": float(y), "error_meV": 1e3 * float(error)} for x, y, error in data],
    }
