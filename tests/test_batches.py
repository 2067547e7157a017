from dataclasses import replace

import numpy as np
import pytest
import torch

from ase_dkl import Dataset, TrainConfig
from ase_dkl.batches import TrainingData

QUADRATIC = TrainConfig()


@pytest.fixture
def mixed(srtio3_dataset: Dataset) -> Dataset:
    """Ten structures, the first four with stresses."""
    dataset = srtio3_dataset.subset(np.arange(10))
    stresses = dataset.stresses.copy()
    stresses[4:] = np.nan
    return replace(dataset, stresses=stresses)


def test_labels_are_energies_and_then_strain_derivatives(mixed: Dataset) -> None:
    data = TrainingData(mixed, mixed.crystal.images, QUADRATIC)
    batch = data.all()
    assert data.n_labels == len(batch.labels) == len(batch.basis) == 10 + 4 * 6
    energies = batch.labels[:10].numpy() * data.scaling.energy_scale + data.scaling.energy_shift
    assert energies == pytest.approx(mixed.energies)
    volumes = np.linalg.det(mixed.cells[:4])[:, None]
    slopes = batch.labels[10:].numpy().reshape(4, 6) * data.scaling.energy_scale
    assert slopes / volumes == pytest.approx(mixed.stresses[:4])


def test_minibatches_are_parts_of_the_whole(mixed: Dataset) -> None:
    data = TrainingData(mixed, mixed.crystal.images, QUADRATIC)
    whole, part = data.all(), data.batch(np.array([1, 3, 7]))
    assert torch.equal(part.coordinates, whole.coordinates[[1, 3, 7]])
    assert part.tangents is not None
    assert whole.tangents is not None
    torch.testing.assert_close(part.tangents, whole.tangents[[1, 3]])
    expected = torch.cat([whole.labels[[1, 3, 7]], whole.labels[10:].view(4, 6)[[1, 3]].flatten()])
    assert torch.equal(part.labels, expected)


def test_a_minibatch_without_stresses_has_no_tangents(mixed: Dataset) -> None:
    batch = TrainingData(mixed, mixed.crystal.images, QUADRATIC).batch(np.array([5, 6]))
    assert batch.tangents is None
    assert len(batch.labels) == 2


def test_lattices_between_the_labelled_ones_fill_a_small_subset(mixed: Dataset) -> None:
    data = TrainingData(mixed, mixed.crystal.images, replace(QUADRATIC, n_inducing=6))
    subset = data.subset(np.random.default_rng(0)).numpy()
    assert subset.shape == (48, 24, 6)
    labelled = data.all().coordinates.numpy()
    assert np.abs(subset).max() < 1.5 * np.abs(labelled).max()
    energies = TrainingData(mixed.without_stresses(), mixed.crystal.images, QUADRATIC)
    assert len(energies.subset(np.random.default_rng(0))) == 10
