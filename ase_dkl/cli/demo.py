"""`ase-dkl demo`."""

from pathlib import Path

from ase_dkl.cli.options import Json, Overwrite
from ase_dkl.cli.output import deliver, save
from ase_dkl.cli.terminal import bars, in_words, note
from ase_dkl.files import check_outputs

FIGURE = Path("srtio3_demo.png")
TRAIN = "set=pool,index<32"
TEST = "set=pool,index>=192,above_min_eV<2.5"
SCANS = {"a": "set=scan_a", "alpha": "set=scan_alpha"}


@in_words
def demo(overwrite: Overwrite = False, as_json: Json = False) -> None:
    """Train on 32 of the shipped DFT runs, print the errors on others, and draw srtio3_demo.png."""
    check_outputs(FIGURE, overwrite=overwrite)
    import numpy as np

    from ase_dkl.dataset import Dataset, srtio3
    from ase_dkl.figures.plots import scan_figure
    from ase_dkl.mechanics.scan import points_on_line, scan_along
    from ase_dkl.model.evaluation import evaluate
    from ase_dkl.training.fit import fit

    training = Dataset.read(srtio3(), select=TRAIN)
    note(f"Training on {len(training)} DFT runs of strained SrTiO3 (energies and stresses).")
    surrogate = fit(training, progress=bars())
    test = Dataset.read(srtio3(), select=TEST, reference=surrogate.crystal)
    evaluation = evaluate(surrogate, test)
    length, angle = np.linspace(-0.12, 0.12, 97), np.linspace(-12, 12, 97)
    scans = [scan_along(surrogate, along, x, stress=False) for along, x in zip(SCANS, (length, angle), strict=True)]
    points = [
        points_on_line(surrogate, along, Dataset.read(srtio3(), select=select, reference=surrogate.crystal))
        for along, select in SCANS.items()
    ]
    title = f"SrTiO$_3$ under strain: {len(training)} DFT runs to train, none of those shown"
    save(FIGURE, "Figure", scan_figure(scans, points, title).savefig)
    heading = f"On {len(test)} DFT runs that were not in training"
    deliver(evaluation, heading, as_json=as_json, figure=str(FIGURE))
