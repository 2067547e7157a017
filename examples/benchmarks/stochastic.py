"""The stochastic bound on data that do not fit: energies of up to 262,144 copper lattices, one network.

Labels are made once and kept in a file. Each size then trains in a process of its own, whose largest memory is asked
of the operating system: what it grows by from one size to the next is to be the data, and no more than a few copies.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from _common import arguments, console, print_environment, stderr, verdict
from _many import cache_of, label, peak, read
from rich.progress import track
from rich.table import Table

if TYPE_CHECKING:
    from ase_dkl import TrainConfig

SIZES = (16_384, 65_536, 262_144)
QUICK = (256, 512)
N_TEST = 1024
SECONDS = 90.0
"""Time for a pass over the most rows."""
COPIES = 4.0
"""How many times the data themselves memory may grow by with their number."""
MIB = 2**20


def main() -> None:
    parser = arguments("Training on minibatches: time of a pass, memory, and the errors.")
    parser.set_defaults(seeds=[0])
    parser.add_argument("--passes", type=int, default=1, help="over the data")
    parser.add_argument("--cache", type=Path, help="file of the labels [default: in ~/.cache/ase_dkl]")
    parser.add_argument("--rows", type=int, help="train on so many, print JSON, and nothing else")
    options = parser.parse_args()
    sizes = QUICK if options.quick else SIZES
    cache = cache_of(max(sizes), options.cache)
    seed = options.seeds[0]
    if options.rows:
        from ase_dkl import TrainConfig

        config = TrainConfig(networks=1, bound="stochastic", epochs=options.passes, seed=seed)
        print(json.dumps(_measure(cache, options.rows, config)))
        return
    print_environment([seed], options.quick)
    label(max(sizes), 64 if options.quick else N_TEST, cache)
    rows = []
    for n in track(sizes, "training", console=stderr):
        command = [sys.executable, __file__, "--rows", str(n), "--cache", str(cache), "--seeds", str(seed)]
        command += ["--passes", str(options.passes)]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    console.print(_table(rows, options.passes))
    first, last = rows[0], rows[-1]
    growth = (last["peak"] - first["peak"]) / (last["data"] - first["data"])
    console.print(
        f"From {first['n']:,} to {last['n']:,} rows the data grow by {(last['data'] - first['data']) / MIB:.1f} MiB, "
        f"and the largest memory by {growth:.1f} times that ({verdict(growth, COPIES)})."
    )


def _measure(cache: Path, n: int, config: TrainConfig) -> dict[str, float]:
    """Train on the first n rows; memory in bytes."""
    # Not imported by the process that only starts others.
    from ase_dkl import fit
    from ase_dkl.metrics import rmse

    dataset, unseen, truth = read(cache, n)
    before = peak()
    start = time.perf_counter()
    surrogate = fit(dataset, config, progress=False)
    seconds = time.perf_counter() - start
    error = surrogate.predict_cells(unseen, stress=False).energy - truth
    return {
        "n": n,
        "steps": surrogate.report.steps,
        "seconds": seconds,
        "rmse_meV": 1e3 * rmse(error),
        "data": sum(each.nbytes for each in (dataset.cells, dataset.energies, dataset.stresses, dataset.ids)),
        "before": before,
        "peak": peak(),
    }


def _table(rows: list[dict[str, float]], passes: int) -> Table:
    table = Table(title=f"Stochastic bound, energies, one network, passes: {passes}")
    for heading in (
        "rows",
        "steps",
        "s a pass,\nstart and end of the fit included",
        "RMSE of unseen\nenergies, meV",
    ):
        table.add_column(heading, justify="right")
    for heading in ("data, MiB", "memory before the fit, MiB", "largest memory, MiB"):
        table.add_column(heading, justify="right")
    for row in rows:
        seconds = row["seconds"] / passes
        target = f" ({verdict(seconds, SECONDS)})" if row["n"] == max(SIZES) else ""
        table.add_row(
            f"{row['n']:,}",
            f"{row['steps']:,}",
            f"{seconds:.1f}{target}",
            f"{row['rmse_meV']:.3f}",
            *(f"{row[name] / MIB:,.1f}" for name in ("data", "before", "peak")),
        )
    return table


if __name__ == "__main__":
    main()
