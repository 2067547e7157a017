"""Training of a model of free ions: inducing environments, scales and noise by the evidence, then the weights.

The labels' covariance is that of FITC: what the inducing functionals do not explain of a label is noise of its own.

Source: Snelson & Ghahramani, NeurIPS 2005 (FITC); pivoted Cholesky as a choice of inducing points: Burt, Rasmussen &
van der Wilk, JMLR 21 (2020) 131.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg import solve_triangular

from ase_dkl.arrays import Floats, Integers
from ase_dkl.model.ion_labels import KINDS, IonLabels
from ase_dkl.model.local_kernel import PROFILES, Inducing, Prior, of_structures
from ase_dkl.model.local_process import (
    CONSTANT,
    JITTER,
    OFFSET,
    LocalProcess,
    observations,
    prior_variances,
    whitening,
)
from ase_dkl.model.pairs import Environment, Pairs
from ase_dkl.model.records import BadTraining, IonConfig

FEW = 400
"""Inducing functionals of the search for hyperparameters."""
WHOLE_MOST = 2000
"""Inducing functionals where all that there is is one environment: then each label may have its own."""
JUDGED, SITES = 1200, 1600
"""Labels, and atoms of structures that have them, from which hyperparameters are found."""
FEWEST = 8
"""Structures from which they are found at least."""
CANDIDATES = 4
"""Environments to choose from, for each that is chosen."""
ENOUGH = 2000
"""Candidates from which orbits are served at most."""
SPENT = 1e-9
"""Part of the variance below which an environment adds nothing to those that are chosen."""
FIRST_NOISE = np.array([3e-3, 1e-2, 1e-2])
"""Noise of energies, stresses and forces where the search begins, over their root mean square."""
LEAST_NOISE = 1e-4
"""The same, at least: what arithmetic and files keep of labels."""
NEGLIGIBLE = 1e-6
"""Part of the labels' prior variance."""
LOOSE = 1e-3
"""Precision of the hyperparameters' log-normal prior."""
STEPS = 100
"""Of the search, at most: it ends by itself after some thirty."""
FAILED = 1e12
"""Nats that stand for what cannot be computed: a search turns round there."""
KEPT = 2**27
"""Numbers in the labels' rows, where these are kept."""
COPIES = 6
"""Matrices of the size of the inducing functionals' covariance that there are at once."""
_CHUNK = 2**24
"""Numbers in the largest intermediate."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A process, and what training found.

    Attributes:
        process: for predictions.
        kinds: of labels that there are.
        evidence: log probability of the labels from which hyperparameters were found, nats a label.
        steps: evaluations of it.
        converged: whether the search for its maximum ended by itself.
        offset: what all stress labels are off by, and its standard deviation, in the labels' unit.
        left_out: of each structure how far its labels are from what all other structures make of them, shape
            (n, 1 + t), and the covariance of that without their noise, (n, 1 + t, 1 + t); 0 where there is no label,
            None of so many that they take much memory.
    """

    process: LocalProcess
    kinds: tuple[str, ...]
    evidence: float
    steps: int
    converged: bool
    offset: tuple[float, float]
    left_out: tuple[Floats, Floats] | None


def memory(labels: IonLabels, most: int) -> int:
    """About how many bytes training takes at its largest, of what grows with the labels and with what is asked for.

    Args:
        labels: what is known.
        most: the largest number of inducing environments.
    """
    space, known, counts = labels.space, int(labels.known.sum()), _counts(labels.space, most)
    size = sum(counts)
    if space.is_one_environment:
        size = min(known, size)
        numbers = len(labels.points) * (6 + labels.points[0, 3:].size) * len(space.lengths) + known * size
    else:
        numbers = max(
            max(CANDIDATES * count, min(ENOUGH, len(labels.points) * len(each.places))) * count
            for count, each in zip(counts, space.environments, strict=True)
        )
    return 8 * (numbers + COPIES * size**2)


def train(labels: IonLabels, config: IonConfig, tell: Callable[[str], None]) -> Trained:
    """Train a process on labels of free ions.

    Args:
        labels: what is known.
        config: how to train.
        tell: is told what is being done.
    """
    rng = np.random.default_rng(config.seed)
    space = labels.space
    unit = space.size(labels.points)
    structures = max(FEWEST, SITES // len(space.crystal.numbers))
    judged = labels.part(np.sort(rng.permutation(len(labels.labels))[:structures]))
    tell("choosing environments")
    first = _chosen(labels, unit, np.ones(len(PROFILES)), min(FEW, config.n_inducing), rng)
    tell("maximising the evidence")
    found = _hyperparameters(judged, first, unit, rng)
    tell("choosing environments")
    inducing = _chosen(labels, unit, found.scales, config.n_inducing, rng)
    tell("conditioning on the labels")
    conditioned = condition(labels, inducing, unit, found.scales, found.noise)
    return replace(conditioned, evidence=found.evidence, steps=found.steps, converged=found.converged)


def _counts(space: Pairs, most: int) -> list[int]:
    """Inducing functionals of each orbit, at most."""
    if space.is_one_environment:
        return [max(most, min(WHOLE_MOST, 5 * most))]
    sites = sum(len(each.places) for each in space.environments)
    return [max(1, round(most * len(each.places) / sites)) for each in space.environments]


def _chosen(
    labels: IonLabels, unit: float, scales: Floats, most: int, rng: np.random.Generator
) -> tuple[Inducing, ...]:
    """Inducing functionals of each orbit, by pivoted Cholesky among environments of the training and between them."""
    space = labels.space
    prior = Prior(scales)
    coordinates = space.coordinates(labels.points) / unit
    found = []
    for environment, count in zip(space.environments, _counts(space, most), strict=True):
        if space.is_one_environment:
            found.append(_slopes_and_values(labels, environment, unit, count, prior))
            continue
        seen = environment.of(coordinates).reshape(-1, environment.places.shape[1])
        seen = seen[rng.permutation(len(seen))[:ENOUGH]]
        more = max(0, CANDIDATES * count - len(seen))
        i, j = rng.integers(len(seen), size=(2, more))
        share = rng.random((more, 1))
        turned = environment.images[rng.integers(len(environment.images), size=more)]
        between = seen[i] + share * (np.take_along_axis(seen[j], turned, axis=1) - seen[i])
        candidates = np.concatenate([seen, between])
        every = Inducing.values(environment, candidates)
        found.append(every.take(_pivots(prior, every, count)))
    return tuple(found)


def _slopes_and_values(labels: IonLabels, environment: Environment, unit: float, most: int, prior: Prior) -> Inducing:
    """A functional for every label, or the most telling ones."""
    coordinates, tangents = labels.seen()
    seen = environment.of(coordinates)[:, 0] / unit
    along = (tangents[..., environment.places[0]] * environment.weights) / unit
    n, t, q = along.shape
    of = np.repeat(np.arange(n), 1 + t)
    directions = np.concatenate([np.zeros((n, 1, q)), along], axis=1).reshape(-1, q)
    known = np.flatnonzero(labels.known.ravel())
    every = Inducing(environment, seen, of[known], directions[known])
    return every if len(every) <= most else every.take(_pivots(prior, every, most))


def _pivots(prior: Prior, every: Inducing, count: int) -> Integers:
    """Functionals that explain most of the variance of all, one after the other."""
    count = min(count, len(every))
    of, is_value = every.of, every.is_value
    left = np.zeros((len(every), count))
    spread = np.zeros(len(every))
    for start in range(0, len(every), 256):
        part = np.arange(start, min(start + 256, len(every)))
        spread[part] = np.diagonal(prior.covariances(every.take(part))[0])
    size, chosen = spread.copy(), []
    for step in range(count):
        pivot = int(np.argmax(spread))
        if spread[pivot] <= SPENT * size[pivot]:
            break
        chosen.append(pivot)
        values, gradients = prior.rows(every.points, every.take(np.array([pivot])))
        column = is_value * values[0, of, 0] + (gradients[0, 0, of] * every.along).sum(axis=1)
        left[:, step] = (column - left[:, :step] @ left[pivot, :step]) / math.sqrt(spread[pivot])
        spread = np.maximum(spread - left[:, step] ** 2, 0)
        spread[pivot] = 0
    return np.sort(chosen)


@dataclass(frozen=True, eq=False)
class _Hyperparameters:
    """Scales of the profiles, noise variances by kind, the evidence in nats a label, and how the search went."""

    scales: Floats
    noise: Floats
    evidence: float
    steps: int
    converged: bool


def _hyperparameters(
    labels: IonLabels, inducing: Sequence[Inducing], unit: float, rng: np.random.Generator
) -> _Hyperparameters:
    """Scales of the profiles, and noise of each kind of label, by maximising the evidence (FITC)."""
    space, prior = labels.space, Prior()
    known = np.flatnonzero(labels.known.ravel())
    kinds = np.tile(labels.kinds, len(labels.labels))
    energies = known[kinds[known] == 0]
    slopes = known[kinds[known] != 0]
    chosen = np.sort(np.concatenate([energies, rng.permutation(slopes)[:JUDGED]]))
    rows, variances = [], []
    for coordinates, tangents in _in_parts(labels, len(PROFILES) * sum(map(len, inducing))):
        found = of_structures(prior, inducing, coordinates / unit, tangents / unit)
        rows.append(found.reshape(len(PROFILES), -1, found.shape[-1]))
        variances.append(
            prior_variances(prior, space.environments, coordinates / unit, tangents / unit).reshape(len(PROFILES), -1)
        )
    cross = torch.tensor(np.concatenate(rows, axis=1)[:, chosen])
    variance = torch.tensor(np.concatenate(variances, axis=1)[:, chosen])
    blocks = [torch.tensor(prior.covariances(each)) for each in inducing]
    labelled = torch.tensor(labels.labels.ravel()[chosen])
    kind = torch.tensor(kinds[chosen])
    basis = torch.stack([CONSTANT * (kind == 0).double(), OFFSET * torch.tensor(labels.offsets.ravel()[chosen])])
    sizes = torch.ones(len(KINDS), dtype=torch.float64)
    for each in range(len(KINDS)):
        if (kind == each).any():
            sizes[each] = (labelled[kind == each] ** 2).mean().clamp(min=1e-12)
    evidence = _Evidence(blocks, cross, variance, basis, labelled, kind, sizes)
    return evidence.maximised()


class _Evidence:
    """log N(y; 0, Q + diag(K − Q) + D), as a function of log scales and log noise variances."""

    def __init__(
        self,
        blocks: Sequence[torch.Tensor],
        cross: torch.Tensor,
        own: torch.Tensor,
        basis: torch.Tensor,
        labels: torch.Tensor,
        kinds: torch.Tensor,
        sizes: torch.Tensor,
    ) -> None:
        self._blocks, self._cross, self._own, self._basis = blocks, cross, own, basis
        self._labels, self._kinds, self._sizes = labels, kinds, sizes
        slopes = kinds != 0 if bool((kinds != 0).any()) else kinds == 0
        explained = own[:, slopes].mean(dim=1).clamp(min=1e-300)
        begin = (labels[slopes] ** 2).mean() / explained / len(own)
        noise = torch.tensor(FIRST_NOISE) ** 2 * sizes
        self._begin = torch.cat([begin.log(), noise.log()])

    def negative(self, parameters: torch.Tensor) -> torch.Tensor:
        """Its negative, with the parameters' prior, nats."""
        profiles = len(self._own)
        scales = parameters[:profiles].exp()
        weighted = torch.einsum("k,kom->mo", scales, self._cross)
        parts, start = [], 0
        for block in self._blocks:
            covariance = torch.einsum("k,kmn->mn", scales, block)
            size = len(covariance)
            jitter = JITTER * covariance.diagonal().mean() * torch.eye(size, dtype=torch.float64)
            root = torch.linalg.cholesky(covariance + jitter)
            parts.append(torch.linalg.solve_triangular(root, weighted[start : start + size], upper=False))
            start += size
        explained = torch.cat(parts)
        unexplained = (scales @ self._own - (explained**2).sum(dim=0)).clamp(min=0)
        noise = (parameters[profiles:].exp() + LEAST_NOISE**2 * self._sizes)[self._kinds] + unexplained
        rows = torch.cat([explained, self._basis]) * noise.rsqrt()
        residual = self._labels * noise.rsqrt()
        root = torch.linalg.cholesky(rows @ rows.T + torch.eye(len(rows), dtype=torch.float64))
        projected = torch.linalg.solve_triangular(root, (rows @ residual)[:, None], upper=False)
        negative: torch.Tensor = (
            0.5 * (residual**2).sum()
            - 0.5 * (projected**2).sum()
            + root.diagonal().log().sum()
            + 0.5 * noise.log().sum()
            + 0.5 * len(residual) * math.log(2 * math.pi)
            + LOOSE * ((parameters - self._begin) ** 2).sum()
        )
        return negative

    def maximised(self) -> _Hyperparameters:
        """Where it is largest.

        Raises:
            BadTraining: it could not be computed anywhere.
        """
        parameters = self._begin.clone().requires_grad_(True)
        best, lowest, steps = self._begin.clone(), math.inf, 0
        search = torch.optim.LBFGS([parameters], max_iter=STEPS, line_search_fn="strong_wolfe", tolerance_change=1e-3)

        def step() -> torch.Tensor:
            nonlocal best, lowest, steps
            steps += 1
            search.zero_grad()
            try:
                negative = self.negative(parameters)
            except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
                negative = 0 * parameters.sum() + FAILED
            if negative.item() < min(lowest, FAILED):
                best, lowest = parameters.detach().clone(), negative.item()
            negative.backward()
            return negative

        search.step(step)
        if not math.isfinite(lowest):
            raise BadTraining(
                "The evidence of the labels cannot be computed: numbers are not finite, or matrices are singular. "
                "Labels may be absurd in some rows, or structures too much alike: look for such rows, and leave them "
                "out."
            )
        group, state = search.param_groups[0], search.state[parameters]
        converged = state["n_iter"] < group["max_iter"] and state["func_evals"] < group["max_eval"]
        profiles = len(self._own)
        noise = best[profiles:].exp() + LEAST_NOISE**2 * self._sizes
        scales = best[:profiles].exp().numpy()
        # A profile that explains next to nothing costs time in every prediction.
        part = scales * self._own.mean(dim=1).numpy()
        scales[part < NEGLIGIBLE * part.sum()] = 0
        return _Hyperparameters(scales, noise.numpy(), -lowest / len(self._labels), steps, converged)


def _in_parts(labels: IonLabels, width: int) -> Iterator[tuple[Floats, Floats]]:
    """What is seen of a few structures at a time."""
    t = labels.labels.shape[1]
    size = max(1, _CHUNK // (t * max(width, len(labels.space.lengths))))
    for start in range(0, len(labels.labels), size):
        yield labels.part(np.arange(start, min(start + size, len(labels.labels)))).seen()


def condition(labels: IonLabels, inducing: tuple[Inducing, ...], unit: float, scales: Floats, noise: Floats) -> Trained:
    """The weights' posterior from all labels, under given scales and variances of the noise."""
    space, prior = labels.space, Prior(scales)
    roots = whitening(prior, inducing)
    size = len(roots)
    scaling = np.zeros((size + 2, size + 2))
    scaling[:size, :size] = roots
    scaling[size, size], scaling[size + 1, size + 1] = CONSTANT, OFFSET
    precision, moment = np.eye(size + 2), np.zeros(size + 2)
    keep = labels.labels.size * (size + 2) <= KEPT
    kept: list[tuple[Floats, Floats]] = []
    begin = 0
    for coordinates, tangents in _in_parts(labels, size):
        part = slice(begin, begin + len(coordinates))
        begin = part.stop
        rows = observations(prior, inducing, coordinates / unit, tangents / unit)
        rows[..., -1] = labels.offsets[part]
        rows = rows @ scaling
        own = prior_variances(prior, space.environments, coordinates / unit, tangents / unit)[0]
        variances = noise[labels.kinds] + np.maximum(own - (rows[..., :size] ** 2).sum(axis=-1), 0)
        known = labels.known[part]
        rows = np.where(known, 1 / np.sqrt(variances), 0)[..., None] * rows
        residual = np.where(known, labels.labels[part] / np.sqrt(variances), 0)
        flat = rows.reshape(-1, size + 2)
        precision += flat.T @ flat
        moment += flat.T @ residual.ravel()
        if keep:
            kept.append((rows, variances))
    root: Floats = np.linalg.cholesky(precision).astype(np.float64)
    factor = solve_triangular(root, scaling.T, lower=True).T
    projected = solve_triangular(root, moment, lower=True)
    weights = factor @ projected
    left_out = None
    if keep:
        rows, variances = np.concatenate([each for each, _ in kept]), np.concatenate([each for _, each in kept])
        left_out = _left_out(labels, rows, variances, noise[labels.kinds], root, projected)
    deviations = {kind: float(np.sqrt(each)) for kind, each in zip(KINDS, noise, strict=True)}
    kinds = tuple(kind for i, kind in enumerate(KINDS) if labels.known[:, labels.kinds == i].any())
    offset = float(weights[-1]), float(np.linalg.norm(factor[-1]))
    process = LocalProcess(unit, scales, inducing, deviations, factor, weights)
    return Trained(process, kinds, math.nan, 0, True, offset, left_out)


def _left_out(
    labels: IonLabels, rows: Floats, variances: Floats, noise: Floats, root: Floats, projected: Floats
) -> tuple[Floats, Floats]:
    """Errors and covariances of each structure without its own labels; see `Trained`.

    Args:
        labels: all.
        rows: in units of the noise, zero where there is no label, shape (n, 1 + t, M + 2).
        variances: of the noise, and of what the inducing functionals do not explain, shape (n, 1 + t).
        noise: variances of the noise alone, shape (1 + t,).
        root: L_B.
        projected: L_B⁻¹ A r.

    Source: Rasmussen & Williams (2006), section 5.4.2, by blocks and in weight space.
    """
    n, width, size = rows.shape
    deviations = np.sqrt(variances)
    seen = solve_triangular(root, rows.reshape(-1, size).T, lower=True).T.reshape(n, width, size)
    residual = np.where(labels.known, labels.labels / deviations, 0) - seen @ projected
    # e = (1 − C)⁻¹ r, and its covariance (1 − C)⁻¹, in units of the noise
    left = np.linalg.inv(np.eye(width) - seen @ seen.mT)
    errors = deviations * (left @ residual[..., None])[..., 0]
    covariances = deviations[:, :, None] * left * deviations[:, None]
    covariances -= np.eye(width) * noise
    known = labels.known
    return np.where(known, errors, 0), np.where(known[:, :, None] & known[:, None], covariances, 0)
