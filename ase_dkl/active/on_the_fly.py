"""A calculator that answers from a surrogate while that is sure, and asks DFT, learns and goes on when it is not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, all_changes
from ase.parallel import world
from ase.units import GPa
from ase.utils import IOContext

from ase_dkl.active.questions import (
    NoLabel,
    Question,
    add_to_database,
    check_database,
    in_meV,
    labelled,
    name_of,
    place,
)
from ase_dkl.active.retraining import due
from ase_dkl.active.stopping import calibration
from ase_dkl.arrays import Floats
from ase_dkl.calculator import DKLCalculator
from ase_dkl.crystal.lattice import onto_lattice, volumes
from ase_dkl.dataset import Dataset
from ase_dkl.model.conditioning import conditioned
from ase_dkl.model.evaluation import stress_labels
from ase_dkl.model.surrogate import Surrogate

MISFIT = 3.0
"""Standard deviations of the training energies: inside the domain no label with their zero is further from what was
expected."""
SAME = 1e-9
"""Å. Lattices are the same when no component differs by more."""


class ActiveCalculator(DKLCalculator):
    """A `DKLCalculator` whose surrogate learns while it is used.

    It answers from the surrogate where the energy's uncertainty is within the tolerance and the lattice inside the
    training domain. Elsewhere it asks the reference calculator for that lattice, in the crystal's own cell whatever
    supercell or basis was given, lets the surrogate learn the label, and answers from that. Where the surrogate is
    unsure even so, as it is with a tolerance below the labels' noise, it answers with the label itself.

    Both answers mean the same. The stress is the energy's derivative: from a label's stress the offset is taken (Pulay
    stress) that the surrogate has found in labels, and the uncertainties of a label are the noise that it has found.
    A surrogate that has learnt no stresses knows no such offset: there the stress is always its own. `requests` and
    the database have labels as they are.

    Learning changes the energy surface: by the error at the label's lattice, by less nearby. Energies from before and
    after it are of two surfaces. A Monte Carlo run asks again for the energy it is to compare with when `requests` has
    grown; an optimiser walks on over the new surface.

    Args:
        surrogate: where to begin: a model or its file.
        reference_calculator: an ASE calculator of energies, and of stresses if it has some, with the settings of the
            surrogate's training labels: else their energies have no common zero.
        tolerance: largest uncertainty of an energy that the surrogate may answer, eV per reference cell.
        dataset: the rows that the surrogate knows. With them it is trained again when that is due, by the rule of
            campaigns (`ase_dkl.active.retraining`); without them it is only conditioned.
        database: an ASE database to which each label is added, with its reason, as soon as it is there.
        log: file to which a line is added for each request; "-" for standard output.

    Attributes:
        surrogate: the current model.
        dataset: the rows given and the labels asked for; None where there are none.
        requests: what the reference was asked, in order.

    Raises:
        ValueError: the tolerance is no positive number, the dataset not what the surrogate knows, the model one of
            relaxed ions, or the database none.
    """

    surrogate: Surrogate

    def __init__(
        self,
        surrogate: Surrogate | str | Path,
        reference_calculator: BaseCalculator,
        tolerance: float,
        *,
        dataset: Dataset | None = None,
        database: str | Path | None = None,
        log: str | Path | TextIO | None = None,
    ) -> None:
        super().__init__(surrogate, extrapolation="ignore")
        if not (np.isfinite(tolerance) and tolerance > 0):
            raise ValueError(
                f"The tolerance is {tolerance}; it is an uncertainty, in eV per reference cell, above zero."
            )
        if self.surrogate.crystal.ions == "free":
            raise ValueError("The model is one of free ions. Use ActiveIonCalculator, which learns their forces too.")
        if self.surrogate.crystal.ions == "relaxed":
            raise ValueError(
                "The model is one of relaxed ions, and a calculation with the ions where a strained lattice has them "
                "is no label for it. Relax them for every label, collect the results in a database, and train on that."
            )
        _check(dataset, self.surrogate)
        if database is not None:
            check_database(str(database))
        self.reference = reference_calculator
        self.tolerance = float(tolerance)
        self.dataset = dataset
        self.requests: list[Question] = []
        self._database = None if database is None else str(database)
        self._log = log
        self._trainable = dataset is not None
        self._trained_on = self.surrogate.report.n_rows
        # Kept: the domain's own grows with the largest gap between labels, and one distant label makes a large one.
        self._reach = self.surrogate.extrapolation(self.surrogate.crystal.cell[None]).reach

    def _get_name(self) -> str:
        return "dkl-active"

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """What ASE stores beside results: the current model's digest, the tolerance, the reference's name."""
        return {**super().todict(skip_default), "tolerance": self.tolerance, "reference": name_of(self.reference)}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Answer ASE, which calls this; ask `get_property` or the atoms instead."""
        decided = bool(self.results) and not system_changes
        if decided and set(properties) <= self.results.keys():
            return
        super().calculate(atoms, properties, system_changes)
        if decided:
            return
        # Undecided answers are no results: if the reference fails, a second question must not find them.
        answer, self.results = self.results, {}
        assert self.atoms is not None
        mapped = self.surrogate.crystal.map(self.atoms)
        cell, copies = mapped.cell, mapped.multiplicity
        doubt = self._doubt(cell, answer["energy"] / copies, answer["energy_uncertainty"] / copies)
        if doubt is not None:
            row = self._row(cell)
            if row is None:
                row, doubt = self._ask(cell, doubt)
            else:
                self._say(f"The answer is the label that is known {place(self.atoms)}: {doubt}.")
            super().calculate(properties=["stress"], system_changes=[])
            answer = self.results if doubt is None else {**self.results, **self._label(row, copies)}
        self.results = answer

    def _row(self, cell: Floats) -> int | None:
        """The last row of the dataset with a lattice."""
        if self.dataset is None:
            return None
        rows = np.flatnonzero(np.abs(self.dataset.cells - cell).max(axis=(1, 2)) < SAME)
        return int(rows[-1]) if len(rows) else None

    def _doubt(self, cell: Floats, energy: float, uncertainty: float) -> str | None:
        """Why the surrogate's energy is not to be trusted at a lattice; None where it is."""
        if uncertainty > self.tolerance:
            return (
                f"the energy's uncertainty is {in_meV(uncertainty)} per cell and the tolerance {in_meV(self.tolerance)}"
            )
        if (row := self._row(cell)) is not None:
            assert self.dataset is not None
            error = abs(energy - float(self.dataset.energies[row]))
            if error > self.tolerance:
                return (
                    f"the energy is {in_meV(error)} per cell from the label and the tolerance {in_meV(self.tolerance)}"
                )
        return self._outside(cell)

    def _outside(self, cell: Floats) -> str | None:
        found = self.surrogate.extrapolation(cell[None])
        if found.outside_range[0]:
            return "the lattice is beyond the range of the training lattices"
        if found.distance[0] > self._reach:
            return (
                f"the nearest training lattice is {found.distance[0]:.2g} standard deviations away, where this model "
                f"reaches {self._reach:.2g}"
            )
        return None

    def _ask(self, cell: Floats, reason: str) -> tuple[int, str | None]:
        """Get a label and learn it: its row, and why the surrogate is unsure even then."""
        before = self.surrogate.predict_cells(cell[None], stress=False)
        expected, uncertainty, noise, total = (
            float(each[0])
            for each in (before.energy, before.energy_uncertainty, before.energy_noise, before.value.total)
        )
        began = time.perf_counter()
        atoms = labelled(self.reference, self.surrogate.crystal.atoms(cell))
        seconds = time.perf_counter() - began
        judged = self.surrogate.config.stress != "ignore"
        row = Dataset.from_atoms([atoms], reference=self.surrogate.crystal, stress=judged)
        new = replace(row, cells=cell[None])
        energy = float(new.energies[0])
        misfit = MISFIT * np.hypot(self.surrogate.units.scale, total)
        if abs(energy - expected) > misfit and self._outside(cell) is None:
            raise NoLabel(
                f"The reference calculator ({name_of(self.reference)}) gives {energy:.4f} eV per cell {place(atoms)}, "
                f"and the model, which has training lattices all around, expects {expected:.4f} eV: it was trained on "
                "labels of another calculator, or with other settings. Nothing was learnt. Use the calculator of the "
                "training labels, or train on labels of this one."
            )
        try:
            if self._database is not None:
                add_to_database(self._database, atoms, reason, uncertainty)
        finally:
            errors = [*(each.energy - each.expected for each in self.requests), energy - expected]
            totals = [*(np.hypot(each.uncertainty, each.noise) for each in self.requests), total]
            retrained = self._learn(new, calibration(errors, totals))
            after = self.surrogate.predict_cells(cell[None], stress=False)
            uncertainty_after = float(after.energy_uncertainty[0])
            doubt = self._doubt(cell, float(after.energy[0]), uncertainty_after)
            question = Question(
                reason, atoms, expected, uncertainty, noise, energy, retrained, uncertainty_after, doubt, seconds
            )
            self.requests.append(question)
            self._say(f"{len(self.requests)}. {question.describe()}")
        assert self.dataset is not None
        return len(self.dataset) - 1, doubt

    def _learn(self, new: Dataset, factor: float) -> bool:
        """Let the surrogate learn a label; returns whether its networks were trained again."""
        if self.dataset is None:
            self.dataset = new
        else:
            ids = self.dataset.ids
            next_id = f"answer {len(ids)}" if ids.dtype.kind == "U" else int(ids.max()) + 1
            self.dataset = self.dataset.joined(replace(new, ids=np.array([next_id])))
        self.model = None  # the file holds another model
        if self._trainable and due(len(self.dataset), self._trained_on, factor):
            from ase_dkl.training.fit import fit

            self.surrogate = fit(self.dataset, self.surrogate.config, start=self.surrogate, progress=False)
            self._trained_on = len(self.dataset)
            return True
        self.surrogate = conditioned(self.surrogate, new)
        return False

    def _label(self, row: int, copies: float) -> dict[str, Any]:
        """A label as an answer."""
        assert self.dataset is not None
        report, cell = self.surrogate.report, self.dataset.cells[row][None]
        energy = float(self.dataset.energies[row]) * copies
        answer = {"energy": energy, "free_energy": energy, "energy_uncertainty": report.energy_noise * copies}
        if not self.dataset.has_stress[row] or report.derivative_noise is None:
            return answer
        offset_std = (report.stress_offset_std_GPa or 0.0) * GPa * float(volumes(self.surrogate.crystal.cell))
        variance = np.full(6, report.derivative_noise**2)
        variance[:3] += offset_std**2
        onto = onto_lattice(cell[:, list(self.surrogate.crystal.periodic)])[0].T
        stress = stress_labels(self.dataset.subset(np.array([row])), self.surrogate.stress_offset)[0]
        return {
            **answer,
            "stress": np.nan_to_num(stress),
            "stress_uncertainty": np.sqrt(np.diagonal(onto * variance @ onto.T)) / float(volumes(cell[0])),
        }

    def _say(self, text: str) -> None:
        if self._log is None:
            return
        with IOContext() as files:
            file = files.openfile(self._log, comm=world, mode="a")
            file.write(f"{text}\n")
            file.flush()


def _check(dataset: Dataset | None, surrogate: Surrogate) -> None:
    if dataset is None:
        return
    if not np.array_equal(dataset.crystal.cell, surrogate.crystal.cell):
        raise ValueError(
            "The dataset has another reference crystal than the surrogate. Give the rows that the surrogate was "
            "trained on, read with reference=surrogate.crystal, or none."
        )
    if len(dataset) != surrogate.report.n_rows:
        raise ValueError(
            f"The dataset has {len(dataset)} rows and the surrogate knows {surrogate.report.n_rows}. Give the rows "
            "that it was trained on, and those that it has learnt since, or none."
        )
