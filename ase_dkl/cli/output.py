"""What several commands write: rows of tables, and the lattice that a result belongs to."""

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase_dkl.arrays import Floats
    from ase_dkl.crystal import Crystal
    from ase_dkl.mechanics.equilibrium import Equilibrium


def rows_of(columns: Mapping[str, "Floats"]) -> list[dict[str, Any]]:
    """Columns of equal length as the rows of a table."""
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows of equal keys as a CSV table."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def lattice_record(crystal: "Crystal", found: "Equilibrium") -> dict[str, Any]:
    """The equilibrium lattice, and of what crystal, for JSON."""
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
