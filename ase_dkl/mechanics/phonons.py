"""Vibrations at the Γ point, of crystals, molecules and clusters, and how sure the model is of their frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import fs, invcm
from numpy.typing import ArrayLike, NDArray

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import STRAIN_GENERATORS
from ase_dkl.errors import Refused
from ase_dkl.mechanics.motions import Functionals, SiteGroup, complement, displacements, moved, rigid_motions
from ase_dkl.mechanics.structure import RelaxedStructure, relaxed_structure
from ase_dkl.model.accepted import Ionic, as_ionic
from ase_dkl.shown import Shown
from ase_dkl.wording import concise, plus_minus

if TYPE_CHECKING:
    from ase_dkl.crystal import Crystal
    from ase_dkl.mechanics.force_constants import Curvature
    from ase_dkl.model.ionic_energy import IonicEnergy

STEP = 5e-3
"""Displacement of the ion that moves furthest in differences along a mode, Å."""
DEGENERATE = 1e-4
"""Frequencies closer than this part of the largest are those of one group."""
_IRREDUCIBLE = 1e-4
"""Unevenness, over all images of a mode, below which they are evenly spread over the modes of its frequency."""
_THZ = 1e3 * fs / (2 * np.pi)
WAVENUMBERS = 1e12 * 6.62607015e-34 / 1.602176634e-19 / invcm
"""Of a terahertz, cm⁻¹."""


class BadMasses(Refused, ValueError):
    """Masses that ions cannot have."""


@dataclass(frozen=True, eq=False)
class ModeGroup:
    """Modes of one frequency.

    Attributes:
        modes: their numbers, from 0, ascending by frequency.
        frequency_THz: their mean; below zero where it is imaginary.
        frequency_THz_std: of that mean.
        splitting_THz_std: standard deviation of one mode's frequency from the group's mean, by errors of the model that
            part them; zero where symmetry holds them together.
    """

    modes: tuple[int, ...]
    frequency_THz: float
    frequency_THz_std: float
    splitting_THz_std: float


@dataclass(frozen=True, eq=False, repr=False)
class Phonons(Shown):
    """Vibrations at the Γ point, without the electric field that parts longitudinal modes of polar crystals.

    Attributes:
        structure: about which ions vibrate.
        masses: of the ions, atomic mass units, shape (N,).
        frequencies_THz: of all 3 N modes, ascending; imaginary ones are below zero. Those of translations, and of
            rotations of molecules, are zero.
        frequencies_THz_std: standard deviations, each of its group's mean, with what the structure's uncertainty adds,
            shape (3 N,).
        eigenvectors: orthonormal, in coordinates weighted by the roots of the masses, shape (3 N, N, 3).
        groups: of vibrations that have one frequency.
    """

    structure: RelaxedStructure
    masses: Floats
    frequencies_THz: Floats
    frequencies_THz_std: Floats
    eigenvectors: Floats
    groups: tuple[ModeGroup, ...]

    @cached_property
    def displacements(self) -> Floats:
        """Of the ions in every mode, in the reference's frame, Å per root of amu, shape (3 N, N, 3)."""
        return self.eigenvectors / np.sqrt(self.masses)[:, None]

    @property
    def stable(self) -> bool:
        """No frequency is imaginary."""
        return bool(self.frequencies_THz[0] >= 0)

    def words(self) -> dict[str, str]:
        """Every group, then the structure that vibrates."""
        rows = {}
        for group in self.groups:
            frequency, std = group.frequency_THz, group.frequency_THz_std
            first, last = group.modes[0] + 1, group.modes[-1] + 1
            name = f"mode {first}" if first == last else f"modes {first}–{last}"
            in_cm = plus_minus(WAVENUMBERS * frequency, WAVENUMBERS * std, "cm⁻¹")
            rows[name] = f"{plus_minus(frequency, std, 'THz')}, {in_cm}" + ", imaginary" * (frequency < 0)
        held = 3 * int((~self.structure.crystal.mobile).sum())
        still = len(self.frequencies_THz) - sum(len(group.modes) for group in self.groups) - held
        rows |= {f"{n} motions of {what}": "0 THz" for n, what in ((still, "the whole"), (held, "held ions")) if n}
        found = self.structure.equilibrium
        return rows | ({} if found is None else found.lattice_words())

    def table(self) -> dict[str, NDArray[Any]]:
        """Columns of a table of all modes."""
        return {
            "mode": np.arange(1, len(self.frequencies_THz) + 1),
            "frequency_THz": self.frequencies_THz,
            "frequency_THz_std": self.frequencies_THz_std,
            "wavenumber_per_cm": WAVENUMBERS * self.frequencies_THz,
            "wavenumber_per_cm_std": WAVENUMBERS * self.frequencies_THz_std,
        }

    def _record(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in ("frequencies_THz", "frequencies_THz_std", "groups", "stable")},
            "masses": self.masses,
            "eigenvectors": self.eigenvectors,
            "structure": self.structure.record(),
            "convention": "imaginary frequencies are negative; those of translations and rotations are zero; no LO-TO "
            "splitting. Eigenvectors are weighted by the roots of the masses, each in one row of N ions x 3",
        }

    def to_dict(self) -> dict[str, Any]:
        """What the record has."""
        return self.record()

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {}
        if self.groups:
            for name, group in (("lowest", self.groups[0]), ("highest", self.groups[-1])):
                rows[name] = concise(group.frequency_THz, group.frequency_THz_std, "THz")
        return f"Vibrations of {self.structure.crystal.formula}", rows


def phonons(model: Ionic, *, structure: RelaxedStructure | None = None, masses: ArrayLike | None = None) -> Phonons:
    """Find the frequencies of vibrations at the Γ point, and their standard deviations to first order.

    δω² = e·δD·e for the dynamical matrix D and its eigenvectors e, both from the slopes at structures displaced along
    a mode; and D changes with the structure at rest, as uncertain as that is.

    Args:
        model: of free ions, its file, or a calculator that has it.
        structure: about which ions vibrate; by default with lattice and ions at rest, on a saddle where symmetry holds
            them there.
        masses: of the ions in the reference's order, atomic mass units, shape (N,); ASE's by default.

    Raises:
        BadMasses: masses of another number, or that are none.
        BadRelaxation: ions do not come to rest.
    """
    model = as_ionic(model)
    given = _checked(masses, model.crystal)
    at = relaxed_structure(model, saddle=True) if structure is None else structure
    values, vectors, whole = modes_of(model.crystal, at.point, at.curvature, given)
    groups = grouped(values, whole)
    symmetry = SiteGroup.of(model.crystal, at.point)
    members = [representatives(symmetry, vectors, modes) for modes in groups]
    displaced = vectors / np.sqrt(given).repeat(3)
    slopes = np.zeros((len(values), 6 + vectors.shape[1]))
    chosen = [mode for each in members for mode in each]
    slopes[chosen] = along_modes(model, at.point, at.curvature, displaced[chosen])
    std = np.zeros(len(values))
    found = []
    for modes, index in zip(groups, members, strict=True):
        variance, splitting = _variances(model, at, displaced[index], slopes[index])
        mean = float(values[list(modes)].mean())
        std[list(modes)] = _std(mean, variance)
        found.append(ModeGroup(modes, float(_frequency(mean)), _std(mean, variance), _std(mean, splitting)))
    shape = (len(vectors), len(given), 3)
    return Phonons(at, given, _frequency(values), std, vectors.reshape(shape), tuple(found))


def grouped(values: Floats, whole: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """Numbers of modes that have one frequency, of ascending squares; motions of the whole are in no group."""
    frequencies, own = _frequency(values), np.flatnonzero(~whole)
    apart = np.diff(frequencies[own]) > DEGENERATE * np.abs(frequencies).max(initial=0)
    parts = np.split(own, np.flatnonzero(apart) + 1)
    return [tuple(part.tolist()) for part in parts if len(part)]


def representatives(symmetry: SiteGroup, vectors: Floats, modes: Sequence[int]) -> list[int]:
    """Modes that stand for all of one frequency: one where symmetry makes the others of it, else all of them.

    Args:
        symmetry: of the structure.
        vectors: of all modes, weighted by the masses' roots, shape (3 N, 3 N).
        modes: those of one frequency.
    """
    images = symmetry.turned(vectors[modes[0]]) @ vectors[list(modes)].T
    d = len(modes)
    one = np.abs(images.T @ images / len(images) - np.eye(d) / d).max() < _IRREDUCIBLE
    return [modes[0]] if one else list(modes)


def modes_of(
    crystal: Crystal, point: Floats, curvature: Curvature, masses: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Squares of angular frequencies, ascending, and the modes.

    Returns:
        Squares, eV/Å²/amu, shape (3 N,), eigenvectors in rows, shape (3 N, 3 N), and which modes are none, as
        translations, rotations of a molecule, and motions of ions that are held are, shape (3 N,).
    """
    rigid = rigid_motions(crystal, point[3:], masses)
    others = complement(rigid)
    root = np.sqrt(masses).repeat(3)
    values, vectors = np.linalg.eigh(others @ (curvature.uu / np.outer(root, root)) @ others.T)
    together = np.concatenate([np.zeros(len(rigid)), values])
    order = np.argsort(together, kind="stable")
    return together[order], np.concatenate([rigid, vectors.T @ others])[order], order < len(rigid)


def along_modes(model: IonicEnergy, point: Floats, curvature: Curvature, modes: Floats) -> Floats:
    """Expected change of every ω² with the structure: by strains that ions follow, and by displacements of ions.

    Args:
        model: the energy.
        point: the structure, shape (3 + N, 3), Å.
        curvature: second derivatives there.
        modes: displacements a with ω² = a·H·a, shape (m, 3 N), Å per root of amu.

    Returns:
        Shape (m, 6 + 3 N): a third derivative of the energy each, from the second difference of slopes along a mode.
    """
    points, sizes = differences(point, modes)
    slopes = model.means(points)[:, 1:]
    m = len(modes)
    found = (slopes[1 : m + 1] + slopes[m + 1 :] - 2 * slopes[0]) / sizes[:, None] ** 2
    # A displacement that is strained along with the ions is another one.
    found[:, :6] -= 2 * carried(modes, modes @ curvature.uu)
    return np.asarray(found)


def carried(modes: Floats, pulls: Floats) -> Floats:
    """(E_j a)·p of displacements a and slopes p, shape (m, 3 N), by the strain matrices E_j: shape (m, 6)."""
    shape = (len(modes), modes.shape[1] // 3, 3)
    ions = modes.reshape(shape), STRAIN_GENERATORS, pulls.reshape(shape)
    return np.asarray(np.einsum("mnb,jbc,mnc->mj", *ions))


def differences(point: Floats, modes: Floats) -> tuple[Floats, Floats]:
    """A structure, then those displaced forward and backward along modes, (1 + 2 m, 3 + N, 3); and the steps (m,)."""
    sizes = STEP / np.linalg.norm(modes.reshape(len(modes), modes.shape[1] // 3, 3), axis=2).max(axis=1)
    steps = displacements(sizes[:, None] * modes)
    return moved(point[None], np.concatenate([np.zeros((1, steps.shape[1])), steps, -steps])), sizes


def _variances(model: IonicEnergy, at: RelaxedStructure, modes: Floats, slopes: Floats) -> tuple[float, float]:
    """Variance of a group's mean ω², and of one ω² from that mean, in the square of eV/Å²/amu."""
    d = len(modes)
    points, sizes = differences(at.point, modes)
    weights = np.zeros((d, d, 1 + 2 * d, 1 + slopes.shape[1]))
    for b, size in enumerate(sizes):
        weights[:, b, 1 + b, 7:] = modes / (2 * size)
        weights[:, b, 1 + d + b, 7:] = -modes / (2 * size)
    weights = (weights + weights.swapaxes(0, 1)) / 2
    # The structure moves along with its symmetry, and so does the group as a whole.
    weights[np.arange(d), np.arange(d), 0, 1:] += slopes.mean(axis=0) @ at.response
    covariance = Functionals(points, weights.reshape(d * d, *weights.shape[2:])).covariance(model)
    trace = np.eye(d).ravel() / d
    mean = float(trace @ covariance @ trace)
    return max(mean, 0.0), max(float(np.trace(covariance)) / d - mean, 0.0)


def _frequency(squares: Floats | float) -> Floats:
    """THz, below zero for squares, eV/Å²/amu, that are."""
    return np.asarray(_THZ * np.sign(squares) * np.sqrt(np.abs(squares)))


def _std(square: float, variance: float) -> float:
    """Standard deviation of a frequency, THz; half of what lies within one of its square, which may reach zero."""
    deviation = np.sqrt(variance)
    return float(_frequency(square + deviation) - _frequency(square - deviation)) / 2


def _checked(masses: ArrayLike | None, crystal: Crystal) -> Floats:
    if masses is None:
        return np.asarray(crystal.atoms().get_masses())
    given = np.array(masses, dtype=float)
    n = len(crystal.numbers)
    if given.shape != (n,) or not (np.isfinite(given) & (given > 0)).all():
        raise BadMasses(
            f"Masses of {n} ions are {n} numbers above zero, in atomic mass units; these are {given.tolist()}."
        )
    return given
