"""What a strain does to ions: forces on those that follow it, and where they go from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.neighborlist import neighbor_list

from ase_dkl.arrays import Floats
from ase_dkl.crystal import lattice
from ase_dkl.mechanics.ionic_lattice import refuse_without_lattice
from ase_dkl.mechanics.motions import Functionals, displacements, moved
from ase_dkl.mechanics.propagation import deviations
from ase_dkl.mechanics.relaxation import BadRelaxation, not_a_minimum
from ase_dkl.mechanics.structure import STEP, RelaxedStructure, at_structure, relaxed_structure
from ase_dkl.model.accepted import Ionic, as_ionic
from ase_dkl.shown import Shown
from ase_dkl.wording import concise, plus_minus

if TYPE_CHECKING:
    from ase_dkl.model.ionic_energy import IonicEnergy

_TETRAHEDRAL = ("(216)", "(227)")
"""Space groups of zincblende and diamond."""
_ALIKE = 1e-3
"""Å within which bonds are equally long."""
_ROUNDING = 1e-6
"""Å: what is less is zero by symmetry."""


@dataclass(frozen=True, eq=False, repr=False)
class InternalStrain(Shown):
    """The internal-strain tensor of a structure at rest, and the response of its ions.

    Components are Cartesian, and Voigt strains have engineering shears.

    Attributes:
        structure: that is strained.
        forces: Λ = ∂F/∂ε on ions that follow the strain, eV/Å, shape (N, 3, 6).
        forces_covariance: of `forces.ravel()`, shape (18 N, 18 N).
        response: ∂u/∂ε of ions at rest, from where they would follow the strain to, Å, shape (N, 3, 6).
        response_covariance: of `response.ravel()`, shape (18 N, 18 N).
        kleinman: Kleinman's ζ of diamond or zincblende, 0 where ions follow the strain and 1 where bonds keep their
            lengths; None of other crystals.
        kleinman_std: its standard deviation.
    """

    structure: RelaxedStructure
    forces: Floats
    forces_covariance: Floats
    response: Floats
    response_covariance: Floats
    kleinman: float | None = None
    kleinman_std: float | None = None

    @property
    def forces_std(self) -> Floats:
        """Standard deviations, eV/Å, shape (N, 3, 6)."""
        return deviations(self.forces_covariance).reshape(self.forces.shape)

    @property
    def response_std(self) -> Floats:
        """Standard deviations, Å, shape (N, 3, 6)."""
        return deviations(self.response_covariance).reshape(self.response.shape)

    def words(self) -> dict[str, str]:
        """Kleinman's ζ where there is one, then what is not zero of the response of every ion."""
        rows = {}
        if self.kleinman is not None:
            rows["Kleinman's ζ"] = plus_minus(self.kleinman, self.kleinman_std)
        symbols = self.structure.crystal.atoms().get_chemical_symbols()
        for i, (symbol, row, std) in enumerate(zip(symbols, self.response, self.response_std, strict=True)):
            for axis, strains, stds in zip("xyz", row.tolist(), std.tolist(), strict=True):
                for name, value, each in zip(lattice.VOIGT_NAMES, strains, stds, strict=True):
                    if abs(value) > _ROUNDING:
                        rows[f"ion {i}, {symbol}: ∂{axis}/∂ε_{name}"] = plus_minus(value, each, "Å")
        return rows

    def _record(self) -> dict[str, Any]:
        names = ("forces", "forces_std", "response", "response_std", "kleinman", "kleinman_std")
        return {
            **{name: getattr(self, name) for name in names},
            "structure": self.structure.record(),
            "convention": "forces: dF/d(strain), eV/A, on ions that follow the strain; response: du/d(strain), A, of "
            "ions at rest from where they would follow it to; N ions x 3 x Voigt xx yy zz yz xz xy, shears engineering",
        }

    def to_dict(self) -> dict[str, Any]:
        """What the record has."""
        return self.record()

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {} if self.kleinman is None else {"Kleinman's ζ": concise(self.kleinman, self.kleinman_std)}
        largest = np.unravel_index(np.abs(self.response).argmax(), self.response.shape)
        rows["largest ∂u/∂ε"] = concise(abs(float(self.response[largest])), float(self.response_std[largest]), "Å")
        return f"Internal strain of {self.structure.crystal.formula}", rows


def internal_strain(model: Ionic, *, structure: RelaxedStructure | None = None) -> InternalStrain:
    """Find the forces that strains cause, where ions go, and how sure the model is of both.

    Args:
        model: of free ions, its file, or a calculator that has it.
        structure: that is strained; by default with lattice and ions at rest.

    Raises:
        BadRelaxation: ions do not come to rest, or on a saddle; a molecule or cluster, which has no lattice.
    """
    model = as_ionic(model)
    refuse_without_lattice(model.crystal)
    at = relaxed_structure(model) if structure is None else structure
    if not at.stable:
        raise BadRelaxation(not_a_minimum(at.curvature))
    curvature, n = at.curvature, len(at.positions)
    # A sheet's strains across it are none.
    inside = lattice.onto_lattice(model.crystal.vectors(at.point[:3])[None])[0]
    strains = np.hstack([inside.T, np.zeros((6, 3 * n))])
    # Ions at rest go along paths of strain and response, on which to first order no force appears.
    paths = strains + displacements((curvature.response @ inside).T)

    def forces(point: Floats) -> Functionals:
        return _slopes_along(point, strains, -np.eye(3 * n))

    def response(point: Floats) -> Functionals:
        return _slopes_along(point, paths, -curvature.inverse)

    mean = (curvature.response @ inside).ravel()
    linear = at_structure(model, at, response)
    covariance = linear.covariance(model)
    zeta = _kleinman(at)
    shape = (n, 3, 6)
    return InternalStrain(
        structure=at,
        forces=(-curvature.eu.T @ inside).reshape(shape),
        forces_covariance=at_structure(model, at, forces).covariance(model),
        response=mean.reshape(shape),
        response_covariance=covariance,
        kleinman=None if zeta is None else float(zeta @ mean),
        kleinman_std=None if zeta is None else _kleinman_std(model, at, linear, zeta),
    )


def _kleinman(structure: RelaxedStructure) -> Floats | None:
    """ζ = z · response, shape (18 N,), of diamond and zincblende; None of other crystals.

    Source: L. Kleinman, Phys. Rev. 128, 2614 (1962).
    """
    if not structure.crystal.space_group.endswith(_TETRAHEDRAL):
        return None
    atoms = structure.atoms()
    i, j, apart, distance = neighbor_list("ijDd", atoms, 1.2 * _shortest(atoms.cell.array, atoms.positions))
    bonds = i == 0
    if np.count_nonzero(bonds) != 4 or np.ptp(distance[bonds]) > _ALIKE:
        return None
    ways = apart[bonds]
    # Bonds d of one ion keep their lengths where d · (E d + w) = 0, which four bonds allow by least squares.
    stretched = np.einsum("bi,jik,bk->bj", ways, lattice.STRAIN_GENERATORS, ways)
    rigid = -np.linalg.lstsq(ways, stretched, rcond=None)[0]
    weights = np.zeros((len(atoms), 3, 6))
    np.add.at(weights, j[bonds], rigid / 4)
    weights[0] -= rigid
    return weights.ravel() / float(np.square(rigid).sum())


def _kleinman_std(model: IonicEnergy, structure: RelaxedStructure, response: Functionals, zeta: Floats) -> float:
    weights = np.tensordot(zeta, response.weights, axes=1)
    # ζ is over the length of a bond, which is uncertain too.
    stretch = structure.response[:3].mean(axis=0)
    weights[0, 1:] -= float(zeta @ structure.curvature.response.ravel()) * stretch
    return float(np.sqrt(max(Functionals(response.points, weights[None]).covariance(model)[0, 0], 0)))


def _slopes_along(point: Floats, ways: Floats, by: Floats) -> Functionals:
    """B ∂g_u/∂w along ways w, shape (6, 6 + 3 N), of the displacement slopes g_u: 3 N × 6 quantities."""
    steps = STEP * np.concatenate([np.zeros_like(ways[:1]), ways, -ways])
    m, rows = len(ways), len(by)
    weights = np.zeros((rows, m, 1 + 2 * m, 7 + by.shape[1]))
    for j in range(m):
        weights[:, j, 1 + j, 7:] = by / (2 * STEP)
        weights[:, j, 1 + m + j, 7:] = -by / (2 * STEP)
    return Functionals(moved(point[None], steps), weights.reshape(rows * m, *weights.shape[2:]))


def _shortest(cell: Floats, positions: Floats) -> float:
    """The shortest distance of two ions, Å; bonds of zincblende are 0.43 of the cube's edge."""
    return float(np.cbrt(abs(np.linalg.det(cell)) * 8 / len(positions)) * np.sqrt(3) / 4)
