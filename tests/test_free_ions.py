"""Crystals, molecules and clusters whose ions are free: which atom is which, and what data sets of them hold."""

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.cluster import Icosahedron
from commands import Command
from made import displaced, labelled

from ase_dkl import BadDataset, Crystal, Dataset, TrainConfig, fit
from ase_dkl.arrays import Floats
from ase_dkl.crystal import BadReference, DisplacedIons, NotThisCrystal
from ase_dkl.dataset.about import About
from ase_dkl.model.records import BadTraining

LABELS = ("energy", "forces", "stress")
MOVED = 0.06


def turn(rng: np.random.Generator) -> Floats:
    """A random rotation."""
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return np.asarray(q * np.sign(np.linalg.det(q)))


def salt() -> Atoms:
    """Eight ions: EMT has an alloy with their structure."""
    return bulk("CuAu", "rocksalt", a=4.6, cubic=True)


def computed(atoms: Atoms, by: Calculator | None = None) -> list[Atoms]:
    labels = LABELS if atoms.pbc.all() else LABELS[:2]
    return [labelled(each, *labels, by=by) for each in displaced(atoms)]


class TestReference:
    @pytest.mark.parametrize(
        ("name", "group", "operations"),
        [
            ("H2O", "C2v", 4),
            ("NH3", "C3v", 6),
            ("CH4", "Td", 24),
            ("C6H6", "D6h", 24),
            ("C2H6", "D3d", 12),
            ("C2H4", "D2h", 8),
            ("H2O2", "C2", 2),
            ("CH3CH2OH", "Cs", 2),
            ("C3H4_D2d", "D2d", 8),
            ("BF3", "D3h", 12),
            ("CO2", "D∞h", 4),
            ("CO", "C∞v", 2),
        ],
    )
    def test_point_groups(self, name: str, group: str, operations: int) -> None:
        crystal = Crystal.from_atoms(molecule(name), ions="free")
        assert (crystal.space_group, len(crystal.operations.rotations)) == (group, operations)
        self.check_operations(crystal)

    def test_a_cluster(self) -> None:
        crystal = Crystal.from_atoms(Icosahedron("Cu", 2), ions="free")
        assert (crystal.space_group, crystal.dimension, crystal.kind.name) == ("Ih", 0, "cluster")
        assert len(crystal.operations.rotations) == 120
        self.check_operations(crystal)

    def test_frames_turned_anyhow_have_a_symmetric_mean(self) -> None:
        rng = np.random.default_rng(1)
        frames = displaced(molecule("C6H6"), 50, size=0.08)
        for atoms in frames:
            atoms.positions = atoms.positions @ turn(rng) + rng.normal(size=3)
        crystal = Crystal.from_strained(frames)
        assert (crystal.ions, crystal.space_group) == ("free", "D6h")
        assert crystal.mobile.all()
        # Bonds of displaced atoms are longer by the variance across them, some 2 σ²/d.
        assert crystal.atoms().get_distance(0, 1) == pytest.approx(molecule("C6H6").get_distance(0, 1), abs=0.02)

    @pytest.mark.parametrize(("name", "group"), [("CO2", "D∞h"), ("C2H2", "D∞h"), ("HCN", "C∞v"), ("NH3", "C3v")])
    def test_lines_are_straight_though_they_bend_and_pyramids_are_not_flat(self, name: str, group: str) -> None:
        assert Crystal.from_strained(displaced(molecule(name), 40, size=0.04)).space_group == group

    def test_a_single_atom(self) -> None:
        with pytest.raises(BadReference, match="single atom"):
            Crystal.from_atoms(Atoms("Cu"), ions="free")

    def test_supercells_stay_as_they_are_and_know_their_translations(self) -> None:
        crystal = Crystal.from_strained(displaced(bulk("Cu").repeat(2), 30))
        assert crystal.ions == "relaxed"
        crystal = Crystal.from_strained(displaced(bulk("Cu").repeat(2), 30), ions="free")
        assert (len(crystal.numbers), crystal.space_group) == (8, "Fm-3m (225)")
        assert len(crystal.operations.rotations) == 8 * 48
        self.check_operations(crystal)

    def check_operations(self, crystal: Crystal) -> None:
        found, atoms = crystal.operations, crystal.atoms()
        for rotation, shift, permutation in zip(found.rotations, found.translations, found.permutations, strict=True):
            off = atoms.positions @ rotation + shift - atoms.positions[permutation]
            if crystal.dimension:
                off = off @ np.linalg.inv(crystal.cell)
                off -= np.rint(off)
            assert np.abs(off).max() < 1e-6

    def test_without_symmetry_there_is_the_identity(self) -> None:
        for atoms in (molecule("H2O"), salt()):
            for crystal in (
                Crystal.from_atoms(atoms, ions="free", symmetry=False),
                Crystal.from_atoms(atoms, ions="free").without_symmetry(),
            ):
                assert crystal.operations.permutations.tolist() == [list(range(len(atoms)))]

    @pytest.mark.parametrize("atoms", [molecule("H2O"), salt()], ids=["molecule", "crystal"])
    def test_saved_and_read(self, atoms: Atoms) -> None:
        crystal = Crystal.from_atoms(atoms, ions="free", mobile=[1])
        again = Crystal.from_dict(crystal.to_dict())
        assert again.to_dict() == crystal.to_dict()
        assert again.mobile.tolist() == crystal.mobile.tolist()
        assert len(again.operations.rotations) == len(crystal.operations.rotations)

    def test_relaxed_ions_have_no_molecule(self) -> None:
        with pytest.raises(BadReference, match=r"--ions free"):
            Crystal.from_atoms(molecule("H2O"), ions="relaxed")


class TestMobile:
    def slab(self) -> list[Atoms]:
        slab = fcc111("Cu", (2, 2, 3), vacuum=6)
        slab.pbc = (True, True, False)
        rng, found = np.random.default_rng(0), []
        for _ in range(10):
            atoms = slab.copy()
            atoms.positions[8:] += 0.05 * rng.normal(size=(4, 3))
            found.append(atoms)
        return found

    def test_ions_that_move_are_found(self) -> None:
        crystal = Crystal.from_strained(self.slab(), ions="free")
        assert np.flatnonzero(crystal.mobile).tolist() == [8, 9, 10, 11]
        assert (crystal.mobile[crystal.operations.permutations] == crystal.mobile).all()

    @pytest.mark.parametrize("named", [[8, 9, 10, 11], "8-11", ["8-9", 10, 11]])
    def test_or_named(self, named: str | list[str | int]) -> None:
        crystal = Crystal.from_strained(self.slab(), mobile=named)
        assert crystal.ions == "free"
        assert np.flatnonzero(crystal.mobile).tolist() == [8, 9, 10, 11]
        assert Crystal.from_strained(self.slab(), mobile="Cu").mobile.all()

    @pytest.mark.parametrize(
        ("named", "words"), [("Xe", "names no ion"), ([12], "numbered from 0 to 11"), ("-1", "names no")]
    )
    def test_names_of_nothing(self, named: str | list[int], words: str) -> None:
        with pytest.raises(BadReference, match=words):
            Crystal.from_strained(self.slab(), mobile=named)

    def test_an_ion_that_is_held_must_stay(self) -> None:
        structures = self.slab()
        crystal = Crystal.from_strained(structures, ions="free")
        atoms = structures[0].copy()
        assert crystal.map(atoms).displacement < 0.3
        atoms.positions[2, 2] += 0.02
        with pytest.raises(DisplacedIons, match=r"Atom 2 .* is 0\.0\d+ Å from its place.* hold it"):
            crystal.map(atoms)


def alike(first: Atoms, second: Atoms) -> bool:
    """Whether two structures are one but for rotation, translation and order of atoms: EMT tells."""
    energies = []
    for atoms in (first, second):
        copy = atoms.copy()
        copy.calc = EMT()
        energies.append(copy.get_potential_energy())
    return bool(abs(energies[0] - energies[1]) < 1e-6)


def as_atoms(crystal: Crystal, point: Floats) -> Atoms:
    cell = point[:3] if crystal.dimension else None
    return Atoms(crystal.numbers, point[3:], cell=cell, pbc=crystal.pbc)


class TestMap:
    """A structure written down in any way is the same structure, and its forces are found back."""

    @pytest.fixture(params=["crystal", "supercell", "sheet", "cluster"])
    def structure(self, request: pytest.FixtureRequest) -> tuple[Crystal, Atoms]:
        reference = {
            "crystal": salt(),
            "supercell": bulk("Cu", cubic=True).repeat((2, 1, 1)),
            "sheet": fcc111("Au", (2, 2, 2), vacuum=5),
            "cluster": Icosahedron("Cu", 2),
        }[request.param]
        if request.param == "sheet":
            reference.pbc = (True, True, False)
        crystal = Crystal.from_atoms(reference, ions="free")
        return crystal, displaced(reference, 1, size=0.05)[0]

    def check(self, crystal: Crystal, atoms: Atoms) -> None:
        mapped = crystal.map(atoms)
        assert mapped.point.shape == (3 + len(crystal.numbers), 3)
        assert mapped.displacement < 0.3
        assert (crystal.numbers[mapped.sites] == atoms.numbers).all()
        again = as_atoms(crystal, mapped.point)
        copies = round(mapped.multiplicity)
        for each in (atoms, again):
            each.calc = EMT()
        energy = again.get_potential_energy()
        assert atoms.get_potential_energy() == pytest.approx(copies * energy, abs=1e-6)
        # In the structure's own frame: no rotation between the two.
        np.testing.assert_allclose(atoms.get_forces(), again.get_forces()[mapped.sites], atol=1e-6)
        if crystal.pbc.all():
            np.testing.assert_allclose(atoms.get_stress(), again.get_stress(), atol=1e-9)
            assert np.linalg.det(mapped.cell) > 0
        near = mapped.point[3:] - self.sites(crystal, mapped.point)
        if crystal.dimension > 1:
            assert np.linalg.norm(near - near.mean(axis=0), axis=1).max() == pytest.approx(
                mapped.displacement, abs=1e-6
            )

    def sites(self, crystal: Crystal, point: Floats) -> Floats:
        frame = point[:3].copy()
        if crystal.dimension == 2:
            frame[2] = np.cross(frame[0], frame[1])
            frame[2] /= np.linalg.norm(frame[2])
        return np.asarray(crystal.scaled_positions @ frame)

    def test_as_it_is(self, structure: tuple[Crystal, Atoms]) -> None:
        self.check(*structure)

    def test_turned_shifted_and_wrapped(self, structure: tuple[Crystal, Atoms]) -> None:
        crystal, atoms = structure[0], structure[1].copy()
        rotation = turn(np.random.default_rng(3))
        atoms.set_cell(atoms.cell.array @ rotation)
        atoms.positions = atoms.positions @ rotation + [0.3, -1.2, 0.7]
        if atoms.pbc.any():
            atoms.wrap()
        self.check(crystal, atoms)

    def test_in_another_order(self, structure: tuple[Crystal, Atoms]) -> None:
        crystal, atoms = structure
        self.check(crystal, atoms[np.random.default_rng(5).permutation(len(atoms))])

    @pytest.mark.parametrize("basis", [[[0, 1, 0], [1, 0, 0], [0, 0, 1]], [[1, 1, 0], [0, 1, 0], [0, 0, 1]]])
    def test_in_another_basis(self, structure: tuple[Crystal, Atoms], basis: list[list[int]]) -> None:
        crystal, atoms = structure[0], structure[1].copy()
        if crystal.dimension:
            atoms.set_cell(np.array(basis) @ atoms.cell.array)
            self.check(crystal, atoms)

    def test_a_supercell_whose_displacements_repeat(self, structure: tuple[Crystal, Atoms]) -> None:
        crystal, atoms = structure
        if not crystal.dimension:
            return
        double = atoms.repeat((2, 1, 1))
        self.check(crystal, double)
        assert crystal.map(double).multiplicity == 2
        double.positions[0] += 0.02
        with pytest.raises(NotThisCrystal, match="no repetition of one cell"):
            crystal.map(double)

    def test_the_primitive_cell_of_a_supercell(self) -> None:
        crystal = Crystal.from_atoms(bulk("Cu", cubic=True).repeat((2, 1, 1)), ions="free")
        mapped = crystal.map(bulk("Cu"))
        assert mapped.multiplicity == pytest.approx(1 / 8)
        assert mapped.displacement < 1e-6

    def test_where_atoms_have_changed_places(self) -> None:
        ethanol = molecule("CH3CH2OH")
        crystal = Crystal.from_atoms(ethanol, ions="free")
        broken = ethanol.copy()
        broken.positions[3] += 1.5 * (broken.positions[3] - broken.positions[2])
        with pytest.raises(NotThisCrystal):
            crystal.map(broken)
        torn = Crystal.from_atoms(bulk("Cu", cubic=True).repeat(2), ions="free")
        atoms = torn.atoms()
        atoms.positions[0] += [0.9, 0.9, 0]
        with pytest.raises(NotThisCrystal, match=r"changed places|change places"):
            torn.map(atoms)

    def test_a_group_that_turns_about_a_bond_is_no_other_molecule(self) -> None:
        ethanol = molecule("CH3CH2OH")
        crystal = Crystal.from_atoms(ethanol, ions="free")
        turned = ethanol.copy()
        bonds = ethanol.get_all_distances()
        methyl = [i for i in range(9) if ethanol.symbols[i] == "H" and bonds[i, 1] < 1.2]
        assert len(methyl) in {2, 3}
        start = int(methyl[0])
        turned.rotate_dihedral(start, 1, 0, 2, 40, indices=methyl)
        mapped = crystal.map(turned)
        assert mapped.sites.tolist() == list(range(9))
        np.testing.assert_allclose(
            as_atoms(crystal, mapped.point).get_all_distances(), turned.get_all_distances(), atol=1e-9
        )


class TestDataset:
    @pytest.mark.parametrize("atoms", [salt(), Icosahedron("Cu", 2)], ids=["crystal", "cluster"])
    def test_labels_are_the_rows(self, atoms: Atoms) -> None:
        rows = computed(atoms)
        data = Dataset.from_atoms(rows)
        assert data.crystal.ions == "free"
        assert data.points.shape == (12, 3 + len(atoms), 3)
        assert data.has_energy.all()
        assert data.has_forces.all()
        assert data.has_stress.all() == atoms.pbc.all()
        np.testing.assert_allclose(data.forces, [each.get_forces() for each in rows], atol=1e-9)
        np.testing.assert_allclose(data.energies, [each.get_potential_energy() for each in rows], atol=1e-9)
        assert data.warnings == ()

    def test_another_order_and_a_supercell(self) -> None:
        rows = computed(salt())
        whole = Dataset.from_atoms(rows)
        shuffled = rows[3][np.random.default_rng(1).permutation(8)]
        rows[3] = labelled(shuffled, *LABELS)
        rows[5] = labelled(rows[5].repeat((1, 2, 1)), *LABELS)
        data = Dataset.from_atoms(rows, reference=whole.crystal)
        np.testing.assert_allclose(data.energies, whole.energies, atol=1e-8)
        found, wanted = (np.sort(np.linalg.norm(each.forces, axis=2)) for each in (data, whole))
        np.testing.assert_allclose(found, wanted, atol=1e-7)  # any of the symmetric ways to lay them is as good

    def test_rows_may_lack_any_label(self) -> None:
        rows = computed(salt())
        del rows[1].calc.results["energy"]
        del rows[2].calc.results["forces"]
        del rows[3].calc.results["stress"]
        data = Dataset.from_atoms(rows, ions="free")
        assert np.flatnonzero(~data.has_energy).tolist() == [1]
        assert np.flatnonzero(~data.has_forces).tolist() == [2]
        assert np.flatnonzero(~data.has_stress).tolist() == [3]
        assert any("Without an energy: 1 row: 1" in words for words in data.warnings)
        train, test = data.split(0.25, seed=0)
        both = train.joined(test)
        assert len(both) == 12
        assert both.points.shape == data.points.shape
        assert not data.without_forces().has_forces.any()
        assert data.without_forces().has_energy.sum() == 11

    def test_forces_alone(self) -> None:
        rows = computed(salt())
        for atoms in rows:
            del atoms.calc.results["energy"], atoms.calc.results["stress"]
        data = Dataset.from_atoms(rows)
        assert data.crystal.ions == "free"
        assert not data.has_energy.any()
        assert data.has_forces.all()

    def test_energies_alone_do_not_do(self) -> None:
        rows = computed(Icosahedron("Cu", 2))
        for atoms in rows:
            del atoms.calc.results["forces"]
        with pytest.raises(BadDataset, match="No row has forces"):
            Dataset.from_atoms(rows)

    def test_nothing_moves(self) -> None:
        rows = [labelled(atoms, *LABELS) for atoms in displaced(salt(), size=0)]
        assert Dataset.from_atoms(rows).crystal.ions == "clamped"
        with pytest.raises(BadDataset, match="All ions keep their fractional coordinates"):
            Dataset.from_atoms(rows, ions="free")

    def test_the_mean_force_is_taken_off(self) -> None:
        rows = computed(salt())
        rows[4].calc.results["forces"] = rows[4].get_forces() + np.array([0.1, 0, 0])
        data = Dataset.from_atoms(rows)
        (warning,) = data.warnings
        assert "do not sum to zero: the mean force on an ion is up to 0.1 eV/Å in 1 row: 4" in warning
        np.testing.assert_allclose(data.forces.sum(axis=1), 0, atol=1e-9)

    def test_what_is_said_of_ions_is_one_of_four_things(self) -> None:
        with pytest.raises(ValueError, match="ions='loose': say auto, clamped, relaxed, free"):
            Dataset.from_atoms(computed(salt()), ions="loose")  # type: ignore[arg-type]

    def test_a_given_crystal_knows_what_its_ions_do(self) -> None:
        rows = computed(salt())
        crystal = Dataset.from_atoms(rows).crystal
        assert Dataset.from_atoms(rows[:1], reference=crystal).crystal is crystal
        with pytest.raises(BadReference, match=r"ions='clamped' was asked for, but .* are free"):
            Dataset.from_atoms(rows, reference=crystal, ions="clamped")

    def test_a_model_of_lattices_is_not_trained_on_them(self) -> None:
        with pytest.raises(BadTraining, match="ions are free: fit_ions"):
            fit(Dataset.from_atoms(computed(salt())), TrainConfig(networks=1, steps=1), progress=False)


class TestFewerDimensions:
    def polymer(self) -> list[Atoms]:
        """A zigzag of carbon along x, turned about it and elsewhere in every frame."""
        rng, found = np.random.default_rng(2), []
        for _ in range(12):
            atoms = Atoms("C2H4", cell=[2.5 * (1 + 0.02 * rng.uniform(-1, 1)), 0, 0], pbc=(True, False, False))
            atoms.positions = [
                [0.6, 0.4, 0],
                [1.9, -0.4, 0],
                [0.6, 1.0, 0.9],
                [0.6, 1.0, -0.9],
                [1.9, -1.0, 0.9],
                [1.9, -1.0, -0.9],
            ] + 0.04 * rng.normal(size=(6, 3))
            atoms.rotate(rng.uniform(0, 360), "x")
            atoms.positions += [rng.uniform(0, 5), *rng.normal(size=2)]
            found.append(labelled(atoms, "energy", "forces"))
        return found

    def test_a_chain(self) -> None:
        data = Dataset.from_atoms(self.polymer(), ions="free")
        assert data.crystal.dimension == 1
        assert data.points.shape == (12, 9, 3)
        for row, point, forces in zip(self.polymer(), data.points, data.forces, strict=True):
            again = as_atoms(data.crystal, point)
            again.calc = EMT()
            assert again.get_potential_energy() == pytest.approx(row.get_potential_energy(), abs=1e-6)
            np.testing.assert_allclose(again.get_forces(), forces, atol=1e-6)

    def test_an_adsorbate_on_a_slab_that_is_held_below(self) -> None:
        slab = fcc111("Cu", (2, 2, 3), vacuum=6)
        add_adsorbate(slab, "O", 1.2, "fcc")
        slab.pbc = (True, True, False)
        rng, rows = np.random.default_rng(1), []
        for _ in range(30):
            atoms = slab.copy()
            atoms.positions[4:] += 0.05 * rng.normal(size=(len(atoms) - 4, 3))
            rows.append(labelled(atoms, "energy", "forces"))
        data = Dataset.from_atoms(rows)
        assert data.crystal.ions == "free"
        assert np.flatnonzero(~data.crystal.mobile).tolist() == [0, 1, 2, 3]
        assert data.crystal.space_group == "p3m1 (layer group 69)"
        assert len(data.crystal.operations.rotations) == 6
        # What holds the fixed layer has forces too; nothing is taken off.
        np.testing.assert_allclose(data.forces, [atoms.get_forces() for atoms in rows], atol=1e-9)
        about = About.of(data)
        assert about.mobile == tuple(range(4, 13))
        assert about.displacement_rms_A == pytest.approx(0.05 * 3**0.5, rel=0.1)


class TestMoleculeInABox:
    """As plane-wave codes have it: periodic, and cut by the faces of the box."""

    def boxed(self) -> tuple[list[Atoms], list[Atoms]]:
        free = [labelled(atoms, "energy", "forces") for atoms in displaced(molecule("C6H6"), 12, size=0.05)]
        boxed = []
        for atoms in free:
            box = Atoms(atoms.symbols, atoms.positions + np.array([0.2, 19.5, 7.0]), cell=[20, 20, 20], pbc=True)
            box.wrap()
            results = {name: atoms.calc.results[name] for name in ("energy", "forces")}
            box.calc = SinglePointCalculator(box, stress=np.full(6, 1e-6), **results)
            boxed.append(box)
        return free, boxed

    @pytest.mark.parametrize("pbc", [None, "FFF"])
    def test_data(self, pbc: str | None) -> None:
        free, boxed = self.boxed()
        wanted, data = Dataset.from_atoms(free), Dataset.from_atoms(boxed, pbc=pbc)
        assert (data.crystal.space_group, data.crystal.dimension) == ("D6h", 0)
        np.testing.assert_allclose(data.points, wanted.points, atol=1e-6)
        np.testing.assert_allclose(data.forces, wanted.forces, atol=1e-9)
        assert not data.has_stress.any()
        assert [words for words in data.warnings if "read as a molecule" in words] == list(data.warnings)
        assert len(data.warnings) == (pbc is None)

    def test_structures(self) -> None:
        free, boxed = self.boxed()
        crystal = Crystal.from_strained(free)
        for one, other in zip(free, boxed, strict=True):
            np.testing.assert_allclose(crystal.map(other).point, crystal.map(one).point, atol=1e-9)


class TestCommands:
    def test_info_of_data(self, tmp_path: Path) -> None:
        ase.io.write(tmp_path / "cluster.xyz", computed(Icosahedron("Cu", 2)))
        printed = json.loads(Command().run("info", tmp_path / "cluster.xyz", "--json").stdout)
        wanted = {"space_group": "Ih", "n_operations": 120, "ions": "free", "n_forces": 12, "n_stress": 0}
        assert wanted.items() <= printed.items()
        shown = Command().run("info", tmp_path / "cluster.xyz").stdout
        assert "12; 12 with energies, 12 with forces, 0 with stresses" in shown
        named = json.loads(Command().run("info", tmp_path / "cluster.xyz", "--mobile", "0-12", "--json").stdout)
        assert named["mobile"] == list(range(13))

    def test_of_relaxed_ions_there_is_no_such_data(self, tmp_path: Path) -> None:
        ase.io.write(tmp_path / "crystal.xyz", computed(salt()))
        result = Command().run("info", tmp_path / "crystal.xyz", "--ions", "relaxed")
        assert result.exit_code == 1
        assert "--ions free" in " ".join(result.output.split())
