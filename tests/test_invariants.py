import numpy as np
import pytest
from ase.build import bulk, mx2

from ase_dkl import Crystal
from ase_dkl.arrays import Floats
from ase_dkl.crystal.invariants import DECAY, UNIT, Invariants
from ase_dkl.crystal.lattice import metric, strained
from ase_dkl.model.mean import Sextic
from ase_dkl.model.space import Lattice

CRYSTALS = {
    "cubic": bulk("Cu", cubic=True),
    "primitive": bulk("Cu"),
    "hexagonal": bulk("Mg"),
    "sheet": mx2("MoS2", vacuum=5),
}
STRAIN = {1: [0], 2: [0, 1, 5], 3: [0, 1, 2, 3, 4, 5]}


@pytest.fixture(scope="module", params=list(CRYSTALS))
def crystal(request: pytest.FixtureRequest) -> Crystal:
    return Crystal.from_atoms(CRYSTALS[request.param])


@pytest.fixture(scope="module")
def cells(crystal: Crystal) -> Floats:
    """Periodic rows of strained lattices, far from the unstrained one."""
    strains = np.zeros((5, 6))
    kept = STRAIN[crystal.dimension]
    strains[:, kept] = np.random.default_rng(0).uniform(-0.15, 0.15, (5, len(kept)))
    return crystal.vectors(strained(crystal.cell, strains))


@pytest.fixture(scope="module")
def invariants(crystal: Crystal) -> Invariants:
    return of(crystal, degree=6)


def of(crystal: Crystal, *, degree: int) -> Invariants:
    return Invariants.of(metric(crystal.vectors(crystal.cell)), crystal.images.astype(float), degree)


def values_of(invariants: Invariants, cells: Floats) -> Floats:
    return invariants.functions(cells, np.zeros((0, 6, 6)))[0]


def hencky_of(crystal: Crystal, cells: Floats) -> Floats:
    """½ log C in a frame of the unstrained lattice, by eigenvalues."""
    root = np.linalg.inv(np.linalg.cholesky(metric(crystal.vectors(crystal.cell))))
    sizes, axes = np.linalg.eigh(root @ metric(cells) @ root.T)
    return np.asarray(axes * 0.5 * np.log(sizes)[:, None] @ axes.mT)


def turned(crystal: Crystal, matrices: Floats) -> Floats:
    """Strains in the same frame under every image, shape (g, n, d, d)."""
    factor = np.linalg.cholesky(metric(crystal.vectors(crystal.cell)))
    turns = np.linalg.inv(factor) @ crystal.images @ factor
    return np.asarray(turns[:, None] @ matrices @ turns.mT[:, None])


def test_there_are_as_many_as_molien_says(crystal: Crystal, invariants: Invariants) -> None:
    # Σ_k (number of degree k) t^k = mean over the group of 1 / det(1 − t R)
    d = len(crystal.periodic)
    i, j = np.triu_indices(d)
    units = np.zeros((len(i), d, d))
    units[np.arange(len(i)), i, j] = units[np.arange(len(i)), j, i] = 1
    actions = turned(crystal, units)[..., i, j].mT
    radius, points = 0.5, 64
    circle = radius * np.exp(2j * np.pi * np.arange(points) / points)
    series = np.mean(1 / np.linalg.det(np.eye(len(i)) - circle[:, None, None, None] * actions), axis=1)
    counts = (np.fft.fft(series) / points / radius ** np.arange(points)).real[:7]
    assert [1, *(each.mixing.shape[1] for each in invariants.degrees)] == counts.round().tolist()
    assert counts == pytest.approx(counts.round(), abs=1e-6)


def test_no_image_changes_them(crystal: Crystal, cells: Floats, invariants: Invariants) -> None:
    expected = values_of(invariants, cells)
    assert (expected.std(axis=0)[1:] > 0).all()
    for image in crystal.images:
        assert values_of(invariants, image @ cells) == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_the_covariance_they_make_is_a_mean_over_images(crystal: Crystal, cells: Floats) -> None:
    sizes, axes = np.linalg.eigh(hencky_of(crystal, cells))
    strains = axes * np.tanh(sizes)[:, None] @ axes.mT / UNIT
    products = np.einsum("nij,gmij->gnm", strains, turned(crystal, strains))
    for degree in range(1, 7):
        invariants = of(crystal, degree=degree)
        functions = values_of(invariants, cells)[:, -invariants.degrees[-1].mixing.shape[1] :]
        expected = DECAY ** (2 * max(degree - 2, 0)) * (products**degree).mean(axis=0)
        assert functions @ functions.T == pytest.approx(expected, rel=1e-8)


def test_derivatives_along_strains(cells: Floats, invariants: Invariants) -> None:
    directions = np.random.default_rng(1).normal(size=(len(cells) - 1, 2, 6))
    values, slopes = invariants.functions(cells, directions)
    assert values == pytest.approx(values_of(invariants, cells))
    full = np.pad(cells, ((0, 0), (0, 3 - cells.shape[1]), (0, 0)))[:-1]
    rows = cells.shape[1]
    for t in range(2):
        ahead, behind = (values_of(invariants, strained(full, s * directions[:, t])[:, :rows]) for s in (1e-5, -1e-5))
        assert slopes[:, t] == pytest.approx((ahead - behind) / 2e-5, rel=1e-5, abs=1e-6)


def test_rotations_change_nothing(cells: Floats, invariants: Invariants) -> None:
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3))).Q
    assert values_of(invariants, cells @ rotation) == pytest.approx(values_of(invariants, cells))


def test_strains_are_about_a_metric_that_no_image_changes(crystal: Crystal, cells: Floats) -> None:
    whole = np.zeros((len(cells), 3, 3))
    whole[:, crystal.pbc] = cells
    space = Lattice.of(crystal, whole)
    assert space.metric is not None
    for image in crystal.images:
        assert image @ space.metric @ image.T == pytest.approx(space.metric)
    assert Sextic(space).independent(cells).shape == (of(crystal, degree=6).count,) * 2


def test_a_chain_has_one_of_each_degree() -> None:
    chain = Invariants.of(np.array([[9.0]]), np.ones((1, 1, 1)), 6)
    assert chain.count == 7
    length = np.array([3.0, 3.3])
    strain = (length**2 - 9) / (length**2 + 9) / UNIT
    expected = np.array([strain**k * DECAY ** max(k - 2, 0) for k in range(7)]).T
    assert values_of(chain, length[:, None, None] * np.eye(3)[:1]) == pytest.approx(expected)
