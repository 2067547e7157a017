import numpy as np
import torch

from ase_dkl.inputs import LEAST_ANGLE_SCALE, Scaling, gather, observe
from ase_dkl.lattice import strained
from ase_dkl.network import FeatureExtractor

IMAGES = torch.tensor(
    [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]]]
)


def cells(n: int = 6, amplitude: float = 0.3) -> torch.Tensor:
    noise = np.random.default_rng(0).standard_normal((n, 3, 3))
    return torch.tensor(4 * np.eye(3) + amplitude * noise)


def scaling() -> Scaling:
    return Scaling(IMAGES, cells(), torch.linspace(-3.0, 5.0, 6, dtype=torch.float64))


def test_coordinates_of_the_training_images_are_standardised() -> None:
    coordinates = scaling().coordinates(cells()).flatten(0, 1)
    torch.testing.assert_close(coordinates.mean(0), torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(coordinates.std(0), torch.ones(6, dtype=torch.float64))


def test_a_parameter_that_does_not_vary_keeps_a_sensible_unit() -> None:
    cubic = torch.eye(3, dtype=torch.float64) * torch.linspace(3.9, 4.1, 5, dtype=torch.float64)[:, None, None]
    scale = Scaling(IMAGES, cubic, torch.zeros(5)).scale
    assert (scale[3:] == LEAST_ANGLE_SCALE).all()
    assert (scale[:3] > 0.07).all()


def test_basis_functions_have_the_derivatives_they_are_given_with() -> None:
    some, units = cells(2), scaling()
    given = gather(*units.coordinates_and_tangents(some))
    values, slopes = given.basis[:2], given.basis[2:].view(2, 6, -1)
    step = 1e-5
    for j in range(6):
        strain = step * torch.eye(6, dtype=torch.float64)[j]
        ahead, behind = (gather(units.coordinates(strained(some, s * strain))).basis for s in (1, -1))
        torch.testing.assert_close(slopes[:, j], (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-7)
    assert values.shape == (2, 1 + 6 + 21 + 1)
    assert (values[:, 0] == 1).all()


def test_basis_is_the_same_for_every_image() -> None:
    some, units = cells(1), scaling()
    # These images are no group; with the identity and the exchange of a and b they are.
    units.images = units.images[:2]
    exchanged = some[:, [1, 0, 2]]
    torch.testing.assert_close(
        gather(units.coordinates(some)).basis, gather(units.coordinates(exchanged)).basis, rtol=1e-12, atol=1e-12
    )


def test_only_labels_have_an_offset() -> None:
    coordinates, tangents = scaling().coordinates_and_tangents(cells(2))
    traces = torch.tensor([[1.0, 1, 1, 0, 0, 0]], dtype=torch.float64).expand(2, 6)
    assert not gather(coordinates, tangents).basis[:, -1].any()
    offset = gather(coordinates, tangents, traces).basis[:, -1]
    assert not offset[:2].any()
    torch.testing.assert_close(offset[2:], traces.flatten())


def test_a_constant_mean_has_no_slope() -> None:
    given = gather(*scaling().coordinates_and_tangents(cells(2)), quadratic=False)
    assert given.basis.shape == (2 + 12, 2)
    assert not given.basis[2:].any()


def test_structures_without_tangents_follow_those_with() -> None:
    torch.manual_seed(0)
    extractor = FeatureExtractor(2, 6, 4, width=8, depth=2, coefficient=None).double()
    coordinates, tangents = scaling().coordinates_and_tangents(cells())
    mixed = observe(extractor, gather(coordinates, tangents[:2]))
    whole = observe(extractor, gather(coordinates, tangents))
    assert mixed.derivatives is not None
    assert whole.derivatives is not None
    torch.testing.assert_close(mixed.features, whole.features)
    torch.testing.assert_close(mixed.derivatives, whole.derivatives[:, :2])
    assert (mixed.n_values, mixed.n_derivatives) == (6, 12)
