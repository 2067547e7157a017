"""A calculator for tests of campaigns: EMT that writes down what it computes, and goes wrong as often as it is told.

What is told is in the environment: the settings of the calculator, and with them the keys of labels, stay the same.
"""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT

TOLD = "COUNTED_EMT"


class CountedEMT(EMT):
    """EMT with a log of what was begun and what was finished, by the name of the label's folder."""

    name = "counted"

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        told = json.loads(os.environ.get(TOLD, "{}"))
        folder = Path(self.directory).resolve()
        self.note(told, "repeated" if (folder / "outcome.json").exists() else "begun", folder.name)
        time.sleep(told.get("seconds", 0.0) + told.get("jitter", 0.0) * random.SystemRandom().random())
        if self.count(told, "died") < told.get("deaths", 0):
            self.note(told, "died", folder.name)
            os.kill(os.getpid(), signal.SIGKILL)
        lot = random.SystemRandom().random()
        if (
            lot < told.get("fails", 0.0)
            or folder_lot(folder) > told.get("spares", 1.0)
            or (self.count(told, "finished") >= told.get("until", 10**6))
        ):
            raise RuntimeError("The density did not converge.")
        if lot < told.get("fails", 0.0) + told.get("hangs", 0.0):
            time.sleep(1000)
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if self.count(told, "finished") >= told.get("wrong_from", 10**6):
            self.results["energy"] += 0.02 if folder_lot(folder) > 0.5 else -0.02
        if lot > 1 - told.get("nan", 0.0):
            self.results["energy"] = float("nan")
        self.note(told, "finished", folder.name)

    @staticmethod
    def count(told: dict[str, Any], what: str) -> int:
        return Path(told["log"]).read_text().count(what) if "log" in told else 0

    @staticmethod
    def note(told: dict[str, Any], what: str, label: str) -> None:
        if "log" in told:
            line = f"{what} {label}\n".encode()
            file = os.open(told["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, line)
            os.close(file)


def folder_lot(folder: Path) -> float:
    """A number between 0 and 1 that a label always draws."""
    return int(folder.name[-6:], 16) / 0xFFFFFF


def make() -> CountedEMT:
    return CountedEMT()  # type: ignore[no-untyped-call]
