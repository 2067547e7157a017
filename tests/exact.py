"""An ASE calculator as the energy of free ions, of which nothing is unknown."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from springs import free

from ase_dkl import JointPosterior
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import VOIGT
from ase_dkl.model.domain import Extrapolation
from ase_dkl.model.layout import Layout


class Exact:
    """Energies and slopes as a calculator has them."""

    def __init__(self, atoms: Atoms, calculator: Calculator) -> None:
        self.crystal = free(atoms)
        self.calculator = calculator
        self.reference = np.vstack([self.crystal.cell * self.crystal.pbc[:, None], self.crystal.atoms().positions])
        self.points = self.reference[None]

    def atoms(self, point: Floats) -> Atoms:
        atoms = self.crystal.atoms()
        atoms.cell, atoms.positions, atoms.calc = point[:3], point[3:], self.calculator
        return atoms

    def means(self, points: Floats) -> Floats:
        return np.array([self._row(point) for point in np.asarray(points)])

    def marginals(self, points: Floats, slopes: bool) -> tuple[Floats, Floats]:
        rows = self.means(points)
        return (rows, 0 * rows) if slopes else (rows[:, :1], 0 * rows[:, :1])

    def joint(self, points: Floats, slopes: bool, *, spread: bool = True) -> JointPosterior:  # noqa: ARG002
        rows, _ = self.marginals(points, slopes)
        n, columns = rows.shape
        layout = Layout(n, n, {"strain": 6, "displacement": columns - 7}) if slopes else Layout(n)
        mean = np.concatenate([rows[:, 0], rows[:, 1:].ravel()])
        return JointPosterior(mean, np.zeros((len(mean),) * 2), layout)

    def noise(self, shape: tuple[int, int]) -> Floats:
        return np.zeros(shape)

    def extrapolation(self, points: Floats) -> Extrapolation:
        n = len(points)
        return Extrapolation(np.zeros((n, 1, 6)), np.zeros(n), 1.0, self.crystal.kind.parameters)

    def _row(self, point: Floats) -> Floats:
        atoms = self.atoms(point)
        forces = atoms.get_forces()
        if atoms.pbc.all():
            strain = atoms.get_stress() * atoms.get_volume()
        else:
            virial = -forces.T @ atoms.positions
            strain = np.array([(virial[i, j] + virial[j, i]) / 2 for i, j in VOIGT])
        return np.concatenate([[atoms.get_potential_energy()], strain, -forces.ravel()])
