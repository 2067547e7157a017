from collections.abc import Callable

import numpy as np
import pytest
from ase.build import mx2
from ase.units import GPa

from ase_dkl import (
    BadElasticity,
    Crystal,
    Dataset,
    ElasticConstants,
    Surrogate,
    TrainConfig,
    elastic_constants,
    fit,
    srtio3,
)
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained
from ase_dkl.mechanics.equilibrium import equilibrium
from ase_dkl.mechanics.stiffness import in_standard_frame, refuse_all_but, stiffness

Moved = Callable[[Surrogate, float], Surrogate]


@pytest.fixture(scope="module")
def constants(surrogate: Surrogate) -> ElasticConstants:
    return elastic_constants(surrogate)


def stresses(surrogate: Surrogate, cells: Floats) -> Floats:
    stress = surrogate.predict_cells(cells).stress
    assert stress is not None
    return stress / GPa


@pytest.mark.parametrize("pressure", [0.0, 10.0])
def test_they_are_slopes_of_the_cauchy_stress(surrogate: Surrogate, pressure: float) -> None:
    found = elastic_constants(surrogate, pressure_GPa=pressure)
    cell, step = found.equilibrium.cell, 1e-3
    ends = [stresses(surrogate, strained(cell[None], sign * step * np.eye(6))) for sign in (1, -1)]
    assert found.C_GPa == pytest.approx((ends[0] - ends[1]).T / (2 * step), abs=1e-6)


def test_a_cube_has_three(constants: ElasticConstants) -> None:
    C = constants.C_GPa
    expected = np.zeros((6, 6))
    expected[:3, :3] = C[0, 1] + (C[0, 0] - C[0, 1]) * np.eye(3)
    expected[3:, 3:] = C[3, 3] * np.eye(3)
    assert pytest.approx(expected, abs=1e-9) == C
    assert constants.ions == "clamped"


def test_error_bars_share_the_symmetry(constants: ElasticConstants) -> None:
    std = constants.C_std_GPa
    assert std[0, 0] == pytest.approx(std[2, 2])
    assert std[:3, 3:] == pytest.approx(0, abs=1e-6)
    assert np.linalg.matrix_rank(constants.covariance, tol=1e-6) <= 3


@pytest.mark.parametrize("pressure", [0.0, 10.0])
def test_error_bars_are_those_of_models_that_the_posterior_allows(
    surrogate: Surrogate, moved: Moved, pressure: float
) -> None:
    """The equilibrium moves too, and its part is in them."""
    here = elastic_constants(moved(surrogate, 0), pressure_GPa=pressure)
    step = 0.02
    ahead, behind = (elastic_constants(moved(surrogate, by), pressure_GPa=pressure) for by in (step, -step))
    change = np.abs(ahead.C_GPa - behind.C_GPa) / (2 * step)
    assert here.C_std_GPa == pytest.approx(change, rel=5e-3, abs=1e-3)


def test_under_pressure_the_lagrangian_constants_are_second_derivatives_of_the_energy(surrogate: Surrogate) -> None:
    found = elastic_constants(surrogate, pressure_GPa=10)
    cell, step = found.equilibrium.cell, 5e-3
    eta = step * np.array([[1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0]], dtype=float)
    energies = []
    for sign in (-1, 0, 1):
        tensors = np.array(
            [[[n[0], n[5] / 2, n[4] / 2], [n[5] / 2, n[1], n[3] / 2], [n[4] / 2, n[3] / 2, n[2]]] for n in sign * eta]
        )
        values, vectors = np.linalg.eigh(np.eye(3) + 2 * tensors)
        stretches = vectors * np.sqrt(values)[:, None] @ vectors.mT
        energies.append(surrogate.predict_cells(cell @ stretches, stress=False).energy)
    second = (energies[0] - 2 * energies[1] + energies[2]) / step**2 / found.equilibrium.volume / GPa
    C = found.lagrangian_GPa
    assert second == pytest.approx([C[0, 0], C[3, 3], C[0, 0] + C[1, 1] + 2 * C[0, 1]], rel=2e-3)
    assert found.C_GPa[0, 1] - C[0, 1] == pytest.approx(10)
    assert found.C_GPa[0, 0] - C[0, 0] == pytest.approx(-10)
    assert found.C_GPa[3, 3] - C[3, 3] == pytest.approx(-10)


def test_bulk_modulus_is_minus_volume_times_the_slope_of_the_pressure(surrogate: Surrogate) -> None:
    step = 0.05
    C = elastic_constants(surrogate, pressure_GPa=10).C_GPa
    volumes = [equilibrium(surrogate, pressure_GPa=10 + sign * step).volume for sign in (1, -1)]
    slope = -(sum(volumes) / 2) * 2 * step / (volumes[0] - volumes[1])
    assert (C[0, 0] + 2 * C[0, 1]) / 3 == pytest.approx(slope, rel=1e-4)


def test_they_do_not_depend_on_how_the_data_lie_in_space() -> None:
    rows = Dataset.read(srtio3(), select="set=pool,index<12")
    config = TrainConfig(networks=1, steps=20)
    upright = fit(rows, config, progress=False)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    found = equilibrium(upright)
    turned = in_standard_frame(upright.crystal, equilibrium(upright, start=found.cell @ turn))
    along_axes = np.sort(np.abs(turned.cell), axis=1)
    assert along_axes == pytest.approx(np.sort(np.abs(found.cell), axis=1), abs=1e-8)
    of_both = [stiffness(upright.crystal, cell).mean(upright) for cell in (found.cell, turned.cell)]
    assert of_both[0] == pytest.approx(of_both[1], abs=1e-8)


def test_an_equilibrium_responds_the_same_in_any_frame(surrogate: Surrogate) -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    found = equilibrium(surrogate, symmetric=False, start=surrogate.crystal.cell @ turn)
    standard = in_standard_frame(surrogate.crystal, found)
    strain = np.array([0.01, -0.02, 0.03, 0.02, 0.01, -0.03])
    lattice = strained(found.cell, strain)
    same = lattice @ np.linalg.solve(found.cell, standard.cell)
    expected = found.response @ surrogate.derivatives(lattice[None])[0]
    assert standard.response @ surrogate.derivatives(same[None])[0] == pytest.approx(expected, rel=1e-9)


def test_pymatgen_takes_them(constants: ElasticConstants) -> None:
    tensor = constants.elastic_tensor()
    assert np.asarray(tensor.voigt) == pytest.approx(constants.C_GPa)
    assert tensor.k_vrh == pytest.approx((constants.C_GPa[0, 0] + 2 * constants.C_GPa[0, 1]) / 3)


def test_a_sheet_is_sent_elsewhere() -> None:
    with pytest.raises(BadElasticity, match=r"MoS2 has 2 periodic axes.*sheet_constants"):
        refuse_all_but(3, Crystal.from_atoms(mx2("MoS2", vacuum=6.0)))
