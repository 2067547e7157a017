"""The structure at rest, and the error bars of its coordinates."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from springs import Springs, free
from test_ionic_lattice import by_directions, saddle
from test_phonons import RUTILE, SPRINGS, UNSURE

from ase_dkl.arrays import Floats
from ase_dkl.mechanics.equilibrium import BadEquilibrium
from ase_dkl.mechanics.force_constants import curvatures
from ase_dkl.mechanics.motions import Functionals, SiteGroup
from ase_dkl.mechanics.relaxation import BadRelaxation
from ase_dkl.mechanics.structure import relaxed_structure


@pytest.mark.parametrize(("atoms", "reach"), [(RUTILE, 3.6), (molecule("H2O"), 2.0)], ids=["TiO2", "H2O"])
def test_error_bars(atoms: Atoms, reach: float) -> None:
    springs = Springs(free(atoms), reach, SPRINGS, UNSURE)
    found = relaxed_structure(springs)

    def coordinates(each: Springs) -> Floats:
        structure = relaxed_structure(each)
        places = structure.scaled_positions - structure.scaled_positions.mean(axis=0)
        return np.concatenate([places.ravel(), structure.atoms().cell.cellpar()])

    true = by_directions(springs, coordinates)
    # To first order but for differences; what symmetry holds is known but for rounding.
    assert found.scaled_positions_std.ravel() == pytest.approx(true[: 3 * len(atoms)], rel=2e-3, abs=1e-6)
    if found.equilibrium is not None:
        assert found.equilibrium.lattice_parameters_std == pytest.approx(true[-6:], rel=2e-3, abs=1e-6)


def test_an_energy_that_is_uncertain() -> None:
    springs = Springs(free(RUTILE), 2.9, SPRINGS, UNSURE, lengths=np.full(1, 2.0))
    springs.lengths = np.resize(springs.lengths, len(springs.shells)) + springs.shells[:, 0] - 2.01
    found = relaxed_structure(springs)
    true = by_directions(springs, lambda each: np.array([relaxed_structure(each).energy]))
    assert found.energy_std == pytest.approx(true[0], rel=2e-3)


def test_symmetry_stays() -> None:
    springs = Springs(free(RUTILE), 2.9, SPRINGS, UNSURE)
    found = relaxed_structure(springs)
    assert len(SiteGroup.of(springs.crystal, found.point).rotations) == 16
    words = found.words()
    assert words["ion 0, Ti"] == "0  0  0"
    assert words["ion 2, O"].count("±") == 2
    assert found.stable


def test_a_cell_may_be_held() -> None:
    springs = Springs(free(RUTILE), 2.9, SPRINGS, UNSURE)
    found = relaxed_structure(springs, fixed_cell=True)
    assert found.equilibrium is None
    assert (found.point[:3] == springs.reference[:3]).all()
    assert (found.covariance[:6] == 0).all()
    true = by_directions(springs, lambda each: relaxed_structure(each, fixed_cell=True).positions.ravel())
    assert found.positions_std.ravel() == pytest.approx(true, rel=2e-3, abs=1e-6)
    with pytest.raises(BadRelaxation, match="works on a lattice that is free"):
        relaxed_structure(springs, fixed_cell=True, pressure_GPa=1)


def test_pressure() -> None:
    springs = Springs(free(RUTILE), 2.9, SPRINGS, UNSURE)
    under = relaxed_structure(springs, pressure_GPa=20)
    volumes = [abs(np.linalg.det(each.point[:3])) for each in (under, relaxed_structure(springs))]
    assert volumes[0] < volumes[1]
    assert np.abs(springs.marginals(under.point[None], True)[0][0, 7:]).max() < 1e-6


def test_saddles() -> None:
    springs = saddle()
    with pytest.raises(BadRelaxation, match="saddle"):
        relaxed_structure(springs, fixed_cell=True)
    assert not relaxed_structure(springs, fixed_cell=True, saddle=True).stable
    followed = relaxed_structure(springs, fixed_cell=True, follow=True)
    assert followed.stable
    assert followed.energy < relaxed_structure(springs, fixed_cell=True, saddle=True).energy


def test_a_cell_goes_along_with_the_unstable_mode() -> None:
    springs = saddle()
    held = relaxed_structure(springs, saddle=True)
    assert not held.stable
    assert held.equilibrium is not None
    assert held.equilibrium.lattice_parameters[0] == pytest.approx(4)
    found = relaxed_structure(springs, follow=True)
    assert found.stable
    assert found.energy < held.energy
    assert len(SiteGroup.of(springs.crystal, found.point).rotations) < 48


def test_no_minimum_is_near() -> None:
    springs = Springs(free(RUTILE), 2.9, np.array([[0.0, -6, 0, 0]]), UNSURE)
    with pytest.raises((BadRelaxation, BadEquilibrium), match=r"saddle|do not come to rest"):
        relaxed_structure(springs)


def test_a_covariance_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    springs = Springs(free(RUTILE), 2.9, SPRINGS, UNSURE)
    rng = np.random.default_rng(0)
    points = springs.reference + 0.01 * rng.normal(size=(5, 9, 3))
    quantities = Functionals(points, rng.normal(size=(4, 5, 25)))
    whole = quantities.covariance(springs)
    monkeypatch.setattr("ase_dkl.mechanics.motions._AT_ONCE", 100)
    assert quantities.covariance(springs) == pytest.approx(whole, rel=1e-12)


def test_a_structure_that_is_turned_has_the_same_symmetry() -> None:
    springs = Springs(free(RUTILE), 2.9, SPRINGS, UNSURE)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3))).Q
    turn *= np.linalg.det(turn)
    groups = [SiteGroup.of(springs.crystal, springs.reference @ each) for each in (np.eye(3), turn)]
    assert [len(group.rotations) for group in groups] == [16, 16]
    assert groups[1].rotations == pytest.approx(turn.T @ groups[0].rotations @ turn)
    strained = springs.reference @ np.diag([1.01, 1, 1]) @ turn
    assert len(SiteGroup.of(springs.crystal, strained).rotations) == 8


def test_motions_that_have_the_symmetry() -> None:
    springs = Springs(free(RUTILE), 2.9, SPRINGS, UNSURE)
    symmetric = SiteGroup.of(springs.crystal, springs.reference).invariant
    assert symmetric @ symmetric == pytest.approx(symmetric)
    # Two strains, and one displacement of the oxygens.
    assert np.linalg.matrix_rank(symmetric[:6, :6], tol=1e-6) == 2
    assert np.linalg.matrix_rank(symmetric[6:, 6:], tol=1e-6) == 1
    # Slopes of a symmetric structure have it too.
    slopes = springs.marginals(springs.reference[None] * 1.01, True)[0][0, 1:]
    assert slopes @ symmetric == pytest.approx(slopes, abs=1e-9)


def test_second_derivatives_of_what_is_turned() -> None:
    springs = Springs(free(RUTILE), 2.9, SPRINGS, UNSURE)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3))).Q
    turn *= np.linalg.det(turn)
    strained = springs.reference @ np.array([[1.02, 0.01, 0], [0.01, 1, 0], [0, 0, 0.99]])
    one, other = curvatures(springs, np.array([strained, strained @ turn]))
    expected = one.turned(turn)
    # Differences along other directions.
    assert other.uu == pytest.approx(expected.uu, abs=1e-3)
    assert other.eu == pytest.approx(expected.eu, abs=1e-3)
    assert other.projection == pytest.approx(expected.projection)
