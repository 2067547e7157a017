from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ase_dkl.arrays import Floats
from ase_dkl.figures.elastic import strength_figure, young_modulus_figure
from ase_dkl.mechanics.directional import directional_young_modulus
from ase_dkl.mechanics.loading import Shear, Tension
from ase_dkl.mechanics.strength import IdealStrength

COPPER = np.zeros((6, 6))
COPPER[:3, :3] = 121
np.fill_diagonal(COPPER, [168] * 3 + [75] * 3)
COVARIANCE = np.diag(np.full(36, 4.0))


@pytest.fixture
def strong() -> IdealStrength:
    strains = np.linspace(0, 0.2, 41)
    return IdealStrength(
        loading=Tension((0, 0, 1)),
        relaxed=True,
        strains=strains,
        cells=np.broadcast_to(np.eye(3), (41, 3, 3)),
        stress_GPa=10 * np.sin(strains / 0.1 * np.pi / 2),
        covariance=np.diag(strains**2),
        strength_GPa=10.0,
        strength_GPa_std=0.1,
        strain_at_strength=0.1,
        strain_at_strength_std=0.01,
        ending="At a strain of 0.200 the training data end.",
        formula="Cu",
    )


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


def test_strength_is_marked_with_its_error_bars(strong: IdealStrength, tmp_path: Path) -> None:
    figure = strength_figure([strong], "x")
    (axes,) = figure.axes
    np.testing.assert_array_equal(np.asarray(axes.lines[0].get_xydata())[:, 1], strong.stress_GPa)
    middle = band(axes)[np.isclose(band(axes)[:, 0], strong.strains[20])][:, 1]
    assert np.ptp(middle) == pytest.approx(4 * strong.stress_std_GPa[20])
    assert any(np.array_equal(line.get_xydata(), [[0.1, 10.0]]) for line in axes.lines)
    assert "10.00 ± 0.10 GPa" in figure.legends[0].get_texts()[0].get_text()
    assert "GPa" in axes.get_ylabel()
    figure.savefig(tmp_path / "x.png")


def test_a_path_without_maximum_says_so(strong: IdealStrength) -> None:
    none = replace(
        strong,
        loading=Shear((1, 1, 1), (1, 1, -2)),
        relaxed=False,
        strength_GPa=None,
        strength_GPa_std=None,
        strain_at_strength=None,
        strain_at_strength_std=None,
    )
    figure = strength_figure([strong, none], "x")
    text = figure.legends[0].get_texts()[1].get_text()
    assert text == "shear of (1 1 1) along [1 1 -2], other strains zero: no maximum"
