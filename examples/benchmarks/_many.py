"""Energies of very many copper lattices: made once, kept in a file, read as far as wanted."""

from __future__ import annotations

import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _common import Floats, console, stderr
from _copper import A, box, copper
from ase.calculators.emt import EMT
from rich.progress import track

from ase_dkl.files import written_whole

if TYPE_CHECKING:
    from ase_dkl import Dataset

CHUNK = 256
"""Lattices that a process labels at a time."""


def cache_of(n: int, file: Path | None) -> Path:
    """The file that is named, or one of n rows in the user's cache."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ase_dkl"
    return file or folder / f"emt_copper_{n}.npz"


def label(n: int, n_test: int, cache: Path) -> None:
    """Label n rows to train on and some to test on, where that is not done yet."""
    if cache.exists():
        return
    start = time.perf_counter()
    chunks = [*np.array_split(box(1, n), max(1, n // CHUNK)), box(2, n_test)]
    # Processes that start afresh: those forked from one that has torch's threads may hang.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        results = pool.map(_cells_and_energies, chunks)
        done = list(track(results, "labels", total=len(chunks), console=stderr))
    cells, energies = (np.concatenate(part) for part in zip(*done, strict=True))
    cache.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(cache) as beside, beside.open("wb") as file:
        np.savez(file, cells=cells[:n], energies=energies[:n], test_cells=cells[n:], test_energies=energies[n:])
    console.print(f"{n + n_test:,} labels in {time.perf_counter() - start:.0f} s, kept in {cache}")


def read(cache: Path, n: int) -> tuple[Dataset, Floats, Floats]:
    """The first n rows, and the cells and energies to test on."""
    # Not imported by the processes that only label.
    from ase_dkl import Crystal, Dataset

    with np.load(cache) as labels:
        cells, energies = labels["cells"][:n], labels["energies"][:n]
        unseen, truth = labels["test_cells"], labels["test_energies"]
    if len(cells) < n:
        raise SystemExit(
            f"{cache} holds labels of {len(cells)} rows, and {n} are asked for. Delete it, or name another."
        )
    crystal = Crystal.from_atoms(copper(np.array([A, A, A, 90, 90, 90])))
    dataset = Dataset(crystal, cells, energies, np.full((n, 6), np.nan), np.arange(n), {"source": "EMT"}, ())
    return dataset, unseen, truth


def peak() -> int:
    """The largest memory that this process has had, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cells_and_energies(lattices: Floats) -> tuple[Floats, Floats]:
    atoms = copper(lattices[0])
    atoms.calc = EMT()
    cells, energies = np.empty((len(lattices), 3, 3)), np.empty(len(lattices))
    for i, lattice in enumerate(lattices):
        atoms.set_cell(lattice, scale_atoms=True)
        cells[i], energies[i] = atoms.cell.array, atoms.get_potential_energy()
    return cells, energies
