"""Rows whose ions are neither clamped nor relaxed, by their forces, or by energies at one lattice."""

from pathlib import Path
from typing import Literal

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from made import labelled

from ase_dkl import BadDataset, Crystal, Dataset, TrainConfig, elastic_constants, fit, silicon

LABELS = ("energy", "stress", "forces")

CASES = Path(__file__).parent / "cases"


def copper(shaken: float = 0.0, *, every: int = 1, size: float = 0.03, forces: bool = True) -> list[Atoms]:
    """Strained copper; ions of every so many structures are displaced at random, Å."""
    rng = np.random.default_rng(0)
    structures = []
    for i in range(24):
        atoms = bulk("Cu", a=3.6, cubic=True)
        strain = rng.uniform(-size, size, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        if i % every == 0:
            atoms.positions += rng.normal(0, shaken, (4, 3))
        structures.append(labelled(atoms, *LABELS[: 2 + forces]))
    return structures


def frames_of_silicon(ions: str) -> list[Atoms]:
    return [row.toatoms() for row in connect(silicon()).select(f"set=pool,ions={ions}")]


class TestRattledCopper:
    @pytest.mark.parametrize("shaken", [0.005, 0.02, 0.1])
    def test_alone_its_ions_are_free(self, shaken: float) -> None:
        rows = Dataset.from_atoms(copper(shaken))
        assert (rows.crystal.ions, len(rows), rows.points.shape) == ("free", 24, (24, 7, 3))
        assert rows.has_forces.all()

    @pytest.mark.parametrize("ions", ["relaxed", "clamped"])
    def test_it_is_refused_where_its_ions_are_said_to_be_something_else(
        self, ions: Literal["relaxed", "clamped"]
    ) -> None:
        """Trained on so, it gave C11 = 1035 GPa."""
        with pytest.raises(BadDataset, match=r"24 rows: .*--ions free") as error:
            Dataset.from_atoms(copper(0.02), ions=ions)
        assert "--select" not in str(error.value)

    def test_among_clamped_rows_it_is_left_out_by_a_selection(self) -> None:
        structures = copper(0.03, every=4)
        with pytest.raises(
            BadDataset, match=r"6 rows: 0, 4, 8, .* To keep 18 of the 24 rows: --select 'fmax<0\.\d+'"
        ) as e:
            Dataset.from_atoms(structures)
        rest = Dataset.from_atoms(structures, select=str(e.value).split("'")[1])
        assert rest.ids.tolist() == [i for i in range(24) if i % 4]
        assert rest.crystal.ions == "clamped"
        model = fit(rest, TrainConfig(networks=1, steps=60), progress=False)
        # EMT's own is 172.6; a network of so few steps is within 2 %.
        assert elastic_constants(model).C_GPa[0, 0] == pytest.approx(172.6, rel=0.02)

    def test_for_a_crystal_that_is_known(self) -> None:
        crystal = Crystal.from_atoms(bulk("Cu", a=3.6, cubic=True))
        with pytest.raises(BadDataset, match=r"Ions off the sites of the reference .* 24 rows: .*up to 0\.069 Å off"):
            Dataset.from_atoms(copper(0.02), reference=crystal)


class TestDisplacedIonsAndStrains:
    """As finite differences for phonons and elastic constants leave them in one file."""

    CASE = CASES / "ibrion6_hcp_cu.xyz"

    def test_displaced_rows_are_named_and_the_strained_ones_kept(self) -> None:
        with pytest.raises(BadDataset, match=r"12 rows: 1, 2, .*0\.0075 Å off .* displaced, as for phonons") as error:
            Dataset.read(self.CASE)
        rest = Dataset.read(self.CASE, select=str(error.value).split("'")[1])
        assert rest.ids.tolist() == [0, *range(13, 25)]
        assert (rest.crystal.ions, rest.crystal.space_group) == ("clamped", "P6_3/mmc (194)")

    def test_with_forces(self) -> None:
        structures = [labelled(atoms, *LABELS) for atoms in ase.io.iread(self.CASE)]
        with pytest.raises(BadDataset, match=r"12 rows: 1, 2, .* eV/Å"):
            Dataset.from_atoms(structures)


class TestRightSets:
    def test_clamped_ions_may_feel_forces(self) -> None:
        rows = Dataset.read(silicon(), select="ions=clamped")
        assert (len(rows), rows.crystal.ions) == (65, "clamped")

    def test_relaxed_ions_may_feel_what_relaxations_leave(self) -> None:
        structures = []
        for i, atoms in enumerate(frames_of_silicon("relaxed")):
            forces = np.random.default_rng(i).uniform(-0.03, 0.03, (2, 3))
            atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=forces)
            structures.append(atoms)
        rows = Dataset.from_atoms(structures)
        assert (len(rows), rows.crystal.ions) == (len(structures), "relaxed")

    def test_no_forces_no_words(self) -> None:
        structures = frames_of_silicon("relaxed")
        for atoms in structures:
            atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy())
        assert not any("force" in words or "relaxed" in words for words in Dataset.from_atoms(structures).warnings)

    def test_layers_that_a_relaxation_holds_may_feel_forces(self) -> None:
        """Only ions that have moved are to be without forces."""
        structures = []
        for atoms in frames_of_silicon("relaxed"):
            forces = np.zeros((4, 3))
            forces[:2] = 0.8
            double = atoms.repeat((1, 1, 2))
            double.set_scaled_positions(
                np.vstack([[[0, 0, 0], [0.25, 0.25, 0.125]], double.get_scaled_positions()[2:]])
            )
            double.calc = SinglePointCalculator(double, energy=2 * atoms.get_potential_energy(), forces=forces)
            structures.append(double)
        rows = Dataset.from_atoms(structures)
        assert rows.crystal.ions == "relaxed"


def test_clamped_rows_among_relaxed_ones_are_refused() -> None:
    with pytest.raises(BadDataset, match=r"Clamped and relaxed ions: .* forces up to 1\.5 eV/Å.*--select ions=clamped"):
        Dataset.read(silicon())


def test_a_model_of_relaxed_ions_takes_no_clamped_rows() -> None:
    relaxed = Dataset.read(silicon(), select="set=pool,ions=relaxed")
    with pytest.raises(BadDataset, match=r"not relaxed, where the model's are: .*forces up to 1\.5 eV/Å"):
        Dataset.read(silicon(), select="set=pool,ions=clamped", reference=relaxed.crystal)
    again = Dataset.read(silicon(), select="set=pool,ions=relaxed,id<40", reference=relaxed.crystal)
    np.testing.assert_array_equal(again.energies, relaxed.energies[: len(again)])


def test_a_relaxation_that_stopped_early_is_told() -> None:
    structures = []
    for i, atoms in enumerate(frames_of_silicon("relaxed")):
        forces = np.zeros((2, 3))
        forces[0, 0] = 0.52 if i == 11 else 0.0
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=forces)
        structures.append(atoms)
    with pytest.raises(BadDataset, match=r"neither clamped nor relaxed: 1 row: 11 .*--select 'fmax<0\.\d+'"):
        Dataset.from_atoms(structures)
