"""What a calculator that learns asks its reference calculator: the label, its record, its place in a database."""

from __future__ import annotations

from dataclasses import dataclass

from ase import Atoms
from ase.calculators.calculator import BaseCalculator, CalculatorError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from ase_dkl.active.labels.calculation import one_line
from ase_dkl.active.labels.results import BadResult, results_of
from ase_dkl.addresses import check_server, display_name, is_server
from ase_dkl.errors import Refused


class NoLabel(Refused, CalculatorError):
    """The reference calculator gave nothing that could be learnt."""


@dataclass(frozen=True, eq=False)
class Question:
    """What the reference calculator was asked, and what came of it. Energies are per reference cell, eV.

    Attributes:
        reason: why the surrogate could not answer.
        atoms: the crystal's own cell at the lattice in question, with the reference's results as they are.
        expected: the surrogate's energy before.
        uncertainty: its uncertainty before.
        noise: of a label, as the surrogate had found it.
        energy: the reference's energy.
        retrained: whether the networks were trained again; otherwise the processes were conditioned on the label.
        uncertainty_after: the uncertainty once the surrogate had learnt.
        doubt: why the surrogate was unsure even then, so that the label itself was the answer; None where it was sure.
        seconds: that the reference took.
    """

    reason: str
    atoms: Atoms
    expected: float
    uncertainty: float
    noise: float
    energy: float
    retrained: bool
    uncertainty_after: float
    doubt: str | None
    seconds: float

    def describe(self) -> str:
        """Tell it in a line."""
        learnt = "Trained again" if self.retrained else "Conditioned"
        answer = f" The answer is the label itself: {self.doubt}." if self.doubt else ""
        return (
            f"{name_of(self.atoms.calc)} asked {place(self.atoms)}: {self.reason}. "
            f"Expected {self.expected:.6f} eV ± {in_meV(self.uncertainty)}, got {self.energy:.6f} eV in "
            f"{self.seconds:.3g} s. {learnt}: ± {in_meV(self.uncertainty_after)}.{answer}"
        )


def labelled(reference: BaseCalculator, atoms: Atoms, *, stress: bool = True) -> Atoms:
    """Ask the reference calculator.

    Args:
        reference: the calculator.
        atoms: the structure; it stays as it is.
        stress: whether stresses are asked for, where it has some; else forces are.

    Returns:
        The structure with the reference's results, name and parameters.

    Raises:
        NoLabel: it fails, does not converge, or its energy or stress is not finite.
    """
    try:
        results = results_of(reference, atoms.copy(), stress=stress)
    except Exception as error:
        words = str(error) if isinstance(error, BadResult) else one_line(error)
        raise NoLabel(
            f"The reference calculator ({name_of(reference)}) gave no label {place(atoms)}. {words} Nothing was learnt."
        ) from error
    label: Atoms = atoms.copy()
    label.calc = SinglePointCalculator(label, **results)
    label.calc.name = name_of(reference)
    label.calc.parameters.update(getattr(reference, "todict", dict)())
    return label


def check_database(address: str) -> None:
    """Open a database of labels, or make it.

    Raises:
        ValueError: that is not possible.
    """
    try:
        if is_server(address):
            check_server(address)
        connect(address, use_lock_file=False).count()
    except Exception as error:
        raise ValueError(
            f"{display_name(address)} cannot be used as a database of labels: {one_line(error)}. Name another, "
            "or a file that is not there yet."
        ) from error


def add_to_database(address: str, label: Atoms, reason: str, uncertainty: float) -> None:
    """Write a label, with why it was asked for, in one transaction.

    Raises:
        OSError: that is not possible.
    """
    try:
        # A lock file would outlive a process that is killed, and block for ever.
        connect(address, use_lock_file=False).write(label, reason=reason, uncertainty_before=uncertainty)
    except Exception as error:
        raise OSError(
            f"A label could not be written to {display_name(address)}: {one_line(error)}. It has been "
            "learnt, and is the last of the calculator's `requests`."
        ) from error


def name_of(calculator: BaseCalculator) -> str:
    """The name that ASE's databases have for a calculator."""
    return str(getattr(calculator, "name", type(calculator).__name__)).lower()


def place(atoms: Atoms) -> str:
    """A structure's lattice in words, or where there is none its formula."""
    if not atoms.pbc.any():
        return f"for {atoms.symbols.formula.convert('metal')}"
    a, b, c, alpha, beta, gamma = atoms.cell.cellpar()
    return f"at {a:.4f} {b:.4f} {c:.4f} Å, {alpha:.2f} {beta:.2f} {gamma:.2f}°"


def in_meV(energy: float) -> str:
    """An energy in eV to three digits of meV."""
    return f"{1e3 * energy:.3g} meV"
