import numpy as np
import pytest
from ase.build import bulk, graphene

from ase_dkl import Crystal
from ase_dkl.mechanics.along import Along, path_along, start_cell
from ase_dkl.mechanics.paths import BadScan, StrainPath


@pytest.fixture(scope="module")
def cubic() -> Crystal:
    return Crystal.from_atoms(bulk("Cu", cubic=True))


@pytest.fixture(scope="module")
def sheet() -> Crystal:
    return Crystal.from_atoms(graphene(vacuum=5.0))


@pytest.mark.parametrize(
    "along",
    ["xx=1,yy=-0.5,xy=0.2", " xx = 1, xy=2e-1 ,yy=-.5", [1, -0.5, 0, 0, 0, 0.2], np.array([1, -0.5, 0, 0, 0, 0.2])],
)
def test_directions_in_words_and_in_numbers(cubic: Crystal, along: Along) -> None:
    path = path_along(cubic, [along])
    assert isinstance(path, StrainPath)
    np.testing.assert_array_equal(path.directions, [[1, -0.5, 0, 0, 0, 0.2]])
    assert path.names == ("xx=1,yy=-0.5,xy=0.2",)


@pytest.mark.parametrize(
    ("along", "words"),
    [
        (["d"], "'d' is none of them"),
        (["a=1"], "'a=1' is none of them"),
        (["xx=1,xx=2"], "is none of them"),
        (["xx=1,"], "is none of them"),
        (["xx=much"], "'much' is not a number"),
        (["xx=0"], "not all of them zero"),
        (["xx=inf"], "must be finite"),
        ([[1, 0, 0]], r"has the shape \(3,\)"),
        (["area"], "Scan along its volume instead"),
        (["a", "a"], "Both directions of the grid are along a"),
        (["xx", "xx=-2"], "the same but for a factor"),
        (["a", "xx"], "not one of each"),
        (["volume", "xy"], "not one of each"),
        (["a", "d"], "'d' is none of them"),
    ],
)
def test_what_cannot_be_scanned_is_told_in_words(cubic: Crystal, along: list[Along], words: str) -> None:
    with pytest.raises(BadScan, match=words):
        path_along(cubic, along)


@pytest.mark.parametrize(
    ("along", "words"),
    [
        ("c", "not periodic along c"),
        ("alpha", "not periodic along c"),
        ("volume", "Scan along its area instead"),
        ("zz", "zz=1 reaches into the vacuum.*periodic along a, b"),
        ("xx=1,xz=0.1", "reaches into the vacuum"),
    ],
)
def test_sheets_have_what_lies_in_their_plane(sheet: Crystal, along: str, words: str) -> None:
    with pytest.raises(BadScan, match=words):
        path_along(sheet, [along])


def test_chains_have_a_length(sheet: Crystal) -> None:
    atoms = sheet.atoms()
    atoms.pbc = [True, False, False]
    chain = Crystal.from_atoms(atoms)
    assert path_along(chain, ["a"]).cells(np.array([[0.1]]))[0, 0] == pytest.approx(1.1 * sheet.cell[0])
    with pytest.raises(BadScan, match="Scan along its length instead"):
        path_along(chain, ["volume"])


def test_starts_are_cells(cubic: Crystal, sheet: Crystal) -> None:
    assert start_cell(cubic, None) is cubic.cell
    with pytest.raises(BadScan, match=r"shape \(3, 3\)"):
        start_cell(cubic, [1.0, 2.0])
    with pytest.raises(BadScan, match=r"shape \(3, 3\)"):
        start_cell(cubic, np.full((3, 3), np.nan))
    with pytest.raises(BadScan, match="this one is flat"):
        start_cell(cubic, np.ones((3, 3)))
    # Without a vacuum vector a sheet is not flat.
    assert start_cell(sheet, np.diag([1.0, 1.0, 0.0])).shape == (3, 3)
