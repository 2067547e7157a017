import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, mx2

from ase_dkl.crystal.setting import Setting


def setting(atoms: Atoms, tolerance: float = 2e-3) -> Setting:
    sites = atoms.get_scaled_positions(wrap=False)
    sites[:, ~atoms.pbc] = atoms.positions[:, ~atoms.pbc]
    moments = atoms.get_initial_magnetic_moments()
    return Setting(atoms.cell.array, atoms.pbc, atoms.numbers, sites, moments, tolerance)


def sheet() -> Atoms:
    atoms: Atoms = mx2("MoS2", vacuum=6)
    atoms.pbc = (True, True, False)
    return atoms


@pytest.mark.parametrize("reference", [bulk("ZnO", "wurtzite", a=3.25, c=5.2), bulk("Cu", cubic=True), sheet()])
def test_strained_shifted_and_wrapped_copies_are_in_the_setting(reference: Atoms) -> None:
    rng = np.random.default_rng(0)
    known = setting(reference)
    for _ in range(20):
        atoms = reference.copy()
        strain = rng.uniform(-0.1, 0.1, (3, 3))
        strain[:, ~atoms.pbc] = strain[~atoms.pbc] = 0
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        atoms.translate(rng.normal(size=3))
        assert known.displacement(atoms) == pytest.approx(0, abs=1e-12)
        atoms.wrap()
        assert known.displacement(atoms) == pytest.approx(0, abs=1e-12)
        atoms.rotate(rng.uniform(0, 180), rng.normal(size=3), rotate_cell=True)
        assert known.displacement(atoms) == pytest.approx(0, abs=1e-12)


def changed(name: str) -> Atoms:
    atoms = bulk("ZnO", "wurtzite", a=3.25, c=5.2)
    if name == "order":
        atoms = atoms[::-1]
    elif name == "supercell":
        atoms = atoms.repeat((1, 1, 2))
    elif name == "displaced":
        atoms.positions[2] += 0.01
    elif name == "left-handed":
        atoms.set_cell(atoms.cell.array * [1, 1, -1], scale_atoms=True)
    elif name == "flat":
        atoms.cell[2] = atoms.cell[1]
    elif name == "not finite":
        atoms.cell[2, 2] = np.inf
    elif name == "no number":
        atoms.positions[1, 1] = np.nan
    elif name == "pbc":
        atoms.pbc = (True, True, False)
    elif name == "moments":
        atoms.set_initial_magnetic_moments([1, 0, 0, 0])
    elif name == "vector moments":
        atoms.set_initial_magnetic_moments(np.ones((4, 3)))
    elif name == "skewed":
        atoms.set_cell(np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]]) @ atoms.cell.array, scale_atoms=True)
    return atoms


@pytest.mark.parametrize(
    "name",
    [
        "order",
        "supercell",
        "displaced",
        "left-handed",
        "flat",
        "not finite",
        "no number",
        "pbc",
        "moments",
        "vector moments",
        "skewed",
    ],
)
def test_everything_else_is_left_to_the_general_way(name: str) -> None:
    known = setting(bulk("ZnO", "wurtzite", a=3.25, c=5.2))
    assert known.displacement(bulk("ZnO", "wurtzite", a=3.25, c=5.2)) is not None
    assert known.displacement(changed(name)) is None


def test_relaxed_ions_have_their_tolerance() -> None:
    atoms = bulk("ZnO", "wurtzite", a=3.25, c=5.2)
    known = setting(atoms, tolerance=0.3)
    atoms.positions[2] += 0.02
    # All three components; one of four ions moves, against the mean of all.
    assert known.displacement(atoms) == pytest.approx(0.75 * 0.02 * np.sqrt(3))
    atoms.positions[2] += 0.2
    assert known.displacement(atoms) is None
