"""The energy of free ions as one of the lattice alone: ions follow every strain, or come to rest after it."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from ase_dkl.arrays import Floats
from ase_dkl.calculator import ExtrapolationWarning
from ase_dkl.crystal import Crystal
from ase_dkl.crystal.lattice import VOIGT, metric, normals
from ase_dkl.mechanics.equilibrium import BadEquilibrium, equilibrium
from ase_dkl.mechanics.force_constants import Curvature, curvatures
from ase_dkl.mechanics.motions import Functionals, SiteGroup, displacements, moved, rotation_between
from ase_dkl.mechanics.relaxation import BadRelaxation, at_rest, in_minimum, not_a_minimum, unstable
from ase_dkl.model.accepted import BadIons, Energy, Ionic, as_either, as_ionic
from ase_dkl.model.ionic_energy import IonicEnergy
from ase_dkl.model.layout import Layout
from ase_dkl.model.prediction import JointPosterior, Normal, Prediction, as_cells

if TYPE_CHECKING:
    from ase_dkl.model.domain import Extrapolation
    from ase_dkl.model.lattice_energy import LatticeEnergy

Ions = Literal["clamped", "relaxed"]


def lattice(model: Ionic, ions: Ions = "relaxed", *, follow: bool = False) -> IonicLattice:
    """Take a model of free ions as one of the lattice, for scans, equations of state, equilibria, elastic constants.

    Args:
        model: of free ions, its file, or a calculator that has it.
        ions: "relaxed" ions come to rest in every cell; "clamped" ones keep the fractional coordinates that they have
            at rest in the reference's cell.
        follow: where symmetry holds relaxed ions on a saddle, in the lattice that is then in equilibrium, follow the
            unstable mode into the minimum beside it, which is the reference then.

    Raises:
        BadIons: a model that knows lattices only.
        BadRelaxation: ions do not come to rest in the reference's cell, or relaxed ones on a saddle; a molecule or
            cluster, which has no lattice.
    """
    model = as_ionic(model)
    refuse_without_lattice(model.crystal)
    if ions == "clamped":
        return ClampedIons(model, at_rest(model, model.reference[None])[0])
    return relaxed_lattice(model, follow=follow)


def relaxed_lattice(model: IonicEnergy, *, saddle: bool = False, follow: bool = False) -> RelaxedIons:
    """What `lattice` makes of relaxed ions.

    Args:
        model: of free ions.
        saddle: ions may be at rest on a saddle that symmetry holds in place.
        follow: follow its unstable mode, from where the lattice is in equilibrium with ions on the saddle.
    """
    refuse_without_lattice(model.crystal)
    if not follow:
        base = at_rest(model, model.reference[None])[0] if saddle else in_minimum(model, model.reference)[0]
        return RelaxedIons(model, base, curvatures(model, base[None])[0], saddle=saddle)
    symmetric = relaxed_lattice(model, saddle=True)
    start = symmetric.base
    with warnings.catch_warnings(), suppress(BadEquilibrium, BadRelaxation):
        warnings.simplefilter("ignore", ExtrapolationWarning)
        start = symmetric.points(equilibrium(symmetric).cell[None])[0]
    return RelaxedIons(model, *in_minimum(model, start, follow=True))


def with_ions(model: Energy | Ionic, ions: Ions | None, *, follow: bool = False) -> LatticeEnergy:
    """A lattice whose ions are as asked for: of a model of free ions either, of one of lattices what its data had.

    Args:
        model: either, its file, or a calculator that has it.
        ions: by default relaxed where they are free.
        follow: as in `lattice`.

    Raises:
        BadIons: a model of lattices with other ions.
    """
    found = as_either(model)
    if isinstance(found, IonicEnergy):
        return lattice(found, ions or "relaxed", follow=follow)
    known = found.crystal.ions
    if ions is not None and ions != known:
        raise BadIons(
            f"This model knows lattices only, with ions {known} as they were in its data: nothing of {ions} ions "
            f"follows from it. Leave --ions {ions} out, or train a model of structures with displaced ions and forces."
        )
    return found


def refuse_without_lattice(crystal: Crystal) -> None:
    """Raise `BadRelaxation` for what is periodic nowhere."""
    if not crystal.dimension:
        raise BadRelaxation(
            f"{crystal.formula} is a molecule or cluster: it has no lattice, and nothing that follows from one. Its "
            "structure and its modes follow from relaxed_structure and phonons (ase-dkl relax, ase-dkl phonons)."
        )


class IonicLattice(ABC):
    """A `LatticeEnergy` made of an `IonicEnergy`.

    Args:
        model: the energy of free ions.
        base: a structure of it, in whose cell ions are at rest, shape (3 + N, 3), Å.
    """

    def __init__(self, model: IonicEnergy, base: Floats) -> None:
        self.model, self.base = model, base
        self.crystal = _with_ions(model.crystal, base, self.ions)
        self.cells = np.asarray(model.points)[:, :3]

    @property
    @abstractmethod
    def ions(self) -> Ions:
        """How they go with the lattice."""

    @abstractmethod
    def points(self, cells: Floats) -> Floats:
        """The structures in cells, shape (n, 3, 3) → (n, 3 + N, 3), Å."""

    @abstractmethod
    def settled(self, cells: Floats) -> Floats:
        """The same, where ions are as they shall be."""

    @abstractmethod
    def responses(self, points: Floats) -> Floats:
        """∂u/∂ε of ions that are displaced from where they would follow a strain to, Å, shape (n, 3 N, 6)."""

    @abstractmethod
    def derivatives(self, cells: ArrayLike) -> Floats:
        """Expected ∂E/∂ε, eV, shape (n, 6)."""

    def predict_cells(self, cells: ArrayLike, *, stress: bool = True) -> Prediction:
        """Energies, and stresses where wanted; of relaxed ions with what their places add to the uncertainty."""
        given = as_cells(cells, stress=stress)
        points = self.settled(given)
        mean, std = self.model.marginals(points, stress)
        if not stress:
            return Prediction.of(given, Normal(mean, std, self.model.noise(mean.shape)))
        for i, point in enumerate(points):
            quantities = self._quantities(point[None])
            mean[i, :7] = quantities.mean(self.model)
            std[i, :7] = np.sqrt(np.maximum(np.diagonal(quantities.covariance(self.model)), 0))
        rows = Normal(mean[:, :7], std[:, :7], self.model.noise(mean.shape)[:, :7])
        return Prediction.of(given, rows)

    def posterior(self, cells: ArrayLike, *, derivatives: bool = True, spread: bool = True) -> JointPosterior:
        """The joint Gaussian of energies, and of ∂E/∂ε where wanted."""
        points = self.settled(as_cells(cells))
        if not derivatives:
            return self.model.joint(points, False, spread=spread)
        n = len(points)
        quantities = self._quantities(points)
        layout = Layout(n, n, {"strain": 6})
        return JointPosterior(quantities.mean(self.model), quantities.covariance(self.model, spread=spread), layout)

    def extrapolation(self, cells: ArrayLike) -> Extrapolation:
        """How far cells, with their ions, are from what is known."""
        return self.model.extrapolation(self.points(as_cells(cells)))

    def _quantities(self, points: Floats) -> Functionals:
        """Energies, then the strain slopes of each structure, ions going along as they do."""
        n, ions = len(points), points.shape[1] - 3
        weights = np.zeros((7 * n, n, 7 + 3 * ions))
        weights[np.arange(n), np.arange(n), 0] = 1
        for i, response in enumerate(self.responses(points)):
            rows = slice(n + 6 * i, n + 6 * (i + 1))
            weights[rows, i, 1:7] = np.eye(6)
            weights[rows, i, 7:] = response.T
        return Functionals(points, weights)


class ClampedIons(IonicLattice):
    """Ions that keep their fractional coordinates."""

    ions: Ions = "clamped"

    def points(self, cells: Floats) -> Floats:
        """The structures in cells, shape (n, 3, 3) → (n, 3 + N, 3), Å."""
        return following(self.crystal, self.base, cells)

    def settled(self, cells: Floats) -> Floats:
        """The same: they are where they are."""
        return self.points(cells)

    def responses(self, points: Floats) -> Floats:
        """None."""
        return np.zeros((len(points), 3 * (points.shape[1] - 3), 6))

    def derivatives(self, cells: ArrayLike) -> Floats:
        """Expected ∂E/∂ε, eV, shape (n, 6)."""
        return self.model.means(self.points(as_cells(cells)))[:, 1:7]


class RelaxedIons(IonicLattice):
    """Ions at rest in every cell, found from where they are at rest in the reference's.

    By the envelope theorem the energy is that of the structure found. Slopes contain what ions that are not quite where
    they are expected do: δ(dE/dε) = δg_ε − H_εu H_uu⁻¹ δg_u, H the second derivatives at the structure.

    Args:
        model: the energy of free ions.
        base: ions at rest, shape (3 + N, 3), Å.
        curvature: second derivatives there.
        saddle: ions may be at rest on a saddle that symmetry holds in place.
    """

    ions: Ions = "relaxed"

    def __init__(self, model: IonicEnergy, base: Floats, curvature: Curvature, *, saddle: bool = False) -> None:
        super().__init__(model, base)
        self._saddle = saddle
        self._found: dict[bytes, Floats] = {}
        self._curvatures = {base.tobytes(): curvature}
        self._known = [(base, curvature)]

    def points(self, cells: Floats) -> Floats:
        """The structures in cells, shape (n, 3, 3) → (n, 3 + N, 3), Å.

        Raises:
            BadRelaxation: ions do not come to rest.
        """
        keys = [cell.tobytes() for cell in cells]
        new = [i for i, key in enumerate(keys) if key not in self._found]
        if new:
            starts, curvatures = zip(*map(self._expected, cells[new]), strict=True)
            for i, point in zip(new, at_rest(self.model, np.array(starts), curvatures), strict=True):
                self._found[keys[i]] = point
        return np.array([self._found[key] for key in keys]).reshape(-1, *self.base.shape)

    def settled(self, cells: Floats) -> Floats:
        """The same.

        Raises:
            BadRelaxation: ions do not come to rest, or on a saddle.
        """
        points = self.points(cells)
        self.curvatures(points)
        return points

    def responses(self, points: Floats) -> Floats:
        """∂u/∂ε of ions on which no forces remain, Å, shape (n, 3 N, 6)."""
        return np.array([each.response for each in self.curvatures(points)])

    def curvatures(self, points: Floats) -> list[Curvature]:
        """Second derivatives at structures that `points` found.

        Raises:
            BadRelaxation: some are on a saddle, which is not allowed.
        """
        keys = [point.tobytes() for point in points]
        new = [i for i, key in enumerate(keys) if key not in self._curvatures]
        if new:
            found = curvatures(self.model, points[new])
            for curvature in found:
                if not self._saddle and unstable(curvature):
                    raise BadRelaxation(not_a_minimum(curvature))
            self._curvatures |= dict(zip((keys[i] for i in new), found, strict=True))
            self._known += zip(points[new], found, strict=True)
        return [self._curvatures[key] for key in keys]

    def derivatives(self, cells: ArrayLike) -> Floats:
        """Expected ∂E/∂ε, eV, shape (n, 6)."""
        # Forces are gone to some 1e-9 Å times their constants, and what they would add with them.
        return self.model.means(self.points(as_cells(cells)))[:, 1:7]

    def _expected(self, cell: Floats) -> tuple[Floats, Curvature]:
        """Where ions would be, and second derivatives, if both were in a cell as in the nearest that is known."""
        own = metric(self.crystal.vectors(cell))
        others = metric(self.crystal.vectors(np.array([point[:3] for point, _ in self._known])))
        point, curvature = self._known[int(np.abs(others - own).max(axis=(1, 2)).argmin())]
        turn = rotation_between(*(self.crystal.vectors(each) for each in (point[:3], cell)))
        start = following(self.crystal, point, (cell @ turn.T)[None])[0]
        frames = [np.vstack([rows, normals(rows)]) for rows in map(self.crystal.vectors, (point[:3], start[:3]))]
        strain = np.linalg.inv(frames[0]) @ frames[1] - np.eye(3)
        rows, columns = map(list, zip(*VOIGT, strict=True))
        voigt = (strain + strain.T)[rows, columns] / [2, 2, 2, 1, 1, 1]
        return moved(start, displacements(curvature.response @ voigt)) @ turn, curvature.turned(turn)


def following(crystal: Crystal, base: Floats, cells: Floats) -> Floats:
    """A structure in other cells, ions at the same fractional coordinates.

    Args:
        crystal: the reference.
        base: shape (3 + N, 3), Å.
        cells: shape (n, 3, 3), Å.

    Returns:
        Shape (n, 3 + N, 3), Å. Across the periodic directions ions stay at the same distances.
    """
    axes = list(crystal.periodic)
    frame = np.vstack([base[axes], normals(base[axes])])
    frames = np.array([np.vstack([cell[axes], normals(cell[axes])]) for cell in cells]).reshape(-1, 3, 3)
    return np.concatenate([cells, base[3:] @ np.linalg.inv(frame) @ frames], axis=1)


def _with_ions(crystal: Crystal, base: Floats, ions: Ions) -> Crystal:
    """The crystal of ions at rest, with the symmetry that they have kept."""
    kept = np.unique(crystal.operations.images[SiteGroup.of(crystal, base).places])
    axes = list(crystal.periodic)
    lattice = base[axes]
    frame = np.vstack([lattice, normals(lattice)])
    scaled = np.empty_like(crystal.scaled_positions)
    order = np.argsort(~crystal.pbc, kind="stable")
    scaled[:, order] = base[3:] @ np.linalg.inv(frame)
    none = np.empty(0, dtype=bool)
    cell = np.where(crystal.pbc[:, None], base[:3], crystal.cell)
    images = crystal.images[kept]
    found = replace(crystal, cell=cell, scaled_positions=scaled, images=images, ions=ions, mobile=none)
    if len(kept) == len(crystal.images):
        return found
    return replace(found, space_group=Crystal.from_atoms(found.atoms(), ions="relaxed").space_group)
