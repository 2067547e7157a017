import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from commands import Command
from scipy.spatial.transform import Rotation
from typer.testing import Result

from ase_dkl import Dataset, Evaluation, Surrogate, TrainConfig, fit, srtio3
from ase_dkl.mechanics.points import points_on_line
from ase_dkl.metrics import coverage
from ase_dkl.model.evaluation import evaluate
from ase_dkl.report import explorer
from ase_dkl.report.accuracy import accuracy
from ase_dkl.report.blocks import measured, within_script
from ase_dkl.report.compared import compared
from ase_dkl.report.page import page, sections
from ase_dkl.report.properties import elasticity, state
from ase_dkl.report.scans import distinct_parameters, scans
from ase_dkl.report.training_data import domain
from ase_dkl.wording import number


class Links(HTMLParser):
    """Addresses that a page refers to, and the text between its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.identities: list[str] = []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "srcset"):
                self.addresses.append(value or "")
            if name == "id":
                self.identities.append(value or "")


@pytest.fixture(scope="module")
def unseen(srtio3_dataset: Dataset) -> Dataset:
    return srtio3_dataset.subset(np.arange(30, 60))


@pytest.fixture(scope="module")
def sheet_rows() -> Dataset:
    """One layer of copper, turned so that its plane is no plane of Cartesian axes."""
    rng = np.random.default_rng(0)
    turn = Rotation.from_euler("xyz", [0.3, -0.7, 1.1]).as_matrix()
    structures = []
    for _ in range(14):
        atoms = fcc111("Cu", (1, 1, 1), a=3.52, vacuum=6.0)
        strain = rng.uniform(-0.04, 0.04, (2, 2))
        deformation = np.eye(3)
        deformation[:2, :2] += (strain + strain.T) / 2
        atoms.set_cell(atoms.cell.array @ deformation @ turn.T, scale_atoms=True)
        atoms.calc = EMT()
        stress = atoms.get_stress(voigt=False) + 0.01 * np.outer(turn[:, 2], turn[:, 2])
        results = {"energy": atoms.get_potential_energy(), "stress": full_3x3_to_voigt_6_stress(stress)}
        atoms.calc = SinglePointCalculator(atoms, **results)
        structures.append(atoms)
    return Dataset.from_atoms(structures)


@pytest.fixture(scope="module")
def sheet(sheet_rows: Dataset) -> Surrogate:
    return fit(sheet_rows.subset(np.arange(10)), TrainConfig(networks=1, steps=40), progress=False)


def figure_in(part: str, name: str) -> Any:
    start = part.index(f'data-figure="{name}">') + len(f'data-figure="{name}">')
    return json.loads(part[start : part.index("</script>", start)])


def test_the_page_refers_to_nothing_outside_itself(surrogate: Surrogate, unseen: Dataset) -> None:
    parts = [make() for make in sections(surrogate, unseen).values()]
    links = Links()
    links.feed(page(surrogate, "sto.dkl", parts, unseen))
    assert links.addresses
    assert {address[1:] for address in links.addresses} <= set(links.identities)
    assert all(address.startswith("#") for address in links.addresses)
    assert len(set(links.identities)) == len(links.identities)


def test_numbers_of_the_errors_are_those_of_evaluate(surrogate: Surrogate, unseen: Dataset) -> None:
    section = accuracy(surrogate, unseen)
    expected = evaluate(surrogate, unseen)
    html = section.html()
    assert f"{number(expected.energy_rmse_meV, 3)} meV per cell" in html
    coverage = figure_in(html, "coverage")["data"][0]
    assert coverage["text"][4] == f"{expected.coverage_95:.0%}"
    assert {"parity-energy", "parity-stress", "uncertainty-energy", "calibration"} <= {
        name.split('"')[0] for name in html.split('data-figure="')[1:]
    }
    assert not section.missing


def test_rows_of_the_training_are_not_counted(surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    both = srtio3_dataset.subset(np.arange(14, 44))
    section = accuracy(surrogate, both)
    expected = evaluate(surrogate, srtio3_dataset.subset(np.arange(24, 44)))
    assert "20 labelled rows that the model never saw" in section.html()
    assert f"{number(expected.energy_rmse_meV, 3)} meV per cell" in section.html()
    assert not section.warnings


def test_stresses_across_a_sheet_are_not_compared(sheet: Surrogate, sheet_rows: Dataset) -> None:
    """The labels have them, from ions held in place; the model is of the lattice."""
    energies, stresses = compared(sheet, sheet_rows)
    assert len(energies.label) == len(sheet_rows)
    expected = evaluate(sheet, sheet_rows)
    assert expected.stress_rmse_GPa is not None
    error = stresses.predicted - stresses.label
    assert np.sqrt((error**2).mean()) == pytest.approx(expected.stress_rmse_GPa)
    assert coverage(error, stresses.total, 0.95) == pytest.approx(expected.stress_coverage_95)
    assert "probability of stability" in elasticity(sheet).html()


def test_errors_on_the_training_alone_are_called_so(surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    section = accuracy(surrogate, srtio3_dataset.subset(np.arange(10)))
    assert "trained on every one of these rows" in section.warnings[0]


def test_without_labels_the_page_says_what_is_missing(
    surrogate: Surrogate, unseen: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no rows were held out" in accuracy(surrogate, None).missing[0]
    held_out: Evaluation = evaluate(surrogate, unseen)
    monkeypatch.setattr(surrogate, "report", replace(surrogate.report, test=held_out))
    section = accuracy(surrogate, None)
    assert f"{number(held_out.energy_rmse_meV, 3)} meV per cell" in section.html()
    assert "--data" in section.missing[0]


def test_energies_alone_are_compared_alone(surrogate: Surrogate, unseen: Dataset) -> None:
    html = accuracy(surrogate, unseen.without_stresses()).html()
    assert "parity-energy" in html
    assert "parity-stress" not in html


def test_scans_are_along_what_symmetry_leaves_distinct(surrogate: Surrogate) -> None:
    assert distinct_parameters(surrogate) == ["a", "alpha"]
    rows = Dataset.read(srtio3(), select="set=scan_a", reference=surrogate.crystal)
    section = scans(surrogate, rows)
    labels = figure_in(section.html(), "scan-a")["data"]
    assert f"with the {len(points_on_line(surrogate, 'a', rows).coordinate)} labelled rows" in section.html()
    assert sum(trace.get("name") == "labels" for trace in labels) == 2


def test_equation_of_state_and_constants_carry_error_bars(surrogate: Surrogate, unseen: Dataset) -> None:
    assert "±" in state(surrogate, unseen).headlines["bulk modulus B₀"]
    section = elasticity(surrogate)
    heat = figure_in(section.html(), "elastic-constants")["data"][0]
    assert "±" in heat["text"][0][0]
    assert heat["text"][0][3] == "0"
    assert ">a = b = c<" in section.html()


def test_what_is_refused_is_told_in_its_place(surrogate: Surrogate, monkeypatch: pytest.MonkeyPatch) -> None:
    # From a lattice so far off no search comes back.
    monkeypatch.setattr("ase_dkl.mechanics.equilibrium.FARTHEST", 0.0)
    section = elasticity(surrogate)
    assert "No lattice of lowest enthalpy was found" in section.missing[0]
    assert 'class="missing"' in section.html()
    assert not section.parts
    curve = state(surrogate, None)
    assert curve.parts
    assert any("No lattice of lowest enthalpy was found" in text for text in curve.warnings)


def test_domain_lists_every_lattice_parameter(surrogate: Surrogate) -> None:
    html = domain(surrogate).html()
    for name in ("a", "b", "c", "α", "β", "γ"):
        assert f"<td>{name}</td>" in html


def test_too_many_training_lattices_stay_out_of_the_page(surrogate: Surrogate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "MOST_LATTICES", 3)
    assert "judged by the ranges alone" in explorer.explorer(surrogate).html()
    assert explorer.model_data(surrogate)["lattices"]["shape"] == [0, 6]


def test_numbers_are_set_as_in_print() -> None:
    assert measured(-1.2345, 0.012, "eV") == "−1.234 ± 0.012 eV"


def test_data_cannot_end_the_script_that_holds_them() -> None:
    assert "</script>" not in within_script('{"a": "</script>"}')
    assert json.loads(within_script('{"a": "</script>"}')) == {"a": "</script>"}


class TestCommand:
    def run(self, *arguments: object) -> Result:
        return Command("report").run(*arguments)

    def test_writes_a_page(self, model_file: Path, tmp_path: Path) -> None:
        path = tmp_path / "report.html"
        result = self.run(model_file, "--data", srtio3(), "--select", "set=pool,index<40", "-o", path, "--json")
        assert result.exit_code == 0, result.output
        printed = json.loads(result.stdout)
        assert printed["report"] == str(path)
        assert list(printed["sections"])[:3] == ["Errors", "Explorer", "Scans"]
        text = path.read_text(encoding="utf-8")
        assert text.startswith("<!DOCTYPE html>")
        assert "16 labelled rows that the model never saw" in text
        assert [each.name for each in tmp_path.iterdir()] == ["report.html"]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["-o", "report.pdf"], "Choose that ending"),
            (["-o", "report.html", "--select", "index<3"], "name some with --data"),
            (["-o", "nowhere/report.html"], "there is no directory"),
        ],
    )
    def test_mistakes_are_told_in_words(self, model_file: Path, arguments: list[str], words: str) -> None:
        result = self.run(model_file, *arguments)
        assert result.exit_code == 1
        assert words in result.stderr
