import warnings
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.eos import EquationOfState as PlainFit
from ase.eos import birchmurnaghan, calculate_eos
from ase.units import GPa, J, m
from matplotlib.figure import Figure

from ase_dkl import Crystal, Dataset, DKLCalculator, ExtrapolationWarning, Surrogate, TrainConfig, fit
from ase_dkl.figures.eos import eos_figure
from ase_dkl.mechanics.eos import EquationOfState, MisfitWarning, equation_of_state, fit_equation
from ase_dkl.mechanics.equilibrium import equilibrium
from ase_dkl.mechanics.forms import KINDS, BadEquationOfState, Form, Kind

V = np.linspace(55.0, 66.0, 21)
E0, B0, BP, V0 = -39.5, 1.05, 4.4, 60.0
ENERGIES = birchmurnaghan(V, E0, B0, BP, V0)


@pytest.fixture(scope="module")
def eos(surrogate: Surrogate) -> EquationOfState:
    return equation_of_state(surrogate)


class TestKnownCurve:
    def test_comes_back(self) -> None:
        fitted = fit_equation("birchmurnaghan", V, ENERGIES, np.eye(21))
        assert fitted.names == ("V0_A3", "E0_eV", "B0_GPa", "B0_prime")
        np.testing.assert_allclose(fitted.values, [V0, E0, B0 / GPa, BP], rtol=1e-8)
        assert fitted.residual_meV < 1e-6

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_form_finds_about_the_same(self, kind: Kind) -> None:
        fitted = fit_equation(kind, V, ENERGIES, np.eye(21))
        np.testing.assert_allclose(fitted.values, [V0, E0, B0 / GPa, BP], rtol=0.06)

    @pytest.mark.parametrize("kind", ["birchmurnaghan", "sj", "taylor", "anton-schmidt"])
    def test_a_common_shift_of_the_energies_is_one_of_the_minimum_alone(self, kind: Kind) -> None:
        fitted = fit_equation(kind, V, ENERGIES, np.full((21, 21), 0.01**2))
        np.testing.assert_allclose(fitted.std, [0, 0.01, 0, 0], atol=1e-7)

    def test_a_common_factor_of_the_energies_is_one_of_the_modulus_alone(self) -> None:
        above = ENERGIES - E0
        fitted = fit_equation("birchmurnaghan", V, ENERGIES, 0.01**2 * np.outer(above, above))
        np.testing.assert_allclose(fitted.std, [0, 0, 0.01 * B0 / GPa, 0], atol=1e-7)


class TestOfASurrogate:
    @pytest.mark.parametrize("kind", ["birchmurnaghan", "sj", "p3"])
    @pytest.mark.filterwarnings("ignore::ase_dkl.mechanics.eos.MisfitWarning")
    def test_error_bars_are_the_spread_of_fits_to_draws(self, surrogate: Surrogate, kind: Kind) -> None:
        fitted = equation_of_state(surrogate, kind=kind)
        rng = np.random.default_rng(0)
        draws = rng.multivariate_normal(fitted.energies, fitted.energies_covariance, 600, method="eigh")
        refitted = np.array([fit_equation(kind, fitted.volumes, e, fitted.energies_covariance).values for e in draws])
        assert np.abs((refitted.mean(axis=0) - fitted.values) / fitted.std).max() < 4 / np.sqrt(600)
        np.testing.assert_allclose(refitted.std(axis=0), fitted.std, rtol=0.1)
        np.testing.assert_allclose(np.corrcoef(refitted.T), fitted.correlation, atol=0.1)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.filterwarnings("ignore::ase_dkl.mechanics.eos.MisfitWarning")
    def test_agrees_with_ase_on_the_calculator(self, surrogate: Surrogate, kind: Kind) -> None:
        atoms = surrogate.crystal.atoms(equilibrium(surrogate).cell)
        atoms.calc = DKLCalculator(surrogate)
        points = calculate_eos(atoms, npoints=21, eps=0.08)
        expected = PlainFit(points.v, points.e, eos=kind).fit()
        ours = equation_of_state(surrogate, kind=kind)
        np.testing.assert_allclose(ours.volumes, points.v, rtol=1e-12)
        np.testing.assert_allclose(ours.energies, points.e, rtol=1e-12)
        np.testing.assert_allclose([ours.V0_A3, ours.E0_eV, ours.B0_GPa * GPa], expected, rtol=1e-6)

    def test_the_minimum_is_the_equilibrium(self, surrogate: Surrogate, eos: EquationOfState) -> None:
        found = equilibrium(surrogate)
        assert found.volume == pytest.approx(eos.V0_A3, rel=1e-4)
        assert found.energy == pytest.approx(eos.E0_eV, abs=1e-4)
        assert found.volume_std == pytest.approx(eos.V0_A3_std, rel=0.2)
        assert found.energy_std == pytest.approx(eos.E0_eV_std, rel=0.2)

    def test_any_cell_can_be_scaled(self, surrogate: Surrogate, eos: EquationOfState) -> None:
        cell = equilibrium(surrogate).cell
        assert equation_of_state(surrogate, start=cell).B0_GPa == eos.B0_GPa
        tetragonal = cell * [1.0, 1.0, 1.01]
        assert equation_of_state(surrogate, start=tetragonal).E0_eV > eos.E0_eV

    def test_curve_and_pressure_at_the_minimum(self, eos: EquationOfState) -> None:
        energy, energy_std = eos.curve([eos.V0_A3])
        assert energy[0] == pytest.approx(eos.E0_eV)
        assert energy_std[0] == pytest.approx(eos.E0_eV_std)
        pressure, pressure_std = eos.pressure([eos.V0_A3])
        assert pressure[0] == pytest.approx(0, abs=1e-9)
        # δV0 = V0 δP / B0
        assert pressure_std[0] / GPa == pytest.approx(eos.V0_A3_std * eos.B0_GPa / eos.V0_A3)

    def test_pressure_is_the_slope_of_the_curve(self, eos: EquationOfState) -> None:
        ahead, behind = (eos.curve(eos.volumes + h)[0] for h in (1e-3, -1e-3))
        np.testing.assert_allclose(eos.pressure(eos.volumes)[0], -(ahead - behind) / 2e-3, atol=1e-8)

    @pytest.mark.filterwarnings("ignore::ase_dkl.mechanics.eos.MisfitWarning")
    def test_a_range_beyond_the_training_data_is_told(self, surrogate: Surrogate) -> None:
        with pytest.warns(ExtrapolationWarning, match=r"of the 21 cells of the equation of state are extrapolations"):
            equation_of_state(surrogate, kind="sj", bounds=(-0.4, 0.4))

    def test_a_form_that_does_not_follow_is_told(self, surrogate: Surrogate) -> None:
        with pytest.warns(MisfitWarning, match="p3 does not follow the energies"):
            equation_of_state(surrogate, kind="p3", bounds=(-0.12, 0.12))


class TestWithoutAMinimumBetweenTheBounds:
    def test_the_curve_is_fitted_all_the_same(self, surrogate: Surrogate, eos: EquationOfState) -> None:
        with pytest.warns(ExtrapolationWarning, match="outside the range that it was fitted to"):
            fitted = equation_of_state(surrogate, bounds=(0.02, 0.08))
        assert fitted.volumes.min() > fitted.V0_A3
        # The form's own error over such a distance: 0.1 Å³ and 3 GPa were seen.
        assert pytest.approx(eos.V0_A3, abs=0.5) == fitted.V0_A3
        assert fitted.B0_GPa == pytest.approx(eos.B0_GPa, rel=0.1)

    def test_rows_of_compressed_cells_alone(self) -> None:
        """No equilibrium lies near them, and their curve tells where it is."""
        fitted = of_volumes(np.linspace(0.80, 0.96, 9), c=3.0)
        assert fitted.volumes.max() < V0
        assert pytest.approx(fitted.V0_A3, rel=0.02) == V0

    def test_rows_of_one_shape_say_nothing_of_others(self) -> None:
        """The crystal is tetragonal: a search of the equilibrium among all c/a would find what no row tells."""
        fitted = of_volumes(np.linspace(0.92, 1.08, 9), c=4.4)
        assert pytest.approx(V0, rel=1e-3) == fitted.V0_A3
        assert fitted.B0_GPa == pytest.approx(B0 / GPa, rel=0.05)
        assert fitted.volumes.max() == pytest.approx(1.08 * V0, rel=1e-3)


def of_volumes(scales: np.ndarray, c: float) -> EquationOfState:
    """The equation of state that a model finds of scaled copies of one crystal, with energies of a known curve."""
    a = np.sqrt(V0 / c)
    rows = []
    for scale in scales:
        atoms = Atoms("CuAu", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[1, 1, 1], pbc=True)
        atoms.set_cell(np.diag([a, a, c]) * scale ** (1 / 3), scale_atoms=True)
        atoms.calc = SinglePointCalculator(atoms, energy=float(birchmurnaghan(V0 * scale, E0, B0, BP, V0)))
        rows.append(atoms)
    surrogate = fit(Dataset.from_atoms(rows), TrainConfig(networks=1, steps=60), progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        warnings.simplefilter("ignore", MisfitWarning)
        return equation_of_state(surrogate)


class TestRefusals:
    @pytest.mark.parametrize("bounds", [(0.1, -0.1), (-1.0, 0.1), (0.0, 0.0)])
    def test_bounds_that_are_none(self, surrogate: Surrogate, bounds: tuple[float, float]) -> None:
        with pytest.raises(BadEquationOfState, match="fractional changes of the volume"):
            equation_of_state(surrogate, bounds=bounds)

    def test_kinds_and_numbers_before_the_work(self, surrogate: Surrogate) -> None:
        with pytest.raises(BadEquationOfState, match="no equation of state 'bm'"):
            equation_of_state(surrogate, kind="bm")  # type: ignore[arg-type]
        with pytest.raises(BadEquationOfState, match="4 points"):
            equation_of_state(surrogate, points=4)

    def test_chains(self, surrogate: Surrogate) -> None:
        chain = Surrogate.from_bytes(surrogate.to_bytes())
        crystal = Crystal.from_atoms(Atoms("C", cell=[1.5, 0, 0], pbc=(True, False, False)))
        chain.space = replace(chain.space, crystal=crystal)
        with pytest.raises(BadEquationOfState, match="neither volume nor area"):
            equation_of_state(chain)


def square_sheet(strain: np.ndarray) -> Atoms:
    """Its energy is 35 eV (A/A₀ − 1)² under isotropic strain, with A₀ = 9 Å²; there is no vacuum vector."""
    lattice = 3 * (np.eye(2) + np.array([[strain[0], strain[2] / 2], [strain[2] / 2, strain[1]]]))
    green = (lattice @ lattice.T / 9 - np.eye(2)) / 2
    cell = np.zeros((3, 3))
    cell[:2, :2] = lattice
    atoms = Atoms("C", cell=cell, pbc=[True, True, False])
    energy = 20 * np.trace(green) ** 2 + 30 * (green**2).sum()
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    return atoms


@pytest.fixture(scope="module")
def sheet() -> EquationOfState:
    rng = np.random.default_rng(0)
    dataset = Dataset.from_atoms([square_sheet(strain) for strain in rng.uniform(-0.06, 0.06, (60, 3))])
    surrogate = fit(dataset, TrainConfig(networks=1, steps=150), progress=False)
    return equation_of_state(surrogate, kind="taylor")


class TestSheet:
    def test_is_in_its_area(self, sheet: EquationOfState) -> None:
        assert sheet.names == ("A0_A2", "E0_eV", "B0_N_per_m", "B0_prime")
        assert pytest.approx(9, rel=1e-3) == sheet.A0_A2
        # A ∂²E/∂A² = 9 · 2 · 35 / 81 eV/Å², and no third derivative
        assert sheet.B0_N_per_m == pytest.approx(70 / 9 / (J / m**2), rel=0.02)
        assert sheet.B0_prime == pytest.approx(-1, abs=1)

    def test_has_no_volume(self, sheet: EquationOfState) -> None:
        with pytest.raises(AttributeError, match=r"no V0_A3\. It has A0_A2"):
            _ = sheet.V0_A3
        with pytest.raises(AttributeError, match="no B0_GPa"):
            _ = sheet.B0_GPa_std

    def test_figure_says_area(self, sheet: EquationOfState) -> None:
        assert "area" in eos_figure(sheet, "title").axes[1].get_xlabel()


class TestFigure:
    def test_curve_band_and_residuals_are_the_fit(self, eos: EquationOfState) -> None:
        figure = eos_figure(eos, "title")
        assert isinstance(figure, Figure)
        upper, lower = figure.axes
        curve, points = (np.asarray(line.get_xydata()) for line in upper.lines[:2])
        np.testing.assert_allclose(curve[:, 1], eos.curve(curve[:, 0])[0] - eos.E0_eV, atol=1e-9)
        np.testing.assert_allclose(points[:, 1], eos.energies - eos.E0_eV, atol=1e-9)
        residuals = np.asarray(lower.lines[1].get_xydata())
        np.testing.assert_allclose(residuals[:, 1], 1e3 * eos.residuals, atol=1e-9)
        band = np.asarray(lower.collections[0].get_paths()[0].vertices)
        assert band[:, 1].max() == pytest.approx(2e3 * np.sqrt(eos.energies_covariance.diagonal().max()))
        assert "volume" in lower.get_xlabel()


def test_a_form_does_not_depend_on_where_energies_begin() -> None:
    shifted = Form.fit("vinet", V, ENERGIES - 1e4)
    np.testing.assert_allclose(shifted.parameters[1:], Form.fit("vinet", V, ENERGIES).parameters[1:], rtol=1e-6)
