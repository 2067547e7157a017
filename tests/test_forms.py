import ase.eos
import numpy as np
import pytest
from ase.eos import birchmurnaghan

from ase_dkl.mechanics.forms import KINDS, BadEquationOfState, Form, Kind

V = np.linspace(55.0, 66.0, 13)
TRUTH = (-39.5, 1.05, 4.4, 60.0)
"""E0 (eV), B0 (eV/Å³), B0', V0 (Å³) of a Birch–Murnaghan curve."""


@pytest.fixture(params=KINDS)
def form(request: pytest.FixtureRequest) -> Form:
    return Form.fit(request.param, V, birchmurnaghan(V, *TRUTH))


def test_there_are_those_of_ase() -> None:
    assert list(KINDS) == ase.eos.eos_names


def test_a_curve_of_its_own_form_comes_back() -> None:
    form = Form.fit("birchmurnaghan", V, birchmurnaghan(V, *TRUTH))
    np.testing.assert_allclose(form.parameters, TRUTH, rtol=1e-8)
    assert form.minimum == pytest.approx(60.0, rel=1e-8)


def test_every_form_is_what_ase_plots(form: Form) -> None:
    fit = ase.eos.EquationOfState(V, birchmurnaghan(V, *TRUTH), eos=form.kind)
    _, _, v0, _, x, y, _, _ = fit.getplotdata()
    np.testing.assert_allclose(form.energy(x), y, rtol=0, atol=1e-6)
    assert form.minimum == pytest.approx(v0, rel=1e-6)


def test_derivatives_along_the_volume_agree_with_differences(form: Form) -> None:
    x, h = np.array([57.0, 60.0, 64.0]), 0.1
    zeroth, first, second, third, fourth = form.along_volume(x, 4)
    np.testing.assert_allclose(zeroth, form.energy(x), rtol=1e-9)
    np.testing.assert_allclose(first, (form.energy(x + h) - form.energy(x - h)) / (2 * h), atol=1e-5)
    for higher, lower in ((second, 1), (third, 2), (fourth, 3)):
        ahead, behind = form.along_volume(x + h, 3)[lower], form.along_volume(x - h, 3)[lower]
        np.testing.assert_allclose(higher, (ahead - behind) / (2 * h), rtol=1e-3, atol=1e-9)


def test_derivatives_of_birch_murnaghan_are_exact_at_the_minimum() -> None:
    e0, b0, bp, v0 = TRUTH
    derivatives = Form("birchmurnaghan", np.array(TRUTH), v0).along_volume(np.array([v0]), 3)[:, 0]
    np.testing.assert_allclose(derivatives, [e0, 0, b0 / v0, -(1 + bp) * b0 / v0**2], rtol=1e-9, atol=1e-9 * b0)


def test_derivatives_along_the_parameters_agree_with_differences(form: Form) -> None:
    by_parameters = form.by_parameters(V)
    along = form.along_volume_by_parameters(V, 1)
    # Sums of terms that cancel: each column to the rounding of its largest number.
    scale = np.abs(by_parameters).max(axis=0)
    np.testing.assert_allclose(along[0] / scale, by_parameters / scale, rtol=0, atol=1e-9)
    for i, parameter in enumerate(form.parameters):
        step = np.zeros(4)
        step[i] = 1e-5 * abs(parameter)
        up, down = (Form(form.kind, form.parameters + s, form.minimum) for s in (step, -step))
        np.testing.assert_allclose(
            by_parameters[:, i], (up.energy(V) - down.energy(V)) / (2 * step[i]), rtol=1e-4, atol=1e-6
        )
        slopes = (up.along_volume(V, 1)[1] - down.along_volume(V, 1)[1]) / (2 * step[i])
        np.testing.assert_allclose(along[1, :, i], slopes, rtol=1e-4, atol=1e-6)


def test_response_says_how_a_fit_moves(form: Form) -> None:
    energies = birchmurnaghan(V, *TRUTH)
    noise = 1e-5 * np.random.default_rng(0).standard_normal(len(V))
    up, down = (Form.fit(form.kind, V, energies + sign * noise) for sign in (1, -1))
    moved = form.by_parameters(V) @ form.response(V) @ noise
    np.testing.assert_allclose(moved, (up.energy(V) - down.energy(V)) / 2, atol=2e-8)


def test_a_minimum_outside_the_points_is_found() -> None:
    form = Form.fit("birchmurnaghan", V[:6], birchmurnaghan(V[:6], *TRUTH))
    assert V[5] < form.minimum
    assert form.minimum == pytest.approx(60.0, rel=1e-6)


class TestRefusals:
    def test_an_unknown_form(self) -> None:
        with pytest.raises(BadEquationOfState, match=r"no equation of state 'birch-murnaghan'\. ASE has sj, taylor"):
            Form.fit("birch-murnaghan", V, birchmurnaghan(V, *TRUTH))  # type: ignore[arg-type]

    def test_too_few_points(self) -> None:
        with pytest.raises(BadEquationOfState, match="4 points are too few"):
            Form.fit("vinet", V[:4], birchmurnaghan(V[:4], *TRUTH))

    @pytest.mark.parametrize("kind", KINDS)
    def test_no_minimum(self, kind: Kind) -> None:
        with pytest.raises(BadEquationOfState, match="no minimum when fitted between 55 and 66"):
            Form.fit(kind, V, -0.1 * V - 1e-4 * (V - 50) ** 2)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_hill(self, kind: Kind) -> None:
        with pytest.raises(BadEquationOfState, match="no minimum"):
            Form.fit(kind, V, -birchmurnaghan(V, *TRUTH))
