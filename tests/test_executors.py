import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk

from ase_dkl.active.labels import executors, own_process
from ase_dkl.active.labels.calculation import Calculation
from ase_dkl.active.labels.executors import BadExecutor, open_executor
from ase_dkl.active.labels.labelling import Job, label

MISBEHAVING = Path(__file__).parent / "misbehaving.py"

PARSL = """
from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

def config():
    workers = HighThroughputExecutor(
        label="labels", address="127.0.0.1", loopback_address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.5,
        encrypted=False, heartbeat_period=1, heartbeat_threshold=15, provider=LocalProvider(max_blocks=1),
    )
    return Config(executors=[workers], run_dir={folder!r}, initialize_logging=False, strategy="none")
"""

DASK = """
from distributed import LocalCluster

def cluster():
    return LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0", silence_logs=50)
"""


def jobs(folder: Path, n: int, **settings: Any) -> list[Job]:
    """Labels that write a line to a file each when they are computed."""
    calculation = Calculation(f"{MISBEHAVING}:good", {"log": str(folder / "log"), **settings.pop("parameters", {})})
    return [Job(calculation.key(each), each, calculation, folder / "labels", **settings) for each in structures(n)]


def structures(n: int) -> list[Atoms]:
    made = []
    for i in range(n):
        made.append(bulk("Cu"))
        made[-1].set_cell(made[-1].cell.array * (1 + 0.01 * i), scale_atoms=True)
    return made


def computed(folder: Path) -> int:
    return len((folder / "log").read_text().splitlines()) if (folder / "log").exists() else 0


def until(ready: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descendants(pid: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if parent(child := int(stat.parent.name)) == pid:
                found |= {child} | descendants(child)
    return found


def mentioning(words: str) -> set[int]:
    """Processes whose command has the words. Batch systems, and what plays one here, make children of nobody."""
    found = set()
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if words in command.read_text().replace("\0", " "):
                found.add(int(command.parent.name))
    return found


def in_work(folder: Path) -> set[int]:
    """Processes of labels."""
    return mentioning(f"ase_dkl.active.labels.labelling {folder}")


@pytest.mark.parametrize("own_process", [True, False])
def test_labels_on_this_machine(own_process: bool, tmp_path: Path) -> None:
    with open_executor({"kind": "local", "workers": 2}, own_process=own_process) as executor:
        outcomes = list(executor.map(label, jobs(tmp_path, 5, own_process=own_process)))
    assert all(outcome.good for outcome in outcomes)
    assert len({outcome.energy for outcome in outcomes}) == 5
    assert computed(tmp_path) == 5


def test_a_crash_breaks_a_pool_of_processes_and_no_threads(tmp_path: Path) -> None:
    calculation = Calculation(f"{MISBEHAVING}:aborting")
    with open_executor({"workers": 1}, own_process=False) as executor:
        future = executor.submit(label, Job("l0", bulk("Cu"), calculation, None, own_process=False))
        with pytest.raises(BrokenExecutor):
            future.result()
    with open_executor({"workers": 1}) as executor:
        assert not executor.submit(label, Job("l0", bulk("Cu"), calculation, tmp_path)).result().good
        assert executor.submit(label, jobs(tmp_path, 1)[0]).result().good


def test_leaving_ends_the_labels_in_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_process, "GRACE_S", 0.5)
    executor = open_executor({"workers": 2})
    tasks = jobs(tmp_path, 4, parameters={"seconds": 1000})
    futures = [executor.submit(label, task) for task in tasks]
    until(lambda: len(in_work(tmp_path)) == 2)
    executor.shutdown(wait=False, cancel_futures=True)
    until(lambda: all(future.done() for future in futures), 10)
    assert [future.cancelled() for future in futures] == [False, False, True, True]
    assert not in_work(tmp_path)


CAMPAIGN = """
import sys, time
from pathlib import Path
from ase.build import bulk
from ase_dkl.active.labels.calculation import Calculation
from ase_dkl.active.labels.executors import open_executor
from ase_dkl.active.labels.labelling import Job, label

if __name__ == "__main__":
    folder, own = Path(sys.argv[1]), sys.argv[2] == "own"
    executor = open_executor({settings!r}, own_process=own)
    calculation = Calculation({name!r}, {{"seconds": 0.0}})
    assert executor.submit(label, Job("l0", bulk("Cu"), calculation, folder, own_process=own)).result().good
    (folder / "ready").write_text("")
    time.sleep(1000)
"""


@pytest.mark.parametrize("kind", ["local", "dask", pytest.param("parsl", marks=pytest.mark.slow)])
def test_workers_end_when_their_campaign_is_killed(kind: str, tmp_path: Path) -> None:
    (tmp_path / "cluster.py").write_text(DASK + PARSL.format(folder=str(tmp_path / "runinfo")))
    given = {
        "local": {"workers": 2},
        "dask": {"cluster": "cluster.py:cluster"},
        "parsl": {"config": "cluster.py:config"},
    }
    settings = {"kind": kind} | given[kind]  # type: ignore[operator]
    (tmp_path / "campaign.py").write_text(CAMPAIGN.format(settings=settings, name=f"{MISBEHAVING}:good"))
    command = [sys.executable, "campaign.py", str(tmp_path), "pool" if kind == "local" else "own"]
    with (tmp_path / "said").open("w") as said:
        campaign = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said)
    try:
        until(lambda: (tmp_path / "ready").exists() or campaign.poll() is not None)
        assert campaign.poll() is None, (tmp_path / "said").read_text()
        workers = descendants(campaign.pid) | mentioning(f"--logdir={tmp_path}")
        assert len(workers) >= 2
    finally:
        campaign.kill()
        campaign.wait()
    until(lambda: not any(alive(pid) for pid in workers))


@pytest.fixture(scope="class")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    folder = tmp_path_factory.mktemp("dask")
    (folder / "cluster.py").write_text(DASK)
    executor = open_executor({"kind": "dask", "cluster": f"{folder}/cluster.py:cluster"})
    yield executor
    executor.shutdown(wait=False, cancel_futures=True)


class TestDask:
    @pytest.mark.slow
    def test_a_worker_that_is_killed_loses_no_label(self, dask: Executor, tmp_path: Path) -> None:
        futures = [dask.submit(label, each) for each in jobs(tmp_path, 4, parameters={"seconds": 3.0})]
        until(lambda: len(in_work(tmp_path)) == 2)
        os.kill(parent(in_work(tmp_path).pop()), signal.SIGKILL)
        assert all(future.result(timeout=120).good for future in futures)
        # What the worker had begun went on, and was taken over by the worker in its place.
        assert computed(tmp_path) == 4

    @pytest.mark.slow
    def test_a_scheduler_of_its_own_that_dies(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(executors, "_CONNECT_S", 3)
        file = tmp_path / "scheduler.json"
        program = Path(sys.executable).with_name("dask")
        common = ["--scheduler-file", str(file), "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        place = ["--host", "127.0.0.1", "--port", "0"]
        scheduler = subprocess.Popen([program, "scheduler", *place, *common], **quiet)  # type: ignore[call-overload]
        worker = None
        try:
            until(file.exists)
            until(lambda: file.read_text().strip().endswith("}"))
            worker = subprocess.Popen([program, "worker", "--no-nanny", *common], **quiet)  # type: ignore[call-overload]
            address = json.loads(file.read_text())["address"]
            executor = open_executor({"kind": "dask", "address": address})
            assert executor.submit(label, jobs(tmp_path, 1)[0]).result(timeout=120).good
            future = executor.submit(time.sleep, 1000)
            scheduler.kill()
            with pytest.raises(CancelledError):
                future.result(timeout=120)
            with pytest.raises(BrokenExecutor, match="Dask's scheduler is gone"):
                executor.submit(time.sleep, 0)
            executor.shutdown(wait=False, cancel_futures=True)
            with pytest.raises(BadExecutor, match=r"scheduler at 'tcp://127.0.0.1:\d+' does not answer.*Is it running"):
                open_executor({"kind": "dask", "address": address})
        finally:
            for process in (scheduler, worker):
                if process is not None:
                    process.kill()
                    process.wait()


@pytest.fixture(scope="class")
def parsl_settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("parsl")
    (folder / "cluster.py").write_text(PARSL.format(folder=str(folder / "runinfo")))
    return {"kind": "parsl", "config": f"{folder}/cluster.py:config"}


@pytest.fixture(scope="class")
def parsl(parsl_settings: dict[str, str]) -> Iterator[Executor]:
    executor = open_executor(parsl_settings)
    yield executor
    executor.shutdown(wait=False, cancel_futures=True)
    folder = Path(parsl_settings["config"]).parent
    until(lambda: not mentioning(f"--logdir={folder}"))


@pytest.mark.slow
class TestParsl:
    def test_a_worker_that_is_killed_loses_no_label(self, parsl: Executor, tmp_path: Path) -> None:
        tasks = jobs(tmp_path, 4, parameters={"seconds": 3.0})
        futures = [parsl.submit(label, each) for each in tasks]
        until(lambda: len(in_work(tmp_path)) == 2)
        os.kill(parent(in_work(tmp_path).pop()), signal.SIGKILL)
        errors = [future.exception(timeout=120) for future in futures]
        assert sorted(type(error).__name__ for error in errors) == ["NoneType"] * 3 + ["WorkerLost"]
        lost = tasks[[error is not None for error in errors].index(True)]
        assert parsl.submit(label, lost).result(timeout=120).good
        assert computed(tmp_path) == 4

    def test_an_interchange_that_dies_breaks_the_executor(
        self, parsl: Executor, parsl_settings: dict[str, str], tmp_path: Path
    ) -> None:
        task = jobs(tmp_path, 1, parameters={"seconds": 3.0})[0]
        future = parsl.submit(label, task)
        until(lambda: bool(in_work(tmp_path)))
        for pid in descendants(os.getpid()) & mentioning("HTEX interchange"):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(BrokenExecutor, match="interchange died"):
            future.result(timeout=120)
        with pytest.raises(BrokenExecutor, match="interchange died"):
            parsl.submit(label, task)
        parsl.shutdown(wait=False, cancel_futures=True)
        with open_executor(parsl_settings) as another:
            assert another.submit(label, task).result(timeout=120).good
        assert computed(tmp_path) == 1


def documented(name: str) -> Callable[[], Any]:
    """A function of the module's docstring."""
    code = textwrap.dedent("".join(re.findall(r"(?m)^(?:    .*)?\n", str(executors.__doc__))))
    space: dict[str, Any] = {}
    exec(code, space)
    made: Callable[[], Any] = space[name]
    return made


# parsl.addresses leaves the sockets, by which it asks for the machine's addresses, to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning")
def test_the_documented_slurm_configuration_of_parsl() -> None:
    (workers,) = documented("config")().executors
    assert workers.provider.partition == "standard"
    assert workers.provider.cores_per_node == 64


def test_the_documented_slurm_configuration_of_dask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    cluster = documented("cluster")()
    try:
        script = cluster.job_script()
    finally:
        cluster.close()
    assert "#SBATCH -p standard" in script
    assert "#SBATCH --ntasks=64" in script
    assert "source /path/to/venv/bin/activate" in script


def test_an_executor_of_a_factory(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\ndef make(): return ThreadPoolExecutor(1)\n"
        "three = 3\ndef no(): return 3\ndef fails(): raise RuntimeError('no allocation')\n"
    )
    with open_executor({"kind": "factory", "factory": f"{tmp_path}/mine.py:make"}) as executor:
        assert isinstance(executor, ThreadPoolExecutor)
    for name, words in [
        ("three", "is a int, not a function"),
        ("no", "returns a int, not a concurrent.futures.Executor"),
        ("fails", "mine.py:fails' fails: RuntimeError: no allocation"),
        ("none", "there is no none in"),
    ]:
        with pytest.raises(BadExecutor, match=words):
            open_executor({"kind": "factory", "factory": f"{tmp_path}/mine.py:{name}"})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "slurm"}, "no executor of kind 'slurm'. Choose one of local, dask, parsl, factory"),
        ({"kind": "local", "worker": 2}, "'local' has workers, not worker"),
        ({"workers": 0}, "1 or more, not 0"),
        ({"workers": True}, "1 or more, not True"),
        ({"workers": "2"}, "1 or more, not '2'"),
        ({"kind": "dask"}, "needs address or cluster, one of them"),
        ({"kind": "dask", "address": "tcp://x", "cluster": "x"}, "needs address or cluster, one of them"),
        ({"kind": "parsl", "config": 3}, "config of the executor is a text, not 3"),
        ({"kind": "parsl", "config": "pathlib:Path"}, "returns a PosixPath, not a parsl.Config"),
        ({"kind": "factory", "factory": "nothing_here:x"}, "nothing_here cannot be imported"),
    ],
)
def test_settings_that_open_nothing(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadExecutor, match=words):
        open_executor(settings)


@pytest.mark.parametrize(("kind", "key", "package"), [("dask", "address", "distributed"), ("parsl", "config", "parsl")])
def test_a_package_that_is_not_installed(kind: str, key: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadExecutor, match=rf"needs the package {package}.*pip install 'ase-dkl\[cluster\]'"):
        open_executor({"kind": kind, key: "x:y"})
