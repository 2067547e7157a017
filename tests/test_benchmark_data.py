from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.db import connect

from ase_dkl.active.box import Box
from ase_dkl.benchmark.data import load
from ase_dkl.benchmark.settings import BadStudy, Source


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """40 copper cells, stretched by up to 4 %."""
    rng = np.random.default_rng(0)
    path = tmp_path / "copper.db"
    with connect(path) as rows:
        for i in range(40):
            atoms = bulk("Cu", cubic=True)
            atoms.set_cell(atoms.cell.array * (1 + rng.uniform(-0.04, 0.04, size=3)), scale_atoms=True)
            atoms.calc = EMT()
            atoms.get_potential_energy()
            rows.write(atoms, part="test" if i % 4 == 0 else "train")
    return path


def test_shipped_data_are_inside_and_beyond_their_box() -> None:
    source = Source("srtio3", (16, 64))
    data = load(source)
    assert len(data.pool) == 192
    assert len(data.pool.crystal.images) == 24
    assert not set(data.pool.ids) & set(data.test.ids)
    assert data.outside is not None
    for rows, inside in ((data.pool, True), (data.test, True), (data.outside, False)):
        assert ((source.box.reach(rows.crystal, rows.cells) <= 1) == inside).all()
    around = source.box.reach(data.pool.crystal, data.around)
    assert around.min() >= 1.2
    assert len(around) == 512


def test_reach_is_one_on_the_surface_of_the_box() -> None:
    crystal = load(Source("srtio3", (16,))).pool.crystal
    box = Box((-0.1, 0.05), (-10.0, 5.0))
    cells = np.array([crystal.cell] * 3)
    cells[1, 0] *= 1.05
    cells[2, 1] *= 0.95
    assert box.reach(crystal, cells) == pytest.approx([0, 1, 0.5], abs=1e-9)


def test_a_database_of_ones_own_is_divided_by_its_box(database: Path) -> None:
    source = Source("mine", (5, 6), database=database, box=Box((-0.03, 0.03), (0.0, 0.0)))
    data = load(source)
    assert len(data.pool) == 6
    assert data.outside is not None
    assert len(data.pool) + len(data.test) + len(data.outside) == 40
    assert source.box.reach(data.pool.crystal, data.test.cells).max() <= 1 + 1e-6
    again = load(Source("mine", (5, 6), database=database, box=source.box))
    assert np.array_equal(again.pool.ids, data.pool.ids)


def test_rows_to_test_on_can_be_selected(database: Path) -> None:
    data = load(Source("mine", (10, 30), database=database, test="part=test"))
    assert data.outside is None
    assert sorted(data.test.ids) == list(range(1, 41, 4))
    assert len(data.pool) == 30


def test_too_few_rows_are_told(database: Path) -> None:
    with pytest.raises(BadStudy, match="40 rows to train on and 0 to test on"):
        load(Source("mine", (40,), database=database))


def test_metals_are_made_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TESTS", "LABELLED_AROUND"):
        monkeypatch.setattr(f"ase_dkl.benchmark.data.{name}", 8)
    data = load(Source("emt:Al", (6,)))
    assert len(data.pool) == 6
    assert data.pool.has_stress.all()
    assert data.outside is not None
    assert len(data.test) == len(data.outside) == 8
    assert data.pool.crystal.space_group == "Fm-3m (225)"
