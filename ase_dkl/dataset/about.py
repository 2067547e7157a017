"""What a data set holds, in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ase_dkl.dataset.dataset import Dataset
from ase_dkl.shown import Shown
from ase_dkl.wording import number

_SHOWN = 12


@dataclass(frozen=True, eq=False, repr=False)
class About(Shown):
    """What a data set holds.

    Attributes:
        formula: of the reference cell.
        space_group: symbol and number, or the point group.
        n_operations: symmetry operations by which energies are the same: of the lattice, or where ions are free of all.
        ions: clamped, relaxed or free.
        mobile: indices of the ions of the reference that move, where they are free.
        n_rows: rows that can be used.
        n_energy: of them with an energy.
        n_forces: with forces.
        n_stress: with a stress.
        displacement_rms_A: root mean square of the mobile ions' distances from their sites; None where none is.
        displacement_max_A: the largest.
        force_rms_eV_A: root mean square of the components of forces on mobile ions; None where there are none.
        force_max_eV_A: the largest force.
        warnings: what the user should know.
    """

    formula: str
    space_group: str
    n_operations: int
    ions: str
    mobile: tuple[int, ...]
    n_rows: int
    n_energy: int
    n_forces: int
    n_stress: int
    displacement_rms_A: float | None
    displacement_max_A: float | None
    force_rms_eV_A: float | None
    force_max_eV_A: float | None
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> About:
        """Look at a data set."""
        crystal, mobile = dataset.crystal, dataset.crystal.mobile
        distances = forces = None
        if mobile.any():
            sites = crystal.atoms().positions @ crystal.changes(dataset.cells, dataset.positions)
            offsets = dataset.positions - sites
            anchors = slice(None) if mobile.all() else ~mobile
            offsets -= offsets[:, anchors].mean(axis=1, keepdims=True)
            distances = np.linalg.norm(offsets[:, mobile], axis=2)
            forces = dataset.forces[dataset.has_forces][:, mobile] if dataset.has_forces.any() else None
        free = crystal.ions == "free"
        return cls(
            crystal.formula,
            crystal.space_group,
            len(crystal.operations.rotations) if free else len(crystal.images),
            crystal.ions,
            tuple(np.flatnonzero(mobile).tolist()),
            len(dataset),
            int(dataset.has_energy.sum()),
            int(dataset.has_forces.sum()),
            int(dataset.has_stress.sum()),
            None if distances is None else float(np.sqrt((distances**2).mean())),
            None if distances is None else float(distances.max()),
            None if forces is None else float(np.sqrt((forces**2).mean())),
            None if forces is None else float(np.linalg.norm(forces, axis=2).max()),
            dataset.warnings,
        )

    def _summary(self) -> tuple[str, dict[str, str]]:
        labels = [(self.n_energy, "energies"), (self.n_forces, "forces"), (self.n_stress, "stresses")]
        rows = {
            "crystal": f"{self.formula}, {self.space_group}, ions {self.ions}",
            "symmetry": f"{self.n_operations} operation{'s' * (self.n_operations != 1)}"
            + ("" if self.ions == "free" else " of the lattice"),
            "rows": f"{self.n_rows}; " + ", ".join(f"{count} with {what}" for count, what in labels),
        }
        if self.ions == "free":
            named = ", ".join(map(str, self.mobile[:_SHOWN])) + (", …" if len(self.mobile) > _SHOWN else "")
            rows["ions that move"] = f"{len(self.mobile)}: {named}"
            rms, largest = (number(each, 3) for each in (self.displacement_rms_A, self.displacement_max_A))
            rows["off their sites"] = f"{rms} Å root mean square, {largest} Å at most"
        if self.force_rms_eV_A is not None:
            rows["forces"] = (
                f"{number(self.force_rms_eV_A, 3)} eV/Å root mean square of components, "
                f"{number(self.force_max_eV_A, 3)} eV/Å at most"
            )
        return f"Data of {self.formula}", rows
