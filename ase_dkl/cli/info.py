"""`ase-dkl info`."""

from typing import TYPE_CHECKING, Any

from ase_dkl.cli.terminal import Json, Model, in_words, print_json, print_table

if TYPE_CHECKING:
    from ase_dkl.surrogate import Surrogate


@in_words
def info(model: Model, as_json: Json = False) -> None:
    """Show what a model is of, what it was trained on, and how good it was then."""
    from ase_dkl.surrogate import Surrogate

    surrogate = Surrogate.load(model)
    if as_json:
        print_json(_summary(surrogate))
    else:
        print_table(f"{model}", report_rows(surrogate))


def report_rows(surrogate: "Surrogate") -> dict[str, str]:
    raise NotImplementedError


def _summary(surrogate: "Surrogate") -> dict[str, Any]:
    raise NotImplementedError
