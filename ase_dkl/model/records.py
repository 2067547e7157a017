"""What a model says of how it came about: its configuration, the training's report, and errors on labelled rows."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, is_dataclass
from pathlib import PurePosixPath, PureWindowsPath
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from ase_dkl.errors import Refused
from ase_dkl.model.mean import MeanName
from ase_dkl.shown import Shown
from ase_dkl.wording import number

T = TypeVar("T")

Start = Literal["fuzzy", "kmeans", "random"]
"""Where inducing points start."""
Kernel = Literal["rbf", "matern52"]
StressLabels = Literal["auto", "use", "ignore"]
Interchange = Literal["symmetry", "bonds"]
"""Which permutations of atoms leave an energy alone."""
Bound = Literal["auto", "collapsed", "stochastic"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)
_FOLDERS = re.compile(r"(?<![\w/:.~])/(?:[^/\s'\"]+/)+(?=[^/\s'\"])|\b[A-Za-z]:\\(?:[^\\\s'\"]+\\)+")
"""The folders of an absolute path within a text."""


class BadTraining(Refused, ValueError):
    """A configuration that makes no sense, or that the data do not allow."""


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        networks: number of networks in the mixture, K.
        n_inducing: number of inducing points, M; at most one for each observation.
        inducing: where they start, in the features of the untrained networks: centres of "fuzzy" c-means, centres of
            "kmeans", or "random" structures.
        n_features: what a network makes of a lattice, in numbers.
        width: of the networks' hidden layers.
        depth: number of residual blocks.
        spectral_coefficient: largest singular value of a residual branch's weights, c'; None for no limit.
        kernel: "rbf" or "matern52".
        mean: the prior mean, "cubic" or "quadratic" in the scaled lattice parameters, "sextic" in the strain, with a
            prior as broad as the bound finds it, or "constant".
        folds: train each of the networks without its share of the structures, 1/K of them, before all structures enter
            the Gaussian processes. Networks that explain labels too well then disagree about them. Under the
            collapsed bound.
        symmetry: whether features are averaged over the crystal's symmetry images.
        stress: "auto" uses stress labels where rows have them, "use" demands some, "ignore" uses none.
        bound: "collapsed" for data that fit in memory, "stochastic" for minibatches; "auto" decides by the memory that
            the networks' activations would take.
        natural_gradients: for the stochastic bound, find q(u) by natural gradients and in closed form when training
            ends; otherwise by Adam with everything else, as it comes out.
        steps: optimiser steps under the collapsed bound, at most; by default they grow with the root of the number of
            labels, as few labels are soon overfitted and many take longer to explain.
        epochs: passes over the data under the stochastic bound.
        batch_size: structures in a minibatch.
        learning_rate: Adam's, for network weights and inducing points; it decays to zero along a cosine.
        gp_rate: times as fast for the Gaussian process's own parameters.
        weight_decay: of the network weights, decoupled from the gradient (AdamW). Over more than 600 steps it
            is spread, and with more than 2,000 structures it falls with their number.
        seed: of every random number.
    """

    networks: int = 4
    n_inducing: int = 50
    inducing: Start = "fuzzy"
    n_features: int = 8
    width: int = 32
    depth: int = 6
    spectral_coefficient: float | None = 0.9
    kernel: Kernel = "rbf"
    mean: MeanName = "cubic"
    folds: bool = True
    symmetry: bool = True
    stress: StressLabels = "auto"
    bound: Bound = "auto"
    natural_gradients: bool = True
    steps: int | None = None
    epochs: int = 20
    batch_size: int = 512
    learning_rate: float = 1e-2
    gp_rate: float = 5.0
    weight_decay: float = 1.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("networks", "n_inducing", "n_features", "width", "depth", "steps", "epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadTraining(f"{name} is {value}; it is a number of things and at least 1.")
        for name in ("learning_rate", "gp_rate", "weight_decay"):
            if not 0 <= (rate := getattr(self, name)) < math.inf:
                raise BadTraining(f"{name} is {rate}; it is a finite number and at least 0.")
        for name, hint in get_type_hints(TrainConfig).items():
            if get_origin(hint) is Literal and getattr(self, name) not in get_args(hint):
                raise BadTraining(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(get_args(hint))}.")

    @classmethod
    def paper(cls, *, n_inducing: int = 50, seed: int = 0) -> Self:
        """The bare method: energies only, no symmetry, one network, constant mean, everything by Adam on minibatches.

        Source: deep kernel learning with spectral normalisation: van Amersfoort et al., arXiv:2102.11409 (DUE), with
        fuzzy c-means in place of k-means.
        """
        return cls(
            networks=1,
            n_inducing=n_inducing,
            width=64,
            depth=4,
            spectral_coefficient=0.95,
            mean="constant",
            symmetry=False,
            stress="ignore",
            bound="stochastic",
            natural_gradients=False,
            epochs=300,
            batch_size=64,
            gp_rate=1.0,
            weight_decay=0.0,
            seed=seed,
        )


@dataclass(frozen=True)
class IonConfig:
    """How a model of free ions is trained.

    Attributes:
        n_inducing: number of inducing environments, M; up to five times as many labels of a small molecule, or 2,000,
            are each their own.
        symmetry: whether energies are the same at symmetry images.
        interchange: which permutations of atoms leave the energy alone: "symmetry", those of the reference, or of a
            molecule all that leave its "bonds", as where methyl groups turn.
        stress: "auto" uses stress labels where rows have them, "use" demands some, "ignore" uses none.
        seed: of every random number.
    """

    n_inducing: int = 800
    symmetry: bool = True
    interchange: Interchange = "symmetry"
    stress: StressLabels = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_inducing < 1:
            raise BadTraining(f"n_inducing is {self.n_inducing}; it is a number of things and at least 1.")
        if self.seed < 0:
            raise BadTraining(f"seed is {self.seed}; it is a whole number and at least 0.")
        for name, choices in (("stress", get_args(StressLabels)), ("interchange", get_args(Interchange))):
            if getattr(self, name) not in choices:
                raise BadTraining(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}.")


@dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """Errors and calibration of a surrogate on labelled structures; None where there is nothing to compare.

    Energies are per reference cell. Coverages, the likelihood and the miscalibration area judge the labels by model
    uncertainty and noise together. They and the rank correlation are None of fewer than ten structures: with so few
    they are an accident.

    Attributes:
        n: number of structures.
        energy_rmse_meV: root mean square error.
        energy_mae_meV: mean absolute error.
        energy_max_meV: the largest absolute error.
        energy_nll: mean negative log likelihood of a label, nats, energies in eV.
        coverage_68: fraction of the labels inside the central 68 % interval.
        coverage_95: fraction of the labels inside the central 95 % interval.
        miscalibration_area: area between expected and observed coverage, 0 (perfect) to ½.
        spearman: rank correlation between the error's size and the model's uncertainty.
        stress_rmse_GPa: root mean square error over all stress components.
        stress_coverage_95: fraction of the stress components inside their central 95 % interval.
        n_outside_domain: number of structures on which the surrogate extrapolates; None where this was not asked.
        energy_rms_z: root mean square of error over standard deviation, 1 where error bars are right.
        force_rmse_meV_A: root mean square error over all force components.
        force_mae_meV_A: mean absolute error of a force component.
        force_relative_rmse: the root mean square error over the labels' root mean square.
        force_coverage_95: fraction of the force components inside their central 95 % interval.
    """

    n: int
    energy_rmse_meV: float | None
    energy_mae_meV: float | None
    energy_max_meV: float | None
    energy_nll: float | None
    coverage_68: float | None
    coverage_95: float | None
    miscalibration_area: float | None
    spearman: float | None
    stress_rmse_GPa: float | None
    stress_coverage_95: float | None
    n_outside_domain: int | None
    energy_rms_z: float | None = None
    force_rmse_meV_A: float | None = None
    force_mae_meV_A: float | None = None
    force_relative_rmse: float | None = None
    force_coverage_95: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Every number under its name; errors of forces only where there are some."""
        found = super().to_dict()
        if self.force_rmse_meV_A is not None:
            return found
        return {name: value for name, value in found.items() if not name.startswith("force_")}

    def words(self) -> dict[str, str]:
        """Errors and calibration; the latter only where there are rows enough."""

        def shown(value: float | None, form: str = "", unit: str = "") -> str:
            if value is None:
                return "nothing to compare"
            return f"{value:{form}}{unit}" if form else f"{number(value, 3)}{unit}"

        rows = {"structures": f"{self.n}"}
        if self.n_outside_domain is not None:
            rows["of them extrapolations"] = f"{self.n_outside_domain}"
        rows |= {
            "energy error, RMS": shown(self.energy_rmse_meV, unit=" meV per cell"),
            "energy error, mean size": shown(self.energy_mae_meV, unit=" meV per cell"),
            "energy error, largest": shown(self.energy_max_meV, unit=" meV per cell"),
            "stress error, RMS": shown(self.stress_rmse_GPa, unit=" GPa"),
        }
        if self.force_rmse_meV_A is not None:
            rows |= {
                "force error, RMS": shown(self.force_rmse_meV_A, unit=" meV/Å"),
                "force error, mean size": shown(self.force_mae_meV_A, unit=" meV/Å"),
                "force error, over the forces": shown(self.force_relative_rmse, ".2%"),
                "forces in the 95 % band": shown(self.force_coverage_95, ".1%"),
            }
        if self.coverage_95 is None:
            return rows | {"error bars": "not judged by so few structures"}
        return rows | {
            "labels in the 68 % band": shown(self.coverage_68, ".1%"),
            "labels in the 95 % band": shown(self.coverage_95, ".1%"),
            "stresses in the 95 % band": shown(self.stress_coverage_95, ".1%"),
            "miscalibration area": shown(self.miscalibration_area, ".3f", "  (0 is perfect, 0.5 the worst)"),
            "rank correlation of error and uncertainty": shown(self.spearman, ".2f"),
            "negative log likelihood": shown(self.energy_nll, ".2f", " nats (energies in eV)"),
        }

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {}
        if self.energy_rmse_meV is not None and self.energy_max_meV is not None:
            rows["energy RMSE"] = f"{number(self.energy_rmse_meV, 3)} meV per cell"
            rows["largest"] = f"{number(self.energy_max_meV, 3)} meV per cell"
        if self.force_rmse_meV_A is not None:
            rows["force RMSE"] = f"{number(self.force_rmse_meV_A, 3)} meV/Å"
        if self.stress_rmse_GPa is not None:
            rows["stress RMSE"] = f"{number(self.stress_rmse_GPa, 3)} GPa"
        if self.coverage_95 is not None:
            rows["in the 95 % band"] = f"{self.coverage_95:.1%}"
        if self.n_outside_domain:
            rows["extrapolations"] = str(self.n_outside_domain)
        return f"Errors on {self.n} structure{'s' * (self.n != 1)}", rows


@dataclass(frozen=True)
class Contradiction:
    """A label that the labels of the other rows contradict.

    Attributes:
        id: of the row in its source, or its name where there are several sources.
        label: "energy", or the stress component that is furthest off, such as "stress xy".
        given: the label, eV per reference cell or GPa.
        expected: what the others make of it.
        std: standard deviation of their difference, were the label as right as the others.
    """

    id: str
    label: str
    given: float
    expected: float
    std: float


@dataclass(frozen=True, repr=False)
class TrainingReport(Shown):
    """What training found.

    Attributes:
        n_rows: structures trained on.
        n_stress: those among them with stress labels.
        test: errors on rows that a model trained without them gave; None where none were held out.
        noise: label noise that was found, by the kind of label: "value", of energies, eV per reference cell, and
            "strain", of ∂E/∂ε, eV, where there were stress labels.
        stress_offset_GPa: the labels' constant in V·σ of xx, yy, zz (Pulay stress), at the reference volume; None
            without stress labels.
        stress_offset_std_GPa: its standard deviation.
        singular_values: the largest one of every layer, by layer and network.
        centre_spread: spread of the inducing points' first places over that of the features, by network.
        fuzzifier: exponent that kept fuzzy c-means centres apart, by network; None where they were placed otherwise.
        bound: "collapsed" or "stochastic"; "FITC" of free ions, where it is the evidence itself.
        bound_per_label: the bound when training ended, nats a label, mean over the networks.
        steps: optimiser steps taken, or how often the evidence was asked for.
        converged: whether the bound had settled: it rose by less than 0.05 nats a label over the last tenth of the
            steps, in which the learning rate goes to zero; of free ions, the search for the evidence's maximum ended by
            itself.
        seconds: wall time of training.
        dataset: provenance of the rows; of files the names, without their folders where those are of one machine.
        warnings: what the user should know.
        mean_breadth: what the prior of the sextic mean is multiplied by, by network; None of other means.
        left_out: errors on all rows, each predicted by the network that was trained without it from the labels of all
            others; None where no network was trained without it.
        contradictions: labels that the others contradict.
        n_forces: those among the structures with forces.
    """

    n_rows: int
    n_stress: int
    test: Evaluation | None
    noise: dict[str, float]
    stress_offset_GPa: float | None
    stress_offset_std_GPa: float | None
    singular_values: dict[str, list[float]]
    centre_spread: list[float]
    fuzzifier: list[float] | None
    bound: str
    bound_per_label: float
    steps: int
    converged: bool
    seconds: float
    dataset: dict[str, Any]
    warnings: tuple[str, ...]
    mean_breadth: list[float] | None = None
    left_out: Evaluation | None = None
    contradictions: tuple[Contradiction, ...] = ()
    n_forces: int = 0

    _VIEWS: ClassVar = ("energy_noise", "derivative_noise")

    @property
    def energy_noise(self) -> float:
        """Label noise found in the energies, eV per reference cell."""
        return self.noise["value"]

    @property
    def derivative_noise(self) -> float | None:
        """Label noise found in ∂E/∂ε, eV; None without stress labels."""
        return self.noise.get("strain")

    @property
    def trained_on(self) -> str:
        """How many rows of which kind."""
        forces = f", {self.n_forces} with forces" if self.n_forces else ""
        return f"{self.n_rows} rows, {self.n_stress} of them with stress{forces}"

    @property
    def errors(self) -> Evaluation | None:
        """What tells most of the model's errors: held-out rows where there are enough to tell, else each left out."""
        if self.left_out is None or (self.test is not None and self.test.energy_rms_z is not None):
            return self.test
        return self.left_out

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {"noise of the energies": f"{number(1e3 * self.energy_noise, 3)} meV per cell"}
        if self.errors is not None and self.errors.energy_rmse_meV is not None:
            rows["energy RMSE"] = f"{number(self.errors.energy_rmse_meV, 3)} meV per cell"
        rows["steps"] = f"{self.steps}, {'' if self.converged else 'not '}converged"
        rows["warnings"] = str(len(self.warnings))
        return f"Trained on {self.trained_on}", rows

    def _derived(self) -> tuple[str, ...]:
        return self._VIEWS

    def __post_init__(self) -> None:
        for name in ("dataset", "warnings"):
            object.__setattr__(self, name, _without_folders(getattr(self, name)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a report from `to_dict`."""
        return from_json(cls, {name: value for name, value in values.items() if name not in cls._VIEWS})


def from_json(record: type[T], values: Any) -> T:
    """Rebuild a record from JSON, by the names of its fields; what is not there has its default.

    Raises:
        ValueError: a field is missing, unknown, or not of its type.
    """
    hints = get_type_hints(record)
    if not isinstance(values, dict) or values.keys() - hints:
        raise ValueError(f"{record.__name__} has no fields such as these")
    try:
        return record(**{name: _of_type(hints[name], value, name) for name, value in values.items()})
    except TypeError as error:
        raise ValueError(f"{record.__name__}: {error}") from error


def _of_type(hint: Any, value: Any, name: str) -> Any:
    """A JSON value as a type annotation has it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(value, dict):
        return from_json(hint, value)  # type: ignore[arg-type]
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        (hint,) = (each for each in arguments if each is not NoneType)
        return _of_type(hint, value, name)
    if origin in (list, tuple) and isinstance(value, list):
        return origin(_of_type(arguments[0], each, name) for each in value)
    if origin is dict and isinstance(value, dict):
        return {key: _of_type(arguments[1], each, name) for key, each in value.items()}
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint is Any or (origin is Literal and value in arguments) or (hint in (int, bool, str) and type(value) is hint):
        return value
    raise ValueError(f"{name} is {value!r:.80}")


def _without_folders(value: Any) -> Any:
    """JSON in which nothing tells folders of a machine: of an absolute path the last name is left."""
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without_folders(each) for each in value)
    if not isinstance(value, str):
        return value
    for kind in (PurePosixPath, PureWindowsPath):
        if "\n" not in value and kind(value).is_absolute():
            return kind(value).name
    return _FOLDERS.sub("", value)
