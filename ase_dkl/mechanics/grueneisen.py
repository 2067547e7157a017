"""How frequencies change with the strain: Grüneisen tensors of the vibrations at Γ, with error bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import VOIGT, VOIGT_NAMES, onto_lattice
from ase_dkl.mechanics.force_constants import Curvature, curvatures
from ase_dkl.mechanics.ionic_lattice import refuse_without_lattice
from ase_dkl.mechanics.motions import Functionals, SiteGroup, displacements, moved
from ase_dkl.mechanics.phonons import Phonons, along_modes, carried, differences, modes_of, phonons, representatives
from ase_dkl.mechanics.structure import STEP
from ase_dkl.model.accepted import Ionic, as_ionic
from ase_dkl.shown import Shown
from ase_dkl.wording import concise, plus_minus

if TYPE_CHECKING:
    from ase_dkl.crystal import Crystal
    from ase_dkl.model.ionic_energy import IonicEnergy

_ZERO = 1e-6
"""What is less is zero by symmetry."""


@dataclass(frozen=True, eq=False, repr=False)
class Grueneisen(Shown):
    """Grüneisen tensors γ_j = −∂ ln ω / ∂ε_j of vibrations, ions coming to rest after the strain.

    Of modes of one frequency it is that of the mean of ω², which a strain may split.

    Attributes:
        phonons: whose frequencies change.
        tensors: of every group of `phonons`, Voigt, shears engineering, shape (m, 6); NaN where ω is zero.
        tensors_std: standard deviations, with what the structure's uncertainty adds, shape (m, 6).
        isotropic: −∂ ln ω / ∂ ln V of every group, a third of the trace, shape (m,); of a sheet by its area, of a chain
            by its length.
        isotropic_std: shape (m,).
    """

    phonons: Phonons
    tensors: Floats
    tensors_std: Floats
    isotropic: Floats
    isotropic_std: Floats

    def words(self) -> dict[str, str]:
        """Of every group the isotropic part, then the axial components, and shears that are not zero."""
        rows = {}
        for group, own, std, tensor, stds in zip(
            self.phonons.groups, self.isotropic, self.isotropic_std, self.tensors, self.tensors_std, strict=True
        ):
            told = [plus_minus(float(own), float(std))]
            if np.ptp(tensor[:3]) > _ZERO or np.abs(tensor[3:]).max() > _ZERO:
                parts = zip(VOIGT_NAMES, tensor.tolist(), stds.tolist(), strict=True)
                told += [f"{part} {plus_minus(value, each)}" for part, value, each in parts if abs(value) > _ZERO]
            rows[f"{self._symbol} of {group.frequency_THz:.4g} THz"] = ", ".join(told)
        return rows

    def _record(self) -> dict[str, Any]:
        return {
            "grueneisen": self.tensors,
            "grueneisen_std": self.tensors_std,
            "grueneisen_isotropic": self.isotropic,
            "grueneisen_isotropic_std": self.isotropic_std,
        }

    def to_dict(self) -> dict[str, Any]:
        """The tensors, and the frequencies that they are of."""
        return {**self.phonons.record(), **self.record()}

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {
            f"of {group.frequency_THz:.4g} THz": concise(float(value), float(std))
            for group, value, std in zip(self.phonons.groups, self.isotropic, self.isotropic_std, strict=True)
        }
        ends = list(rows.items())[:: max(1, len(rows) - 1)]
        return f"{self._symbol} of {self.phonons.structure.crystal.formula}", dict(ends)

    @property
    def _symbol(self) -> str:
        return f"−∂ln ω/∂ln {'·LAV'[self.phonons.structure.crystal.dimension]}"


def grueneisen(model: Ionic, *, vibrations: Phonons | None = None) -> Grueneisen:
    """Find how the frequencies at Γ change with strains, and how sure the model is of that.

    Args:
        model: of free ions, its file, or a calculator that has it.
        vibrations: whose frequencies are meant; by default those about lattice and ions at rest.

    Raises:
        BadRelaxation: ions do not come to rest; a molecule or cluster, which has no lattice.
    """
    model = as_ionic(model)
    refuse_without_lattice(model.crystal)
    given = phonons(model) if vibrations is None else vibrations
    at = given.structure
    groups = [list(group.modes) for group in given.groups]
    if not groups:
        return Grueneisen(given, *np.empty((2, 0, 6)), *np.empty((2, 0)))
    symmetry = SiteGroup.of(model.crystal, at.point).keeping(given.masses)
    symmetric = _kept(model.crystal, at.point, symmetry)
    vectors = given.eigenvectors.reshape(3 * len(given.masses), -1)
    squares, changes = _expected(model, at.point, at.curvature, given.masses, groups)
    mixed = _mixing(model, given)
    drift = _drifts(model, given, groups)
    tensors, std = np.full((2, len(groups), 6), np.nan)
    isotropic, isotropic_std = np.full((2, len(groups)), np.nan)
    isotropic_strain = _isotropic(model.crystal, at.point[:3])
    for g, modes in enumerate(groups):
        square, change = squares[g], changes[g]
        if not abs(square) > 1e-9 * np.abs(squares).max():
            continue
        of_square, of_change = _functionals(model, given, representatives(symmetry, vectors, modes), mixed)
        # γ = −t / 2 ω², of which both are uncertain.
        weights = -of_change.weights / (2 * square) + np.multiply.outer(change / (2 * square**2), of_square)
        weights[:, 0, 1:] += drift[g]
        weights = np.tensordot(symmetric.T, weights, axes=1)
        covariance = Functionals(of_change.points, weights).covariance(model)
        tensors[g] = -change / (2 * square)
        std[g] = np.sqrt(np.maximum(np.diagonal(covariance), 0))
        isotropic[g] = isotropic_strain @ tensors[g]
        isotropic_std[g] = np.sqrt(max(float(isotropic_strain @ covariance @ isotropic_strain), 0.0))
    return Grueneisen(given, tensors, std, isotropic, isotropic_std)


def _expected(
    model: IonicEnergy, point: Floats, curvature: Curvature, masses: Floats, groups: list[list[int]]
) -> tuple[Floats, Floats]:
    """Mean ω² of groups, shape (m,), and its change with strains after which ions come to rest, shape (m, 6)."""
    values, vectors, _ = modes_of(model.crystal, point, curvature, masses)
    symmetry = SiteGroup.of(model.crystal, point).keeping(masses)
    members = [representatives(symmetry, vectors, modes) for modes in groups]
    chosen = np.concatenate(members).astype(int)
    slopes = along_modes(model, point, curvature, vectors[chosen] / np.sqrt(masses).repeat(3))
    changes = (slopes[:, :6] + slopes[:, 6:] @ curvature.response) @ _kept(model.crystal, point, symmetry)
    parts = np.split(changes, np.cumsum([len(each) for each in members])[:-1])
    return np.array([values[each].mean() for each in groups]), np.array([part.mean(axis=0) for part in parts])


def _kept(crystal: Crystal, point: Floats, symmetry: SiteGroup) -> Floats:
    """The projection of strains onto those of the lattice that have a structure's symmetry, shape (6, 6)."""
    return np.asarray(onto_lattice(crystal.vectors(point[:3])[None])[0] @ symmetry.invariant[:6, :6])


def _mixing(model: IonicEnergy, given: Phonons) -> Floats:
    """a·(∂H/∂ε_j)·b / (ω_b² − ω_a²) of modes a and b of different groups: how errors turn them, shape (3 N, 3 N, 6)."""
    at = given.structure
    n = len(given.masses)
    paths = STEP * (np.eye(6, 6 + 3 * n) + displacements(at.curvature.response.T))
    hessians = [each.uu for each in curvatures(model, moved(at.point[None], np.concatenate([paths, -paths])))]
    displaced = given.displacements.reshape(3 * n, -1)
    changes = np.array([ahead - behind for ahead, behind in zip(hessians[:6], hessians[6:], strict=True)]) / (2 * STEP)
    values = np.einsum("ai,ij,aj->a", displaced, at.curvature.uu, displaced)
    group = np.full(3 * n, -1)
    for number, each in enumerate(given.groups):
        group[list(each.modes)] = number
    apart = (group[:, None] != group) & (group[:, None] >= 0) & (group >= 0)
    gaps = np.where(apart, values - values[:, None], np.inf)
    return np.asarray(np.einsum("ai,jik,bk->abj", displaced, changes, displaced) / gaps[:, :, None])


def _functionals(model: IonicEnergy, given: Phonons, modes: list[int], mixed: Floats) -> tuple[Floats, Functionals]:
    """What the mean ω² of modes of one frequency and its changes with strains are of energies and slopes.

    Returns:
        Weights of ω², shape (n, 1 + t), at the points of the six changes, and these.
    """
    at, n = given.structure, len(given.masses)
    displaced = given.displacements.reshape(3 * n, -1)
    own, d = displaced[modes], len(modes)
    points, sizes = differences(at.point, own)
    response = at.curvature.response
    paths = STEP * (np.eye(6, 6 + 3 * n) + displacements(response.T))
    points = np.concatenate([points, moved(at.point[None], np.concatenate([paths, -paths]))])
    of_square = np.zeros((len(points), 7 + 3 * n))
    of_change = np.zeros((6, len(points), 7 + 3 * n))
    along = np.hstack([np.eye(6), response.T])
    pull = along_modes(model, at.point, at.curvature, own)[:, 6:].mean(axis=0) @ at.curvature.inverse
    for b, (mode, size) in enumerate(zip(own, sizes, strict=True)):
        ahead, behind = 1 + b, 1 + d + b
        of_square[ahead, 7:] += mode / (2 * size * d)
        of_square[behind, 7:] -= mode / (2 * size * d)
        second = along / (size**2 * d)
        of_change[:, [ahead, behind], 1:] += second[:, None]
        of_change[:, 0, 1:] -= 2 * second
        # First differences: what is strained along with the mode, and the modes that errors mix into it.
        first = 2 * np.einsum("aj,ai->ji", mixed[:, modes[b]], displaced) - 2 * _carried(mode)
        of_change[:, ahead, 7:] += first / (2 * size * d)
        of_change[:, behind, 7:] -= first / (2 * size * d)
    for j in range(6):
        # Where ions come to rest after the strain is uncertain too.
        of_change[j, 1 + 2 * d + j, 7:] -= pull / (2 * STEP)
        of_change[j, 7 + 2 * d + j, 7:] += pull / (2 * STEP)
    return of_square, Functionals(points, of_change)


def _carried(mode: Floats) -> Floats:
    """E_j a of a displacement, shape (6, 3 N)."""
    basis = np.eye(len(mode))
    return carried(np.broadcast_to(mode, basis.shape), basis).T


def _isotropic(crystal: Crystal, cell: Floats) -> Floats:
    """The Voigt strain by which volume, area or length grow by their own size, alike in all directions, shape (6,)."""
    axes = np.linalg.qr(crystal.vectors(cell).T)[0]
    rows, columns = map(list, zip(*VOIGT, strict=True))
    return np.asarray((axes @ axes.T)[rows, columns] * [1, 1, 1, 2, 2, 2] / crystal.dimension)


def _drifts(model: IonicEnergy, given: Phonons, groups: list[list[int]]) -> Floats:
    """What the uncertainty of the structure adds to tensors: of its slopes, shape (m, 6, 6 + 3 N)."""
    at, n = given.structure, len(given.masses)

    def tensors(point: Floats) -> Floats:
        squares, changes = _expected(model, point, curvatures(model, point[None])[0], given.masses, groups)
        return -changes / (2 * squares[:, None])

    found = np.zeros((len(groups), 6, 6 + 3 * n))
    for way, response in at.ways:
        change = (tensors(moved(at.point, STEP * way)) - tensors(moved(at.point, -STEP * way))) / (2 * STEP)
        found += change[:, :, None] * response
    return found
