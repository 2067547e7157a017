"""Make the data of flexible frameworks of the package: `python framework_data.py mil53 mil53_chgnet.db`.

Labels are those of CHGNet, a universal potential (`pip install chgnet`), and not of DFT. A killed run loses the
structure that it was at; the next one on the same database goes on from there. `--ship FILE` writes a packed copy.

Sets of rows, key `set`, each in the order of its `index`:

* `relaxation`: the reference, ions and the cell's shape relaxed at the volume that it was built with: it is open, and
  not everywhere does that last without being held.
* `closing`, `opening`, `reopening`: ions and the cell's shape relaxed at one volume after the other, each started from
  the last ones. `closing` goes from the reference down, `opening` up, `reopening` back from where `closing` ended:
  where it differs from `closing` there are two branches. Key `ions` is `relaxed`.
* `rattled`: about the reference, ions displaced as classical ones at 300 K in a network of springs, and the cell
  strained a little. Scrambled Sobol points: the first n rows are a design for every n. Key `ions` is `free`.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from _rows import Floats, Growing, Job, Labeller, Rows, frozen
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.neighborlist import natural_cutoffs, neighbor_list
from ase.optimize import BFGS
from ase.units import kB
from scipy.linalg import polar
from scipy.stats import norm, qmc

from ase_dkl.crystal.lattice import strained

SEED = 0
TEMPERATURE_K = 300.0
STRAIN, SHEAR = 0.015, 0.02
"""Largest normal strain, and engineering shear, of `rattled`."""
AT_REST = 0.01
"""Largest force where ions are relaxed, eV/Å, and V times the stress that is left in the shape, over `CELL_FACTOR`."""
CELL_FACTOR = 10.0
SPRINGS = {1: 40.0, 2: 12.0, 3: 4.0}
"""Between atoms so many bonds apart, eV/Å²."""
GROUND = 1.2
"""Of every ion to its place, eV/Å²: soft modes are no softer."""


@dataclass(frozen=True)
class Framework:
    """What is built, and how it is closed.

    Attributes:
        title: for people.
        built: ions near where they belong.
        towards: strain of the first step of `closing`, Voigt with engineering shears, of any length.
        closing: volumes over the reference's, one after the other.
        opening: the same, upwards.
        rattled: rows of that set.
    """

    title: str
    built: Atoms
    towards: tuple[float, ...]
    closing: tuple[float, ...]
    opening: tuple[float, ...]
    rattled: int = 64


def frameworks() -> dict[str, Framework]:
    """What is shipped."""

    def to(end: float, step: float) -> tuple[float, ...]:
        count = round(abs(end - 1) / step)
        return tuple(round(1 + (end - 1) * (i + 1) / count, 4) for i in range(count))

    return {
        "mil53": Framework("MIL-53(Al), a wine rack", mil53(), (0, 1, -1.6, 0, 0, 0), to(0.66, 0.02), to(1.06, 0.02)),
        "dmof": Framework(
            "Zn₂(bpdc)₂(dabco), pillared paddlewheels", dmof(), (0, 0, 0, 0, 0, 1), to(0.56, 0.02), to(1.06, 0.02)
        ),
        "paf": Framework(
            "PAF-1, carbon nodes in a diamond net", paf(), (1, -1, -1, 0, 0, 0), to(0.7, 0.02), to(1.06, 0.02)
        ),
    }


def ring(start: Floats, along: Floats, across: Floats) -> Atoms:
    """A phenylene that starts at one carbon and ends at the opposite one."""
    places, symbols = [], []
    for t in (0.0, 2.8):
        places.append(start + t * along)
        symbols.append("C")
    for t, outwards in ((0.70, 0.16 - 0.70), (2.10, 0.54)):
        for side in (1, -1):
            places.append(start + t * along + side * 1.21 * across)
            places.append(start + (t + outwards) * along + side * 2.15 * across)
            symbols += ["C", "H"]
    return Atoms(symbols, positions=places)


def mil53() -> Atoms:
    """Al(OH)(bdc): chains of octahedra along a that share their hydroxides, linked crosswise. 76 atoms."""
    a, half = 6.61, 5.33
    angle = np.arctan2(1.10, 1.45)
    b, c = 4 * half * np.cos(angle), 4 * half * np.sin(angle)
    atoms = Atoms(cell=[a, b, c], pbc=True)
    x = np.array([1.0, 0, 0])
    for chain in ((0.0, 0.0, 0.0), (a / 2, b / 2, c / 2)):
        for step, side in ((0, 1), (a / 2, -1)):
            metal = np.array(chain) + step * x
            gap = metal + a / 4 * x
            upwards = np.array([0, 0, side])
            atoms += Atoms("AlOH", positions=[metal, gap + 0.81 * upwards, gap + 1.77 * upwards])
            along = np.array([0, np.cos(angle), -side * np.sin(angle)])
            middle = gap + half * along
            for way in (1, -1):
                carbon = middle + way * 2.89 * along
                oxygens = [carbon + way * 0.62 * along + other * 1.11 * x for other in (1, -1)]
                atoms += Atoms("CO2", positions=[carbon, *oxygens])
            atoms += ring(middle - 1.40 * along, along, x)
    return atoms


def dmof() -> Atoms:
    """Paddlewheels of two zinc ions, biphenyldicarboxylates in the plane, dabco along c. 74 atoms."""
    to_carbon, linker = 2.61, 1.49 + 2.8 + 1.49 + 2.8 + 1.49
    edge, height = 2 * to_carbon + linker, 2 * (1.47 + 2.07) + 2.57
    x, y, z = np.eye(3)
    atoms = Atoms("Zn2", positions=[1.47 * z, -1.47 * z], cell=[edge, edge, height], pbc=True)
    for along, beside in ((x, y), (y, -x)):
        for start, way in ((np.zeros(3), 1), (edge * along, -1)):
            carbon = start + way * to_carbon * along
            oxygens = [start + way * 2.0 * along + side * 1.11 * z for side in (1, -1)]
            atoms += Atoms("CO2", positions=[carbon, *oxygens])
        for distance, turn in ((to_carbon + 1.49, 17), (to_carbon + 1.49 + 2.8 + 1.49, -17)):
            across = np.cos(np.radians(turn)) * z + np.sin(np.radians(turn)) * beside
            atoms += ring(distance * along, along, across)
    for end in (1, -1):
        atoms += Atoms("N", positions=[height / 2 * z + end * 1.285 * z])
        for angle in np.radians([10, 130, 250]):
            out, side = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
            carbon = height / 2 * z + end * 0.78 * z + 1.38 * out
            hydrogens = [carbon + 0.63 * out + end * 0.28 * z + other * 0.88 * side for other in (1, -1)]
            atoms += Atoms("CH2", positions=[carbon, *hydrogens])
    # At right angles it would not know which way to close.
    return deformed(atoms, np.array([0, 0, 0, 0, 0, 0.06]))


def paf() -> Atoms:
    """Carbon atoms linked by biphenylenes as in diamond, primitive cell. 82 atoms."""
    a = 4 / 3**0.5 * (2 * 1.54 + 2 * 2.8 + 1.49)
    atoms = Atoms("C2", positions=[(0, 0, 0), (a / 4,) * 3], cell=a / 2 * (np.ones((3, 3)) - np.eye(3)), pbc=True)
    for number, signs in enumerate([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]):
        along = np.array(signs) / 3**0.5
        beside = np.cross(along, np.roll([0, 0, 1.0], number))
        beside /= np.linalg.norm(beside)
        other = np.cross(along, beside)
        for start, turn in ((1.54, 20), (1.54 + 2.8 + 1.49, -20)):
            across = np.cos(np.radians(turn)) * beside + np.sin(np.radians(turn)) * other
            atoms += ring(start * along, along, across)
    return atoms


def springs(atoms: Atoms) -> Floats:
    """Hessian of springs between atoms up to three bonds apart, eV/Å², shape (3N, 3N)."""
    size = len(atoms)
    bonds: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in range(size)]
    for i, j, cell in zip(*neighbor_list("ijS", atoms, natural_cutoffs(atoms, mult=1.15)), strict=True):
        bonds[i].append((int(j), tuple(int(n) for n in cell)))
    hessian = np.zeros((size, 3, size, 3))
    for first in range(size):
        reached = {(first, (0, 0, 0)): 0}
        shell = list(reached)
        for far, constant in SPRINGS.items():
            ways = {(j, (c[0] + s[0], c[1] + s[1], c[2] + s[2])) for i, c in shell for j, s in bonds[i]}
            shell = sorted(ways - reached.keys())
            reached |= dict.fromkeys(shell, far)
            for j, cell in shell:
                way = atoms.positions[j] + np.array(cell) @ atoms.cell.array - atoms.positions[first]
                block = constant / 2 * np.outer(way, way) / (way @ way)
                hessian[first, :, first] += block
                hessian[j, :, j] += block
                hessian[first, :, j] -= block
                hessian[j, :, first] -= block
    return np.asarray(hessian.reshape(3 * size, -1) + GROUND * np.eye(3 * size))


class Relaxation:
    """Relaxes one structure after the other, and keeps what it learns of their stiffness.

    Cells are not turned against the one given: no energy tells the optimizer how they lie.
    """

    def __init__(self, calculator: Calculator, label: Labeller, cell: Floats) -> None:
        self._calculator, self._label, self._cell = calculator, label, cell
        self._hessian: Floats | None = None

    def __call__(self, atoms: Atoms, steps: int = 500) -> tuple[Atoms, dict[str, Any]]:
        """Relax ions and the cell's shape, at its volume.

        Returns:
            The structure with its labels; how many steps it took, and the largest force that is left, eV/Å.
        """
        atoms = atoms.copy()
        atoms.calc = self._calculator
        both = FrechetCellFilter(atoms, exp_cell_factor=CELL_FACTOR, constant_volume=True)
        optimizer = BFGS(both, logfile=None, maxstep=0.1)  # type: ignore[arg-type]
        if self._hessian is None:
            size = 3 * len(atoms)
            # 0.3 eV/Å³ is 50 GPa.
            self._hessian = atoms.get_volume() * 0.3 / CELL_FACTOR**2 * np.eye(size + 9)
            self._hessian[:size, :size] = springs(atoms)
        optimizer.H0 = self._hessian
        if not optimizer.run(fmax=AT_REST, steps=steps):
            raise SystemExit(f"Not relaxed after {steps} steps. Another run would go on from the last row.")
        if optimizer.get_number_of_steps():
            self._hessian = optimizer.H
        # C = C₀ P U: P strains, U turns.
        _, strain = polar(np.linalg.solve(self._cell, atoms.cell.array), side="left")
        atoms.set_cell(self._cell @ strain, scale_atoms=True)
        labelled = self._label(atoms)
        force = float(np.linalg.norm(labelled.get_forces(), axis=1).max())
        return labelled, {"steps": int(optimizer.get_number_of_steps()), "largest_force": round(force, 4)}


def path(rows: Growing, relax: Relaxation, name: str, ratios: Sequence[float], first: Atoms, strain: Floats) -> None:
    """One volume after the other, each started where the last two point to.

    Args:
        rows: they go there.
        relax: how.
        name: of the set.
        ratios: volumes over the reference's.
        first: where the path begins.
        strain: of the first step, before its volume is set.
    """
    reference = rows.read("relaxation")[-1]
    last = [first, *rows.read(name)]
    for index in range(len(last) - 1, len(ratios)):
        start = deformed(first, strain) if len(last) == 1 else extrapolated(*last[-2:])
        volume = ratios[index] * reference.get_volume()
        start.set_cell(start.cell * (volume / start.get_volume()) ** (1 / 3), scale_atoms=True)
        atoms, how = relax(start)
        keys = {"set": name, "index": index, "ions": "relaxed", "volume_ratio": ratios[index]}
        print(f"{name} {index + 1}/{len(ratios)}: V/V₀ = {ratios[index]}, {how['steps']} steps", flush=True)
        rows.write(atoms, keys | how)
        last.append(atoms)


def deformed(atoms: Atoms, strain: Floats) -> Atoms:
    """Strain a crystal with its ions, shears engineering."""
    copy: Atoms = atoms.copy()
    copy.set_cell(strained(atoms.cell.array, strain), scale_atoms=True)
    return copy


def extrapolated(one: Atoms, other: Atoms) -> Atoms:
    """As far beyond the second structure as that is beyond the first."""
    copy: Atoms = other.copy()
    moved = (other.get_scaled_positions(wrap=False) - one.get_scaled_positions(wrap=False) + 0.5) % 1 - 0.5
    copy.set_cell(2 * other.cell.array - one.cell.array)
    copy.set_scaled_positions(other.get_scaled_positions(wrap=False) + moved)
    return copy


def rattled(framework: Framework, reference: Atoms) -> Iterator[Job]:
    """Strained a little, with thermal displacements in the network of springs and no shift of the whole."""
    size = 3 * len(reference)
    values, vectors = np.linalg.eigh(springs(reference))
    widths = (kB * TEMPERATURE_K / values) ** 0.5
    points = qmc.Sobol(6 + size, rng=SEED).random_base2(int(np.ceil(np.log2(framework.rattled))))
    for index, point in enumerate(points[: framework.rattled]):
        atoms = deformed(reference, (2 * point[:6] - 1) * np.repeat([STRAIN, SHEAR], 3))
        steps = (vectors @ (widths * norm.ppf(np.clip(point[6:], 1e-6, 1 - 1e-6)))).reshape(-1, 3)
        atoms.positions += steps - steps.mean(axis=0)
        yield Job({"set": "rattled", "index": index, "ions": "free", "temperature_K": TEMPERATURE_K}, atoms)


def run(framework: Framework, rows: Growing, calculator: Calculator, label: Labeller) -> None:
    """All sets of a framework, those first that others need."""
    if not rows.has(set="relaxation"):
        atoms, how = Relaxation(calculator, label, framework.built.cell.array)(framework.built)
        print(f"reference: {how['steps']} steps, V = {atoms.get_volume():.1f} Å³", flush=True)
        rows.write(atoms, {"set": "relaxation", "index": 0, "ions": "relaxed"} | how)
    reference, step = rows.read("relaxation")[-1], 0.02 * np.array(framework.towards)
    rows.add(rattled(framework, reference))
    closing, opening = framework.closing, framework.opening

    def relax() -> Relaxation:
        return Relaxation(calculator, label, reference.cell.array)

    path(rows, relax(), "closing", closing, reference, step)
    path(rows, relax(), "opening", opening, reference, -step)
    path(rows, relax(), "reopening", closing[-2::-1], rows.read("closing")[-1], 0 * step)


def labeller(calculator: Calculator) -> Labeller:
    def label(atoms: Atoms) -> Atoms:
        copy: Atoms = atoms.copy()
        copy.calc = calculator
        energy = float(copy.get_potential_energy())
        return frozen(atoms, energy=energy, forces=np.array(copy.get_forces()), stress=np.array(copy.get_stress()))

    return label


def chgnet() -> tuple[Calculator, dict[str, Any]]:
    from importlib.metadata import version

    import torch
    from chgnet.model.dynamics import CHGNetCalculator  # type: ignore[import-not-found,unused-ignore]

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    keys = {"code": "CHGNet", "code_version": version("chgnet"), "model": "0.3.0", "seed": SEED}
    return CHGNetCalculator(use_device="cpu", verbose=False), keys


def numbers(rows: Rows) -> dict[str, Any]:
    """What the rows say of themselves."""
    found: dict[str, Any] = {"springs_eV_A2": {**{str(far): k for far, k in SPRINGS.items()}, "ground": GROUND}}
    reference = rows.read("relaxation")[-1]
    for name in ("closing", "opening", "reopening", "rattled"):
        atoms = rows.read(name)
        if not atoms:
            continue
        energies = np.array([each.get_potential_energy() for each in atoms]) - reference.get_potential_energy()
        forces = np.concatenate([each.get_forces() for each in atoms])
        volumes = np.array([each.get_volume() for each in atoms])
        found[name] = {
            "rows": len(atoms),
            "energies_above_the_reference_eV": [float(energies.min()), float(energies.max())],
            "volumes_A3": [float(volumes.min()), float(volumes.max())],
            "force_rms_meV_A": 1e3 * float(np.mean(forces**2) ** 0.5),
            "largest_net_force_meV_A": 1e3 * max(float(np.abs(each.get_forces().sum(axis=0)).max()) for each in atoms),
        }
        if name != "rattled":
            steps = [np.abs(b.positions - a.positions).max() for a, b in pairwise(atoms)]
            found[name]["largest_step_of_a_coordinate_A"] = float(max(steps, default=0.0))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework", choices=sorted(frameworks()))
    parser.add_argument("database", type=Path)
    parser.add_argument(
        "--ship", type=Path, help="a packed copy to write, its metadata what the rows say of themselves"
    )
    given = parser.parse_args()
    framework = frameworks()[given.framework]
    if given.ship:
        rows = Rows(given.database)
        found = numbers(rows)
        rows.ship(given.ship, framework.title, without=[], numbers=found)
        print(json.dumps(found, indent=1))
    else:
        calculator, keys = chgnet()
        with Growing(given.database, keys, labeller(calculator)) as growing:
            run(framework, growing, calculator, labeller(calculator))


if __name__ == "__main__":
    main()
