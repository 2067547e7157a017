"""`ase-dkl phonons`."""

from pathlib import Path
from typing import Annotated

import typer

from ase_dkl.cli.inputs import opened
from ase_dkl.cli.options import FixedCell, Follow, Json, Model, Overwrite, Pressure, Symmetry
from ase_dkl.cli.output import check_endings, deliver, print_table, save
from ase_dkl.cli.terminal import in_words
from ase_dkl.files import check_outputs
from ase_dkl.tables import rows_of, write_csv


@in_words
def phonons(
    model: Model,
    pressure: Pressure = 0.0,
    symmetry: Symmetry = True,
    fixed_cell: FixedCell = False,
    follow: Follow = False,
    strains: Annotated[
        bool, typer.Option("--grueneisen", help="How frequencies change with strains as well: Grüneisen tensors.")
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", "--plot", metavar="FILE.png", help="Draw the frequencies.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.csv", help="Write a table of all modes.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find the frequencies of vibrations at the Γ point, with their standard deviations, of a model of free ions.

    Ions vibrate about where lattice and ions are at rest, on a saddle where symmetry holds them there. Imaginary
    frequencies are negative.
    """
    check_endings(figure=figure, table=output)
    check_outputs(figure, output, inputs=[model], overwrite=overwrite)
    from ase_dkl.mechanics.grueneisen import grueneisen
    from ase_dkl.mechanics.phonons import phonons
    from ase_dkl.mechanics.structure import relaxed_structure
    from ase_dkl.model.accepted import as_ionic

    with opened(model) as (given, told):
        ionic = as_ionic(given)
        structure = relaxed_structure(
            ionic, pressure_GPa=pressure, symmetric=symmetry, fixed_cell=fixed_cell, saddle=True, follow=follow
        )
        found = phonons(ionic, structure=structure)
        changes = grueneisen(ionic, vibrations=found) if strains else None
    save(output, f"{len(found.frequencies_THz)} modes", lambda path: write_csv(path, rows_of(found.table())))
    if figure is not None:
        from ase_dkl.figures.phonons import phonons_figure

        save(figure, "Figure", phonons_figure(found, f"{ionic.crystal.formula}: vibrations at Γ").savefig)
    further = {} if changes is None else changes.record()
    deliver(found, f"{model}: vibrations at Γ", as_json=as_json, **further, warnings=told)
    if changes is not None and not as_json:
        print_table("\nGrüneisen tensors", changes.words())
