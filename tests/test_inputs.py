import numpy as np
import pytest

from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained
from ase_dkl.model.inputs import LEAST_ANGLE_SCALE, Scaling, basis_functions

IMAGES = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]])


def cells(n: int = 6) -> Floats:
    return 4 * np.eye(3) + 0.3 * np.random.default_rng(0).standard_normal((n, 3, 3))


def scaling() -> Scaling:
    return Scaling.of(IMAGES, cells(), np.linspace(-3, 5, 6))


def test_coordinates_of_the_training_images_are_standardised() -> None:
    coordinates = scaling().coordinates(cells()).reshape(-1, 6)
    assert coordinates.mean(axis=0) == pytest.approx(0)
    assert coordinates.std(axis=0) == pytest.approx(1)


def test_energies_are_standardised() -> None:
    energies = np.linspace(-3, 5, 6)
    assert ((energies - scaling().energy_shift) / scaling().energy_scale).std() == pytest.approx(1)


def test_a_parameter_that_does_not_vary_keeps_a_sensible_unit() -> None:
    cubic = np.eye(3) * np.linspace(3.9, 4.1, 5)[:, None, None]
    scale = Scaling.of(IMAGES, cubic, np.zeros(5)).scale
    assert (scale[3:] == LEAST_ANGLE_SCALE).all()
    assert (scale[:3] > 0.07).all()


def test_basis_functions_have_the_derivatives_they_are_given_with() -> None:
    some, units = cells(2), scaling()
    basis = basis_functions(*units.coordinates_and_tangents(some))
    slopes = basis[2:].reshape(2, 6, -1)
    step = 1e-5
    for j in range(6):
        strain = step * np.eye(6)[j]
        ahead, behind = (basis_functions(units.coordinates(strained(some, s * strain))) for s in (1, -1))
        assert slopes[:, j] == pytest.approx((ahead - behind) / (2 * step), rel=1e-6, abs=1e-7)
    assert basis.shape == (2 + 12, 1 + 6 + 21 + 56 + 1)
    assert (basis[:2, 0] == 1).all()


def test_basis_is_the_same_for_every_image() -> None:
    some, units = cells(1), scaling()
    exchanged = some[:, [1, 0, 2]]
    first, second = (basis_functions(units.coordinates(each)) for each in (some, exchanged))
    assert first == pytest.approx(second, abs=1e-12)


def test_only_labels_have_an_offset() -> None:
    coordinates, tangents = scaling().coordinates_and_tangents(cells(2))
    traces = np.array([[1.0, 1, 1, 0, 0, 0]] * 2)
    assert not basis_functions(coordinates, tangents)[:, -1].any()
    offset = basis_functions(coordinates, tangents, traces)[:, -1]
    assert not offset[:2].any()
    assert offset[2:] == pytest.approx(traces.ravel())


def test_a_constant_mean_has_no_slope() -> None:
    basis = basis_functions(*scaling().coordinates_and_tangents(cells(2)), degree=0)
    assert basis.shape == (2 + 12, 2)
    assert not basis[2:].any()
