"""The report in a real browser, without a network."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from playwright.sync_api import Browser, Page, expect

from ase_dkl import Dataset, Surrogate, TrainConfig, fit
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import strained
from ase_dkl.report.page import page as page_of
from ase_dkl.report.page import sections

ANGLES: dict[int, list[tuple[int, int]]] = {1: [], 2: [(0, 1)], 3: [(1, 2), (0, 2), (0, 1)]}
FRAME = {1: [0], 2: [0, 1, 5], 3: [0, 1, 2, 3, 4, 5]}
"""Voigt components that the page shows, by the number of periodic axes."""


def elastic(pbc: list[bool], number: int) -> Dataset:
    """Structures with an energy that is quadratic in the strain of what is periodic."""
    rng = np.random.default_rng(0)
    structures = []
    free = np.array([pbc[0], pbc[1], pbc[2], pbc[1] and pbc[2], pbc[0] and pbc[2], pbc[0] and pbc[1]])
    for strain in rng.uniform(-0.06, 0.06, (number, 6)) * free:
        cell = strained(np.diag([3.0, 3.2, 3.4]), strain)
        atoms = Atoms("C", cell=cell, pbc=pbc)
        axes = np.flatnonzero(pbc)
        metric = (cell @ cell.T)[np.ix_(axes, axes)]
        green = 0.5 * (metric / np.outer(*2 * [np.array([3.0, 3.2, 3.4])[axes]]) - np.eye(len(axes)))
        energy = 20 * np.trace(green) ** 2 + 30 * (green**2).sum()
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        structures.append(atoms)
    return Dataset.from_atoms(structures)


@pytest.fixture(scope="module")
def models(srtio3_dataset: Dataset) -> dict[str, Surrogate]:
    few = srtio3_dataset.subset(np.arange(16))
    quick: dict[str, Any] = {"steps": 40, "width": 16, "depth": 2}
    return {
        "bulk": fit(few, TrainConfig(networks=2, **quick), progress=False),
        "sheet": fit(
            elastic([True, False, True], 16), TrainConfig(networks=3, kernel="matern52", **quick), progress=False
        ),
        "bulk, sextic mean": fit(few, TrainConfig(networks=2, mean="sextic", **quick), progress=False),
        "sheet, sextic mean": fit(
            elastic([True, False, True], 16), TrainConfig(networks=1, mean="sextic", **quick), progress=False
        ),
        "chain": fit(
            elastic([False, False, True], 12), TrainConfig(networks=1, mean="constant", **quick), progress=False
        ),
    }


@pytest.fixture(scope="module", params=["bulk", "sheet", "chain", "bulk, sextic mean", "sheet, sextic mean"])
def surrogate(request: pytest.FixtureRequest, models: dict[str, Surrogate]) -> Surrogate:
    return models[request.param]


@pytest.fixture(scope="module")
def opened(
    browser: Browser, surrogate: Surrogate, srtio3_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Page, Surrogate]]:
    """The page of a model, and that it made no complaint while it was used."""
    bulk = len(surrogate.crystal.periodic) == 3
    dataset = srtio3_dataset.subset(np.arange(10, 40)) if bulk else None
    parts = [make() for make in sections(surrogate, dataset).values()]
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page_of(surrogate, "model.dkl", parts, dataset), encoding="utf-8")
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    yield page, surrogate
    context.close()
    assert not complaints


def set_to(page: Page, fractions: Floats) -> Floats:
    """Put every slider at a fraction of its range; what the lattice parameters then are."""
    values = []
    for slider, fraction in zip(page.locator("#explorer-sliders input[type=range]").all(), fractions, strict=True):
        low, high = (float(slider.get_attribute(end) or "") for end in ("min", "max"))
        slider.fill(repr(float(low + fraction * (high - low))))
        values.append(float(slider.input_value()))
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return np.array(values)


def value_of(page: Page, name: str) -> float:
    return float(page.locator(f"#explorer-{name}").get_attribute("data-value") or "")


def cell_of(surrogate: Surrogate, parameters: Floats) -> Floats:
    """The first periodic vector along x, the second in the xy plane, vacuum across."""
    periodic = list(surrogate.crystal.periodic)
    d = len(periodic)
    metric = np.outer(parameters[:d], parameters[:d])
    for (i, j), angle in zip(ANGLES[d], parameters[d:], strict=True):
        metric[i, j] = metric[j, i] = metric[i, j] * np.cos(np.deg2rad(angle))
    cell = np.zeros((3, 3))
    cell[np.ix_(periodic, range(d))] = np.linalg.cholesky(metric)
    vacuum = [axis for axis in range(3) if axis not in periodic]
    cell[vacuum, range(d, 3)] = 10
    return cell


def test_figures_are_drawn(opened: tuple[Page, Surrogate]) -> None:
    page, surrogate = opened
    drawn = page.evaluate("[...document.querySelectorAll('.plot')].map((plot) => [plot.id, plot.data?.length ?? 0])")
    assert len(drawn) >= (13 if len(surrogate.crystal.periodic) == 3 else 3)
    for name, traces in drawn:
        assert traces > 0, name
        assert page.locator(f"#{name} svg.main-svg").first.bounding_box(), name
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200


@pytest.mark.parametrize("seed", range(3))
def test_the_page_predicts_what_the_model_does(opened: tuple[Page, Surrogate], seed: int) -> None:
    page, surrogate = opened
    fractions = np.random.default_rng(seed).uniform(0, 1, len(page.locator("input[type=range]").all()))
    cell = cell_of(surrogate, set_to(page, fractions))
    expected = surrogate.predict_cells(cell[None])
    assert expected.stress is not None
    assert expected.stress_uncertainty is not None
    assert value_of(page, "energy") == pytest.approx(expected.energy[0], abs=1e-9)
    assert value_of(page, "uncertainty") == pytest.approx(expected.energy_uncertainty[0], rel=1e-6, abs=1e-9)
    d = len(surrogate.crystal.periodic)
    height = 10 ** (3 - d)
    shown = page.locator("#explorer-stress td").all()
    stress, std = ([float(cell.get_attribute(name) or "") for cell in shown] for name in ("data-value", "data-std"))
    assert stress == pytest.approx(expected.stress[0, FRAME[d]] * height, abs=1e-8)
    assert std == pytest.approx(expected.stress_uncertainty[0, FRAME[d]] * height, rel=1e-5, abs=1e-8)


def test_the_page_knows_the_domain(opened: tuple[Page, Surrogate]) -> None:
    page, surrogate = opened
    found = []
    for fraction in np.linspace(0, 1, 9):
        parameters = set_to(page, np.full(len(page.locator("input[type=range]").all()), fraction))
        expected = bool(surrogate.extrapolation(cell_of(surrogate, parameters)[None]).outside[0])
        assert ("Outside" in page.locator("#explorer-domain").inner_text()) == expected, fraction
        found.append(expected)
    assert set(found) == {True, False}


def test_sliders_move_everything_and_the_button_brings_it_back(opened: tuple[Page, Surrogate]) -> None:
    page, _ = opened
    look = "document.querySelector('.readings').innerText + document.getElementById('explorer-cell').innerHTML"
    marker = "document.getElementById('explorer-plot').data[3].y[0]"
    page.locator("#explorer-reset").click()
    before, energy = page.evaluate(look), page.evaluate(marker)
    set_to(page, np.full(len(page.locator("input[type=range]").all()), 0.8))
    assert page.evaluate(look) != before
    assert page.evaluate(marker) != energy
    assert page.evaluate("document.getElementById('explorer-plot').data[2].x.length") == 61
    page.locator("#explorer-reset").click()
    assert page.evaluate(look) == before
    assert page.evaluate(marker) == energy == 0


@pytest.mark.parametrize("surrogate", ["bulk"], indirect=True)
def test_angles_without_a_lattice_are_told(opened: tuple[Page, Surrogate]) -> None:
    page, _ = opened
    for angle, words in (("150", "no lattice with these angles"), ("60", "Outside the training domain")):
        for name in ("alpha", "beta", "gamma"):
            page.locator(f"#number-{name}").fill(angle)
        expect(page.locator("#explorer-domain")).to_contain_text(words)
