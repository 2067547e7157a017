"""What every method of the comparison keeps to."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from made import labelled

from ase_dkl import Dataset
from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods import NAMES, Method, Model, checked, method
from ase_dkl.benchmark.metrics import auroc
from ase_dkl.crystal.lattice import independent_strains, strained
from ase_dkl.dataset import mos2
from ase_dkl.metrics import rmse
from ase_dkl.model.prediction import Prediction

QUICK = {"steps": 60, "epochs": 120, "networks": 1, "members": 3, "passes": 8, "samples": 8}
"""Instead of defaults, where a method has such settings."""


class Fitted(NamedTuple):
    method: Method
    settings: dict[str, Any]
    model: Model


def copper(size: float, n: int, seed: int) -> Dataset:
    """Copper with lengths and angles up to some size off those of its cubic cell."""
    rng = np.random.default_rng(seed)
    return Dataset.from_atoms(
        [copper_at(point) for point in size * rng.uniform(-1, 1, (n, 6))],
        reference=bulk("Cu", "fcc", a=3.6, cubic=True),
    )


def copper_at(point: Floats) -> Atoms:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.set_cell(np.hstack([3.6 * (1 + point[:3]), 90 + 100 * point[3:]]), scale_atoms=True)
    return labelled(atoms)


@pytest.fixture(scope="module")
def training() -> Dataset:
    """Some of the rows have stresses."""
    rows = copper(0.06, 40, 0)
    return replace(rows, stresses=np.where(np.arange(40)[:, None] % 4 == 1, rows.stresses, np.nan))


@pytest.fixture(scope="module")
def inside() -> Dataset:
    return copper(0.06, 24, 1)


@pytest.fixture(scope="module")
def sheet() -> Dataset:
    rows = Dataset.read(mos2())
    return rows.subset(np.arange(12))


def quick(name: str) -> tuple[Method, dict[str, Any]]:
    found = method(name)
    return found, checked(found, {key: value for key, value in QUICK.items() if key in found.defaults})


@pytest.fixture(scope="module", params=NAMES)
def fitted(request: pytest.FixtureRequest, training: Dataset) -> Fitted:
    found, settings = quick(request.param)
    return Fitted(found, settings, found.fit(training, settings, 0))


@pytest.fixture(scope="module", params=NAMES)
def of_sheet(request: pytest.FixtureRequest, sheet: Dataset) -> Iterator[Fitted]:
    found, settings = quick(request.param)
    before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    yield Fitted(found, settings, found.fit(sheet, settings, 0))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_equal(np.random.get_state(), before[1])  # noqa: NPY002


def test_describes_itself(fitted: Fitted) -> None:
    found = fitted.method
    assert found.name in NAMES
    assert found.title
    assert set(found.grid) <= set(found.defaults)
    assert all(isinstance(value, str | int | float | None) for value in found.defaults.values())
    assert all(found.defaults[key] in values for key, values in found.grid.items())
    assert isinstance(found.passes(found.defaults), int)


def test_answers_with_finite_numbers(fitted: Fitted, inside: Dataset) -> None:
    answer = fitted.model.predict_cells(inside.cells)
    n = len(inside)
    energies = [answer.energy, answer.energy_uncertainty, answer.energy_noise]
    stresses = [answer.stress, answer.stress_uncertainty, answer.stress_noise]
    for values in energies:
        assert values.shape == (n,)
        assert values.dtype == np.float64
        assert np.isfinite(values).all()
    assert (answer.energy_uncertainty > 0).all()
    assert (answer.energy_noise >= 0).all()
    assert np.isfinite(fitted.model.stress_offset)
    if not fitted.method.predicts_stress:
        assert stresses == [None, None, None]
        return
    for given in stresses:
        assert given is not None
        assert given.shape == (n, 6)
        assert given.dtype == np.float64
        assert np.isfinite(given).all()
    assert answer.stress_uncertainty is not None
    assert (answer.stress_uncertainty > 0).all()


def test_energies_do_not_depend_on_the_question(fitted: Fitted, inside: Dataset) -> None:
    asked = fitted.model.predict_cells(inside.cells)
    alone = fitted.model.predict_cells(inside.cells, stress=False)
    assert (alone.stress, alone.stress_uncertainty, alone.stress_noise) == (None, None, None)
    one = fitted.model.predict_cells(inside.cells[3:4], stress=False)
    for first, second in ((asked, alone), (part_of(alone, 3), one)):
        np.testing.assert_allclose(first.energy, second.energy, rtol=0, atol=1e-6 * inside.energies.std())
        np.testing.assert_allclose(first.energy_uncertainty, second.energy_uncertainty, rtol=1e-2, atol=1e-6)


def part_of(answer: Prediction, i: int) -> Prediction:
    return Prediction(answer.value[i : i + 1])


def test_no_cells(fitted: Fitted) -> None:
    answer = fitted.model.predict_cells(np.empty((0, 3, 3)))
    assert answer.energy.shape == (0,)
    if fitted.method.predicts_stress:
        assert answer.stress is not None
        assert answer.stress.shape == (0, 6)


def test_refuses_what_are_no_cells(fitted: Fitted, inside: Dataset) -> None:
    with pytest.raises(ValueError, match=r"shape \(n, 3, 3\)"):
        fitted.model.predict_cells(inside.cells[0])
    with pytest.raises(ValueError, match="not finite"):
        fitted.model.predict_cells(inside.cells * np.nan)


def test_learns(fitted: Fitted, inside: Dataset) -> None:
    answer = fitted.model.predict_cells(inside.cells, stress=False)
    # 40 energies of a function of six parameters are few for who does not know its symmetry.
    share = 0.1 if fitted.settings.get("symmetry", True) else 0.8
    assert rmse(answer.energy - inside.energies) < share * inside.energies.std()


def test_symmetry_images_are_equal(fitted: Fitted, inside: Dataset) -> None:
    cell = inside.cells[0]
    images = inside.crystal.images @ cell
    answer = fitted.model.predict_cells(images, stress=False)
    equal = np.ptp(answer.energy) < 1e-6 * inside.energies.std()
    assert equal == fitted.settings.get("symmetry", True)


def test_is_surer_inside(fitted: Fitted, training: Dataset, inside: Dataset) -> None:
    away = 2.5 * (inside.cells - training.crystal.cell) + training.crystal.cell
    surer, less_sure = (fitted.model.predict_cells(cells, stress=False) for cells in (inside.cells, away))
    assert auroc(surer.energy_uncertainty, less_sure.energy_uncertainty) > 0.7


def test_stress_is_the_slope_of_the_energy(fitted: Fitted, inside: Dataset) -> None:
    if not fitted.method.predicts_stress:
        pytest.skip("It predicts no stress.")
    check_slopes(fitted.model, inside.cells[:3], np.broadcast_to(np.eye(6), (3, 6, 6)), inside.energies.std())


def test_stress_of_a_sheet(of_sheet: Fitted, sheet: Dataset) -> None:
    cells = sheet.cells[:3]
    flat = cells * [[1], [1], [0]]
    assert np.isfinite(of_sheet.model.predict_cells(flat, stress=False).energy).all()
    if of_sheet.method.predicts_stress:
        with pytest.raises(ValueError, match="without volume"):
            of_sheet.model.predict_cells(flat)
        directions = independent_strains(cells[:, list(sheet.crystal.periodic)])
        check_slopes(of_sheet.model, cells, directions, sheet.energies.std())


def check_slopes(model: Model, cells: Floats, directions: Floats, spread: float) -> None:
    step = 3e-4
    ends = [strained(cells[:, None], sign * step * directions) for sign in (1, -1)]
    above, below = (model.predict_cells(end.reshape(-1, 3, 3), stress=False).energy for end in ends)
    numerical = (above - below).reshape(directions.shape[:2]) / (2 * step)
    answer = model.predict_cells(cells)
    assert answer.stress is not None
    virial = np.abs(np.linalg.det(cells))[:, None] * answer.stress
    slopes = np.einsum("ntj,nj->nt", directions, virial)
    np.testing.assert_allclose(slopes, numerical, atol=1e-3 * spread, rtol=1e-3)


def test_the_same_rows_and_seed_give_the_same_model(of_sheet: Fitted, sheet: Dataset) -> None:
    again = of_sheet.method.fit(sheet, of_sheet.settings, 0)
    assert again.predict_cells(sheet.cells).to_dict() == of_sheet.model.predict_cells(sheet.cells).to_dict()


def test_another_seed_gives_another_model_where_it_matters(of_sheet: Fitted, sheet: Dataset) -> None:
    other = of_sheet.method.fit(sheet, of_sheet.settings, 1).predict_cells(sheet.cells, stress=False)
    first = of_sheet.model.predict_cells(sheet.cells, stress=False)
    assert np.array_equal(other.energy, first.energy) != of_sheet.method.random


def test_energies_alone(of_sheet: Fitted, sheet: Dataset) -> None:
    without = of_sheet.method.fit(sheet.without_stresses(), of_sheet.settings, 0)
    answer = without.predict_cells(sheet.cells)
    assert np.isfinite(answer.energy).all()
    assert without.stress_offset == 0
    if not of_sheet.method.learns_from_stress:
        np.testing.assert_array_equal(answer.energy, of_sheet.model.predict_cells(sheet.cells).energy)
