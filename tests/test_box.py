import numpy as np
import pytest
from ase.build import bulk, mx2

from ase_dkl import Crystal
from ase_dkl.active.box import BadBox, Box
from ase_dkl.arrays import Floats
from ase_dkl.crystal import lattice

CUBE = Crystal.from_atoms(bulk("Cu", "fcc", a=3.6, cubic=True))
HEXAGON = Crystal.from_atoms(mx2(vacuum=6))
RHOMBUS = Crystal.from_atoms(bulk("Si"))
CRYSTALS = pytest.mark.parametrize("crystal", [CUBE, HEXAGON, RHOMBUS], ids=["cube", "sheet", "primitive"])


def parameters(crystal: Crystal, cells: Floats) -> Floats:
    """Lattice parameters of every image, shape (n, g, p)."""
    return lattice.image_parameters(cells[:, list(crystal.periodic)], crystal.images.astype(float))


@CRYSTALS
def test_designs_lie_in_the_box_and_reach_its_ends(crystal: Crystal) -> None:
    box = Box((-0.05, 0.08), (-4, 6))
    found = parameters(crystal, box.design(crystal, 200, seed=1))[:, 0]
    reference = parameters(crystal, crystal.cell[None])[0, 0]
    d = len(crystal.periodic)
    stretches, shears = found[:, :d] / reference[:d] - 1, found[:, d:] - reference[d:]
    assert stretches.min() >= -0.05 - 1e-9
    assert stretches.max() <= 0.08 + 1e-9
    assert shears.min() >= -4 - 1e-9
    assert shears.max() <= 6 + 1e-9
    assert stretches.min() < -0.04 < 0.06 < stretches.max()


@CRYSTALS
def test_no_two_lattices_are_the_same_by_symmetry(crystal: Crystal) -> None:
    images = parameters(crystal, Box().design(crystal, 60, seed=2))
    for i in range(len(images)):
        others = np.delete(images[:, 0], i, axis=0)
        distances = np.abs(images[i][:, None] - others).max(axis=-1)
        assert distances.min() > 1e-3


def test_every_lattice_of_the_box_has_an_image_that_may_be_chosen() -> None:
    box = Box()
    path = box.design(Crystal.from_atoms(bulk("Cu", "fcc", a=3.6, cubic=True), symmetry=False), 200, seed=3)
    chosen = box._first(CUBE, path)
    assert 0 < chosen.sum() < 30
    for cell in path[:20]:
        rows = [lattice_of(W @ cell) for W in CUBE.images]
        assert box._first(CUBE, np.array(rows)).sum() >= 1


def lattice_of(cell: Floats) -> Floats:
    return np.asarray(np.linalg.cholesky(cell @ cell.T))


def test_a_longer_design_begins_with_the_shorter_one() -> None:
    short, long = Box().design(CUBE, 5, seed=4), Box().design(CUBE, 150, seed=4)
    assert np.array_equal(short, long[:5])
    assert not np.array_equal(short, Box().design(CUBE, 5, seed=5))


def test_the_vacuum_stays_and_nothing_is_turned() -> None:
    cells = Box().design(HEXAGON, 10)
    assert np.array_equal(cells[:, 2], np.repeat(HEXAGON.cell[2][None], 10, axis=0))
    strain = np.linalg.inv(HEXAGON.cell) @ cells
    assert strain == pytest.approx(strain.mT, abs=1e-12)


def test_one_angle_may_stay() -> None:
    found = parameters(CUBE, Box(angles=(0, 0)).design(CUBE, 20))[:, 0]
    assert found[:, 3:] == pytest.approx(90)


@pytest.mark.parametrize(
    "ranges", [((0.1, 0.2), (-1, 1)), ((-1.5, 0.1), (-1, 1)), ((-0.1, np.nan), (-1, 1)), ((0, 0), (-1, 1))]
)
def test_bad_ranges(ranges: tuple[tuple[float, float], tuple[float, float]]) -> None:
    with pytest.raises(BadBox, match="The box goes from"):
        Box(*ranges)
