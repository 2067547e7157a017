"""`ase-dkl relax`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_dkl.cli.output import lattice_record
from ase_dkl.cli.terminal import (
    Append,
    Json,
    Model,
    Overwrite,
    Pressure,
    Symmetry,
    check_append,
    in_words,
    note,
    print_json,
    print_table,
    warnings_told,
)
from ase_dkl.errors import Refused
from ase_dkl.files import check_outputs, written_rows, written_whole
from ase_dkl.wording import of_equilibrium, plus_minus

if TYPE_CHECKING:
    from ase import Atoms

    from ase_dkl.crystal import Crystal
    from ase_dkl.mechanics.equilibrium import Equilibrium

_SIZES = {3: ("volume_A3", "volume", "Å³"), 2: ("area_A2", "area", "Å²"), 1: ("length_A", "length", "Å")}


@in_words
def relax(
    model: Model,
    pressure: Pressure = 0.0,
    symmetry: Symmetry = True,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the relaxed crystal, in the format of ASE's that the name says: .cif, .vasp, .xyz, .db …",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    append: Append = False,
    as_json: Json = False,
) -> None:
    """Find the lattice in equilibrium, at zero or a given pressure, and the uncertainty of its parameters.

    The energy is E, per reference cell, without P V.
    """
    check_append(output, append=append, overwrite=overwrite)
    check_outputs(output, inputs=[model], overwrite=overwrite, append=append)
    if output is not None:
        _check_structure_file(output)
    from ase_dkl.mechanics.equilibrium import equilibrium
    from ase_dkl.model.surrogate import Surrogate
    from ase_dkl.model.verdict import warn_of

    surrogate = Surrogate.load(model)
    with warnings_told() as told:
        warn_of(surrogate)
        found = equilibrium(surrogate, pressure_GPa=pressure, symmetric=symmetry)
    if output is not None:
        _write(output, surrogate.crystal.atoms(found.cell), append)
        note(f"Relaxed crystal in {output}.")
        if surrogate.crystal.ions == "relaxed":
            note("Its ions are where the reference has them: the model knows no others.")
    if as_json:
        print_json({**_json(surrogate.crystal, found), "warnings": told})
    else:
        print_table(f"{model}: equilibrium", _rows(surrogate.crystal, found))


def _json(crystal: "Crystal", found: "Equilibrium") -> dict[str, Any]:
    size, _, _ = _SIZES[crystal.dimension]
    return {
        **lattice_record(crystal, found),
        size: found.volume,
        f"{size}_std": found.volume_std,
        "energy_eV": found.energy,
        "energy_eV_std": found.energy_std,
    }


def _rows(crystal: "Crystal", found: "Equilibrium") -> dict[str, str]:
    rows = {"reference crystal": f"{crystal.formula}, {crystal.space_group}, ions {crystal.ions}"}
    if crystal.dimension == 3:
        rows["pressure"] = f"{found.pressure_GPa:g} GPa"
    rows |= of_equilibrium(found)
    _, size, unit = _SIZES[crystal.dimension]
    rows[size] = plus_minus(found.volume, found.volume_std, unit)
    rows["energy"] = plus_minus(found.energy, found.energy_std, "eV per cell")
    return rows


def _check_structure_file(path: Path) -> None:
    from ase.io.formats import UnknownFileTypeError, filetype, get_ioformat

    try:
        known = get_ioformat(filetype(str(path), read=False)).can_write
    except UnknownFileTypeError:
        known = False
    if not known:
        raise Refused(f"{path}: ASE writes no structures into such files. Choose .cif, .vasp, .xyz, .db or the like.")


def _write(path: Path, atoms: "Atoms", append: bool) -> None:
    import ase.io

    if path.suffix == ".db":
        with written_rows(path, append=append) as database:
            database.write(atoms)
        return
    with written_whole(path) as beside:
        try:
            ase.io.write(beside, atoms)
        except Exception as error:
            raise Refused(f"{path}: ASE cannot write it ({type(error).__name__}: {error}).") from error
