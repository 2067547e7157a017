"""Outputs of DFT codes, by hand: as much of them as ASE reads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa

from ase_dkl.crystal.lattice import VOIGT


def strained_copper(n: int) -> list[Atoms]:
    """Copper, four atoms, randomly strained by up to 3 %, with EMT's energy and stress."""
    frames = []
    for strain in np.random.default_rng(3).uniform(-0.03, 0.03, (n, 6)):
        atoms = bulk("Cu", cubic=True)
        deformation = np.eye(3)
        for (i, j), part in zip(VOIGT, strain, strict=True):
            deformation[i, j] += part / 2
            deformation[j, i] += part / 2 * (i != j)
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        atoms.calc = EMT()
        atoms.get_potential_energy()
        atoms.get_stress()
        frames.append(atoms)
    return frames


def outcar(path: Path, steps: Sequence[Atoms]) -> Path:
    """A run of VASP with some ionic steps."""
    lines = [
        " vasp.6.4.2",
        " POTCAR:    PAW_PBE Cu 22Jun2005",
        " ISPIN  =      1",
        f"   ions per type = {len(steps[0]):15d}",
    ]
    for number, atoms in enumerate(steps, 1):
        energy, cell = atoms.get_potential_energy(), atoms.cell.array
        xx, yy, zz, yz, xz, xy = -atoms.get_stress() / (0.1 * GPa)
        lines += [
            f"--------------------------------------- Iteration {number:6d}(   1)  -------------",
            f"  in kB {xx:12.5f}{yy:12.5f}{zz:12.5f}{xy:12.5f}{yz:12.5f}{xz:12.5f}",
            "      direct lattice vectors                 reciprocal lattice vectors",
            *("".join(f"{x:16.9f}" for x in [*row, 0, 0, 0]) for row in cell),
            " POSITION                                       TOTAL-FORCE (eV/Angst)",
            " -----------------------------------------------------------------------------------",
            *(
                "".join(f"{x:16.9f}" for x in [*at, *force])
                for at, force in zip(atoms.positions, atoms.get_forces(), strict=True)
            ),
            " -----------------------------------------------------------------------------------",
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)",
            "  ---------------------------------------------------",
            f"  free  energy   TOTEN  = {energy:18.8f} eV",
            "",
            f"  energy  without entropy= {energy:18.8f}  energy(sigma->0) = {energy:18.8f}",
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path
