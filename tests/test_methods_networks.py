"""What the network methods are made of; that each of them keeps the contract is tested with all methods."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ase_dkl import Dataset
from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods import BadMethod, Settings, method
from ase_dkl.benchmark.methods.laplace import covariance_root
from ase_dkl.benchmark.methods.network_model import NetworkModel, Passes
from ase_dkl.benchmark.methods.networks import minimise
from ase_dkl.benchmark.methods.rows import Rows
from ase_dkl.benchmark.methods.sngp import random_features
from ase_dkl.benchmark.methods.variational import GaussianWeights
from ase_dkl.model.features import propagate, silu
from ase_dkl.model.mean import POLYNOMIALS

SMALL = {"width": 8, "depth": 2, "steps": 20}
NETWORKS = ("ensemble", "mc_dropout", "variational", "sngp", "evidential", "laplace")


@pytest.fixture(scope="module")
def few(srtio3_dataset: Dataset) -> Dataset:
    return srtio3_dataset.subset(np.arange(12))


def fitted(name: str, dataset: Dataset, **settings: object) -> NetworkModel:
    given = method(name)
    model = given.fit(dataset, {**given.defaults, **SMALL, **settings}, 0)
    assert isinstance(model, NetworkModel)
    return model


def rows_settings(trend: str = "cubic") -> Settings:
    return {"trend": trend, "stress": True, "symmetry": True}


@pytest.mark.parametrize("trend", POLYNOMIALS)
def test_the_trend_and_what_it_leaves_are_the_labels(few: Dataset, trend: str) -> None:
    rows = Rows.of(few, rows_settings(trend))
    frame = rows.frame
    coordinates, tangents = frame.inputs(few.cells, stress=True)
    of_trend = frame.trend_of(coordinates, tangents)
    energies = of_trend[:, 0] + frame.unit * rows.values.numpy()
    np.testing.assert_allclose(energies, few.energies, atol=1e-5)
    volume = np.abs(np.linalg.det(few.cells))[:, None]
    slopes = of_trend[:, 1:] + frame.unit * frame.slope_unit * rows.slopes.numpy()
    slopes[:, :3] += frame.offset
    np.testing.assert_allclose(slopes / volume, few.stresses, atol=1e-5)
    assert rows.n_labels == 7 * len(few)


def test_a_higher_trend_leaves_less(srtio3_dataset: Dataset) -> None:
    units = [Rows.of(srtio3_dataset.subset(np.arange(32)), rows_settings(trend)).frame.unit for trend in POLYNOMIALS]
    assert units[0] > 2 * units[1] > 4 * units[2]


def test_a_trend_that_is_none_is_refused(few: Dataset) -> None:
    with pytest.raises(BadMethod, match="choose one of constant, quadratic, cubic"):
        Rows.of(few, rows_settings("linear"))


def test_rows_without_stresses_come_last(few: Dataset) -> None:
    stresses = few.stresses.copy()
    stresses[:4] = np.nan
    mixed = Dataset(few.crystal, few.cells, few.energies, stresses, few.ids, {}, ())
    rows = Rows.of(mixed, rows_settings())
    assert rows.tangents is not None
    assert len(rows.tangents) == len(rows.slopes) == 8
    expected = rows.frame.space.coordinates(few.cells[[*range(4, 12), *range(4)]])
    np.testing.assert_allclose(rows.coordinates.numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_stress_is_the_slope_of_the_energy(few: Dataset, name: str) -> None:
    model = fitted(name, few)
    cell, step = few.cells[3], 1e-4
    for strain, component in ((np.diag([1.0, 0, 0]), 0), (np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]]), 5)):
        ends = np.stack([cell @ (np.eye(3) + sign * step * strain) for sign in (-1, 1)])
        low, high = model.predict_cells(ends, stress=False).energy
        stress = model.predict_cells(cell[None]).stress
        assert stress is not None
        assert stress[0, component] * abs(np.linalg.det(cell)) == pytest.approx((high - low) / (2 * step), abs=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_stress_labels_there_is_no_noise_on_them(few: Dataset, name: str) -> None:
    model = fitted(name, few, stress=False, steps=2)
    prediction = model.predict_cells(few.cells)
    assert model.stress_offset == 0
    assert prediction.stress_uncertainty is not None
    assert (prediction.stress_uncertainty > 0).all()
    assert prediction.stress_noise is not None
    assert not prediction.stress_noise.any()


def test_a_batch_is_answered_as_its_cells_are(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("mc_dropout", few, steps=2)
    whole = model.predict_cells(few.cells)
    monkeypatch.setattr("ase_dkl.benchmark.methods.network_model._CHUNK", 1)
    parts = model.predict_cells(few.cells)
    np.testing.assert_allclose(parts.energy_uncertainty, whole.energy_uncertainty, rtol=1e-9)
    np.testing.assert_allclose(parts.energy, whole.energy, rtol=1e-9)


def test_passes_are_the_networks_one_by_one() -> None:
    rng = np.random.default_rng(0)
    shapes = ((4, 5), (5, 5), (5, 1))
    layers = [(rng.normal(size=(3, *shape)), rng.normal(size=(3, 1, shape[1]))) for shape in shapes]
    coordinates, tangents = rng.normal(size=(2, 6, 4)), rng.normal(size=(2, 6, 6, 4))
    moments = Passes(layers, None, np.log([0.1, 0.2])).moments(coordinates, tangents)
    each = [
        propagate([(weight[k : k + 1], bias[k : k + 1]) for weight, bias in layers], silu, coordinates, tangents)
        for k in range(3)
    ]
    slopes = np.array([slope[0, ..., 0] for _, slope in each if slope is not None])
    np.testing.assert_allclose(moments.mean[:, 1:], slopes.mean(0))
    np.testing.assert_allclose(moments.variance[:, 1:], slopes.var(0, ddof=1))
    np.testing.assert_allclose(moments.noise[0], [0.01, *[0.04] * 6])


def test_a_mask_of_ones_is_no_mask() -> None:
    rng = np.random.default_rng(1)
    layers = [(rng.normal(size=(1, *s)), rng.normal(size=(1, 1, s[1]))) for s in ((4, 5), (5, 5), (5, 1))]
    coordinates = rng.normal(size=(2, 6, 4))
    bare = Passes([*layers], [np.ones((2, 1, 5))], np.zeros(2)).moments(coordinates, None)
    np.testing.assert_allclose(bare.mean[:, 0], propagate(layers, silu, coordinates, None)[0][0, :, 0])
    assert bare.variance.max() < 1e-20


def test_random_features_are_the_rbf_kernel() -> None:
    torch.manual_seed(0)
    first, second = torch.tensor([[[0.3, -0.2]]]), torch.tensor([[[0.9, 0.1]]])
    directions, phases = torch.randn(2, 200_000), 2 * torch.pi * torch.rand(200_000)
    products = [random_features(each, None, directions, phases, 2.0)[0][0, 0] for each in (first, second)]
    expected = 4 * np.exp(-0.5 * (0.6**2 + 0.3**2))
    assert float(products[0] @ products[1]) == pytest.approx(expected, rel=0.02)


def test_random_features_have_their_derivatives() -> None:
    rng = np.random.default_rng(2)
    at, along = rng.normal(size=(1, 3, 2)), rng.normal(size=(1, 3, 1, 2))
    directions, phases = rng.normal(size=(2, 7)), rng.uniform(0, 6, 7)

    def values(step: float) -> Floats:
        return random_features(at + step * along[:, :, 0], None, directions, phases, 1.5)[0]

    _, slopes = random_features(at, along, directions, phases, 1.5)
    assert slopes is not None
    np.testing.assert_allclose(slopes[:, :, 0], (values(1e-5) - values(-1e-5)) / 2e-5, atol=1e-8)


def test_the_last_layers_covariance_is_that_of_a_linear_model() -> None:
    """With labels that the weights explain, of many noisy labels, the prior hardly matters."""
    design = 100 * np.random.default_rng(3).normal(size=(50, 4))
    root = covariance_root(design, np.array([0.5, -1.0, 2.0, 1.0]))
    np.testing.assert_allclose(root @ root.T, np.linalg.inv(design.T @ design), rtol=1e-3, atol=1e-8)


def test_weights_at_their_prior_have_no_divergence_from_it() -> None:
    layers = [(torch.zeros(1, 4, 3), torch.zeros(1, 1, 3))]
    weights = GaussianWeights(layers, prior=2.0)
    with torch.no_grad():
        for log_deviation in weights.log_deviations:
            log_deviation.fill_(0.0)  # 2 / √4
    assert float(weights.divergence().detach()) == pytest.approx(0)
    first, second = weights.draws(1)[0][0]
    torch.testing.assert_close(first, -second)


def test_training_that_diverges_says_so() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    settings = {"learning_rate": 1e-2, "weight_decay": 0.0, "steps": 3}

    def loss() -> torch.Tensor:
        return (weight * torch.inf).sum()

    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        minimise(loss, [weight], [torch.nn.Parameter(torch.ones(1))], settings)


@pytest.fixture
def random_state() -> Iterator[None]:
    before = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    yield
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]  # noqa: NPY002


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_gives_one_model(random_state: None, few: Dataset, name: str) -> None:
    first, second = (fitted(name, few, steps=3).predict_cells(few.cells) for _ in range(2))
    np.testing.assert_array_equal(first.energy, second.energy)
    np.testing.assert_array_equal(first.energy_uncertainty, second.energy_uncertainty)
