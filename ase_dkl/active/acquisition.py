"""Which lattices to label next, judged by what their labels would teach.

A label is an energy and, where the calculator has it, six stress components: its worth follows from the joint posterior
of all of them. A posterior's covariance does not depend on what a label will say, so that a batch is chosen one by one,
each as if the ones before it, and all that are still being computed, were known already.

Source: integrated variance: D. A. Cohn, Neural Networks 9 (1996) 1071; log-determinant, greedily: A. Krause et al.,
J. Mach. Learn. Res. 9 (2008) 235.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.model.layout import VALUE, columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ase_dkl.active.target import Target
    from ase_dkl.model.surrogate import Surrogate

Acquisition = Literal["variance", "conditional", "largest", "sobol", "random"]
ACQUISITIONS: tuple[Acquisition, ...] = get_args(Acquisition)
NOTHING = np.empty((0, 3, 3))
LEAST_NOISE = 1e-6
"""Noise of an energy or derivative at least, eV: exact labels make no singular matrices."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """What to label next.

    Attributes:
        index: places among the candidates, in the order of choice, shape (n,).
        reasons: for each, in words.
    """

    index: NDArray[np.int_]
    reasons: tuple[str, ...]


def choose(
    surrogate: Surrogate,
    candidates: Floats,
    n: int,
    *,
    kind: Acquisition = "variance",
    pending: Floats = NOTHING,
    target: Target | None = None,
    stress: bool = True,
    seed: int = 0,
) -> Chosen:
    """Choose a batch among candidates.

    Args:
        surrogate: the model so far.
        candidates: lattices in the reference's basis, spread evenly over the region that matters, in the order of a
            Sobol sequence where "sobol" shall mean that, shape (c, 3, 3), Å.
        n: how many, at most c.
        kind: "variance" reduces the energy's variance averaged over the candidates; "conditional" takes the label that
            is least known, all its components together (log-determinant); "largest" takes the largest σ of the energy;
            "sobol" and "random" ask no model.
        pending: lattices whose labels are being computed, shape (p, 3, 3), Å.
        target: a property whose variance is reduced, whatever `kind` would have reduced.
        stress: whether labels have stresses.
        seed: of "random".

    Raises:
        ValueError: there is no such kind, or there are fewer candidates.
    """
    if kind not in ACQUISITIONS:
        raise ValueError(f"There is no acquisition {kind!r}; choose one of {', '.join(ACQUISITIONS)}.")
    if n > len(candidates):
        raise ValueError(
            f"{n} lattices cannot be chosen among {len(candidates)}. Give more candidates, or ask for fewer."
        )
    if kind == "sobol":
        return Chosen(np.arange(n), ("next point of the Sobol sequence",) * n)
    if kind == "random":
        index = np.random.default_rng(seed).choice(len(candidates), n, replace=False)
        return Chosen(index, ("drawn at random",) * n)
    knowledge = _Knowledge(surrogate, candidates, pending, target, stress)
    score = knowledge.of_target if target is not None else getattr(knowledge, f"of_{kind}")
    return knowledge.greedily(score, n)


class _Knowledge:
    """The joint posterior covariance of candidates' labels, as it will be when chosen labels are known."""

    def __init__(
        self, surrogate: Surrogate, candidates: Floats, pending: Floats, target: Target | None, stress: bool
    ) -> None:
        cells = np.concatenate([candidates, pending])
        self.c, self.target = len(candidates), target
        goal = None if target is None else target.evaluate(surrogate).linear
        at = cells if goal is None else np.concatenate([cells, goal.cells])
        joint = surrogate.posterior(at, spread=goal is None)
        covariance, places, n = joint.covariance, joint.layout.places, len(cells)
        strain = columns(joint.layout.blocks)["strain"]
        # Labels block by block: the energy of a lattice, then its derivatives along independent strains.
        directions = surrogate.space.directions(cells)
        labels = np.zeros((n, 1 + directions.shape[1] * stress, places.shape[1]))
        labels[:, 0, 0] = 1
        if stress:
            labels[:, 1:, strain] = directions
        self.size = labels.shape[1]
        rows = places[:n].ravel()
        of_labels = _by_blocks(labels, _by_blocks(labels, covariance[np.ix_(rows, rows)]).T)
        if goal is None:
            self.covariance = of_labels
        else:
            weights, slopes = goal.weights.ravel(), places[n:, strain].ravel()
            shared = _by_blocks(labels, covariance[np.ix_(rows, slopes)] @ weights[:, None])
            own = weights @ covariance[np.ix_(slopes, slopes)] @ weights
            self.covariance = np.block([[of_labels, shared], [shared.T, np.full((1, 1), own)]])
        found = surrogate.report.noise
        noise = np.array([found[VALUE], *[found.get("strain", LEAST_NOISE)] * (self.size - 1)])
        self.noise = np.maximum(noise, LEAST_NOISE) ** 2
        # All that is pending is learnt at once, and needed no longer.
        kept = np.r_[0 : self.c * self.size, n * self.size : len(self.covariance)]
        known = slice(self.c * self.size, n * self.size)
        shared, block = self.covariance[kept, known], self.covariance[known, known]
        block = block + np.diag(np.tile(self.noise, n - self.c))
        self.covariance = self.covariance[np.ix_(kept, kept)] - shared @ np.linalg.solve(block, shared.T)

    def learn(self, i: int) -> None:
        """Condition on the labels of one lattice."""
        block = self.block(i)
        shared = self.covariance[:, block]
        self.covariance -= shared @ np.linalg.solve(shared[block] + np.diag(self.noise), shared.T)

    def block(self, i: int) -> slice:
        return slice(i * self.size, (i + 1) * self.size)

    @property
    def energies(self) -> slice:
        """Layout of the candidates' energies."""
        return slice(0, self.c * self.size, self.size)

    def greedily(self, score: Callable[[], tuple[Floats, Callable[[int], str]]], n: int) -> Chosen:
        index: list[int] = []
        reasons = []
        for _ in range(n):
            scores, words = score()
            scores[index] = -np.inf
            best = int(scores.argmax())
            index.append(best)
            reasons.append(words(best))
            self.learn(best)
        return Chosen(np.array(index), tuple(reasons))

    def roots(self) -> Floats:
        """L with L Lᵀ the covariance of each candidate's labels, noise included, shape (c, size, size)."""
        blocks = self.covariance[: self.c * self.size, : self.c * self.size].reshape(self.c, self.size, self.c, -1)
        own = blocks[np.arange(self.c), :, np.arange(self.c)]
        return np.asarray(np.linalg.cholesky(own + np.diag(self.noise)))

    def explained(self, rows: Floats) -> Floats:
        """Variance of some quantities that each candidate's labels would take away, from covariances (q, labels)."""
        shared = rows[:, : self.c * self.size].reshape(len(rows), self.c, self.size).transpose(1, 2, 0)
        return np.asarray((np.linalg.solve(self.roots(), shared) ** 2).sum(axis=(1, 2)))

    def of_variance(self) -> tuple[Floats, Callable[[int], str]]:
        gain = self.explained(self.covariance[self.energies])
        variance = float(np.trace(self.covariance[self.energies, self.energies]))
        rms = 1e3 * np.sqrt(variance / self.c)
        return gain, lambda i: f"takes {gain[i] / variance:.0%} of the variance over the box (rms σ {rms:.2g} meV)"

    def of_target(self) -> tuple[Floats, Callable[[int], str]]:
        assert self.target is not None
        gain, variance, name = self.explained(self.covariance[-1:]), self.covariance[-1, -1], self.target.name
        return gain, lambda i: f"takes {gain[i] / variance:.0%} of the variance of {name}"

    def of_conditional(self) -> tuple[Floats, Callable[[int], str]]:
        nats = np.log(np.diagonal(self.roots(), axis1=1, axis2=2)).sum(axis=1) - 0.5 * np.log(self.noise).sum()
        return nats, lambda i: f"its labels tell {nats[i]:.1f} nats"

    def of_largest(self) -> tuple[Floats, Callable[[int], str]]:
        sigma = np.sqrt(np.diagonal(self.covariance)[self.energies].clip(min=0))
        return sigma, lambda i: f"largest σ, {1e3 * sigma[i]:.2g} meV"


def _by_blocks(labels: Floats, rows: Floats) -> Floats:
    """Apply maps (n, size, w), one for each lattice, to w rows of each lattice (n w, m); shape (n size, m)."""
    n, size, width = labels.shape
    return np.asarray((labels @ rows.reshape(n, width, -1)).reshape(n * size, -1))
