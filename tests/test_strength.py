from collections.abc import Callable

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from ase.units import GPa
from scipy.optimize import minimize_scalar, root

from ase_dkl import Dataset, Surrogate, TrainConfig, fit
from ase_dkl.arrays import Floats
from ase_dkl.mechanics.directional import directional_young_modulus
from ase_dkl.mechanics.elastic import elastic_constants
from ase_dkl.mechanics.loading import BadLoading, Shear, Tension
from ase_dkl.mechanics.strength import SPACING, IdealStrength, ideal_strength
from ase_dkl.model.posterior import Posterior

CLOSE_PACKED = Tension((1, 1, 0))
EASY = Shear((1, 1, 1), (1, 1, -2))
"""Loads under which copper fails within the training data."""


def smooth() -> MorsePotential:
    """L. A. Girifalco, V. G. Weizer, Phys. Rev. 114, 687 (1959), with a cutoff that has no kinks."""
    return MorsePotential(epsilon=0.3429, r0=2.866, rho0=1.3588 * 2.866, rcut1=1.5, rcut2=2.4)


@pytest.fixture(scope="module")
def copper(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    """A pair potential's copper, strained by up to 24 %."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(48):
        xx, yy, zz, yz, xz, xy = rng.uniform(-1, 1, 6) * [0.14, 0.14, 0.24, 0.2, 0.2, 0.2]
        atoms = bulk("Cu", cubic=True)
        deformation = np.array([[1 + xx, 0, 0], [xy, 1 + yy, 0], [xz, yz, 1 + zz]])
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        atoms.calc = smooth()
        atoms.get_stress()
        rows.append(atoms)
    path = tmp_path_factory.mktemp("copper") / "rows.traj"
    ase.io.write(path, rows)
    dataset = Dataset.read(path, reference=bulk("Cu", cubic=True))
    return fit(dataset, TrainConfig(networks=1, steps=120), progress=False)


@pytest.fixture(scope="module")
def pulled(copper: Surrogate) -> IdealStrength:
    return ideal_strength(copper, CLOSE_PACKED)


def stress_of(cell: Floats, positions: Floats) -> Floats:
    """What the potential says of copper in some cell, GPa, Voigt."""
    atoms = Atoms(f"Cu{len(positions)}", cell=cell, scaled_positions=positions, pbc=True, calculator=smooth())
    return np.asarray(atoms.get_stress() / GPa)


def true_tension(strain: float) -> float:
    """Stress along [110] with free sides, from the smallest cell with axes along [110], [-110] and [001]."""

    def stress(lengths: Floats) -> Floats:
        return stress_of(np.diag(lengths), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))

    rest = root(lambda a: stress(a * np.sqrt([0.5, 0.5, 1]))[:1], [3.6], tol=1e-12).x * np.sqrt([0.5, 0.5, 1])
    length = rest[0] * (1 + strain)
    sides = root(lambda sides: stress(np.array([length, *sides]))[1:3], rest[1:] * (1 - strain / 3), tol=1e-10).x
    return float(stress(np.array([length, *sides]))[0])


def true_shear(strain: float) -> float:
    """Stress on (111) along [11-2] with all else held."""
    motif = bulk("Cu", cubic=True).get_scaled_positions()
    rest = root(lambda a: stress_of(np.eye(3) * a, motif)[:1], [3.6], tol=1e-12).x
    along, normal = np.array([1, 1, -2]) / np.sqrt(6), np.array([1, 1, 1]) / np.sqrt(3)
    cell = rest * (np.eye(3) + strain * np.outer(normal, along))
    xx, yy, zz, yz, xz, xy = stress_of(cell, motif)
    return float(normal @ [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]] @ along)


@pytest.mark.parametrize(
    ("loading", "relaxed", "truth", "between"),
    [(CLOSE_PACKED, True, true_tension, (0.03, 0.06)), (EASY, False, true_shear, (0.1, 0.25))],
    ids=["tension", "shear"],
)
def test_strength_is_the_truth_within_its_error_bar(
    copper: Surrogate,
    loading: Tension | Shear,
    relaxed: bool,
    truth: Callable[[float], float],
    between: tuple[float, float],
) -> None:
    # Three: a model of one network knows nothing of what another would say.
    within = 3
    found = ideal_strength(copper, loading, relaxed=relaxed)
    best = minimize_scalar(lambda strain: -truth(strain), bounds=between, method="bounded", options={"xatol": 1e-4})
    assert found.strength_GPa is not None
    assert found.strength_GPa_std is not None
    assert found.strain_at_strength is not None
    assert found.strain_at_strength_std is not None
    assert found.strength_GPa == pytest.approx(-best.fun, abs=within * found.strength_GPa_std)
    assert found.strain_at_strength == pytest.approx(best.x, abs=within * found.strain_at_strength_std)
    assert found.strength_GPa_std < -0.15 * best.fun


def test_strength_is_the_top_of_the_curve(pulled: IdealStrength) -> None:
    assert pulled.strength_GPa == pytest.approx(pulled.stress_GPa.max(), rel=5e-3)
    assert pulled.strength_GPa is not None
    assert pulled.strength_GPa >= pulled.stress_GPa.max()
    assert pulled.strain_at_strength == pytest.approx(pulled.strains[pulled.stress_GPa.argmax()], abs=SPACING)
    nearest = pulled.stress_std_GPa[pulled.stress_GPa.argmax()]
    assert pulled.strength_GPa_std == pytest.approx(nearest, rel=0.2)


def test_sides_are_free_or_held(copper: Surrogate, pulled: IdealStrength) -> None:
    stress = copper.predict_cells(pulled.cells).stress
    assert stress is not None
    np.testing.assert_allclose(stress[:, 0] / GPa, pulled.stress_GPa, atol=1e-9)
    np.testing.assert_allclose(stress[:, 1:] / GPa, 0, atol=1e-5)
    lengths = np.linalg.norm([1, 1, 0] @ pulled.cells, axis=-1)
    np.testing.assert_allclose(lengths / lengths[0] - 1, pulled.strains, atol=1e-12)
    held = ideal_strength(copper, CLOSE_PACKED, relaxed=False)
    volumes = np.linalg.det(held.cells)
    np.testing.assert_allclose(volumes / volumes[0] - 1, held.strains, atol=1e-12)


@pytest.mark.parametrize("loading", [CLOSE_PACKED, EASY], ids=str)
def test_stress_does_the_work_that_the_energy_takes(copper: Surrogate, loading: Tension | Shear) -> None:
    held = ideal_strength(copper, loading, relaxed=False)
    energies = copper.predict_cells(held.cells, stress=False).energy
    slope = (energies[2:] - energies[:-2]) / (2 * SPACING)
    volumes = np.linalg.det(held.cells)
    # A pull's strain is nominal: per length at the start.
    conjugate = held.stress_GPa * GPa * volumes / (1 + held.strains if isinstance(loading, Tension) else 1)
    np.testing.assert_allclose(slope, conjugate[1:-1], atol=2e-3 * np.abs(conjugate).max())


# spglib's word to those who call it, as pymatgen does.
def test_the_curve_begins_with_youngs_modulus_and_certainly_at_zero(copper: Surrogate) -> None:
    constants = elastic_constants(copper)
    for direction in ((0, 0, 1), (1, 1, 0)):
        curve = ideal_strength(copper, Tension(direction))
        slope = (4 * curve.stress_GPa[1] - curve.stress_GPa[2]) / (2 * SPACING)
        modulus, std = directional_young_modulus(constants.C_GPa, constants.covariance, direction)
        assert slope == pytest.approx(float(modulus), rel=0.01)
        assert curve.stress_GPa[0] == pytest.approx(0, abs=1e-6)
        assert curve.stress_std_GPa[0] == pytest.approx(0, abs=1e-4)
        assert curve.stress_std_GPa[1] / SPACING == pytest.approx(float(std), rel=0.1)


class Inducing(Posterior):
    """A posterior that knows all that its inducing points do not explain: what is left can be drawn."""

    def joint(self, features: Floats, derivatives: Floats | None, basis: Floats) -> tuple[Floats, Floats]:
        products = self._products(*self._scaled(features, derivatives), basis)
        left = products[..., self.points.shape[1] : -1]
        return products[..., -1], left @ left.mT


def test_error_bars_are_the_spread_of_models_drawn_from_the_posterior(copper: Surrogate) -> None:
    def model(size: float, noise: Floats) -> Surrogate:
        given = copper.process
        factor = size * given.factor
        values = {name: getattr(given, name) for name in Posterior.__dataclass_fields__}
        posterior = Inducing(**{**values, "factor": factor, "weights": given.weights + factor @ noise})
        return Surrogate(
            copper.space, copper.units, copper.config, copper.report, copper.cells, copper.layers, posterior
        )

    size, draws = 0.1, 24
    noise = np.random.default_rng(0).normal(size=(draws, copper.process.factor.shape[2]))
    found = [ideal_strength(model(size, each), CLOSE_PACKED) for each in noise]
    values = [[each.strength_GPa, each.strain_at_strength, each.stress_GPa[8]] for each in found]
    expected = ideal_strength(model(size, 0 * noise[0]), CLOSE_PACKED)
    assert expected.strength_GPa_std is not None
    stds = [expected.strength_GPa_std, expected.strain_at_strength_std, expected.stress_std_GPa[8]]
    # The spread of so many draws is itself known to 15 %.
    np.testing.assert_allclose(np.std(np.array(values, dtype=float), axis=0), np.array(stds, dtype=float), rtol=0.35)


def test_no_maximum_within_the_data_is_no_strength(surrogate: Surrogate) -> None:
    found = ideal_strength(surrogate, Tension((0, 0, 1)), relaxed=False)
    assert found.strength_GPa is found.strength_GPa_std is None
    assert found.strain_at_strength is found.strain_at_strength_std is None
    assert "the training data end" in found.ending
    assert "beyond the training range" in found.ending
    assert not surrogate.extrapolation(found.cells).outside.any()
    assert (np.diff(found.stress_GPa) > 0).all()


def test_a_crystal_that_fails_sideways_has_no_strength_either(copper: Surrogate) -> None:
    found = ideal_strength(copper, Tension((0, 0, 1)))
    assert found.strength_GPa is None
    assert "gives way sideways" in found.ending


def test_opposite_shears_of_copper_are_not_alike(copper: Surrogate) -> None:
    easy = ideal_strength(copper, EASY, relaxed=False)
    hard = ideal_strength(copper, Shear((1, 1, 1), (-1, -1, 2)), relaxed=False)
    assert easy.strength_GPa is not None
    assert hard.strength_GPa is not None
    assert easy.strength_GPa < 0.5 * hard.strength_GPa


def test_directions_that_do_not_exist_are_refused(copper: Surrogate) -> None:
    with pytest.raises(BadLoading, match="no direction"):
        ideal_strength(copper, Tension((0, 0, 0)))
