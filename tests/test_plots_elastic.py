from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ase_dkl.arrays import Floats
from ase_dkl.figures.elastic import young_modulus_figure
from ase_dkl.mechanics.directional import directional_young_modulus

COPPER = np.zeros((6, 6))
COPPER[:3, :3] = 121
np.fill_diagonal(COPPER, [168] * 3 + [75] * 3)
COVARIANCE = np.diag(np.full(36, 4.0))


def band(axes: Any) -> Floats:
    return np.asarray(axes.collections[0].get_paths()[0].vertices)


def test_sections_show_the_modulus_and_its_band(tmp_path: Path) -> None:
    figure = young_modulus_figure(COPPER, COVARIANCE, "Cu")
    sections = [axes for axes in figure.axes if axes.name == "polar"]
    assert len(sections) == 3
    expected, std = directional_young_modulus(COPPER, COVARIANCE, [[1, 0, 0], [1, 1, 0]])
    for axes in sections:
        angle, modulus = np.asarray(axes.lines[0].get_xydata()).T
        np.testing.assert_allclose(modulus[[0, 45]], expected)
        assert np.ptp(band(axes)[np.isclose(band(axes)[:, 0], angle[45])][:, 1]) == pytest.approx(4 * std[1])
    figure.savefig(tmp_path / "young.png")


def test_extremes_are_told_with_their_directions() -> None:
    words = young_modulus_figure(COPPER, COVARIANCE, "Cu").get_suptitle()
    assert "GPa along [0 0 1]" in words
    assert "GPa along [1 1 1]" in words
    assert "±" in words


def test_isotropic_crystals_have_a_figure(tmp_path: Path) -> None:
    isotropic = COPPER.copy()
    isotropic[3:, 3:] = np.eye(3) * 23.5
    young_modulus_figure(isotropic, COVARIANCE, "glass").savefig(tmp_path / "x.png")
