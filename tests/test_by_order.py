"""Flexible frameworks: atoms are told by their order where linkers turn and cells fold further than sites say."""

import json
from pathlib import Path
from typing import Literal

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from commands import Command

from ase_dkl import BadDataset, Crystal, Dataset, NotThisCrystal

NODE = 9.0


def wine_rack(angle: float, *, turned: float = 0.0) -> Atoms:
    """Nodes joined by rods of carbon that hinge: a = 2 L cos θ, b = 2 L sin θ; hydrogens stand off the rods, and turn.

    Args:
        angle: θ between the rods and a, degrees.
        turned: how far hydrogens have turned about their rod, degrees.
    """
    theta, phi = np.radians([angle, turned])
    half = np.array([np.cos(theta), np.sin(theta), 0]) * NODE / 2
    cell = np.diag([4 * half[0], 4 * half[1], 4.0])
    symbols, positions = [], []
    for sx, sy in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        along = half * [sx, sy, 1]
        unit = along / np.linalg.norm(along)
        across = np.cos(phi) * np.cross(unit, [0, 0, 1]) + np.sin(phi) * np.array([0, 0, 1])
        for t in (0.36, 0.5, 0.64):
            symbols.append("C")
            positions.append(t * 2 * along)
        symbols.append("H")
        positions.append(along + 1.1 * across)
    symbols += ["Zn", "Zn"]
    positions += [np.zeros(3), 2 * half]
    return Atoms(symbols, positions, cell=cell, pbc=True)


def rows(n: int = 14) -> list[Atoms]:
    """Open and folded racks, labelled by an energy of the angle."""
    found = []
    for i, angle in enumerate(np.linspace(22, 45, n)):
        atoms = wine_rack(angle, turned=4 * i)
        energy = 0.002 * (angle - 34) ** 2
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        found.append(atoms)
    return found


def test_sites_do_not_do_and_the_order_does() -> None:
    structures = rows()
    volumes = [atoms.get_volume() for atoms in structures]
    assert max(volumes) > 1.4 * min(volumes)
    with pytest.raises(BadDataset, match=r"of another crystal|off the sites|Too few"):
        Dataset.from_atoms(structures, match="sites")
    matches: tuple[Literal["auto", "order"], ...] = ("auto", "order")
    for match in matches:
        data = Dataset.from_atoms(structures, match=match)
        assert (len(data), data.crystal.ions, data.crystal.by_order) == (14, "relaxed", True)
        np.testing.assert_allclose(data.cells, [atoms.cell.array for atoms in structures], atol=1e-9)
        np.testing.assert_allclose(np.linalg.det(data.cells), volumes)


def test_what_sites_tell_stays_as_it_was() -> None:
    data = Dataset.from_atoms(rows(n=40)[:6])
    assert not data.crystal.by_order
    assert "by_order" not in data.crystal.to_dict()


def test_a_crystal_by_order_answers_alike_and_is_saved() -> None:
    structures = rows()
    crystal = Crystal.from_strained(structures, ions="relaxed", by_order=True)
    again = Crystal.from_dict(crystal.to_dict())
    assert again.by_order
    for atoms in structures:
        assert again.map(atoms).cell == pytest.approx(crystal.map(atoms).cell)
        shifted = atoms.copy()
        shifted.translate([3.0, 1.0, 0.5])
        shifted.wrap()
        assert again.map(shifted).cell == pytest.approx(atoms.cell.array)


def test_broken_bonds_are_told() -> None:
    crystal = Crystal.from_strained(rows(), ions="relaxed", by_order=True)
    atoms = rows()[3]
    order = np.arange(len(atoms))
    order[[0, 5]] = order[[5, 0]]
    with pytest.raises(NotThisCrystal, match=r"the bond between atoms \d+ \(C\) and .* Å long in the reference"):
        crystal.map(atoms[order])


def test_free_ions() -> None:
    rng, structures = np.random.default_rng(0), []
    for atoms in rows(n=24):
        moved = atoms.copy()
        moved.positions += 0.03 * rng.normal(size=atoms.positions.shape)
        forces = 5.0 * (atoms.positions - moved.positions)
        energy = atoms.get_potential_energy() + 2.5 * ((moved.positions - atoms.positions) ** 2).sum()
        moved.calc = SinglePointCalculator(moved, energy=energy, forces=forces - forces.mean(axis=0))
        structures.append(moved)
    data = Dataset.from_atoms(structures, ions="free")
    assert data.crystal.by_order
    assert data.points.shape == (24, 3 + 18, 3)
    off = data.positions[:, 1:] - data.positions[:, :1]
    wanted = np.array([atoms.positions[1:] - atoms.positions[:1] for atoms in structures])
    steps = (off - wanted) @ np.linalg.inv(data.cells)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)


def test_the_command_line(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "rack.xyz", rows())
    printed = json.loads(Command().succeed("info", tmp_path / "rack.xyz", "--json").stdout)
    assert (printed["n_rows"], printed["ions"]) == (14, "relaxed")
    assert Command().run("info", tmp_path / "rack.xyz", "--match", "sites").exit_code == 1
