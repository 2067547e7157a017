from dataclasses import replace

import numpy as np
import pytest
import torch

from ase_dkl import Dataset, TrainConfig
from ase_dkl.model.labels import Labels
from ase_dkl.training.batches import TrainingData, folds

CONFIG = TrainConfig()


@pytest.fixture
def mixed(srtio3_dataset: Dataset) -> Dataset:
    """Ten structures, the first four with stresses."""
    dataset = srtio3_dataset.subset(np.arange(10))
    stresses = dataset.stresses.copy()
    stresses[4:] = np.nan
    return replace(dataset, stresses=stresses)


def test_labels_are_energies_and_then_strain_derivatives(mixed: Dataset) -> None:
    labels = Labels.of(mixed)
    data, units = TrainingData(labels, CONFIG), labels.units
    batch = data.all()
    assert data.n_labels == len(batch.labels) == len(batch.basis) == 10 + 4 * 6
    energies = batch.labels[:10].numpy() * units.scale + units.shift
    assert energies == pytest.approx(mixed.energies)
    volumes = np.linalg.det(mixed.cells[:4])[:, None]
    slopes = batch.labels[10:].numpy().reshape(4, 6) * units.scale
    assert slopes / volumes == pytest.approx(mixed.stresses[:4])


def test_minibatches_are_parts_of_the_whole(mixed: Dataset) -> None:
    data = TrainingData(Labels.of(mixed), CONFIG)
    whole, part = data.all(), data.batch(np.array([1, 3, 7]))
    assert torch.equal(part.coordinates, whole.coordinates[[1, 3, 7]])
    assert part.tangents is not None
    assert whole.tangents is not None
    torch.testing.assert_close(part.tangents, whole.tangents[[1, 3]])
    expected = torch.cat([whole.labels[[1, 3, 7]], whole.labels[10:].view(4, 6)[[1, 3]].flatten()])
    assert torch.equal(part.labels, expected)


def test_a_minibatch_without_stresses_has_no_tangents(mixed: Dataset) -> None:
    batch = TrainingData(Labels.of(mixed), CONFIG).batch(np.array([5, 6]))
    assert batch.tangents is None
    assert len(batch.labels) == 2


def test_lattices_between_the_labelled_ones_fill_a_small_subset(mixed: Dataset) -> None:
    data = TrainingData(Labels.of(mixed), replace(CONFIG, n_inducing=6))
    subset = data.subset(np.random.default_rng(0)).numpy()
    assert subset.shape == (48, 24, 6)
    labelled = data.all().coordinates.numpy()
    assert np.abs(subset).max() < 1.5 * np.abs(labelled).max()
    energies = TrainingData(Labels.of(mixed.without_stresses()), CONFIG)
    assert len(energies.subset(np.random.default_rng(0))) == 10


class TestFolds:
    def test_each_structure_is_left_out_of_one_network_with_all_its_labels(self, mixed: Dataset) -> None:
        data = TrainingData(Labels.of(mixed), CONFIG)
        fold = folds(10, CONFIG)
        assert fold is not None
        used = data.used(fold)
        assert used.shape == (4, data.n_labels)
        left_out = used.numpy() == 0
        assert (left_out.sum(axis=0) == 1).all()
        energies, slopes = left_out[:, :10], left_out[:, 10:].reshape(4, 4, 6)
        np.testing.assert_array_equal(slopes, np.repeat(energies[:, :4, None], 6, axis=2))
        assert sorted(energies.sum(axis=1)) == [2, 2, 3, 3]

    @pytest.mark.parametrize("networks", [1, 11])
    def test_none_with_one_network_or_fewer_structures_than_networks(self, networks: int) -> None:
        assert folds(10, replace(CONFIG, networks=networks)) is None
