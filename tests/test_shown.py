"""Every result shows itself in a line, in a table and as JSON."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, molecule
from made import rattled_alloy
from springs import Springs, free

import ase_dkl
from ase_dkl import Dataset, Surrogate
from ase_dkl.active.campaign import Result
from ase_dkl.active.stopping import Stage, StopReason
from ase_dkl.mechanics.points import points_on_line
from ase_dkl.shown import Shown, plain

Make = Callable[[Surrogate, Dataset], Any]


def constants(surrogate: Surrogate) -> ase_dkl.ElasticConstants:
    """The model's lattice with stiff constants, whatever the model says of them."""
    C = np.diag([300.0, 300, 300, 110, 110, 110])
    C[:3, :3] += 100 * (1 - np.eye(3))
    return ase_dkl.ElasticConstants(ase_dkl.equilibrium(surrogate), "clamped", C, np.diag(np.full(36, 0.25)))


def sheet(surrogate: Surrogate) -> ase_dkl.SheetConstants:
    C = np.array([[350.0, 60, 0], [60, 350, 0], [0, 0, 145]])
    found, two = ase_dkl.equilibrium(surrogate), np.ones(2)
    return ase_dkl.SheetConstants(found, "clamped", C, np.diag(np.ones(9)), two, two, *[1.0] * 6)


def third_order(surrogate: Surrogate) -> ase_dkl.ThirdOrderConstants:
    C = np.full((6, 6, 6), -1000.0)
    return ase_dkl.ThirdOrderConstants(ase_dkl.equilibrium(surrogate), "clamped", C, C / -100, np.eye(56))


def ended(surrogate: Surrogate) -> Result:
    stage = Stage(1, 24, 0, 0.1, 0.2, 0.3, 0.01, (0.1,), (0.2,), 1.0, None, None, True, 2.0)
    return Result(surrogate, (stage,), StopReason.budget, "The budget is spent.", 24, 0)


def elastic(of: Callable[[Any, Any], Any]) -> Make:
    return lambda surrogate, _: of(constants(surrogate).C_GPa, constants(surrogate).covariance)


def water() -> Springs:
    return Springs(free(molecule("H2O")), 2.0, np.array([[0, 30.0, 0, 0]]), np.array([[0.01, 0.1, 0, 0]]))


def diamond() -> Springs:
    return Springs(free(bulk("C", a=3.57)), 2.6, np.array([[0, 10.0, -9, 0]]), np.array([[0.01, 0.1, 0.1, 0]]))


def free_copper() -> ase_dkl.IonicSurrogate:
    rows = Dataset.from_atoms(rattled_alloy(8))
    return ase_dkl.fit_ions(rows, ase_dkl.IonConfig(n_inducing=40), progress=False)


RESULTS: dict[str, Make] = {
    "EquationOfState": lambda s, _: ase_dkl.equation_of_state(s, bounds=(-0.02, 0.02)),
    "Equilibrium": lambda s, _: ase_dkl.equilibrium(s),
    "ElasticConstants": lambda s, _: constants(s),
    "SheetConstants": lambda s, _: sheet(s),
    "ChainStiffness": lambda s, _: ase_dkl.ChainStiffness(ase_dkl.equilibrium(s), "clamped", 3.21, 0.04),
    "Moduli": elastic(ase_dkl.moduli),
    "Stability": elastic(ase_dkl.stability),
    "BornCondition": elastic(lambda C, covariance: ase_dkl.born_conditions(C, covariance, "m-3m")[0]),
    "Pull": elastic(lambda C, covariance: ase_dkl.extreme_young_moduli(C, covariance)[0]),
    "ThirdOrderConstants": lambda s, _: third_order(s),
    "PressureDerivatives": lambda s, _: ase_dkl.PressureDerivatives(
        ase_dkl.equilibrium(s), np.full((6, 6), np.nan), np.ones((6, 6))
    ),
    "IdealStrength": lambda s, _: ase_dkl.ideal_strength(s, ase_dkl.Tension((0, 0, 1)), relaxed=False),
    "Scan": lambda s, _: ase_dkl.scan_along(s, "a", [-0.01, 0, 0.01]),
    "Grid": lambda s, _: ase_dkl.scan_grid(s, ("a", "gamma"), ([-0.01, 0.01], [-1, 1])),
    "Points": lambda s, d: points_on_line(s, "a", d, tolerance=0.05),
    "Prediction": lambda s, d: s.predict_cells(d.cells[:3]),
    "Prediction of one": lambda s, d: s.predict_cells(d.cells[:1], stress=False),
    "Prediction of none": lambda s, _: s.predict([]),
    "JointPosterior": lambda s, d: s.posterior(d.cells[:2]),
    "Evaluation": ase_dkl.evaluate,
    "Evaluation of few": lambda s, d: ase_dkl.evaluate(s, d.subset(np.arange(2))),
    "TrainingReport": lambda s, _: s.report,
    "Dataset": lambda _, d: d,
    "Surrogate": lambda s, _: s,
    "IonicSurrogate": lambda _, __: free_copper(),
    "Crystal": lambda s, _: s.crystal,
    "Result": lambda s, _: ended(s),
    "RelaxedStructure": lambda *_: ase_dkl.relaxed_structure(water()),
    "Phonons": lambda *_: ase_dkl.phonons(water()),
    "InternalStrain": lambda *_: ase_dkl.internal_strain(diamond()),
    "Grueneisen": lambda *_: ase_dkl.grueneisen(diamond()),
}


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # a small model extrapolates; these are not about its answers
def test_a_result_shows_itself(name: str, surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    result = RESULTS[name](surrogate, srtio3_dataset)
    assert isinstance(result, Shown)
    assert type(result).__name__ == name.partition(" ")[0]
    line, html = repr(result), result._repr_html_()
    assert "\n" not in line
    assert "array(" not in line
    assert 5 < len(line) < 300
    assert html.startswith("<table>")
    assert html.count("<tr>") == len(result._summary()[1])
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told
    assert told == plain(result)
    record = result.record()
    assert record == json.loads(json.dumps(record, allow_nan=False))
    assert all(map(str.strip, result.words().values()))


def test_the_public_results_are_all_here() -> None:
    public = {name for name in ase_dkl.__all__ if isinstance(kind := getattr(ase_dkl, name), type)
              and issubclass(kind, Shown)}  # fmt: skip
    assert public <= RESULTS.keys()


def test_lines(surrogate: Surrogate, srtio3_dataset: Dataset) -> None:
    curve = ase_dkl.equation_of_state(surrogate, bounds=(-0.02, 0.02))
    exact = replace(curve, values=np.array([61.46, -40.0, 169.4, 4.0]), covariance=np.diag([0.008, 0.1, 0.3, 0.1]) ** 2)
    assert repr(exact) == "SrTiO3: V0 = 61.460(8) Å³, B0 = 169.4(3) GPa"
    assert repr(constants(surrogate)) == "SrTiO3: C11 = 300.0(5) GPa, C12 = 100.0(5) GPa, C44 = 110.0(5) GPa"
    assert repr(sheet(surrogate)) == "SrTiO3: C11 = 350.0(1.0) N/m, C12 = 60.0(1.0) N/m, C66 = 145.0(1.0) N/m"
    found = replace(
        ase_dkl.equilibrium(surrogate),
        lattice_parameters=np.array([3.945, 3.945, 3.945, 90, 90, 90]),
        lattice_parameters_covariance=np.diag([4e-8, 4e-8, 4e-8, 0, 0, 0]),
        outside=False,
    )
    assert repr(found) == "SrTiO3: a = b = c = 3.9450(2) Å, α = β = γ = 90 °"
    assert repr(srtio3_dataset.subset(np.arange(5))).startswith("Dataset of SrTiO3, Pm-3m (221): rows = 5, with stress")
    assert repr(ended(surrogate)) == "Campaign of SrTiO3: labels = 24, failed = 0, stages = 1, ended by = budget"


def test_derived_numbers_are_in_the_dictionary(surrogate: Surrogate) -> None:
    curve = ase_dkl.equation_of_state(surrogate, bounds=(-0.02, 0.02))
    told = curve.to_dict()
    assert told["B0_GPa"] == curve.B0_GPa
    assert told["B0_GPa_std"] == curve.B0_GPa_std
    assert told["form"]["kind"] == "birchmurnaghan"
    assert constants(surrogate).to_dict()["C_std_GPa"][0] == [0.5] * 6


def test_what_json_has_not() -> None:
    assert plain({1: np.array([1.0, np.nan, np.inf]), "b": (np.int64(2), np.bool_(True))}) == {
        "1": [1.0, None, None],
        "b": [2, True],
    }


def test_tables_are_escaped() -> None:
    class Hostile(Shown):
        def _summary(self) -> tuple[str, dict[str, str]]:
            return "<script>", {"<b>": "1 < 2 & 3"}

    assert repr(Hostile()) == "<script>: <b> = 1 < 2 & 3"
    assert Hostile()._repr_html_() == (
        "<table><caption>&lt;script&gt;</caption><tr><th>&lt;b&gt;</th><td>1 &lt; 2 &amp; 3</td></tr></table>"
    )
