import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene
from ase.calculators.singlepoint import SinglePointCalculator

from ase_dkl import BadElasticity, Dataset, SheetConstants, Surrogate, TrainConfig, equilibrium, fit, sheet_constants
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained
from ase_dkl.mechanics.sheet import N_PER_M

C11, C12 = 350.0, 60.0
"""N/m."""
ISOTROPIC = np.array([[C11, C12, 0], [C12, C11, 0], [0, 0, (C11 - C12) / 2]])


def labelled(strain: Floats, vacuum: float, upright: bool) -> Atoms:
    """Graphene with an energy that is quadratic in the Lagrangian strain, without stress at a = 2.46 Å."""
    sheet: Atoms = graphene(a=2.46, vacuum=vacuum)
    sheet.set_cell(strained(sheet.cell.array, strain), scale_atoms=True)
    reference = graphene(a=2.46).cell.array[:2, :2]
    metric = (sheet.cell.array @ sheet.cell.array.T)[:2, :2]
    inverse = np.linalg.inv(reference)
    eta = (inverse @ metric @ inverse.T - np.eye(2)) / 2
    voigt = np.array([eta[0, 0], eta[1, 1], 2 * eta[0, 1]])
    energy = 0.5 * voigt @ ISOTROPIC @ voigt * N_PER_M * abs(np.linalg.det(reference))
    if upright:
        sheet.rotate(90, "x", rotate_cell=True)
    sheet.calc = SinglePointCalculator(sheet, energy=energy - 18.0)
    return sheet


def trained(*, vacuum: float = 6.0, upright: bool = False) -> Surrogate:
    strains = np.zeros((24, 6))
    strains[:, [0, 1, 5]] = np.random.default_rng(1).uniform(-0.04, 0.04, (24, 3))
    dataset = Dataset.from_atoms([labelled(strain, vacuum, upright) for strain in strains])
    return fit(dataset, TrainConfig(networks=2, steps=150), progress=False)


@pytest.fixture(scope="module")
def found() -> SheetConstants:
    return sheet_constants(trained())


def test_constants_are_the_truth(found: SheetConstants) -> None:
    assert found.C_N_per_m == pytest.approx(ISOTROPIC, rel=5e-3, abs=0.5)
    assert (np.abs(found.C_N_per_m - ISOTROPIC) <= 3 * found.C_std_N_per_m + 1e-6).all()
    assert found.equilibrium.lattice_parameters == pytest.approx([2.46, 2.46, 120], abs=1e-3)
    assert found.equilibrium.names == ("a", "b", "gamma")


def test_moduli_follow(found: SheetConstants) -> None:
    assert found.young_moduli_N_per_m == pytest.approx([C11 - C12**2 / C11] * 2, rel=5e-3)
    assert found.poisson_ratio == pytest.approx(C12 / C11, abs=0.01)
    assert found.shear_modulus_N_per_m == pytest.approx((C11 - C12) / 2, rel=5e-3)
    assert found.area_modulus_N_per_m == pytest.approx((C11 + C12) / 2, rel=5e-3)
    assert 0 < found.poisson_ratio_std < 0.02


@pytest.mark.parametrize(("vacuum", "upright"), [(0.0, False), (20.0, False), (6.0, True)])
def test_vacuum_and_orientation_are_no_input(found: SheetConstants, vacuum: float, upright: bool) -> None:
    other = sheet_constants(trained(vacuum=vacuum, upright=upright))
    assert other.C_N_per_m == pytest.approx(found.C_N_per_m, rel=1e-3, abs=1e-2)
    assert other.equilibrium.volume == pytest.approx(found.equilibrium.volume, rel=1e-6)


def test_a_lattice_without_symmetry_is_found_too(found: SheetConstants) -> None:
    start = strained(found.equilibrium.cell, np.array([0.02, -0.01, 0, 0, 0, 0.02]))
    free = equilibrium(trained(), symmetric=False, start=start)
    assert free.lattice_parameters == pytest.approx(found.equilibrium.lattice_parameters, abs=1e-6)


def test_bulk_crystals_are_sent_elsewhere(surrogate: Surrogate) -> None:
    with pytest.raises(BadElasticity, match=r"has 3 periodic axes and not 2\. elastic_constants"):
        sheet_constants(surrogate)
