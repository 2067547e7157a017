from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from springs import Springs, free
from test_ionic_lattice import saddle

from ase_dkl.figures.phonons import phonons_figure
from ase_dkl.mechanics.phonons import phonons
from ase_dkl.mechanics.structure import relaxed_structure


def test_bars_are_two_standard_deviations(tmp_path: Path) -> None:
    springs = Springs(free(molecule("CH4")), 2.3, np.array([[0, 6.0, -8, 1]]), np.array([[0.03, 0.1, 0.5, 0.1]]))
    found = phonons(springs)
    figure = phonons_figure(found, "CH4")
    left, right = figure.axes[:2]
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["modes 7–9 (×3)", "modes 10–11 (×2)", "modes 12–14 (×3)", "mode 15"]
    bars: list[Any] = list(right.patches)
    for bar, group in zip(bars, found.groups, strict=True):
        assert bar.get_width() == pytest.approx(2 * group.frequency_THz_std)
    (lines,) = (container[2][0] for container in left.containers)
    for (start, end), group in zip(lines.get_segments(), found.groups, strict=True):
        assert (start[0] + end[0]) / 2 == pytest.approx(group.frequency_THz)
        assert (end[0] - start[0]) / 4 == pytest.approx(group.frequency_THz_std)
    figure.savefig(tmp_path / "x.png")


def test_imaginary_ones_are_told(tmp_path: Path) -> None:
    springs = saddle()
    figure = phonons_figure(phonons(springs, structure=relaxed_structure(springs, fixed_cell=True, saddle=True)), "x")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["imaginary, ± 2σ"]
    figure.savefig(tmp_path / "x.png")
