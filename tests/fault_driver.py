"""Runs campaigns for tests that kill them: one process that has everything imported forks one for each run.

Each line of its input is a run, in JSON; the answers are the number of the process, and how it ended.
"""

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any


def run(place: str, workers: str, told: dict[str, Any], given: dict[str, Any]) -> None:
    """Go on with a campaign until it ends.

    Args:
        place: where it is.
        workers: "threads" of its own process, or "local" ones as users have them.
        told: to the calculator.
        given: of the plan, other than what `campaigns.copper` has; "budget" among it.
    """
    from campaigns import copper
    from counted_emt import TOLD

    from ase_dkl.active.campaign import Campaign
    from ase_dkl.active.labels.executors import open_executor
    from ase_dkl.active.stopping import Stop

    os.environ[TOLD] = json.dumps({**told, "log": str(Path(place) / "log")})
    plan = copper(Path(place), stop=Stop(budget=given.pop("budget")), **given)
    local = {"kind": "local", "workers": 2}
    executor: Callable[[], Executor] = (
        (lambda: ThreadPoolExecutor(2))
        if workers == "threads"
        else (lambda: open_executor(local, own_process=plan.own_process))
    )
    Campaign(plan, executor).run()


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    import torch
    from campaigns import COUNTED

    torch.set_num_threads(1)
    COUNTED.check()  # once for all
    _say("ready")
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            os.setsid()
            run(**json.loads(line))
            os._exit(0)
        _say(process)
        _say(os.waitpid(process, 0)[1])
