import gpytorch
import numpy as np
import pytest
import torch

from ase_dkl import Dataset
from ase_dkl.arrays import Floats
from ase_dkl.benchmark.methods import BadMethod, checked, method
from ase_dkl.benchmark.methods.process import LARGEST_MATRIX, ExactProcess, ImageKernel, kernel_rows
from ase_dkl.dataset import mos2
from ase_dkl.model.records import BadTraining
from ase_dkl.model.space import Lattice
from ase_dkl.training.gp import BASIS_SCALE


class Stock(gpytorch.models.ExactGP):  # type: ignore[misc]
    """A Gaussian process as in GPyTorch's first example, with length scales for six inputs."""

    def __init__(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        super().__init__(inputs, labels, gpytorch.likelihoods.GaussianLikelihood())
        self.mean = gpytorch.means.ZeroMean()
        self.radial = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=6))
        self.constant = gpytorch.kernels.ConstantKernel()

    def forward(self, inputs: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean(inputs), self.radial(inputs) + self.constant(inputs))


@pytest.fixture(scope="module")
def coordinates(srtio3_dataset: Dataset) -> Floats:
    cells = srtio3_dataset.cells[:24]
    return Lattice.of(srtio3_dataset.crystal, cells, symmetry=False).coordinates(cells)


def test_without_symmetry_it_is_the_stock_process(coordinates: Floats) -> None:
    labels = np.sin(coordinates[:, 0]).sum(axis=1)
    rows = kernel_rows(coordinates, None, np.ones((24, 1)))
    process = ExactProcess(rows[:16], labels[:16], ImageKernel("rbf", np.eye(3)[None]))
    process.maximise_evidence(3, np.arange(16))
    points = torch.tensor(coordinates[:, 0])
    stock = Stock(points[:16], torch.tensor(labels[:16])).double()
    stock.likelihood.noise_covar.register_constraint("raw_noise", gpytorch.constraints.GreaterThan(1e-9))
    stock.likelihood.noise = process.noises()[0] ** 2
    stock.radial.outputscale = torch.exp(2 * process.covariance.log_scale).detach()
    stock.radial.base_kernel.lengthscale = process.covariance.log_lengthscales.exp().detach()
    stock.constant.constant = torch.tensor(BASIS_SCALE**2)
    answer = stock.eval()(points[16:])
    mean, uncertainty = process.marginals(rows[16:])
    np.testing.assert_allclose(mean, answer.mean.detach(), atol=1e-6)
    np.testing.assert_allclose(uncertainty**2, answer.covariance_matrix.diagonal().detach(), atol=1e-6)


@pytest.mark.parametrize("kind", ["rbf", "matern52"])
@pytest.mark.parametrize("one_sided", [True, False])
def test_sums_over_images_are_invariant_covariances(srtio3_dataset: Dataset, kind: str, one_sided: bool) -> None:
    """A cube, whose images exchange lattice parameters, and a hexagonal sheet, where they mix them."""
    dataset = srtio3_dataset if one_sided else Dataset.read(mos2())
    cells, crystal = dataset.cells[:8], dataset.crystal
    space = Lattice.of(crystal, cells)
    kernel = ImageKernel(kind, space.frame.images)
    assert kernel.one_sided == one_sided
    seen = space.seen_along_all(cells)
    rows = kernel_rows(seen.coordinates, seen.tangents, np.zeros((56, 1)))
    with torch.no_grad():
        covariances = kernel(rows, rows).to_dense()
        diagonal = kernel(rows, rows, diag=True)
    np.testing.assert_allclose(covariances, covariances.mT, atol=1e-9 * covariances.abs().max())
    np.testing.assert_allclose(covariances.diagonal(), diagonal, rtol=1e-6, atol=1e-9)
    assert torch.linalg.eigvalsh(covariances).min() > -1e-9 * covariances.abs().max()

    turned = space.frame.of(crystal.images[-1] @ crystal.vectors(cells))
    image_rows = kernel_rows(turned, None, np.zeros((8, 1)))
    with torch.no_grad():
        np.testing.assert_allclose(kernel(image_rows, rows).to_dense(), covariances[:8], atol=1e-9)


def test_length_scales_of_parameters_that_images_exchange_are_one(srtio3_dataset: Dataset) -> None:
    images = srtio3_dataset.crystal.images.astype(float)
    assert ImageKernel("rbf", images).which.tolist() == [0, 0, 0, 1, 1, 1]
    assert ImageKernel("rbf", images[:1]).which.tolist() == [0, 1, 2, 3, 4, 5]
    about_c = images[(np.abs(images)[:, 2, 2] == 1)]
    assert ImageKernel("rbf", about_c).which.tolist() == [0, 0, 1, 2, 2, 3]


def test_refuses_what_does_not_fit_in_memory() -> None:
    rows = torch.zeros(int(LARGEST_MATRIX**0.5) + 1, 14, dtype=torch.float64)
    with pytest.raises(BadTraining, match="Give fewer rows"):
        ExactProcess(rows, np.zeros(len(rows)), ImageKernel("rbf", np.eye(3)[None]))


@pytest.mark.parametrize("settings", [{"kernel": "linear"}, {"trend": "quartic"}])
def test_refuses_unknown_kernels_and_trends(srtio3_dataset: Dataset, settings: dict[str, str]) -> None:
    found = method("gradient_gp")
    with pytest.raises(BadMethod, match="choose one of"):
        found.fit(srtio3_dataset, checked(found, settings), 0)


def test_energies_and_stresses_find_the_offset(srtio3_dataset: Dataset) -> None:
    found = method("gradient_gp")
    model = found.fit(srtio3_dataset.subset(np.arange(8)), checked(found, {"steps": 20}), 0)
    # 0.23 GPa of Pulay stress in a cell of 61 Å³.
    assert model.stress_offset == pytest.approx(0.087, abs=0.02)
