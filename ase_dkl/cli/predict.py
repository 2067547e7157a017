"""`ase-dkl predict`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_dkl.cli.inputs import opened, paths_of, read_structures
from ase_dkl.cli.options import Append, Json, Model, Overwrite, Pbc
from ase_dkl.cli.output import check_append, print_columns, print_json
from ase_dkl.cli.terminal import in_words, note
from ase_dkl.crystal.lattice import VOIGT_NAMES
from ase_dkl.errors import Refused
from ase_dkl.files import check_outputs, written_rows, written_whole
from ase_dkl.tables import rows_of, write_csv
from ase_dkl.wording import number, plus_minus

if TYPE_CHECKING:
    from ase import Atoms

    from ase_dkl.crystal import Mapped
    from ase_dkl.model.loading import Loaded
    from ase_dkl.model.prediction import Prediction

FORMATS = (".csv", ".json", ".xyz", ".db")


@in_words
def predict(
    model: Model,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Structures in any format ASE reads, - for stdin; all frames or rows of each.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write a .csv, .json, .xyz or .db file.", show_default=False),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Add conformal intervals that hold this fraction of DFT results, such as 0.95; the model has to be "
            "from train --calibrate.",
            show_default=False,
        ),
    ] = None,
    pbc: Pbc = None,
    overwrite: Overwrite = False,
    append: Append = False,
    as_json: Json = False,
) -> None:
    """Predict energy, stress, forces and their uncertainties of structures.

    Energies are of each structure as it stands in its file, stresses in its own Cartesian frame, uncertainties one
    standard deviation.
    """
    from ase_dkl.crystal.periodicity import periodic_axes
    from ase_dkl.mechanics.scanned import columns

    if output is not None:
        if output.suffix not in FORMATS:
            raise Refused(f"{output}: predictions are written as {', '.join(FORMATS)}. Choose one of these endings.")
        if level is not None and output.suffix in FORMATS[2:]:
            raise Refused(f"{output}: intervals are written as .csv or .json. Choose one of these, or no --level.")
    check_append(output, append=append, overwrite=overwrite)
    check_outputs(output, inputs=[model, *paths_of(files)], overwrite=overwrite, append=append)
    with opened(model) as (surrogate, _):
        sources, structures = read_structures(files)
        if pbc is not None:
            for atoms in structures:
                atoms.pbc = periodic_axes(pbc)
        mapped = _mapped(surrogate, sources, structures)
        prediction, extrapolation = surrogate.judged_mapped(mapped)
        outside = extrapolation.outside
    predicted = rows_of({**columns(prediction), "outside_domain": outside})
    if level is not None:
        ends = _intervals(surrogate, prediction, level, outside)
        predicted = [numbers | more for numbers, more in zip(predicted, ends, strict=True)]
    rows = [
        {**source, "formula": str(atoms.symbols), **numbers}
        for source, atoms, numbers in zip(sources, structures, predicted, strict=True)
    ]
    if output is not None:
        _write(output, rows, structures, prediction, append)
        note(f"{len(rows)} predictions {'added to' if append else 'in'} {output}.")
    if as_json:
        print_json(rows)
    elif output is None:
        _print(rows, level)


def _mapped(surrogate: "Loaded", sources: list[dict[str, Any]], structures: "list[Atoms]") -> "list[Mapped]":
    from ase_dkl.crystal import NotThisCrystal

    if surrogate.crystal.ions == "free" and len({len(atoms) for atoms in structures}) > 1:
        raise Refused("The structures have several numbers of atoms. Predict those of each number apart.")
    found = []
    for source, atoms in zip(sources, structures, strict=True):
        try:
            found.append(surrogate.crystal.map(atoms))
        except NotThisCrystal as error:
            raise Refused(f"{source['file']}, frame {source['frame']} ({atoms.symbols}): {error}") from error
    return found


def _intervals(surrogate: "Loaded", prediction: "Prediction", level: float, outside: Any) -> list[dict[str, Any]]:
    """Ends of conformal intervals, structure by structure; nothing where the model extrapolates."""
    from ase.units import GPa

    if surrogate.calibration is None:
        raise Refused("This model knows of no intervals. Train with --calibrate, or leave --level out.")
    found = surrogate.calibration.intervals(prediction, level, outside=outside)
    ends = {f"energy_{end}_eV": found.energy[:, i] for i, end in enumerate(("low", "high"))}
    if found.stress is not None:
        for j, name in enumerate(VOIGT_NAMES):
            ends |= {f"stress_{name}_{end}_GPa": found.stress[:, j, i] / GPa for i, end in enumerate(("low", "high"))}
    for words in surrogate.calibration.notes:
        note(f"Note: {words}")
    if outside.any():
        note(f"No intervals for {outside.sum()} of {len(outside)} structures, on which the model extrapolates.")
    return [dict.fromkeys(row) if beyond else row for row, beyond in zip(rows_of(ends), outside, strict=True)]


def _write(
    output: Path, rows: list[dict[str, Any]], structures: "list[Atoms]", prediction: "Prediction", append: bool
) -> None:
    import ase.io

    from ase_dkl.calculator import database_fields
    from ase_dkl.mechanics.scanned import with_predicted

    # Without the labels that the structures came with.
    bare = [ase.Atoms(each.symbols, positions=each.positions, cell=each.cell, pbc=each.pbc) for each in structures]
    frames = [with_predicted(atoms, prediction, i) for i, atoms in enumerate(bare)]
    if output.suffix == ".db":
        with written_rows(output, append=append) as database:
            for atoms in frames:
                database.write(atoms, **database_fields(atoms.info))
        return
    with written_whole(output) as path:
        if output.suffix == ".csv":
            write_csv(path, rows)
        elif output.suffix == ".json":
            path.write_text(json.dumps(rows, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        else:
            ase.io.write(path, frames, format="extxyz")


def _print(rows: list[dict[str, Any]], level: float | None) -> None:
    interval = () if level is None else (f"{100 * level:.6g} % interval (eV)",)
    shown = [
        (
            Path(row["file"]).name,
            str(row["frame"]),
            row["formula"],
            plus_minus(row["energy_eV"], row["energy_uncertainty_eV"]),
            *(() if level is None else (_interval(row),)),
            _pressure(row),
            "extrapolation" if row["outside_domain"] else "",
        )
        for row in rows
    ]
    print_columns(("file", "frame", "formula", "energy (eV)", *interval, "pressure (GPa)", ""), shown)


def _pressure(row: dict[str, Any]) -> str:
    if "stress_xx_GPa" not in row:
        return "none"
    return number(-sum(row[f"stress_{c}_GPa"] for c in ("xx", "yy", "zz")) / 3, 4)


def _interval(row: dict[str, Any]) -> str:
    low, high = row["energy_low_eV"], row["energy_high_eV"]
    return "none" if low is None else f"{low:.5f} … {high:.5f}"
