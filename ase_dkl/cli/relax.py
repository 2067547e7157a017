"""`ase-dkl relax`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ase_dkl.cli.inputs import opened
from ase_dkl.cli.options import Append, FixedCell, Follow, Ions, Json, Model, Overwrite, Pressure, Symmetry
from ase_dkl.cli.output import check_append, deliver
from ase_dkl.cli.terminal import in_words, note
from ase_dkl.errors import Refused
from ase_dkl.files import check_outputs, written_rows, written_whole

if TYPE_CHECKING:
    from ase import Atoms

    from ase_dkl.mechanics.equilibrium import Equilibrium
    from ase_dkl.mechanics.structure import RelaxedStructure


@in_words
def relax(
    model: Model,
    pressure: Pressure = 0.0,
    symmetry: Symmetry = True,
    ions: Ions = None,
    follow: Follow = False,
    fixed_cell: FixedCell = False,
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

    Of a model of free ions, ions come to rest as well, and every coordinate has its uncertainty. The energy is E, per
    reference cell, without P V.
    """
    check_append(output, append=append, overwrite=overwrite)
    check_outputs(output, inputs=[model], overwrite=overwrite, append=append)
    if output is not None:
        _check_structure_file(output)
    from ase_dkl.mechanics.equilibrium import equilibrium
    from ase_dkl.mechanics.ionic_lattice import with_ions
    from ase_dkl.mechanics.structure import relaxed_structure
    from ase_dkl.model.ionic_energy import IonicEnergy

    found: Equilibrium | RelaxedStructure
    with opened(model) as (surrogate, told):
        if isinstance(surrogate, IonicEnergy) and ions != "clamped":
            found = relaxed_structure(
                surrogate, pressure_GPa=pressure, symmetric=symmetry, fixed_cell=fixed_cell, follow=follow
            )
            atoms = found.atoms()
        else:
            if fixed_cell:
                raise Refused("--fixed-cell leaves nothing to relax where ions go with the lattice. Leave it out.")
            lattice = with_ions(surrogate, ions)
            found = equilibrium(lattice, pressure_GPa=pressure, symmetric=symmetry)
            atoms = lattice.crystal.atoms(found.cell)
    if output is not None:
        _write(output, atoms, append)
        note(f"Relaxed crystal in {output}.")
        if surrogate.crystal.ions == "relaxed":
            note("Its ions are where the reference has them: the model knows no others.")
    deliver(found, f"{model}: equilibrium", as_json=as_json, warnings=told)


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
