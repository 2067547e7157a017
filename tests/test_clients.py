"""Programs that people use on a calculator, on ours: each agrees with `ase_dkl.mechanics` on the same strains."""

from typing import Any

import matcalc
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.eos import calculate_eos
from ase.filters import FrechetCellFilter, StrainFilter
from ase.optimize import BFGS
from ase.stress import get_elasticity_tensor
from ase.units import GPa
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from pymatgen.core.elasticity.elastic import ElasticTensor, diff_fit
from pymatgen.core.elasticity.strain import DeformedStructureSet, Strain
from pymatgen.core.elasticity.stress import Stress
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial.transform import Rotation

from ase_dkl import Dataset, DKLCalculator, NotThisCrystal, Surrogate, TrainConfig, fit, silicon
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import VOIGT, strained
from ase_dkl.mechanics.elastic import ElasticConstants, elastic_constants
from ase_dkl.mechanics.eos import equation_of_state, fit_equation
from ase_dkl.mechanics.equilibrium import equilibrium
from ase_dkl.mechanics.forms import Kind
from ase_dkl.mechanics.third_order import third_order_constants

TRICLINIC = np.array([0.02, -0.01, 0.015, 0.01, -0.03, 0.02])
SMALL = (-1e-3, 1e-3)


@pytest.fixture(scope="module", params=[0.0, 5.0], ids=["0 GPa", "5 GPa"])
def constants(request: pytest.FixtureRequest, surrogate: Surrogate) -> ElasticConstants:
    return elastic_constants(surrogate, pressure_GPa=request.param)


@pytest.fixture(scope="module")
def relaxed() -> Surrogate:
    rows = Dataset.read(silicon(), select="ions=relaxed,id<60")
    return fit(rows, TrainConfig(networks=1, steps=10, n_inducing=8), progress=False)


@pytest.fixture
def in_equilibrium(surrogate: Surrogate, constants: ElasticConstants) -> Atoms:
    return attached(surrogate, constants.equilibrium.cell)


def attached(surrogate: Surrogate, cell: Floats, *, rigid_ions: bool = False) -> Atoms:
    atoms: Atoms = surrogate.crystal.atoms(cell)
    atoms.calc = DKLCalculator(surrogate, rigid_ions=rigid_ions)
    return atoms


def lagrangian_slopes(
    surrogate: Surrogate, cell: Floats, normal: tuple[float, ...], shear: tuple[float, ...]
) -> Floats:
    """∂σ_i/∂η_j in GPa by straight lines through Cauchy stresses at Lagrangian strains η, pymatgen's convention.

    FᵀF = 1 + 2η with F upper triangular; `shear` are elements of the tensor, half the engineering shears.
    """
    slopes = np.empty((6, 6))
    for j, (row, column) in enumerate(VOIGT):
        amounts = np.array(normal if j < 3 else shear)
        lagrangian = np.zeros((len(amounts), 3, 3))
        lagrangian[:, row, column] = lagrangian[:, column, row] = amounts
        deformations = np.linalg.cholesky(np.eye(3) + 2 * lagrangian).mT
        stresses = surrogate.predict_cells(cell @ deformations.mT).stress
        assert stresses is not None
        slopes[:, j] = np.polyfit(amounts * (1 if j < 3 else 2), stresses, 1)[0] / GPa
    return slopes


def relax(filtered: Any) -> None:
    assert BFGS(filtered, logfile=None).run(fmax=1e-6, steps=100)


class TestRelaxation:
    def test_strain_filter_needs_the_stress_alone(self, surrogate: Surrogate) -> None:
        atoms = attached(surrogate, strained(surrogate.crystal.cell, TRICLINIC))
        relax(StrainFilter(atoms))
        ours = equilibrium(surrogate)
        np.testing.assert_allclose(atoms.cell.cellpar(), ours.lattice_parameters, atol=1e-5)
        assert atoms.get_potential_energy() == pytest.approx(ours.energy, abs=1e-9)

    def test_frechet_cell_filter_insists_on_forces(self, surrogate: Surrogate) -> None:
        start = strained(surrogate.crystal.cell, TRICLINIC)
        with pytest.raises(PropertyNotImplementedError, match="rigid_ions=True"):
            relax(FrechetCellFilter(attached(surrogate, start)))
        atoms = attached(surrogate, start, rigid_ions=True)
        relax(FrechetCellFilter(atoms, scalar_pressure=5 * GPa))
        ours = equilibrium(surrogate, pressure_GPa=5)
        np.testing.assert_allclose(atoms.cell.cellpar(), ours.lattice_parameters, atol=1e-5)
        np.testing.assert_allclose(atoms.get_stress() / GPa, [-5, -5, -5, 0, 0, 0], atol=1e-4)


class TestEquationOfState:
    @pytest.mark.parametrize("kind", ["birchmurnaghan", "vinet", "sj"])
    def test_ase(self, surrogate: Surrogate, kind: Kind) -> None:
        atoms = attached(surrogate, equilibrium(surrogate).cell)
        theirs = calculate_eos(atoms, npoints=9, eps=0.05)
        theirs.eos_string = kind
        volume, energy, bulk_modulus = theirs.fit()
        ours = equation_of_state(surrogate, kind=kind, bounds=(-0.05, 0.05), points=9)
        np.testing.assert_allclose(theirs.v, ours.volumes, rtol=1e-12)
        np.testing.assert_allclose(theirs.e, ours.energies, atol=1e-9)
        np.testing.assert_allclose([volume, energy, bulk_modulus / GPa], ours.values[:3], rtol=1e-7)

    def test_matcalc(self, surrogate: Surrogate) -> None:
        """Points equally spaced in length; it relaxes the cell first and, at every volume, its shape."""
        client = matcalc.EOSCalc(
            DKLCalculator(surrogate, rigid_ions=True), max_abs_strain=0.02, n_points=9, fmax=1e-5, max_steps=1000
        )
        found = client.calc(surrogate.crystal.atoms(strained(surrogate.crystal.cell, 0.3 * TRICLINIC)))
        start = equilibrium(surrogate)
        scale = 1 + np.linspace(-0.02, 0.02, 9)
        np.testing.assert_allclose(found["eos"]["volumes"], start.volume * scale**3, rtol=1e-5)
        joint = surrogate.posterior(start.cell * scale[:, None, None], derivatives=False)
        np.testing.assert_allclose(found["eos"]["energies"], joint.mean, atol=1e-6)
        same_points = fit_equation("birchmurnaghan", start.volume * scale**3, joint.mean, joint.covariance)
        assert found["_units"]["bulk_modulus_bm"] == "GPa"
        assert found["bulk_modulus_bm"] == pytest.approx(same_points.B0_GPa, abs=1e-2)
        # Other points of the same range.
        ours = equation_of_state(surrogate, bounds=(0.98**3 - 1, 1.02**3 - 1))
        assert found["bulk_modulus_bm"] == pytest.approx(ours.B0_GPa, abs=0.1)


class TestElasticConstants:
    def test_ase(self, constants: ElasticConstants, in_equilibrium: Atoms) -> None:
        """It leaves the atoms strained, and strains by one element off the diagonal, which turns the crystal too."""
        tensor = get_elasticity_tensor(in_equilibrium, h=1e-3) / GPa
        ase = np.array([[tensor[kl][ij] for kl in VOIGT] for ij in VOIGT])
        np.testing.assert_allclose(ase[:, :3], constants.C_GPa[:, :3], atol=1e-7)
        np.testing.assert_allclose(ase, constants.C_GPa, atol=1e-3)
        assert np.abs(in_equilibrium.cell.array - constants.equilibrium.cell).max() > 1e-4

    def test_pymatgen(self, surrogate: Surrogate, constants: ElasticConstants, in_equilibrium: Atoms) -> None:
        cells = DeformedStructureSet(AseAtomsAdaptor.get_structure(in_equilibrium), SMALL, SMALL)
        strains = [Strain.from_deformation(deformation) for deformation in cells.deformations]
        stresses = []
        for structure in cells:
            atoms = AseAtomsAdaptor.get_atoms(structure)
            atoms.calc = DKLCalculator(surrogate)
            stresses.append(Stress(atoms.get_stress(voigt=False) / GPa))
        unstrained = Stress(in_equilibrium.get_stress(voigt=False) / GPa)
        tensor = ElasticTensor.from_independent_strains(strains, stresses, eq_stress=unstrained)
        same_strains = lagrangian_slopes(surrogate, constants.equilibrium.cell, SMALL, SMALL)
        np.testing.assert_allclose(tensor.voigt, same_strains, atol=1e-7)
        ours = constants.elastic_tensor()
        np.testing.assert_allclose(tensor.voigt, ours.voigt, atol=0.005)
        assert tensor.k_vrh == pytest.approx(ours.k_vrh, abs=0.005)
        assert tensor.g_vrh == pytest.approx(ours.g_vrh, abs=0.005)

    @pytest.mark.parametrize(
        ("normal", "shear", "apart_GPa"),
        [
            pytest.param(SMALL, SMALL, 0.005, id="small strains"),
            # Its own: 0.06 is an element of the tensor, an engineering shear of 0.12. C44 is 4 to 6 GPa too large.
            pytest.param((-0.01, -0.005, 0.005, 0.01), (-0.06, -0.03, 0.03, 0.06), 7.0, id="default strains"),
        ],
    )
    def test_matcalc(
        self,
        surrogate: Surrogate,
        constants: ElasticConstants,
        normal: tuple[float, ...],
        shear: tuple[float, ...],
        apart_GPa: float,
    ) -> None:
        cell = constants.equilibrium.cell
        found = elasticity_calc(surrogate, normal, shear).calc(surrogate.crystal.atoms(cell))
        assert found["_units"]["elastic_tensor"] == found["_units"]["bulk_modulus_vrh"] == "GPa"
        tensor = np.asarray(found["elastic_tensor"].voigt)
        # matcalc rounds elements to zero below 1e-7 eV/Å³.
        np.testing.assert_allclose(tensor, lagrangian_slopes(surrogate, cell, normal, shear), atol=2e-5)
        np.testing.assert_allclose(tensor, constants.C_GPa, atol=apart_GPa)
        ours = constants.elastic_tensor()
        assert found["bulk_modulus_vrh"] == pytest.approx(ours.k_vrh, abs=apart_GPa)
        assert found["shear_modulus_vrh"] == pytest.approx(ours.g_vrh, abs=apart_GPa)

    def test_finite_strains_are_all_that_differs(self, surrogate: Surrogate, constants: ElasticConstants) -> None:
        """The difference falls with the square of matcalc's strains: extrapolated to none, it is gone."""
        atoms = surrogate.crystal.atoms(constants.equilibrium.cell)
        large, small = (
            elasticity_calc(surrogate, (-size, size), (-size, size)).calc(atoms)["elastic_tensor"].voigt
            for size in (0.008, 0.004)
        )
        assert np.abs(small - constants.C_GPa).max() > 0.1
        np.testing.assert_allclose((4 * small - large) / 3, constants.C_GPa, atol=0.02)

    def test_matcalc_relaxes_by_itself(self, surrogate: Surrogate) -> None:
        client = elasticity_calc(surrogate, SMALL, SMALL, relax_structure=True, fmax=1e-5)
        found = client.calc(surrogate.crystal.atoms(strained(surrogate.crystal.cell, 0.3 * TRICLINIC)))
        ours = elastic_constants(surrogate)
        np.testing.assert_allclose(
            [found[name] for name in ours.equilibrium.names], ours.equilibrium.lattice_parameters, atol=1e-4
        )
        np.testing.assert_allclose(found["elastic_tensor"].voigt, ours.C_GPa, atol=0.005)

    def test_a_turned_crystal_has_turned_constants(self, surrogate: Surrogate, constants: ElasticConstants) -> None:
        """In a general frame all 36 differ, and each must be in its place."""
        turn = Rotation.from_rotvec([0.4, -0.7, 1.1]).as_matrix()
        atoms = surrogate.crystal.atoms(constants.equilibrium.cell @ turn.T)
        found = elasticity_calc(surrogate, SMALL, SMALL).calc(atoms)
        turned = constants.elastic_tensor().rotate(turn)
        assert np.abs(turned.voigt - constants.C_GPa).max() > 1
        np.testing.assert_allclose(found["elastic_tensor"].voigt, turned.voigt, atol=0.01)


def test_pymatgens_third_order_constants(surrogate: Surrogate) -> None:
    """Central differences of the second Piola–Kirchhoff stress, along single and pairs of Lagrangian strains."""
    ours = third_order_constants(surrogate)
    directions = [np.eye(6)[i] + np.eye(6)[j] * (i != j) for i in range(6) for j in range(i, 6)]
    strains = [Strain.from_voigt(amount * each) for each in directions for amount in (-4e-3, 4e-3)]
    stresses = []
    for strain in strains:
        deformation = strain.get_deformation_matrix()
        atoms = attached(surrogate, ours.equilibrium.cell @ deformation.T)
        stresses.append(Stress(atoms.get_stress(voigt=False) / GPa).piola_kirchoff_2(deformation))
    _, third_order = diff_fit(strains, stresses, eq_stress=np.zeros((3, 3)), order=3)
    assert np.abs(ours.C_GPa).max() > 3000
    np.testing.assert_allclose(third_order.voigt, ours.C_GPa, atol=0.5)


class TestPhonons:
    """Zeros would be phonons of frequency zero."""

    def test_phonopy(self, relaxed: Surrogate) -> None:
        crystal = relaxed.crystal.atoms()
        unit = PhonopyAtoms(crystal.symbols, cell=crystal.cell.array, scaled_positions=crystal.get_scaled_positions())
        phonons = Phonopy(unit, supercell_matrix=np.diag([2, 2, 2]))
        phonons.generate_displacements(distance=0.01)
        supercells = phonons.supercells_with_displacements
        assert supercells
        for displaced in supercells:
            atoms = Atoms(displaced.symbols, cell=displaced.cell, positions=displaced.positions, pbc=True)
            atoms.calc = DKLCalculator(relaxed, rigid_ions=True)
            with pytest.raises(PropertyNotImplementedError, match=r"0\.0\d+ Å from where .* no phonons"):
                atoms.get_forces()

    def test_matcalc(self, relaxed: Surrogate) -> None:
        calculator = DKLCalculator(relaxed, rigid_ions=True)
        client = matcalc.PhononCalc(calculator, relax_structure=False, min_length=6, write_phonon=False)
        with pytest.raises(PropertyNotImplementedError, match="no phonons"):
            client.calc(relaxed.crystal.atoms())

    def test_clamped_ions(self, surrogate: Surrogate) -> None:
        atoms = attached(surrogate, surrogate.crystal.cell, rigid_ions=True)
        atoms.positions[2, 1] += 0.01
        with pytest.raises(NotThisCrystal, match="no phonons"):
            atoms.get_forces()

    def test_the_lattice_alone(self, relaxed: Surrogate) -> None:
        """Ions at the model's own sites follow the lattice; displaced ones have an energy and no forces."""
        atoms = attached(relaxed, relaxed.crystal.cell * 1.02, rigid_ions=True).repeat((2, 1, 1))
        atoms.calc = DKLCalculator(relaxed, rigid_ions=True)
        np.testing.assert_array_equal(atoms.get_forces(), np.zeros((4, 3)))
        relax(FrechetCellFilter(atoms))
        energy = atoms.get_potential_energy()
        atoms.positions[1, 0] += 0.02
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)
        with pytest.raises(PropertyNotImplementedError, match="no phonons"):
            atoms.get_forces()


def elasticity_calc(
    surrogate: Surrogate, normal: tuple[float, ...], shear: tuple[float, ...], **options: Any
) -> matcalc.ElasticityCalc:
    """Matcalc asks for forces with everything else, and takes R² also of constants that vanish by symmetry."""
    calculator = DKLCalculator(surrogate, rigid_ions=True)
    options = {"relax_structure": False, "relax_deformed_structures": False, "units_GPa": True, "r2_min": -1, **options}
    return matcalc.ElasticityCalc(calculator, norm_strains=normal, shear_strains=shear, **options)
