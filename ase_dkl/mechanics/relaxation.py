"""Ions on which no forces remain, in cells that are held."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.errors import Refused
from ase_dkl.mechanics.force_constants import Curvature, curvatures
from ase_dkl.mechanics.motions import SiteGroup, displacements, moved

if TYPE_CHECKING:
    from ase_dkl.model.ionic_energy import IonicEnergy

LONGEST = 0.1
"""Largest displacement of one Newton step, Å."""
FARTHEST = 1.5
"""Displacement from the start beyond which the search has lost its way, Å."""
CONVERGED = 1e-9
"""Displacement at which the search ends, Å."""
MOST_STEPS = 100
_FASTER = 0.3
"""A step of old second derivatives that leaves more of the forces than this part asks for new ones."""
_UNSTABLE = 1e-6
"""Part of the largest curvature by which one below zero is no rounding."""
_AMPLITUDES = np.geomspace(0.02, 0.6, 12)
"""Displacements at which energies along an unstable mode are compared, Å."""
_TURNS = 4
"""Unstable modes followed one after the other."""


class BadRelaxation(Refused, ValueError):
    """Ions at rest that were not found, or are at rest on a saddle of the energy."""


def at_rest(model: IonicEnergy, starts: Floats, known: Sequence[Curvature] | None = None) -> Floats:
    """Move ions by Newton's method until no forces are left; symmetry that a start has remains.

    Along directions in which the energy curves the wrong way steps go downhill. Where no force points along such a
    direction, as on a saddle that symmetry holds in place, ions come to rest on the saddle: see `Curvature.modes`.

    Args:
        model: the energy.
        starts: shape (n, 3 + N, 3), Å; the cells stay.
        known: second derivatives at structures near to each, which spare those at the starts.

    Returns:
        Shape (n, 3 + N, 3), Å.

    Raises:
        BadRelaxation: ions do not come to rest near their start.
    """
    points = np.array(starts)
    used = curvatures(model, points) if known is None else known
    inverses = [_downhill(each) for each in used]
    kept = (SiteGroup.of(model.crystal, point).invariant[6:, 6:] for point in points)
    projections = np.array([each.projection @ symmetric for each, symmetric in zip(used, kept, strict=True)])
    exact = np.full(len(points), known is None)
    energies, slopes = _energies_and_slopes(model, points, projections)
    steps = -np.array([inverse @ slope for inverse, slope in zip(inverses, slopes, strict=True)])
    busy = np.arange(len(points))
    for _ in range(MOST_STEPS):
        steps *= np.minimum(1, LONGEST / np.maximum(np.abs(steps).max(axis=1), 1e-300))[:, None]
        trial = moved(points[busy], displacements(steps[busy]))
        trial_energies, trial_slopes = _energies_and_slopes(model, trial, projections[busy])
        stale = []
        for place, i in enumerate(busy):
            before, after = np.abs(slopes[i]).max(), np.abs(trial_slopes[place]).max()
            # So short a step changes the energy by no more than rounding may: then forces tell.
            small = np.abs(steps[i]).max() < 1e-5
            better = trial_energies[place] <= energies[i] or (small and after <= before)
            if not better and not exact[i]:
                stale.append(i)
            elif not better and np.abs(steps[i]).max() > CONVERGED:
                steps[i] /= 4
            else:
                points[i], energies[i], slopes[i] = trial[place], trial_energies[place], trial_slopes[place]
                taken = np.abs(steps[i]).max()
                steps[i] = -inverses[i] @ slopes[i]
                exact[i] = False
                if after > _FASTER * before and taken > 1e-6:
                    stale.append(i)
        if stale:
            for i, each in zip(stale, curvatures(model, points[stale]), strict=True):
                inverses[i], exact[i] = _downhill(each), True
                steps[i] = -inverses[i] @ slopes[i]
        lost = np.abs(points[:, 3:] - starts[:, 3:]).max(axis=(1, 2)) > FARTHEST
        busy = np.flatnonzero((np.abs(steps).max(axis=1) > CONVERGED) & ~lost)
        if lost.any():
            break
        if not len(busy):
            return moved(points, displacements(steps))
    raise BadRelaxation(
        "The ions do not come to rest near their start: forces of up to "
        f"{np.abs(slopes).max():.2g} eV/Å remain after displacements of up to "
        f"{np.abs(points - starts).max():.2g} Å. The training data may not surround a minimum of this cell; add "
        "structures with displaced ions there, or start from another cell."
    )


def in_minimum(model: IonicEnergy, start: Floats, *, follow: bool = False) -> tuple[Floats, Curvature]:
    """Ions at rest where every displacement costs energy, and the second derivatives there.

    Args:
        model: the energy.
        start: shape (3 + N, 3), Å; the cell stays.
        follow: leave a saddle along its unstable mode, to where the energy is lowest, as often as needed.

    Raises:
        BadRelaxation: ions do not come to rest near, or on a saddle that is not to be left.
    """
    point = at_rest(model, start[None])[0]
    curvature = curvatures(model, point[None])[0]
    for turn in range(_TURNS + 1):
        if not unstable(curvature):
            return point, curvature
        if not follow or turn == _TURNS:
            break
        point = at_rest(model, _down_the_mode(model, point, curvature)[None])[0]
        curvature = curvatures(model, point[None])[0]
    raise BadRelaxation(not_a_minimum(curvature))


def unstable(curvature: Curvature) -> bool:
    """Whether some displacement lowers the energy of ions at rest."""
    values = curvature.modes[0]
    return bool(len(values) and values[0] < -_UNSTABLE * np.abs(values).max())


def not_a_minimum(curvature: Curvature) -> str:
    """What is to be said of ions at rest on a saddle."""
    values = curvature.modes[0]
    count = int((values < 0).sum())
    ways = "a displacement lowers" if count == 1 else f"{count} independent displacements lower"
    return (
        f"Ions at rest here are on a saddle and not in a minimum: {ways} the energy, the most by a curvature of "
        f"{values[0]:.3g} eV/Å². This phase is unstable at its Γ point, as before a polar or a tilting transition, so "
        "that it has no relaxed-ion properties. Ask for clamped ions, or let the unstable mode be followed into the "
        "minimum beside it (follow=True, --follow), which has less symmetry."
    )


def _down_the_mode(model: IonicEnergy, point: Floats, curvature: Curvature) -> Floats:
    """The lowest structure along an unstable mode; of a degenerate one in directions that are simple in x, y and z."""
    values, modes = curvature.modes
    span = modes[values < values[0] + 1e-3 * np.abs(values).max()]
    ion = int(np.square(span).reshape(len(span), -1, 3).sum(axis=(0, 2)).argmax())
    left, _, right = np.linalg.svd(span[:, 3 * ion : 3 * ion + 3].T, full_matrices=False)
    ways = np.array([way for way in product((-1, 0, 1), repeat=3) if any(way)], dtype=float)
    directions = ways @ (left @ right @ span)
    sizes = np.abs(directions).max(axis=1)
    directions = directions[sizes > 0.1 * sizes.max()] / sizes[sizes > 0.1 * sizes.max(), None]
    trials = moved(point, displacements((_AMPLITUDES[:, None, None] * directions).reshape(-1, directions.shape[1])))
    energies = model.marginals(trials, False)[0][:, 0].reshape(len(_AMPLITUDES), -1)
    # The first minimum along each way: beyond it the model may know nothing.
    best, lowest = trials[0], np.inf
    for column, energy in enumerate(energies.T):
        place = int(np.argmax(np.append(np.diff(energy) > 0, True)))
        if energy[place] < lowest - 1e-9:
            lowest, best = energy[place], trials.reshape(*energies.shape, *point.shape)[place, column]
    return np.asarray(best)


def _energies_and_slopes(model: IonicEnergy, points: Floats, projections: Floats) -> tuple[Floats, Floats]:
    rows = model.means(points)
    return rows[:, 0], np.einsum("nij,nj->ni", projections, rows[:, 7:])


def _downhill(curvature: Curvature) -> Floats:
    """The inverse of second derivatives, with curvatures as if all were above zero."""
    values, modes = curvature.modes
    if not len(values):
        return np.zeros_like(curvature.uu)
    sizes = np.maximum(np.abs(values), 1e-3 * np.abs(values).max())
    return np.asarray(modes.T / sizes @ modes)
