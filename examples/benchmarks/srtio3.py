"""Errors and honesty of the error bars on real DFT labels: the shipped SrTiO3 database.

Trained on the first n rows of the pool, tested on its rows from 192 on. Rows within 2.5 eV of the minimum are judged;
all of them stand beside, as one corner of the box at 6.6 eV, where no training row is above 3.8, outweighs the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from _common import (
    THREE_DIGITS,
    Result,
    add_results,
    arguments,
    configured,
    console,
    fit_and_evaluate,
    judged,
    print_environment,
    result_table,
    stderr,
)
from _peers import lattice_parameters_of, peers
from rich.progress import track
from rich.table import Table
from sklearn.metrics import roc_auc_score

from ase_dkl import Dataset, Surrogate, TrainConfig, evaluate, srtio3

UNSEEN = "set=pool,index>=192"
JUDGED = f"{UNSEEN},above_min_eV<2.5"
SCANS = ("scan_iso", "scan_a", "scan_alpha")
LENGTH, STRETCH, SHEAR = 3.945, 0.1, 10.0
"""The pool's box: centre of the lengths, Å, half-width of lengths as a fraction and of angles in degrees."""


@dataclass(frozen=True, eq=False)
class Case:
    """What is trained on, and what is to be reached."""

    n: int
    labels: str
    targets: Mapping[str, float]

    def read(self) -> Dataset:
        """The first n rows, and the crystal that they let one find."""
        dataset = Dataset.read(srtio3(), select=f"set=pool,index<{self.n}")
        return dataset if "stresses" in self.labels else dataset.without_stresses()


def targets(
    rmse_meV: float, stress_GPa: float | None, energy: float, stress: float | None, nll: float
) -> dict[str, float]:
    given = {
        "energy_rmse_meV": rmse_meV,
        "stress_rmse_GPa": stress_GPa,
        "coverage_95": energy,
        "stress_coverage_95": stress,
        "energy_nll": nll,
    }
    return {name: value for name, value in given.items() if value is not None}


BOTH, ENERGIES = "energies, stresses", "energies"
CASES = (
    Case(16, BOTH, targets(1.5, 0.12, 0.90, 0.88, -5.2)),
    Case(32, BOTH, targets(0.55, 0.025, 0.92, 0.90, -6.2)),
    Case(64, BOTH, targets(0.40, 0.013, 0.93, 0.92, -6.4)),
    Case(64, ENERGIES, targets(2.0, None, 0.92, None, -5.0)),
    Case(192, ENERGIES, targets(0.42, None, 0.93, None, -6.2)),
)
QUICK = (Case(16, BOTH, {}), Case(16, ENERGIES, {}))


def main() -> None:
    options = arguments("DKL and its peers on the shipped DFT data.").parse_args()
    print_environment(options.seeds, options.quick)
    cases = QUICK if options.quick else CASES
    jobs = [(case, seed) for case in cases for seed in options.seeds]
    errors = result_table(f"{JUDGED}: mean ± standard deviation over {len(options.seeds)} seeds")
    whole = _whole_table()
    surrogates: dict[Case, list[Surrogate]] = {case: [] for case in cases}
    results: dict[Case, list[Result]] = {case: [] for case in cases}
    for case, seed in track(jobs, "training", console=stderr):
        training = case.read()
        config = configured(TrainConfig(seed=seed), options.quick)
        surrogate, result = fit_and_evaluate(training, _read(JUDGED, training), config)
        surrogates[case].append(surrogate)
        results[case].append(result)
    for case in cases:
        add_results(errors, "DKL", case.n, case.labels, results[case], case.targets)
        _add_whole(whole, case, surrogates[case])
    for case in track([case for case in cases if case.labels == ENERGIES], "peers", console=stderr):
        training = case.read()
        test = _read(JUDGED, training)
        errors.add_section()
        for peer in peers(training, options.quick):
            add_results(errors, peer.name, case.n, case.labels, [peer.evaluate(test)])
        bare = [configured(TrainConfig.paper(seed=seed), options.quick) for seed in options.seeds]
        add_results(
            errors, "DKL as in the paper", case.n, case.labels, [fit_and_evaluate(training, test, c)[1] for c in bare]
        )
    console.print(errors, whole, _scan_table(surrogates), sep="\n")


def _read(select: str, like: Dataset) -> Dataset:
    return Dataset.read(srtio3(), select=select, reference=like.crystal)


def _whole_table() -> Table:
    headings = (
        "n",
        "labels",
        "RMSE, meV",
        "MAE, meV",
        "95 % coverage",
        "NLL, nats",
        "worst row, error ± σ (first seed)",
    )
    return Table(*headings, title=f"{UNSEEN}: whatever the energy")


def _add_whole(table: Table, case: Case, surrogates: list[Surrogate]) -> None:
    test = _read(UNSEEN, case.read())
    evaluations = [evaluate(surrogate, test) for surrogate in surrogates]
    prediction = surrogates[0].predict_cells(test.cells, stress=False)
    error = prediction.energy - test.energies
    worst = int(np.abs(error).argmax())
    minimum = Dataset.read(srtio3(), select="set=pool").energies.min()
    table.add_row(
        str(case.n),
        case.labels,
        judged([e.energy_rmse_meV for e in evaluations if e.energy_rmse_meV is not None], THREE_DIGITS),
        judged([e.energy_mae_meV for e in evaluations if e.energy_mae_meV is not None], THREE_DIGITS),
        judged([e.coverage_95 for e in evaluations if e.coverage_95 is not None], ".3f"),
        judged([e.energy_nll for e in evaluations if e.energy_nll is not None], ".2f"),
        f"id {test.ids[worst]}, {test.energies[worst] - minimum:.2f} eV above the minimum: "
        f"{1e3 * error[worst]:+.3g} ± {1e3 * prediction.energy_uncertainty[worst]:.3g} meV",
    )


def _scan_table(surrogates: Mapping[Case, list[Surrogate]]) -> Table:
    """Scans inside the box and beyond it, and how well σ tells unseen rows of the box from those beyond."""
    headings = [f"n = {case.n}\n{case.labels}" for case in surrogates]
    table = Table("scan", "rows", *headings, title="Scans: RMSE in meV, and fraction of the rows in the 95 % band")
    example = next(iter(surrogates)).read()
    beyond = []
    for name in SCANS:
        scan = _read(f"set={name}", example)
        inside = _in_box(scan)
        beyond.append(scan.subset(~inside))
        for rows, where in ((inside, "inside the box"), (~inside, "beyond it")):
            part = scan.subset(rows)
            table.add_row(f"{name}, {where}", str(len(part)), *(_on_scan(each, part) for each in surrogates.values()))
    table.add_section()
    inside_test = _read(JUDGED, example)
    outside_cells = np.concatenate([part.cells for part in beyond])
    n = f"{len(inside_test)} / {len(outside_cells)}"
    scores = [[_auroc(s, inside_test.cells, outside_cells) for s in each] for each in surrogates.values()]
    table.add_row("AUROC of σ, pool / beyond", n, *(judged(score, ".3f") for score in scores))
    return table


def _in_box(dataset: Dataset) -> np.ndarray:
    parameters = lattice_parameters_of(dataset)
    stretch = np.abs(parameters[:, :3] / LENGTH - 1) <= STRETCH + 1e-6
    shear = np.abs(parameters[:, 3:] - 90) <= SHEAR + 1e-6
    return np.asarray((stretch & shear).all(axis=1))


def _on_scan(surrogates: list[Surrogate], scan: Dataset) -> str:
    evaluations = [evaluate(surrogate, scan) for surrogate in surrogates]
    error = judged([e.energy_rmse_meV for e in evaluations if e.energy_rmse_meV is not None], THREE_DIGITS)
    return f"{error}, {np.mean([e.coverage_95 for e in evaluations if e.coverage_95 is not None]):.2f}"


def _auroc(surrogate: Surrogate, inside: np.ndarray, outside: np.ndarray) -> float:
    sigma = surrogate.predict_cells(np.concatenate([inside, outside]), stress=False).energy_uncertainty
    return float(roc_auc_score(np.repeat([0, 1], [len(inside), len(outside)]), sigma))


if __name__ == "__main__":
    main()
