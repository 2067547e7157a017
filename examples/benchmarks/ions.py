"""Models of free ions: errors and honesty of error bars on rows of other people's, beside other force fields.

The rows are not part of the package: `--folder` names where they are, as extended XYZ files, one or two of each set:

* `srtio3_cell_train`, `_test`: SrTiO3, 5 atoms, labelled with CHGNet; the first n rows of any part are a design.
* `srtio3_supercell_train`, `_test` and `mgo_supercell_train`, `_test`: pypolymlp's example data (BSD-3).
* `batio3_supercell`, `srtio3_forces_only`, `srtio3_forces_only_harmonic`: ALAMODE's example data (MIT).
* `ethanol_train`, `_test` and `benzene_train`, `_test`: frames of rMD17 (CC0).

Each number is the mean ± standard deviation over draws of the training rows, which the seeds are, or over four folds.
Each case that ends is a line of `--results`; cases that are there are not run again, though the package has changed
since: lines that a change makes stale are to be taken out. Beside that file a table of all of them is written.
Times are processor times of one thread.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import ase.io
import numpy as np
from _common import Floats, arguments, console, judged, print_environment, stderr
from ase import Atoms
from rich.progress import track

from ase_dkl import Dataset, DKLCalculator, IonConfig, evaluate, fit_ions
from ase_dkl.benchmark.environment import environment
from ase_dkl.dataset.shipped import ethylene, silicon_ions
from ase_dkl.metrics import rmse
from ase_dkl.model import local_kernel
from ase_dkl.model.local_kernel import Radial
from ase_dkl.training import local

Outcome = dict[str, Any]
"""Of one case, by the names in `COLUMNS`."""
Key = tuple[str, int, int, str]
FOLDS = 4
WHOLE = 270
"""Rows of a whole file: there is one draw of them."""
MANY = 2000
"""Inducing environments of the larger model."""
CALLS = 20
"""Calls of the calculator that are timed."""
OURS, LARGER, POLYNOMIALS = "ours", f"ours, {MANY} inducing environments", "ours, polynomials alone"
SGDML, HIPHIVE = "sGDML", "hiphive, orders 2 to 4"
ABLATIONS, PEERS = (LARGER, POLYNOMIALS), {SGDML: "sgdml", HIPHIVE: "hiphive"}


@dataclass(frozen=True)
class Study:
    """A set of rows, how many of them are trained on, and what is to be reached.

    Attributes:
        name: of the set.
        files: of the rows, and of the test; of the rows alone where these are divided in folds.
        targets: the largest error, by name and by number of training rows.
        methods: that are compared.
        published: errors on exactly these rows, by who says so.
        extra: a file of rows to train on whatever the draw.
        ordered: whether any part of the rows is a design, so that draws are parts and not at random.
    """

    name: str
    files: tuple[str, ...]
    targets: Mapping[int, Mapping[str, float]]
    methods: tuple[str, ...] = (OURS,)
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    extra: str | None = None
    ordered: bool = False

    @property
    def in_folds(self) -> bool:
        """Whether rows to test on are among the others."""
        return len(self.files) == 1


@dataclass(frozen=True)
class Case:
    """One fit: of a study, so many rows, the draw or the fold of that number."""

    study: Study
    rows: int
    draw: int
    method: str

    @property
    def key(self) -> Key:
        """What it is in the file of results."""
        return self.study.name, self.rows, self.draw, self.method


ENERGY, FORCE, FORCE_MAE = "energy_rmse_meV_atom", "force_rmse_meV_A", "force_mae_meV_A"
RELATIVE, STRESS = "force_relative_percent", "stress_rmse_GPa"
COLUMNS = {
    ENERGY: ("energy RMSE, meV/atom", ".2f"),
    FORCE: ("force RMSE, meV/Å", ".1f"),
    FORCE_MAE: ("force MAE, meV/Å", ".1f"),
    RELATIVE: ("force, relative, %", ".2f"),
    STRESS: ("stress RMSE, GPa", ".3f"),
    "coverage_95": ("95 % coverage, energy", ".2f"),
    "force_coverage_95": ("force", ".2f"),
    "stress_coverage_95": ("stress", ".2f"),
    "seconds": ("fit, s", ".1f"),
    "call_ms": ("call, ms", ".1f"),
}
ERRORS = (ENERGY, FORCE, FORCE_MAE, RELATIVE, STRESS)


def _reach(energy: float | None = None, force: float | None = None, stress: float | None = None) -> dict[str, float]:
    found = {ENERGY: energy, FORCE: force, STRESS: stress}
    return {name: value for name, value in found.items() if value is not None}


BATIO3 = Study(
    "batio3_supercell",
    ("batio3_supercell",),
    {60: {ENERGY: 0.4, RELATIVE: 3.6}},
    (OURS, HIPHIVE, *ABLATIONS),
    {"ALAMODE, orders 3 and 4, harmonic part given": {RELATIVE: 4.74}},
)
FORCES = Study("srtio3_forces_only", ("srtio3_forces_only",), {30: {RELATIVE: 5.4}}, (OURS, HIPHIVE, *ABLATIONS))
FORCES_MORE = Study(
    "srtio3_forces_only and 4 rows of single displacements",
    ("srtio3_forces_only",),
    {30: {RELATIVE: 4.5}},
    (OURS, HIPHIVE),
    {"ALAMODE, orders 3 to 6, harmonic part given": {RELATIVE: 5.43}},
    extra="srtio3_forces_only_harmonic",
)
STUDIES = (
    Study(
        "srtio3_cell",
        ("srtio3_cell_train", "srtio3_cell_test"),
        {16: _reach(1.3, 45, 0.40), 48: _reach(0.6, 25, 0.18), 128: _reach(0.4, 16, 0.12)},
        (OURS, *ABLATIONS),
        ordered=True,
    ),
    Study("benzene", ("benzene_train", "benzene_test"), {50: {FORCE_MAE: 3.0}}, (OURS, SGDML, *ABLATIONS)),
    Study("ethanol", ("ethanol_train", "ethanol_test"), {50: {FORCE_MAE: 60}}, (OURS, SGDML, *ABLATIONS)),
    BATIO3,
    FORCES,
    FORCES_MORE,
    Study(
        "srtio3_supercell",
        ("srtio3_supercell_train", "srtio3_supercell_test"),
        {20: _reach(3.5, 140), 80: _reach(2.0, 60), 270: _reach(1.2, 27, 0.2)},
        published={"polynomial MLP (pypolymlp), 270 rows": {ENERGY: 1.17, FORCE: 27}},
    ),
    Study(
        "mgo_supercell",
        ("mgo_supercell_train", "mgo_supercell_test"),
        {20: {}, 270: _reach(0.06, 4.8)},
        published={"polynomial MLP (pypolymlp), 270 rows": {ENERGY: 0.058, FORCE: 4.8}},
    ),
)
QUICK = (
    Study(
        "ethylene",
        (str(ethylene()),),
        {16: {FORCE_MAE: 50}},
        (OURS, SGDML, POLYNOMIALS),
        published={"nobody": {FORCE_MAE: 50}},
    ),
    Study("silicon_ions", (str(silicon_ions()),), {12: _reach(1, 10, 0.1)}),
)
"""Of rows that the package has."""


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the rows are; with --quick the package's own are taken")
    parser.add_argument("--peers", type=Path, help="python of an environment with sgdml and hiphive; without, no peers")
    parser.add_argument("--results", type=Path, default=Path("ions.jsonl"), help="cases that have ended")
    parser.add_argument("--data", nargs="+", help="names of sets; all")
    parser.add_argument("--methods", nargs="+", help="how their names begin; all")
    parser.add_argument("--most", type=int, default=270, help="training rows of a case")
    options = parser.parse_args()
    if not options.quick and options.folder is None:
        parser.error("--folder: name the folder of the rows, as `--help` lists them, or ask for --quick.")
    print_environment(options.seeds, options.quick)
    studies: tuple[Study, ...] = QUICK if options.quick else STUDIES
    if options.data:
        studies = tuple(study for study in studies if study.name in options.data)
    if options.peers is None:
        console.print(f"No --peers, so that {' and '.join(PEERS)} are skipped.")
    wanted = [
        case
        for case in _cases(studies, options.seeds, options.quick)
        if case.rows <= options.most
        and (case.method not in PEERS or options.peers is not None)
        and (not options.methods or case.method.startswith(tuple(options.methods)))
    ]
    done = _read(options.results)
    missing = [case for case in wanted if case.key not in done]
    console.print(f"{len(wanted) - len(missing)} of {len(wanted)} cases have ended before.")
    runner = _Runner(options.folder or Path(), options.peers, options.quick)
    with options.results.open("a", encoding="utf-8") as file:
        for case in track(missing, "cases", console=stderr):
            line = {"key": case.key, "result": runner.run(case)}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
    # What others that write to the file have finished, too.
    text = _table(studies, _read(options.results))
    options.results.with_suffix(".md").write_text(text, encoding="utf-8")
    console.print(text, markup=False, highlight=False)


def _cases(studies: Sequence[Study], seeds: Sequence[int], quick: bool) -> Iterator[Case]:
    """All methods of each study, and after these the ablations."""
    for ablations, study in itertools.product((False, True), studies):
        for rows, method in itertools.product(study.targets, study.methods):
            draws: Sequence[int] = [0] if quick or rows == WHOLE else range(FOLDS) if study.in_folds else seeds
            if (method in ABLATIONS) == ablations:
                yield from (Case(study, rows, draw, method) for draw in draws)


def _read(results: Path) -> dict[Key, Outcome]:
    """Cases that have ended."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return {tuple(entry["key"]): entry["result"] for entry in map(json.loads, lines)}


class _Runner:
    """Runs cases on the rows of a folder."""

    def __init__(self, folder: Path, peers: Path | None, quick: bool) -> None:
        self._folder, self._peers, self._quick = folder, peers, quick

    def run(self, case: Case) -> Outcome:
        """Errors, coverages and times."""
        training, test = self._divided(case)
        if case.method in PEERS:
            return self._peer(PEERS[case.method], training, test)
        config = IonConfig(seed=case.draw)
        if self._quick:
            config = replace(config, n_inducing=30)
        elif case.method == LARGER:
            config = replace(config, n_inducing=MANY)
        with _polynomials() if case.method == POLYNOMIALS else nullcontext():
            start = time.process_time()
            surrogate = fit_ions(training, config, progress=False)
            seconds = time.process_time() - start
            found = evaluate(surrogate, test).to_dict()
            call = _milliseconds(DKLCalculator(surrogate), test)
        result: Outcome = {name: found[name] for name in COLUMNS if found.get(name) is not None}
        result |= {RELATIVE: 100 * found["force_relative_rmse"], "seconds": seconds, "call_ms": call}
        if found["energy_rmse_meV"] is not None:
            result[ENERGY] = found["energy_rmse_meV"] / len(test.crystal.numbers)
        return result

    def _divided(self, case: Case) -> tuple[Dataset, Dataset]:
        """Rows to train on, and to test on, of one crystal that the former let one find."""
        study = case.study
        rows = self._frames(study.files[0])
        if study.in_folds:
            parts = np.array_split(np.random.default_rng(0).permutation(len(rows)), FOLDS)
            test = [rows[i] for i in parts.pop(case.draw)]
            chosen = np.concatenate(parts)[: case.rows]
        else:
            test = self._frames(study.files[1])
            if study.ordered:
                # Parts that are disjoint as far as there are enough rows.
                first = case.draw * min(case.rows, (len(rows) - case.rows) // 2)
                chosen = np.arange(first, first + case.rows)
            else:
                chosen = np.sort(np.random.default_rng(case.draw).permutation(len(rows))[: case.rows])
        given = [rows[i] for i in chosen] + ([] if study.extra is None else self._frames(study.extra))
        training = Dataset.from_atoms(given, ions="free")
        return training, Dataset.from_atoms(test, reference=training.crystal)

    def _frames(self, name: str) -> list[Atoms]:
        path = Path(name) if Path(name).is_absolute() else self._folder / f"{name}.xyz"
        return list(ase.io.read(path, ":"))

    def _peer(self, name: str, training: Dataset, test: Dataset) -> Outcome:
        """What another environment makes of the same rows."""
        ideal = training.crystal.atoms(training.cells[0] if training.crystal.dimension else None)
        with TemporaryDirectory() as folder:
            given, answered = Path(folder) / "rows.npz", Path(folder) / "predicted.npz"
            np.savez(
                given,
                numbers=training.crystal.numbers,
                reference=ideal.positions,
                cell=ideal.cell.array,
                positions=training.positions,
                forces=training.forces,
                energies=training.energies,
                test_positions=test.positions,
            )
            script = Path(__file__).with_name("_ions_peers.py")
            # Its own packages, and none of ours.
            variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            command = [str(self._peers), "-W", "ignore", str(script), name, str(given), str(answered)]
            ended = subprocess.run(
                command, capture_output=True, text=True, env={**variables, "OMP_NUM_THREADS": "1"}, check=False
            )
            if ended.returncode:
                raise RuntimeError(f"{name} failed:\n{ended.stderr[-2000:]}")
            with np.load(answered) as found:
                predicted = dict(found)
        error = predicted["forces"] - test.forces
        result: Outcome = {
            FORCE: 1e3 * rmse(error),
            FORCE_MAE: 1e3 * float(np.abs(error).mean()),
            RELATIVE: 100 * rmse(error) / rmse(test.forces),
            "seconds": float(predicted["seconds"]),
            "chosen": str(predicted["chosen"]),
        }
        if "energies" in predicted:
            result[ENERGY] = 1e3 * rmse(predicted["energies"] - test.energies) / len(test.crystal.numbers)
        return result


def _polynomials() -> AbstractContextManager[object]:
    """While it lasts, the prior is one of polynomials of the first to fourth degree, and has no Gaussians."""
    profiles = tuple(f"degree {k}" for k in range(1, 5))
    stack = ExitStack()
    stack.enter_context(patch.object(Radial, "of", _powers))
    for module in (local_kernel, local):
        stack.enter_context(patch.object(module, "PROFILES", profiles))
    return stack


def _powers(weights: Floats, products: Floats, squares: Floats) -> Radial:  # noqa: ARG001
    """Weighted sums of powers of x·z, from weights of shape (K, 4)."""
    value, slope, curvature = np.zeros((3, len(weights), *products.shape))
    for k, scale in enumerate(weights.T, start=1):
        each = scale[(..., *[None] * products.ndim)]
        value += each * products**k
        slope += each * k * products ** (k - 1)
        curvature += each * k * (k - 1) * products ** max(k - 2, 0)
    nothing = np.zeros_like(value)
    return Radial(value, slope, curvature, nothing, nothing)


def _milliseconds(calculator: DKLCalculator, test: Dataset) -> float:
    """Processor time of one call that answers all that there is, median; the first call is not counted."""
    times = []
    for cell, positions in zip(test.cells[: CALLS + 1], test.positions, strict=False):
        atoms = test.crystal.atoms(cell if test.crystal.dimension else None)
        atoms.positions = positions
        start = time.process_time()
        with warnings.catch_warnings():
            # Where test rows are further out than those of the training.
            warnings.simplefilter("ignore")
            # Forces first: with them all the others come.
            for name in sorted(calculator.implemented_properties, key="forces".__ne__):
                calculator.get_property(name, atoms)
        times.append(1e3 * (time.process_time() - start))
    return float(np.median(times[1:]))


def _table(studies: Sequence[Study], done: Mapping[Key, Outcome]) -> str:
    """All cases that have ended, in Markdown; the smallest mean error of each column is bold."""
    lines = [
        "# Models of free ions",
        "",
        f"Written by `ions.py`. {environment()}".replace("\n", ". ") + ".",
        "",
        "Mean ± standard deviation over draws of the training rows, or over four folds. Coverages are of labels by",
        "model uncertainty and noise together. Times are processor times of one thread.",
    ]
    for study in studies:
        for rows, targets in study.targets.items():
            by_method = {
                method: [done[key] for key in done if key[:2] == (study.name, rows) and key[3] == method]
                for method in study.methods
            }
            by_method = {method: outcomes for method, outcomes in by_method.items() if outcomes}
            if by_method:
                lines += ["", f"## {study.name}, {rows} rows", "", *_rows(study, targets, by_method)]
    return "\n".join(lines) + "\n"


def _rows(study: Study, targets: Mapping[str, float], by_method: Mapping[str, Sequence[Outcome]]) -> Iterator[str]:
    """Of one table."""
    values = {
        method: {name: [each[name] for each in outcomes if name in each] for name in COLUMNS}
        for method, outcomes in by_method.items()
    }
    told = [name for name in COLUMNS if any(each[name] for each in values.values())]
    means = {method: {name: np.mean(each[name]) for name in told if each[name]} for method, each in values.items()}
    best = {name: min(each[name] for each in means.values() if name in each) for name in told if name in ERRORS}
    yield _line("method", "draws", *(COLUMNS[name][0] for name in told))
    yield "|---|" + "---:|" * (1 + len(told))
    for method, each in values.items():
        texts = []
        for name in told:
            text = judged(each[name], COLUMNS[name][1])
            wins = len(means) > 1 and name in best and means[method].get(name) == best[name]
            texts.append(f"**{text}**" if wins else text)
        yield _line(method, str(len(by_method[method])), *texts)
    if targets:
        yield _line("to reach", "", *(_target(targets.get(name), means.get(OURS, {}).get(name)) for name in told))
    for who, errors in study.published.items():
        yield _line(f"published: {who}", "", *(f"{errors[name]:g}" if name in errors else "" for name in told))


def _target(target: float | None, mean: float | None) -> str:
    if target is None:
        return ""
    return f"≤ {target:g}" + ("" if mean is None else ", met" if mean <= target else ", missed")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
