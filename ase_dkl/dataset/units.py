"""Units by which labels go wrong, named by the factor between stresses and energies' derivatives."""

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.neighborlist import natural_cutoffs, neighbor_list
from ase.units import Bohr, GPa, Hartree, Ry, kcal, kJ, mol

NEVER_BONDED = frozenset(atomic_numbers[symbol] for symbol in ("H", "He", "Ne", "Ar", "Kr", "Xe", "Rn"))
FAR = 1.5
"""Sums of covalent radii. In crystals some atoms are closer than this, those of noble gases apart; with cells in Bohr,
1.89 times too large, hardly any are."""
CLOSE_ENOUGH = 0.05
"""Logarithm of a factor: stresses and energies of the shipped data differ by up to 0.02."""
MOST_NAMES = 3

STRESSES = {
    "in GPa": 1 / GPa,
    "in kbar": 10 / GPa,
    "in MPa": 1e3 / GPa,
    "in Pa": 1e9 / GPa,
    "in bar": 1e4 / GPa,
    "in Hartree/Bohr³": Bohr**3 / Hartree,
    "in Ry/Bohr³": Bohr**3 / Ry,
    "in eV/Bohr³": Bohr**3,
    "in Hartree/Å³": 1 / Hartree,
    "in Ry/Å³": 1 / Ry,
}
FORCES = {
    "in Hartree/Bohr": Bohr / Hartree,
    "in Ry/Bohr": Bohr / Ry,
    "in eV/Bohr": Bohr,
    "in Hartree/Å": 1 / Hartree,
    "in Ry/Å": 1 / Ry,
    "in meV/Å": 1e3,
    "in kcal/mol/Å": mol / kcal,
    "in kJ/mol/Å": mol / kJ,
}
ENERGIES_OF_FORCES = {
    "the energies were in Ry": Ry,
    "the energies were in Hartree": Hartree,
    "the energies were in kJ/mol": kJ / mol,
    "the energies were in kcal/mol": kcal / mol,
    "the energies were in meV": 1e-3,
    "the energies were in Ry and the forces in Ry/Bohr, or both in Hartree": Bohr,
    "positions and cells were in Bohr": 1 / Bohr,
}
ENERGIES = {
    "the energies were in Ry": Ry,
    "the energies were in Hartree": Hartree,
    "the energies were in kJ/mol": kJ / mol,
    "the energies were in kcal/mol": kcal / mol,
    "the energies were in meV": 1e-3,
    "the energies were in Ry and the stresses in Ry/Bohr³, or both in Hartree": Bohr**3,
    "the energies were in Ry and the stresses in GPa": Ry / GPa,
    "the energies were in Ry and the stresses in kbar": 10 * Ry / GPa,
    "the energies were in Hartree and the stresses in GPa": Hartree / GPa,
}
CELLS = {
    "the cells were in Bohr": Bohr**-3,
    "the cells were in Bohr and the stresses in GPa": Bohr**-3 / GPa,
    "the cells were in Bohr and the energies in Ry": Bohr**-3 * Ry,
    "the cells were in Bohr and the energies in Hartree": Bohr**-3 * Hartree,
}
"""What labels are times the derivatives of the energies, if …"""


def causes(ratio: float, error: float, atoms: Atoms) -> list[str]:
    """What may be wrong where stresses are so many times the derivatives of the energies, the likeliest first.

    Args:
        ratio: its size.
        error: standard deviation of its logarithm.
        atoms: a typical structure.
    """
    volume, count = atoms.get_volume(), len(atoms)
    known = STRESSES | ENERGIES
    known |= {"virials (stress times volume)": volume}
    if count > 1:
        known |= {"the energies were per atom": count, "virials per atom": volume / count}
    known |= CELLS
    likely = _likely(known, ratio, error)
    if far_apart(atoms):
        likely.sort(key=lambda words: words not in CELLS)
    return likely[:MOST_NAMES]


def causes_of_forces(ratio: float, error: float, atoms: Atoms) -> list[str]:
    """The same where forces are so many times minus the derivatives of the energies."""
    known = FORCES | ENERGIES_OF_FORCES
    if len(atoms) > 1:
        known |= {"the energies were per atom": len(atoms)}
    return _likely(known, ratio, error)[:MOST_NAMES]


def _likely(known: dict[str, float], ratio: float, error: float) -> list[str]:
    allowed = np.clip(3 * error, CLOSE_ENOUGH, np.log(2))
    distances = {words: abs(np.log(ratio / factor)) for words, factor in known.items()}
    return sorted((words for words in known if distances[words] < allowed), key=distances.__getitem__)


def far_apart(atoms: Atoms) -> bool:
    """Whether no two atoms are as close as they are in crystals."""
    if set(atoms.numbers.tolist()) <= NEVER_BONDED:
        return False
    return not len(neighbor_list("d", atoms, natural_cutoffs(atoms, mult=FAR)))
