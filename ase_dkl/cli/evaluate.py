"""`ase-dkl evaluate`."""

from ase_dkl.cli.inputs import named, opened
from ase_dkl.cli.options import Databases, Json, Model, Pbc, Select, Stress
from ase_dkl.cli.output import deliver
from ase_dkl.cli.terminal import bars, in_words, warn


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
    from ase_dkl.model import evaluation
    from ase_dkl.model.verdict import warn_of_labels

    with opened(model) as (surrogate, told):
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
        warn_of_labels(surrogate, dataset)
        found = evaluation.evaluate(surrogate, dataset)
    deliver(found, f"{model} on {named(databases)}", as_json=as_json, warnings=told)
