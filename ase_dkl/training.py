"""Training: Algorithm 1 of the method, step by step, and what is measured on the way.

draw a random subset of structures → features from the untrained network → fuzzy c-means centroids as Z
→ repeat { spectral normalisation → features → Gaussian process → negative ELBO → step on θ, ξ }
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from ase.units import GPa
from gpytorch.optim import NGD
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ase_dkl import lattice
from ase_dkl.dataset import Dataset
from ase_dkl.gp import BASIS_SCALE, ConditionedGP, SparseGP
from ase_dkl.inducing import FUZZIFIERS, LEAST_SPREAD, Centres, fuzzy_centres
from ase_dkl.inputs import Inputs, Scaling, gather, observe
from ase_dkl.kernel import RadialKernel, typical_lengthscale
from ase_dkl.metrics import Evaluation, evaluate
from ase_dkl.network import FeatureExtractor
from ase_dkl.records import TrainConfig, TrainingReport
from ase_dkl.surrogate import Surrogate
from ase_dkl.variational import VariationalGP

__all__ = ["BadTraining", "TrainConfig", "fit"]

SUBSET = 2000
"""m_r: structures that fuzzy c-means sees."""
LARGEST_ACTIVATIONS = 2 * 2**30
"""Bytes of the networks' activations above which "auto" trains on minibatches."""
PATIENCE = 50
"""Steps over which the bound must still rise."""
RISE = 1e-3
"""By how much, nats a label."""
NATURAL_STEP = 0.3
"""Step length of the natural gradients."""


class BadTraining(ValueError):
    """A configuration that the data do not allow."""


def fit(
    dataset: Dataset,
    config: TrainConfig | None = None,
    *,
    test: Dataset | None = None,
    held_out: Evaluation | None = None,
    progress: bool = True,
) -> Surrogate:
    """Train a model.

    Args:
        dataset: labelled cells of one crystal.
        config: how to train; the default is what the project's benchmarks use.
        test: rows to measure the model's errors on, for its report.
        held_out: errors that an earlier model, trained without these rows, made on them; for the report.
        progress: show a progress bar with the bound.

    Returns:
        The model. The same data, configuration and seed give the same model on the same machine and number of threads.

    Raises:
        BadTraining: stress labels are demanded and there are none.
    """
    config = config or TrainConfig()
    start = time.perf_counter()
    if config.stress == "ignore":
        dataset = dataset.without_stresses()
    elif config.stress == "use" and not dataset.has_stress.any():
        raise BadTraining('No row has a stress label, and stress="use" demands some. Use "auto" or "ignore".')
    crystal = dataset.crystal if config.symmetry else replace(dataset.crystal, images=dataset.crystal.images[:1])

    # Structures with stress come first: only those need tangents.
    dataset = dataset.subset(np.argsort(~dataset.has_stress, kind="stable"))
    data = _Data(dataset, crystal.periodic, torch.as_tensor(crystal.images), config)
    with torch.random.fork_rng(devices=[]), _progress_bar(progress) as bar:
        torch.manual_seed(config.seed)
        model = _initialise(data, config)
        stochastic = config.bound == "stochastic" or (
            config.bound == "auto" and data.activation_bytes() > LARGEST_ACTIVATIONS
        )
        train = _train_stochastic if stochastic else _train_collapsed
        process, steps, bound, converged = train(model, data, config, bar)

    notes = list(dataset.warnings)
    if not converged:
        notes.append(f"The bound was still rising after {steps} steps; train longer for smaller errors.")
    lowered = sum(centres.fuzzifier < FUZZIFIERS[0] for centres in model.centres)
    if lowered:
        notes.append(
            f"Fuzzy c-means centres collapsed onto the mean in {lowered} of {config.networks} networks; "
            f"the fuzzifier was lowered to {min(centres.fuzzifier for centres in model.centres)} there."
        )
    if min(centres.spread for centres in model.centres) < LEAST_SPREAD:
        notes.append("Fuzzy c-means centres lie on the mean with every fuzzifier; ask for fewer features.")
    offset, offset_std = _label_offset(process)
    scale = float(data.scaling.energy_scale)
    to_GPa = scale / abs(float(np.linalg.det(crystal.cell))) / GPa
    report = TrainingReport(
        n_rows=len(dataset),
        n_stress=data.n_stress,
        test=held_out,
        energy_noise=scale * _mean_noise(process.gp.log_value_noise),
        derivative_noise=scale * _mean_noise(process.gp.log_derivative_noise) if data.n_stress else None,
        stress_offset_GPa=offset * to_GPa if data.n_stress else None,
        stress_offset_std_GPa=offset_std * to_GPa if data.n_stress else None,
        singular_values=model.extractor.singular_values(),
        centre_spread=[centres.spread for centres in model.centres],
        fuzzifier=[centres.fuzzifier for centres in model.centres],
        bound="stochastic" if stochastic else "collapsed",
        bound_per_label=bound,
        steps=steps,
        converged=converged,
        seconds=time.perf_counter() - start,
        dataset=dataset.provenance,
        warnings=tuple(notes),
    )
    surrogate = Surrogate(crystal, config, report, dataset.cells, data.scaling, model.extractor, process)
    if test is not None:
        surrogate.report = replace(report, test=evaluate(surrogate, test))
    return surrogate


class _Data:
    """Inputs and labels in scaled units. Structures that have stress labels come first."""

    def __init__(self, dataset: Dataset, periodic: tuple[int, ...], images: Tensor, config: TrainConfig) -> None:
        self.cells = torch.tensor(dataset.cells)[:, list(periodic)]
        energies = torch.tensor(dataset.energies)
        self.scaling = Scaling(images, self.cells, energies)
        self.n_stress = int(dataset.has_stress.sum())
        self.quadratic = config.mean == "quadratic"
        self._config = config
        self._values = (energies - self.scaling.energy_shift) / self.scaling.energy_scale
        self._slopes = None
        if self.n_stress:
            volumes = torch.tensor(np.abs(np.linalg.det(dataset.cells[: self.n_stress])))
            self._directions = lattice.independent_strains(self.cells[: self.n_stress])
            stresses = torch.tensor(dataset.stresses[: self.n_stress])
            along = (self._directions @ (volumes[:, None] * stresses).unsqueeze(2)).squeeze(2)
            self._slopes = along / self.scaling.energy_scale

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def n_labels(self) -> int:
        return len(self._values) + (0 if self._slopes is None else self._slopes.numel())

    def batch(self, index: Tensor) -> tuple[Inputs, Tensor]:
        """Inputs and labels of some structures, given in rising order."""
        cells, values = self.cells[index], self._values[index]
        m = int((index < self.n_stress).sum())
        if not m or self._slopes is None:
            return gather(self.scaling.coordinates(cells), quadratic=self.quadratic), values
        coordinates = self.scaling.coordinates(cells)
        _, tangents = self.scaling.coordinates_and_tangents(cells[:m])
        directions = self._directions[index[:m]]
        along = torch.einsum("ntj,ngjp->ngtp", directions, tangents)
        traces = directions[..., :3].sum(-1)
        given = gather(coordinates, along, traces, quadratic=self.quadratic)
        return given, torch.cat([values, self._slopes[index[:m]].flatten()])

    def all(self) -> tuple[Inputs, Tensor]:
        return self.batch(torch.arange(len(self)))

    def subset(self, rng: np.random.Generator) -> Tensor:
        """Coordinates of a random subset, shape (m_r, g, p).

        A structure with stresses is worth several observations, and then there may be more inducing points than
        structures. The subset is filled up with lattices between the labelled ones: mixtures of two metrics.
        """
        chosen = rng.permutation(len(self))[:SUBSET]
        cells = self.cells[torch.as_tensor(chosen)]
        missing = 8 * self._config.n_inducing - len(cells)
        if self.n_stress and missing > 0:
            metrics = lattice.metric(self.cells)
            first, second = (torch.as_tensor(rng.integers(len(self), size=missing)) for _ in range(2))
            share = torch.as_tensor(rng.random(missing))[:, None, None]
            between = torch.linalg.cholesky(share * metrics[first] + (1 - share) * metrics[second])
            padded = torch.nn.functional.pad(between, (0, 3 - between.shape[-1]))
            return torch.cat([self.scaling.coordinates(cells), self.scaling.coordinates(padded)])
        return self.scaling.coordinates(cells)

    def activation_bytes(self) -> int:
        """Memory that training on all data at once takes for what the backward pass needs."""
        passes = len(self) + 6 * self.n_stress
        numbers = passes * len(self.scaling.images) * self._config.networks * self._config.width
        return 4 * 3 * self._config.depth * numbers


class _Model:
    """Networks, process, and the centres from which its inducing points start."""

    def __init__(self, extractor: FeatureExtractor, gp: SparseGP, centres: list[Centres]) -> None:
        self.extractor, self.gp, self.centres = extractor, gp, centres


def _initialise(data: _Data, config: TrainConfig) -> _Model:
    rng = np.random.default_rng(config.seed)
    extractor = FeatureExtractor(
        config.networks,
        len(data.scaling.centre),
        config.n_features,
        width=config.width,
        depth=config.depth,
        coefficient=config.spectral_coefficient,
    )
    # draw a random subset of m_r structures → features from the untrained network
    with torch.no_grad():
        features = extractor(data.subset(rng).float())[0].double()
    # → fuzzy c-means centroids as Z
    n_inducing = min(config.n_inducing, data.n_labels, features.shape[1])
    centres = [fuzzy_centres(each.numpy(), n_inducing, rng) for each in features]
    points = torch.tensor(np.array([each.points for each in centres]))
    gp = SparseGP(points, RadialKernel(config.kernel, typical_lengthscale(features).log()))
    return _Model(extractor, gp, centres)


def _train_collapsed(
    model: _Model, data: _Data, config: TrainConfig, bar: Progress
) -> tuple[ConditionedGP, int, float, bool]:
    """Maximise the collapsed bound on all data at once."""
    given, labels = data.all()
    # The networks train in single precision, three times as fast on a CPU and with the same errors. All that a
    # prediction uses, posterior included, is then computed in double precision from the weights they end with.
    single = given.to(torch.float32)
    optimiser = _adam(model, config)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    task = bar.add_task("training", total=config.steps, bound="")
    bounds: list[float] = []
    converged = False
    model.extractor.train()
    while len(bounds) < config.steps and not converged:
        # spectral normalisation → features → Gaussian process → negative ELBO
        bound = model.gp.collapsed_bound(observe(model.extractor, single), labels) / len(labels)
        # → step on θ, ξ
        optimiser.zero_grad()
        (-bound.sum()).backward()
        optimiser.step()
        schedule.step()
        bounds.append(float(bound.detach().mean()))
        converged = _stopped_rising(bounds)
        bar.update(task, advance=1, bound=f"bound {bounds[-1]:.3f} nats a label")
    bar.update(task, total=len(bounds))
    _settle(model)
    with torch.no_grad():
        return model.gp.condition([(observe(model.extractor, given), labels)]), len(bounds), bounds[-1], converged


def _train_stochastic(
    model: _Model, data: _Data, config: TrainConfig, bar: Progress
) -> tuple[ConditionedGP, int, float, bool]:
    """Maximise the stochastic bound on minibatches; memory does not grow with the number of structures."""
    batches = -(-len(data) // config.batch_size)
    given, labels = data.batch(torch.arange(min(SUBSET, len(data))))
    process = VariationalGP(model.gp, _mean_coefficients(given, labels), config.natural_gradients)
    q = process.distribution_parameters()
    optimiser = _adam(model, config, [process.mean, *(() if config.natural_gradients else q)])
    natural = NGD(q, num_data=data.n_labels, lr=NATURAL_STEP) if config.natural_gradients else None
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs * batches)
    task = bar.add_task("training", total=config.epochs * batches, bound="")
    bounds: list[float] = []
    model.extractor.train()
    process.train()
    for _ in range(config.epochs):
        total = 0.0
        for index in torch.randperm(len(data)).split(config.batch_size):
            given, labels = data.batch(index.sort().values)
            share = len(index) / len(data)
            observations = observe(model.extractor, given.to(torch.float32))
            if natural is not None:
                # q(u) first: the networks' gradient means something only where q(u) goes with their features.
                process.zero_grad()
                (-process.bound(observations.detach(), labels, share).sum() / data.n_labels).backward()
                natural.step()
            bound = process.bound(observations, labels, share) / data.n_labels
            optimiser.zero_grad()
            (-bound.sum()).backward()
            optimiser.step()
            schedule.step()
            total += share * float(bound.detach().mean())
            bar.update(task, advance=1, bound=f"bound {float(bound.detach().mean()):.3f} nats a label")
        bounds.append(total)
    _settle(model)
    process.eval()
    steps, converged = config.epochs * batches, _stopped_rising(bounds, patience=1, rise=0.01)
    with torch.no_grad():
        if not config.natural_gradients:
            return process.posterior(), steps, bounds[-1], converged
        passes = _observed(model.extractor, data, config.batch_size)
        return model.gp.condition(passes), steps, bounds[-1], converged


def _observed(extractor: FeatureExtractor, data: _Data, size: int) -> Iterator[tuple]:  # type: ignore[type-arg]
    for index in torch.arange(len(data)).split(size):
        given, labels = data.batch(index)
        yield observe(extractor, given), labels


def _adam(model: _Model, config: TrainConfig, others: list[torch.nn.Parameter] | None = None) -> torch.optim.Optimizer:
    rate = config.learning_rate
    kernel_and_noise = [p for name, p in model.gp.named_parameters() if name != "inducing_points"]
    return torch.optim.AdamW(
        [
            {"params": list(model.extractor.parameters()), "lr": rate, "weight_decay": config.weight_decay},
            {"params": [model.gp.inducing_points, *(others or [])], "lr": rate},
            {"params": kernel_and_noise, "lr": config.gp_rate * rate},
        ],
        # The bound's curvature changes by orders of magnitude while the noise falls: a short memory of it.
        betas=(0.9, 0.95),
        weight_decay=0.0,
    )


def _settle(model: _Model) -> None:
    """Fold the spectral normalisation into the weights, and go on in double precision."""
    model.extractor.double().eval()
    model.extractor.fold()


def _stopped_rising(bounds: list[float], patience: int = PATIENCE, rise: float = RISE) -> bool:
    return len(bounds) > patience and max(bounds[-patience:]) < max(bounds[:-patience]) + rise


def _mean_coefficients(given: Inputs, labels: Tensor) -> Tensor:
    """Coefficients of the prior mean by least squares, held near zero where the data do not tell, shape (P,)."""
    basis = given.basis * BASIS_SCALE
    identity = torch.eye(basis.shape[1], dtype=basis.dtype)
    solution: Tensor = torch.linalg.solve(basis.T @ basis + 1e-6 * len(basis) * identity, basis.T @ labels)
    return BASIS_SCALE * solution


def _label_offset(process: ConditionedGP) -> tuple[float, float]:
    """Mean and standard deviation over the networks' mixture of the last basis function's coefficient."""
    means = process.weights[:, -1]
    variance = (process.factor[:, -1] ** 2).sum(1).mean()
    if len(means) > 1:
        variance = variance + (1 + 1 / len(means)) * means.var()
    return float(means.mean()), float(variance.sqrt())


def _mean_noise(log_noise: Tensor) -> float:
    """Standard deviation of the mixture's noise."""
    return float(torch.exp(2 * log_noise.detach()).mean().sqrt())


def _progress_bar(shown: bool) -> Progress:
    from rich.console import Console

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[bound]}"),
        console=Console(stderr=True),
        disable=not shown,
    )
