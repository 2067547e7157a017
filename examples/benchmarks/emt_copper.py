"""Copper under strain, labels from effective medium theory: errors in the box, and honesty outside it.

Labels without noise, thousands of test lattices, and lattices beyond the box on all sides: what σ is worth where the
model knows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from _common import (
    THREE_DIGITS,
    Floats,
    Result,
    add_results,
    arguments,
    configured,
    console,
    fit_and_evaluate,
    judged_row,
    print_environment,
    result_table,
    stderr,
)
from _copper import around_the_box, box, labelled
from _peers import lattice_parameters_of, peers
from rich.progress import track
from rich.table import Table
from sklearn.metrics import roc_auc_score

from ase_dkl import Dataset, Surrogate, TrainConfig
from ase_dkl.metrics import coverage, rmse

LEAST_AUROC = 0.98
"""AUROC of σ, at least, between test lattices in the box and those around it."""


@dataclass(frozen=True, eq=False)
class Case:
    """What is trained on, and what is to be reached."""

    n: int
    labels: str
    targets: Mapping[str, float]


BOTH, ENERGIES = "energies, stresses", "energies"
CASES = (
    Case(256, ENERGIES, {"energy_rmse_meV": 0.9}),
    Case(64, BOTH, {"energy_rmse_meV": 1.2, "stress_rmse_GPa": 0.08}),
    Case(64, ENERGIES, {}),
)
QUICK = (Case(16, BOTH, {}), Case(16, ENERGIES, {}))


HONESTY = {
    "auroc": ("AUROC of σ,\ninside / outside", ".4f"),
    "rmse": ("RMSE outside,\nmeV", THREE_DIGITS),
    "sigma": ("RMS σ outside,\nmeV", THREE_DIGITS),
    "ratio": ("RMSE / RMS σ,\noutside", THREE_DIGITS),
    "scaled": ("RMS of error / σ,\noutside", THREE_DIGITS),
    "coverage_95": ("95 % coverage,\noutside", ".3f"),
}


def main() -> None:
    options = arguments("DKL and its peers on copper as effective medium theory has it.").parse_args()
    print_environment(options.seeds, options.quick)
    cases = QUICK if options.quick else CASES
    n_test = 32 if options.quick else 1024
    structures = labelled(track(box(1, max(case.n for case in cases)), "labels to train", console=stderr))
    unseen = labelled(track(box(2, n_test), "labels to test", console=stderr))
    around = labelled(track(around_the_box(3, n_test), "labels around the box", console=stderr))
    errors = result_table(f"{n_test} lattices in the box: mean ± standard deviation over {len(options.seeds)} seeds")
    honesty = Table("method", "n", "labels", *(heading for heading, _ in HONESTY.values()))
    honesty.title = f"{n_test} lattices around the box, at 1.2 to 1.8 times its half-widths"
    found = []
    for case in track(cases, "training", console=stderr):
        training = Dataset.from_atoms(structures[: case.n])
        crystal = training.crystal
        found.append(f"{case.n} strained cells: {crystal.space_group}, {len(crystal.images)} images")
        if case.labels == ENERGIES:
            training = training.without_stresses()
        inside, outside = (Dataset.from_atoms(each, reference=crystal) for each in (unseen, around))
        methods = {"DKL": TrainConfig()}
        if case.labels == ENERGIES:
            methods["DKL as in the paper"] = TrainConfig.paper()
        for name, config in methods.items():
            results, checks = [], []
            for seed in options.seeds:
                surrogate, result = fit_and_evaluate(
                    training, inside, configured(replace(config, seed=seed), options.quick)
                )
                results.append(result)
                checks.append(_dkl_outside(surrogate, inside, outside))
            add_results(errors, name, case.n, case.labels, results, case.targets if name == "DKL" else None)
            _add_checks(honesty, name, case, checks)
        if case.labels == ENERGIES:
            for peer in peers(training, options.quick):
                add_results(errors, peer.name, case.n, case.labels, [peer.evaluate(inside)])
                within, beyond = (peer.predict(lattice_parameters_of(each)) for each in (inside, outside))
                if within.sigma is not None and beyond.sigma is not None:
                    error = beyond.energies - outside.energies
                    _add_checks(honesty, peer.name, case, [_checks(within.sigma, error, beyond.sigma)])
        errors.add_section()
        honesty.add_section()
    console.print("Crystal found in the rows to train on:", *found, errors, honesty, sep="\n", highlight=False)


def _dkl_outside(surrogate: Surrogate, inside: Dataset, outside: Dataset) -> Result:
    within, beyond = (surrogate.predict_cells(each.cells, stress=False) for each in (inside, outside))
    return _checks(within.energy_uncertainty, beyond.energy - outside.energies, beyond.energy_uncertainty)


def _checks(sigma_inside: Floats, error: Floats, sigma: Floats) -> Result:
    """What σ is worth outside: whether it tells that one is there, and whether it is as large as the error."""
    outside = np.repeat([0, 1], [len(sigma_inside), len(sigma)])
    return {
        "auroc": float(roc_auc_score(outside, np.concatenate([sigma_inside, sigma]))),
        "rmse": 1e3 * rmse(error),
        "sigma": 1e3 * rmse(sigma),
        "ratio": rmse(error) / rmse(sigma),
        "scaled": rmse(error / sigma),
        "coverage_95": coverage(error, sigma, 0.95),
    }


def _add_checks(table: Table, method: str, case: Case, checks: list[Result]) -> None:
    targets = {"auroc": LEAST_AUROC} if method == "DKL" else {}
    table.add_row(method, str(case.n), case.labels, *judged_row(checks, HONESTY, targets))


if __name__ == "__main__":
    main()
