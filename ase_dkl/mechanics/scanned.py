"""Predictions for many lattices at once: what scans along lines and over planes have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import GPa, J, m
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import flat, metric, volumes
from ase_dkl.files import check_outputs, written_whole
from ase_dkl.mechanics.paths import ANGLES, LENGTHS, STRAINS, BadScan
from ase_dkl.shown import Shown
from ase_dkl.tables import rows_of, write_csv
from ase_dkl.wording import number

if TYPE_CHECKING:
    from ase import Atoms

    from ase_dkl.model.lattice_energy import LatticeEnergy
    from ase_dkl.model.prediction import Prediction

_TOGETHER = 128
"""Points whose covariance with one other is found at once."""
_UNITS = (
    dict.fromkeys(LENGTHS, "_A")
    | dict.fromkeys(ANGLES, "_deg")
    | {"area": "_A2", "volume": "_A3"}
    | {"path": "_length"}
)


@dataclass(frozen=True, eq=False, repr=False)
class Scanned(Shown, ABC):
    """Predictions for lattices in an array of some shape.

    Attributes:
        surrogate: what predicted.
        cells: lattice vectors in rows, shape (*shape, 3, 3), Å: the start strained without rotation.
        prediction: per reference cell, for all lattices in one row; stresses in the frame of the cells.
        outside: where the surrogate extrapolates, of the shape.
    """

    surrogate: LatticeEnergy
    cells: Floats
    prediction: Prediction
    outside: NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n,) of a line, (n, m) of a grid."""
        return self.outside.shape

    @property
    def energy(self) -> Floats:
        """Energies per reference cell, eV, of the shape."""
        return self.prediction.energy.reshape(self.shape)

    @property
    def energy_std(self) -> Floats:
        """Standard deviation of each energy alone, eV; of their differences it says little, see `relative`."""
        return self.prediction.energy_uncertainty.reshape(self.shape)

    @property
    def stress(self) -> Floats | None:
        """Voigt, eV/Å³, shape (*shape, 6); None where not asked for."""
        return None if self.prediction.stress is None else self.prediction.stress.reshape(*self.shape, 6)

    @property
    def stress_std(self) -> Floats | None:
        """Standard deviation of each stress alone, eV/Å³, shape (*shape, 6); None where not asked for."""
        std = self.prediction.stress_uncertainty
        return None if std is None else std.reshape(*self.shape, 6)

    def covariance(self, *, stress: bool = False) -> Floats:
        """The joint covariance of all energies, or of all energies and stresses.

        It is computed anew each time, and takes memory and time in proportion to its size and more: a thousand
        energies are quick, ten thousand are not.

        Args:
            stress: with the stresses, which come after all the energies, six for each lattice.

        Returns:
            Shape (n, n) or (n + 6 n, n + 6 n), n lattices in one row; eV and eV/Å³.
        """
        cells = self.cells.reshape(-1, 3, 3)
        if not stress:
            return self.surrogate.posterior(cells, derivatives=False).covariance
        refuse_flat(cells)
        joint = self.surrogate.posterior(cells)
        unit = np.ones(len(joint.mean))
        unit[joint.layout.of("strain")] = np.repeat(1 / volumes(cells), 6)
        scaled: Floats = unit[:, None] * joint.covariance * unit
        return scaled

    def relative(self, point: int | tuple[int, ...] | None = None) -> tuple[Floats, Floats]:
        """Energies relative to one of the points, and how sure those differences are.

        Neighbours err together, so that the difference between them is surer than the energy of either.

        Args:
            point: index of the point, a pair for a grid; by default the one of the lowest energy.

        Returns:
            Differences and their standard deviations, eV, each of the shape.
        """
        n = self.outside.size
        zero = int(self.energy.argmin() if point is None else np.arange(n).reshape(self.shape)[point])
        cells = self.cells.reshape(-1, 3, 3)
        variance = np.empty(n)
        for first in range(0, n, _TOGETHER):
            part = slice(first, first + _TOGETHER)
            joint = self.surrogate.posterior(np.concatenate([cells[zero, None], cells[part]]), derivatives=False)
            # var(E − E₀) = var E + var E₀ − 2 cov(E, E₀)
            variance[part] = np.diag(joint.covariance)[1:] + joint.covariance[0, 0] - 2 * joint.covariance[0, 1:]
        variance[zero] = 0
        difference = self.prediction.energy - self.prediction.energy[zero]
        return difference.reshape(self.shape), np.sqrt(np.maximum(variance, 0)).reshape(self.shape)

    def table(self) -> dict[str, NDArray[Any]]:
        """Columns of a table, each of shape (n,); the names carry the units.

        Stresses of a sheet are also there as forces per length, which do not depend on the vacuum.
        """
        prediction = self.prediction
        found: dict[str, NDArray[Any]] = {
            **self._coordinate_columns(),
            **columns(prediction),
        }
        periodic = list(self.surrogate.crystal.periodic)
        stress = prediction.slopes.get("strain")
        if stress is not None and len(periodic) == 2:
            cells = self.cells.reshape(-1, 3, 3)
            area = np.sqrt(np.linalg.det(metric(cells[:, periodic])))
            height = (volumes(cells) / area)[:, None] / (J / m**2)
            found |= _six("stress_{}_N_per_m", stress.mean * height)
            found |= _six("stress_{}_uncertainty_N_per_m", stress.std * height)
        return {**found, "outside_domain": self.outside.ravel()}

    def _record(self) -> dict[str, Any]:
        """The rows of the table."""
        return {"scan": rows_of(self.table())}

    def to_csv(self, path: str | Path) -> None:
        """Write the table to a file, which appears only once it is complete.

        Raises:
            OSError: the file cannot be written, or is a model or holds labels.
        """
        path = Path(path)
        check_outputs(path, overwrite=True)
        with written_whole(path) as beside:
            write_csv(beside, rows_of(self.table()))

    def to_atoms(self) -> list[Atoms]:
        """The strained crystals, with energies and stresses attached.

        Uncertainties are in `atoms.info`, as is `outside_domain`: `ase.io.write("scan.xyz", atoms)` keeps them, and
        `database.write(atoms, **ase_dkl.database_fields(atoms.info))` does so in an ASE database.
        """
        frames = []
        for i, cell in enumerate(self.cells.reshape(-1, 3, 3)):
            frames.append(with_predicted(self.surrogate.crystal.atoms(cell), self.prediction, i))
            frames[-1].info["outside_domain"] = bool(self.outside.flat[i])
        return frames

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {"points": " × ".join(map(str, self.shape))}
        for name, values in self._coordinate_columns().items():
            if name in self.coordinate_names:
                rows[name] = f"{number(float(values[0]))} … {number(float(values[-1]))}"
        rows["lowest energy"] = f"{number(float(self.energy.min()), 8)} eV"
        rows["extrapolations"] = str(int(self.outside.sum()))
        return f"Scan of {self.surrogate.crystal.formula}", rows

    @property
    @abstractmethod
    def coordinate_names(self) -> tuple[str, ...]:
        """The scanned quantities as they are called in tables, with their units."""

    @abstractmethod
    def _coordinate_columns(self) -> dict[str, Floats]:
        """Where each lattice is on the line or plane."""


def columns(prediction: Prediction) -> dict[str, Floats]:
    """Energies, and stresses and forces where there are some, with their uncertainties; names carry the units."""
    found = {"energy_eV": prediction.energy, "energy_uncertainty_eV": prediction.energy_uncertainty}
    if (stress := prediction.slopes.get("strain")) is not None:
        found |= _six("stress_{}_GPa", stress.mean / GPa) | _six("stress_{}_uncertainty_GPa", stress.std / GPa)
    if (forces := prediction.slopes.get("displacement")) is not None:
        for ending, each in (("eV_A", forces.mean), ("uncertainty_eV_A", forces.std)):
            found |= {
                f"force_{ion}_{axis}_{ending}": each[:, ion, i]
                for ion in range(each.shape[1])
                for i, axis in enumerate("xyz")
            }
    return found


def with_predicted(atoms: Atoms, prediction: Prediction, i: int) -> Atoms:
    """Attach what is predicted of one structure as its results, with the uncertainties in `atoms.info` and `arrays`."""
    from ase.calculators.singlepoint import SinglePointCalculator

    energy = float(prediction.energy[i])
    results: dict[str, Any] = {"energy": energy, "free_energy": energy}
    atoms.info["energy_uncertainty"] = float(prediction.energy_uncertainty[i])
    if (stress := prediction.slopes.get("strain")) is not None:
        results["stress"], atoms.info["stress_uncertainty"] = stress.mean[i], stress.std[i]
    if (forces := prediction.slopes.get("displacement")) is not None:
        results["forces"] = forces.mean[i]
        atoms.arrays["forces_uncertainty"] = forces.std[i]
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.calc.name = "dkl"
    return atoms


def predict(surrogate: LatticeEnergy, cells: Floats, stress: bool) -> tuple[Prediction, NDArray[np.bool_]]:
    """Predictions for cells, shape (n, 3, 3), and where they are extrapolations.

    Raises:
        BadScan: there are no cells, or stresses are asked of cells without a volume.
    """
    if not len(cells):
        raise BadScan("A scan needs at least one point.")
    if stress:
        refuse_flat(cells)
    return surrogate.predict_cells(cells, stress=stress), surrogate.extrapolation(cells).outside


def refuse_flat(cells: Floats) -> None:
    """Tell that cells without a vacuum vector have no stress in eV/Å³."""
    if flat(cells).any():
        raise BadScan(
            "The vacuum vector is zero, so that there is no volume to refer a stress to. Scan energies alone, or start "
            "from a cell with a vacuum vector."
        )


def column(name: str) -> str:
    """The scanned quantity's name with its unit."""
    if name in STRAINS:
        return f"strain_{name}"
    return f"{name}{_UNITS[name]}" if name in _UNITS else "amplitude"


def _six(name: str, values: Floats) -> dict[str, Floats]:
    return {name.format(component): values[:, i] for i, component in enumerate(STRAINS)}
