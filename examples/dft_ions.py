"""Make the DFT data with displaced ions of the package with GPAW: `python dft_ions.py silicon silicon_ions.db`.

A killed run loses the row that it was at; the next one on the same database goes on from there. GPAW is installed
apart (https://gpaw.readthedocs.io); it needs libxc and BLAS. With `--ship FILE` nothing is computed: a packed copy of
the rows is written, with what they say of themselves (noise, references) as the database's metadata.

Sets of rows, key `set`, each in the order of its `index`:

* `relaxation`: steps from a first guess to the reference, of those systems that have no symmetry to fix it.
* `finite`: the reference with one ion moved along one axis, forwards and backwards: what force constants follow from.
* `pool`: the data set. Scrambled Sobol points of strains and displacements, so that the first n rows are a design for
  every n.
* `volumes`, `xx`, `yz`, `optical`, `yz_relaxed`: of silicon, from which its lattice, elastic constants, internal strain
  and optical frequency follow without a model.
* `check`: rows of the pool moved a little along a line, strained a little, or shifted as a whole. They tell how far the
  labels are derivatives of each other, and are not shipped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from _rows import Floats, Growing, Job, Labeller, Rows, frozen
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, SCFError, all_changes
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from ase.units import GPa, kB
from scipy.linalg import helmert
from scipy.spatial.transform import Rotation
from scipy.stats import norm, qmc

from ase_dkl.crystal.lattice import strained

FINITE_A = 0.01
"""Step of `finite`, Å."""
AT_REST = 0.005
"""Largest force of a relaxed reference, eV/Å."""
STRAINS = (-0.01, -0.005, 0.005, 0.01, -0.02, -0.015, 0.015, 0.02)
SHIFTS_A = (-0.04, -0.02, -0.01, 0.01, 0.02, 0.04)
"""One sublattice of silicon against the other, along [100]."""
THZ = 1e-12 * (1.602176634e-19 / 1e-20 / 1.66053906660e-27) ** 0.5 / (2 * np.pi)
"""√(eV/Å²/amu) as a frequency, THz."""
SEED = 0


class Design(Protocol):
    """Where the structures of a pool come from."""

    def dimension(self, system: System) -> int:
        """How many numbers make a structure."""

    def structure(self, system: System, point: Floats, modes: Modes | None) -> Atoms:
        """The structure of a point of the unit cube."""


@dataclass(frozen=True)
class Settings:
    """Of the DFT: PBE and plane waves throughout, Fermi–Dirac smearing."""

    ecut_eV: float
    kpts: tuple[int, int, int] = (1, 1, 1)
    gamma: bool = True
    smearing_eV: float = 0.05

    def labeller(self, stress: bool) -> Labeller:
        """Computes single points with GPAW."""

        def label(atoms: Atoms) -> Atoms:
            from gpaw import KohnShamConvergenceError
            from gpaw.new.ase_interface import GPAW

            periodic: Atoms = atoms.copy()
            periodic.constraints = []
            periodic.pbc = True  # plane waves are; the row says what the structure is
            periodic.calc = GPAW(
                mode={"name": "pw", "ecut": self.ecut_eV},
                xc="PBE",
                kpts={"size": self.kpts, "gamma": self.gamma},
                occupations={"name": "fermi-dirac", "width": self.smearing_eV},
                convergence={"energy": 1e-6, "density": 1e-5},
                txt=None,
            )
            try:
                energy = float(periodic.get_potential_energy(force_consistent=True))
            except KohnShamConvergenceError as problem:
                raise SCFError("not self-consistent") from problem
            results = {"energy": energy, "free_energy": energy, "forces": periodic.get_forces()}
            if stress:
                results["stress"] = periodic.get_stress()
            return frozen(atoms, **results)

        return label

    def keys(self) -> dict[str, Any]:
        """Of every row."""
        from gpaw import __version__

        return {
            "code": "GPAW",
            "code_version": __version__,
            "xc": "PBE",
            "ecut_eV": float(self.ecut_eV),
            "kpts": "x".join(map(str, self.kpts)) + (" gamma" if self.gamma else " shifted"),
            "smearing_eV": self.smearing_eV,
            "seed": SEED,
        }


@dataclass(frozen=True)
class System:
    """What is computed, and how."""

    title: str
    reference: Atoms
    """Fixed ions are constrained."""
    settings: Settings
    design: Design
    points: int
    relaxed: bool = False
    """Whether ions of the reference have to be relaxed first."""
    displaced: tuple[tuple[int, int], ...] = ()
    """Ions and axes of `finite`."""
    directly: bool = False
    """Whether silicon's mechanics are found from finite differences, too."""

    @property
    def mobile(self) -> list[int]:
        """Ions that are not fixed."""
        fixed = {int(i) for constraint in self.reference.constraints for i in constraint.index}
        return [i for i in range(len(self.reference)) if i not in fixed]

    @property
    def stress(self) -> bool:
        """Whether there is a lattice that can be strained."""
        return bool(self.reference.pbc.any())


@dataclass(frozen=True)
class Modes:
    """Force constants of the ions that `finite` has moved.

    Attributes:
        values: eV/Å²/amu, ascending, shape (m,).
        vectors: displacements of unit mass-weighted length, Å √amu, shape (m, N, 3).
    """

    values: Floats
    vectors: Floats

    @classmethod
    def of(cls, system: System, rows: list[Atoms]) -> Modes:
        """From central differences of forces."""
        size = len(system.reference)
        moved = [3 * ion + axis for ion, axis in system.displaced]
        forces = np.array([atoms.get_forces().ravel()[moved] for atoms in rows]).reshape(len(moved), 2, -1)
        constants = -(forces[:, 0] - forces[:, 1]) / (2 * FINITE_A)
        roots = np.repeat(system.reference.get_masses(), 3)[moved] ** 0.5
        values, vectors = np.linalg.eigh((constants + constants.T) / 2 / np.outer(roots, roots))
        whole = np.zeros((len(moved), 3 * size))
        whole[:, moved] = vectors.T / roots
        return cls(values, whole.reshape(-1, size, 3))

    @property
    def frequencies_THz(self) -> Floats:
        """Imaginary ones negative, shape (m,)."""
        return np.asarray(np.sign(self.values) * np.abs(self.values) ** 0.5 * THZ)


@dataclass(frozen=True)
class Strained:
    """Strains evenly in a box, and displacements in random directions, evenly from one rms over the ions to another.

    Attributes:
        strain: largest normal strain.
        shear: largest engineering shear.
        rms_A: smallest and largest root mean square length of the ions' displacements about their mean, Å.
        polar_A: standard deviation, Å rms over the ions, of a part along the softest mode along either axis.
    """

    strain: float
    shear: float
    rms_A: tuple[float, float]
    polar_A: float = 0.0

    def dimension(self, system: System) -> int:
        """How many numbers make a structure."""
        return 6 + 1 + 3 * (len(system.reference) - 1) + 3 * bool(self.polar_A)

    def structure(self, system: System, point: Floats, modes: Modes | None) -> Atoms:
        """The structure of a point of the unit cube."""
        size = len(system.reference)
        strain, amplitude, ways, polar = np.split(point, [6, 7, 7 + 3 * (size - 1)])
        atoms = deformed(system.reference, (2 * strain - 1) * np.repeat([self.strain, self.shear], 3))
        steps = helmert(size).T @ gaussian(ways).reshape(-1, 3)
        low, high = self.rms_A
        steps *= (low + (high - low) * float(amplitude[0])) / rms(steps)
        if modes is not None:
            for axis, size_A in enumerate(self.polar_A * gaussian(polar)):
                along = turned(system.reference, modes.vectors[0], axis)
                along = along - along.mean(axis=0)
                steps += size_A * along / rms(along)
        atoms.positions += steps
        return atoms


@dataclass(frozen=True)
class Thermal:
    """Displacements of classical ions in the harmonic well of the reference, which neither move nor turn as a whole."""

    temperature_K: float

    def dimension(self, system: System) -> int:
        """How many numbers make a structure."""
        return 3 * len(system.reference) - 6

    def structure(self, system: System, point: Floats, modes: Modes | None) -> Atoms:
        """The structure of a point of the unit cube."""
        assert modes is not None
        vibrations = np.argsort(np.abs(modes.values))[6:]
        sizes = gaussian(point) * (kB * self.temperature_K / modes.values[vibrations]) ** 0.5
        atoms: Atoms = system.reference.copy()
        atoms.positions += np.einsum("k,kix->ix", sizes, modes.vectors[vibrations])
        return atoms


@dataclass(frozen=True)
class Adsorbed:
    """A molecule on a slab that moves, turns and is deformed; free ions of the slab move by themselves. All Gaussian.

    Attributes:
        molecule: its ions, the last of the reference.
        slab_A: of each coordinate of the slab's free ions, Å.
        shift_A: of the molecule as a whole along x, y and z, Å.
        turn: of its rotation about either axis, degrees.
        bond_A: of each coordinate of its ions, on top of that, Å.
    """

    molecule: tuple[int, ...]
    slab_A: float
    shift_A: tuple[float, float, float]
    turn: float
    bond_A: float

    def dimension(self, system: System) -> int:
        """How many numbers make a structure."""
        return 3 * len(system.mobile) + 6

    def structure(self, system: System, point: Floats, modes: Modes | None) -> Atoms:
        """The structure of a point of the unit cube."""
        del modes
        atoms: Atoms = system.reference.copy()
        slab = [i for i in system.mobile if i not in self.molecule]
        molecule = list(self.molecule)
        of_slab, shift, turn, bonds = np.split(gaussian(point), np.cumsum([3 * len(slab), 3, 3]))
        places = atoms.positions[molecule]
        centre = places.mean(axis=0)
        turned_places = Rotation.from_rotvec(np.radians(self.turn * turn)).apply(places - centre)
        atoms.positions[molecule] = centre + turned_places + shift * self.shift_A + self.bond_A * bonds.reshape(-1, 3)
        atoms.positions[slab] += self.slab_A * of_slab.reshape(-1, 3)
        return atoms


def systems() -> dict[str, System]:
    """What is shipped."""
    perovskite = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    barium_titanate = Atoms("BaTiO3", scaled_positions=perovskite, cell=[4.03] * 3, pbc=True)
    return {
        "silicon": System(
            "Silicon, primitive cell, strained, one sublattice moved against the other by up to 0.2 Å",
            bulk("Si", a=5.47),
            Settings(400, (6, 6, 6)),
            Strained(0.05, 0.08, (0.0, 0.1)),
            points=200,
            directly=True,
        ),
        "batio3": System(
            "BaTiO₃, cubic 5-atom cell, strained and displaced, in part along its polar mode",
            barium_titanate,
            Settings(800, (3, 3, 3), gamma=False),
            Strained(0.03, 0.04, (0.04, 0.12), polar_A=0.05),
            points=80,
            displaced=tuple((ion, 0) for ion in range(5)),
        ),
        "ethylene": alone("C₂H₄ as at 1000 K", molecule("C2H4"), 500, Thermal(1000), points=150),
        "si5": alone("Si₅, a trigonal bipyramid, as at 800 K", bipyramid(), 300, Thermal(800), points=100),
        "co_mgo": System(
            "CO on two layers of MgO(001), the lower one fixed",
            carbon_monoxide_on_magnesia(4.25),
            Settings(450, (2, 2, 1), gamma=False),
            Adsorbed((8, 9), slab_A=0.06, shift_A=(0.15, 0.15, 0.1), turn=10, bond_A=0.03),
            points=60,
            relaxed=True,
        ),
    }


def alone(title: str, atoms: Atoms, ecut_eV: float, design: Design, points: int, vacuum: float = 3.5) -> System:
    """A molecule or cluster in a box."""
    atoms.center(vacuum)
    atoms.pbc = False
    coordinates = tuple((ion, axis) for ion in range(len(atoms)) for axis in range(3))
    return System(title, atoms, Settings(ecut_eV), design, points, relaxed=True, displaced=coordinates)


def bipyramid() -> Atoms:
    """Si₅, near its minimum."""
    angles = 2 * np.pi * np.arange(3) / 3
    ring = np.stack([1.82 * np.cos(angles), 1.82 * np.sin(angles), 0 * angles], axis=1)
    return Atoms("Si5", positions=[*ring, (0, 0, 1.40), (0, 0, -1.40)])


def carbon_monoxide_on_magnesia(a: float) -> Atoms:
    """CO upright over a magnesium ion, carbon below, on two layers of two formula units each."""
    lower, top = 0.0, a / 2
    edge = a / 2
    atoms = Atoms(cell=[a, a, 14.0], pbc=[True, True, False])
    for z, first in ((lower, "MgMgO2"), (top, "O2MgMg")):
        corner = [(0, 0, z), (edge, edge, z)], [(edge, 0, z), (0, edge, z)]
        atoms += Atoms(first, positions=[*corner[0], *corner[1]])
    atoms += Atoms("CO", positions=[(edge, 0, top + 2.5), (edge, 0, top + 3.64)])
    atoms.positions[:, 2] += 3.0
    atoms.set_constraint(FixAtoms(range(4)))
    return atoms


def deformed(atoms: Atoms, strain: Floats) -> Atoms:
    """Strain a crystal with its ions, shears engineering."""
    copy: Atoms = atoms.copy()
    copy.set_cell(strained(atoms.cell.array, strain), scale_atoms=True)
    return copy


def gaussian(point: Floats) -> Floats:
    """Standard normal numbers from uniform ones."""
    return np.asarray(norm.ppf(np.clip(point, 1e-6, 1 - 1e-6)))


def rms(steps: Floats) -> float:
    """Root mean square length, shape (N, 3)."""
    return float(np.mean(np.sum(steps**2, axis=1)) ** 0.5)


def turned(atoms: Atoms, steps: Floats, axis: int) -> Floats:
    """Displacements in a cubic crystal with x, y, z turned cyclically until x is the axis given, shape (N, 3)."""
    sites = atoms.get_scaled_positions()
    images = np.roll(sites, axis, axis=1)
    gaps = np.linalg.norm((sites[:, None] - images[None] + 0.5) % 1 - 0.5, axis=2)
    same = gaps + 9.0 * (atoms.numbers[:, None] != atoms.numbers[None])
    return np.asarray(np.roll(steps, axis, axis=1)[same.argmin(axis=1)])


def finite(system: System) -> Iterator[Job]:
    for ion, axis in system.displaced:
        for way in (1, -1):
            atoms: Atoms = system.reference.copy()
            atoms.positions[ion, axis] += way * FINITE_A
            index = 2 * system.displaced.index((ion, axis)) + (way < 0)
            yield Job({"set": "finite", "index": index}, atoms)


def pool(system: System, modes: Modes | None) -> Iterator[Job]:
    dimension = system.design.dimension(system)
    points = qmc.Sobol(dimension, rng=SEED).random_base2(int(np.ceil(np.log2(max(system.points, 2)))))
    for index, point in enumerate(points[: system.points]):
        yield Job({"set": "pool", "index": index}, system.design.structure(system, point, modes))


def checks(system: System, rows: list[Atoms]) -> Iterator[Job]:
    """Of the second row of the pool: small steps to either side, and shifts by parts of the grid's spacing."""
    base = rows[1].copy()
    rng = np.random.default_rng(SEED)
    way = np.zeros((len(base), 3))
    way[system.mobile] = rng.normal(size=(len(system.mobile), 3))
    way /= np.linalg.norm(way)
    strain = rng.normal(size=6)
    strain *= 1 / np.linalg.norm(strain)
    index = 0

    def job(kind: str, atoms: Atoms, size: float) -> Job:
        nonlocal index
        index += 1
        return Job({"set": "check", "index": index, "kind": kind, "size": size}, atoms)

    for size in (0.01, -0.01):
        atoms = base.copy()
        atoms.positions += size * way
        yield job("moved", atoms, size)
    if system.reference.pbc.all():
        for size in (0.003, -0.003):
            yield job("strained", deformed(base, size * strain), size)
    for size in (0.03, 0.06, 0.09):
        atoms = base.copy()
        atoms.positions += size * np.array([1.0, 0.7, 0.4])
        yield job("shifted", atoms, size)


def relax(system: System, rows: Growing) -> None:
    """Relax the ions of the reference: every step is a row, and the last one is where another run goes on."""
    steps = rows.read("relaxation")
    if not steps or largest_force(steps[-1], system) > AT_REST:
        atoms: Atoms = (steps[-1] if steps else system.reference).copy()
        atoms.set_constraint(system.reference.constraints)
        atoms.calc = Remembering(rows, len(steps))
        BFGS(atoms, logfile=None).run(fmax=AT_REST)


def at_rest(system: System, rows: Rows) -> System:
    """The system with the ions of its reference where they were relaxed to."""
    if not system.relaxed:
        return system
    atoms: Atoms = rows.read("relaxation")[-1].copy()
    atoms.set_constraint(system.reference.constraints)
    return replace(system, reference=atoms)


def largest_force(atoms: Atoms, system: System) -> float:
    return float(np.linalg.norm(atoms.get_forces()[system.mobile], axis=1).max())


class Remembering(Calculator):
    """Labels the steps of a relaxation and adds each to the rows."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    def __init__(self, rows: Growing, index: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows, self._index = rows, index

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = tuple(all_changes)) -> None:
        """Called by ASE."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        self._rows.add([Job({"set": "relaxation", "index": self._index}, atoms)])
        self.results = self._rows.read("relaxation")[-1].calc.results
        self._index += 1


def silicon_directly(system: System, rows: Growing) -> None:
    """Rows from which silicon's mechanics follow without a model."""
    volumes = [deformed(system.reference, e * np.array([1, 1, 1, 0, 0, 0])) for e in np.linspace(-0.02, 0.02, 9)]
    rows.add(Job({"set": "volumes", "index": i}, atoms) for i, atoms in enumerate(volumes))
    lowest = system.reference.copy()
    lowest.set_cell(lowest.cell * lattice_of_lowest_energy(rows), scale_atoms=True)
    for name, component in (("xx", 0), ("yz", 3)):
        ways = [(value, value * np.eye(6)[component]) for value in STRAINS]
        rows.add(
            Job({"set": name, "index": i, "strain": value}, deformed(lowest, strain))
            for i, (value, strain) in enumerate(ways)
        )
    rows.add(Job({"set": "optical", "index": i, "shift": s}, shifted(lowest, s)) for i, s in enumerate(SHIFTS_A))
    # Straight to where linear response has the ions at rest: what forces are left tell how good that is.
    response = silicon_numbers(rows)["yz_shift_A"]["value"]
    rows.add(
        Job({"set": "yz_relaxed", "index": i, "strain": e}, shifted(deformed(lowest, e * np.eye(6)[3]), e * response))
        for i, e in enumerate((-0.01, 0.01))
    )


def shifted(atoms: Atoms, shift: float) -> Atoms:
    """Silicon with its second ion moved along x, and the first one back, so that their centre stays."""
    copy: Atoms = atoms.copy()
    copy.positions[:, 0] += np.array([-0.5, 0.5]) * shift
    return copy


def lattice_of_lowest_energy(rows: Rows) -> float:
    """By how much the reference has to be stretched: the minimum of a quartic in the stretch."""
    volumes = rows.read("volumes")
    stretches = np.array([atoms.cell[0, 1] / volumes[4].cell[0, 1] for atoms in volumes])
    energies = np.array([atoms.get_potential_energy() for atoms in volumes])
    return minimum(stretches, energies, 4)


def minimum(x: Floats, y: Floats, degree: int) -> float:
    curve = np.polynomial.Polynomial.fit(x, y, degree)
    roots = [root.real for root in curve.deriv().roots() if abs(root.imag) < 1e-9 and x.min() < root.real < x.max()]
    return float(min(roots, key=curve))


def slope(x: Floats, y: Floats, degree: int, order: int = 1) -> float:
    """A derivative at zero of a polynomial through the points."""
    return float(np.polynomial.Polynomial.fit(x, y, degree).deriv(order)(0.0))


def silicon_numbers(rows: Rows) -> dict[str, dict[str, float]]:
    """Lattice, elastic constants, internal strain and optical frequency by finite differences.

    Each is found twice, from all steps with one degree more and from the smaller steps alone; `spread` is how far the
    two are apart. Forces and stresses are differentiated once, energies twice.

    Source: L. Kleinman, Phys. Rev. 128, 2614 (1962), for the internal strain.
    """
    found: dict[str, dict[str, float]] = {}

    def number(name: str, wide: float, narrow: float) -> None:
        found[name] = {"value": wide, "spread": abs(wide - narrow)}

    volumes = rows.read("volumes")
    stretches = np.array([atoms.cell[0, 1] / volumes[4].cell[0, 1] for atoms in volumes])
    energies = np.array([atoms.get_potential_energy() for atoms in volumes])
    a = 2 * volumes[4].cell[0, 1]
    number("a_A", a * minimum(stretches, energies, 4), a * minimum(stretches[1:-1], energies[1:-1], 3))

    def read(name: str, key: str) -> tuple[Floats, list[Atoms]]:
        atoms = sorted(rows.read(name), key=lambda each: float(each.info["key_value_pairs"][key]))
        return np.array([float(each.info["key_value_pairs"][key]) for each in atoms]), atoms

    def derivative(name: str, x: Floats, y: Floats) -> None:
        inner = np.abs(x) < 0.6 * np.abs(x).max()
        number(name, slope(x, y, 4), slope(x[inner], y[inner], 2))

    xx, of_xx = read("xx", "strain")
    stress = np.array([atoms.get_stress() / GPa for atoms in of_xx])
    derivative("C11_GPa", xx, stress[:, 0])
    derivative("C12_GPa", xx, stress[:, 1:3].mean(axis=1))
    energies = np.array([atoms.get_potential_energy() for atoms in of_xx])
    inner = np.abs(xx) < 0.6 * np.abs(xx).max()
    per_volume = 1 / rows.read("optical")[0].get_volume() / GPa
    number(
        "C11_from_energies_GPa",
        slope(xx, energies, 4, 2) * per_volume,
        slope(xx[inner], energies[inner], 2, 2) * per_volume,
    )
    yz, of_yz = read("yz", "strain")
    derivative("C44_clamped_GPa", yz, np.array([atoms.get_stress()[3] / GPa for atoms in of_yz]))
    # The force on one sublattice against the other, as the derivative by their distance.
    against = np.array([(atoms.get_forces()[1, 0] - atoms.get_forces()[0, 0]) / 2 for atoms in of_yz])
    derivative("yz_force_eV_A", yz, against)
    shift, of_shift = read("optical", "shift")
    forces = np.array([(atoms.get_forces()[1, 0] - atoms.get_forces()[0, 0]) / 2 for atoms in of_shift])
    derivative("optical_constant_eV_A2", shift, -forces)
    constant, coupling = found["optical_constant_eV_A2"], found["yz_force_eV_A"]
    reduced = float(of_shift[0].get_masses()[0]) / 2

    def both(name: str, of: Callable[[float, float], float], K: float, G: float, dK: float, dG: float) -> None:
        number(name, of(K, G), of(K + dK, G + dG))

    numbers = constant["value"], coupling["value"], constant["spread"], coupling["spread"]
    edge = found["a_A"]["value"]
    both("optical_frequency_THz", lambda K, _: float((K / reduced) ** 0.5 * THZ), *numbers)
    both("yz_shift_A", lambda K, G: G / K, *numbers)
    # Rigid bonds are ζ = 1: the second ion, at a/4 (1, 1, 1), then moves back by a/4 of the engineering shear.
    both("zeta", lambda K, G: -4 / edge * G / K * np.sign(of_yz[0].positions[1] - of_yz[0].positions[0])[0], *numbers)
    clamped = found["C44_clamped_GPa"]
    relaxed = clamped["value"] - coupling["value"] ** 2 / constant["value"] * per_volume
    less = (coupling["value"] + coupling["spread"]) ** 2 / (constant["value"] + constant["spread"]) * per_volume
    number("C44_relaxed_GPa", relaxed, clamped["value"] + clamped["spread"] - less)
    if relaxed_rows := rows.read("yz_relaxed"):
        back, forth = (atoms.get_stress()[3] / GPa for atoms in relaxed_rows)
        number("C44_relaxed_from_two_GPa", (forth - back) / 0.02, (forth - back) / 0.02)
        found["C44_relaxed_from_two_GPa"]["largest_force_eV_A"] = float(
            max(np.abs(atoms.get_forces()).max() for atoms in relaxed_rows)
        )
    return found


def noise(rows: Rows) -> dict[str, float]:
    """How far the labels are derivatives of each other, and how far they depend on where the grid is."""
    pooled = rows.read("pool")
    base = pooled[1]
    kinds: dict[str, list[Atoms]] = {}
    for atoms in rows.read("check"):
        kinds.setdefault(atoms.info["key_value_pairs"]["kind"], []).append(atoms)
    net = max(float(np.abs(atoms.get_forces().sum(axis=0)).max()) for atoms in pooled)
    found = {"rows": float(len(pooled)), "largest_net_force_meV_A": 1e3 * net}
    found["force_rms_meV_A"] = 1e3 * float(np.mean([np.mean(each.get_forces() ** 2) for each in pooled]) ** 0.5)
    found["seconds_a_row"] = float(np.mean([each.info["key_value_pairs"]["seconds"] for each in pooled]))
    for kind, moved in kinds.items():
        energies = np.array([each.get_potential_energy() for each in moved])
        if kind == "moved":
            way = (moved[0].positions - moved[1].positions) / 0.02
            found["slope_along_a_line_eV_A"] = -float(np.sum(base.get_forces() * way))
            difference = (energies[0] - energies[1]) / 0.02 - found["slope_along_a_line_eV_A"]
            found["finite_difference_less_force_meV_A"] = 1e3 * float(difference)
        if kind == "strained":
            towards = np.linalg.solve(base.cell.array, (moved[0].cell.array - moved[1].cell.array) / 0.006)
            voigt = np.array(
                [towards[i, j] + towards[j, i] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
            )
            voigt[:3] /= 2
            found["slope_along_a_strain_eV"] = base.get_volume() * float(base.get_stress() @ voigt)
            difference = (energies[0] - energies[1]) / 0.006 - found["slope_along_a_strain_eV"]
            found["finite_difference_less_stress_meV"] = 1e3 * float(difference)
        if kind == "shifted":
            found["energy_scatter_when_shifted_meV"] = 1e3 * float(np.ptp([base.get_potential_energy(), *energies]))
            forces = np.array([base.get_forces(), *(each.get_forces() for each in moved)])
            found["force_scatter_when_shifted_meV_A"] = 1e3 * float(np.ptp(forces, axis=0).max())
    return found


def run(system: System, rows: Growing) -> None:
    """All sets of a system, those first that others need."""
    if system.relaxed:
        relax(system, rows)
    system = at_rest(system, rows)
    if system.directly:
        silicon_directly(system, rows)
    rows.add(finite(system))
    modes = Modes.of(system, rows.read("finite")) if system.displaced else None
    rows.add(pool(system, modes))
    if len(rows.read("pool")) > 1:
        rows.add(checks(system, rows.read("pool")))


def numbers(system: System, rows: Rows) -> dict[str, Any]:
    """What the rows say of themselves."""
    system = at_rest(system, rows)
    found: dict[str, Any] = {"design": str(system.design), "labels": noise(rows)}
    if system.directly:
        found["finite_differences"] = silicon_numbers(rows)
    if system.displaced:
        found["frequencies_THz"] = Modes.of(system, rows.read("finite")).frequencies_THz.tolist()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=sorted(systems()))
    parser.add_argument("database", type=Path)
    parser.add_argument("--points", type=int, help="rows of the pool")
    parser.add_argument(
        "--ship", type=Path, help="a packed copy to write, its metadata what the rows say of themselves"
    )
    parser.add_argument("--quick", action="store_true", help="very coarse DFT, for a first look")
    given = parser.parse_args()
    system = systems()[given.system]
    if given.quick:
        first, second, third = (min(k, 3) for k in system.settings.kpts)
        coarse = replace(system.settings, ecut_eV=250, kpts=(first, second, third))
        system = replace(system, settings=coarse)
    if given.points is not None:
        system = replace(system, points=given.points)
    if given.ship:
        rows = Rows(given.database)
        found = numbers(system, rows)
        rows.ship(given.ship, system.title, without=["check"], numbers=found)
        print(json.dumps(found, indent=1))
    else:
        with Growing(given.database, system.settings.keys(), system.settings.labeller(system.stress)) as growing:
            run(system, growing)


if __name__ == "__main__":
    main()
