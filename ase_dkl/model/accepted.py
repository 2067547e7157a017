"""What functions take in place of a surrogate."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeAlias

from ase_dkl.errors import Refused
from ase_dkl.model.ionic_energy import IonicEnergy
from ase_dkl.model.ionic_surrogate import IonicSurrogate
from ase_dkl.model.lattice_energy import LatticeEnergy
from ase_dkl.model.loading import Loaded, load
from ase_dkl.model.surrogate import Surrogate


class Answering(Protocol):
    """What answers from a surrogate, as calculators do."""

    @property
    def surrogate(self) -> Loaded:
        """The one that it has at the time."""


Model: TypeAlias = Surrogate | Answering | str | Path
"""A surrogate, a calculator that answers from one (the one it has at the time), or a model file."""


Energy: TypeAlias = LatticeEnergy | Answering | str | Path
"""The same, or whatever else knows the energy of a strained crystal and how sure it is."""


Ionic: TypeAlias = IonicEnergy | Model
"""What knows the energy of free ions and how sure it is, or what `Model` names."""


_IONS_ARE_FREE = (
    "In this model ions are free, and not a lattice alone. Take lattice(model, ions=...) of it, with ions "
    "that are clamped or relaxed (--ions)."
)


class BadIons(Refused, ValueError):
    """Ions asked for that a model does not know."""


def as_energy(model: Energy) -> LatticeEnergy:
    """What knows the energy; raises what `as_surrogate` does, and `BadIons` where ions are free."""
    if isinstance(model, IonicEnergy):
        raise BadIons(_IONS_ARE_FREE)
    return model if isinstance(model, LatticeEnergy) else as_surrogate(model)


def as_either(model: Energy | Ionic) -> LatticeEnergy | IonicEnergy:
    """What knows the energy of a lattice, or of free ions; raises what `as_any` does."""
    return model if isinstance(model, IonicEnergy | LatticeEnergy) else as_any(model)


def as_ionic(model: Ionic) -> IonicEnergy:
    """What knows the energy of free ions; raises what `as_surrogate` does, and `BadIons` for a model of lattices."""
    if isinstance(model, IonicEnergy):
        return model
    surrogate = as_any(model)
    if isinstance(surrogate, IonicSurrogate):
        return surrogate
    raise BadIons(
        f"This model knows lattices only, with ions {surrogate.crystal.ions}: forces on ions, their frequencies and "
        "their displacements do not follow from it. Train one of structures with displaced ions and their forces."
    )


def as_surrogate(model: Model) -> Surrogate:
    """The surrogate itself.

    Raises:
        TypeError: it is something else.
        BadModelFile: it is a file that holds no model.
    """
    if isinstance(model, Surrogate):
        return model
    found = load(model) if isinstance(model, str | Path) else getattr(model, "surrogate", model)
    if isinstance(found, Surrogate):
        return found
    if isinstance(found, IonicSurrogate):
        raise BadIons(_IONS_ARE_FREE)
    raise TypeError(
        f"{type(model).__name__} is no model. Give a surrogate, the name of a model file, or a DKLCalculator."
    )


AnyModel: TypeAlias = Model | IonicSurrogate
"""A model of lattices or of free ions, a calculator that answers from one, or a model file."""


def as_any(model: AnyModel) -> Loaded:
    """The model itself, of lattices or of free ions.

    Raises:
        TypeError: it is something else.
        BadModelFile: it is a file that holds no model.
    """
    if isinstance(model, str | Path):
        return load(model)
    found = getattr(model, "surrogate", model)
    return found if isinstance(found, IonicSurrogate) else as_surrogate(model)  # type: ignore[arg-type]
