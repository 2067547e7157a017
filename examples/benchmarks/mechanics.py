"""Lattice constants, equations of state and elastic constants of surrogates, beside the same from DFT directly.

The DFT is the shipped one. Directly, the lattice constant, B0 and B0' follow from a Birch–Murnaghan curve through
energies, elastic constants from polynomials through stresses at small strains, which no surrogate has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _common import (
    COLUMNS,
    THREE_DIGITS,
    Result,
    arguments,
    configured,
    console,
    fit_and_evaluate,
    judged_row,
    print_environment,
    stderr,
    verdict,
)
from _direct import N_PER_M, NARROW, WHOLE, Number, direct
from ase.units import GPa
from rich.progress import track
from rich.table import Table

from ase_dkl import (
    Dataset,
    Surrogate,
    TrainConfig,
    elastic_constants,
    equation_of_state,
    fit,
    mgo_slab,
    mos2,
    sheet_constants,
    silicon,
    srtio3,
    srtio3_direct,
)

ERRORS = {name: COLUMNS[name] for name in ("energy_rmse_meV", "coverage_95", "stress_rmse_GPa", "stress_coverage_95")}
ERRORS["stress_rmse_N_per_m"] = ("stress RMSE,\nN/m", THREE_DIGITS)
TARGETS = {"a": 0.0005, "B0": 1.5, "C11": 1.5, "C12": 1.5, "C44": 1.5}
"""Largest deviation from DFT of SrTiO3 at 24 rows and more, Å and GPa."""
FROM_ROWS = 24
SIZES = (16, 24, 32, 64)


@dataclass(frozen=True)
class System:
    """A crystal whose pool is divided into rows to train on and rows to test on."""

    name: str
    database: Path
    ions: str = "clamped"
    training: int = 24
    sheet: bool = False

    def read(self, rows: int) -> tuple[Dataset, Dataset]:
        """The first rows of the pool, and those that are held out whatever that number is."""
        select = f"set=pool,ions={self.ions},index"
        training = Dataset.read(self.database, select=f"{select}<{rows}")
        return training, Dataset.read(self.database, select=f"{select}>={self.training}", reference=training.crystal)

    def unit(self, quantity: str) -> str:
        """A space and the unit, for headings."""
        return {"a": " Å", "B0'": "", "offset": " eV"}.get(quantity, " N/m" if self.sheet else " GPa")


STRONTIUM_TITANATE = System("SrTiO3", srtio3_direct())
OTHERS = (
    System("silicon", silicon(), "clamped"),
    System("silicon", silicon(), "relaxed"),
    System("MoS2", mos2(), sheet=True),
    System("MgO(001)", mgo_slab(), training=10, sheet=True),
)


def main() -> None:
    options = arguments("What follows from the energy of a strained crystal, against DFT.").parse_args()
    print_environment(options.seeds, options.quick)
    console.print(_direct_table(), _strontium_titanate(options.seeds, options.quick), sep="\n")
    console.print(*_others(options.seeds, options.quick), sep="\n")


def _direct_table() -> Table:
    """Values from DFT alone, and how much they owe to what was fitted to what."""
    title = "GPAW directly: ± is the error of the regression; another choice of what is fitted moves values too"
    table = Table("crystal", "ions", "", WHOLE, NARROW, title=title)
    for system in (STRONTIUM_TITANATE, *OTHERS):
        other = direct(system.database, system.ions, narrow=True)
        for name, number in direct(system.database, system.ions).items():
            label = f"{name}{system.unit(name)}"
            table.add_row(system.name, system.ions, label, str(number), str(other[name]))
        table.add_section()
    return table


def _strontium_titanate(seeds: Sequence[int], quick: bool) -> Table:
    """Everything, by the number of rows trained on."""
    sizes = SIZES[:1] if quick else SIZES
    found: dict[int, list[dict[str, Number]]] = {rows: [] for rows in sizes}
    for rows, seed in track([(n, seed) for n in sizes for seed in seeds], "SrTiO3", console=stderr):
        dataset = Dataset.read(srtio3(), select=f"set=pool,index<{rows}")
        surrogate = fit(dataset, configured(TrainConfig(seed=seed), quick), progress=False)
        found[rows].append(_properties(surrogate))
    truth = direct(STRONTIUM_TITANATE.database)
    table = _comparison("SrTiO3, clamped ions: trained on n rows of the pool, with stresses", "n")
    for name in found[sizes[0]][0]:
        for rows in sizes:
            target = TARGETS.get(name) if rows >= FROM_ROWS else None
            label = f"{name}{STRONTIUM_TITANATE.unit(name)}"
            _compare(table, (label, str(rows)), truth[name], [each[name] for each in found[rows]], target)
        table.add_section()
    return table


def _others(seeds: Sequence[int], quick: bool) -> tuple[Table, Table]:
    """Errors on rows held out, and the properties."""
    headings = [heading for heading, _ in ERRORS.values()]
    errors = Table("crystal", "ions", "trained on", "held out", *headings, title="Held-out rows of the pool")
    properties = _comparison("Other crystals, and what clamped and relaxed ions make of silicon", "crystal", "ions")
    for system in track(OTHERS, "other crystals", console=stderr):
        training, test = system.read(16 if quick else system.training)
        results, found = [], []
        for seed in seeds:
            surrogate, result = fit_and_evaluate(training, test, configured(TrainConfig(seed=seed), quick))
            results.append(_with_edges(result, surrogate) if system.sheet else result)
            found.append(_properties(surrogate))
        errors.add_row(system.name, system.ions, str(len(training)), str(len(test)), *judged_row(results, ERRORS, {}))
        truth = direct(system.database, system.ions)
        for name in found[0]:
            heading = (f"{name}{system.unit(name)}", system.name, system.ions)
            _compare(properties, heading, truth[name], [each[name] for each in found])
        properties.add_section()
    return errors, properties


def _with_edges(result: Result, surrogate: Surrogate) -> Result:
    """Errors of a sheet's stresses as forces on an edge as well, which no vacuum enters."""
    stress = result["stress_rmse_GPa"]
    assert stress is not None
    return {**result, "stress_rmse_N_per_m": stress * GPa * surrogate.crystal.cell[2, 2] / N_PER_M}


def _properties(surrogate: Surrogate) -> dict[str, Number]:
    """Edge of the cell, Å, and constants, GPa or N/m, under the names that `direct` gives them."""
    curve = equation_of_state(surrogate)
    places = {"C11": (0, 0), "C12": (0, 1), "C44": (3, 3)}
    if len(surrogate.crystal.periodic) == 2:
        sheet = sheet_constants(surrogate)
        B0 = Number(curve.B0_N_per_m, curve.B0_N_per_m_std)
        lattice, C, std = sheet.equilibrium, sheet.C_N_per_m, sheet.C_std_N_per_m
        del places["C44"]
    else:
        bulk = elastic_constants(surrogate)
        B0 = Number(curve.B0_GPa, curve.B0_GPa_std)
        lattice, C, std = bulk.equilibrium, bulk.C_GPa, bulk.C_std_GPa
    return {
        "a": Number(float(lattice.lattice_parameters[0]), float(lattice.lattice_parameters_std[0])),
        "B0": B0,
        "B0'": Number(curve.B0_prime, curve.B0_prime_std),
        **{name: Number(float(C[place]), float(std[place])) for name, place in places.items()},
    }


def _comparison(title: str, *by: str) -> Table:
    columns = ("GPAW directly", "surrogate, mean of the seeds", "deviation", "its std", "z, RMS", "target")
    return Table("", *by, *columns, title=title)


def _compare(
    table: Table, heading: Sequence[str], truth: Number, found: Sequence[Number], target: float | None = None
) -> None:
    """One line: by how much the surrogates are off, and by how many standard deviations of both sides together."""
    values, std = np.array([each.value for each in found]), np.array([each.std for each in found])
    deviations = values - truth.value
    z = float(np.sqrt(np.mean(deviations**2 / (std**2 + truth.std**2))))
    deviation = float(deviations.mean())
    table.add_row(
        *heading,
        str(truth),
        str(Number(float(values.mean()), float(std.mean()))),
        f"{deviation:+.2g}",
        f"{std.mean():.2g}",
        f"{z:.1f}",
        "" if target is None else verdict(abs(deviation), target),
    )


if __name__ == "__main__":
    main()
