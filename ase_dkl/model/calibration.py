"""Recalibration: how far labels that a model has not seen lie from what it says, measured by its own σ.

A model's σ is what its posterior says, right or wrong. Here models trained without a part of the rows predict that
part; z = error / σ, with model uncertainty and label noise in σ, tells how wrong. From all z follow

- a factor for σ, their root mean square: the maximum likelihood of Gaussian errors that are factor times as wide;
- conformal intervals, prediction ± q σ, with q a quantile of |z|: they hold whatever the errors' distribution is, as
  long as the new label comes from where the rows came from.

What the model predicts stays as it is.

Source: normalised conformal regression: Papadopoulos, Gammerman & Vovk (2008); held-out folds for a model of all
rows: Vovk, Ann. Math. Artif. Intell. 74 (2015) 9; several labels of one row: Lee, Barber & Willett,
arXiv:2306.06342; the factor: Laves et al., MIDL 2020, arXiv:2104.12376.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ase_dkl.arrays import Floats
from ase_dkl.errors import Refused
from ase_dkl.model.layout import VALUE
from ase_dkl.model.quantity import ENERGY, Quantity

if TYPE_CHECKING:
    from ase_dkl.model.prediction import Normal, Prediction

ROUNDING = 1e-9
"""Rounding of levels: without it 9 rows would be said to be too few for 90 %."""


class BadCalibration(Refused, ValueError):
    """A calibration or an interval that makes no sense, or for which there are too few rows."""


@dataclass(frozen=True, eq=False)
class Scores:
    """z = error / σ of one kind of label.

    Attributes:
        z: shape (n, k), k labels a row; NaN where a sheet or chain has no such stress.
        fold: which rows were held out together, shape (n,).
    """

    z: Floats
    fold: NDArray[np.int64]

    @property
    def factor(self) -> float:
        """What σ has to be multiplied by."""
        return float(np.sqrt(np.nanmean(self.z**2)))

    def half_width(self, level: float) -> float:
        """Half-width of the conformal interval that holds a new label with probability `level`, in units of σ.

        Raises:
            BadCalibration: so high a level takes more rows.
        """
        scores = np.sort(np.abs(self.z[np.isfinite(self.z)]))
        # Labels of one row go together: the row to come counts as k that may lie anywhere.
        labels = int(np.isfinite(self.z).sum(axis=1).max())
        rank = max(1, math.ceil((level - ROUNDING) * (len(scores) + labels)))
        if rank > len(scores):
            raise BadCalibration(
                f"{len(self.z)} held-out rows tell nothing of intervals that hold {level:.6g} of the labels: that "
                f"takes {math.ceil(level / (1 - level) - ROUNDING)}. Ask for a lower level, or calibrate on more rows."
            )
        return float(scores[rank - 1])

    def coverage(self, level: float) -> dict[str, float | None]:
        """Fractions of the held-out labels inside intervals that shall hold `level` of them.

        Returns:
            "raw": by σ as it is. "scaled": by σ times the factor, and "conformal": the factor, and the quantile, from
            the other folds' scores alone. None where those are too few.
        """
        from scipy.stats import norm

        gaussian = float(norm.ppf((1 + level) / 2))
        scaled, conformal = np.zeros(len(self.z)), np.zeros(len(self.z))
        for fold in np.unique(self.fold):
            held_out = self.fold == fold
            others = Scores(self.z[~held_out], self.fold[~held_out])
            scaled[held_out] = gaussian * others.factor
            try:
                conformal[held_out] = others.half_width(level)
            except BadCalibration:
                conformal[held_out] = np.nan
        return {
            "raw": self._inside(np.full(len(self.z), gaussian)),
            "scaled": self._inside(scaled),
            "conformal": self._inside(conformal) if np.isfinite(conformal).all() else None,
        }

    def _inside(self, widths: Floats) -> float:
        return float((np.abs(self.z) <= widths[:, None])[np.isfinite(self.z)].mean())


@dataclass(frozen=True, eq=False)
class Intervals:
    """Intervals that shall hold a fraction of labels; NaN for extrapolations.

    Attributes:
        level: the fraction.
        ends: lower and upper ends, by the kind of label, shape (n, 2) of values and (n, t, 2) of slopes.
    """

    level: float
    ends: Mapping[str, Floats]

    @property
    def energy(self) -> Floats:
        """Lower and upper ends, eV, shape (n, 2)."""
        return self.ends[VALUE]

    @property
    def stress(self) -> Floats | None:
        """The same, eV/Å³, shape (n, 6, 2), for labels less their offset (Pulay stress); None without stresses."""
        return self.ends.get("strain")


@dataclass(frozen=True, eq=False)
class Calibration:
    """What held-out folds of its training rows say of a model's error bars. Made by `ase_dkl.calibrate`.

    Attributes:
        scores: by the kind of label, of those that there were.
        notes: what stands against taking new structures for more of the same.
    """

    scores: Mapping[str, Scores]
    notes: tuple[str, ...] = ()

    @property
    def energy(self) -> Scores:
        """Scores of the energies."""
        return self.scores[VALUE]

    @property
    def stress(self) -> Scores | None:
        """Scores of the stress components; None without stress labels."""
        return self.scores.get("strain")

    def intervals(self, prediction: Prediction, level: float, *, outside: NDArray[np.bool_] | None = None) -> Intervals:
        """Conformal intervals of the model that was calibrated.

        Args:
            prediction: what the model says of n structures.
            level: between 0 and 1; the fraction of labels to come that the intervals shall hold.
            outside: where the model extrapolates, shape (n,): no held-out row tells of errors there, so intervals are
                NaN. `surrogate.extrapolation(cells).outside` knows.

        Raises:
            BadCalibration: so high a level takes more rows, or it is no fraction.
        """
        if not 0 < level < 1:
            raise BadCalibration(f"{level} is no level for intervals; give a fraction of the labels, such as 0.95.")
        nowhere = np.zeros(len(prediction.value.mean), dtype=bool) if outside is None else outside
        predicted = prediction.by_kind
        kinds = [kind for kind in self.scores if kind in predicted]
        return Intervals(level, {kind: _around(predicted[kind], self.scores[kind], level, nowhere) for kind in kinds})

    def to_file(self) -> tuple[dict[str, Any], dict[str, Floats]]:
        """What a model file holds of it: values for JSON, and arrays."""
        arrays = {f"calibration.{kind}": scores.z for kind, scores in self.scores.items()}
        folds = {kind: scores.fold.tolist() for kind, scores in self.scores.items()}
        return {"folds": folds, "notes": list(self.notes)}, arrays

    @classmethod
    def from_file(cls, header: dict[str, Any], arrays: Mapping[str, Floats]) -> Self:
        """Rebuild a calibration from `to_file`."""
        scores = {kind: Scores(arrays[f"calibration.{kind}"], np.array(fold)) for kind, fold in header["folds"].items()}
        return cls(scores, tuple(header["notes"]))

    def summary(self, quantity: Quantity = ENERGY) -> dict[str, Any]:
        """Layout, factors and coverages of the 95 % interval, for JSON."""
        found = {
            name: None
            if (scores := self.scores.get(kind)) is None
            else {"rows": len(scores.z), "factor": scores.factor, "coverage_95": scores.coverage(0.95)}
            for kind, name in quantity.names.items()
        }
        return {"folds": len(np.unique(self.scores[VALUE].fold)), **found, "notes": list(self.notes)}


def _around(predicted: Normal, scores: Scores, level: float, nowhere: NDArray[np.bool_]) -> Floats:
    width = scores.half_width(level) * predicted.total
    ends = np.stack([predicted.mean - width, predicted.mean + width], axis=-1)
    ends[nowhere] = np.nan
    return ends
