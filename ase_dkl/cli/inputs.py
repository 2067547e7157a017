"""What commands read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase_dkl.addresses import display_name, is_server
from ase_dkl.cli.terminal import warnings_told
from ase_dkl.errors import Refused

if TYPE_CHECKING:
    from ase import Atoms

    from ase_dkl.model.loading import Loaded


@contextmanager
def opened(model: Path) -> Iterator[tuple[Loaded, list[str]]]:
    """Read a model, of lattices or of free ions, to be used while the block lasts.

    Yields:
        The model, and a list which in the end holds what was told: what is the matter with the model, and warnings.
    """
    from ase_dkl.model.loading import load
    from ase_dkl.model.verdict import warn_of

    surrogate = load(model)
    with warnings_told() as told:
        warn_of(surrogate)
        yield surrogate, told


def paths_of(sources: list[str]) -> list[str]:
    """The files and addresses that some sources stand for, none of them read yet."""
    from ase_dkl.dataset.places import files_of

    return files_of(sources)


def named(sources: list[str]) -> str:
    """Sources as titles call them."""
    return display_name(sources[0]) if len(sources) == 1 else f"{len(sources)} files or directories"


def read_structures(files: list[str]) -> tuple[list[dict[str, Any]], list[Atoms]]:
    """Read all structures of some files, each with the file and the frame that it is from."""
    from ase_dkl.dataset.places import places

    sources: list[dict[str, Any]] = []
    structures: list[Atoms] = []
    with places(files) as found:
        for place in found:
            name = place.name if place.is_no_file else place.path
            frames = _frames(place.path, name)
            if not frames:
                raise Refused(f"{name}: there are no structures in it.")
            sources += [{"file": name, "frame": i} for i in range(len(frames))]
            structures += frames
    return sources, structures


def _frames(path: str, name: str) -> list[Atoms]:
    import ase.io

    from ase_dkl.dataset.sources import BadDataset, read_rows

    if not is_server(path) and not Path(path.split("@", maxsplit=1)[0]).exists():
        raise Refused(f"{name}: there is no such file.")
    try:
        if is_server(path):
            return [row.toatoms() for row in read_rows(path)]
        found = ase.io.read(path, index=":" if "@" not in path else None)
    except BadDataset:
        raise
    except Exception as error:
        raise Refused(f"{name}: ASE cannot read it ({type(error).__name__}: {error}).") from error
    return found if isinstance(found, list) else [found]
