"""`ase-dkl elastic`."""

import sys
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_dkl.cli.output import lattice_record
from ase_dkl.cli.terminal import (
    Json,
    Model,
    Overwrite,
    Pressure,
    Symmetry,
    check_endings,
    in_words,
    note,
    print_json,
    print_rich,
    print_table,
    warn,
    warnings_told,
)
from ase_dkl.errors import Refused
from ase_dkl.files import check_outputs, written_whole
from ase_dkl.wording import (
    NOT_KNOWN,
    of_born_conditions,
    of_chain,
    of_equilibrium,
    of_moduli,
    of_probability,
    of_sheet,
    of_stability,
    of_undetermined,
    plus_minus,
)

if TYPE_CHECKING:
    from ase_dkl.arrays import Floats
    from ase_dkl.mechanics.elastic import ElasticConstants
    from ase_dkl.model.surrogate import Surrogate

CONVENTION = (
    "C_GPa: stress-strain coefficients (Wallace) of the Cauchy stress at sigma = -P, by which stability is judged; "
    "lagrangian_GPa: second derivatives of the energy by the Lagrangian strain over the volume. Voigt order xx yy zz "
    "yz xz xy, shears engineering, Cartesian frame of IEEE Standard 176 (1987)"
)
SHEET_CONVENTION = (
    "C_N_per_m: second derivatives of the energy by the strain over the area. Order xx yy xy, shear engineering, the "
    "sheet in the xy plane with its first periodic vector along x"
)
CHAIN_CONVENTION = "stiffness_nN: L times the second derivative of the energy by the length L"
STRAINS = ("xx", "yy", "zz", "yz", "xz", "xy")
JUDGED = (
    "stable_probability",
    "stable_probability_std",
    "smallest_eigenvalue_GPa",
    "smallest_eigenvalue_GPa_std",
)


@in_words
def elastic(
    model: Model,
    pressure: Pressure = 0.0,
    symmetry: Symmetry = True,
    third_order: Annotated[
        bool, typer.Option("--third-order", help="Third-order constants at no pressure as well, and dC/dP at P.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw Young's modulus along every direction.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find elastic constants at the equilibrium lattice, the moduli of a polycrystal, and whether it is stable.

    For a sheet or slab the constants are those in its plane, in N/m; for a chain its stiffness, in nN.
    """
    check_endings(figure=plot)
    check_outputs(plot, inputs=[model], overwrite=overwrite)
    from ase_dkl.model.surrogate import Surrogate

    surrogate = Surrogate.load(model)
    periodic = len(surrogate.crystal.periodic)
    if periodic == 3:
        _bulk(model, surrogate, pressure, symmetry, third_order, plot, as_json)
    elif pressure or third_order or plot is not None:
        raise Refused(
            f"{model} is a model of a {'sheet or slab' if periodic == 2 else 'chain'}: --pressure, --third-order and "
            "--plot are for bulk crystals. Leave them out."
        )
    elif periodic == 2:
        _sheet(model, surrogate, symmetry, as_json)
    else:
        _chain(model, surrogate, as_json)


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
    from ase_dkl.mechanics.frame import laue_class
    from ase_dkl.mechanics.moduli import Moduli, NotStiff, moduli
    from ase_dkl.mechanics.stability import BornCondition, Stability, born_conditions, stability
    from ase_dkl.model.verdict import warn_of

    further: dict[str, Any] = {}
    with warnings_told() as told:
        warn_of(surrogate)
        found = elastic_constants(surrogate, pressure_GPa=pressure, symmetric=symmetry)
        if third_order:
            further = _third_order(surrogate, pressure, symmetry)
    judged: Stability | None = None
    conditions: tuple[BornCondition, ...] = ()
    averages: Moduli | None = None
    if found.undetermined:
        _warn(told, of_undetermined(found.undetermined))
    else:
        judged = stability(found.C_GPa, found.covariance)
        laue = laue_class(surrogate.crystal, found.equilibrium.cell)
        conditions = born_conditions(found.C_GPa, found.covariance, laue)
        try:
            averages = moduli(found.C_GPa, found.covariance)
        except NotStiff as reason:
            _warn(told, str(reason))
    if plot is not None:
        _draw(plot, surrogate, found, stiff=averages is not None)
    if as_json:
        print_json(
            {
                "C_GPa": found.C_GPa.tolist(),
                "C_GPa_std": found.C_std_GPa.tolist(),
                "lagrangian_GPa": found.lagrangian_GPa.tolist(),
                "lagrangian_GPa_std": found.C_std_GPa.tolist(),
                **(dict.fromkeys(Moduli.__dataclass_fields__) if averages is None else averages.to_dict()),
                **{name: None if judged is None else getattr(judged, name) for name in JUDGED},
                "born_conditions": [each.to_dict() for each in conditions],
                "undetermined": list(found.undetermined),
                **further,
                **lattice_record(surrogate.crystal, found.equilibrium),
                "convention": CONVENTION,
                "warnings": told,
            }
        )
        return
    title = f"{model}: ∂σ/∂ε at {pressure:g} GPa (GPa), ions {found.ions}"
    _print_matrix(title, found.C_GPa, found.C_std_GPa, found.undetermined)
    rows = {} if averages is None else of_moduli(averages)
    rows |= {} if judged is None else of_stability(judged) | of_born_conditions(conditions)
    rows |= of_equilibrium(found.equilibrium)
    print_table("\nPolycrystal (Hill), stability and lattice", rows)
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
    from ase_dkl.model.verdict import warn_of

    with warnings_told() as told:
        warn_of(surrogate)
        found = sheet_constants(surrogate, symmetric=symmetry)
    if found.undetermined:
        _warn(told, of_undetermined(found.undetermined))
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
                "undetermined": list(found.undetermined),
                **lattice_record(surrogate.crystal, found.equilibrium),
                "convention": SHEET_CONVENTION,
                "warnings": told,
            }
        )
        return
    title = f"{model}: elastic constants of the sheet (N/m), ions {found.ions}"
    _print_matrix(title, found.C_N_per_m, found.C_std_N_per_m, found.undetermined)
    rows = {} if found.undetermined else of_sheet(found) | of_probability(probability, error)
    rows |= of_equilibrium(found.equilibrium)
    print_table("\nModuli, stability and lattice", rows)


def _chain(model: Path, surrogate: "Surrogate", as_json: bool) -> None:
    from ase_dkl.mechanics.chain import chain_stiffness
    from ase_dkl.model.verdict import warn_of

    with warnings_told() as told:
        warn_of(surrogate)
        found = chain_stiffness(surrogate)
    if as_json:
        print_json(
            {
                "stiffness_nN": found.stiffness_nN,
                "stiffness_nN_std": found.stiffness_nN_std,
                **lattice_record(surrogate.crystal, found.equilibrium),
                "convention": CHAIN_CONVENTION,
                "warnings": told,
            }
        )
        return
    print_table(f"{model}: the chain, ions {found.ions}", of_chain(found) | of_equilibrium(found.equilibrium))


def _warn(told: list[str], text: str) -> None:
    told.append(text)
    warn(text)


def _print_matrix(title: str, values: "Floats", std: "Floats", undetermined: tuple[str, ...]) -> None:
    from rich.table import Table

    numbers = range(1, 7) if len(values) == 6 else (1, 2, 6)
    names = [STRAINS[number - 1] for number in numbers]
    table = Table(box=None, pad_edge=False)
    for name in ("", *names):
        table.add_column(name, justify="right", no_wrap=True)
    for i, name, row, row_std in zip(numbers, names, values.tolist(), std.tolist(), strict=True):
        entries = (
            NOT_KNOWN if f"C{min(i, j)}{max(i, j)}" in undetermined else _entry(value, error)
            for j, value, error in zip(numbers, row, row_std, strict=True)
        )
        # Side by side, six constants with error bars are too wide for a terminal.
        table.add_row(name, *(entry.replace(" ±", "\n±") for entry in entries))
    typer.secho(title, file=sys.stdout, italic=True)
    print_rich(table)


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
    from ase_dkl.figures.elastic import young_modulus_figure

    if not stiff:
        note("No figure: a crystal that is not stable has no Young's modulus.")
        return
    title = f"{surrogate.crystal.formula} at {found.equilibrium.pressure_GPa:g} GPa"
    with written_whole(plot) as path:
        young_modulus_figure(found.C_GPa, found.covariance, title).savefig(path)
    note(f"Figure in {plot}.")
