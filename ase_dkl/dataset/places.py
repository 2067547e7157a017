"""What a user names, files, directories of runs, patterns and stdin → the files to read, and their frames."""

from __future__ import annotations

import glob
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import iread
from ase.io.formats import UnknownFileTypeError, filetype

from ase_dkl.addresses import display_name, is_server
from ase_dkl.crystal.mapping import CLAMPED_TOLERANCE

RUNS = frozenset(
    (
        "abinit-gsr abinit-out acemolecule-out aims-output castep-castep castep-geom castep-md dacapo-text elk "
        "espresso-out gamess-us-out gaussian-out gpaw-out nomad-json nwchem-out onetep-out orca-output qbox "
        "turbomole-gradient vasp-out vasp-xml"
    ).split()
)
"""ASE's names of what codes write: the steps of one run, which are labels of their own only if no ion moves."""
COLLECTIONS = frozenset(("db", "extxyz", "traj"))
"""ASE's names of what people gather labelled structures in."""
STDIN = "-"
_MARKS = {
    rb"SQLite format 3": "stdin.db",
    rb"\s*\{": "stdin.json",
    rb" vasp\.": "OUTCAR",
    rb"\s*<\?xml[^>]*>\s*<modeling>": "vasprun.xml",
}
"""Formats that ASE tells by the file's name alone."""


@dataclass(frozen=True)
class Place:
    """Where rows are.

    Attributes:
        path: what ASE reads, a file's name or a server's address.
        name: as it is shown and kept.
        is_no_file: it is a server, or was stdin.
    """

    path: str
    name: str
    is_no_file: bool = False


def files_of(sources: Sequence[str]) -> list[str]:
    """The files, addresses and "-" that some sources stand for; as `places`, but nothing is read from stdin."""
    paths = [path for source in sources for path in _paths(source)]
    return list({path if _no_file(path) else os.path.realpath(path): path for path in paths}.values())


@contextmanager
def places(sources: Sequence[str]) -> Iterator[list[Place]]:
    """Files and servers, once each and in the order given; what comes by stdin is there while the block lasts.

    Args:
        sources: names of files, directories that are searched for outputs of runs and databases, patterns such as
            "runs/*/OUTCAR", addresses of servers, and "-" for stdin.

    Raises:
        FileNotFoundError: a directory without such files, or a pattern that fits none.
    """
    paths = files_of(sources)
    absolute = [path for path in paths if not _no_file(path) and Path(path).is_absolute()]
    base = Path(os.path.commonpath(absolute)) if absolute else Path()
    base = base.parent if base.is_dir() else base.parent.parent
    with tempfile.TemporaryDirectory() as folder:
        yield [_place(path, base if path in absolute and len(paths) > 1 else None, folder) for path in paths]


def frames(path: str, *, every_step: bool = False) -> tuple[list[int], list[Atoms]]:
    """The structures of a file, numbered as it has them: all of them, but of a run in which ions move only the last.

    A relaxation's steps before the last are no energies of relaxed ions, and of clamped ones neither. With `every_step`
    all are taken, as of free ions.
    """
    found = list(iread(path, index=":"))
    if len(found) > 1 and not every_step and run_of(path) and _ions_move(found):
        return [len(found) - 1], found[-1:]
    return list(range(len(found))), found


def run_of(path: str) -> bool:
    """Whether a file is what a code wrote of one run."""
    return kind(path) in RUNS


def kind(path: str) -> str | None:
    """ASE's name for the format of a file; None where it knows none."""
    try:
        return filetype(path)
    except (UnknownFileTypeError, OSError, UnicodeDecodeError):
        return None


def _paths(source: str) -> list[str]:
    if source == STDIN or is_server(source) or Path(source).is_file() or Path(source).suffix == ".aselmdb":
        return [source]
    if Path(source).is_dir():
        return _outputs(source)
    if glob.has_magic(source) and "@" not in source:
        matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207, as it was given
        if not matches:
            raise FileNotFoundError(f"{source}: no file fits this pattern.")
        return [path for match in matches for path in _paths(match)]
    return [source]


def _outputs(folder: str) -> list[str]:
    """Outputs of runs and databases beneath a directory; of each code's in one directory those that say most."""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        kinds = {name: kind(str(Path(where, name))) for name in sorted(files) if not name.startswith(".")}
        # vasp-out before vasp-xml, castep-castep before castep-geom and castep-md: one run is not read twice.
        best: dict[str, str] = {}
        for known in sorted(each for each in kinds.values() if each in RUNS):
            best.setdefault(known.partition("-")[0], known)
        found += [str(Path(where, name)) for name in kinds if kinds[name] in {*best.values(), *COLLECTIONS}]
    if not found:
        raise FileNotFoundError(
            f"{folder}: there are no outputs of DFT runs in this directory (OUTCAR, vasprun.xml, *.castep, outputs of "
            "pw.x and others that ASE knows), and no .db, .traj or .xyz."
        )
    return found


def _no_file(path: str) -> bool:
    return path == STDIN or is_server(path)


def _place(path: str, base: Path | None, folder: str) -> Place:
    if path == STDIN:
        content = sys.stdin.buffer.read()
        spooled = Path(folder, next((name for mark, name in _MARKS.items() if re.match(mark, content)), "stdin"))
        spooled.write_bytes(content)
        return Place(str(spooled), "stdin", is_no_file=True)
    name = display_name(path) if base is None else str(Path(path).relative_to(base))
    return Place(path, name, is_server(path))


def _ions_move(found: Sequence[Atoms]) -> bool:
    first = found[0]
    if not all(atoms.cell.rank == 3 and np.array_equal(atoms.numbers, first.numbers) for atoms in found):
        return False
    steps = np.array([atoms.get_scaled_positions(wrap=False) for atoms in found])
    steps -= steps[0].copy()
    steps -= np.rint(steps)
    steps -= steps.mean(axis=1, keepdims=True)
    return bool((np.linalg.norm(steps @ first.cell.array, axis=-1) > CLAMPED_TOLERANCE).any())
