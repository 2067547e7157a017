"""What a method of the comparison is: a name, settings with candidates, and a way from labelled rows to a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import ArrayLike

from ase_dkl.dataset import Dataset
from ase_dkl.errors import Refused
from ase_dkl.model.prediction import Prediction

Settings = Mapping[str, Any]


class BadMethod(Refused, ValueError):
    """There is no such method or setting, or the setting's value is of the wrong kind."""


class Model(Protocol):
    """What a fitted method answers with; `Surrogate` is one."""

    @property
    def stress_offset(self) -> float:
        """The training labels' constant in V·σ of xx, yy and zz (Pulay stress), eV; 0 where none was found."""
        ...

    def predict_cells(self, cells: ArrayLike, *, stress: bool = True) -> Prediction:
        """Energies and stresses of lattices.

        Args:
            cells: lattice vectors in the reference's basis, shape (n, 3, 3), Å; n may be zero.
            stress: whether stresses are wanted. A method without them answers None whatever is asked.

        Raises:
            ValueError: the cells have another shape or are not finite.
        """
        ...


@dataclass(frozen=True)
class Method:
    """One way of getting energies with uncertainties.

    Attributes:
        name: key in files and tables, such as "mc_dropout".
        title: for tables and figures.
        fit: training rows, settings and seed → model. The same arguments give the same model on the same machine and
            number of threads.
        defaults: every setting that the method has, with its default; str, int, float, bool or None.
        grid: its main hyperparameters and their candidate values; empty where there is nothing to search.
        learns_from_stress: whether stress labels are used; otherwise `fit` leaves them aside.
        predicts_stress: whether predictions have stresses.
        passes: forward passes of a network for one prediction, from the settings; 0 without networks.
        random: whether fits differ by their seed. Of a method whose fits do not, studies make one.
    """

    name: str
    title: str
    fit: Callable[[Dataset, Settings, int], Model]
    defaults: Settings
    grid: Mapping[str, tuple[Any, ...]]
    learns_from_stress: bool
    predicts_stress: bool
    passes: Callable[[Settings], int]
    random: bool = True


def checked(method: Method, settings: Settings) -> dict[str, Any]:
    """A method's defaults, overridden by settings.

    Whole numbers are taken for real ones. Where the default is None, any kind of value is taken.

    Raises:
        BadMethod: the method has no such setting, or the value is of the wrong kind.
    """
    for name, value in settings.items():
        if name not in method.defaults:
            known = ", ".join(method.defaults) or "none"
            raise BadMethod(f"The method {method.name} has no setting {name!r}. It has: {known}.")
        default = method.defaults[name]
        kinds = {type(known) for known in (default, *method.grid.get(name, ()))}
        if float in kinds:
            kinds.add(int)
        if default is not None and type(value) not in kinds:
            raise BadMethod(
                f"{name} of the method {method.name} is {value!r}; give a value of the kind of its "
                f"default, {default!r}."
            )
    return {**method.defaults, **settings}
