"""Learn silicon's energy over a box of strains from as few DFT runs as that takes: `python active_silicon.py`.

A few minutes on two cores. The settings of the DFT are coarse, so that it does not take longer; for numbers to publish
raise the cutoff and the k-points. Interrupt it as you like, and start it again: it goes on where it was.

GPAW is installed apart (https://gpaw.readthedocs.io); it needs libxc and BLAS.
"""

import argparse
from functools import partial
from pathlib import Path

from ase.build import bulk

from ase_dkl import Crystal, TrainConfig, elastic_constants
from ase_dkl.active.box import Box
from ase_dkl.active.campaign import Campaign, Plan
from ase_dkl.active.labels.calculation import Calculation
from ase_dkl.active.labels.executors import open_executor
from ase_dkl.active.stopping import Stop
from ase_dkl.cli.live import watching
from ase_dkl.figures.active import campaign_figure
from ase_dkl.wording import plus_minus


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
    parser.add_argument("--workers", type=int, default=2, help="DFT runs at once")
    parser.add_argument("--quick", action="store_true", help="a small model of very coarse DFT, for a first look")
    given = parser.parse_args()
    small = TrainConfig(networks=2, steps=100, width=16, depth=2, n_inducing=30)
    plan = Plan(
        name="silicon",
        database="silicon.db",
        folder=Path("silicon"),
        crystal=Crystal.from_atoms(bulk("Si", a=5.47)),
        calculation=gpaw(250, 3) if given.quick else gpaw(350, 5),
        box=Box(lengths=(-0.03, 0.03), angles=(-3, 3)),
        stop=Stop(tolerance_meV=5, budget=15) if given.quick else Stop(tolerance_meV=1, budget=32),
        initial=5 if given.quick else 8,
        batch=2 if given.quick else 4,
        config=small if given.quick else TrainConfig(),
        timeout_s=600,
    )
    executor = partial(open_executor, {"kind": "local", "workers": given.workers})
    with watching() as watch:
        result = Campaign(plan, executor).run(watch)
    print(f"{result.labels} DFT runs: {result.reason}")
    elastic = elastic_constants(result.surrogate)
    a = elastic.equilibrium.lattice_parameters[0] * 2**0.5
    print(f"a = {a:.4f} Å; ions clamped:")
    for name, (i, j) in {"C11": (0, 0), "C12": (0, 1), "C44": (3, 3)}.items():
        print(f"{name} = {plus_minus(float(elastic.C_GPa[i, j]), float(elastic.C_std_GPa[i, j]), 'GPa')}")
    campaign_figure(Campaign.status(plan), "Silicon, PBE").savefig("silicon.png")


if __name__ == "__main__":
    main()
