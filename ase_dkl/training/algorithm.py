"""Algorithm 1 of the method, step by step.

draw a random subset of structures → features from the untrained network → fuzzy c-means centroids as Z
→ repeat { spectral normalisation → features → Gaussian process → negative ELBO → step on θ, ξ }
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ase_dkl.model.deep_kernel import DeepKernel
from ase_dkl.model.labels import Labels
from ase_dkl.model.posterior import Posterior
from ase_dkl.model.records import TrainConfig, TrainingReport
from ase_dkl.training.batches import SUBSET, Batch, TrainingData, folds
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
WARM_STEPS, WARM_RATE = 1 / 3, 0.1
"""Parts of the steps and of the learning rates, where training goes on from an earlier model: at full rates it would
first lose what that one has learnt."""
LENGTH_SCALE = 8.0
"""Where the length scale starts, in units of the features' spread: so long that the kernel is nearly a polynomial. From
short ones the bound first grows the noise to explain the labels, and comes back late."""


def learn(
    labels: Labels,
    config: TrainConfig,
    *,
    start: DeepKernel[Any] | None = None,
    breadth: list[float] | None = None,
    progress: bool = True,
) -> tuple[DeepKernel[Any], TrainingReport]:
    """Train networks and processes on labels of the points of any space.

    Args:
        labels: what is known.
        config: how to train.
        start: where training goes on from, in its units; from the beginning by default.
        breadth: of the mean's prior there, by network, where it is learnt.
        progress: show a progress bar with the bound.

    Returns:
        What was learnt, and a report that knows of these labels alone.

    Raises:
        torch.linalg.LinAlgError: numbers that are not finite, or matrices that are singular.
    """
    began = time.perf_counter()
    data = TrainingData(labels, config)
    with torch.random.fork_rng(devices=[]), _progress_bar(progress) as bar:
        torch.manual_seed(config.seed)
        model = _initialise(data, config, start, breadth)
        stochastic = config.bound == "stochastic" or (
            config.bound == "auto" and data.activation_bytes() > LARGEST_ACTIVATIONS
        )
        train = _train_stochastic if stochastic else _train_collapsed
        settings = config if start is None else _warm(data, config)
        posterior, steps, bound, converged = train(model, data, settings, bar)
    posterior = data.of_all_functions(posterior)
    if not np.isfinite(posterior.weights).all():
        raise torch.linalg.LinAlgError("Weights are not finite.")  # type: ignore[attr-defined]
    layers = [layer.numpy() for layer in model.extractor.layers]
    notes = [] if converged else [f"The bound was still rising after {steps} steps; train longer for smaller errors."]
    report = TrainingReport(
        n_rows=len(data),
        n_stress=data.n_stress,
        test=None,
        noise={kind: labels.units.scale * _mean_noise(model.gp.log_noise[kind]) for kind in data.kinds},
        stress_offset_GPa=None,
        stress_offset_std_GPa=None,
        singular_values=_singular_values(model),
        centre_spread=[centres.spread for centres in model.centres],
        fuzzifier=[centres.fuzzifier for centres in model.centres if centres.fuzzifier is not None] or None,
        bound="stochastic" if stochastic else "collapsed",
        bound_per_label=bound,
        steps=steps,
        converged=converged,
        seconds=time.perf_counter() - began,
        dataset={},
        mean_breadth=None if model.gp.log_breadth is None else model.gp.log_breadth.detach().exp().tolist(),
        warnings=(*notes, *_of_centres(model.centres)),
    )
    return DeepKernel(labels.space, labels.units, config, layers, posterior), report


def _of_centres(centres: Sequence[Centres]) -> Iterator[str]:
    """What fuzzy c-means had to do with where inducing points start."""
    fuzzifiers = [each.fuzzifier for each in centres if each.fuzzifier is not None]
    if lowered := sum(fuzzifier < FUZZIFIERS[0] for fuzzifier in fuzzifiers):
        yield (
            f"Fuzzy c-means centres collapsed onto the mean in {lowered} of {len(centres)} networks; "
            f"the fuzzifier was lowered to {min(fuzzifiers)} there."
        )
    if fuzzifiers and min(each.spread for each in centres) < LEAST_SPREAD:
        yield "Fuzzy c-means centres lie on the mean with every fuzzifier; ask for fewer features."


class _Model:
    """Networks, process, and the centres from which its inducing points start."""

    def __init__(self, extractor: FeatureExtractor, gp: SparseGP, centres: list[Centres]) -> None:
        self.extractor, self.gp, self.centres = extractor, gp, centres


def _initialise(
    data: TrainingData, config: TrainConfig, start: DeepKernel[Any] | None, breadth: list[float] | None
) -> _Model:
    rng = np.random.default_rng(config.seed)
    extractor = FeatureExtractor(
        config.networks,
        data.space.shape[1],
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
    gp = SparseGP(points, config.kernel, lengthscale.log(), data.blocks, data.learnt())
    if start is not None:
        gp.go_on_from(start.process, breadth)
    return _Model(extractor, gp, centres)


def _train_collapsed(
    model: _Model, data: TrainingData, config: TrainConfig, bar: Progress
) -> tuple[Posterior, int, float, bool]:
    """Maximise the collapsed bound on all data at once."""
    everything = data.all()
    fold = folds(len(data), config) if config.folds else None
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
