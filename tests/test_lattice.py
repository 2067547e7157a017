from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pymatgen.core.lattice import Lattice
from torch import Tensor
from torch.autograd.functional import jacobian

from ase_dkl.crystal import Crystal
from ase_dkl.crystal.lattice import (
    STRAIN_GENERATORS,
    VOIGT,
    image_parameters,
    image_parameters_and_tangents,
    independent_strains,
    lattice_parameter_tangents,
    lattice_parameters,
    metric,
    metric_tangents,
    strained,
)

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=15)
seeds = st.integers(0, 2**32 - 1)


def random_cells(seed: int, number: int = 8) -> Tensor:
    """Cells of all shapes with angles between 40 and 140 degrees, turned at random."""
    rng = np.random.default_rng(seed)
    cells: list[NDArray[np.float64]] = []
    while len(cells) < number:
        lengths, angles = rng.uniform(2, 9, 3), rng.uniform(40, 140, 3)
        cosines = np.cos(np.radians(angles))
        if 1 - (cosines**2).sum() + 2 * cosines.prod() > 0.05:
            turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
            cells.append(Lattice.from_parameters(*lengths, *angles).matrix @ turn)
    return torch.tensor(np.array(cells))


def derivative(function: Callable[[Tensor], Tensor]) -> Tensor:
    """Derivative of a function of strain at zero, by automatic differentiation; the strain's index comes last."""
    result = jacobian(function, torch.zeros(6, dtype=torch.float64), vectorize=True)
    assert isinstance(result, Tensor)
    return result


def numbers_of(dimension: int) -> int:
    return dimension * (dimension + 1) // 2


@given(seed=seeds)
@repeatable
def test_lattice_parameters_agree_with_pymatgen(seed: int) -> None:
    cells = random_cells(seed)
    expected = torch.tensor([Lattice(cell.numpy()).parameters for cell in cells], dtype=torch.float64)
    torch.testing.assert_close(lattice_parameters(metric(cells)), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dimension", [1, 2])
def test_sheets_and_chains_have_the_parameters_of_their_periodic_rows(dimension: int) -> None:
    cells = random_cells(0)
    a, b, _, _, _, gamma = lattice_parameters(metric(cells)).T
    expected = torch.stack([a, b, gamma] if dimension == 2 else [a], dim=1)
    torch.testing.assert_close(lattice_parameters(metric(cells[:, :dimension])), expected)


@given(seed=seeds)
@repeatable
def test_rotations_drop_out(seed: int) -> None:
    cells = random_cells(seed)
    rotation = torch.linalg.qr(torch.tensor(np.random.default_rng(seed).normal(size=(3, 3)))).Q
    torch.testing.assert_close(lattice_parameters(metric(cells @ rotation)), lattice_parameters(metric(cells)))


def test_strain_generators_are_voigt_with_engineering_shears() -> None:
    generators = torch.tensor(STRAIN_GENERATORS)
    for j, (row, column) in enumerate(VOIGT):
        expected = torch.zeros(3, 3, dtype=torch.float64)
        expected[row, column] = expected[column, row] = 1.0 if row == column else 0.5
        torch.testing.assert_close(generators[j], expected)


def test_a_strain_acts_on_the_current_cell_from_the_right() -> None:
    cell = random_cells(1, 1)[0]
    strain = torch.tensor([0.01, -0.02, 0.03, 0.04, -0.05, 0.06], dtype=torch.float64)
    matrix = torch.tensor([[0.01, 0.03, -0.025], [0.03, -0.02, 0.02], [-0.025, 0.02, 0.03]], dtype=torch.float64)
    torch.testing.assert_close(strained(cell, strain), cell @ (torch.eye(3, dtype=torch.float64) + matrix))
    batch = strained(cell.expand(4, 3, 3), strain.expand(4, 6))
    torch.testing.assert_close(batch[2], strained(cell, strain))


@pytest.mark.parametrize("dimension", [1, 2, 3])
@given(seed=seeds)
@repeatable
def test_tangents_are_the_derivatives_along_strain(dimension: int, seed: int) -> None:
    cells = random_cells(seed, 2)

    def of_metric(strain: Tensor, cell: Tensor) -> Tensor:
        return metric(strained(cell, strain)[:dimension])

    def of_parameters(strain: Tensor, cell: Tensor) -> Tensor:
        return lattice_parameters(of_metric(strain, cell))

    tangents = metric_tangents(cells[:, :dimension])
    parameter_tangents = lattice_parameter_tangents(metric(cells[:, :dimension]), tangents)
    assert tangents.shape == (2, 6, dimension, dimension)
    assert parameter_tangents.shape == (2, 6, numbers_of(dimension))
    for i, cell in enumerate(cells):
        torch.testing.assert_close(tangents[i], derivative(partial(of_metric, cell=cell)).movedim(-1, 0))
        torch.testing.assert_close(parameter_tangents[i], derivative(partial(of_parameters, cell=cell)).movedim(-1, 0))


@pytest.mark.parametrize("name", ["Mg", "Cu", "Si"])
@given(seed=seeds)
@repeatable
def test_images_are_the_lattice_parameters_of_relabelled_cells(name: str, seed: int) -> None:
    crystal = Crystal.from_atoms(bulk(name))
    images = torch.tensor(crystal.images)
    strain = torch.tensor(np.random.default_rng(seed).uniform(-0.1, 0.1, (2, 6)))
    cells = strained(torch.tensor(crystal.cell), strain)
    parameters, tangents = image_parameters_and_tangents(cells, images)
    assert parameters.shape == (2, len(images), 6)
    assert tangents.shape == (2, len(images), 6, 6)
    torch.testing.assert_close(parameters, image_parameters(cells, images))
    for i, cell in enumerate(cells):
        for g, image in enumerate(images.to(cell)):
            relabelled = Lattice((image @ cell).numpy())
            expected = torch.tensor(relabelled.parameters, dtype=torch.float64)
            torch.testing.assert_close(parameters[i, g], expected, rtol=0, atol=1e-10)

        def of_strain(strain: Tensor, cell: Tensor = cell) -> Tensor:
            return image_parameters(strained(cell, strain), images)

        torch.testing.assert_close(tangents[i], derivative(of_strain).movedim(-1, 1))


def test_an_unstrained_crystal_is_all_its_images() -> None:
    crystal = Crystal.from_atoms(bulk("ZnO", "wurtzite", a=3.25, c=5.2))
    parameters = image_parameters(torch.tensor(crystal.cell), torch.tensor(crystal.images))
    torch.testing.assert_close(parameters, parameters[:1].expand_as(parameters))


def test_numpy_and_torch_agree() -> None:
    cells = random_cells(3)
    images = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]]], dtype=torch.float64)
    expected = image_parameters_and_tangents(cells, images)
    found = image_parameters_and_tangents(cells.numpy(), images.numpy())
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other.numpy(), abs=1e-11)


@pytest.mark.parametrize(("dimension", "number"), [(1, 1), (2, 3), (3, 6)])
def test_strains_that_change_a_lattice(dimension: int, number: int) -> None:
    """Each changes the metric, together they reach every change of it, and the first axes need not be x and y."""
    cells = random_cells(5).numpy()[:, :dimension]
    strains = independent_strains(cells)
    assert strains.shape == (8, number, 6)
    tangents = np.einsum("ntj,njkl->ntkl", strains, metric_tangents(cells))
    changes = tangents.reshape(8, number, -1)
    assert (np.linalg.matrix_rank(changes) == number).all()


def test_strains_of_a_flat_sheet_are_the_plane_s() -> None:
    sheet = np.array([[[3.0, 0, 0], [-1.0, 2.0, 0]]])
    strains = independent_strains(sheet)[0]
    assert not strains[:, [2, 3, 4]].any()
