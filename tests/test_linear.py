import numpy as np
import pytest

from ase_dkl import Surrogate
from ase_dkl.crystal.lattice import strained
from ase_dkl.mechanics.linear import Linear


def test_a_derivative_at_one_cell_is_what_the_surrogate_says_of_it(surrogate: Surrogate) -> None:
    cell = strained(surrogate.crystal.cell, np.array([0.02, 0, -0.01, 0.03, 0, 0]))
    quantities = Linear(cell[None], np.eye(6)[:, None])
    mean, covariance = quantities.posterior(surrogate)
    prediction = surrogate.predict_cells(cell[None])
    assert prediction.stress is not None
    assert prediction.stress_uncertainty is not None
    volume = np.linalg.det(cell)
    assert mean == pytest.approx(volume * prediction.stress[0])
    assert quantities.mean(surrogate) == pytest.approx(mean)
    assert np.sqrt(np.diagonal(covariance)) == pytest.approx(volume * prediction.stress_uncertainty[0])


def test_differences_of_neighbours_are_surer_than_each(surrogate: Surrogate) -> None:
    near = strained(surrogate.crystal.cell, np.array([1e-3, 0, 0, 0, 0, 0]))
    cells = np.array([surrogate.crystal.cell, near])
    weights = np.zeros((2, 2, 6))
    weights[0, 0, 0] = 1
    weights[1, :, 0] = -1, 1
    _, covariance = Linear(cells, weights).posterior(surrogate)
    assert covariance[1, 1] < 1e-2 * covariance[0, 0]
