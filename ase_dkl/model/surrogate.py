"""A trained model in physical units: batch prediction, joint posterior, domain, save and load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from ase.units import GPa
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal, Mapped
from ase_dkl.crystal.coordinates import Coordinates
from ase_dkl.crystal.lattice import volumes
from ase_dkl.crystal.structures import Structure, one_or_many
from ase_dkl.model.calibration import Calibration
from ase_dkl.model.deep_kernel import DeepKernel, Layers
from ase_dkl.model.domain import Domain, Extrapolation
from ase_dkl.model.labels import Units
from ase_dkl.model.layout import VALUE, columns
from ase_dkl.model.posterior import Posterior
from ase_dkl.model.prediction import JointPosterior, Normal, Prediction, as_cells
from ase_dkl.model.quantity import Quantity
from ase_dkl.model.records import TrainConfig, TrainingReport, from_json
from ase_dkl.model.soundness import check
from ase_dkl.model.space import Lattice
from ase_dkl.model.stored import Stored
from ase_dkl.shown import Shown, plain
from ase_dkl.wording import number

_FRAME = ("images", "centre", "scale")
_POSTERIOR = tuple(name for name in Posterior.__dataclass_fields__ if name not in ("kind", "noise"))


class Surrogate(DeepKernel[Lattice], Stored, Shown):
    """A model of one crystal's energy as a function of its lattice. Made by `ase_dkl.fit` or `Surrogate.load`.

    Threads may share one.

    Attributes:
        space: what moves.
        units: of what is predicted, inside.
        config: how the model was trained.
        report: what training found.
        cells: training lattices in the reference's basis, shape (n, 3, 3), Å.
        layers: of the networks, weights and biases.
        process: the Gaussian processes on the features.
        calibration: what held-out rows say of the error bars; None where nobody asked. Predictions are the same.
        written: the version of ase_dkl that wrote the file that the model was read from, and when; None where there is
            none, or it is older than such records.
    """

    def __init__(
        self,
        space: Lattice,
        units: Units,
        config: TrainConfig,
        report: TrainingReport,
        cells: Floats,
        layers: Layers,
        process: Posterior,
    ) -> None:
        self.space, self.units = space, units
        self.config = config
        self.report = report
        self.cells = cells
        self.layers, self.process = layers, process
        self.calibration: Calibration | None = None
        self.written: str | None = None

    @property
    def quantity(self) -> Quantity:
        """What is predicted."""
        return self.units.quantity

    @property
    def crystal(self) -> Crystal:
        """The reference crystal."""
        return self.space.crystal

    def predict(self, structures: Structure | Sequence[Structure], *, stress: bool = True) -> Prediction:
        """Predict structures as they are: rotated, supercells, in any basis of the crystal.

        Args:
            structures: one or many, atoms or structures of pymatgen's. A supercell of N cells has N times the cell's
                energy, uncertainty and noise.
            stress: whether stresses are wanted.

        Raises:
            NotThisCrystal: a structure that is not the reference crystal, strained.
        """
        return self.of_mapped([self.crystal.map(atoms) for atoms in one_or_many(structures)], slopes=stress)

    def of_mapped(self, mapped: Sequence[Mapped], *, slopes: bool = True) -> Prediction:
        """Predict structures that are mapped onto the reference."""
        return self._whole(self.predict_cells(_cells_of(mapped), stress=slopes), mapped)

    def judged_mapped(self, mapped: Sequence[Mapped], *, slopes: bool = True) -> tuple[Prediction, Extrapolation]:
        """What `of_mapped` and `extrapolation` answer; energies alone cost less than when each is asked."""
        prediction, extrapolation = self.judged(_cells_of(mapped), stress=slopes)
        return self._whole(prediction, mapped), extrapolation

    def _whole(self, cell: Prediction, mapped: Sequence[Mapped]) -> Prediction:
        """Predictions of reference cells as those of structures of so many."""
        if not self.quantity.extensive:
            return cell
        return replace(cell, value=cell.value.times(np.array([each.multiplicity for each in mapped])))

    def predict_cells(self, cells: ArrayLike, *, stress: bool = True) -> Prediction:
        """Predict cells in the reference's basis; energies are per reference cell.

        Args:
            cells: shape (n, 3, 3), Å.
            stress: whether stresses are wanted.

        Raises:
            ValueError: another shape, vectors that are not finite, or stress asked of a cell without volume.
        """
        return self._predict(as_cells(cells, stress=stress), stress)

    def judged(self, cells: ArrayLike, *, stress: bool = True) -> tuple[Prediction, Extrapolation]:
        """What `predict_cells` and `extrapolation` answer; energies alone cost less than when each is asked."""
        given = as_cells(cells, stress=stress)
        coordinates = self.space.coordinates(given)
        return self._predict(given, stress, coordinates), self._domain.judge(coordinates)

    def derivatives(self, cells: ArrayLike) -> Floats:
        """Expected ∂E/∂ε of cells in the reference's basis, (n, 3, 3), Å; a cell needs no volume. eV, shape (n, 6)."""
        return self.marginals(as_cells(cells), True)[0][:, columns(self.space.blocks)["strain"]]

    def posterior(self, cells: ArrayLike, *, derivatives: bool = True, spread: bool = True) -> JointPosterior:
        """The joint posterior of energies and strain derivatives of cells in the reference's basis.

        Args:
            cells: shape (n, 3, 3), Å.
            derivatives: whether ∂E/∂ε is wanted.
            spread: whether the covariance contains the networks' disagreement. A few networks tell its size, and not
                how it goes together at distant cells.
        """
        return self.joint(as_cells(cells), derivatives, spread=spread)

    def extrapolation(self, cells: ArrayLike) -> Extrapolation:
        """Compare cells in the reference's basis, shape (n, 3, 3), Å, with the training lattices."""
        return self._domain.judge(self.space.coordinates(as_cells(cells)))

    @cached_property
    def stress_offset(self) -> float:
        """The training labels' constant in V·σ of xx, yy and zz (Pulay stress), eV; 0 without stress labels."""
        if self.report.stress_offset_GPa is None:
            return 0.0
        return self.report.stress_offset_GPa * GPa * float(volumes(self.crystal.cell))

    def ranges(self) -> list[tuple[str, float, float, float]]:
        """Lattice parameters of the training cells and their images: name, lowest, the reference's, highest."""
        return self.space.ranges(self.cells)

    def to_dict(self) -> dict[str, Any]:
        """What the model is and how it came about, for JSON."""
        crystal = self.crystal
        return {
            "formula": crystal.formula,
            "space_group": crystal.space_group,
            "n_images": len(crystal.images),
            "ions": crystal.ions,
            "units": "eV, Å, degrees; stress eV/Å³ where a name says no other",
            "domain": [dict(zip(("name", "low", "reference", "high"), row, strict=True)) for row in self.ranges()],
            "written": self.written,
            "digest": self.digest,
            "config": plain(self.config),
            "report": self.report.to_dict(),
            "calibration": None if self.calibration is None else self.calibration.summary(self.quantity),
        }

    def _summary(self) -> tuple[str, dict[str, str]]:
        crystal, errors = self.crystal, self.report.errors
        rows = {"rows": str(self.report.n_rows)}
        if errors is not None and errors.energy_rmse_meV is not None:
            rows["energy RMSE"] = f"{number(errors.energy_rmse_meV, 3)} meV per cell"
        rows["networks"] = str(self.config.networks)
        return f"Surrogate of {crystal.formula}, {crystal.space_group}", rows

    @classmethod
    def _of_file(cls, header: dict[str, Any], tensors: dict[str, Floats]) -> Self:
        crystal = Crystal.from_dict(header["crystal"])
        config = from_json(TrainConfig, header["config"])
        report = TrainingReport.from_dict(header["report"])
        frame = Coordinates(*(tensors[f"scaling.{name}"] for name in _FRAME))
        # Models from before there were means of the strain have no metric.
        space = Lattice(crystal.near(tensors["cells"]), frame, tensors.get("scaling.metric"))
        units = Units.from_dict(header["scaling"])
        layers = [(tensors[f"layer{i}.weight"], tensors[f"layer{i}.bias"]) for i in range(config.depth + 2)]
        kinds = (VALUE, *(block for block in Lattice.blocks if block in units.quantity.slopes))
        noise = {kind: tensors[f"posterior.noise.{kind}"] for kind in kinds}
        process = Posterior(config.kernel, noise, *(tensors[f"posterior.{name}"] for name in _POSTERIOR))
        surrogate = cls(space, units, config, report, tensors["cells"], layers, process)
        if header.get("calibration") is not None:
            surrogate.calibration = Calibration.from_file(header["calibration"], tensors)
        check(surrogate)
        return surrogate

    def _identity(self) -> dict[str, Any]:
        return {"crystal": self.crystal.to_dict(), "config": asdict(self.config), "scaling": self.units.to_dict()}

    def _tensors(self) -> dict[str, Floats]:
        scaling = {f"scaling.{name}": getattr(self.space.frame, name) for name in _FRAME}
        posterior = {f"posterior.{name}": getattr(self.process, name) for name in _POSTERIOR}
        posterior |= {f"posterior.noise.{kind}": noise for kind, noise in self.process.noise.items()}
        layers = {
            f"layer{i}.{name}": array
            for i, layer in enumerate(self.layers)
            for name, array in zip(("weight", "bias"), layer, strict=True)
        }
        if self.space.metric is not None:
            scaling["scaling.metric"] = self.space.metric
        return {"cells": self.cells, **scaling, **layers, **posterior}

    @cached_property
    def _domain(self) -> Domain:
        return self.space.domain(as_cells(self.cells))

    def _predict(self, cells: Floats, stress: bool, coordinates: Floats | None = None) -> Prediction:
        expected, uncertainty = self.marginals(cells, stress and bool(self.quantity.slopes), coordinates)
        return Prediction.of(
            cells, Normal(expected, uncertainty, self.noise(expected.shape)), self.space.blocks, self.quantity
        )

    def noise(self, shape: tuple[int, int]) -> Floats:
        """The labels' noise, of values and where wanted of derivatives, eV, shape (n, 1) or (n, 1 + t)."""
        found = np.empty(shape)
        for kind, place in columns(self.space.blocks if shape[1] > 1 else {}).items():
            found[:, place] = self.report.noise.get(kind, 0.0)
        return found


def _cells_of(mapped: Sequence[Mapped]) -> Floats:
    return np.array([each.cell for each in mapped]).reshape(-1, 3, 3)


def stress_offset_GPa(process: Posterior, units: Units, crystal: Crystal) -> tuple[float, float]:
    """Mean and standard deviation of the labels' constant in V·σ (Pulay stress), at the reference volume, GPa."""
    mean, std = process.offset()
    to_GPa = units.scale / float(volumes(crystal.cell)) / GPa
    return mean * to_GPa, std * to_GPa
