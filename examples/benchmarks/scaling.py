"""What a fit costs as the data and the inducing points grow, on energies of strained copper. Writes scaling.png.

Measured are processor seconds on one thread, which other work on the machine hardly changes, for one gradient over all
rows: a step of the exact process and of the collapsed bound, a pass over the minibatches of the stochastic one. What a
fit does once (reading lattices, placing inducing points) is taken off, as the difference of a longer and a shorter fit.
No symmetry and one network everywhere, so that nothing but the inference differs; minibatches of 512 rows.

With B rows in a minibatch a pass takes (N/B) (B M² + M³) operations, N M² (1 + M/B): of second order in M where M < B,
of third beyond. The network's own share does not depend on M.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import arguments, console, print_environment, stderr
from _many import cache_of, label, peak, read
from matplotlib.figure import Figure
from rich.progress import track
from rich.table import Table
from scipy.optimize import nnls

from ase_dkl.figures.plots import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from ase_dkl import Dataset, TrainConfig

EXACT, COLLAPSED, STOCHASTIC, BARE = "exact process", "collapsed bound", "stochastic bound", "bare method"
ROWS = (256, 1024, 4096, 16_384, 65_536, 262_144)
EXACT_ROWS = (256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536)
N_INDUCING = 50
INDUCING, INDUCING_ROWS = (16, 32, 64, 128, 256, 512, 1024), 16_384
BATCH = 512
FIRST = 32
LEAST_MEMORY = 2**24
"""Bytes; the memory of a process moves by less for reasons of its own."""
LAST = 3
"""Sizes from which a slope is taken: the largest ones, where what does not grow matters least."""
GIB = 2**30


@dataclass(frozen=True)
class Job:
    """A fit to be measured."""

    method: str
    rows: int
    inducing: int = N_INDUCING


@dataclass(frozen=True)
class Measured:
    """Seconds for one gradient over all rows, for what a fit does once, and bytes that it added; None out of memory."""

    job: Job
    gradient: float | None
    once: float | None
    memory: int | None


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(seeds=[0])
    parser.add_argument("--cache", type=Path, help="file of the labels [default: in ~/.cache/ase_dkl]")
    parser.add_argument("--memory", type=float, default=12.0, help="GiB that a fit may take")
    options = parser.parse_args()
    seed, quick = options.seeds[0], options.quick
    print_environment([seed], quick)
    rows, inducing, inducing_rows = ((64, 128), (4, 8), 128) if quick else (ROWS, INDUCING, INDUCING_ROWS)
    cache = cache_of(max(rows), options.cache)
    label(max(rows), 64, cache)

    shared = (cache, seed, options.memory * GIB, quick)
    deep = (COLLAPSED, STOCHASTIC, BARE)
    against_rows = measured([Job(method, n) for method in deep for n in rows], *shared)
    for n in rows if quick else EXACT_ROWS:
        against_rows += measured([Job(EXACT, n, n)], *shared)
        if against_rows[-1].gradient is None:
            break
    against_inducing = measured([Job(method, inducing_rows, m) for method in deep for m in inducing], *shared)
    console.print(table("rows", against_rows), table("inducing", against_inducing))
    for method in deep:
        console.print(shares([each for each in against_inducing if each.job.method == method]), highlight=False)
    drawn(against_rows, against_inducing).savefig("scaling.png")


def measured(jobs: Sequence[Job], cache: Path, seed: int, memory: float, quick: bool) -> list[Measured]:
    """Measure one after the other, each in a process of its own."""
    # One that has imported everything is split for each fit: memory then grows by what the fit takes.
    context = get_context("forkserver")
    context.set_forkserver_preload(
        ["ase_dkl.training.fit", "gpytorch.models", "gpytorch.mlls", "_many", "scipy.optimize"]
    )
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=None if quick else 1) as pool:
        each = (pool.submit(measure, job, cache, seed, memory, quick).result() for job in jobs)
        return list(track(each, f"{jobs[0].method} …", total=len(jobs), console=stderr))


def measure(job: Job, cache: Path, seed: int, memory: float, quick: bool) -> Measured:
    """Measure a fit, within some bytes of memory."""
    import torch

    torch.set_num_threads(1)
    run = _exact if job.method == EXACT else _deep
    # A first fit loads what is loaded at its first use.
    run(Job(job.method, FIRST, FIRST), read(cache, FIRST)[0], seed, True)
    dataset, _, _ = read(cache, job.rows)
    before = peak()
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory), resource.RLIM_INFINITY))
    try:
        gradient, once = run(job, dataset, seed, quick)
    except (MemoryError, RuntimeError) as error:
        # What torch raises has no class of its own.
        if isinstance(error, RuntimeError) and "alloc" not in str(error):
            raise
        return Measured(job, None, None, None)
    return Measured(job, gradient, once, peak() - before)


def _exact(job: Job, dataset: Dataset, seed: int, quick: bool) -> tuple[float, float]:
    """Steps of GPyTorch's exact process on the six lattice parameters, by Cholesky's decomposition."""
    import gpytorch
    import torch

    from ase_dkl.model.labels import Labels
    from ase_dkl.model.space import Lattice

    start = time.process_time()
    torch.manual_seed(seed)
    space = Lattice.of(dataset.crystal, dataset.cells, symmetry=False)
    labels = Labels.of(dataset.without_stresses(), space)
    x = torch.tensor(space.coordinates(labels.points)[:, 0])
    y = torch.tensor(labels.values)
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    model = _exact_process(x, y, likelihood).double()
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    once = time.process_time() - start
    seconds = []
    with gpytorch.settings.fast_computations(False, False, False), gpytorch.settings.max_cholesky_size(10**9):
        for _ in range(1 if quick else int(np.clip(4096 // job.rows, 2, 16))):
            start = time.process_time()
            optimiser.zero_grad()
            (-objective(model(x), y)).backward()
            optimiser.step()
            seconds.append(time.process_time() - start)
    return statistics.median(seconds), once


def _exact_process(x: Any, y: Any, likelihood: Any) -> Any:
    import gpytorch

    class Process(gpytorch.models.ExactGP):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(x, y, likelihood)
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=x.shape[1]))

        def forward(self, at: Any) -> Any:
            return gpytorch.distributions.MultivariateNormal(self.mean_module(at), self.covar_module(at))

    return Process()


def _deep(job: Job, dataset: Dataset, seed: int, quick: bool) -> tuple[float, float]:
    """A longer fit less a shorter one, over the gradients that it has more."""
    from ase_dkl import fit

    more = 4 if quick else int(np.clip(65_536 // max(job.rows, 64 * job.inducing), 1, 64))
    seconds, steps = [], []
    for gradients in (1, 1 + more):
        start = time.process_time()
        steps.append(fit(dataset, _config(job, seed, gradients), progress=False).report.steps)
        seconds.append(time.process_time() - start)
    per_gradient = 1 if job.method == COLLAPSED else -(-job.rows // BATCH)
    gradient = (seconds[1] - seconds[0]) / (steps[1] - steps[0]) * per_gradient
    return gradient, seconds[0] - gradient


def _config(job: Job, seed: int, gradients: int) -> TrainConfig:
    from ase_dkl import TrainConfig

    config = TrainConfig.paper() if job.method == BARE else TrainConfig(networks=1, symmetry=False, stress="ignore")
    return replace(
        config,
        bound="collapsed" if job.method == COLLAPSED else "stochastic",
        n_inducing=job.inducing,
        steps=gradients,
        epochs=gradients,
        batch_size=BATCH,
        seed=seed,
    )


def slope(points: Mapping[int, float]) -> str:
    """Exponent of the power law through the largest sizes."""
    if len(points) < 2:
        return "–"
    sizes, values = (np.log([*each][-LAST:]) for each in (points.keys(), points.values()))
    return f"{np.polyfit(sizes, values, 1)[0]:.2f}"


def series(found: Iterable[Measured], size: str, value: str) -> dict[str, dict[int, float]]:
    """What was measured, by method and size; seconds, or GiB where they are more than nothing."""
    by_method: dict[str, dict[int, float]] = {}
    for each in found:
        points = by_method.setdefault(each.job.method, {})
        if each.gradient is not None and each.memory is not None:
            if value == "gradient":
                points[getattr(each.job, size)] = each.gradient
            elif each.memory >= LEAST_MEMORY:
                points[getattr(each.job, size)] = each.memory / GIB
    return by_method


def table(size: str, found: Sequence[Measured]) -> Table:
    shown = Table(title=f"Against the number of {'rows' if size == 'rows' else 'inducing points'}")
    shown.add_column("method")
    for heading in (size, "s a gradient", "once, s", "memory, GiB", f"slope, last {LAST}:\ntime", "memory"):
        shown.add_column(heading, justify="right")
    seconds, memory = (series(found, size, value) for value in ("gradient", "memory"))
    for method in seconds:
        for each in [each for each in found if each.job.method == method]:
            n = getattr(each.job, size)
            if each.gradient is None or each.memory is None:
                shown.add_row(method, f"{n:,}", "does not fit")
                continue
            last = n == max(seconds[method])
            slopes = (slope(seconds[method]), slope(memory[method])) if last else ()
            numbers = f"{each.gradient:.3g}", f"{each.once:.2f}", f"{each.memory / GIB:.3f}"
            shown.add_row(method, f"{n:,}", *numbers, *slopes)
        shown.add_section()
    return shown


def shares(found: Sequence[Measured]) -> str:
    """Least squares of a + b M² + c M³ with relative weights, and what each term takes at the largest M."""
    found = [each for each in found if each.gradient is not None]
    m = np.array([float(each.job.inducing) for each in found])
    seconds = np.array([each.gradient for each in found], dtype=float)
    terms = np.stack([np.ones_like(m), m**2, m**3], axis=1)
    coefficients, _ = nnls(terms / seconds[:, None], np.ones_like(m))
    last = coefficients * terms[-1]
    parts = ", ".join(
        f"{share / last.sum():.0%} {name}" for share, name in zip(last, ("constant", "M²", "M³"), strict=True)
    )
    return f"{found[0].job.method}: at M = {m[-1]:.0f} a gradient's time is {parts}"


def drawn(against_rows: Sequence[Measured], against_inducing: Sequence[Measured]) -> Figure:
    figure = Figure(figsize=(14, 5.6), layout="constrained", dpi=120)
    axes: Any = figure.subplots(1, 3)
    panels = (
        (axes[0], against_rows, "rows", "gradient"),
        (axes[1], against_inducing, "inducing", "gradient"),
        (axes[2], against_rows, "rows", "memory"),
    )
    colours = dict(zip((EXACT, COLLAPSED, STOCHASTIC, BARE), (ORANGE, BLUE, "#009E73", GREY), strict=True))
    for panel, found, size, value in panels:
        for method, points in series(found, size, value).items():
            name = f"{method}, slope {slope(points)}"
            panel.loglog([*points.keys()], [*points.values()], color=colours[method], marker="o", ms=4, label=name)
        for one in found:
            if one.gradient is None:
                panel.axvline(getattr(one.job, size), color=colours[one.job.method], ls=":", label="does not fit")
        panel.set_xlabel("rows N" if size == "rows" else f"inducing points M, N = {found[0].job.rows:,}")
        panel.set_ylabel(
            "processor seconds for a gradient over all rows" if value == "gradient" else "memory of the fit (GiB)"
        )
        panel.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
        panel.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    main()
