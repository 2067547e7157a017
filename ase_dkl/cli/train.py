"""`ase-dkl train`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ase_dkl.cli.info import show
from ase_dkl.cli.inputs import named, paths_of
from ase_dkl.cli.options import Databases, DataIons, Json, Match, Mobile, Overwrite, Pbc, Select
from ase_dkl.cli.terminal import bars, in_words, note, warn
from ase_dkl.errors import Refused
from ase_dkl.files import check_outputs
from ase_dkl.model.mean import MeanName
from ase_dkl.model.records import Interchange, IonConfig, StressLabels, TrainConfig

if TYPE_CHECKING:
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.ionic_surrogate import IonicSurrogate
    from ase_dkl.model.surrogate import Surrogate

DEFAULTS = TrainConfig()


@in_words
def train(
    databases: Databases,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL", help="The model file to write.")],
    select: Select = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The unstrained crystal; without it, one is found in the data.",
            show_default=False,
        ),
    ] = None,
    inducing: Annotated[int, typer.Option(min=1, help="Inducing points.")] = DEFAULTS.n_inducing,
    features: Annotated[
        int, typer.Option(min=1, help="What the network makes of a lattice, in numbers.")
    ] = DEFAULTS.n_features,
    networks: Annotated[
        int, typer.Option(min=1, help="Networks in the mixture; more mend the error bars.")
    ] = DEFAULTS.networks,
    mean: Annotated[
        MeanName,
        typer.Option(help="Mean of the prior. sextic, a polynomial of the strain, needs the fewest rows."),
    ] = DEFAULTS.mean,
    stress: Annotated[
        StressLabels,
        typer.Option(help="auto: use stresses where rows have them; use: demand some; ignore: do not even read them."),
    ] = DEFAULTS.stress,
    symmetry: Annotated[bool, typer.Option(help="Use the crystal's symmetry.")] = DEFAULTS.symmetry,
    pbc: Pbc = None,
    ions: DataIons = "auto",
    interchange: Annotated[
        Interchange,
        typer.Option(
            help="Which atoms of free ions may change places: by symmetry, or of a molecule all that leave its bonds."
        ),
    ] = "symmetry",
    mobile: Mobile = None,
    match: Match = "auto",
    test_fraction: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Rows held out for the report's errors; 0 for no such report."),
    ] = 0.1,
    keep_split: Annotated[
        bool, typer.Option("--keep-split", help="Save the model that never saw the held-out rows.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Measure the saved model's error bars on folds of its rows, each held out in turn: five trainings "
            "more. For predict --level.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split and of the training.")] = DEFAULTS.seed,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a model on a database and save it.

    The report's errors come from held-out rows; the saved model is then trained on all rows, unless --keep-split. Fewer
    than ten rows would tell little: then none are held out, and errors are of every row, predicted without it.
    """
    check_outputs(output, inputs=[*paths_of(databases), reference], overwrite=overwrite, model=True)
    from ase_dkl.dataset import Dataset

    config = TrainConfig(
        n_inducing=inducing,
        n_features=features,
        networks=networks,
        mean=mean,
        stress=stress,
        symmetry=symmetry,
        seed=seed,
    )
    dataset = Dataset.read(
        databases,
        select=select,
        reference=reference,
        symmetry=symmetry,
        pbc=pbc,
        stress=config.stress != "ignore",
        ions=ions,
        mobile=mobile,
        match=match,
        progress=bars(),
    )
    _describe(dataset, databases)
    if dataset.crystal.ions == "free":
        if calibrate or replace(config, symmetry=True, stress="auto", seed=0) != DEFAULTS:
            raise Refused(
                "--inducing, --features, --networks, --mean and --calibrate are for models of lattices. Leave them out "
                "where ions are free."
            )
        ionic = _fit_ions(
            dataset,
            IonConfig(symmetry=symmetry, interchange=interchange, stress=stress, seed=seed),
            test_fraction,
            keep_split,
        )
        ionic.save(output)
        show(ionic, str(output), as_json=as_json, known=dataset.warnings, model=output)
        return
    surrogate, rows = _fit(dataset, config, test_fraction, keep_split)
    if calibrate:
        from ase_dkl.training.calibrate import calibrate as calibration_of

        surrogate.calibration = calibration_of(
            rows, config, chosen=_from_campaigns(rows, databases, select), progress=bars()
        )
    surrogate.save(output)
    show(surrogate, str(output), as_json=as_json, known=dataset.warnings, model=output)


def _describe(dataset: "Dataset", databases: list[str]) -> None:
    crystal = dataset.crystal
    for warning in dataset.warnings:
        warn(warning)
    if crystal.ions == "free":
        from ase_dkl.dataset.about import About

        words = About.of(dataset).words()
        note(f"{named(databases)}: " + "\n".join(f"{name}: {value}." for name, value in words.items()))
        return
    images = len(crystal.images)
    note(
        f"{named(databases)}: {len(dataset)} rows of {crystal.formula}, {int(dataset.has_stress.sum())} of them "
        "with stress.\n"
        f"Space group {crystal.space_group}, {images} symmetry image{'s' * (images > 1)}, ions {crystal.ions}."
    )


def _fit(
    dataset: "Dataset", config: TrainConfig, test_fraction: float, keep_split: bool
) -> tuple["Surrogate", "Dataset"]:
    """Train; where rows enough are held out, train again on all rows and keep the errors found on those.

    Returns:
        The model, and the rows that it was trained on.
    """
    from ase_dkl.model.evaluation import FEWEST_JUDGED
    from ase_dkl.training.fit import fit, leaves_out

    if test_fraction == 0:
        return fit(dataset, config, progress=bars()), dataset
    training, test = dataset.split(test_fraction, config.seed)
    if len(test) < FEWEST_JUDGED and not keep_split and leaves_out(config, len(dataset)):
        return fit(dataset, config, progress=bars()), dataset
    surrogate = fit(training, config, test=test, progress=bars())
    if keep_split:
        return surrogate, training
    note("Training again, on all rows.")
    return fit(dataset, config, held_out=surrogate.report.test, progress=bars()), dataset


def _fit_ions(dataset: "Dataset", config: IonConfig, test_fraction: float, keep_split: bool) -> "IonicSurrogate":
    """Train a model of free ions; where rows enough are held out, train again on all rows."""
    from ase_dkl.model.evaluation import FEWEST_JUDGED
    from ase_dkl.training.fit_ions import fit_ions

    if test_fraction == 0:
        return fit_ions(dataset, config, progress=bars())
    training, test = dataset.split(test_fraction, config.seed)
    if len(test) < FEWEST_JUDGED and not keep_split:
        return fit_ions(dataset, config, progress=bars())
    surrogate = fit_ions(training, config, test=test, progress=bars())
    if keep_split:
        return surrogate
    note("Training again, on all rows.")
    return fit_ions(dataset, config, held_out=surrogate.report.test, progress=bars())


def _from_campaigns(dataset: "Dataset", databases: list[str], select: str | None) -> int:
    """How many of the rows a campaign of active learning had labelled."""
    from ase_dkl.dataset.sources import read_rows

    if "-" in databases:  # which can be read once
        return 0
    labelled = [row.id for row in read_rows(databases, select) if "label_key" in row.key_value_pairs]
    return len(set(labelled) & set(dataset.ids.tolist()))
