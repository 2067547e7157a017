"""What functions take in place of atoms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ase import Atoms

if TYPE_CHECKING:
    from pymatgen.core.structure import IMolecule, IStructure

Structure: TypeAlias = "Atoms | IStructure | IMolecule"
"""Atoms, or a structure of pymatgen's."""


def as_atoms(structure: Structure) -> Atoms:
    """Atoms of what ASE or pymatgen calls a structure, with its calculator where it has one.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(structure, Atoms):
        return structure
    if _of_pymatgen(structure):
        from pymatgen.io.ase import AseAtomsAdaptor

        return AseAtomsAdaptor.get_atoms(structure, msonable=False)
    raise TypeError(f"{type(structure).__name__} is no structure. Give ase.Atoms, or a Structure of pymatgen's.")


def one_or_many(structures: Structure | Iterable[Structure]) -> list[Atoms]:
    """Atoms of one structure, or of each of several."""
    if isinstance(structures, Atoms) or _of_pymatgen(structures):
        return [as_atoms(cast("Structure", structures))]
    return [as_atoms(each) for each in cast("Iterable[Structure]", structures)]


def _of_pymatgen(structure: Any) -> bool:
    """Told by names, so that nobody who has no pymatgen structure waits for its import."""
    return any(
        kind.__module__.startswith("pymatgen.") and kind.__name__ in ("SiteCollection", "IStructure", "IMolecule")
        for kind in type(structure).__mro__
    )
