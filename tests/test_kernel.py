import pytest
import torch

from ase_dkl.model.kernel import (
    covariances,
    covariances_row_by_row,
    covariances_with_values,
    functional_rows,
    variances,
)
from ase_dkl.model.records import KERNELS
from ase_dkl.training.gp import Observations, SparseGP
from ase_dkl.training.variational import RadialKernel


def process(kind: str) -> SparseGP:
    made = SparseGP(points(6), kind, torch.tensor([[[0.3]], [[-0.2]]], dtype=torch.float64))
    with torch.no_grad():
        made.log_scale.copy_(torch.tensor([[[0.4]], [[-0.5]]]))
    return made


def points(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KERNELS)
def test_values_are_the_textbook_kernel(kind: str) -> None:
    a, b = points(4), points(5, 1)
    gp = process(kind)
    distance = torch.cdist(a, b) / gp.log_lengthscale.exp()
    if kind == "rbf":
        expected = torch.exp(-0.5 * distance**2)
    else:
        scaled = 5**0.5 * distance
        expected = (1 + scaled + scaled**2 / 3) * torch.exp(-scaled)
    covariance = RadialKernel(gp).forward(functional_rows(a), functional_rows(b))
    torch.testing.assert_close(covariance, (2 * gp.log_scale).exp() * expected)


@pytest.mark.parametrize("kind", KERNELS)
def test_derivatives_are_those_of_the_kernel(kind: str) -> None:
    a, b, made = points(4), points(5, 1), RadialKernel(process(kind))
    v, w = points(4, 2), points(5, 3)
    step = 1e-4

    def value(s: float, t: float) -> torch.Tensor:
        return made.forward(functional_rows(a + s * v), functional_rows(b + t * w))

    rows = functional_rows(a, v.unsqueeze(2)), functional_rows(b, w.unsqueeze(2))
    covariance = made.forward(*rows)
    slope = (value(step, 0) - value(-step, 0)) / (2 * step)
    torch.testing.assert_close(covariance[:, 4:, :5], slope, rtol=1e-6, atol=1e-7)
    mixed = (value(step, step) - value(step, -step) - value(-step, step) + value(-step, -step)) / (4 * step**2)
    torch.testing.assert_close(covariance[:, 4:, 5:], mixed, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KERNELS)
def test_the_quick_paths_agree_with_the_general_one(kind: str) -> None:
    centres, features = points(6), points(4, 1)
    derivatives = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    rows = functional_rows(features, derivatives)
    full = covariances(kind, rows, rows)
    quick = covariances_with_values(kind, features, derivatives, centres)
    torch.testing.assert_close(quick, covariances(kind, rows, functional_rows(centres)))
    torch.testing.assert_close(variances(kind, features, derivatives), full.diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(covariances_row_by_row(kind, rows, rows), full.diagonal(dim1=1, dim2=2))


@pytest.mark.parametrize("kind", KERNELS)
def test_numpy_and_torch_agree(kind: str) -> None:
    centres, features = points(6), points(4, 1)
    derivatives = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    expected = covariances_with_values(kind, features, derivatives, centres).numpy()
    found = covariances_with_values(kind, features.numpy(), derivatives.numpy(), centres.numpy())
    # Distances are small differences of squares, which two libraries round apart.
    assert found == pytest.approx(expected, abs=1e-10)
    rows = functional_rows(features, derivatives)
    assert covariances(kind, rows.numpy(), rows.numpy()) == pytest.approx(covariances(kind, rows, rows), abs=1e-10)


@pytest.mark.parametrize("kind", KERNELS)
def test_scale_and_length_scale_mean_the_same_everywhere(kind: str) -> None:
    gp, features = process(kind), points(4, 1)
    derivatives = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    given = Observations(features, derivatives, torch.zeros(24, 1))
    made, rows = RadialKernel(gp), functional_rows(features, derivatives)
    torch.testing.assert_close(gp.cross_covariances(given), made.forward(rows, functional_rows(gp.inducing_points)))
    torch.testing.assert_close(gp.prior_variances(given), made.forward(rows, rows, diag=True))


@pytest.mark.parametrize("kind", KERNELS)
def test_covariances_of_values_and_derivatives_are_positive(kind: str) -> None:
    rows = functional_rows(points(6), torch.randn(2, 6, 4, 3, dtype=torch.float64))
    covariance = RadialKernel(process(kind)).forward(rows, rows)
    torch.testing.assert_close(covariance, covariance.mT)
    assert torch.linalg.eigvalsh(covariance).min() > -1e-12


def test_matern_gradient_is_finite_where_points_coincide() -> None:
    features = points(3).requires_grad_()
    covariances_with_values("matern52", features, None, features).sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
