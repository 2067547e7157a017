"""One lattice has one energy, in whatever setting it is written down."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ase_dkl import Dataset, Surrogate, TrainConfig, fit
from ase_dkl.crystal import Crystal

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)
some = settings(derandomize=True, deadline=None, database=None, max_examples=12)


def tetragonal(ratio: float, volume: float = 11.6) -> Atoms:
    """Body-centred along the Bain path: cubic at c/a = 1, face-centred cubic at √2."""
    a = (2 * volume / ratio) ** (1 / 3)
    return Atoms("Cu2", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[a, a, a * ratio], pbc=True)


RATIOS = np.linspace(0.9, 1.7, 17)
PRIMITIVE = np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]])


def otherwise(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """The same body-centred lattice as a primitive, face-centred or larger cell in a random basis and order."""
    primitive = Atoms(atoms.symbols[:1], cell=PRIMITIVE @ atoms.cell.array, pbc=True)
    unimodular = np.eye(3, dtype=int)
    for _ in range(3):
        i, j = rng.choice(3, 2, replace=False)
        unimodular[i] += rng.integers(-1, 2) * unimodular[j]
    copies = [np.eye(3), np.diag([2, 1, 1]), [[0, 1, 1], [1, 0, 1], [1, 1, 0]], [[1, 1, 0], [-1, 1, 0], [0, 0, 2]]]
    other: Atoms = make_supercell(primitive, unimodular @ np.array(copies[rng.integers(4)], dtype=int))
    other.rotate(rng.uniform(0, 180), rng.normal(size=3), rotate_cell=True)
    other.translate(rng.normal(size=3))
    shuffled: Atoms = other[rng.permutation(len(other))]
    return shuffled


@pytest.fixture(scope="module")
def bain() -> Surrogate:
    rows = []
    for ratio in RATIOS:
        for volume in (11.2, 12.0):
            atoms = tetragonal(ratio, volume)
            atoms.calc = EMT()
            energy = atoms.get_potential_energy()
            atoms.calc = SinglePointCalculator(atoms, energy=energy)
            rows.append(atoms)
    return fit(Dataset.from_atoms(rows), TrainConfig(networks=1, steps=20), progress=False)


@given(ratio=st.floats(0.9, 1.7), seed=seeds)
@some
def test_a_lattice_along_the_bain_path_has_one_energy(bain: Surrogate, ratio: float, seed: int) -> None:
    atoms = tetragonal(ratio)
    other = otherwise(atoms, np.random.default_rng(seed))
    energies = [bain.predict(each, stress=False).energy[0] / len(each) for each in (atoms, other)]
    # Lattice vectors go through a rotation and a change of basis.
    assert energies[1] == pytest.approx(energies[0], rel=1e-9)
    mapped = bain.crystal.map(other)
    assert bain.extrapolation(mapped.cell[None]).excess.max() < 1e-9


@given(seed=seeds)
@some
def test_a_strained_lattice_is_taken_where_others_are_known(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference = tetragonal(1.523)
    known = reference.cell.array @ (np.eye(3) + rng.uniform(-0.03, 0.03, (40, 3, 3)))
    crystal = Crystal.from_atoms(reference).near(known)
    atoms = reference.copy()
    atoms.set_cell(known[0], scale_atoms=True)
    cell = crystal.map(otherwise(atoms, rng)).cell
    images = crystal.images @ (known[0] @ known[0].T) @ crystal.images.swapaxes(1, 2)
    assert np.isclose(cell @ cell.T, images, rtol=1e-9, atol=1e-9).all(axis=(1, 2)).any()


def test_rows_in_other_settings_are_put_beside_those_in_the_references() -> None:
    rows = [tetragonal(ratio) for ratio in RATIOS]
    rows[2:-1:3] = [atoms.repeat((1, 2, 1))[::-1] for atoms in rows[2:-1:3]]
    for atoms in rows:
        atoms.calc = SinglePointCalculator(atoms, energy=float(len(atoms)))
    cells = Dataset.from_atoms(rows).cells
    lengths = np.sort(np.linalg.norm(cells, axis=2), axis=1)
    wanted = np.sort([tetragonal(ratio).cell.lengths() for ratio in RATIOS], axis=1)
    np.testing.assert_allclose(lengths, wanted, rtol=1e-9)


def test_what_is_equivalent_leaves_the_motif_as_it_is() -> None:
    perovskite = Atoms(
        "SrTiO3",
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
        cell=[3.945] * 3,
        pbc=True,
    )
    # Shears by a whole cell exchange the oxygens with what is no oxygen.
    assert len(Crystal.from_atoms(perovskite).equivalents(1.4)) == 1
    simple = Crystal.from_atoms(Atoms("Po", cell=[3.3] * 3, pbc=True))
    assert len(simple.equivalents(1.0)) == 1
    assert len(simple.equivalents(1.4)) > 1
    for reference in (bulk("Cu"), bulk("Cu", cubic=True)):
        assert len(Crystal.from_atoms(reference).equivalents(1.0)) == 7
    assert len(Crystal.from_atoms(bulk("Cu"), symmetry=False).equivalents(1.0)) == 1
