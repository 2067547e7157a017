"""What is the matter with a model, or with labels that it is held against, in sentences."""

from __future__ import annotations

import shlex
import warnings
from typing import TYPE_CHECKING

import numpy as np
from ase.units import Bohr, GPa, Hartree, Ry, kcal, kJ, mol

from ase_dkl.model.evaluation import prediction_of, stress_labels
from ase_dkl.wording import number, plus_minus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase_dkl.arrays import Floats
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.loading import Loaded
    from ase_dkl.model.records import Contradiction, Evaluation, TrainingReport

NOISY = 0.03
"""Part of the energies' spread. Noise of the shipped data, 16 to 192 rows, is 0.001 to 0.01 of it."""
UNLEARNT = 0.3
"""Part of the energies' spread: with larger errors on unseen rows a model is little better than their mean."""
TOO_WIDE = 3.0
"""σ. Errors are 0.3 to 1.5 of what models of the shipped data say."""
UNLIKELY = 1e-3
"""Probability of so few labels in a band that is as wide as it should be."""
FAR_OFF = 5.0
"""σ, of labels that a model was not trained on."""
ALIKE = 0.2
"""Errors that scatter by less than this part of their size are one shift, or one factor."""
SHOWN = 12
"""Contradictions, at most."""

_ENERGY_UNITS = {"Ry": Ry, "Hartree": Hartree, "kJ/mol": kJ / mol, "kcal/mol": kcal / mol, "meV": 1e-3}
_FORCE_UNITS = {"in Hartree/Bohr": Hartree / Bohr, "in Ry/Bohr": Ry / Bohr, "gradients, of the opposite sign": -1.0}
_STRESS_UNITS = {"in GPa": GPa, "in kbar": 0.1 * GPa, "of the opposite sign": -1.0}


class ModelWarning(UserWarning):
    """Something is the matter with the model that is being used."""


def warn_of(surrogate: Loaded) -> None:
    """Warn of all `faults` of a model."""
    for sentence in faults(surrogate):
        warnings.warn(sentence, ModelWarning, stacklevel=2)


def faults(surrogate: Loaded) -> tuple[str, ...]:
    """What is the matter with a model, from what its training found; nothing where it is as it should be."""
    report, spread = surrogate.report, 1e3 * surrogate.units.scale
    found = [_of_contradictions(report)] if report.contradictions else []
    noise = 1e3 * report.energy_noise
    if noise > NOISY * spread:
        found.append(
            f"The noise found in the energies, {number(noise, 3)} meV per cell, is {noise / spread:.0%} of their "
            f"spread ({number(spread, 3)} meV): labels contradict each other, or energies vary too little to learn "
            "from. What follows from the model may be wrong by more than its error bars."
        )
    if (errors := report.errors) is not None:
        rows = "held-out rows" if errors is report.test else "rows, each left out in turn,"
        found += _of_errors(errors, rows, spread)
    return tuple(found)


def warn_of_labels(surrogate: Loaded, dataset: Dataset) -> None:
    """Warn of labels in `disagreement` with a model."""
    if (sentence := disagreement(surrogate, dataset)) is not None:
        warnings.warn(sentence, ModelWarning, stacklevel=2)


def disagreement(surrogate: Loaded, dataset: Dataset) -> str | None:
    """Why labels lie far from a model's predictions, where one shift or one factor explains it; else None.

    Args:
        surrogate: the model.
        dataset: labelled structures of the same crystal that it was not trained on.
    """
    prediction = prediction_of(surrogate, dataset)
    known = dataset.has_energy
    energies, energy = dataset.energies[known], prediction.value[known]
    errors = energies - energy.mean
    if len(errors) and np.median(np.abs(errors) / energy.total) > FAR_OFF:
        predicted = energy.mean - energy.mean.mean()
        if len(errors) > 2 and (unit := _unit(energies - energies.mean(), predicted, _ENERGY_UNITS)):
            return f"Energies look as if they were in {unit}; ASE's are in eV."
        if errors.std() < ALIKE * abs(errors.mean()):
            side = "above" if errors.mean() > 0 else "below"
            return (
                f"The energies lie {plus_minus(abs(errors.mean()), errors.std(), 'eV')} per cell {side} the model's, "
                "all by nearly as much: they were computed in another way (functional, pseudopotentials, cutoff), or "
                "have another zero of energy."
            )
    if (stress := prediction.slopes.get("strain")) is not None:
        labels = stress_labels(dataset, surrogate.stress_offset)
        there = np.isfinite(labels)
        labels, stress = labels[there], stress[there]
        if len(labels) and np.median(np.abs(labels - stress.mean) / stress.total) > FAR_OFF:
            unit = _unit(labels, stress.mean, _STRESS_UNITS)
            if unit:
                return f"Stresses look as if they were {unit}; ASE's are in eV/Å³, and tension is positive."
    if (forces := prediction.slopes.get("displacement")) is not None and dataset.has_forces.any():
        labels, forces = dataset.forces[dataset.has_forces], forces[dataset.has_forces]
        if np.median(np.abs(labels - forces.mean) / forces.total) > FAR_OFF:
            unit = _unit(labels, forces.mean, _FORCE_UNITS)
            if unit:
                return f"Forces look as if they were {unit}; ASE's are in eV/Å, and point downhill."
    return None


def _unit(labels: Floats, expected: Floats, units: dict[str, float]) -> str | None:
    """The unit that labels are in, if they are the expected ones in another one."""
    for unit, size in units.items():
        rest = labels * size - expected
        if np.sqrt(np.mean(rest**2)) < ALIKE * np.sqrt(np.mean(expected**2)):
            return unit
    return None


def _of_contradictions(report: TrainingReport) -> str:
    from ase_dkl.dataset.mixtures import can_be_listed

    found = report.contradictions
    names = dict.fromkeys(each.id for each in found)
    rows = [int(name) if name.isdigit() else name for name in names]
    are = "label is" if len(found) == 1 else "labels are"
    words = f"{len(found)} {are} contradicted by those of the other rows. {' '.join(map(_told, found[:SHOWN]))}"
    those = "this calculation" if len(rows) == 1 else "these calculations"
    if not can_be_listed(np.array(rows)):
        return f"{words} Look at {those}."
    without = (f"{'id' if isinstance(row, int) else 'row'}!={row}" for row in rows)
    selection = ",".join(filter(None, (report.dataset.get("select"), *without)))
    return f"{words} Look at {those}. To leave out what is wrong: --select {shlex.quote(selection)}"


def _told(each: Contradiction) -> str:
    difference = each.given - each.expected
    if each.label == "energy":
        side = "above" if difference > 0 else "below"
        return (
            f"Row {each.id}: its energy is {plus_minus(abs(difference), each.std, 'eV')} {side} what they make of it."
        )
    return (
        f"Row {each.id}: its {each.label} is {number(each.given, 4)} GPa, where they expect "
        f"{plus_minus(each.expected, each.std, 'GPa')}."
    )


def _of_errors(errors: Evaluation, rows: str, spread: float) -> Sequence[str]:
    from scipy.stats import binom

    found = []
    if errors.energy_rmse_meV is not None and errors.energy_rmse_meV > UNLEARNT * spread:
        found.append(
            f"Errors on {errors.n} {rows} are {number(errors.energy_rmse_meV, 3)} meV per cell (RMS), and the energies "
            f"spread over {number(spread, 3)} meV: the model has learnt little. It needs more rows, or better ones."
        )
    inside = errors.coverage_95
    if errors.energy_rms_z is not None and errors.energy_rms_z > TOO_WIDE:
        found.append(
            f"Errors on {errors.n} {rows} are {number(errors.energy_rms_z, 2)} times as large as the model says (RMS): "
            "its error bars are too small."
        )
    elif inside is not None and binom.cdf(np.rint(inside * errors.n), errors.n, 0.95) < UNLIKELY:
        chance = np.sqrt(0.95 * 0.05 / errors.n)
        found.append(
            f"Of {errors.n} {rows} {inside:.0%} have an energy within the model's 95 % interval (by chance "
            f"95 ± {100 * chance:.0f} %): its error bars are too small."
        )
    return found
