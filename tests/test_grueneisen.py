"""Grüneisen tensors: those of springs, and error bars against models moved along what they do not know."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from springs import Springs, free
from test_ionic_lattice import by_directions
from test_phonons import RUTILE, SPRINGS, UNSURE

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained
from ase_dkl.mechanics.grueneisen import grueneisen
from ase_dkl.mechanics.ionic_lattice import lattice
from ase_dkl.mechanics.phonons import phonons
from ase_dkl.mechanics.relaxation import BadRelaxation
from ase_dkl.mechanics.structure import relaxed_structure


def test_diamond() -> None:
    springs = Springs(free(bulk("Si", a=5.43)), 4.2, SPRINGS, UNSURE)
    found = grueneisen(springs)
    # ω² ∝ f'' + 2 f' / r of the bond's energy f, so that ∂ ln ω / ∂ ln r = r (f''' + 2 f'' / r) / (2 f'').
    bond, second, third = 5.43 * np.sqrt(3) / 4, 2 * SPRINGS[0, 1], 6 * SPRINGS[0, 2]
    expected = -(bond * third + 2 * second) / (2 * second) / 3
    assert found.isotropic == pytest.approx([expected], rel=1e-3)
    assert found.tensors[0] == pytest.approx([expected] * 3 + [0] * 3, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("atoms", [bulk("Si", a=5.43), RUTILE], ids=["Si", "TiO2"])
def test_error_bars(atoms: Atoms) -> None:
    springs = Springs(free(atoms), 4.2 if len(atoms) == 2 else 2.9, SPRINGS, UNSURE)
    found = grueneisen(springs)

    def all_of(each: Springs) -> Floats:
        other = grueneisen(each)
        return np.concatenate([other.tensors.ravel(), other.isotropic])

    # Steps of a fifth of σ: what second differences leave of a third derivative depends on the choice of modes of one
    # frequency, and is not to count.
    tensors, isotropic = np.split(by_directions(springs, all_of, step=0.2), [found.tensors.size])
    assert found.tensors_std.ravel() == pytest.approx(tensors, rel=0.01, abs=1e-5)
    assert found.isotropic_std == pytest.approx(isotropic, rel=0.01)


def test_it_is_how_frequencies_change() -> None:
    springs = Springs(free(RUTILE), 2.9, SPRINGS, UNSURE)
    at = relaxed_structure(springs)
    found = grueneisen(springs)
    relaxed, h = lattice(springs, "relaxed"), 1e-3
    logs = []
    for sign in (1, -1):
        cell = strained(at.point[:3], sign * h * np.array([0, 0, 1.0, 0, 0, 0]))
        moved = Springs(springs.crystal, 2.9, SPRINGS, UNSURE)
        moved.reference = relaxed.points(cell[None])[0]
        other = phonons(moved, structure=relaxed_structure(moved, fixed_cell=True))
        squares = np.square(other.frequencies_THz)
        logs.append([np.log(squares[list(group.modes)].mean()) / 2 for group in found.phonons.groups])
    assert found.tensors[:, 2] == pytest.approx(np.diff(logs, axis=0)[0] / (2 * h), rel=2e-3, abs=1e-3)


def test_a_molecule_has_none() -> None:
    springs = Springs(free(molecule("H2O")), 2.0, SPRINGS, UNSURE)
    with pytest.raises(BadRelaxation, match="molecule or cluster"):
        grueneisen(springs)
