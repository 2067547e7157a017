from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ase_dkl import Dataset, Scan, Surrogate, scan_along, srtio3
from ase_dkl.figures.plots import axis_label, grid_figure, scan_figure
from ase_dkl.mechanics.grid import Grid, scan_grid
from ase_dkl.mechanics.points import Points, points_on_line, points_on_plane


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


def test_labels_beyond_the_scan_are_not_drawn(surrogate: Surrogate, points: Points) -> None:
    short = scan_along(surrogate, "a", np.linspace(-0.02, 0.05, 8), stress=False)
    low, high = short.coordinate[[0, -1]]
    within = (points.coordinate > low) & (points.coordinate < high)
    assert 0 < within.sum() < len(within)
    for axes in scan_figure([short], [points], "title").axes:
        np.testing.assert_array_equal(xy(axes.lines[-1])[:, 0], points.coordinate[within])


def test_extrapolation_is_shaded_where_it_is(scan: Scan) -> None:
    axes, _ = scan_figure([scan], [None], "title").axes
    shaded = [(p.get_x(), p.get_x() + p.get_width()) for p in axes.patches if isinstance(p, Rectangle)]
    assert scan.outside[[0, -1]].all()
    assert not scan.outside[20]
    # A stretch of it is one patch, whatever the number of points.
    assert len(shaded) == 2
    within = np.any([(left < scan.coordinate) & (scan.coordinate < right) for left, right in shaded], axis=0)
    np.testing.assert_array_equal(within, scan.outside)


@pytest.mark.parametrize(
    ("along", "label"),
    [
        ("b", "Å"),
        ("beta", "β (°)"),
        ("volume", "Å³"),
        ("area", "Å²"),
        ("path", "length"),
        ("xx=1,yy=1", "xx=1,yy=1"),
        ("zz", "strain ε"),
        ("xz", "engineering shear"),
    ],
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


@pytest.fixture(scope="module")
def grid(surrogate: Surrogate) -> Grid:
    # Offsets need not be sorted.
    return scan_grid(surrogate, ("a", "alpha"), (np.linspace(0.2, -0.1, 9), np.linspace(-8, 8, 7)))


def test_maps_are_the_energy_and_its_uncertainty(grid: Grid) -> None:
    energy, std, energy_bar, std_bar = grid_figure(grid, None, "title").axes
    for axes, expected in ((energy, grid.energy - grid.energy.min()), (std, 1e3 * grid.energy_std)):
        drawn = axes.collections[0]
        assert isinstance(drawn, QuadMesh)
        assert drawn.get_array() is not None
        # Rows go along y; the first direction is along x, from its lowest value.
        np.testing.assert_array_equal(np.asarray(drawn.get_array()), expected[::-1].T)
        assert "Å" in axes.get_xlabel()
    assert "°" in energy.get_ylabel()
    assert "(eV" in energy_bar.get_ylabel()
    assert "(meV" in std_bar.get_ylabel()
    assert energy.get_xlim() == (grid.coordinates[0].min(), grid.coordinates[0].max())
    assert "extrapolation" in energy.get_title(loc="left")


def test_labels_are_dots_in_the_colours_of_the_maps(grid: Grid, surrogate: Surrogate, tmp_path: Path) -> None:
    rows = Dataset.read(srtio3(), select="set=scan_alpha", reference=surrogate.crystal)
    points = points_on_plane(surrogate, ("a", "alpha"), rows)
    figure = grid_figure(grid, points, "title")
    energy, error = (axes.collections[-1] for axes in figure.axes[:2])
    np.testing.assert_allclose(np.asarray(energy.get_offsets()), points.coordinate)
    np.testing.assert_allclose(np.asarray(energy.get_array()), points.energies - grid.energy.min())
    floor = 1e3 * grid.energy_std.min()
    np.testing.assert_allclose(np.asarray(error.get_array()), np.maximum(1e3 * np.abs(points.errors), floor))
    assert energy.norm is figure.axes[0].collections[0].norm
    figure.savefig(tmp_path / "x.png")


def test_nothing_is_hatched_where_the_model_knows(surrogate: Surrogate) -> None:
    offsets = np.linspace(-0.02, 0.02, 3)
    inside = scan_grid(surrogate, ("xx", "yy"), (offsets, offsets))
    figure = grid_figure(inside, None, "title")
    assert not inside.outside.any()
    assert "extrapolation" not in figure.axes[0].get_title(loc="left")
