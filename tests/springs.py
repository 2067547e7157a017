"""Crystals and molecules of springs whose strengths are known to a Gaussian: all that is linear in them is exact."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ase_dkl import Crystal, JointPosterior
from ase_dkl.arrays import Floats, Integers
from ase_dkl.crystal.lattice import VOIGT
from ase_dkl.model.domain import Extrapolation
from ase_dkl.model.layout import Layout

POWERS = 4


class Springs:
    """E = Σ c_sp Σ_b (r_b − d_s)^p of the pairs b of some shells s, p = 1 … 4, with c Gaussian.

    Args:
        crystal: the reference.
        reach: pairs are no further apart, Å.
        mean: of the coefficients, shape (shells, 4), eV/Å^p.
        std: of the error of each, likewise; errors are correlated.
        lengths: of the shells' springs, those of the reference by default, Å.
    """

    def __init__(
        self, crystal: Crystal, reach: float, mean: Floats, std: Floats, lengths: Floats | None = None
    ) -> None:
        self.crystal = crystal
        self.reference = np.vstack([crystal.cell * crystal.pbc[:, None], crystal.atoms().positions])
        self.points = self.reference[None]
        self._i, self._j, self._shift, found = _pairs(crystal.atoms(), reach)
        kinds = crystal.numbers[np.column_stack([self._i, self._j])]
        key = np.column_stack([found.round(3), np.sort(kinds, axis=1)])
        shells, first, self._shell = np.unique(key, axis=0, return_index=True, return_inverse=True)
        self._shell = self._shell.ravel()
        self.shells = shells
        self.lengths = found[first] if lengths is None else lengths
        self.coefficients = np.broadcast_to(mean, (len(shells), POWERS)).ravel()
        scale = np.broadcast_to(std, (len(shells), POWERS)).ravel()
        mixing = np.linalg.qr(np.random.default_rng(1).normal(size=(scale.size,) * 2)).Q
        mixing = np.eye(scale.size) + 0.5 * mixing
        mixing /= np.linalg.norm(mixing, axis=1)[:, None]
        self.root = scale[:, None] * mixing

    def drawn(self, rng: np.random.Generator) -> Springs:
        """One that is known exactly, drawn from what is known of this."""
        return self.at(self.coefficients + self.root @ rng.normal(size=self.root.shape[1]))

    def at(self, coefficients: Floats) -> Springs:
        found = object.__new__(Springs)
        found.__dict__.update(self.__dict__)
        found.coefficients, found.root = coefficients, np.zeros_like(self.root)
        return found

    def functions(self, points: Floats, slopes: bool) -> Floats:
        """Values and slopes of the functions that have the coefficients, shape (n, 1 or 7 + 3 N, shells · 4)."""
        points = np.asarray(points)
        cells, positions = points[:, :3], points[:, 3:]
        apart = positions[:, self._j] + self._shift @ cells - positions[:, self._i]
        length = np.linalg.norm(apart, axis=-1)
        stretch = length - self.lengths[self._shell]
        n, ions = positions.shape[:2]
        found = np.zeros((n, 7 + 3 * ions if slopes else 1, len(self.shells), POWERS))
        rows, columns = map(list, zip(*VOIGT, strict=True))
        for shell in range(len(self.shells)):
            own = self._shell == shell
            way, r = apart[:, own], length[:, own]
            ends = np.eye(ions)[self._j[own]] - np.eye(ions)[self._i[own]]
            for p in range(1, POWERS + 1):
                found[:, 0, shell, p - 1] = (stretch[:, own] ** p).sum(axis=1)
                if not slopes:
                    continue
                pull = (p * stretch[:, own] ** (p - 1) / r)[..., None] * way
                found[:, 1:7, shell, p - 1] = (pull[..., rows] * way[..., columns]).sum(axis=1)
                found[:, 7:, shell, p - 1] = (ends.T @ pull).reshape(n, -1)
        return found.reshape(*found.shape[:2], -1)

    def means(self, points: Floats) -> Floats:
        return np.asarray(self.functions(points, True) @ self.coefficients)

    def marginals(self, points: Floats, slopes: bool) -> tuple[Floats, Floats]:
        functions = self.functions(points, slopes)
        return functions @ self.coefficients, np.linalg.norm(functions @ self.root, axis=-1)

    def joint(self, points: Floats, slopes: bool, *, spread: bool = True) -> JointPosterior:  # noqa: ARG002
        functions = self.functions(points, slopes)
        n, rows, p = functions.shape
        layout = Layout(n, n, {"strain": 6, "displacement": rows - 7}) if slopes else Layout(n)
        stacked = np.concatenate([functions[:, 0], functions[:, 1:].reshape(-1, p)])
        root = stacked @ self.root
        return JointPosterior(stacked @ self.coefficients, root @ root.T, layout)

    def noise(self, shape: tuple[int, int]) -> Floats:
        return np.full(shape, 1e-3)

    def extrapolation(self, points: Floats) -> Extrapolation:
        n = len(points)
        return Extrapolation(np.zeros((n, 1, 6)), np.zeros(n), 1.0, self.crystal.kind.parameters)

    def predict(self, atoms: Atoms) -> tuple[float, Floats]:
        """Energy and forces, for calculators."""
        rows = self.marginals(np.vstack([atoms.cell.array, atoms.positions])[None], True)[0][0]
        return float(rows[0]), -rows[7:].reshape(-1, 3)


def free(atoms: Atoms, mobile: list[int] | None = None) -> Crystal:
    """A reference whose ions are free."""
    return Crystal.from_atoms(atoms, ions="free", mobile=mobile)


def _pairs(atoms: Atoms, reach: float) -> tuple[Integers, Integers, Floats, Floats]:
    """Each pair once: the ions, the lattice translation between them, and how far apart they are."""
    from ase.neighborlist import neighbor_list

    i, j, shift, distance = neighbor_list("ijSd", atoms, reach)
    order = np.column_stack([j - i, shift])
    first = np.array([tuple(row) > (0, 0, 0, 0) for row in order.tolist()])
    return i[first], j[first], shift[first].astype(float), distance[first]
