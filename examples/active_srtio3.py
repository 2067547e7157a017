"""Elastic constants of SrTiO3 from as few DFT runs as they take: `python active_srtio3.py C44 --tolerance 1`.

The campaign aims at one constant: labels are chosen that tell most of it, until its standard deviation is below the
tolerance (GPa). The settings are those of the shipped data, half a minute of one core for each label; the same
database serves another constant, and what is in it is not computed again. Interrupt it as you like, and start it
again: it goes on where it was.

On a cluster the executor is another: `--executor cluster.py:config` takes a function that returns a parsl.Config
(`python -m pydoc ase_dkl.active.labels.executors` has one for Slurm to copy).

GPAW is installed apart (https://gpaw.readthedocs.io); it needs libxc and BLAS.
"""

import argparse
from functools import partial
from pathlib import Path

from ase import Atoms

from ase_dkl import Crystal, TrainConfig, elastic_constants, equation_of_state
from ase_dkl.active.box import Box
from ase_dkl.active.campaign import Campaign, Plan
from ase_dkl.active.labels.calculation import Calculation
from ase_dkl.active.labels.executors import open_executor
from ase_dkl.active.stopping import Stop
from ase_dkl.active.target import Target
from ase_dkl.cli.live import watching
from ase_dkl.figures.active import campaign_figure
from ase_dkl.wording import plus_minus

SRTIO3 = Atoms(
    "SrTiO3",
    scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)],
    cell=[3.945] * 3,
    pbc=True,
)


def gpaw(ecut_eV: float, kpts: int) -> Calculation:
    """GPAW with plane waves: every process that computes a label makes one of these."""
    return Calculation(
        "gpaw.new.ase_interface:GPAW",
        {
            "mode": {"name": "pw", "ecut": ecut_eV},
            "xc": "PBE",
            "kpts": {"size": [kpts] * 3, "gamma": True},
            "occupations": {"name": "fermi-dirac", "width": 0.05},
            "convergence": {"energy": 1e-5},
            "txt": "gpaw.txt",
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="?", default="C44", help="C11, C12, C44, B0, V0 or a")
    parser.add_argument("--tolerance", type=float, default=1.0, help="standard deviation that is good enough")
    parser.add_argument("--executor", metavar="FILE.py:FUNCTION", help="a function that returns a parsl.Config")
    parser.add_argument("--workers", type=int, default=2, help="DFT runs at once, without --executor")
    parser.add_argument("--quick", action="store_true", help="a small model of very coarse DFT, for a first look")
    given = parser.parse_args()
    small = TrainConfig(networks=2, steps=100, width=16, depth=2, n_inducing=30)
    plan = Plan(
        name=f"srtio3-{given.target}",
        database="srtio3.db",
        folder=Path(f"srtio3-{given.target}"),
        crystal=Crystal.from_atoms(SRTIO3),
        calculation=gpaw(600, 2) if given.quick else gpaw(800, 3),
        box=Box(lengths=(-0.04, 0.04), angles=(-4, 4)),
        stop=Stop(target=Target(given.target, given.tolerance), budget=14 if given.quick else 60),
        initial=6,
        config=small if given.quick else TrainConfig(),
        timeout_s=3600,
    )
    local = {"kind": "local", "workers": given.workers}
    where = local if given.executor is None else {"kind": "parsl", "config": given.executor}
    with watching() as watch:
        result = Campaign(plan, partial(open_executor, where)).run(watch)
    print(f"{result.labels} DFT runs: {result.reason}")
    elastic = elastic_constants(result.surrogate)
    for name, (i, j) in {"C11": (0, 0), "C12": (0, 1), "C44": (3, 3)}.items():
        print(f"{name} = {plus_minus(float(elastic.C_GPa[i, j]), float(elastic.C_std_GPa[i, j]), 'GPa')}, ions clamped")
    curve = equation_of_state(result.surrogate, bounds=(-0.05, 0.05))
    for name, words in {**elastic.equilibrium.lattice_words(), **curve.words()}.items():
        print(f"{name}: {words}")
    campaign_figure(Campaign.status(plan), f"SrTiO$_3$, PBE: {given.target}").savefig("srtio3.png")


if __name__ == "__main__":
    main()
