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
        energy: lower and upper ends, eV, shape (n, 2).
        stress: the same, eV/Å³, shape (n, 6, 2), for labels less their offset (Pulay stress); None without stresses.
    """

    level: float
    energy: Floats
    stress: Floats | None


@dataclass(frozen=True, eq=False)
class Calibration:
    """What held-out folds of its training rows say of a model's error bars. Made by `ase_dkl.calibrate`.

    Attributes:
        energy: scores of the energies.
        stress: scores of the stress components; None without stress labels.
        notes: what stands against taking new structures for more of the same.
    """

    energy: Scores
    stress: Scores | None
    notes: tuple[str, ...] = ()

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
        energy = _around(prediction.value, self.energy, level, nowhere)
        stress = prediction.slopes.get("strain")
        if stress is None or self.stress is None:
            return Intervals(level, energy, None)
        return Intervals(level, energy, _around(stress, self.stress, level, nowhere))

    def to_file(self) -> tuple[dict[str, Any], dict[str, Floats]]:
        """What a model file holds of it: values for JSON, and arrays."""
        kinds = {"energy": self.energy, "stress": self.stress}
        arrays = {f"calibration.{name}": scores.z for name, scores in kinds.items() if scores is not None}
        folds = {name: scores.fold.tolist() for name, scores in kinds.items() if scores is not None}
        return {"folds": folds, "notes": list(self.notes)}, arrays

    @classmethod
    def from_file(cls, header: dict[str, Any], arrays: Mapping[str, Floats]) -> Self:
        """Rebuild a calibration from `to_file`."""
        scores = {name: Scores(arrays[f"calibration.{name}"], np.array(fold)) for name, fold in header["folds"].items()}
        return cls(scores["energy"], scores.get("stress"), tuple(header["notes"]))

    def summary(self) -> dict[str, Any]:
        """Rows, factors and coverages of the 95 % interval, for JSON."""
        kinds = {"energy": self.energy, "stress": self.stress}
        found = {
            name: None
            if scores is None
            else {"rows": len(scores.z), "factor": scores.factor, "coverage_95": scores.coverage(0.95)}
            for name, scores in kinds.items()
        }
        return {"folds": len(np.unique(self.energy.fold)), **found, "notes": list(self.notes)}


def _around(predicted: Normal, scores: Scores, level: float, nowhere: NDArray[np.bool_]) -> Floats:
    width = scores.half_width(level) * predicted.total
    ends = np.stack([predicted.mean - width, predicted.mean + width], axis=-1)
    ends[nowhere] = np.nan
    return ends
