"""A trained model in physical units: batch prediction, joint posterior, domain, save and load."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.units import GPa
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ase_dkl.atomic import written_whole
from ase_dkl.crystal import Crystal
from ase_dkl.domain import Domain, Extrapolation
from ase_dkl.gp import ConditionedGP, Observations, SparseGP
from ase_dkl.inputs import Scaling, gather, observe
from ase_dkl.kernel import RadialKernel
from ase_dkl.model_file import BadModelFile, pack, unpack
from ase_dkl.network import FeatureExtractor
from ase_dkl.records import TrainConfig, TrainingReport

__all__ = ["BadModelFile", "JointPosterior", "Prediction", "Surrogate", "TrainConfig", "TrainingReport"]

Floats = NDArray[np.float64]
_PART = 4096
"""Training lattices looked at together."""
_CHUNK = 2**20
"""Numbers in the largest intermediate of a batch prediction: small enough to stay near the caches."""


@dataclass(frozen=True)
class Prediction:
    """Predictions for n structures. An uncertainty is one standard deviation of the model; the labels' noise is apart.

    Attributes:
        energy: eV, shape (n,).
        energy_uncertainty: eV, shape (n,).
        energy_noise: standard deviation of the training labels' noise, eV, shape (n,).
        stress: eV/Å³, Voigt xx yy zz yz xz xy, tension positive, in each structure's own frame, shape (n, 6); None
            where not asked for. The energy's own derivative: it contains no offset of the labels.
        stress_uncertainty: eV/Å³, shape (n, 6), or None.
        stress_noise: eV/Å³, shape (n, 6), or None.
    """

    energy: Floats
    energy_uncertainty: Floats
    energy_noise: Floats
    stress: Floats | None = None
    stress_uncertainty: Floats | None = None
    stress_noise: Floats | None = None


@dataclass(frozen=True)
class JointPosterior:
    """The joint Gaussian of [E_1 … E_n, ∂E_1/∂ε_1 … ∂E_1/∂ε_6, ∂E_2/∂ε_1 …], per reference cell, eV.

    Attributes:
        mean: shape (7 n,), or (n,) of energies alone.
        covariance: without label noise, eV², shape (7 n, 7 n) or (n, n).
    """

    mean: Floats
    covariance: Floats


class Surrogate:
    """A model of one crystal's energy as a function of its lattice. Made by `ase_dkl.fit` or `Surrogate.load`.

    Attributes:
        crystal: the reference crystal.
        config: how the model was trained.
        report: what training found.
        cells: training lattices in the reference's basis, shape (n, 3, 3), Å.
    """

    def __init__(
        self,
        crystal: Crystal,
        config: TrainConfig,
        report: TrainingReport,
        cells: Floats,
        scaling: Scaling,
        extractor: FeatureExtractor,
        process: ConditionedGP,
    ) -> None:
        self.crystal = crystal
        self.config = config
        self.report = report
        self.cells = cells
        self._model = nn.ModuleDict({"scaling": scaling, "extractor": extractor, "process": process})
        self._model.double().eval().requires_grad_(False)
        self._scaling, self._extractor, self._process = scaling, extractor, process
        self._periodic = torch.as_tensor(crystal.periodic)
        self._last = (torch.empty(0), torch.empty(0))

    def predict(self, structures: Atoms | Sequence[Atoms], *, stress: bool = True) -> Prediction:
        """Predict structures as they are: rotated, supercells, in any basis of the crystal.

        Args:
            structures: one or many. A supercell of N cells has N times the cell's energy, uncertainty and noise.
            stress: whether stresses are wanted.

        Raises:
            NotThisCrystal: a structure that is not the reference crystal, strained.
        """
        structures = [structures] if isinstance(structures, Atoms) else structures
        mapped = [self.crystal.map(atoms) for atoms in structures]
        cells = np.array([each.cell for each in mapped]).reshape(-1, 3, 3)
        copies = np.array([each.multiplicity for each in mapped])
        cell = self.predict_cells(cells, stress=stress)
        return Prediction(
            cell.energy * copies,
            cell.energy_uncertainty * copies,
            cell.energy_noise * copies,
            cell.stress,
            cell.stress_uncertainty,
            cell.stress_noise,
        )

    def predict_cells(self, cells: ArrayLike, *, stress: bool = True) -> Prediction:
        """Predict cells in the reference's basis; energies are per reference cell.

        Args:
            cells: shape (n, 3, 3), Å.
            stress: whether stresses are wanted.
        """
        given = _as_cells(cells)
        rows = 7 if stress else 1
        size = max(1, _CHUNK // (len(self._scaling.images) * rows * self.config.width * self.config.networks))
        parts = [self._marginals(part, stress) for part in given.split(size)]
        mean, variance = (torch.cat(part) for part in zip(*parts, strict=True))
        scale = self._scaling.energy_scale
        uncertainty = (variance.sqrt() * scale).numpy()
        expected = (mean * scale).numpy()
        n = len(given)
        energies = (
            expected[:, 0] + self._scaling.energy_shift.numpy(),
            uncertainty[:, 0],
            np.full(n, self.report.energy_noise),
        )
        if not stress:
            return Prediction(*energies)
        volume = np.abs(np.linalg.det(given.numpy()))[:, None]
        if (volume < 1e-6).any():
            raise ValueError(
                "A cell without volume has no stress. Give the vacuum vector a length, or ask for energies."
            )
        noise = np.full((n, 6), self.report.derivative_noise or 0.0)
        return Prediction(*energies, expected[:, 1:] / volume, uncertainty[:, 1:] / volume, noise / volume)

    def posterior(self, cells: ArrayLike, *, derivatives: bool = True) -> JointPosterior:
        """The joint posterior of energies and strain derivatives of cells in the reference's basis.

        Args:
            cells: shape (n, 3, 3), Å.
            derivatives: whether ∂E/∂ε is wanted.
        """
        with torch.inference_mode():
            observations = self._observe(_as_cells(cells), derivatives)
            means, covariances = self._process.joint(observations)
            mean, covariance = means.mean(0), covariances.mean(0)
            if len(means) > 1:
                apart = means - mean
                covariance = covariance + _spread_factor(len(means)) * apart.T @ apart
            mean = mean * self._scaling.energy_scale
            mean[: observations.n_values] += self._scaling.energy_shift
            return JointPosterior(mean.numpy(), (covariance * self._scaling.energy_scale**2).numpy())

    def extrapolation(self, cells: ArrayLike) -> Extrapolation:
        """Compare cells in the reference's basis, shape (n, 3, 3), Å, with the training lattices."""
        with torch.inference_mode():
            return self._domain.judge(self._coordinates(_as_cells(cells)).numpy())

    @cached_property
    def stress_offset(self) -> float:
        """The training labels' constant in V·σ of xx, yy and zz (Pulay stress), eV; 0 without stress labels."""
        if self.report.stress_offset_GPa is None:
            return 0.0
        return self.report.stress_offset_GPa * GPa * float(np.abs(np.linalg.det(self.crystal.cell)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that predictions follow from: equal for equal models, whenever they were trained."""
        return hashlib.sha256(pack(self._identity(), self._tensors())).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the model to one file, which appears only once it is complete."""
        with written_whole(Path(path)) as beside:
            beside.write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Surrogate:
        """Read a model file. Nothing in it is executed.

        Raises:
            BadModelFile: it cannot be read, is truncated, no model, or of a newer format.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BadModelFile(f"{path} cannot be read as a model: {reason}.") from error
        return cls.from_bytes(content, name=str(path))

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        return pack({**self._identity(), "report": self.report.to_dict()}, self._tensors())

    @classmethod
    def from_bytes(cls, content: bytes, *, name: str = "These bytes") -> Surrogate:
        """Rebuild a model from `to_bytes`; errors speak of it by its name."""
        header, tensors = unpack(content, name)
        try:
            crystal = Crystal.from_dict(header["crystal"])
            config = TrainConfig(**header["config"])
            report = TrainingReport.from_dict(header["report"])
            cells = tensors.pop("cells")
            scaling, extractor, process = _blank(config, tensors)
            surrogate = cls(crystal, config, report, cells.numpy(), scaling, extractor, process)
            surrogate._model.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BadModelFile(
                f"{name} has the form of a model but its content does not fit together: it was changed after it was "
                "written, or belongs to another version of ase_dkl. Train again."
            ) from error
        return surrogate

    def _identity(self) -> dict[str, Any]:
        return {"crystal": self.crystal.to_dict(), "config": asdict(self.config)}

    def _tensors(self) -> dict[str, Tensor]:
        return {**self._model.state_dict(), "cells": torch.as_tensor(self.cells)}

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return Surrogate.from_bytes, (self.to_bytes(),)

    @cached_property
    def _domain(self) -> Domain:
        with torch.inference_mode():
            parts = _as_cells(self.cells)[:, self._periodic].split(_PART)
            return Domain((self._scaling.coordinates(part).numpy() for part in parts), self._scaling.scale.numpy())

    def _observe(self, cells: Tensor, derivatives: bool) -> Observations:
        quadratic = self.config.mean == "quadratic"
        if not derivatives:
            return observe(self._extractor, gather(self._coordinates(cells), quadratic=quadratic))
        coordinates, tangents = self._scaling.coordinates_and_tangents(cells[:, self._periodic])
        return observe(self._extractor, gather(coordinates, tangents, quadratic=quadratic))

    def _coordinates(self, cells: Tensor) -> Tensor:
        """Image coordinates. A calculator asks for a cell's domain and then its energy: the last answer is kept."""
        last_cells, last = self._last
        if not torch.equal(cells, last_cells):
            last = self._scaling.coordinates(cells[:, self._periodic])
            self._last = (cells, last)
        return last

    def _marginals(self, cells: Tensor, stress: bool) -> tuple[Tensor, Tensor]:
        """Mean and variance of the mixture in scaled units, energy first, shape (n, 1) or (n, 7)."""
        with torch.inference_mode():
            means, variances = self._process.marginals(self._observe(cells, stress))
            mean, variance = means.mean(0), variances.mean(0)
            if len(means) > 1:
                variance = variance + _spread_factor(len(means)) * ((means - mean) ** 2).sum(0)
            n = len(cells)
            if not stress:
                return mean.unsqueeze(1), variance.unsqueeze(1)
            mean, variance = (torch.cat([row[:n, None], row[n:].view(n, 6)], dim=1) for row in (mean, variance))
            return mean, variance


def _spread_factor(networks: int) -> float:
    """What the squared deviations of K networks from their mean are multiplied with to be a variance of the prediction.

    1 / (K − 1) makes them a variance between networks. The truth is taken as one more draw from where the networks came
    from: it differs from the mean of K by 1 + 1/K times that.
    """
    return (1 + 1 / networks) / (networks - 1)


def _as_cells(cells: ArrayLike) -> Tensor:
    # A copy: torch's own memory is aligned, and with that the last bit of a product does not depend on the caller's.
    given = torch.tensor(np.asarray(cells, dtype=np.float64))
    if given.ndim != 3 or given.shape[1:] != (3, 3):
        raise ValueError(f"Cells have the shape (n, 3, 3); these have {tuple(given.shape)}.")
    return given


def _blank(config: TrainConfig, tensors: dict[str, Tensor]) -> tuple[Scaling, FeatureExtractor, ConditionedGP]:
    """Modules of the right shapes, for the tensors of a file to be loaded into."""
    images = tensors["scaling.images"]
    scaling = Scaling(images, torch.eye(images.shape[1], 3, dtype=torch.float64).expand(2, -1, -1), torch.zeros(2))
    extractor = FeatureExtractor(
        config.networks,
        len(scaling.centre),
        config.n_features,
        width=config.width,
        depth=config.depth,
        coefficient=None,
    )
    kernel = RadialKernel(config.kernel, tensors["process.gp.kernel.log_lengthscale"])
    gp = SparseGP(tensors["process.gp.inducing_points"], kernel)
    head = tensors["process.head"]
    n_inducing = gp.inducing_points.shape[1]
    process = ConditionedGP(
        gp, *(part.clone() for part in head.split([n_inducing, head.shape[2] - n_inducing - 1, 1], 2))
    )
    return scaling, extractor, process
