"""`ase-dkl elastic`."""

import sys
import warnings
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_dkl.cli.inputs import opened
from ase_dkl.cli.options import Follow, Ions, Json, Model, Overwrite, Pressure, Symmetry
from ase_dkl.cli.output import check_endings, deliver, print_rich, print_table, save
from ase_dkl.cli.terminal import in_words, note
from ase_dkl.crystal.lattice import VOIGT_NAMES
from ase_dkl.errors import Refused
from ase_dkl.files import check_outputs
from ase_dkl.wording import NOT_KNOWN, plus_minus

if TYPE_CHECKING:
    from ase_dkl.arrays import Floats
    from ase_dkl.mechanics.chain import ChainStiffness
    from ase_dkl.mechanics.elastic import ElasticConstants
    from ase_dkl.mechanics.internal_strain import InternalStrain
    from ase_dkl.mechanics.sheet import SheetConstants
    from ase_dkl.model.lattice_energy import LatticeEnergy

    Constants = ElasticConstants | SheetConstants | ChainStiffness
    Further = dict[str, Any]

_LINES = 24
"""Components of the internal strain that are printed."""


@in_words
def elastic(
    model: Model,
    pressure: Pressure = 0.0,
    symmetry: Symmetry = True,
    ions: Ions = None,
    follow: Follow = False,
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
    from ase_dkl.mechanics.ionic_lattice import with_ions

    with opened(model) as (given, told):
        surrogate = with_ions(given, ions, follow=follow)
        dimension = surrogate.crystal.dimension
        if dimension < 3 and (pressure or third_order or plot is not None):
            raise Refused(
                f"{model} is a model of a {surrogate.crystal.kind.name}: --pressure, --third-order "
                "and --plot are for bulk crystals. Leave them out."
            )
        found = _constants(surrogate, pressure, symmetry)
        further = _third_order(surrogate, pressure, symmetry) if third_order else {}
        internal = _internal_strain(surrogate, found)
        if found.missing:
            warnings.warn(found.missing, stacklevel=1)
    if plot is not None:
        _draw(plot, found)
    words = partial(_print, model, found, further, internal)
    strains = {} if internal is None else {"internal_strain": internal.record()}
    deliver(found, "", as_json=as_json, words=words, **further, **strains, warnings=told)


def _constants(surrogate: "LatticeEnergy", pressure: float, symmetry: bool) -> "Constants":
    from ase_dkl.mechanics.chain import chain_stiffness
    from ase_dkl.mechanics.elastic import elastic_constants
    from ase_dkl.mechanics.sheet import sheet_constants

    dimension = surrogate.crystal.dimension
    if dimension == 1:
        return chain_stiffness(surrogate)
    if dimension == 2:
        return sheet_constants(surrogate, symmetric=symmetry)
    return elastic_constants(surrogate, pressure_GPa=pressure, symmetric=symmetry)


def _internal_strain(energy: "LatticeEnergy", found: "Constants") -> "InternalStrain | None":
    """What ions do meanwhile, in the frame of the constants, where a model of free ions lets them relax."""
    from ase_dkl.mechanics.internal_strain import internal_strain
    from ase_dkl.mechanics.ionic_lattice import RelaxedIons
    from ase_dkl.mechanics.structure import in_equilibrium

    if not isinstance(energy, RelaxedIons):
        return None
    return internal_strain(energy.model, structure=in_equilibrium(energy, found.equilibrium))


def _third_order(surrogate: "LatticeEnergy", pressure: float, symmetry: bool) -> "Further":
    from ase_dkl.mechanics.third_order import pressure_derivatives, third_order_constants

    third = third_order_constants(surrogate, symmetric=symmetry)
    along = pressure_derivatives(surrogate, pressure_GPa=pressure, symmetric=symmetry)
    constants = {"third_order_GPa": third.C_GPa, "third_order_GPa_std": third.C_std_GPa}
    return {**constants, "dC_dP": along.dC_dP, "dC_dP_std": along.dC_dP_std}


def _draw(plot: Path, found: "Constants") -> None:
    from ase_dkl.figures.elastic import young_modulus_figure
    from ase_dkl.mechanics.elastic import ElasticConstants

    assert isinstance(found, ElasticConstants)
    if found.moduli is None:
        note("No figure: a crystal that is not stable has no Young's modulus.")
        return
    title = f"{found.equilibrium.formula} at {found.equilibrium.pressure_GPa:g} GPa"
    save(plot, "Figure", young_modulus_figure(found.C_GPa, found.covariance, title).savefig)


def _print(model: Path, found: "Constants", further: "Further", internal: "InternalStrain | None") -> None:
    from ase_dkl.mechanics.chain import ChainStiffness
    from ase_dkl.mechanics.elastic import ElasticConstants

    if isinstance(found, ChainStiffness):
        print_table(f"{model}: the chain, ions {found.ions}", found.words())
        return
    if isinstance(found, ElasticConstants):
        what, C, std = f"∂σ/∂ε at {found.equilibrium.pressure_GPa:g} GPa (GPa)", found.C_GPa, found.C_std_GPa
    else:
        what, C, std = "elastic constants of the sheet (N/m)", found.C_N_per_m, found.C_std_N_per_m
    _print_matrix(f"{model}: {what}, ions {found.ions}", C, std, found.undetermined)
    print_table("\nModuli, stability and lattice", found.words())
    if further:
        _print_third_order(further)
    if internal is not None and len(rows := internal.words()) > 0:
        told = dict(list(rows.items())[:_LINES])
        more = {"further components": f"{len(rows) - len(told)}, see --json"} if len(rows) > len(told) else {}
        print_table("\nInternal strain: where ions go", told | more)


def _print_matrix(title: str, values: "Floats", std: "Floats", undetermined: tuple[str, ...]) -> None:
    from rich.table import Table

    numbers = range(1, 7) if len(values) == 6 else (1, 2, 6)
    names = [VOIGT_NAMES[number - 1] for number in numbers]
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


def _print_third_order(further: "Further") -> None:
    for title, quantity, symbol, order in (
        ("C_ijk (GPa)", "third_order_GPa", "C{}", 3),
        ("dC_ij/dP", "dC_dP", "dC{}/dP", 2),
    ):
        values, std = further[quantity], further[f"{quantity}_std"]
        rows = {
            symbol.format("".join(str(i + 1) for i in indices)): _entry(float(values[indices]), float(std[indices]))
            for indices in combinations_with_replacement(range(6), order)
        }
        print_table(f"\n{title}", {name: words for name, words in rows.items() if words != "0"})


def _entry(value: float, std: float) -> str:
    """A constant and its error bar; what symmetry makes zero but for rounding is 0."""
    return "0" if max(abs(value), std) < 1e-6 else plus_minus(value, std)
