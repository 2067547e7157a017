from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ase_dkl import Dataset, Scan, Surrogate, scan_along, srtio3
from ase_dkl.mechanics.scan import Points, points_on_line
from ase_dkl.plots import axis_label, scan_figure


@pytest.fixture(scope="module")
def scan(surrogate: Surrogate) -> Scan:
    return scan_along(surrogate, "a", np.linspace(-0.2, 0.2, 41), stress=False)


@pytest.fixture(scope="module")
def points(surrogate: Surrogate) -> Points:
    rows = Dataset.read(srtio3(), select="set=scan_a", reference=surrogate.crystal)
    return points_on_line(surrogate, "a", rows)


def xy(line: Line2D) -> NDArray[np.float64]:
    return np.asarray(line.get_xydata())


def test_line_and_band_are_the_prediction(scan: Scan) -> None:
    axes, _ = scan_figure([scan], [None], "title").axes
    mean = scan.prediction.energy - scan.prediction.energy.min()
    np.testing.assert_array_equal(xy(axes.lines[0]), np.column_stack([scan.coordinate, mean]))
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)
    middle = band[band[:, 0] == scan.coordinate[20], 1]
    assert np.ptp(middle) == pytest.approx(4 * scan.prediction.energy_uncertainty[20])


def test_labels_and_their_errors_are_drawn(scan: Scan, points: Points) -> None:
    energy, error = scan_figure([scan], [points], "title").axes
    drawn = xy(energy.lines[-1])
    np.testing.assert_array_equal(drawn[:, 0], points.coordinate)
    np.testing.assert_allclose(drawn[:, 1], points.energies - scan.prediction.energy.min())
    np.testing.assert_allclose(xy(error.lines[-1])[:, 1], 1e3 * points.errors)


def test_extrapolation_is_shaded_where_it_is(scan: Scan) -> None:
    axes, _ = scan_figure([scan], [None], "title").axes
    shaded = np.array([p.get_x() + p.get_width() / 2 for p in axes.patches if isinstance(p, Rectangle)])
    inside = scan.coordinate[~scan.outside]
    assert scan.outside[[0, -1]].all()
    assert len(shaded) == scan.outside.sum()
    assert not ((shaded > inside[0]) & (shaded < inside[-1])).any()


@pytest.mark.parametrize(
    ("along", "label"),
    [("b", "Å"), ("beta", "β (°)"), ("volume", "Å³"), ("zz", "strain ε"), ("xz", "engineering shear")],
)
def test_axes_carry_units(along: str, label: str) -> None:
    assert label in axis_label(along)


def test_every_axis_is_labelled_and_the_figure_saves(scan: Scan, points: Points, tmp_path: Path) -> None:
    figure = scan_figure([scan, scan], [points, None], "title")
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "x.png")
    upper_left, _, lower_left, lower_right = figure.axes
    assert "eV" in upper_left.get_ylabel()
    assert "meV" in lower_left.get_ylabel()
    assert "Å" in lower_left.get_xlabel() == lower_right.get_xlabel()
