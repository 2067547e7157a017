from dataclasses import replace

import numpy as np
import pytest

from ase_dkl import Dataset
from ase_dkl.benchmark.methods import BadMethod, checked, method
from ase_dkl.benchmark.methods.polynomial import Monomials
from ase_dkl.model.mean import Quadratic
from ase_dkl.model.space import Lattice


@pytest.fixture(scope="module")
def rows(srtio3_dataset: Dataset) -> Dataset:
    return srtio3_dataset.subset(np.arange(40))


@pytest.fixture(scope="module")
def space(rows: Dataset) -> Lattice:
    return Lattice.of(rows.crystal, rows.cells)


def test_monomials_up_to_the_second_degree_are_the_trends(rows: Dataset, space: Lattice) -> None:
    seen = space.seen_along_all(rows.cells)
    monomials = Monomials.up_to(2, 0.1, 6)
    expected = Quadratic(space).functions(seen)[:, :-1]
    np.testing.assert_allclose(monomials.values(seen.coordinates), expected[:40], atol=1e-12)
    np.testing.assert_allclose(
        monomials.slopes(seen.coordinates, seen.tangents).reshape(240, -1), expected[40:], atol=1e-9
    )


def test_higher_degrees_are_held_back() -> None:
    monomials = Monomials.up_to(4, 0.1, 6)
    degrees = monomials.powers.sum(axis=1)
    np.testing.assert_allclose(monomials.weights, [{3: 0.1, 4: 0.01}.get(degree, 1) for degree in degrees])


@pytest.mark.parametrize("stresses", [True, False])
def test_finds_a_polynomial_and_its_noise(rows: Dataset, space: Lattice, stresses: bool) -> None:
    """Labels of a cubic polynomial of the lattice parameters, with noise and an offset of the stresses."""
    rng = np.random.default_rng(0)
    seen = space.seen_along_all(rows.cells)
    truth = Monomials.up_to(3, 1.0, 6)
    weights = rng.normal(size=len(truth.powers))
    volume = np.abs(np.linalg.det(rows.cells))[:, None]
    energies = truth.values(seen.coordinates) @ weights
    stress = truth.slopes(seen.coordinates, seen.tangents) @ weights / volume
    offset = np.array([0.5, 0.5, 0.5, 0, 0, 0]) / volume
    noise = 1e-3 * rng.normal(size=40), 5e-3 * rng.normal(size=(40, 6)) / volume
    labelled = replace(rows, energies=energies + noise[0], stresses=stress + offset + noise[1])
    if not stresses:
        labelled = labelled.without_stresses()
    found = method("polynomial")
    model = found.fit(labelled, checked(found, {"degree": 3, "decay": 1.0}), 0)
    answer = model.predict_cells(rows.cells)
    assert answer.stress is not None
    np.testing.assert_allclose(answer.energy, energies, atol=5e-3)
    np.testing.assert_allclose(answer.energy_noise, 1e-3, rtol=0.5)
    if stresses:
        assert answer.stress_noise is not None
        np.testing.assert_allclose(answer.stress, stress, atol=3e-3)
        np.testing.assert_allclose(answer.stress_noise * volume, 5e-3, rtol=0.2)
        assert model.stress_offset == pytest.approx(0.5, abs=5e-3)


@pytest.mark.parametrize("settings", [{"degree": 0}, {"decay": 0.0}])
def test_refuses_what_is_no_polynomial(rows: Dataset, settings: dict[str, float]) -> None:
    found = method("polynomial")
    with pytest.raises(BadMethod, match="cannot be fitted"):
        found.fit(rows, checked(found, settings), 0)
