"""The report of a model of free ions, in a real browser too, without a network."""

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from commands import Command
from made import displaced, labelled
from playwright.sync_api import Browser, ConsoleMessage, expect
from test_report import Links, figure_in

from ase_dkl import Dataset, IonConfig, IonicSurrogate, evaluate, fit_ions
from ase_dkl.arrays import Floats
from ase_dkl.report.accuracy import accuracy
from ase_dkl.report.ions import distances, structure, vibrations
from ase_dkl.report.page import page, sections
from ase_dkl.report.properties import elasticity
from ase_dkl.wording import number


def numbers(encoded: dict[str, str]) -> Floats:
    """An array as plotly encodes it."""
    return np.frombuffer(base64.b64decode(encoded["bdata"]), encoded["dtype"])


@pytest.fixture(scope="module")
def unseen(alloy_dataset: Dataset) -> Dataset:
    return alloy_dataset.subset(np.arange(24, 40))


@pytest.fixture(scope="module")
def water_rows() -> Dataset:
    return Dataset.from_atoms(
        [labelled(each, "energy", "forces") for each in displaced(molecule("H2O"), 24, size=0.05)]
    )


@pytest.fixture(scope="module")
def water(water_rows: Dataset) -> IonicSurrogate:
    return fit_ions(water_rows.subset(np.arange(16)), IonConfig(n_inducing=80), progress=False)


def test_numbers_are_those_of_evaluate(ionic: IonicSurrogate, unseen: Dataset) -> None:
    section = accuracy(ionic, unseen)
    expected, html = evaluate(ionic, unseen), section.html()
    assert expected.force_rmse_meV_A is not None
    assert f"{number(expected.force_rmse_meV_A, 3)} meV/Å" in html
    drawn = [numbers(trace["x"]) for trace in figure_in(html, "parity-force")["data"] if trace.get("name")]
    # Above against the labels, below what is left.
    assert sum(map(len, drawn)) == 2 * 16 * 4 * 3
    coverage = {trace["name"]: trace for trace in figure_in(html, "coverage")["data"]}
    assert coverage["force"]["text"][4] == f"{expected.force_coverage_95:.0%}"
    assert {"energy", "force", "stress"} <= coverage.keys()


def test_rows_of_the_training_are_told_however_they_are_turned(ionic: IonicSurrogate, alloy_dataset: Dataset) -> None:
    rows = [alloy_dataset.crystal.atoms() for _ in range(2)]
    for atoms, point in zip(rows, alloy_dataset.points[[3, 30]], strict=True):
        atoms.set_cell(point[:3])
        atoms.positions = point[3:]
        atoms.rotate(50, (1, 2, 3), rotate_cell=True)
    turned = Dataset.from_atoms([labelled(each, "energy", "forces") for each in rows], reference=ionic.crystal)
    assert "1 rows of the training are drawn in grey" in accuracy(ionic, turned).html()


def test_forces_alone_are_compared_alone(ionic: IonicSurrogate, unseen: Dataset) -> None:
    rows = replace(unseen.without_stresses(), energies=np.full(len(unseen), np.nan))
    section = accuracy(ionic, rows)
    html = section.html()
    assert "parity-force" in html
    assert "parity-energy" not in html
    assert "energy error" not in " ".join(section.headlines)


def test_ions_that_symmetry_makes_equal_share_a_line(ionic: IonicSurrogate, unseen: Dataset) -> None:
    html = structure(ionic, unseen).html()
    assert "<td>Au</td><td>0</td>" in html
    assert "<td>Cu</td><td>1, 2, 3</td>" in html
    drawn = figure_in(html, "picture")["data"][-1]
    std = ionic.marginals(unseen.points, True)[1][:, 7:].reshape(-1, 4, 3)
    assert numbers(drawn["marker"]["color"]) == pytest.approx(1e3 * np.sqrt((std**2).mean(axis=(0, 2))))
    assert "--data" in structure(ionic, None).missing[0]


def test_properties_are_of_relaxed_ions(ionic: IonicSurrogate) -> None:
    assert "relaxed" in elasticity(ionic).html()
    assert "±" in vibrations(ionic).headlines["highest frequency"]


def test_many_modes_are_left_to_their_command(ionic: IonicSurrogate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase_dkl.report.ions.MOST_MODES", 3)
    assert "ase-dkl phonons" in vibrations(ionic).missing[0]


def test_every_kind_of_distance_has_its_range(water: IonicSurrogate) -> None:
    html = distances(water).html()
    assert html.count("<tr>") == 1 + 2
    low, high = water.space.ranges(water.points)
    for kind in range(2):
        assert f"<td>{low[:, kind].min():.3f}</td>" in html
        assert f"<td>{high[:, kind].max():.3f}</td>" in html


def test_a_molecule_has_no_lattice(water: IonicSurrogate) -> None:
    made = sections(water, None)
    assert "elastic constants" not in made
    html = page(water, "water.dkl", [make() for make in made.values()], None)
    assert "point group" in html
    assert "each of the 16 rows, predicted from the labels of all others" in html.lower()


def test_the_page_opens_and_shows_the_structure(
    browser: Browser, ionic: IonicSurrogate, unseen: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    html = page(ionic, "alloy.dkl", [make() for make in sections(ionic, unseen).values()], unseen)
    path.write_text(html, encoding="utf-8")
    links = Links()
    links.feed(html)
    assert all(address.startswith("#") for address in links.addresses)
    assert len(set(links.identities)) == len(links.identities)
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    tab = context.new_page()
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Warnings are those of WebGL without a graphics card.
        if message.type != "warning":
            complaints.append(message.text)

    tab.on("console", note)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    tab.goto(path.as_uri())
    expect(tab.locator("#picture canvas").first).to_be_visible()
    expect(tab.locator("#frequencies .main-svg").first).to_be_visible()
    context.close()
    assert not complaints


def test_the_command_writes_a_page(ionic: IonicSurrogate, tmp_path: Path) -> None:
    ionic.save(tmp_path / "alloy.dkl")
    path = tmp_path / "report.html"
    result = Command("report").run(tmp_path / "alloy.dkl", "-o", path, "--json")
    assert result.exit_code == 0, result.stderr
    assert "Which ions are uncertain" in path.read_text(encoding="utf-8")
