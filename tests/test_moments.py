"""Which magnetic state rows are in, by the moments that their calculations found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from ase_dkl import BadDataset, Dataset
from ase_dkl.dataset.columns import Columns
from ase_dkl.dataset.mixtures import Findings
from ase_dkl.dataset.moments import check_moments
from ase_dkl.dataset.sources import rows_in_memory

CASES = Path(__file__).parent / "cases"


def iron(i: int, **moments: Any) -> Atoms:
    atoms: Atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_cell(atoms.cell.array * (1 + 0.005 * (i - 5)), scale_atoms=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-16 + 0.002 * (i - 5) ** 2, **moments)
    return atoms


def states(structures: list[Atoms]) -> tuple[list[bool], list[str]]:
    findings = Findings()
    keep = check_moments(Columns.of(rows_in_memory(structures)), findings)
    return keep.tolist(), findings.problems


def test_a_collapsed_moment_is_refused_with_a_selection() -> None:
    collapse = CASES / "fe_collapse.traj"
    with pytest.raises(BadDataset, match=r"2 magnetic states: .*4\.40 μB.*0\.00 μB.*--select 'magmom>2\.2'"):
        Dataset.read(collapse)
    assert len(Dataset.read(collapse, select="magmom>2.2")) == 14


def test_a_database_too(tmp_path: Path) -> None:
    with connect(tmp_path / "iron.db") as database:
        for i in range(10):
            database.write(iron(i, magmom=4.4 if i < 7 else 0.1, magmoms=np.full(2, 2.2 if i < 7 else 0.05)))
    with pytest.raises(BadDataset, match=r"--select 'magmom>2\.2'"):
        Dataset.read(tmp_path / "iron.db")
    assert len(Dataset.read(tmp_path / "iron.db", select="magmom>2.2")) == 7


@pytest.mark.parametrize(
    "moments",
    [
        [{"magmom": 3.2 + 0.2 * i} for i in range(10)],
        [{"magmom": (-1) ** i * 4.4, "magmoms": (-1) ** i * np.array([2.2, 2.2])} for i in range(10)],
        [{"magmom": 1e-4 * i, "magmoms": np.full(2, 0.02 * i)} for i in range(10)],
        [{"magmom": 4.4} if i % 2 else {} for i in range(10)],
        [{"magmom": 0.0, "magmoms": (-1) ** i * np.array([2.2, -2.2])} for i in range(10)],
        [{"magmoms": np.array([[0, 0, 2.2], [0, 0.1 * i, 2.2]])} for i in range(10)],
    ],
    ids=["smooth", "reversed", "noise", "not told by some", "reversed antiferromagnet", "vectors"],
)
def test_one_state(moments: list[dict[str, Any]]) -> None:
    assert states([iron(i, **each) for i, each in enumerate(moments)]) == ([True] * 10, [])


@pytest.mark.parametrize(
    ("some", "others"),
    [
        ({"magmom": 0.0, "magmoms": np.array([2.2, -2.2])}, {"magmom": 0.0, "magmoms": np.zeros(2)}),
        ({"magmom": 0.0, "magmoms": np.array([2.2, -2.2])}, {"magmom": 4.4, "magmoms": np.array([2.2, 2.2])}),
        ({"magmoms": np.array([2.2, -2.2])}, {"magmoms": np.array([2.2, 2.2])}),
        ({"magmom": 8.0}, {"magmom": 4.0}),
        ({"magmoms": np.array([[0, 0, 2.2], [0, 0, 2.2]])}, {"magmoms": np.array([[2.2, 0, 0], [-2.2, 0, 0]])}),
    ],
    ids=["collapsed", "ferromagnet", "sites alone", "high and low spin", "vectors"],
)
def test_two_states(some: dict[str, Any], others: dict[str, Any]) -> None:
    keep, problems = states([iron(i, **(others if i in (2, 5, 8) else some)) for i in range(10)])
    assert keep == [i not in (2, 5, 8) for i in range(10)]
    assert "3 rows: 2, 5, 8" in problems[0]


def test_two_orders_of_no_total_moment() -> None:
    """Rows with the same moments in another order; a turn of all of them is the same order."""
    structures = []
    for i in range(10):
        atoms = iron(i).repeat((1, 1, 2))
        order = np.array([1, -1, -1, 1] if i in (1, 4) else [1, 1, -1, -1]) * (-1) ** i
        atoms.calc = SinglePointCalculator(atoms, energy=-32.0, magmom=0.0, magmoms=2.2 * order)
        structures.append(atoms)
    keep, problems = states(structures)
    assert keep == [i not in (1, 4) for i in range(10)]
    assert "2 magnetic states" in problems[0]
    assert "order 2 (2 rows: 1, 4)" in problems[0]
