"""Inducing points: fuzzy c-means centres of the features, with a check that they did not collapse.

Source: Bezdek, Ehrlich & Full, Computers & Geosciences 10 (1984) 191. In many dimensions the usual fuzzifier m = 2
puts every centre on the mean: Winkler, Klawonn & Kruse, Int. J. Fuzzy Syst. Appl. 1 (2011) 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FUZZIFIERS = (2.0, 1.5, 1.25, 1.1, 1.05)
LEAST_SPREAD = 0.25
"""Centres that spread less than this fraction of the data have collapsed towards the mean."""


@dataclass(frozen=True)
class Centres:
    """Fuzzy c-means centres and how they came out.

    Attributes:
        points: shape (M, f).
        spread: standard deviation of the centres over that of the data, averaged over the features.
        partition_coefficient: 1 for a crisp partition, 1/M for one that tells nothing apart.
        fuzzifier: the exponent m that was used.
    """

    points: NDArray[np.float64]
    spread: float
    partition_coefficient: float
    fuzzifier: float


def fuzzy_centres(features: NDArray[np.float64], n_centres: int, rng: np.random.Generator) -> Centres:
    """Place centres on the data, lowering the fuzzifier until they spread with it.

    Args:
        features: shape (n, f).
        n_centres: how many, M ≤ n.
        rng: draws the first memberships.

    Returns:
        Centres with the largest fuzzifier that keeps them apart, or with the least one tried.

    Raises:
        ValueError: fewer data than centres.
    """
    from skfuzzy.cluster import cmeans

    if len(features) < n_centres:
        raise ValueError(f"{n_centres} inducing points cannot be placed on {len(features)} structures; ask for fewer.")
    memberships = rng.random((n_centres, len(features)))
    memberships /= memberships.sum(axis=0)
    for fuzzifier in FUZZIFIERS:
        points, *_, coefficient = cmeans(features.T, n_centres, fuzzifier, error=1e-5, maxiter=300, init=memberships)
        spread = float(np.mean(points.std(axis=0) / np.maximum(features.std(axis=0), 1e-300)))
        if spread >= LEAST_SPREAD or n_centres == 1:
            break
    return Centres(points, spread, float(coefficient), fuzzifier)
