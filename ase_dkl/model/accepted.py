"""What functions take in place of a surrogate."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeAlias

from ase_dkl.model.lattice_energy import LatticeEnergy
from ase_dkl.model.surrogate import Surrogate


class Answering(Protocol):
    """What answers from a surrogate, as calculators do."""

    @property
    def surrogate(self) -> Surrogate:
        """The one that it has at the time."""


Model: TypeAlias = Surrogate | Answering | str | Path
"""A surrogate, a calculator that answers from one (the one it has at the time), or a model file."""


Energy: TypeAlias = LatticeEnergy | Answering | str | Path
"""The same, or whatever else knows the energy of a strained crystal and how sure it is."""


def as_energy(model: Energy) -> LatticeEnergy:
    """What knows the energy; raises what `as_surrogate` does."""
    return model if isinstance(model, LatticeEnergy) else as_surrogate(model)


def as_surrogate(model: Model) -> Surrogate:
    """The surrogate itself.

    Raises:
        TypeError: it is something else.
        BadModelFile: it is a file that holds no model.
    """
    if isinstance(model, Surrogate):
        return model
    if isinstance(model, str | Path):
        return Surrogate.load(model)
    found = getattr(model, "surrogate", None)
    if isinstance(found, Surrogate):
        return found
    raise TypeError(
        f"{type(model).__name__} is no model. Give a surrogate, the name of a model file, or a DKLCalculator."
    )
