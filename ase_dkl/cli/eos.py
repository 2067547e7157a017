"""`ase-dkl eos`."""

from pathlib import Path
from typing import Annotated

import typer

from ase_dkl.cli.inputs import opened
from ase_dkl.cli.options import Follow, Ions, Json, Model, Overwrite, finite
from ase_dkl.cli.output import check_endings, deliver, save
from ase_dkl.cli.terminal import in_words
from ase_dkl.files import check_outputs
from ase_dkl.mechanics.forms import Kind
from ase_dkl.tables import rows_of, write_csv


@in_words
def eos(
    model: Model,
    kind: Annotated[Kind, typer.Option(help="The form that is fitted.")] = "birchmurnaghan",
    bounds: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range",
            metavar="LO HI",
            callback=finite,
            help="Changes of the volume, in fractions of the equilibrium's; by default from -0.08 to 0.08.",
            show_default=False,
        ),
    ] = None,
    ions: Ions = None,
    follow: Follow = False,
    n: Annotated[int, typer.Option("-n", min=5, help="Number of points.")] = 21,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the fit.", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.csv", help="Write a table of the points.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fit an equation of state around the equilibrium: V0, E0, B0 and B0' with their standard deviations.

    The cell is scaled without changing its shape. A sheet's equation of state is in its area.
    """
    check_endings(figure=plot, table=output)
    check_outputs(plot, output, inputs=[model], overwrite=overwrite)
    from ase_dkl.mechanics.eos import equation_of_state
    from ase_dkl.mechanics.ionic_lattice import with_ions

    with opened(model) as (surrogate, told):
        lattice = with_ions(surrogate, ions, follow=follow)
        found = equation_of_state(lattice, kind=kind, bounds=bounds, points=n)
    save(output, f"{n} points", lambda path: write_csv(path, rows_of(found.table())))
    if plot is not None:
        from ase_dkl.figures.eos import eos_figure

        save(plot, "Figure", eos_figure(found, f"{found.formula}: equation of state").savefig)
    title = f"{model}: {kind} equation of state, ions {lattice.crystal.ions}"
    deliver(found, title, as_json=as_json, ions=lattice.crystal.ions, warnings=told)
