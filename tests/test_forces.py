"""Wrong labels of free ions are refused, in words that name what is wrong; right ones never are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.cluster import Icosahedron
from ase.units import Bohr, GPa, Hartree, Ry, kcal, mol
from made import displaced, labelled
from test_free_ions import LABELS

from ase_dkl import BadDataset, Dataset

Rows = list[Atoms]


def computed(atoms: Atoms, n: int) -> Rows:
    """Rows of EMT, with displacements and strains as people draw them."""
    wanted = LABELS if atoms.pbc.all() else LABELS[:2]
    return [labelled(each, *wanted) for each in displaced(atoms, n, size=0.08, strain=0.04, seed=7)]


CRYSTAL = computed(bulk("CuAu", "rocksalt", a=4.6, cubic=True), 30)
SUPERCELL = computed(bulk("Cu", cubic=True).repeat((2, 1, 1)), 30)
CLUSTER = computed(Icosahedron("Cu", 2), 30)
EVERY = {"crystal": CRYSTAL, "supercell": SUPERCELL, "cluster": CLUSTER}


def spoilt(rows: Rows, change: Callable[[int, dict[str, Any]], None]) -> Rows:
    """The same rows, with results that a function has changed in place."""
    found = []
    for i, atoms in enumerate(rows):
        copy, results = atoms.copy(), dict(atoms.calc.results)
        change(i, results)
        copy.calc = SinglePointCalculator(copy, **results)
        found.append(copy)
    return found


def times(**factors: float) -> Callable[[int, dict[str, Any]], None]:
    def change(_: int, results: dict[str, Any]) -> None:
        results.update({name: factor * results[name] for name, factor in factors.items()})

    return change


def in_another_order(_: int, results: dict[str, Any]) -> None:
    results["forces"] = np.roll(results["forces"], 3, axis=0)


def two_exchanged(_: int, results: dict[str, Any]) -> None:
    results["forces"] = results["forces"][[1, 0, *range(2, len(results["forces"]))]]


def in_another_frame(i: int, results: dict[str, Any]) -> None:
    results["forces"] = results["forces"] @ np.linalg.qr(np.random.default_rng(i).normal(size=(3, 3)))[0]


@pytest.mark.parametrize("rows", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("n", [5, 12, 30])
def test_right_labels(rows: Rows, n: int) -> None:
    data = Dataset.from_atoms(rows[:n], ions="free")
    assert data.has_forces.all()
    assert not any("force" in words for words in data.warnings)


@pytest.mark.parametrize("rows", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (times(forces=-1), "Forces push ions further away .* opposite sign"),
        (times(forces=Bohr / Hartree), r"too small, as if in Hartree/Bohr"),
        (times(forces=Bohr / Ry), r"too small, as if .*in Ry/Bohr"),
        (times(forces=mol / kcal), r"too large, as if .*in kcal/mol/Å"),
        (times(energy=1 / Hartree), r"too large, as if .*the energies were in Hartree"),
        (times(energy=mol / kcal), r"too small, as if .*the energies were in kcal/mol"),
        (in_another_order, "Forces do not pull ions back .* another order"),
        (in_another_frame, "Forces do not pull ions back .* another frame"),
        (two_exchanged, r"Forces on ions 0 \(Cu\), 1 \(\w+\) of the reference do not pull them back"),
        (times(forces=1e6), "ions are held by .* eV/Å² on average"),
    ],
)
def test_wrong_forces(rows: Rows, change: Callable[[int, dict[str, Any]], None], words: str) -> None:
    with pytest.raises(BadDataset, match=words) as error:
        Dataset.from_atoms(spoilt(rows, change), ions="free")
    assert "forces in eV/Å in the order and frame of the positions" in str(error.value)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("rows", EVERY.values(), ids=EVERY)
def test_the_sign_of_a_few_forces_alone(rows: Rows, n: int) -> None:
    def alone(sign: float) -> Rows:
        def change(_: int, results: dict[str, Any]) -> None:
            results["forces"] = sign * results["forces"]
            for name in ("energy", "stress", "free_energy", "energies"):
                results.pop(name, None)

        return spoilt(rows[:n], change)

    assert Dataset.from_atoms(alone(1)).has_forces.all()
    if n > 2:  # one pair of rows tells little
        with pytest.raises(BadDataset, match="opposite sign"):
            Dataset.from_atoms(alone(-1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (times(stress=-1), "opposite sign"),
        (times(stress=1 / GPa), "stiffness is about .* GPa, which no crystal has"),
    ],
)
@pytest.mark.parametrize("rows", [CRYSTAL, SUPERCELL], ids=["crystal", "supercell"])
def test_wrong_stresses(rows: Rows, change: Callable[[int, dict[str, Any]], None], words: str) -> None:
    with pytest.raises(BadDataset, match=words):
        Dataset.from_atoms(spoilt(rows, change), ions="free")


def test_stresses_in_another_order() -> None:
    with pytest.raises(BadDataset, match=r"do not answer their own strains: .* xx yy zz xy yz zx \(VASP's\)"):
        Dataset.from_atoms(
            spoilt(SUPERCELL, lambda _, r: r.update(stress=r["stress"][[0, 1, 2, 5, 3, 4]])), ions="free"
        )


def test_energies_of_other_rows() -> None:
    energies = [atoms.get_potential_energy() for atoms in CRYSTAL]

    def change(i: int, results: dict[str, Any]) -> None:
        results["energy"] = energies[i - 7]

    with pytest.raises(BadDataset, match="not the derivatives of the energies"):
        Dataset.from_atoms(spoilt(CRYSTAL, change), ions="free")


def test_forces_that_are_no_numbers_are_told() -> None:
    def change(i: int, results: dict[str, Any]) -> None:
        if i == 3:
            results["forces"] = np.full((8, 3), np.nan)
        if i == 4:
            results["forces"] = np.full((8, 3), 1e30)

    data = Dataset.from_atoms(spoilt(CRYSTAL, change), ions="free")
    assert np.flatnonzero(~data.has_forces).tolist() == [3, 4]
    assert any("Without forces: 2 rows: 3, 4" in words for words in data.warnings)


def test_forces_of_a_structure_of_another_size() -> None:
    def change(i: int, results: dict[str, Any]) -> None:
        if i == 2:
            results["forces"] = results["forces"][:5]

    with pytest.raises(BadDataset, match=r"Row 2 holds .*5 forces, .* on 8 atoms"):
        Dataset.from_atoms(spoilt(CRYSTAL, change), ions="free")


def test_one_energy_of_something_else() -> None:
    def change(i: int, results: dict[str, Any]) -> None:
        if i == 11:
            results["energy"] += 3.0

    with pytest.raises(BadDataset, match=r"differ from what forces on near rows say, by .* 1 row: 11\.") as error:
        Dataset.from_atoms(spoilt(CLUSTER, change))
    assert "To keep 29 of the 30 rows: --select 'id!=11'" in str(error.value)


def test_one_structure_twice() -> None:
    assert any(
        "The structure of an earlier row: 1 row: 30" in words
        for words in Dataset.from_atoms([*CLUSTER, CLUSTER[4]]).warnings
    )
    other = spoilt([CLUSTER[4]], times(energy=1.2))
    with pytest.raises(BadDataset, match=r"Rows 4 and 30 are one structure, and their energies differ by \d"):
        Dataset.from_atoms([*CLUSTER, *other])
