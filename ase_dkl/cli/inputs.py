"""What commands read."""

from ase_dkl.addresses import display_name


def paths_of(sources: list[str]) -> list[str]:
    """The files and addresses that some sources stand for, none of them read yet."""
    from ase_dkl.dataset.places import files_of

    return files_of(sources)


def named(sources: list[str]) -> str:
    """Sources as titles call them."""
    return display_name(sources[0]) if len(sources) == 1 else f"{len(sources)} files or directories"
