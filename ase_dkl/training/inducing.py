"""Where inducing points start: fuzzy c-means centres of the features, with a check that they did not collapse.

For comparison also k-means centres, and features drawn at random.

Source: Bezdek, Ehrlich & Full, Computers & Geosciences 10 (1984) 191. In many dimensions the usual fuzzifier m = 2
puts every centre on the mean: Winkler, Klawonn & Kruse, Int. J. Fuzzy Syst. Appl. 1 (2011) 1. k-means, as under
another deep kernel: van Amersfoort et al., arXiv:2102.11409 (DUE).
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FUZZIFIERS = (2.0, 1.5, 1.25, 1.1, 1.05)
LEAST_SPREAD = 0.25
"""Centres that spread less than this fraction of the data have collapsed towards the mean."""


@dataclass(frozen=True)
class Centres:
    """Centres and how they came out.

    Attributes:
        points: shape (M, f).
        spread: standard deviation of the centres over that of the data, averaged over the features.
        fuzzifier: the exponent m that was used; None where nothing was fuzzy.
    """

    points: NDArray[np.float64]
    spread: float
    fuzzifier: float | None = None


def place(how: str, features: NDArray[np.float64], n_centres: int, rng: np.random.Generator) -> Centres:
    """Place centres on the data.

    Args:
        how: "fuzzy", "kmeans" or "random".
        features: shape (n, f).
        n_centres: how many, M ≤ n.
        rng: for all that is drawn.

    Raises:
        ValueError: fewer data than centres.
    """
    if len(features) < n_centres:
        raise ValueError(f"{n_centres} inducing points cannot be placed on {len(features)} structures; ask for fewer.")
    if how == "fuzzy":
        return _fuzzy(features, n_centres, rng)
    points = (_kmeans if how == "kmeans" else _drawn)(features, n_centres, rng)
    return Centres(points, _spread(points, features))


def _fuzzy(features: NDArray[np.float64], n_centres: int, rng: np.random.Generator) -> Centres:
    """Lower the fuzzifier until the centres spread with the data."""
    from skfuzzy.cluster import cmeans

    memberships = rng.random((n_centres, len(features)))
    memberships /= memberships.sum(axis=0)
    for fuzzifier in FUZZIFIERS:
        points, *_ = cmeans(features.T, n_centres, fuzzifier, error=1e-5, maxiter=300, init=memberships)
        spread = _spread(points, features)
        if spread >= LEAST_SPREAD or n_centres == 1:
            break
    return Centres(points, spread, fuzzifier)


def _kmeans(features: NDArray[np.float64], n_centres: int, rng: np.random.Generator) -> NDArray[np.float64]:
    from scipy.cluster.vq import kmeans2

    # With fewer different features than centres some are drawn twice; one of two equal centres stays as it is.
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        return np.asarray(kmeans2(features, n_centres, iter=300, minit="++", rng=rng)[0])


def _drawn(features: NDArray[np.float64], n_centres: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return features[rng.choice(len(features), n_centres, replace=False)]


def _spread(points: NDArray[np.float64], features: NDArray[np.float64]) -> float:
    return float(np.mean(points.std(axis=0) / np.maximum(features.std(axis=0), 1e-300)))
