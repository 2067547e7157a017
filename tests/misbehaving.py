"""Calculators that do what calculators do on a bad day, named by tests as path/to/misbehaving.py:name."""

import importlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import CalculationFailed, SCFError
from ase.calculators.emt import EMT
from ase.config import cfg

Deed = Callable[["Misbehaving"], object]


class Misbehaving(EMT):
    """EMT that does something else after, or instead of, its calculation."""

    def __init__(self, deed: Deed, **parameters: Any) -> None:
        super().__init__(**parameters)  # type: ignore[no-untyped-call]
        self.deed = deed
        self.converged = True

    def calculate(self, *arguments: Any, **named: Any) -> None:
        super().calculate(*arguments, **named)  # type: ignore[no-untyped-call]
        self.deed(self)


def good(log: str = "", seconds: float = 0.0) -> EMT:
    """Writes a line to a file for each calculation, once it is done."""

    def deed(_: Misbehaving) -> None:
        time.sleep(seconds)
        if log:
            with Path(log).open("a") as file:
                file.write(f"{os.getpid()}\n")

    return Misbehaving(deed)


def unreliable(share: float = 0.3) -> EMT:
    def deed(_: Misbehaving) -> None:
        if random.random() < share:
            raise CalculationFailed("Something went wrong.\nSCF did not converge in 100 steps")

    return Misbehaving(deed)


def without_scf() -> EMT:
    def deed(_: Misbehaving) -> None:
        raise SCFError("No convergence.")

    return Misbehaving(deed)


def forgetful() -> EMT:
    def deed(calculator: Misbehaving) -> None:
        raise FileNotFoundError(f"There is no file of energy {calculator.results['energy']} in its folder.")

    return Misbehaving(deed)


def unlicensed() -> EMT:
    raise RuntimeError("No licence.")


def without_library() -> EMT:
    return Misbehaving(lambda _: importlib.import_module("no_such_library"))


def without_program() -> EMT:
    return Misbehaving(lambda _: subprocess.run(["no-such-program"], check=True))


def without_configuration() -> EMT:
    return Misbehaving(lambda _: cfg["NO_SUCH_VARIABLE"])


def not_found() -> EMT:
    """As ASE tells of a shell that does not find a program."""

    def deed(_: Misbehaving) -> None:
        raise CalculationFailed('Calculator "x" failed with command "x" failed in /tmp with error code 127')

    return Misbehaving(deed)


def once(log: str) -> EMT:
    """Dies of an abort the first time that it computes, and is good afterwards."""

    def deed(_: Misbehaving) -> None:
        if not Path(log).exists():
            Path(log).write_text("died\n")
            os.abort()

    return Misbehaving(deed)


def hanging() -> EMT:
    return Misbehaving(lambda _: time.sleep(1000))


def deaf(seconds: float = 1000) -> EMT:
    """Hangs, does not listen to SIGTERM, and has a child in a session of its own that does not either."""

    def deed(_: Misbehaving) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"], start_new_session=True):
            Path("ready").write_text("")

    return Misbehaving(deed)


def littering() -> EMT:
    """Leaves a process behind that would run for long."""

    def deed(_: Misbehaving) -> None:
        command = [sys.executable, "-c", "import time; time.sleep(1000)"]
        Path("litter").write_text(str(subprocess.Popen(command, start_new_session=True).pid))

    return Misbehaving(deed)


def aborting() -> EMT:
    return Misbehaving(lambda _: os.abort())


def killed() -> EMT:
    return Misbehaving(lambda _: os.kill(os.getpid(), signal.SIGKILL))


def exiting(status: int = 3) -> EMT:
    def deed(_: Misbehaving) -> None:
        os.write(1, b"out of licences\n")
        os._exit(status)

    return Misbehaving(deed)


def quitting() -> EMT:
    return Misbehaving(lambda _: sys.exit("no input file"))


def nan() -> EMT:
    return Misbehaving(lambda calculator: calculator.results.update(energy=np.nan))


def infinite_stress() -> EMT:
    return Misbehaving(lambda calculator: calculator.results.update(stress=np.full(6, np.inf)))


def unconverged() -> EMT:
    def deed(calculator: Misbehaving) -> None:
        calculator.converged = False

    return Misbehaving(deed)


def without_stress() -> EMT:
    """Promises a stress, as some modes of some codes do."""

    def deed(calculator: Misbehaving) -> None:
        del calculator.results["stress"]

    return Misbehaving(deed)


def energies_alone() -> EMT:
    calculator = EMT()
    calculator.implemented_properties = ["energy", "free_energy", "forces"]
    return calculator


def forces_alone() -> EMT:
    calculator = EMT()
    calculator.implemented_properties = ["forces"]
    return calculator


def crashing_when_made() -> EMT:
    os.write(2, b"no such library: libxc.so\n")
    os.abort()


def no_calculator() -> str:
    return "emt"


not_a_function = "emt"
