"""A trained model of free ions in physical units: batch prediction, joint posterior, domain, save and load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from ase.units import GPa

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal, Mapped
from ase_dkl.crystal.lattice import volumes
from ase_dkl.crystal.structures import Structure, one_or_many
from ase_dkl.errors import Refused
from ase_dkl.model.calibration import Calibration
from ase_dkl.model.domain import Extrapolation
from ase_dkl.model.labels import Units
from ase_dkl.model.layout import VALUE, Layout
from ase_dkl.model.local_kernel import PROFILES, Inducing
from ase_dkl.model.local_process import LocalProcess, Process
from ase_dkl.model.pairs import Pairs
from ase_dkl.model.prediction import JointPosterior, Normal, Prediction
from ase_dkl.model.quantity import ENERGY, Quantity
from ase_dkl.model.records import IonConfig, TrainingReport, from_json
from ase_dkl.model.soundness import check_ionic, check_ionic_crystal
from ase_dkl.model.stored import Stored
from ase_dkl.shown import Shown, plain
from ase_dkl.wording import number

MARGIN = 0.2
"""How far beyond the longest and shortest pair of a kind in the training is still inside, over the range's width."""
ROUNDING = 1e-6
"""The same at least, Å: distances between ions that are held have no range."""
LARGEST = 2 * 2**30
"""Bytes of a joint covariance."""
_CHUNK = 2**22
"""Numbers in the largest intermediate of a batch prediction."""


class IonicSurrogate(Stored, Shown):
    """A model of the energy of free ions, in a lattice or without one. Made by `ase_dkl.fit_ions` or `ase_dkl.load`.

    Threads may share one.

    Attributes:
        space: what moves.
        units: of what is predicted, inside.
        config: how the model was trained.
        report: what training found.
        points: training structures in the reference's order, shape (n, 3 + N, 3), Å: cells and positions.
        process: the Gaussian process on environments.
        calibration: none as yet.
        written: the version of ase_dkl that wrote the file that the model was read from, and when; None where there is
            none.
    """

    _OF_FREE_IONS: ClassVar[bool] = True
    quantity: ClassVar[Quantity] = ENERGY

    def __init__(
        self,
        space: Pairs,
        units: Units,
        config: IonConfig,
        report: TrainingReport,
        points: Floats,
        process: Process,
    ) -> None:
        self.space, self.units, self.config, self.report = space, units, config, report
        self.points, self.process = points, process
        self.calibration: Calibration | None = None
        self.written: str | None = None

    @property
    def crystal(self) -> Crystal:
        """The reference."""
        return self.space.crystal

    @property
    def reference(self) -> Floats:
        """Its point, shape (3 + N, 3), Å."""
        return self.space.reference

    def predict(self, structures: Structure | Sequence[Structure], *, stress: bool = True) -> Prediction:
        """Predict structures as they are: rotated, shifted, with their atoms in any order, supercells that repeat.

        Args:
            structures: one or many of one number of atoms, as atoms or structures of pymatgen's.
            stress: whether stresses and forces are wanted.

        Raises:
            NotThisCrystal: a structure that is not the reference with displaced ions.
            ValueError: structures of several numbers of atoms.
        """
        atoms = one_or_many(structures)
        if len({len(each) for each in atoms}) > 1:
            raise ValueError(
                "Structures that are predicted together have one number of atoms. Predict each kind apart."
            )
        return self.of_mapped([self.crystal.map(each) for each in atoms], slopes=stress)

    def of_mapped(self, mapped: Sequence[Mapped], *, slopes: bool = True) -> Prediction:
        """Predict structures that are mapped onto the reference, of one number of atoms."""
        n = len(mapped)
        found = self.predict_points(self._points_of(mapped), slopes=slopes)
        kinds = dict(found.slopes)
        if "displacement" in kinds:
            sites = np.array([each.sites for each in mapped], dtype=np.int64).reshape(n, -1 if n else 0)
            kinds["displacement"] = kinds["displacement"][np.arange(n)[:, None], sites]
        copies = np.array([each.multiplicity for each in mapped])
        return Prediction(found.value.times(copies), kinds, self.quantity)

    def predict_points(self, points: Floats, *, slopes: bool = True) -> Prediction:
        """Predict structures of one reference cell, shape (n, 3 + N, 3), Å; forces are in the reference's order."""
        means, stds = self.marginals(points, slopes)
        return self.as_labels(points[:, :3], means, stds)

    def as_labels(self, cells: Floats, means: Floats, stds: Floats) -> Prediction:
        """Values and slopes, as `marginals` has them, in the form of labels; there is no stress without a lattice."""
        rows = Normal(means, stds, self.noise(means.shape))
        if self.crystal.dimension:
            return Prediction.of(cells, rows, self.space.blocks, self.quantity)
        # Some cell for what is not kept.
        found = Prediction.of(np.broadcast_to(np.eye(3), cells.shape), rows, self.space.blocks, self.quantity)
        kinds = {block: each for block, each in found.slopes.items() if block != "strain"}
        return Prediction(found.value, kinds, self.quantity)

    def judged_mapped(self, mapped: Sequence[Mapped], *, slopes: bool = True) -> tuple[Prediction, Extrapolation]:
        """What `of_mapped` and `extrapolation` answer."""
        return self.of_mapped(mapped, slopes=slopes), self.extrapolation(self._points_of(mapped))

    def marginals(self, points: Floats, slopes: bool) -> tuple[Floats, Floats]:
        """Mean and standard deviation of energies, eV, and where wanted of ∂E/∂ε, eV, and ∂E/∂r, eV/Å.

        Args:
            points: shape (n, 3 + N, 3), Å.
            slopes: whether derivatives are wanted.

        Returns:
            Two arrays of shape (n, 1) or (n, 7 + 3 N).
        """
        rows = len(self.layout(1, slopes))
        means, variances = np.empty((2, len(points), rows))
        size = max(1, _CHUNK // (rows * max(len(self.space.lengths), len(self.process.weights))))
        for start in range(0, len(points), size):
            part = slice(start, start + size)
            means[part], variances[part] = self.process.marginals(*self._seen(points[part], slopes))
        means *= self.units.scale
        means[:, 0] += self.units.shift
        return means, self.units.scale * np.sqrt(variances)

    def means(self, points: Floats) -> Floats:
        """Expected energies, ∂E/∂ε and ∂E/∂r, shape (n, 7 + 3 N): the first of `marginals`, without what std costs."""
        size = max(1, _CHUNK // (len(self.layout(1, True)) * max(len(self.space.lengths), len(self.process.weights))))
        parts = [self.process.means(*self._seen(points[i : i + size], True)) for i in range(0, len(points), size)]
        means = self.units.scale * np.concatenate(parts)
        means[:, 0] += self.units.shift
        return means

    def joint(self, points: Floats, slopes: bool, *, spread: bool = True) -> JointPosterior:  # noqa: ARG002
        """The joint Gaussian of energies, and of their slopes where wanted, in the units of `marginals`.

        Args:
            points: shape (n, 3 + N, 3), Å.
            slopes: whether derivatives are wanted.
            spread: nothing here: one process does not disagree with itself.

        Raises:
            MemoryError: more than `LARGEST` bytes.
        """
        layout = self.layout(len(points), slopes)
        if 8 * len(layout) ** 2 > LARGEST:
            raise MemoryError(
                f"The covariance of {len(layout)} energies and slopes takes {8 * len(layout) ** 2 / 2**30:.1f} GiB. "
                "Ask for fewer structures at once."
            )
        means, covariance = self.process.joint(*self._seen(points, slopes))
        n, rows = len(points), len(self.layout(1, slopes))
        order = np.arange(n * rows).reshape(n, rows)
        order = np.concatenate([order[:, 0], order[:, 1:].ravel()])
        mean = self.units.scale * means[order]
        mean[:n] += self.units.shift
        return JointPosterior(mean, self.units.scale**2 * covariance[np.ix_(order, order)], layout)

    def layout(self, n: int, slopes: bool) -> Layout:
        """Where values of n points stand, and their derivatives where wanted."""
        return Layout(n, n, self.space.blocks) if slopes else Layout(n)

    def noise(self, shape: tuple[int, int]) -> Floats:
        """The labels' noise in the units and the shape of `marginals`; 0 of what has no labels."""
        kinds = np.repeat([VALUE, *self.space.blocks], [1, *self.space.blocks.values()])[: shape[1]]
        return np.broadcast_to([self.report.noise.get(kind, 0.0) for kind in kinds], shape)

    def extrapolation(self, points: Floats) -> Extrapolation:
        """By how much distances between ions leave the range of the training."""
        low, high = self._range
        shortest, longest = self.space.ranges(points)
        excess = np.maximum(np.maximum(longest - high, low - shortest), 0)
        return Extrapolation(excess[:, None], np.zeros(len(points)), np.inf, self.space.names)

    @cached_property
    def stress_offset(self) -> float:
        """The training labels' constant in V·σ of xx, yy and zz (Pulay stress), eV; 0 without stress labels."""
        if self.report.stress_offset_GPa is None:
            return 0.0
        return self.report.stress_offset_GPa * GPa * float(volumes(self.crystal.cell))

    def to_dict(self) -> dict[str, Any]:
        """What the model is and how it came about, for JSON."""
        crystal = self.crystal
        low, high = self._range
        return {
            "formula": crystal.formula,
            "space_group": crystal.space_group,
            "ions": crystal.ions,
            "n_operations": len(crystal.operations.rotations),
            "mobile": crystal.mobile.tolist(),
            "units": "eV, Å; stress eV/Å³ where a name says no other",
            "domain": [
                {"name": name, "low": a, "high": b}
                for name, a, b in zip(self.space.names, low.tolist(), high.tolist(), strict=True)
            ],
            "written": self.written,
            "digest": self.digest,
            "config": plain(self.config),
            "report": self.report.to_dict(),
            "calibration": None,
        }

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {"rows": str(self.report.n_rows)}
        if (errors := self.report.errors) is not None and errors.energy_rmse_meV is not None:
            rows["energy RMSE"] = f"{number(errors.energy_rmse_meV, 3)} meV per cell"
        return f"Surrogate of {self.crystal.formula}, {self.crystal.space_group}, free ions", rows

    def _points_of(self, mapped: Sequence[Mapped]) -> Floats:
        return np.array([each.point for each in mapped]).reshape(-1, *self.reference.shape)

    def _seen(self, points: Floats, slopes: bool) -> tuple[Floats, Floats]:
        if slopes:
            return self.space.seen(points)
        coordinates = self.space.coordinates(points)
        return coordinates, np.empty((len(points), 0, coordinates.shape[1]))

    @cached_property
    def _range(self) -> tuple[Floats, Floats]:
        shortest, longest = self.space.ranges(self.points)
        low, high = shortest.min(axis=0), longest.max(axis=0)
        margin = MARGIN * (high - low) + ROUNDING
        return low - margin, high + margin

    @classmethod
    def _of_file(cls, header: dict[str, Any], tensors: dict[str, Floats]) -> Self:
        crystal = Crystal.from_dict(header["crystal"])
        check_ionic_crystal(crystal)
        config = from_json(IonConfig, header["config"])
        space = Pairs.of(crystal, config.interchange)
        noise, names = header["process"]["noise"], list(PROFILES)
        if header["process"]["profiles"] != names:
            raise ValueError("profiles are not those that there are")
        inducing = tuple(
            Inducing(
                environment,
                tensors[f"inducing{i}.points"],
                np.asarray(tensors[f"inducing{i}.of"]),
                tensors[f"inducing{i}.along"],
            )
            for i, environment in enumerate(space.environments)
        )
        process = LocalProcess(
            header["process"]["unit"],
            tensors["scales"],
            inducing,
            noise,
            tensors["posterior.factor"],
            tensors["posterior.weights"],
        )
        report = TrainingReport.from_dict(header["report"])
        found = cls(space, Units.from_dict(header["scaling"]), config, report, tensors["points"], process)
        check_ionic(found)
        return found

    @property
    def trained(self) -> LocalProcess:
        """The process as training left it.

        Raises:
            Refused: it has learnt further labels since.
        """
        if not isinstance(self.process, LocalProcess):
            raise Refused(
                "A model that has learnt labels one by one is no file. Train one on all of them: "
                "fit_ions(calculator.dataset)."
            )
        return self.process

    def _identity(self) -> dict[str, Any]:
        process = {
            "unit": self.trained.unit,
            "noise": dict(self.trained.noise),
            "profiles": list(PROFILES),
        }
        crystal, scaling = self.crystal.to_dict(), self.units.to_dict()
        return {"crystal": crystal, "config": asdict(self.config), "scaling": scaling, "process": process}

    def _tensors(self) -> dict[str, Any]:
        inducing = {
            f"inducing{i}.{name}": getattr(each, name)
            for i, each in enumerate(self.trained.inducing)
            for name in ("points", "of", "along")
        }
        process = self.trained
        posterior = {"posterior.factor": process.factor, "posterior.weights": process.weights}
        return {"points": self.points, "scales": process.scales, **inducing, **posterior}
