import numpy as np
import pytest
from ase.build import bulk

from ase_dkl import Crystal, Dataset, mos2
from ase_dkl.arrays import Floats
from ase_dkl.crystal.coordinates import LEAST_ANGLE_SCALE
from ase_dkl.crystal.lattice import metric
from ase_dkl.model.space import Lattice


def cells(n: int = 6) -> Floats:
    return 4 * np.eye(3) + 0.3 * np.random.default_rng(0).standard_normal((n, 3, 3))


@pytest.fixture(scope="module")
def crystal() -> Crystal:
    return Crystal.from_atoms(bulk("Cu", cubic=True))


def test_coordinates_of_the_training_images_are_standardised(crystal: Crystal) -> None:
    coordinates = Lattice.of(crystal, cells()).coordinates(cells()).reshape(-1, 6)
    assert coordinates.mean(axis=0) == pytest.approx(0)
    assert coordinates.std(axis=0) == pytest.approx(1)


def test_a_parameter_that_does_not_vary_keeps_a_sensible_unit(crystal: Crystal) -> None:
    cubic = np.eye(3) * np.linspace(3.9, 4.1, 5)[:, None, None]
    scale = Lattice.of(crystal, cubic).frame.scale
    assert (scale[3:] == LEAST_ANGLE_SCALE).all()
    assert (scale[:3] > 0.07).all()


@pytest.mark.parametrize("flat", [True, False])
def test_points_between_others_have_mixtures_of_their_metrics(crystal: Crystal, flat: bool) -> None:
    dataset = Dataset.read(mos2()) if flat else None
    space = Lattice.of(crystal, cells()) if dataset is None else Lattice.of(dataset.crystal, dataset.cells)
    ends = cells(2) if dataset is None else dataset.cells[:2]
    between = metric(space.crystal.vectors(space.between(ends, 20, np.random.default_rng(0))))
    first, second = metric(space.crystal.vectors(ends))
    share = np.einsum("nij,ij->n", between - first, second - first) / ((second - first) ** 2).sum()
    assert ((share >= -1e-9) & (share <= 1 + 1e-9)).all()
    assert between == pytest.approx(first + share[:, None, None] * (second - first), abs=1e-9)


def test_ranges_hold_the_images(crystal: Crystal) -> None:
    space = Lattice.of(crystal, cells())
    names, low, reference, high = zip(*space.ranges(cells()), strict=True)
    assert names == ("a", "b", "c", "alpha", "beta", "gamma")
    assert reference == pytest.approx(crystal.atoms().cell.cellpar())
    for images in (low, high):
        assert images[:3] == pytest.approx([images[0]] * 3)
