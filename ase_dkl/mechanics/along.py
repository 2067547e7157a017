"""What a scan goes along, and where it starts: read from what a user gives, and checked against the crystal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.crystal import Crystal
from ase_dkl.crystal.lattice import metric
from ase_dkl.mechanics.paths import (
    ALONG,
    ANGLES,
    LENGTHS,
    MEASURES,
    PARAMETERS,
    STRAINS,
    BadScan,
    LatticePath,
    ParameterPath,
    StrainPath,
    deformations,
)

Along = str | Sequence[float] | Floats
"""One of `ALONG`, or a direction in the space of strains: six Voigt components, or words such as "xx=1,yy=-0.5"."""


def path_along(crystal: Crystal, along: Sequence[Along], start: ArrayLike | None = None) -> LatticePath:
    """The line along one thing, or the plane along two of the same kind.

    Args:
        crystal: the reference crystal.
        along: what to go along, of length 1 or 2.
        start: a lattice in the reference's basis to start from, shape (3, 3), Å; the reference's by default.

    Raises:
        BadScan: an unknown name, what the crystal does not have, or two that do not go together.
    """
    cell = start_cell(crystal, start)
    periodic = list(crystal.periodic)
    by_parameter = [isinstance(each, str) and each in PARAMETERS for each in along]
    if all(by_parameter):
        names = tuple(str(each) for each in along)
        for name in names:
            _check_periodic(crystal, name)
        if len(set(names)) < len(names):
            raise BadScan(f"Both directions of the grid are along {names[0]}. Choose two different ones.")
        return ParameterPath(names, cell, periodic)
    read = [_direction(each) for each, is_parameter in zip(along, by_parameter, strict=True) if not is_parameter]
    if any(by_parameter):
        raise BadScan(
            "A grid goes along two lattice parameters (or one and the volume), or along two strains, not one of each. "
            "As a strain, a stretch along x is xx and an isotropic one xx=1,yy=1,zz=1."
        )
    directions = np.array([strain for _, strain in read])
    names = tuple(name for name, _ in read)
    check_in_plane(crystal, cell, directions)
    if np.linalg.matrix_rank(directions) < len(directions):
        raise BadScan(f"Both directions of the grid are the same but for a factor: {' and '.join(names)}.")
    return StrainPath(names, cell, periodic, directions)


def start_cell(crystal: Crystal, start: ArrayLike | None) -> Floats:
    """A lattice to start from, checked; the reference's where none is given."""
    if start is None:
        return crystal.cell
    cell = np.array(start, dtype=float)
    if cell.shape != (3, 3) or not np.isfinite(cell).all():
        raise BadScan(f"A scan starts from a cell of shape (3, 3) in Å; {np.asarray(start).tolist()} is none.")
    edges = crystal.vectors(cell)
    if np.linalg.det(metric(edges)) <= 1e-12 * np.prod(np.linalg.norm(edges, axis=1) ** 2):
        raise BadScan("A scan starts from a cell; this one is flat. Give lattice vectors that are independent.")
    return cell


def check_in_plane(crystal: Crystal, start: Floats, strains: Floats) -> None:
    """Refuse strains, shape (n, 6), that reach out of the directions in which the crystal is periodic."""
    if crystal.dimension == 3:
        return
    axes = np.linalg.qr(crystal.vectors(start).T).Q
    matrices = deformations(strains) - np.eye(3)
    inside = axes @ axes.T @ matrices @ axes @ axes.T
    if np.abs(matrices - inside).max() > 1e-9 * np.abs(matrices).max():
        wrong = strains[np.abs(matrices - inside).max(axis=(1, 2)).argmax()]
        raise BadScan(
            f"The strain {as_words(wrong)} reaches into the vacuum, of which the energy knows nothing. The crystal is "
            f"periodic along {', '.join(LENGTHS[axis] for axis in crystal.periodic)}: strain it there alone."
        )


def as_words(strain: Floats) -> str:
    """A Voigt strain as it is written on the command line."""
    return ",".join(f"{name}={value:g}" for name, value in zip(STRAINS, strain, strict=True) if value)


def _direction(along: Along) -> tuple[str, Floats]:
    """Name and Voigt components of a direction in the space of strains."""
    if isinstance(along, str) and along in STRAINS:
        return along, np.eye(6)[STRAINS.index(along)]
    if isinstance(along, str):
        strain = _read(along)
    else:
        strain = np.array(along, dtype=float)
        if strain.shape != (6,):
            raise BadScan(
                f"A direction has the six Voigt components {', '.join(STRAINS)}; this one has the shape {strain.shape}."
            )
    if not np.isfinite(strain).all() or not strain.any():
        raise BadScan(f"{along!r} is no direction: its components must be finite, and not all of them zero.")
    return as_words(strain), strain


def _read(text: str) -> Floats:
    strain = dict.fromkeys(STRAINS, 0.0)
    seen: set[str] = set()
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in STRAINS or name in seen:
            raise BadScan(
                f"A scan goes along one of {', '.join(ALONG)}, or along a strain such as xx=1,yy=-0.5,xy=0.2; "
                f"{text!r} is none of them."
            )
        seen.add(name)
        try:
            strain[name] = float(value)
        except ValueError:
            raise BadScan(f"{text!r} is no direction: {value!r} is not a number.") from None
    return np.array(list(strain.values()))


def _check_periodic(crystal: Crystal, name: str) -> None:
    d = crystal.dimension
    if name in MEASURES:
        if d == MEASURES[name]:
            return
        has = next((f"its {measure}" for measure, axes in MEASURES.items() if axes == d), "its length")
        axes = ", ".join(LENGTHS[axis] for axis in crystal.periodic)
        raise BadScan(f"There is no scan along {name}: the crystal is periodic along {axes}. Scan along {has} instead.")
    needed = {LENGTHS.index(name)} if name in LENGTHS else set(ANGLES[name])
    missing = sorted(needed - set(crystal.periodic))
    if missing:
        axes = " and ".join(LENGTHS[axis] for axis in missing)
        raise BadScan(
            f"There is no scan along {name}: the crystal is not periodic along {axes}, so that its energy does not "
            f"depend on it. Its periodic axes are {', '.join(LENGTHS[axis] for axis in crystal.periodic)}."
        )
