"""`ase-dkl evaluate`."""

from typing import TYPE_CHECKING, Any

from ase_dkl.cli.terminal import Database, Json, Model, Select, in_words, note, print_json, print_table

if TYPE_CHECKING:
    from ase_dkl.records import Evaluation


@in_words
def evaluate(
    model: Model,
    database: Database,
    select: Select = None,
    as_json: Json = False,
) -> None:
    """Compare a model with labels it was not trained on.

    Energies are per reference cell. Coverages and likelihood judge the labels by model uncertainty and noise together;
    the labels' fitted offset is added to the stress.
    """
    from ase_dkl.dataset import Dataset
    from ase_dkl.metrics import evaluate as compare
    from ase_dkl.surrogate import Surrogate

    surrogate = Surrogate.load(model)
    dataset = Dataset.read(database, select=select, reference=surrogate.crystal)
    for warning in dataset.warnings:
        note(f"Note: {warning}")
    evaluation = compare(surrogate, dataset)
    if as_json:
        print_json(evaluation.to_dict())
    else:
        print_table(f"{model} on {database}", in_rows(evaluation))


def in_rows(evaluation: "Evaluation") -> dict[str, str]:
    """An evaluation as a table's rows."""
    e = evaluation

    def shown(value: Any, form: str, unit: str = "") -> str:
        return "nothing to compare" if value is None else f"{value:{form}}{unit}"

    return {
        "structures": f"{e.n}",
        "of them extrapolations": f"{e.n_outside_domain}",
        "energy error, RMS": shown(e.energy_rmse_meV, ".3f", " meV per cell"),
        "energy error, mean size": shown(e.energy_mae_meV, ".3f", " meV per cell"),
        "energy error, largest": shown(e.energy_max_meV, ".3f", " meV per cell"),
        "stress error, RMS": shown(e.stress_rmse_GPa, ".4f", " GPa"),
        "labels in the 68 % band": shown(e.coverage_68, ".1%"),
        "labels in the 95 % band": shown(e.coverage_95, ".1%"),
        "stresses in the 95 % band": shown(e.stress_coverage_95, ".1%"),
        "miscalibration area": shown(e.miscalibration_area, ".3f", "  (0 is perfect, 0.5 the worst)"),
        "rank correlation of error and uncertainty": shown(e.spearman, ".2f"),
        "negative log likelihood": shown(e.energy_nll, ".2f", " nats (energies in eV)"),
    }
