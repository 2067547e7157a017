"""Free ions as a lattice: relaxed-ion and clamped-ion constants of one model, with the error bars that they have."""

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.tersoff import Tersoff, TersoffParameters
from ase.units import GPa
from exact import Exact
from springs import Springs, free

from ase_dkl import Surrogate, elastic_constants, equation_of_state, equilibrium, scan_along
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained
from ase_dkl.mechanics.ionic_lattice import Ions, lattice
from ase_dkl.mechanics.relaxation import BadRelaxation
from ase_dkl.model.accepted import BadIons, as_ionic
from ase_dkl.model.ionic_energy import IonicEnergy
from ase_dkl.model.lattice_energy import LatticeEnergy

A, NEAR, SECOND = 5.43, 6.0, 2.0


@pytest.fixture(scope="module")
def diamond() -> Springs:
    """Springs to the nearest and the second neighbours, at rest in the reference, and errors of all coefficients."""
    mean = np.array([[0, NEAR / 2, -8, 1], [0, SECOND / 2, -1, 1]])
    return Springs(free(bulk("Si", a=A)), 4.2, mean, np.array([[0.03, 0.1, 0.5, 0.1]]))


def saddle(depth: float = 0.05) -> Springs:
    """CsCl whose springs push the ions out of the centre, in a lattice that others hold in equilibrium."""
    crystal = free(Atoms("CsCl", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=3 * [4.0], pbc=True))
    reach = 4.1
    springs = Springs(crystal, reach, np.array([[0.0, 1.0, 0.0, 0.0]]), np.array([[0.0, 0.02, 0.0, 0.0]]))
    mean = springs.coefficients.reshape(-1, 4).copy()
    between = (springs.shells[:, 1] != springs.shells[:, 2]).argmax()
    # Σ r̂ r̂ᵀ k + (1 − r̂ r̂ᵀ) f / r of eight neighbours: (8 / 3) (k + 2 f / r), which a pull of this size turns around.
    push = -(0.5 + depth) * springs.lengths[between]
    mean[between] = [push, 0.5, 0, 0.4]
    # Of the virial, eight pairs and six of the lattice's edges.
    mean[np.arange(len(mean)) != between] = [-8 * push * springs.lengths[between] / (6 * 4.0), 5, 0, 0]
    return springs.at(mean.ravel())


def by_directions(springs: Springs, quantity: Callable[[Springs], Floats], step: float = 0.02) -> Floats:
    """Standard deviations to first order, from models whose coefficients are moved along their errors."""
    moved = [
        (
            quantity(springs.at(springs.coefficients + step * way))
            - quantity(springs.at(springs.coefficients - step * way))
        )
        for way in springs.root.T
    ]
    return np.asarray(np.linalg.norm(moved, axis=0) / (2 * step))


def three(C: Floats) -> Floats:
    return C[[0, 0, 3], [0, 1, 3]]


def test_it_is_what_mechanics_take(diamond: Springs) -> None:
    assert isinstance(diamond, IonicEnergy)
    assert isinstance(lattice(diamond, "relaxed"), LatticeEnergy)
    assert as_ionic(diamond) is diamond
    with pytest.raises(BadIons, match="clamped or relaxed"):
        elastic_constants(diamond)  # type: ignore[arg-type]


@pytest.mark.parametrize("ions", ["clamped", "relaxed"])
def test_elastic_constants(diamond: Springs, ions: Ions) -> None:
    found = elastic_constants(lattice(diamond, ions))
    near, second = NEAR / (3 * A), SECOND / A
    # Nearest neighbours alone do not resist a shear once ions are relaxed.
    expected = np.array([near + 4 * second, near + 2 * second, 2 * second + near * (ions == "clamped")])
    assert found.ions == found.equilibrium.ions == ions
    assert three(found.C_GPa) == pytest.approx(expected / GPa, rel=1e-4)

    def again(springs: Springs) -> Floats:
        each = elastic_constants(lattice(springs, ions))
        return np.append(three(each.C_GPa), each.equilibrium.lattice_parameters[0])

    std = np.append(three(found.C_std_GPa), found.equilibrium.lattice_parameters_std[0])
    # Half a hundredth: what central differences of constants with steps of 0.02 σ leave.
    assert std == pytest.approx(by_directions(diamond, again), rel=5e-3)


def test_stresses_are_derivatives_of_the_energy_of_relaxed_ions(diamond: Springs) -> None:
    relaxed = lattice(diamond, "relaxed")
    rng = np.random.default_rng(2)
    cell = strained(relaxed.crystal.cell, rng.uniform(-0.03, 0.03, 6))
    h = 1e-4
    cells = strained(cell[None], h * np.concatenate([np.eye(6), -np.eye(6)]))
    energies = relaxed.predict_cells(cells, stress=False).energy
    slopes = (energies[:6] - energies[6:]) / (2 * h)
    # Energies to 1e-12 eV over 2e-4, and a third derivative of some hundred eV.
    assert relaxed.derivatives(cell[None])[0] == pytest.approx(slopes, abs=1e-5)
    prediction = relaxed.predict_cells(cell[None])
    assert prediction.stress is not None
    assert prediction.stress[0] * abs(np.linalg.det(cell)) == pytest.approx(slopes, abs=1e-5)
    # Ions at rest have less energy than those that follow the strain.
    clamped = lattice(diamond, "clamped")
    assert energies[0] < clamped.predict_cells(cells[:1], stress=False).energy[0] - 1e-3


def test_error_bars_of_stresses_of_relaxed_ions(diamond: Springs) -> None:
    relaxed = lattice(diamond, "relaxed")
    cells = strained(relaxed.crystal.cell[None], np.array([[0.02, 0, 0, 0.03, 0, 0], [0, -0.02, 0.01, 0, 0.02, 0]]))
    prediction, joint = relaxed.predict_cells(cells), relaxed.posterior(cells)

    def slopes(springs: Springs) -> Floats:
        each = lattice(springs, "relaxed")
        return np.concatenate([each.predict_cells(cells, stress=False).energy, each.derivatives(cells).ravel()])

    true = by_directions(diamond, slopes)
    assert np.sqrt(np.diagonal(joint.covariance)) == pytest.approx(true, rel=5e-3, abs=1e-6)
    assert prediction.energy_uncertainty == pytest.approx(true[:2], rel=1e-3)
    volume = abs(np.linalg.det(cells))[:, None]
    assert prediction.stress_uncertainty * volume == pytest.approx(true[2:].reshape(2, 6), rel=5e-3, abs=1e-6)


@pytest.mark.filterwarnings("ignore::ase_dkl.mechanics.eos.MisfitWarning")
def test_what_else_follows(diamond: Springs) -> None:
    relaxed = lattice(diamond, "relaxed")
    curve = equation_of_state(relaxed, bounds=(-0.02, 0.02))
    assert pytest.approx((NEAR / (3 * A) * 3 + 8 * SECOND / A) / 3 / GPa, rel=2e-2) == curve.B0_GPa
    assert curve.V0_A3_std == pytest.approx(equilibrium(relaxed).volume_std, rel=0.05)
    scan = scan_along(relaxed, "yz=1", [0.0, 0.02])
    assert np.diff(scan.energy)[0] == pytest.approx(A**3 / 4 * 2 * SECOND / A * 0.02**2 / 2, rel=2e-2)


def test_a_saddle_is_no_place_to_relax_to() -> None:
    springs = saddle()
    with pytest.raises(BadRelaxation, match=r"3 independent displacements lower the energy.*--follow"):
        lattice(springs, "relaxed")
    assert lattice(springs, "clamped").crystal.space_group == "Pm-3m (221)"


def test_the_unstable_mode_is_followed_where_asked_for() -> None:
    springs = saddle()
    polar = lattice(springs, "relaxed", follow=True)
    ahead = polar.points(polar.crystal.cell[None])
    energies = springs.marginals(np.concatenate([springs.reference[None], ahead]), False)[0][:, 0]
    assert energies[1] < energies[0] - 1e-3
    assert np.abs(springs.marginals(ahead, True)[0][0, 7:]).max() < 1e-7
    # Along an axis, or a diagonal of faces or of the body, and no longer cubic.
    assert 1 < len(polar.crystal.images) < 24
    assert polar.crystal.space_group.split()[0] in ("P4mm", "Amm2", "R3m")


def test_what_has_no_lattice() -> None:
    water = Atoms("OH2", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    springs = Springs(free(water), 2.0, np.array([[0, 10.0, 0, 0]]), np.array([[0, 0.1, 0, 0]]))
    with pytest.raises(BadRelaxation, match="molecule or cluster"):
        lattice(springs)


def test_a_model_of_lattices_knows_no_ions(surrogate: Surrogate) -> None:
    with pytest.raises(BadIons, match="This model knows lattices only"):
        lattice(surrogate)


def test_silicon_of_tersoff() -> None:
    # T3 of J. Tersoff, Phys. Rev. B 38, 9902 (1988).
    parameters = TersoffParameters(
        A=1830.8, B=471.18, lambda1=2.4799, lambda2=1.7322, lambda3=1.7322, beta=1.1e-6, n=0.78734, c=1.0039e5,
        d=16.217, h=-0.59825, gamma=1.0, m=3.0, R=2.85, D=0.15,
    )  # fmt: skip
    model = Exact(bulk("Si", a=5.432), Tersoff({("Si", "Si", "Si"): parameters}))
    clamped, relaxed = (
        elastic_constants(each).C_GPa for each in (lattice(model, "clamped"), lattice(model, "relaxed"))
    )
    # C11, C12, C44 and C44 of clamped ions to the digits of H. Balamane et al., Phys. Rev. B 46, 2250 (1992).
    assert [*three(relaxed), clamped[3, 3]] == pytest.approx([142.5, 75.4, 69.0, 118.8], abs=0.06)
