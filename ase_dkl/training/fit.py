"""Training: Algorithm 1 of the method, step by step, and what is measured on the way.

draw a random subset of structures → features from the untrained network → fuzzy c-means centroids as Z
→ repeat { spectral normalisation → features → Gaussian process → negative ELBO → step on θ, ξ }
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ase_dkl.crystal import Crystal
from ase_dkl.dataset import Dataset
from ase_dkl.dataset.consistency import untrainable
from ase_dkl.model.evaluation import evaluate
from ase_dkl.model.labels import Labels
from ase_dkl.model.left_out import left_out
from ase_dkl.model.posterior import Posterior
from ase_dkl.model.quantity import QUANTITIES
from ase_dkl.model.records import BadTraining, Evaluation, TrainConfig, TrainingReport
from ase_dkl.model.space import Lattice
from ase_dkl.model.surrogate import Surrogate, stress_offset_GPa
from ase_dkl.training.batches import SUBSET, Batch, TrainingData
from ase_dkl.training.contradiction import contradicted
from ase_dkl.training.gp import BASIS_SCALE, Observations, SparseGP
from ase_dkl.training.inducing import FUZZIFIERS, LEAST_SPREAD, Centres, place
from ase_dkl.training.network import FeatureExtractor
from ase_dkl.training.stochastic import NaturalVariational

if TYPE_CHECKING:
    from ase_dkl.training.variational import VariationalGP

LARGEST_ACTIVATIONS = 2 * 2**30
"""Bytes of the networks' activations above which "auto" trains on minibatches."""
RISE = 0.05
"""Nats a label: a bound that rose less over the last tenth of the training has converged."""
STANDSTILL = 1e-3
"""Nats a label: where it rose less over a fifth of the training, there is no use in going on."""
FEWEST_STEPS, MOST_STEPS, STEPS_PER_ROOT = 300, 600, 24
"""Steps under the collapsed bound: 24 √labels, between 300 and 600."""
COLD = 64
"""Rows up to which networks are trained from the beginning: that takes seconds, and gives smaller errors than going on
from networks that were trained on fewer."""
WARM_STEPS, WARM_RATE = 1 / 3, 0.1
"""Parts of the steps and of the learning rates, where training goes on from an earlier model: at full rates it would
first lose what that one has learnt."""
LENGTH_SCALE = 8.0
"""Where the length scale starts, in units of the features' spread: so long that the kernel is nearly a polynomial. From
short ones the bound first grows the noise to explain the labels, and comes back late."""


def fit(
    dataset: Dataset,
    config: TrainConfig | None = None,
    *,
    test: Dataset | None = None,
    held_out: Evaluation | None = None,
    start: Surrogate | None = None,
    progress: bool = True,
) -> Surrogate:
    """Train a model.

    Args:
        dataset: labelled cells of one crystal.
        config: how to train; the default is what the project's benchmarks use.
        test: rows to measure the model's errors on, for its report.
        start: an earlier model of the crystal with the same configuration. With more than 64 rows training goes on
            from it, in a third of the steps and in its units; fewer are trained from the beginning.
        held_out: errors that an earlier model, trained without these rows, made on them; for the report.
        progress: show a progress bar with the bound.

    Returns:
        The model. The same data, configuration and seed give the same model on the same machine and number of threads.

    Raises:
        BadTraining: the rows tell nothing, their numbers are absurd, stress labels are demanded and there are none, or
            there is no going on from `start`.
    """
    config = config or TrainConfig()
    began = time.perf_counter()
    if config.stress == "ignore" or not QUANTITIES[config.quantity].slopes:
        dataset = dataset.without_stresses()
    elif config.stress == "use" and not dataset.has_stress.any():
        raise BadTraining('No row has a stress label, and stress="use" demands some. Use "auto" or "ignore".')
    if problem := untrainable(dataset):
        raise BadTraining(problem)
    crystal = dataset.crystal if config.symmetry else dataset.crystal.without_symmetry()

    if start is not None:
        _check_start(start, crystal, config)
        start = start if len(dataset) > COLD else None
    contradictions = contradicted(dataset)
    if start is None:
        labels = Labels.of(dataset, Lattice.of(crystal, dataset.cells))
    else:
        labels = Labels.of(dataset, start.space.knowing(dataset.cells), start.units)
    data = TrainingData(labels, config)
    with torch.random.fork_rng(devices=[]), _progress_bar(progress) as bar:
        torch.manual_seed(config.seed)
        model = _initialise(data, config, start)
        stochastic = config.bound == "stochastic" or (
            config.bound == "auto" and data.activation_bytes() > LARGEST_ACTIVATIONS
        )
        train = _train_stochastic if stochastic else _train_collapsed
        settings = config if start is None else _warm(data, config)
        with _numerics(dataset):
            posterior, steps, bound, converged = train(model, data, settings, bar)
            posterior = data.of_all_functions(posterior)
            if not np.isfinite(posterior.weights).all():
                raise torch.linalg.LinAlgError("Weights are not finite.")  # type: ignore[attr-defined]

    notes = list(dataset.warnings)
    if not converged:
        notes.append(f"The bound was still rising after {steps} steps; train longer for smaller errors.")
    if not data.n_stress and QUANTITIES[config.quantity].slopes:
        notes.append(
            "No stress labels: standard deviations of the stress, and of what follows from slopes of the energy, may "
            "be too small by half."
        )
    fuzzifiers = [centres.fuzzifier for centres in model.centres if centres.fuzzifier is not None]
    lowered = sum(fuzzifier < FUZZIFIERS[0] for fuzzifier in fuzzifiers)
    if lowered:
        notes.append(
            f"Fuzzy c-means centres collapsed onto the mean in {lowered} of {config.networks} networks; "
            f"the fuzzifier was lowered to {min(fuzzifiers)} there."
        )
    if fuzzifiers and min(centres.spread for centres in model.centres) < LEAST_SPREAD:
        notes.append("Fuzzy c-means centres lie on the mean with every fuzzifier; ask for fewer features.")
    layers = [layer.numpy() for layer in model.extractor.layers]
    offset, offset_std = stress_offset_GPa(posterior, labels.units, crystal) if data.n_stress else (None, None)
    report = TrainingReport(
        n_rows=len(dataset),
        n_stress=data.n_stress,
        test=None,
        noise={kind: labels.units.scale * _mean_noise(model.gp.log_noise[kind]) for kind in data.kinds},
        stress_offset_GPa=offset,
        stress_offset_std_GPa=offset_std,
        singular_values=_singular_values(model),
        centre_spread=[centres.spread for centres in model.centres],
        fuzzifier=fuzzifiers or None,
        bound="stochastic" if stochastic else "collapsed",
        bound_per_label=bound,
        steps=steps,
        converged=converged,
        seconds=time.perf_counter() - began,
        dataset=dataset.provenance,
        warnings=tuple(notes),
        mean_breadth=None if model.gp.log_breadth is None else model.gp.log_breadth.detach().exp().tolist(),
        contradictions=contradictions,
    )
    surrogate = Surrogate(labels.space, labels.units, config, report, dataset.cells, layers, posterior)
    # What an earlier model's networks have seen is not known here.
    fold = data.fold(config.seed) if leaves_out(config, len(data)) and start is None and not stochastic else None
    surrogate.report = replace(
        report,
        test=held_out if test is None else evaluate(surrogate, test),
        left_out=None if fold is None else left_out(surrogate, dataset.stressed_first(), fold),
    )
    return surrogate


def leaves_out(config: TrainConfig, n: int) -> bool:
    """Whether, of n rows that fit in memory, each is kept from one of the networks while they train."""
    return config.folds and config.bound != "stochastic" and 1 < config.networks <= n


@contextmanager
def _numerics(dataset: Dataset) -> Iterator[None]:
    """Linear algebra that fails, in words."""
    try:
        yield
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise BadTraining(
            "Training ended in numbers that are not finite, or in matrices that are singular. "
            f"Energies, here from {dataset.energies.min():.6g} to {dataset.energies.max():.6g} eV a cell, or stresses "
            "may be absurd in some rows, or lattices too much alike: look for such rows and leave them out."
        ) from error


class _Model:
    """Networks, process, and the centres from which its inducing points start."""

    def __init__(self, extractor: FeatureExtractor, gp: SparseGP, centres: list[Centres]) -> None:
        self.extractor, self.gp, self.centres = extractor, gp, centres


def _initialise(data: TrainingData, config: TrainConfig, start: Surrogate | None) -> _Model:
    rng = np.random.default_rng(config.seed)
    extractor = FeatureExtractor(
        config.networks,
        len(data.space.frame.centre),
        config.n_features,
        width=config.width,
        depth=config.depth,
        coefficient=config.spectral_coefficient,
    )
    if start is not None:
        extractor.set(start.layers)
    # draw a random subset of m_r structures → features from the untrained network
    with torch.no_grad():
        features = extractor(data.subset(rng).float())[0].double()
    # → fuzzy c-means centroids as Z, or what the configuration names
    n_inducing = min(config.n_inducing, data.n_labels, features.shape[1])
    centres = [place(config.inducing, each.numpy(), n_inducing, rng) for each in features]
    points = torch.tensor(np.array([each.points for each in centres]))
    spread = features.std(dim=1, keepdim=True).mean(dim=-1, keepdim=True)
    lengthscale = LENGTH_SCALE * config.n_features**0.5 * spread
    gp = SparseGP(points, config.kernel, lengthscale.log(), QUANTITIES[config.quantity].slopes, data.learnt())
    if start is not None:
        gp.go_on_from(start.process, start.report.mean_breadth)
    return _Model(extractor, gp, centres)


def _check_start(start: Surrogate, crystal: Crystal, config: TrainConfig) -> None:
    if replace(start.config, seed=config.seed, steps=config.steps) != config:
        raise BadTraining(
            "The model to go on from has another configuration. Give its own, or train from the beginning."
        )
    if start.crystal.to_dict() != crystal.to_dict():
        raise BadTraining("The model to go on from is of another reference crystal. Train from the beginning.")


def _train_collapsed(
    model: _Model, data: TrainingData, config: TrainConfig, bar: Progress
) -> tuple[Posterior, int, float, bool]:
    """Maximise the collapsed bound on all data at once."""
    everything = data.all()
    fold = data.fold(config.seed) if config.folds else None
    used = None if fold is None else data.used(fold)
    labels_used = data.n_labels if used is None else used.sum(dim=1)
    # The networks train in single precision, three times as fast on a CPU and with the same errors. All that a
    # prediction uses, posterior included, is then computed in double precision from the weights they end with.
    single = everything.in_precision(torch.float32)
    steps = _steps(data, config)
    optimiser = _adam(model, config, steps, len(data))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    task = bar.add_task("training", total=steps, bound="")
    bounds: list[float] = []
    model.extractor.train()
    while len(bounds) < steps and _rise(bounds, max(10, steps // 5)) > STANDSTILL:
        # spectral normalisation → features → Gaussian process → negative ELBO
        bound = model.gp.collapsed_bound(_observe(model, single), everything.labels, used) / labels_used
        # → step on θ, ξ
        optimiser.zero_grad()
        (-bound.sum()).backward()
        optimiser.step()
        schedule.step()
        bounds.append(float(bound.detach().mean()))
        bar.update(task, advance=1, bound=f"bound {bounds[-1]:.3f} nats a label")
    bar.update(task, total=len(bounds))
    _settle(model)
    posterior = model.gp.condition([(_observe(model, everything), everything.labels)])
    return posterior, len(bounds), bounds[-1], _rise(bounds, steps // 10) < RISE


def _train_stochastic(
    model: _Model, data: TrainingData, config: TrainConfig, bar: Progress
) -> tuple[Posterior, int, float, bool]:
    """Maximise the stochastic bound on minibatches; memory does not grow with the number of structures."""
    steps = config.epochs * -(-len(data) // config.batch_size)
    first = data.batch(np.arange(min(SUBSET, len(data))))
    process: NaturalVariational | VariationalGP
    if config.natural_gradients:
        process = NaturalVariational(model.gp, first.basis.shape[1])
        optimiser = _adam(model, config, steps, len(data))
    else:
        from ase_dkl.training.variational import VariationalGP

        process = VariationalGP(model.gp, _mean_coefficients(first))
        optimiser = _adam(model, config, steps, len(data), process.own_parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    task = bar.add_task("training", total=steps, bound="")
    bounds: list[float] = []
    model.extractor.train()
    for _ in range(config.epochs):
        total = 0.0
        for index in torch.randperm(len(data)).split(config.batch_size):
            batch = data.batch(np.sort(index.numpy()))
            share = len(index) / len(data)
            observations = _observe(model, batch.in_precision(torch.float32))
            if isinstance(process, NaturalVariational):
                # q first: the networks' gradient means something only where q goes with their features.
                process.update(observations, batch.labels, share)
            bound = process.bound(observations, batch.labels, share) / data.n_labels
            optimiser.zero_grad()
            (-bound.sum()).backward()
            optimiser.step()
            schedule.step()
            latest = float(bound.detach().mean())
            total += share * latest
            bar.update(task, advance=1, bound=f"bound {latest:.3f} nats a label")
        bounds.append(total)
    _settle(model)
    converged = _rise(bounds, max(1, config.epochs // 10)) < RISE
    if not isinstance(process, NaturalVariational):
        return process.eval().posterior(), steps, bounds[-1], converged
    parts = (data.batch(index.numpy()) for index in torch.arange(len(data)).split(config.batch_size))
    posterior = model.gp.condition((_observe(model, part), part.labels) for part in parts)
    return posterior, steps, bounds[-1], converged


def _steps(data: TrainingData, config: TrainConfig) -> int:
    return config.steps or int(np.clip(STEPS_PER_ROOT * data.n_labels**0.5, FEWEST_STEPS, MOST_STEPS))


def _warm(data: TrainingData, config: TrainConfig) -> TrainConfig:
    return replace(
        config,
        learning_rate=WARM_RATE * config.learning_rate,
        steps=math.ceil(WARM_STEPS * _steps(data, config)),
        epochs=math.ceil(WARM_STEPS * config.epochs),
    )


def _observe(model: _Model, batch: Batch) -> Observations:
    """Pass a batch through the networks. Features come out in double precision whatever the networks compute in."""
    if batch.tangents is None:
        features, derivatives = model.extractor(batch.coordinates)
        return Observations(features.double(), None, batch.basis, batch.blocks)
    m = len(batch.tangents)
    features, derivatives = model.extractor(batch.coordinates[:m], batch.tangents)
    if m < len(batch.coordinates):
        features = torch.cat([features, model.extractor(batch.coordinates[m:])[0]], dim=1)
    return Observations(features.double(), derivatives.double(), batch.basis, batch.blocks)


def _adam(
    model: _Model, config: TrainConfig, steps: int, n: int, others: Sequence[torch.nn.Parameter] = ()
) -> torch.optim.Optimizer:
    rate = config.learning_rate
    # Weights decay with every step: a training of very many steps shall not shrink them by more, and the more data
    # there are, the less they need it.
    decay = config.weight_decay * min(1, MOST_STEPS / steps, SUBSET / n)
    kernel_and_noise = [p for name, p in model.gp.named_parameters() if name != "inducing_points"]
    return torch.optim.AdamW(
        [
            {"params": list(model.extractor.parameters()), "lr": rate, "weight_decay": decay},
            {"params": [model.gp.inducing_points, *others], "lr": rate},
            {"params": kernel_and_noise, "lr": config.gp_rate * rate},
        ],
        # The bound's curvature changes by orders of magnitude while the noise falls: a short memory of it.
        betas=(0.9, 0.95),
        weight_decay=0.0,
    )


def _settle(model: _Model) -> None:
    """Fold the spectral normalisation into the weights, and go on in double precision."""
    model.extractor.double().eval()
    for layer in model.extractor.layers:
        layer.fold()


def _rise(bounds: list[float], last: int) -> float:
    """By how much the bound's maximum rose in the last entries; infinite before there are as many."""
    return max(bounds[-last:]) - max(bounds[:-last]) if len(bounds) > last > 0 else math.inf


def _mean_coefficients(batch: Batch) -> Tensor:
    """Coefficients of the prior mean by least squares, held near zero where the data do not tell, shape (P,)."""
    basis = batch.basis * BASIS_SCALE
    identity = torch.eye(basis.shape[1], dtype=basis.dtype)
    solution: Tensor = torch.linalg.solve(basis.T @ basis + 1e-6 * len(basis) * identity, basis.T @ batch.labels)
    return BASIS_SCALE * solution


def _singular_values(model: _Model) -> dict[str, list[float]]:
    """The largest singular value of every layer's weights, by layer and network."""
    names = ["first", *(f"block {i + 1}" for i in range(len(model.extractor.blocks))), "last"]
    return {
        name: torch.linalg.matrix_norm(layer.weight.detach(), ord=2).tolist()
        for name, layer in zip(names, model.extractor.layers, strict=True)
    }


def _mean_noise(log_noise: Tensor) -> float:
    """Standard deviation of the mixture's noise."""
    return float(torch.exp(2 * log_noise.detach()).mean().sqrt())


def _progress_bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[bound]}"),
        console=Console(stderr=True),
        disable=not shown,
    )
