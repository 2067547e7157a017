"""`ase-dkl evaluate`."""

from ase_dkl.cli.inputs import named
from ase_dkl.cli.terminal import (
    Databases,
    Json,
    Model,
    Pbc,
    Select,
    Stress,
    bars,
    in_words,
    print_json,
    print_table,
    warn,
    warnings_told,
)
from ase_dkl.wording import of_evaluation


@in_words
def evaluate(
    model: Model,
    databases: Databases,
    select: Select = None,
    pbc: Pbc = None,
    stress: Stress = "auto",
    as_json: Json = False,
) -> None:
    """Compare a model with labels it was not trained on.

    Energies are per reference cell. Coverages and likelihood judge the labels by model uncertainty and noise together;
    the labels' fitted offset is added to the stress.
    """
    from ase_dkl.dataset import Dataset
    from ase_dkl.model.evaluation import evaluate as compare
    from ase_dkl.model.surrogate import Surrogate
    from ase_dkl.model.verdict import warn_of, warn_of_labels

    surrogate = Surrogate.load(model)
    dataset = Dataset.read(
        databases,
        select=select,
        reference=surrogate.crystal,
        pbc=pbc,
        stress=stress != "ignore",
        progress=bars(),
    )
    for warning in dataset.warnings:
        warn(warning)
    with warnings_told() as told:
        warn_of(surrogate)
        warn_of_labels(surrogate, dataset)
        evaluation = compare(surrogate, dataset)
    if as_json:
        print_json({**evaluation.to_dict(), "warnings": told})
    else:
        print_table(f"{model} on {named(databases)}", of_evaluation(evaluation))
