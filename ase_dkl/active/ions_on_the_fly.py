"""A calculator of free ions that learns while it is used, and asks the real calculator where it is unsure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, all_changes
from ase.constraints import FixAtoms
from ase.filters import Filter
from ase.optimize import BFGS
from ase.optimize.optimize import Optimizer
from ase.parallel import world
from ase.utils import IOContext

from ase_dkl.active.questions import NoLabel, Question, add_to_database, check_database, in_meV, labelled, name_of
from ase_dkl.active.retraining import due
from ase_dkl.calculator import DKLCalculator
from ase_dkl.crystal import Crystal, Mapped, NotThisCrystal
from ase_dkl.crystal.lattice import volumes
from ase_dkl.dataset import Dataset
from ase_dkl.model.further import begun, learnt
from ase_dkl.model.ionic_surrogate import IonicSurrogate
from ase_dkl.model.records import IonConfig

SAME = 1e-9
"""Å. Structures are the same when no component of cell and positions differs by more."""
STEPS = 1000
"""Of an optimiser on one model."""
_FIRST = "nothing is known yet"
PART = 1 / 3
"""Of the largest force that is asked for: so far is relaxed on the model, as real forces may be a bit larger."""


@dataclass(frozen=True)
class Relaxation:
    """How a relaxation ended.

    Attributes:
        converged: whether no force is larger than asked for.
        force: the largest one, by a real calculation of the last structure, eV/Å, as the target has forces: with a
            filter, what the cell does too.
        calculations: real calculations that it took.
        steps: of the optimiser, on the model.
    """

    converged: bool
    force: float
    calculations: int
    steps: int

    def describe(self) -> str:
        """Tell it in a line."""
        ended = "Relaxed" if self.converged else "Not relaxed"
        return (
            f"{ended}: the largest force is {self.force:.3g} eV/Å by a real calculation of the last structure; "
            f"{self.calculations} real calculations and {self.steps} steps on the model."
        )


class ActiveIonCalculator(DKLCalculator):
    """A `DKLCalculator` of free ions whose model learns while it is used; it may begin without any.

    It answers from the model where uncertainties of energy and forces are within the tolerances. Elsewhere it asks the
    reference calculator for that very structure, learns the label, and answers from that. A
    structure that has a label is answered with the label.

    Learning changes the energy surface, so optimisers that remember forces are better started anew after each label:
    `relax` does that, and has the last structure confirmed by a real calculation.

    Args:
        model: where to begin: a model of free ions or its file; or atoms, of which nothing is known. Of these the
            atoms' constraints (`FixAtoms`) say which ions move.
        reference_calculator: an ASE calculator of energies and forces, with the settings of the model's labels.
        tolerance: largest uncertainty of an energy that the model may answer, eV per reference cell.
        force_tolerance: of a force, eV/Å.
        relative_tolerance: the same, in units of the largest force: far from a minimum its direction is enough. Zero
            for dynamics.
        dataset: the rows that the model knows. With them it is trained again when that is due; without them it is only
            conditioned on what is new.
        database: an ASE database to which each label is added, with its reason, as soon as it is there.
        log: file to which a line is added for each request; "-" for standard output.
        stress: whether the reference's stresses are asked for and learnt, where it has some: for cells that change.

    Attributes:
        surrogate: the current model.
        dataset: the rows given and the labels asked for; None where there are none.
        requests: what the reference was asked, in order.

    Raises:
        ValueError: a tolerance is none, the model one of lattices, or the dataset not what the model knows.
    """

    surrogate: IonicSurrogate

    def __init__(
        self,
        model: IonicSurrogate | str | Path | Atoms,
        reference_calculator: BaseCalculator,
        tolerance: float = 0.1,
        *,
        force_tolerance: float = 0.02,
        relative_tolerance: float = 2.0,
        dataset: Dataset | None = None,
        database: str | Path | None = None,
        log: str | Path | TextIO | None = None,
        stress: bool = False,
    ) -> None:
        for name, value, unit in (
            ("tolerance", tolerance, "eV per reference cell"),
            ("force_tolerance", force_tolerance, "eV/Å"),
        ):
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"The {name} is {value}; it is an uncertainty, in {unit}, above zero.")
        if not (np.isfinite(relative_tolerance) and relative_tolerance >= 0):
            raise ValueError(
                f"The relative_tolerance is {relative_tolerance}; it is a part of the largest force: zero or more."
            )
        if database is not None:
            check_database(str(database))
        self.reference = reference_calculator
        self.tolerance, self.force_tolerance = float(tolerance), float(force_tolerance)
        self.relative_tolerance = float(relative_tolerance)
        self.dataset = dataset
        self.requests: list[Question] = []
        self._database = None if database is None else str(database)
        self._log = log
        self._judges_stress = stress
        self._trainable = dataset is not None
        begins = isinstance(model, Atoms)
        if isinstance(model, Atoms):
            if dataset is not None:
                raise ValueError("Rows that are known make a model: give fit_ions(dataset) in place of the atoms.")
            model = self._first(model, stress)
        super().__init__(model, extrapolation="ignore")
        if not isinstance(self.surrogate, IonicSurrogate):
            raise ValueError("The model is one of lattices, which knows no displaced ions. Use ActiveCalculator.")
        self._base = None if begins else self.surrogate
        self._since = 0
        if dataset is not None:
            _check(dataset, self.surrogate)

    def _get_name(self) -> str:
        return "dkl-active"

    def todict(self, skip_default: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """What ASE stores beside results: the tolerances and the reference's name."""
        tolerances = {"tolerance": self.tolerance, "force_tolerance": self.force_tolerance}
        return {**tolerances, "relative_tolerance": self.relative_tolerance, "reference": name_of(self.reference)}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),  # noqa: ARG002
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Answer ASE, which calls this; ask `get_property` or the atoms instead."""
        if atoms is not None:
            self.atoms = atoms.copy()
        if self.results and not system_changes:
            return
        # Undecided answers are no results: if the reference fails, a second question must not find them.
        self.results = {}
        super().calculate(None, self.implemented_properties, system_changes)
        answer, self.results = self.results, {}
        assert self.atoms is not None
        mapped = self.surrogate.crystal.map(self.atoms)
        row = self._row(mapped)
        if row is None and (doubt := self._doubt(answer, mapped)) is not None:
            row = self._ask(mapped, answer, doubt)
            super().calculate(None, self.implemented_properties, system_changes)
            answer, self.results = self.results, {}
        self.results = answer if row is None else answer | self._label(row, mapped)

    def confirm(self, atoms: Atoms) -> None:
        """Ask the reference calculator for a structure, if it has not been asked for it yet."""
        mapped = self.surrogate.crystal.map(atoms)
        if self._row(mapped) is None:
            atoms.calc = self
            atoms.get_potential_energy()
        if self._row(mapped) is None:
            self._ask(mapped, self.results, "the structure is to be confirmed")
            self.reset()  # type: ignore[no-untyped-call]

    def relax(
        self,
        target: Atoms | Filter,
        fmax: float = 0.05,
        *,
        calculations: int = 200,
        optimizer: type[Optimizer] = BFGS,
    ) -> Relaxation:
        """Relax atoms, or what a filter of ASE's makes of them, and have the result confirmed by the reference.

        Args:
            target: atoms whose calculator this is, or a filter of them, as `FrechetCellFilter`.
            fmax: largest force, eV/Å.
            calculations: real ones, at most.
            optimizer: of ASE's, which walks on the model.
        """
        atoms = target.atoms if isinstance(target, Filter) else target
        atoms.calc = self
        before, steps, safe = len(self.requests), 0, None
        while True:
            asked = len(self.requests)
            search = optimizer(cast(Atoms, target), logfile=None)
            try:
                for _ in search.irun(fmax=PART * fmax, steps=STEPS):
                    safe = atoms.cell.array.copy(), atoms.positions.copy()
                    if len(self.requests) > asked:
                        break
            except NotThisCrystal:
                if safe is None:
                    raise
                atoms.set_cell(safe[0])
                atoms.positions = safe[1]
            steps += search.nsteps
            self.confirm(atoms)
            force = float(np.sqrt((cast(Atoms, target).get_forces() ** 2).sum(axis=1).max()))
            taken = len(self.requests) - before
            if force <= fmax or taken >= calculations or len(self.requests) == asked:
                found = Relaxation(force <= fmax, force, taken, steps)
                self._say(found.describe())
                return found

    def _first(self, atoms: Atoms, stress: bool) -> IonicSurrogate:
        """The model of one label."""
        held = {int(i) for each in atoms.constraints if isinstance(each, FixAtoms) for i in each.get_indices()}
        mobile = [i for i in range(len(atoms)) if i not in held]
        if not mobile:
            raise ValueError("All atoms are held by constraints: there is nothing to learn of how they move.")
        crystal = Crystal.from_strained([atoms], ions="free", by_order=True, mobile=mobile if held else None)
        began = time.perf_counter()
        label = labelled(self.reference, _bare(atoms), stress=stress)
        self.dataset = Dataset.from_atoms([label], reference=crystal, ions="free", stress=stress)
        if not self.dataset.has_forces.all():
            raise NoLabel(f"The reference calculator ({name_of(self.reference)}) has no forces. Use one that has some.")
        energy, seconds = float(self.dataset.energies[0]), time.perf_counter() - began
        model = begun(self.dataset, IonConfig(stress="auto" if stress else "ignore"))
        after = float(model.predict_points(self.dataset.points, slopes=False).energy_uncertainty[0])
        if self._database is not None:
            add_to_database(self._database, label, _FIRST, np.inf)
        question = Question(_FIRST, label, energy, np.inf, 0.0, energy, False, after, None, seconds)
        self.requests.append(question)
        self._say(f"1. {question.describe()}")
        return model

    def _row(self, mapped: Mapped) -> int | None:
        """The last row of the dataset with a structure."""
        if self.dataset is None:
            return None
        rows = np.flatnonzero(np.abs(self.dataset.points - mapped.point).max(axis=(1, 2)) < SAME)
        return int(rows[-1]) if len(rows) else None

    def _doubt(self, answer: dict[str, Any], mapped: Mapped) -> str | None:
        """Why the model's answer is not to be trusted; None where it is."""
        energy = answer["energy_uncertainty"] / mapped.multiplicity
        if energy > self.tolerance:
            return f"the energy's uncertainty is {in_meV(energy)} per cell and the tolerance {in_meV(self.tolerance)}"
        moving = self.surrogate.crystal.mobile[mapped.sites]
        sizes = [np.linalg.norm(answer[each][moving], axis=1).max() for each in ("forces_uncertainty", "forces")]
        allowed = max(self.force_tolerance, self.relative_tolerance * sizes[1])
        if sizes[0] > allowed:
            return f"the uncertainty of a force is {sizes[0]:.3g} eV/Å where {allowed:.3g} eV/Å is allowed"
        return None

    def _ask(self, mapped: Mapped, answer: dict[str, Any], reason: str) -> int:
        """Get a label and learn it; returns its row."""
        assert self.atoms is not None
        copies = mapped.multiplicity
        expected, uncertainty = answer["energy"] / copies, answer["energy_uncertainty"] / copies
        began = time.perf_counter()
        asked = _bare(self.atoms) if copies == 1 else self._unit(mapped)
        label = labelled(self.reference, asked, stress=self._judges_stress)
        seconds = time.perf_counter() - began
        row = Dataset.from_atoms([label], reference=self.surrogate.crystal, ions="free", stress=self._judges_stress)
        new = replace(row, cells=mapped.point[None, :3], positions=mapped.point[None, 3:])
        try:
            if self._database is not None:
                add_to_database(self._database, label, reason, uncertainty)
        finally:
            energy, noise = float(new.energies[0]), self.surrogate.report.energy_noise
            retrained = self._learn(new)
            after = float(self.surrogate.predict_points(mapped.point[None], slopes=False).energy_uncertainty[0])
            question = Question(reason, label, expected, uncertainty, noise, energy, retrained, after, None, seconds)
            self.requests.append(question)
            self._say(f"{len(self.requests)}. {question.describe()}")
        assert self.dataset is not None
        return len(self.dataset) - 1

    def _learn(self, new: Dataset) -> bool:
        """Let the model learn a label; returns whether it was trained again."""
        if self.dataset is None:
            self.dataset = new
        else:
            ids = self.dataset.ids
            next_id = f"answer {len(ids)}" if ids.dtype.kind == "U" else int(ids.max()) + 1
            self.dataset = self.dataset.joined(replace(new, ids=np.array([next_id])))
        self.model = None  # the file holds another model
        if self._base is None:
            self.surrogate = begun(self.dataset, self.surrogate.config)
            return False
        if self._trainable and due(len(self.dataset), self._base.report.n_rows, 1.0):
            from ase_dkl.training.fit_ions import fit_ions

            self.surrogate = self._base = fit_ions(self.dataset, self._base.config, progress=False)
            self._since = 0
            return True
        self._since += 1
        latest = np.arange(len(self.dataset) - self._since, len(self.dataset))
        self.surrogate = learnt(self._base, self.dataset.subset(latest))
        return False

    def _label(self, row: int, mapped: Mapped) -> dict[str, Any]:
        """A label as an answer."""
        assert self.dataset is not None
        report, copies = self.surrogate.report, mapped.multiplicity
        answer: dict[str, Any] = {}
        if np.isfinite(energy := float(self.dataset.energies[row]) * copies):
            answer |= {"energy": energy, "free_energy": energy, "energy_uncertainty": report.energy_noise * copies}
        if self.dataset.has_forces[row]:
            forces = self.dataset.forces[row][mapped.sites]
            noise = np.full_like(forces, report.noise["displacement"])
            answer |= {"forces": forces, "forces_uncertainty": noise}
        if self.dataset.has_stress[row] and "strain" in report.noise:
            volume = float(volumes(mapped.cell))
            offset = self.surrogate.stress_offset / volume * np.repeat([1, 0], 3)
            noise = np.full(6, report.noise["strain"] / volume)
            answer |= {"stress": self.dataset.stresses[row] - offset, "stress_uncertainty": noise}
        return answer

    def _unit(self, mapped: Mapped) -> Atoms:
        """One cell of a structure that repeats it."""
        atoms = self.surrogate.crystal.atoms(mapped.cell)
        atoms.positions = mapped.point[3:]
        return atoms

    def _say(self, text: str) -> None:
        if self._log is None:
            return
        with IOContext() as files:
            file = files.openfile(self._log, comm=world, mode="a")
            file.write(f"{text}\n")
            file.flush()


def _bare(atoms: Atoms) -> Atoms:
    """Without constraints, which would hide forces."""
    copied: Atoms = atoms.copy()
    copied.set_constraint()
    return copied


def _check(dataset: Dataset, surrogate: IonicSurrogate) -> None:
    known = surrogate.points
    if dataset.crystal.ions != "free" or dataset.points.shape != known.shape or not np.allclose(dataset.points, known):
        raise ValueError(
            f"The dataset's {len(dataset)} rows are not the {len(known)} that the model was trained on. Give these, "
            "in the same order, or none."
        )
