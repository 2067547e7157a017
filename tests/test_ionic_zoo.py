"""Free ions of every dimension and of odd data: energies have the forces and stresses that are told, or words come."""

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from made import displaced, labelled

from ase_dkl import Crystal, Dataset, IonConfig, IonicSurrogate, fit_ions
from ase_dkl.arrays import Floats
from ase_dkl.crystal.lattice import STRAIN_GENERATORS
from ase_dkl.model.pairs import Pairs
from ase_dkl.model.records import BadTraining

STEP = 1e-4
QUICK = IonConfig(n_inducing=40)


def rows(atoms: Atoms, n: int = 12, *, size: float = 0.05) -> list[Atoms]:
    found = displaced(atoms, n, size=size)
    if not atoms.pbc.all():
        # Strains along what is periodic.
        for each, share in zip(found, np.random.default_rng(1).uniform(-0.02, 0.02, n), strict=True):
            each.set_cell(each.cell.array * (1 + share * each.pbc)[:, None])
            each.positions[:, each.pbc] *= 1 + share
    properties = ("energy", "forces", "stress") if atoms.pbc.all() else ("energy", "forces")
    return [labelled(each, *properties) for each in found]


def trained(structures: list[Atoms]) -> IonicSurrogate:
    return fit_ions(Dataset.from_atoms(structures, ions="free"), QUICK, progress=False)


def dimer() -> Atoms:
    atoms: Atoms = molecule("N2")
    return atoms


def carbon_dioxide() -> Atoms:
    atoms: Atoms = molecule("CO2")
    return atoms


def chain() -> Atoms:
    """Straight: no motion across it changes a length."""
    return Atoms("CuAuCu", cell=[7.5, 15, 15], positions=[[x, 7.5, 7.5] for x in (0, 2.5, 5)], pbc=(True, False, False))


def zigzag() -> Atoms:
    return Atoms("CuAu", cell=[4, 15, 15], positions=[[0, 7.5, 7.5], [2, 9, 7.5]], pbc=(True, False, False))


def low_symmetry() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.symbols = "CuAuAgNi"
    atoms.positions += np.random.default_rng(3).normal(scale=0.1, size=(4, 3))
    return atoms


def one_atom() -> Atoms:
    return bulk("Cu")


@pytest.mark.parametrize("make", [dimer, carbon_dioxide, chain, zigzag, low_symmetry, one_atom])
def test_slopes_are_the_energys(make: Callable[[], Atoms]) -> None:
    model = trained(rows(make()))
    points = model.points[:2]
    means, stds = model.marginals(points, True)
    assert np.isfinite(stds).all()

    def slope(change: Floats) -> Floats:
        ahead, behind = (model.marginals(points + sign * STEP * change, False)[0][:, 0] for sign in (1, -1))
        return np.asarray((ahead - behind) / (2 * STEP))

    for ion in range(len(model.crystal.numbers)):
        for axis in range(3):
            change = np.zeros_like(points)
            change[:, 3 + ion, axis] = 1
            assert slope(change) == pytest.approx(means[:, 7 + 3 * ion + axis], abs=2e-6)
    for j in range(6):
        assert slope(points @ STRAIN_GENERATORS[j]) == pytest.approx(means[:, 1 + j], abs=1e-5)
    forces = -means[:, 7:].reshape(2, -1, 3)
    assert np.abs(forces.sum(axis=1)).max() < 1e-9
    torques = np.cross(points[:, 3:], forces).sum(axis=1)
    assert model.crystal.dimension or np.abs(torques).max() < 1e-8


def test_flat_and_straight_structures_are_held_by_their_pairs() -> None:
    for atoms in (graphene("BN", a=2.5, vacuum=8), graphene("C2", a=2.46, vacuum=8), chain(), molecule("C6H6")):
        space = Pairs.of(Crystal.from_atoms(atoms, ions="free"))
        assert space.is_rigid


def test_few_frames_of_a_bent_molecule_are_bent() -> None:
    for seed in range(8):
        frames = displaced(molecule("H2O"), 2, size=0.06, seed=seed)
        assert Crystal.from_strained(frames).space_group == "C2v"


class TestOddData:
    def test_rows_with_one_label_each(self) -> None:
        found = rows(bulk("Cu", cubic=True), 12)
        for i, atoms in enumerate(found):
            name = ("energy", "forces", "stress")[i % 3]
            atoms.calc = SinglePointCalculator(atoms, **{name: atoms.calc.results[name]})
        model = trained(found)
        assert model.report.n_forces == 4
        assert model.report.n_stress == 4

    def test_one_structure_again_and_again(self) -> None:
        atoms = labelled(molecule("N2"), "energy", "forces")
        with pytest.raises(BadTraining, match="no distance between ions changes"):
            trained([atoms] * 6)

    @pytest.mark.parametrize("n_inducing", [1, 100_000])
    def test_inducing_environments_of_a_molecule_are_no_more_than_its_labels(self, n_inducing: int) -> None:
        data = Dataset.from_atoms(rows(molecule("H2O"), 6))
        model = fit_ions(data, IonConfig(n_inducing=n_inducing), progress=False)
        assert 1 <= len(model.process.weights) - 2 <= 6 * 4

    def test_what_takes_more_memory_than_there_is_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = Dataset.from_atoms(rows(bulk("Cu", cubic=True), 3))
        with pytest.raises(BadTraining, match=r"10000000 inducing environments takes about .* smaller n_inducing"):
            fit_ions(data, IonConfig(n_inducing=10**7), progress=False)
        monkeypatch.setattr("ase_dkl.training.fit_ions.MUCH", 1)
        fit_ions(data, QUICK, progress=False)
        assert "GiB of memory" in caplog.text

    def test_no_structures_have_no_predictions(self) -> None:
        found = trained(rows(molecule("H2O"), 6)).predict([])
        assert found.forces is not None
        assert found.forces.shape[0] == len(found.energy) == 0

    def test_seeds_are_not_negative(self) -> None:
        with pytest.raises(BadTraining, match="seed is -1"):
            IonConfig(seed=-1)
