"""Internal strain: that of springs, and error bars against models moved along what they do not know."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, mx2
from springs import Springs, free
from test_ionic_lattice import by_directions, saddle
from test_phonons import RUTILE, SPRINGS, UNSURE

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.grueneisen import grueneisen
from ase_dkl.mechanics.internal_strain import internal_strain
from ase_dkl.mechanics.ionic_lattice import lattice
from ase_dkl.mechanics.relaxation import BadRelaxation
from ase_dkl.mechanics.structure import relaxed_structure

A, NEAR = 5.43, 12.0


@pytest.fixture(scope="module")
def diamond() -> Springs:
    return Springs(free(bulk("Si", a=A)), 4.2, SPRINGS, UNSURE)


def test_diamond(diamond: Springs) -> None:
    found = internal_strain(diamond)
    # Nearest neighbours alone hold the sublattices: bonds keep their lengths.
    assert found.kleinman == pytest.approx(1, rel=1e-4)
    expected = np.zeros((3, 6))
    expected[range(3), range(3, 6)] = NEAR * A / 3
    assert found.forces[0] == pytest.approx(-found.forces[1])
    assert np.abs(found.forces[1]) == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert np.abs(found.response[1] - found.response[0]) == pytest.approx(expected / NEAR * 3 / 4, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(
    "atoms", [bulk("Si", a=A), bulk("GaAs", "zincblende", a=5.6, cubic=True)], ids=["primitive", "cube"]
)
def test_a_crystal_that_is_turned(atoms: Atoms) -> None:
    atoms.rotate(50, (1, 2, 3), rotate_cell=True)
    assert internal_strain(Springs(free(atoms), 4.2, SPRINGS, UNSURE)).kleinman == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(("atoms", "reach"), [(bulk("Si", a=A), 4.2), (RUTILE, 2.9)], ids=["Si", "TiO2"])
def test_error_bars(atoms: Atoms, reach: float) -> None:
    springs = Springs(free(atoms), reach, SPRINGS, UNSURE)
    found = internal_strain(springs)

    def all_of(each: Springs) -> Floats:
        other = internal_strain(each)
        return np.concatenate([other.forces.ravel(), other.response.ravel(), [other.kleinman or 0]])

    forces, response, zeta = np.split(by_directions(springs, all_of), [18 * len(atoms), 36 * len(atoms)])
    # To first order but for differences.
    assert found.forces_std.ravel() == pytest.approx(forces, rel=2e-3, abs=1e-4)
    assert found.response_std.ravel() == pytest.approx(response, rel=2e-3, abs=1e-5)
    if found.kleinman_std is not None:
        assert found.kleinman_std == pytest.approx(zeta[0], rel=2e-3)


def test_it_is_how_ions_move(diamond: Springs) -> None:
    relaxed, h = lattice(diamond, "relaxed"), 1e-3
    base = relaxed.crystal.cell
    strain = np.array([[0, h / 2, 0], [h / 2, 0, 0], [0, 0, 0]])
    ahead, behind = relaxed.points(np.array([base @ (np.eye(3) + sign * strain) for sign in (1, -1)]))
    shift = (ahead[4] - ahead[3] - behind[4] + behind[3]) / (2 * h)
    followed = (diamond.reference[4] - diamond.reference[3]) @ strain / h
    found = internal_strain(diamond).response
    assert shift - followed == pytest.approx(found[1, :, 5] - found[0, :, 5], abs=1e-4)


def test_a_saddle_has_none() -> None:
    springs = saddle()
    structure = relaxed_structure(springs, fixed_cell=True, saddle=True)
    with pytest.raises(BadRelaxation, match="saddle"):
        internal_strain(springs, structure=structure)


def test_a_sheet_has_no_strains_across_it() -> None:
    springs = Springs(free(mx2("MoS2", a=3.18, vacuum=7)), 3.4, SPRINGS, UNSURE)
    found = internal_strain(springs)
    assert found.response[:, :, 2:5] == pytest.approx(0, abs=1e-9)
    assert found.response_std[:, :, 2:5] == pytest.approx(0, abs=1e-9)
    # Sulfur comes nearer where the sheet is stretched.
    assert found.response[1, 2, 0] == pytest.approx(-found.response[2, 2, 0])
    assert np.abs(found.response[1, 2, 0]) > 0.1
    tensors = grueneisen(springs).tensors
    assert tensors[:, 2:] == pytest.approx(0, abs=1e-9)
    assert tensors[:, 0] == pytest.approx(tensors[:, 1])


def test_other_crystals_have_no_zeta() -> None:
    assert internal_strain(Springs(free(RUTILE), 2.9, SPRINGS, UNSURE)).kleinman is None
