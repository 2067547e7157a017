"""Runs that request and finish labels as a campaign does, each in a process that may be killed.

Once it is ready, every line on stdin, "address campaign number-of-labels file", is one run. It answers with the number
of its process, and when that ended with its status. Each label computed is a line in the file.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from ase_dkl.active.labels.labelling import Outcome
from ase_dkl.active.store import BadStore, Label, Request, Store, StoreUnreachable

BATCH = 8
ATTEMPTS = 2


def structure(number: int) -> Atoms:
    atoms = bulk("Cu", a=3.6)
    atoms.set_cell(atoms.cell.array * (1 + 1e-4 * number), scale_atoms=True)
    return atoms


def request(number: int) -> Request:
    return Request(f"l{number:032x}", structure(number), number, {"batch": number // BATCH, "reason": "σ is large"})


def outcome(label: Label) -> Outcome:
    """Every third fails once, every tenth again and again."""
    key, number = label.request.key, label.request.number
    if number % 10 == 7 or (number % 3 == 0 and not label.errors):
        return Outcome(key, None, None, None, 0.1, f"It failed: {label.attempts}", "emt")
    values = np.random.default_rng(number).normal(size=(3, 3))
    stress = tuple(values.ravel()[:6].tolist())
    return Outcome(key, float(values.sum()), stress, (tuple(values[0].tolist()),), 0.1, None, "emt", -1.0)


def good(label: Label) -> Outcome:
    """It never fails."""
    return Outcome(label.request.key, -1.5, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), ((0.0, 0.5, 1.0),), 2.5, None, "EMT")


def run(address: str, campaign: str, n: int, computed: Path, patience_s: float = 60) -> None:
    """Request and finish labels until there are `n`, from wherever an earlier run was ended."""
    store = Store(address, campaign, owner=f"owner of {campaign}", parameters={"xc": "PBE"}, patience_s=patience_s)
    labels = {label.request.key: label for label in store.labels()}
    while True:
        if len(labels) < n:
            wanted = [request(number) for number in range(len(labels), len(labels) + BATCH)]
            labels |= {label.request.key: label for label in store.request(wanted)}
        due = [label for label in labels.values() if label.ours and label.status == "waiting"]
        lost = [label for label in due if label.attempts == ATTEMPTS]
        changed = [store.give_up(label.request.key) for label in lost]
        due = [label for label in due if label not in lost]
        with computed.open("a") as file:
            file.writelines(f"{label.request.key}\n" for label in due)
        time.sleep(0.005)  # it takes a while, and others have a turn
        changed += store.finish([outcome(label) for label in due])
        changed += store.foreign()
        labels |= {label.request.key: label for label in changed}
        if len(labels) >= n and all(label.status != "waiting" for label in labels.values()):
            return


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _say("ready")
    for line in sys.stdin:
        address, campaign, n, computed = line.split()
        process = os.fork()
        if process == 0:
            try:
                run(address, campaign, int(n), Path(computed))
            except (BadStore, StoreUnreachable) as error:
                _say(f"{type(error).__name__}: {error}")
                os._exit(1)
            os._exit(0)
        _say(process)
        _say(os.waitpid(process, 0)[1])
