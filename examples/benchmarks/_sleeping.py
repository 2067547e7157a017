"""A calculator that does next to nothing, for as long as it is told."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Sleeping(Calculator):
    """Cubic crystals of one lattice constant, with an energy that is quadratic in the Green strain.

    Args:
        constant: that lattice constant, Å.
        seconds: that a calculation takes.
    """

    implemented_properties = ["energy", "stress"]  # noqa: RUF012

    def __init__(self, constant: float, seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.constant, self.seconds = constant, seconds

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Sleep, then η = ½ (C Cᵀ / a² − 1), E = V₀ (½ λ (tr η)² + μ η:η), and σ = Fᵀ S F / det F with F = C / a."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        time.sleep(self.seconds)
        deformation = self.atoms.cell.array / self.constant
        green = 0.5 * (deformation @ deformation.T - np.eye(3))
        first, second = 0.7, 0.3
        energy = self.constant**3 * (0.5 * first * np.trace(green) ** 2 + second * (green**2).sum())
        piola = first * np.trace(green) * np.eye(3) + 2 * second * green
        stress = deformation.T @ piola @ deformation / np.linalg.det(deformation)
        self.results = {"energy": float(energy), "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]}
