"""What is computed for each label: an ASE calculator by name, and its parameters."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, get_calculator_class
from ase.calculators.genericfileio import GenericFileIOCalculator
from ase.calculators.names import names

from ase_dkl.by_name import BadName, absolute, file_digest, is_file, named
from ase_dkl.errors import Refused

RESOLUTION = 1e-9
"""Å. Structures that differ by less are one."""


class BadCalculation(Refused, ValueError):
    """A calculator that cannot be made, or computes no energy."""


@dataclass(frozen=True)
class Calculation:
    """A calculator and its settings, to be made wherever a label is computed.

    Attributes:
        name: what ASE calls the calculator ("emt", "vasp", "espresso"), or a class or function that returns one:
            "package.module:factory" or "path/to/file.py:factory".
        parameters: keyword arguments of that class or function, such as JSON can hold.
        digest: SHA-256 of the name, the parameters and, for a file, its content. Where the file lies is no matter.

    Raises:
        BadCalculation: JSON cannot hold the parameters, or the file is not there.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "name", absolute(self.name))
        except BadName as error:
            raise BadCalculation(str(error)) from error
        # As a calculator gets them in another process.
        object.__setattr__(self, "parameters", json.loads(_json(self.parameters)))
        object.__setattr__(self, "digest", self._digest())

    @property
    def computes_stress(self) -> bool:
        """Whether labels have stresses.

        Raises:
            BadCalculation: the calculator cannot be made.
        """
        return "stress" in self._properties

    def check(self) -> None:
        """Find out, before a campaign and in a process of its own, whether the calculator can be made.

        Raises:
            BadCalculation: it cannot be made, or it computes no energy.
        """
        if "energy" not in self._properties:
            raise BadCalculation(
                f"The calculator {self.name!r} computes {', '.join(self._properties) or 'nothing'}, and no energy. "
                "Choose one that computes energies."
            )

    def make(self, directory: Path | None = None) -> Calculator:
        """Make the calculator.

        Args:
            directory: where it keeps its files; by default the working directory.

        Raises:
            BadCalculation: it cannot be made.
        """
        if self.digest != self._digest():
            raise BadCalculation(
                f"{self.name} was changed after the campaign had started, and labels of two calculators must not mix. "
                "Restore the file, or start again: the changed calculator's labels are then others."
            )
        factory = self._factory()
        try:
            calculator = factory(**self.parameters)
        except Exception as error:
            given = ", ".join(self.parameters) or "none"
            raise BadCalculation(
                f"The calculator {self.name!r} cannot be made (parameters given: {given}): {one_line(error)}"
            ) from error
        if getattr(calculator, "implemented_properties", None) is None:
            raise BadCalculation(
                f"{self.name!r} returns a {type(calculator).__name__}, which is no ASE calculator: it does not say "
                "which properties it implements."
            )
        if directory is not None and isinstance(calculator, Calculator | GenericFileIOCalculator):
            calculator.directory = directory
        return calculator  # type: ignore[no-any-return]

    def key(self, atoms: Atoms) -> str:
        """Name the label of a structure: the same for the same structure and settings, whoever asks."""
        digest = hashlib.sha256(self.digest.encode())
        digest.update(atoms.numbers.astype("<i8").tobytes())
        digest.update(atoms.pbc.astype("<i8").tobytes())
        for lengths in (atoms.cell.array, atoms.positions, atoms.get_initial_magnetic_moments()):
            digest.update(np.rint(lengths / RESOLUTION).astype("<i8").tobytes())
        return f"l{digest.hexdigest()[:32]}"

    def to_dict(self) -> dict[str, Any]:
        """Arguments that make the same calculation, for JSON."""
        return {"name": self.name, "parameters": dict(self.parameters)}

    def _digest(self) -> str:
        digest = hashlib.sha256()
        if is_file(self.name):
            try:
                digest.update(file_digest(self.name).encode())
            except BadName as error:
                raise BadCalculation(str(error)) from error
        digest.update(_json([self.name.rpartition(":")[2] if is_file(self.name) else self.name, self.parameters]))
        return digest.hexdigest()

    def _factory(self) -> Any:
        try:
            return named(self.name) if ":" in self.name else get_calculator_class(self.name)
        except BadName as error:
            raise BadCalculation(str(error)) from error
        except (ImportError, AttributeError) as error:
            raise BadCalculation(
                f"The calculator {self.name!r} cannot be imported: {one_line(error)}. ASE knows {', '.join(names)} "
                "(some need a package of their own); others are named as package.module:factory or "
                "path/to/file.py:factory."
            ) from error

    @cached_property
    def _properties(self) -> list[str]:
        """Found out in a process of its own: calculators open files and start libraries when they are made."""
        with tempfile.TemporaryDirectory(prefix="ase-dkl-") as folder:
            task = {"calculation": self.to_dict(), "path": importable()}
            Path(folder, "check.json").write_text(json.dumps(task))
            command = [sys.executable, "-P", "-m", __spec__.name, folder]
            ended = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            found = Path(folder, "found.json")
            if not found.is_file():
                said = ended.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
                raise BadCalculation(
                    f"Making the calculator {self.name!r} ended its process with status {ended.returncode}. "
                    f"The last that it said: {said[-1]}"
                )
            answer = json.loads(found.read_text())
        if "error" in answer:
            raise BadCalculation(answer["error"])
        return list(answer["properties"])


def importable() -> list[str]:
    """Where this process imports from, for another that shall find the same."""
    return [os.path.abspath(each) for each in sys.path]  # noqa: PTH100  "" is the working directory


def one_line(error: BaseException) -> str:
    """An exception's name and the last line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip()[:300]}" if lines else type(error).__name__


def _json(value: Any) -> bytes:
    try:
        _check_names(value)
        return json.dumps(value, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise BadCalculation(
            f"A calculator's parameters are numbers, texts, lists and tables of them, as in a settings file: {error}. "
            "For any other object write a factory that makes it, and name that: path/to/file.py:factory."
        ) from error


def _check_names(value: Any) -> None:
    # json would write them as texts and say nothing.
    if isinstance(value, Mapping):
        for name, each in value.items():
            if not isinstance(name, str):
                raise TypeError(f"names are texts, and {name!r} is none")
            _check_names(each)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_names(each)


def _main(folder: Path) -> None:
    task = json.loads((folder / "check.json").read_text())
    sys.path.extend(each for each in task["path"] if each not in sys.path)
    answer: dict[str, Any]
    try:
        answer = {"properties": list(Calculation(**task["calculation"]).make().implemented_properties)}
    except BadCalculation as error:
        answer = {"error": str(error)}
    (folder / "found.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
