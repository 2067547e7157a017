"""Molecules and clusters: their mean geometry, its point group, and how one lies on another.

Whatever permutation of like atoms is taken for a symmetry operation, the energy is the same after it: too large a group
is never wrong. So symmetry is taken where the data allow it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path
from scipy.spatial.distance import cdist

from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal.operations import Operations

BOND = 1.25
"""Sums of covalent radii within which two atoms are bonded."""

_RESIDUE = 0.03
"""Å. What mean distances, and those of relaxed geometries, are off from a symmetric geometry's."""
_ERRORS = 4.0
"""Standard errors by which mean distances may differ that are equal by symmetry."""
_FLOPPY = 0.2
"""Å. Distances that scatter more are between groups that turn about a bond; their means are no geometry's."""
_BY_CHANCE = 0.15
"""Spread of how far frames of a line are bent, over the mean, at least. What is bent at rest is so in every frame."""
_THIN = 0.25
"""Width of frames of a line over their length, at most."""
_EXACT = 1e-4
"""Å. Distance within which a symmetrised geometry lies on itself."""
_MOST_OPERATIONS = 240
"""More than any point group of a molecule has, those of the linear ones apart."""


def distances_of(positions: Floats) -> Floats:
    """Distances of all pairs, shape (..., n, 3) → (..., n, n)."""
    return np.asarray(np.linalg.norm(positions[..., :, None, :] - positions[..., None, :, :], axis=-1))


def bonds_of(numbers: Integers, positions: Floats) -> Integers:
    """Pairs of bonded atoms, shape (b, 2)."""
    radii = covalent_radii[numbers]
    near = distances_of(positions) < BOND * (radii[:, None] + radii)
    return np.argwhere(np.triu(near, 1))


def turned_onto(target: Floats, other: Floats, *, mirrored: bool | None = None) -> Floats:
    """The orthogonal R, shape (3, 3), with which other @ R comes nearest to a target, both about their centroids.

    Args:
        target: positions, shape (n, 3), Å.
        other: likewise.
        mirrored: whether R is to be improper; None for whichever is better, the proper one where both are.

    Source: Kabsch, Acta Crystallogr. A 32, 922 (1976).
    """
    u, s, vt = np.linalg.svd((other - other.mean(axis=0)).T @ (target - target.mean(axis=0)))
    sign = np.sign(np.linalg.det(u @ vt))
    wanted = -1.0 if mirrored else 1.0
    if sign == wanted or (mirrored is None and s[2] > 1e-6 * s[0]):
        return np.asarray(u @ vt)
    return np.asarray((u * [1.0, 1.0, -1.0]) @ vt)


def mean_molecule(numbers: Integers, positions: Floats) -> Floats:
    """The symmetric geometry that frames of a molecule have in common.

    Distances are fitted to their means, each as well as it is defined: what turns about a bond has a mean geometry
    only in itself.

    Args:
        numbers: atomic numbers, shape (n,).
        positions: of each frame, in one order of the atoms, turned and shifted in any way, shape (m, n, 3), Å.

    Returns:
        Positions about their centroid, shape (n, 3), Å.
    """
    m, n, _ = positions.shape
    every = distances_of(positions)
    mean, scatter = every.mean(axis=0), every.std(axis=0)
    error = _ERRORS * scatter / np.sqrt(m) + _RESIDUE
    stress = np.triu((every - mean) ** 2 / (scatter + _RESIDUE) ** 2, 1).sum(axis=(1, 2))
    fitted = positions[int(stress.argmin())]
    fitted = fitted - fitted.mean(axis=0)
    if n < 2:
        return np.asarray(fitted)
    weight = 1 / (scatter + _RESIDUE) ** 2
    if m > 1:
        fitted = _fitted(fitted, mean, weight)
    rigid = scatter <= _FLOPPY
    # Bending makes ends of a line nearer to each other, as if it were bent at rest.
    axis = np.linalg.svd(fitted)[2][:1]
    line = fitted @ axis.T @ axis
    line = _fitted(line, mean, weight) if m > 1 else line
    spans = np.linalg.svd(positions - positions.mean(axis=1, keepdims=True), compute_uv=False)
    lengths, bends = spans[:, 0], spans[:, 1]
    by_chance = bends.std() >= _BY_CHANCE * bends.mean() or bends.mean() < _RESIDUE
    by_chance = by_chance and bends.mean() < _THIN * lengths.mean()
    if by_chance and (np.abs(distances_of(line) - mean) <= error)[rigid].all():
        fitted = line
    group: list[tuple[int, ...]] = [tuple(range(n))]
    flat = False
    candidates = [tuple(each) for each in like_permutations(numbers, mean, error * np.sqrt(2))]
    off = [min(_apart(fitted, list(each), mirrored) for mirrored in (False, True)) for each in candidates]
    trials = [candidates[i] for i in np.argsort(np.round(off, 6), kind="stable")]
    for permutation in trials:
        # The identity, which always comes first, stands for the mirror of a flat molecule.
        larger = None if permutation in group[1:] else _generated([*group, permutation])
        if larger is None:
            continue
        symmetric_mean, symmetric_weight = _averaged(mean, larger), _averaged(weight, larger)
        as_flat = flat or permutation == group[0]
        start = _symmetrised(fitted, larger, flat=as_flat)
        if start is None:
            continue
        moved = _fitted(start, symmetric_mean, symmetric_weight) if m > 1 else start
        found = _symmetrised(moved, larger, flat=as_flat)
        if found is None:
            continue
        # What is nearly flat, as ammonia is, is no flat molecule.
        allowed = error if as_flat else np.maximum(error, scatter)
        if (np.abs(distances_of(found) - mean) <= allowed)[rigid].all():
            fitted, group, flat = found, larger, as_flat
    return np.asarray(fitted - fitted.mean(axis=0))


def like_permutations(
    numbers: Integers,
    distances: Floats,
    tolerance: Floats,
    other: tuple[Integers, Floats] | None = None,
) -> Iterator[list[int]]:
    """Ways to lay atoms on like atoms such that distances stay; onto themselves the identity comes first.

    Args:
        numbers: atomic numbers, shape (n,).
        distances: of pairs, of whatever kind, shape (n, n).
        tolerance: by how much those that come onto each other may differ, shape (n, n).
        other: numbers and distances of what the atoms are laid on; themselves by default.

    Yields:
        On which atom each one lies, n numbers.
    """
    n = len(numbers)
    like, apart_there = (numbers, distances) if other is None else other
    # Atoms that are far from those already placed pin down the most.
    order = [int(distances.sum(axis=0).argmax())]
    while len(order) < n:
        rest = [i for i in range(n) if i not in order]
        order.append(max(rest, key=lambda i: float(distances[i, order].min())))
    found = 0
    stack: list[list[int]] = [[]]
    while stack and found < _MOST_OPERATIONS:
        images = stack.pop()
        if len(images) == n:
            found += 1
            yield [image for _, image in sorted(zip(order, images, strict=True))]
            continue
        i, placed = order[len(images)], order[: len(images)]
        apart = np.abs(apart_there[:, images] - distances[i, placed])
        fits = (like == numbers[i]) & (apart <= tolerance[i, placed]).all(axis=1)
        fits[images] = False
        # The identity is met first.
        stack += [[*images, image] for image in sorted(np.flatnonzero(fits).tolist(), key=lambda image: image == i)]


def interchangeable(numbers: Integers, positions: Floats) -> Integers:
    """Ways to exchange atoms that leave all bonds, shape (g, n): on which atom each one lies, the identity first.

    Those of a methyl group are among them, turned and mirrored, whatever the geometry is.
    """
    steps = _steps(numbers, positions)
    return np.array(list(like_permutations(numbers, steps, np.zeros_like(steps))))


def laid_by_bonds(numbers: Integers, target: Floats, other_numbers: Integers, other: Floats) -> Integers | None:
    """For each atom of a structure that of a molecule which is bonded alike, shape (n,); None where bonds differ.

    Of several ways that which takes the atoms least far is taken. Arguments as of `laid_in_any_order`.
    """
    steps, others = _steps(numbers, target), _steps(other_numbers, other)
    best, least = None, np.inf
    for images in like_permutations(numbers, steps, np.zeros_like(steps), (other_numbers, others)):
        if (away := _apart(other, images, None, target)) < least:
            best, least = np.argsort(images), away
    return best


def _steps(numbers: Integers, positions: Floats) -> Floats:
    """Bonds on the shortest way between two atoms; as many as there are atoms where there is none."""
    bonds, n = bonds_of(numbers, positions), len(numbers)
    graph = coo_array((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), shape=(n, n))
    return np.asarray(np.minimum(shortest_path(graph, directed=False, unweighted=True), n))


def _apart(positions: Floats, permutation: list[int], mirrored: bool | None, other: Floats | None = None) -> float:
    """Root mean square of how far atoms are from those they are laid on, Å; `other` are they, and else the same."""
    there = positions[permutation] - positions.mean(axis=0)
    here = (positions if other is None else other) - (positions if other is None else other).mean(axis=0)
    turned = here @ turned_onto(there, here, mirrored=mirrored)
    return float(np.sqrt(((turned - there) ** 2).sum(axis=1).mean()))


def _fitted(start: Floats, distances: Floats, weight: Floats) -> Floats:
    """Positions whose distances are nearest to given ones; what is symmetric at the start stays so."""
    from scipy.optimize import minimize

    i, j = np.triu_indices(len(start), 1)
    wanted, weights = distances[i, j], weight[i, j]

    def misfit(flat: Floats) -> tuple[float, Floats]:
        positions = flat.reshape(-1, 3)
        vectors = positions[i] - positions[j]
        lengths = np.linalg.norm(vectors, axis=1)
        off = lengths - wanted
        slope = (2 * weights * off / lengths)[:, None] * vectors
        gradient = np.zeros_like(positions)
        np.add.at(gradient, i, slope)
        np.add.at(gradient, j, -slope)
        return float(weights @ off**2), gradient.ravel()

    found = minimize(misfit, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x.reshape(-1, 3)
    return np.asarray(found - found.mean(axis=0))


def _averaged(matrix: Floats, group: Sequence[tuple[int, ...]]) -> Floats:
    return np.asarray(np.mean([matrix[np.ix_(each, each)] for each in group], axis=0))


def _generated(permutations: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]] | None:
    """Close permutations under products; None where there are too many."""
    group = dict.fromkeys(permutations)
    frontier = list(group)
    while frontier:
        products = {tuple(a[k] for k in b) for a in frontier for b in permutations}
        frontier = [each for each in products if each not in group]
        group |= dict.fromkeys(frontier)
        if len(group) > _MOST_OPERATIONS:
            return None
    return list(group)


def _symmetrised(positions: Floats, group: Sequence[tuple[int, ...]], *, flat: bool) -> Floats | None:
    """The mean of a geometry's images, each turned onto it; None where no geometry is the same for all."""
    positions = positions - positions.mean(axis=0)
    for _ in range(200):
        images = []
        for each in group:
            inverse = np.argsort(each)
            images.append(positions[inverse] @ turned_onto(positions, positions[inverse]))
        mean = np.mean(images, axis=0)
        if flat:
            normal = np.linalg.svd(mean)[2][-1]
            mean = mean - np.outer(mean @ normal, normal)
        change = float(np.abs(mean - positions).max())
        positions = mean
        if change < 1e-12:
            break
    worst = max(min(_apart(positions, list(each), mirrored) for mirrored in (False, True)) for each in group)
    return (
        positions
        if worst < _EXACT and distances_of(positions)[np.triu_indices(len(positions), 1)].min() > 0.3
        else None
    )


def point_group(numbers: Integers, positions: Floats, moments: Floats) -> Operations:
    """All isometries that lay a symmetric geometry on itself; of a linear one's, one for each permutation and sense.

    Args:
        numbers: atomic numbers, shape (n,).
        positions: about their centroid, shape (n, 3), Å.
        moments: magnetic moments, μB; all of them may be reversed. Shape (n,).
    """
    n = len(numbers)
    within = np.full((n, n), 20 * _EXACT)
    rotations, permutations = [], []
    for permutation in like_permutations(numbers, distances_of(positions), within):
        if not any(np.allclose(sign * moments[permutation], moments, atol=0.05) for sign in (1, -1)):
            continue
        for mirrored in (False, True):
            rotation = turned_onto(positions[permutation], positions, mirrored=mirrored)
            if np.abs(positions @ rotation - positions[permutation]).max() < 20 * _EXACT:
                rotations.append(rotation)
                permutations.append(permutation)
    count = len(rotations)
    return Operations(
        np.array(rotations),
        np.zeros((count, 3)),
        np.array(permutations, dtype=np.int64),
        np.zeros(count, dtype=np.int64),
    )


def is_linear(positions: Floats) -> bool:
    """Whether positions about their centroid, shape (n, 3), Å, are on one line."""
    sizes = np.linalg.svd(positions, compute_uv=False)
    return bool(len(sizes) < 2 or sizes[1] < 1e-3)


def schoenflies(operations: Operations, positions: Floats) -> str:
    """The name of a point group, as "C2v"."""
    if is_linear(positions):
        if len(positions) == 1:
            return "K"
        return "D∞h" if len(np.unique(operations.permutations, axis=0)) > 1 else "C∞v"
    rotations = operations.rotations
    proper = np.linalg.det(rotations) > 0
    turns = rotations[proper]
    orders = [_order(each) for each in turns]
    highest, h, p = max(orders), len(rotations), len(turns)
    mirrors = [
        each for each, is_proper in zip(rotations, proper, strict=True) if not is_proper and np.trace(each) > 0.99
    ]
    inversion = bool((np.abs(rotations + np.eye(3)).max(axis=(1, 2)) < 1e-3).any())
    axes = [_axis(each) for each, order in zip(turns, orders, strict=True) if order == highest]
    if highest >= 3 and any(abs(axes[0] @ each) < 0.99 for each in axes):
        letter = {12: "T", 24: "O", 60: "I"}[p]
        ending = "" if h == p else "h" if inversion or letter != "T" else "d"
        return letter + ending
    if highest == 1:
        return "C1" if h == 1 else "Ci" if inversion else "Cs"
    # The plane of a mirror is across the axis that the mirror turns round, and σh is across a main one.
    across = any(abs(_axis(-each) @ axis) > 0.99 for each in mirrors for axis in axes)
    if p == highest:
        if h == p:
            return f"C{highest}"
        return f"C{highest}h" if across else f"C{highest}v" if mirrors else f"S{2 * highest}"
    return f"D{highest}" + ("" if h == p else "h" if across else "d")


def _order(rotation: Floats) -> int:
    """How often a proper rotation is to be repeated until it is none."""
    power, order = rotation, 1
    while np.trace(power) < 3 - 1e-4 and order < 60:
        power, order = power @ rotation, order + 1
    return order


def _axis(rotation: Floats) -> Floats:
    """The axis of a rotation, shape (3,)."""
    return np.asarray(np.linalg.svd(rotation - np.eye(3))[2][-1])


def laid_in_any_order(
    numbers: Integers, target: Floats, other_numbers: Integers, other: Floats, tolerance: float
) -> tuple[Integers, Floats] | None:
    """Find which atom of a structure stands for which of a molecule.

    Args:
        numbers: the molecule's atomic numbers, shape (n,).
        target: its positions, shape (n, 3), Å.
        other_numbers: the structure's, shape (n,).
        other: its positions, shape (n, 3), Å.
        tolerance: how far from its place an atom may be, Å.

    Returns:
        For each atom of the structure the one that it stands for, shape (n,), and how far each is from there, shape
        (n,), Å; None where there is none within the tolerance.
    """
    from scipy.optimize import linear_sum_assignment

    target, other = target - target.mean(axis=0), other - other.mean(axis=0)
    like = other_numbers[:, None] == numbers
    best: tuple[Integers, Floats] | None = None
    for start in _starts(numbers, target, other_numbers, other, tolerance):
        rotation, partners = start, None
        for _ in range(5):
            cost = np.where(like, cdist(other @ rotation, target) ** 2, 1e6)
            assigned = linear_sum_assignment(cost)[1]
            if partners is not None and (assigned == partners).all():
                break
            partners = assigned
            rotation = turned_onto(target[partners], other)
        assert partners is not None
        away = np.linalg.norm(other @ rotation - target[partners], axis=1)
        if away.max() <= tolerance and (best is None or away.max() < best[1].max() - 1e-6):
            best = partners, away
    return best


def _starts(
    numbers: Integers, target: Floats, other_numbers: Integers, other: Floats, tolerance: float
) -> Iterator[Floats]:
    """Rotations that bring two atoms, and the centroid, near to where two of the molecule's are."""
    radii, others = np.linalg.norm(target, axis=1), np.linalg.norm(other, axis=1)
    kinds, counts = np.unique(numbers[radii > tolerance], return_counts=True)
    if not len(kinds):
        yield np.eye(3)
        return
    rare = kinds[counts == counts.min()]
    i = int(np.flatnonzero(np.isin(numbers, rare) & (radii > tolerance))[0])
    beside = np.linalg.norm(np.cross(target, target[i] / radii[i]), axis=1)
    j = int(beside.argmax())
    for a in np.flatnonzero((other_numbers == numbers[i]) & (np.abs(others - radii[i]) <= tolerance)):
        for b in np.flatnonzero((other_numbers == numbers[j]) & (np.abs(others - radii[j]) <= tolerance)):
            apart = np.linalg.norm(other[a] - other[b]) - np.linalg.norm(target[i] - target[j])
            if (a == b) != (i == j) or abs(apart) > 2 * tolerance:
                continue
            for mirrored in (False, True):
                pair = np.vstack([target[[i, j]], [[0.0] * 3]]), np.vstack([other[[a, b]], [[0.0] * 3]])
                yield _about_origin(*pair, mirrored)


def _about_origin(target: Floats, other: Floats, mirrored: bool) -> Floats:
    u, _, vt = np.linalg.svd(other.T @ target)
    if (np.linalg.det(u @ vt) < 0) != mirrored:
        u[:, -1] *= -1
    return np.asarray(u @ vt)


def still(positions: Floats, tolerance: float) -> NDArray[np.bool_]:
    """Which atoms are in one place in all frames, shape (m, n, 3) → (n,): at least three, as those that were held."""
    fixed = np.ptp(positions, axis=0).max(axis=1) <= tolerance
    return np.asarray(fixed if fixed.sum() >= 3 else np.zeros(len(fixed), dtype=bool))
