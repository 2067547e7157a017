"""`ase-dkl elastic`."""

from dataclasses import asdict
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_dkl.atomic import written_whole
from ase_dkl.cli.terminal import (
    Json,
    Mistake,
    Model,
    check_outputs,
    in_words,
    note,
    plus_minus,
    print_json,
    print_table,
    warnings_told,
)

if TYPE_CHECKING:
    from ase_dkl.arrays import Floats
    from ase_dkl.mechanics.elastic import ElasticConstants
    from ase_dkl.mechanics.equilibrium import Equilibrium
    from ase_dkl.surrogate import Surrogate

CONVENTION = (
    "C_GPa: stress-strain coefficients (Wallace) of the Cauchy stress at sigma = -P, by which stability is judged; "
    "lagrangian_GPa: second derivatives of the energy by the Lagrangian strain over the volume. Voigt order xx yy zz "
    "yz xz xy, shears engineering, Cartesian frame of IEEE Standard 176 (1987)"
)
SHEET_CONVENTION = (
    "C_N_per_m: second derivatives of the energy by the strain over the area. Order xx yy xy, shear engineering, the "
    "sheet in the xy plane with its first periodic vector along x"
)
_AVERAGED = {
    "bulk_modulus_GPa": ("bulk modulus", "GPa"),
    "shear_modulus_GPa": ("shear modulus", "GPa"),
    "young_modulus_GPa": ("Young's modulus", "GPa"),
    "poisson_ratio": ("Poisson's ratio", ""),
    "universal_anisotropy": ("universal anisotropy", ""),
}


@in_words
def elastic(
    model: Model,
    pressure: Annotated[float, typer.Option(metavar="GPA", help="Hydrostatic pressure, GPa.")] = 0.0,
    symmetry: Annotated[bool, typer.Option(help="Keep the symmetry of the reference crystal.")] = True,
    third_order: Annotated[
        bool, typer.Option("--third-order", help="Third-order constants at no pressure as well, and dC/dP at P.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw Young's modulus along every direction.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find elastic constants at the equilibrium lattice, the moduli of a polycrystal, and whether it is stable.

    For a sheet or slab the constants are those in its plane, in N/m.
    """
    check_outputs(plot, None)
    from ase_dkl.surrogate import Surrogate

    surrogate = Surrogate.load(model)
    if len(surrogate.crystal.periodic) == 2:
        if pressure or third_order or plot is not None:
            raise Mistake(
                f"{model} is a model of a sheet or slab: --pressure, --third-order and --plot are for bulk crystals. "
                "Leave them out."
            )
        _sheet(model, surrogate, symmetry, as_json)
    else:
        _bulk(model, surrogate, pressure, symmetry, third_order, plot, as_json)


def _bulk(
    model: Path,
    surrogate: "Surrogate",
    pressure: float,
    symmetry: bool,
    third_order: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    from ase_dkl.mechanics.elastic import elastic_constants
    from ase_dkl.mechanics.moduli import Moduli, NotStiff, moduli
    from ase_dkl.mechanics.stability import stability

    further: dict[str, Any] = {}
    with warnings_told() as told:
        found = elastic_constants(surrogate, pressure_GPa=pressure, symmetric=symmetry)
        if third_order:
            further = _third_order(surrogate, pressure, symmetry)
    judged = stability(found.C_GPa, found.covariance)
    try:
        averaged: dict[str, float | None] = asdict(moduli(found.C_GPa, found.covariance))
    except NotStiff as reason:
        averaged = dict.fromkeys(Moduli.__dataclass_fields__)
        told.append(str(reason))
        note(f"Warning: {reason}")
    if plot is not None:
        _draw(plot, surrogate, found, stiff=averaged["bulk_modulus_GPa"] is not None)
    if as_json:
        print_json(
            {
                "C_GPa": found.C_GPa.tolist(),
                "C_GPa_std": found.C_std_GPa.tolist(),
                "lagrangian_GPa": found.lagrangian_GPa.tolist(),
                "lagrangian_GPa_std": found.C_std_GPa.tolist(),
                **averaged,
                "stable_probability": judged.stable_probability,
                "stable_probability_std": judged.stable_probability_std,
                "smallest_eigenvalue_GPa": judged.smallest_eigenvalue_GPa,
                "smallest_eigenvalue_GPa_std": judged.smallest_eigenvalue_GPa_std,
                **further,
                **_about(surrogate, found.equilibrium),
                "convention": CONVENTION,
                "warnings": told,
            }
        )
        return
    title = f"{model}: ∂σ/∂ε at {pressure:g} GPa (GPa), ions {found.ions}"
    _print_matrix(title, found.C_GPa, found.C_std_GPa, ("xx", "yy", "zz", "yz", "xz", "xy"))
    rows = {
        label: plus_minus(value, std, unit)
        for name, (label, unit) in _AVERAGED.items()
        if (value := averaged[name]) is not None and (std := averaged[f"{name}_std"]) is not None
    }
    rows["smallest eigenvalue"] = plus_minus(judged.smallest_eigenvalue_GPa, judged.smallest_eigenvalue_GPa_std, "GPa")
    rows["probability of stability"] = f"{judged.stable_probability:.4f} ± {judged.stable_probability_std:.4f}"
    print_table("\nPolycrystal (Hill) and stability", rows | _lattice_rows(found.equilibrium))
    if third_order:
        _print_third_order(further)


def _third_order(surrogate: "Surrogate", pressure: float, symmetry: bool) -> dict[str, Any]:
    from ase_dkl.mechanics.third_order import pressure_derivatives, third_order_constants

    third = third_order_constants(surrogate, symmetric=symmetry)
    along = pressure_derivatives(surrogate, pressure_GPa=pressure, symmetric=symmetry)
    return {
        "third_order_GPa": third.C_GPa.tolist(),
        "third_order_GPa_std": third.C_std_GPa.tolist(),
        "dC_dP": along.dC_dP.tolist(),
        "dC_dP_std": along.dC_dP_std.tolist(),
    }


def _sheet(model: Path, surrogate: "Surrogate", symmetry: bool, as_json: bool) -> None:
    from ase_dkl.mechanics.sheet import sheet_constants
    from ase_dkl.mechanics.stability import stable_probability

    with warnings_told() as told:
        found = sheet_constants(surrogate, symmetric=symmetry)
    probability, error = stable_probability(found.C_N_per_m, found.covariance)
    if as_json:
        print_json(
            {
                "C_N_per_m": found.C_N_per_m.tolist(),
                "C_N_per_m_std": found.C_std_N_per_m.tolist(),
                "young_moduli_N_per_m": found.young_moduli_N_per_m.tolist(),
                "young_moduli_N_per_m_std": found.young_moduli_std_N_per_m.tolist(),
                "shear_modulus_N_per_m": found.shear_modulus_N_per_m,
                "shear_modulus_N_per_m_std": found.shear_modulus_std_N_per_m,
                "area_modulus_N_per_m": found.area_modulus_N_per_m,
                "area_modulus_N_per_m_std": found.area_modulus_std_N_per_m,
                "poisson_ratio": found.poisson_ratio,
                "poisson_ratio_std": found.poisson_ratio_std,
                "stable_probability": probability,
                "stable_probability_std": error,
                **_about(surrogate, found.equilibrium),
                "convention": SHEET_CONVENTION,
                "warnings": told,
            }
        )
        return
    title = f"{model}: elastic constants of the sheet (N/m), ions {found.ions}"
    _print_matrix(title, found.C_N_per_m, found.C_std_N_per_m, ("xx", "yy", "xy"))
    young = zip("xy", found.young_moduli_N_per_m.tolist(), found.young_moduli_std_N_per_m.tolist(), strict=True)
    rows = {f"Young's modulus along {axis}": plus_minus(value, std, "N/m") for axis, value, std in young}
    rows["shear modulus"] = plus_minus(found.shear_modulus_N_per_m, found.shear_modulus_std_N_per_m, "N/m")
    rows["area modulus"] = plus_minus(found.area_modulus_N_per_m, found.area_modulus_std_N_per_m, "N/m")
    rows["Poisson's ratio"] = plus_minus(found.poisson_ratio, found.poisson_ratio_std)
    rows["probability of stability"] = f"{probability:.4f} ± {error:.4f}"
    print_table("\nModuli and stability", rows | _lattice_rows(found.equilibrium))


def _about(surrogate: "Surrogate", found: "Equilibrium") -> dict[str, Any]:
    crystal = surrogate.crystal
    return {
        "lattice_parameters": dict(zip(found.names, found.lattice_parameters.tolist(), strict=True)),
        "lattice_parameters_std": dict(zip(found.names, found.lattice_parameters_std.tolist(), strict=True)),
        "cell": found.cell.tolist(),
        "pressure_GPa": found.pressure_GPa,
        "formula": crystal.formula,
        "space_group": crystal.space_group,
        "ions": crystal.ions,
        "outside_domain": found.outside,
    }


def _lattice_rows(found: "Equilibrium") -> dict[str, str]:
    parameters = zip(found.names, found.lattice_parameters, found.lattice_parameters_std, strict=True)
    return {name: plus_minus(value, std, "Å" if len(name) == 1 else "°") for name, value, std in parameters}


def _print_matrix(title: str, values: "Floats", std: "Floats", names: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("", *names):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row, row_std in zip(names, values.tolist(), std.tolist(), strict=True):
        # Side by side, six constants with error bars are too wide for a terminal.
        table.add_row(name, *(_entry(*pair).replace(" ±", "\n±") for pair in zip(row, row_std, strict=True)))
    Console().print(table)


def _print_third_order(further: dict[str, Any]) -> None:
    import numpy as np

    for title, quantity, symbol, order in (
        ("C_ijk (GPa)", "third_order_GPa", "C{}", 3),
        ("dC_ij/dP", "dC_dP", "dC{}/dP", 2),
    ):
        values, std = np.array(further[quantity]), np.array(further[f"{quantity}_std"])
        rows = {
            symbol.format("".join(str(i + 1) for i in indices)): _entry(float(values[indices]), float(std[indices]))
            for indices in combinations_with_replacement(range(6), order)
        }
        print_table(f"\n{title}", {name: words for name, words in rows.items() if words != "0"})


def _entry(value: float, std: float) -> str:
    """A constant and its error bar; what symmetry makes zero but for rounding is 0."""
    return "0" if max(abs(value), std) < 1e-6 else plus_minus(value, std)


def _draw(plot: Path, surrogate: "Surrogate", found: "ElasticConstants", *, stiff: bool) -> None:
    from ase_dkl.plots_elastic import young_modulus_figure

    if not stiff:
        note("No figure: a crystal that is not stable has no Young's modulus.")
        return
    title = f"{surrogate.crystal.formula} at {found.equilibrium.pressure_GPa:g} GPa"
    with written_whole(plot) as path:
        young_modulus_figure(found.C_GPa, found.covariance, title).savefig(path)
    note(f"Figure in {plot}.")
