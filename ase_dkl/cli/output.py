"""The lattice that a result belongs to, as several commands write it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase_dkl.crystal import Crystal
    from ase_dkl.mechanics.equilibrium import Equilibrium


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
