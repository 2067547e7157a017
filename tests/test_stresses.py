import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from ase.units import Bohr, GPa, Hartree, Ry
from scipy.spatial.transform import Rotation
from strained import Labelled, labelled, unstrained

from ase_dkl import BadDataset, Dataset
from ase_dkl.arrays import Floats
from ase_dkl.dataset import mgo_slab, mos2, silicon, srtio3_direct
from ase_dkl.dataset.stresses import contradiction, meanings
from ase_dkl.dataset.units import far_apart

CASES = Path(__file__).parent / "cases"
VASP = [0, 1, 2, 5, 3, 4]
"""Where each component of VASP's order stands in ASE's."""


def fault(rows: Dataset | Labelled, stresses: Floats | None = None, energies: Floats | None = None) -> str | None:
    crystal = rows.crystal
    energies = rows.energies if energies is None else energies
    stresses = rows.stresses if stresses is None else stresses
    found = meanings(crystal.images, crystal.periodic, rows.cells, energies, stresses)
    return contradiction(found, len(crystal.periodic), crystal.atoms(rows.cells[0]), np.arange(len(rows.cells)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("si24_GPa", "they are 160.2 times too large, as if in GPa"),
        ("si24_sign", "they are of the opposite sign."),
        ("si24_order", "they are in the order xx yy zz xy yz zx (VASP's)."),
        ("phosphorene_18", "they are 18 times too small, as with another vacuum or thickness"),
    ],
)
def test_small_sets_of_wrong_stresses_are_refused(name: str, words: str) -> None:
    with pytest.raises(BadDataset) as caught:
        Dataset.read(CASES / f"{name}.xyz")
    assert words in str(caught.value)
    assert "--stress ignore" in str(caught.value)
    assert not Dataset.read(CASES / f"{name}.xyz", stress=False).has_stress.any()


@pytest.mark.parametrize("name", ["si24_eV", "phosphorene_ok", "quartz_ab", "chain", "aims_au"])
def test_small_sets_of_right_stresses_are_not(name: str) -> None:
    assert Dataset.read(CASES / f"{name}.xyz").has_stress.all()


@pytest.fixture(scope="module")
def shipped(srtio3_dataset: Dataset) -> list[Dataset]:
    clamped, relaxed = (Dataset.read(silicon(), select=f"ions={ions}") for ions in ("clamped", "relaxed"))
    return [srtio3_dataset, *map(Dataset.read, (srtio3_direct(), mos2(), mgo_slab())), clamped, relaxed]


@pytest.mark.parametrize("n", [5, 8, 24, 1000])
def test_shipped_stresses_agree_with_their_energies(shipped: list[Dataset], n: int) -> None:
    for dataset in shipped:
        assert fault(dataset.subset(np.random.default_rng(n).permutation(len(dataset))[:n])) is None


@pytest.mark.parametrize("n", [12, 64])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: -d.stresses, "they are of the opposite sign."),
        (lambda d: d.stresses / GPa, "as if in GPa"),
        (lambda d: 10 * d.stresses / GPa, "as if in kbar"),
        (lambda d: d.stresses * Bohr**3 / Hartree, "as if in Hartree/Bohr³"),
        (lambda d: d.stresses * Bohr**3 / Ry, "as if in Ry/Bohr³"),
        (lambda d: d.stresses * np.linalg.det(d.cells)[:, None], "as if virials (stress times volume)"),
        (lambda d: -d.stresses * np.linalg.det(d.cells)[:, None], "(stress times volume); of the opposite sign"),
        (lambda d: d.stresses[:, VASP], "they are in the order xx yy zz xy yz zx (VASP's)."),
        (lambda d: d.stresses[:, [0, 1, 2, 4, 3, 5]], "they are in the order xx yy zz xz yz xy."),
        (lambda d: d.stresses[:, [0, 5, 4, 1, 3, 2]], "they are in the order xx xy xz yy yz zz."),
        (
            lambda d: -10 * d.stresses[:, VASP] / GPa,
            "as if in kbar; of the opposite sign; in the order xx yy zz xy yz zx",
        ),
        (lambda d: Ry * d.stresses, "as if the energies were in Ry"),
        (lambda d: Hartree * d.stresses, "as if the energies were in Hartree"),
        (lambda d: 5 * d.stresses, "as if the energies were per atom"),
        (lambda d: 7.3 * d.stresses, "they are 7."),
    ],
)
def test_what_stresses_are_is_named(
    srtio3_dataset: Dataset, n: int, spoil: Callable[[Dataset], Floats], words: str
) -> None:
    rows = srtio3_dataset.subset(np.arange(n))
    assert words in str(fault(rows, spoil(rows)))


def test_the_stiffness_by_either_kind_of_label_is_told(srtio3_dataset: Dataset) -> None:
    """C₁₁ is 312 GPa, and the shares of the strain in others are stiffer or softer."""
    rows = srtio3_dataset.subset(np.arange(24))
    words = str(fault(rows, energies=rows.energies / Ry))
    by_stresses, by_energies = map(float, re.findall(r"(\d+) GPa, by the energies (\d+)\.", words)[0])
    assert 250 < by_stresses < 500
    assert by_stresses / by_energies == pytest.approx(Ry, rel=0.05)


def test_cells_in_bohr_are_named(srtio3_dataset: Dataset) -> None:
    rows = srtio3_dataset.subset(np.arange(24))
    assert far_apart(rows.crystal.atoms(rows.crystal.cell / Bohr))
    assert "too large, as if the cells were in Bohr" in str(fault(replace(rows, cells=rows.cells / Bohr)))


@pytest.mark.parametrize(
    "atoms", [*unstrained()[10:], bulk("Cs"), bulk("Ar"), bulk("Hg"), bulk("NaCl", "rocksalt", a=5.64)]
)
def test_only_lengths_in_bohr_are_far(atoms: Atoms) -> None:
    assert not far_apart(atoms)


def test_stresses_of_other_rows_are_no_derivatives(srtio3_dataset: Dataset) -> None:
    rows = srtio3_dataset.subset(np.arange(24))
    assert "no smooth function of the lattice." in str(fault(rows, np.roll(rows.stresses, 1, axis=0)))


def test_the_row_that_the_others_contradict_is_named(srtio3_dataset: Dataset) -> None:
    rows = srtio3_dataset.subset(np.arange(24))
    stresses = rows.stresses.copy()
    stresses[17] *= -10
    assert "no smooth function of the lattice, most of it in row 17" in str(fault(rows, stresses))


def test_stresses_are_judged_in_any_orientation(srtio3_dataset: Dataset) -> None:
    rows = srtio3_dataset.subset(np.arange(24))
    turns = Rotation.random(len(rows), random_state=5).as_matrix()
    stresses = full_3x3_to_voigt_6_stress(turns.mT @ voigt_6_to_full_3x3_stress(rows.stresses) @ turns)
    turned = replace(rows, cells=rows.cells @ turns)
    assert fault(turned, stresses) is None
    assert "opposite sign" in str(fault(turned, -stresses))


def test_some_stresses_are_enough(srtio3_dataset: Dataset) -> None:
    rows = srtio3_dataset.subset(np.arange(24))
    stresses = np.where(np.arange(24)[:, None] % 3 == 1, rows.stresses, np.nan)
    assert fault(rows, stresses) is None
    assert "as if in GPa" in str(fault(rows, stresses / GPa))


def test_labels_that_cannot_tell_are_let_through(srtio3_dataset: Dataset) -> None:
    rows = srtio3_dataset.subset(np.arange(24))
    assert fault(rows, energies=np.full(24, -30.0)) is None
    assert fault(rows.subset(np.arange(2)), -rows.stresses[:2]) is None
    assert fault(rows.without_stresses()) is None


@pytest.mark.parametrize("seed", range(15))
def test_random_crystals(seed: int) -> None:
    """Right labels pass, whatever the symmetry, strain, noise and offset; wrong ones do not."""
    rng = np.random.default_rng(seed)
    rows = labelled(
        unstrained()[seed],
        rng,
        size=float(np.exp(rng.uniform(np.log(0.003), np.log(0.1)))),
        n=int(rng.integers(12, 30)),
        noise=float(rng.choice([0, 0.001, 0.03])),
        offset=float(rng.choice([0, 0.5])),
    )
    assert fault(rows) is None
    assert "as if in GPa" in str(fault(rows, rows.stresses / GPa))
    assert "opposite sign" in str(fault(rows, -rows.stresses))
    if len(rows.crystal.periodic) == 3:
        assert "VASP's" in str(fault(rows, rows.stresses[:, VASP]))
