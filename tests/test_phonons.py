"""Frequencies at Γ: those that are known exactly, and error bars against models moved along what they do not know."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.cluster import Icosahedron
from ase.units import fs
from ase.vibrations import Vibrations
from exact import Exact
from springs import Springs, free
from test_ionic_lattice import by_directions, saddle

from ase_dkl.figures.phonons import phonons_figure
from ase_dkl.mechanics.grueneisen import grueneisen
from ase_dkl.mechanics.internal_strain import internal_strain
from ase_dkl.mechanics.motions import SiteGroup
from ase_dkl.mechanics.phonons import BadMasses, phonons, representatives
from ase_dkl.mechanics.structure import relaxed_structure

THZ = 1e3 * fs / (2 * np.pi)
RUTILE = Atoms(
    "Ti2O4",
    scaled_positions=[[0, 0, 0], [0.5] * 3, *([x, y, z] for x, y, z in
                      [(0.305, 0.305, 0), (0.695, 0.695, 0), (0.195, 0.805, 0.5), (0.805, 0.195, 0.5)])],
    cell=[4.6, 4.6, 2.95],
    pbc=True,
)  # fmt: skip
UNSURE = np.array([[0.03, 0.1, 0.5, 0.1]])
SPRINGS = np.array([[0.0, 6, -8, 1]])


def test_diamond() -> None:
    k, mass = 6.0, 28.085
    springs = Springs(free(bulk("Si", a=5.43)), 4.2, np.array([[0, k / 2, -8, 1], [0, 1, -1, 1]]), UNSURE)
    found = phonons(springs)
    # Second neighbours are of the same sublattice, which moves as a whole. Differences of 0.005 Å leave 10⁻⁵.
    expected = THZ * np.sqrt(8 / 3 * k / mass)
    assert found.frequencies_THz == pytest.approx([0, 0, 0, *3 * [expected]], rel=1e-4)
    (group,) = found.groups
    assert group.modes == (3, 4, 5)
    assert group.splitting_THz_std < 1e-3 * group.frequency_THz_std
    assert found.stable


def test_chain() -> None:
    near, far, masses = 5.0, 3.0, np.array([20.0, 50.0])
    chain = Atoms("NaCl", positions=[[0, 0, 0], [2.1, 0, 0]], cell=[5, 12, 12], pbc=(True, False, False))
    springs = Springs(free(chain), 3.0, np.array([[0, near / 2, 0, 0], [0, far / 2, 0, 0]]), 0.01 * UNSURE)
    found = phonons(springs, masses=masses, structure=relaxed_structure(springs, fixed_cell=True, saddle=True))
    expected = THZ * np.sqrt((near + far) * (1 / masses).sum())
    assert found.frequencies_THz[-1] == pytest.approx(expected, rel=1e-4)
    # Nothing holds it across; but roots of what differences leave, some 1e-5 of a spring, are no such small part.
    assert found.frequencies_THz[:-1] == pytest.approx(0, abs=0.03)


def test_lennard_jones_dimer() -> None:
    mass, epsilon, sigma = 39.95, 0.0104, 3.4
    dimer = Atoms("Ar2", positions=[[0, 0, 0], [3.7, 0, 0]])
    calculator = LennardJones(epsilon=epsilon, sigma=sigma, rc=50)
    found = phonons(Exact(dimer, calculator), masses=[mass] * 2)
    assert np.linalg.norm(np.diff(found.structure.positions, axis=0)) == pytest.approx(2 ** (1 / 6) * sigma, rel=1e-6)
    stiffness = 72 * 2 ** (-1 / 3) * epsilon / sigma**2
    assert found.frequencies_THz == pytest.approx([0] * 5 + [THZ * np.sqrt(2 * stiffness / mass)], rel=1e-3)
    assert [len(group.modes) for group in found.groups] == [1]


def test_icosahedron_of_copper(tmp_path: Path) -> None:
    cluster = Icosahedron("Cu", 2)
    model = Exact(cluster, EMT())
    found = phonons(model)
    atoms = model.atoms(found.structure.point)
    reference = Vibrations(atoms, name=str(tmp_path / "vib"), delta=0.005)
    reference.run()
    expected = np.sqrt(reference.get_vibrations().get_energies().astype(complex) ** 2).real / 4.135667696e-3
    assert found.frequencies_THz[6:] == pytest.approx(np.sort(expected)[6:], rel=1e-3)
    # Ag + Hu of the centre's neighbours, T1u of the centre …: of 33 vibrations in Ih no more than a dozen frequencies.
    assert sum(len(group.modes) for group in found.groups) == 33
    assert 8 <= len(found.groups) <= 12
    assert found.stable


@pytest.mark.parametrize(
    ("atoms", "reach"), [(RUTILE, 2.9), (molecule("H2O"), 2.0), (molecule("CH4"), 2.3)], ids=["TiO2", "H2O", "CH4"]
)
def test_error_bars(atoms: Atoms, reach: float) -> None:
    springs = Springs(free(atoms), reach, SPRINGS, UNSURE)
    found = phonons(springs)
    true = by_directions(springs, lambda each: phonons(each).frequencies_THz)
    # To first order but for differences: bond lengths that move are part of it.
    assert found.frequencies_THz_std == pytest.approx(true, rel=2e-3, abs=1e-6)


def test_error_bars_of_a_sample() -> None:
    springs = Springs(free(molecule("H2O")), 2.0, SPRINGS, UNSURE)
    rng = np.random.default_rng(0)
    drawn = [phonons(springs.drawn(rng)).frequencies_THz for _ in range(300)]
    # A deviation of 300 draws is itself known to 4 %.
    assert phonons(springs).frequencies_THz_std == pytest.approx(np.std(drawn, axis=0), rel=0.1, abs=1e-6)


def test_imaginary_frequencies_are_negative() -> None:
    springs = saddle()
    found = phonons(springs, structure=relaxed_structure(springs, fixed_cell=True, saddle=True))
    assert found.frequencies_THz[:3] == pytest.approx(found.frequencies_THz[0])
    assert found.frequencies_THz[0] < -1
    assert (found.frequencies_THz[3:] == 0).all()
    assert not found.stable
    assert "imaginary" in found.words()["modes 1–3"]


def test_an_uncertain_sign_has_a_finite_error_bar() -> None:
    springs = saddle(depth=0.0)
    springs.root = 1e-2 * np.eye(len(springs.coefficients))
    found = phonons(springs, structure=relaxed_structure(springs, fixed_cell=True, saddle=True))
    std = found.frequencies_THz_std[found.frequencies_THz != 0]
    assert (std > np.abs(found.frequencies_THz).max() / 2).all()
    assert np.isfinite(std).all()


def test_ions_may_be_held() -> None:
    k, mass = 12.0, 10.0
    dimer = Atoms("H2", positions=[[0, 0, 0], [0.9, 0, 0]])
    springs = Springs(free(dimer, mobile=[1]), 2.0, np.array([[0, k / 2, 0, 0]]), UNSURE)
    found = phonons(springs, masses=[mass] * 2)
    # The mass of one alone, and what is not held turns about the other.
    assert found.frequencies_THz == pytest.approx([0] * 5 + [THZ * np.sqrt(k / mass)], rel=1e-4)
    assert found.words()["3 motions of held ions"] == found.words()["2 motions of the whole"] == "0 THz"
    assert found.structure.positions_std[0] == pytest.approx(0, abs=1e-15)


def test_modes_are_orthonormal_and_leave_the_centre_of_mass() -> None:
    springs = Springs(free(RUTILE), 2.9, SPRINGS, UNSURE)
    found = phonons(springs)
    flat = found.eigenvectors.reshape(18, 18)
    assert flat @ flat.T == pytest.approx(np.eye(18), abs=1e-10)
    moved = np.einsum("mnx,n->mx", found.displacements, found.masses)
    assert moved[found.frequencies_THz != 0] == pytest.approx(0, abs=1e-10)


def test_isotopes() -> None:
    springs = Springs(free(bulk("Si", a=5.43)), 4.2, SPRINGS, UNSURE)
    light, heavy = (phonons(springs, masses=[mass] * 2).frequencies_THz[-1] for mass in (28, 30))
    assert light / heavy == pytest.approx(np.sqrt(30 / 28))
    with pytest.raises(BadMasses, match="2 numbers above zero"):
        phonons(springs, masses=[28, 0])


def test_a_turned_crystal_vibrates_the_same() -> None:
    turned = RUTILE.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    one, other = (phonons(Springs(free(each), 2.9, SPRINGS, UNSURE)) for each in (RUTILE, turned))
    assert other.frequencies_THz == pytest.approx(one.frequencies_THz, rel=1e-4)
    assert len(one.groups) == len(other.groups)
    assert json.loads(json.dumps(one.record(), allow_nan=False))["frequencies_THz"] == one.frequencies_THz.tolist()


def test_one_mode_stands_for_those_that_symmetry_makes_of_it() -> None:
    springs = Springs(free(RUTILE), 2.9, SPRINGS, UNSURE)
    at = relaxed_structure(springs)
    symmetry = SiteGroup.of(springs.crystal, at.point)
    found = phonons(springs, structure=at)
    vectors = found.eigenvectors.reshape(18, 18)
    for group in found.groups:
        assert representatives(symmetry, vectors, group.modes) == [group.modes[0]]
    # Of one frequency by chance, or by nothing at all.
    first, second = (group.modes for group in found.groups[:2])
    assert representatives(symmetry, vectors, (*first, *second)) == [*first, *second]
    heavy = phonons(springs, structure=at, masses=[47.9, 47.9, 16, 16, 16, 18])
    assert len(heavy.groups) > len(found.groups)
    assert (heavy.frequencies_THz_std[3:] > 0).all()


def test_one_ion_has_no_vibrations() -> None:
    springs = Springs(free(bulk("Cu", a=3.6)), 3.8, SPRINGS, UNSURE)
    found = phonons(springs)
    assert found.frequencies_THz.tolist() == [0, 0, 0]
    assert found.groups == ()
    assert found.stable
    assert grueneisen(springs).tensors.shape == (0, 6)
    assert (internal_strain(springs).response == 0).all()
    phonons_figure(found, "Cu")
    assert relaxed_structure(springs).words()["ion 0, Cu"] == "0  0  0"
