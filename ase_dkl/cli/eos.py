"""`ase-dkl eos`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_dkl.cli.terminal import (
    Json,
    Model,
    Overwrite,
    check_endings,
    finite,
    in_words,
    note,
    print_json,
    print_table,
    warnings_told,
)
from ase_dkl.files import check_outputs, written_whole
from ase_dkl.mechanics.forms import Kind
from ase_dkl.tables import as_csv, rows_of
from ase_dkl.wording import number, of_state

if TYPE_CHECKING:
    from ase_dkl.arrays import Floats
    from ase_dkl.mechanics.eos import EquationOfState


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
    from ase_dkl.model.surrogate import Surrogate
    from ase_dkl.model.verdict import warn_of

    surrogate = Surrogate.load(model)
    with warnings_told() as told:
        warn_of(surrogate)
        result = equation_of_state(surrogate, kind=kind, bounds=bounds, points=n)
    if output is not None:
        with written_whole(output) as path:
            path.write_text(as_csv(rows_of(_columns(result))), encoding="utf-8", newline="")
        note(f"{n} points in {output}.")
    if plot is not None:
        from ase_dkl.figures.eos import eos_figure

        with written_whole(plot) as path:
            eos_figure(result, f"{surrogate.crystal.formula}: equation of state").savefig(path)
        note(f"Figure in {plot}.")
    if as_json:
        print_json({**_json(result), "warnings": told})
    else:
        missed = {"surrogate from the fit, RMS": f"{number(result.residual_meV, 3)} meV per cell"}
        print_table(f"{model}: {kind} equation of state", of_state(result) | missed)


def _json(result: "EquationOfState") -> dict[str, Any]:
    quantities = zip(result.names, result.values.tolist(), result.std.tolist(), strict=True)
    return {
        **{key: number for name, value, std in quantities for key, number in ((name, value), (f"{name}_std", std))},
        "kind": result.form.kind,
        "residual_meV": result.residual_meV,
        "names": list(result.names),
        "correlation": result.correlation.tolist(),
    }


def _columns(result: "EquationOfState") -> "dict[str, Floats]":
    import numpy as np
    from ase.units import GPa, J, m

    bulk = result.names[0] == "V0_A3"
    size, pressure_name, unit = (
        ("volume_A3", "pressure_GPa", GPa) if bulk else ("area_A2", "tension_N_per_m", -J / m**2)
    )
    fitted, fitted_std = result.curve(result.volumes)
    pressure, pressure_std = result.pressure(result.volumes)
    return {
        size: result.volumes,
        "energy_eV": result.energies,
        "energy_uncertainty_eV": np.sqrt(np.diagonal(result.energies_covariance)),
        "fit_eV": fitted,
        "fit_std_eV": fitted_std,
        pressure_name: pressure / unit,
        f"{pressure_name}_std": pressure_std / abs(unit),
    }
