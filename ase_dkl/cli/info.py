"""`ase-dkl info`."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_dkl.cli.inputs import named
from ase_dkl.cli.options import DataIons, Json, Match, Mobile, Pbc, Select
from ase_dkl.cli.output import deliver, print_table
from ase_dkl.cli.terminal import bars, in_words, warn
from ase_dkl.wording import number, plus_minus

if TYPE_CHECKING:
    from ase_dkl.model.ionic_surrogate import IonicSurrogate
    from ase_dkl.model.loading import Loaded
    from ase_dkl.model.surrogate import Surrogate


@in_words
def info(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL|DATABASE",
            help="A model file, or labelled structures: databases, files ASE reads, directories of runs, - for stdin.",
        ),
    ],
    select: Select = None,
    pbc: Pbc = None,
    ions: DataIons = "auto",
    mobile: Mobile = None,
    match: Match = "auto",
    as_json: Json = False,
) -> None:
    """Show what a model is of, what it was trained on, and how good it was then; or what data hold."""
    from ase_dkl.model.model_file import looks_like_a_model

    if len(names) == 1 and looks_like_a_model(Path(names[0])):
        from ase_dkl.model.loading import load

        show(load(names[0]), names[0], as_json=as_json)
        return
    from ase_dkl.dataset import Dataset
    from ase_dkl.dataset.about import About

    data = Dataset.read(names, select=select, pbc=pbc, ions=ions, mobile=mobile, match=match, progress=bars())
    for warning in data.warnings:
        warn(warning)
    deliver(About.of(data), named(names), as_json=as_json)


def show(surrogate: "Loaded", name: str, *, as_json: bool, known: Collection[str] = (), **further: Any) -> None:
    """Print a model, and say on stderr what is the matter with it.

    Args:
        surrogate: the model.
        name: of its file.
        as_json: print JSON.
        known: what was noted when it was trained and is told already.
        further: what else belongs to the JSON.
    """
    from ase_dkl.model.verdict import faults

    found = faults(surrogate)
    deliver(surrogate, name, as_json=as_json, words=partial(_print, name, surrogate), **further, warnings=found)
    for words in (*(each for each in surrogate.report.warnings if each not in known), *found):
        warn(words)


def _print(name: str, surrogate: "Loaded") -> None:
    """Print a model's crystal, data, training and errors."""
    from ase_dkl.model.surrogate import Surrogate

    report = surrogate.report
    rows = _of_lattices(surrogate) if isinstance(surrogate, Surrogate) else _of_ions(surrogate)
    rows["training"] = (
        f"{report.steps} steps in {report.seconds:.0f} s, {'' if report.converged else 'not '}converged; "
        f"{report.bound} bound {report.bound_per_label:.2f} nats a label"
    )
    rows["noise of the energies"] = f"{number(1e3 * report.energy_noise, 3)} meV per cell"
    if "displacement" in report.noise:
        rows["noise of the forces"] = f"{number(1e3 * report.noise['displacement'], 3)} meV/Å"
    if report.stress_offset_GPa is not None:
        offset = plus_minus(report.stress_offset_GPa, report.stress_offset_std_GPa, "GPa")
        rows["label offset (Pulay stress)"] = f"{offset} at the reference volume"
    if surrogate.written is not None:
        rows["written by"] = surrogate.written
    print_table(name, rows)
    if report.test is not None:
        print_table("\nBefore that, trained without them: errors on held-out rows", report.test.words())
    if report.left_out is not None and report.errors is report.left_out:
        by = "from the labels of all others"
        if isinstance(surrogate, Surrogate):
            by = f"by the one of {surrogate.config.networks} networks trained without it"
        print_table(f"\nErrors on all rows, each predicted {by}", report.left_out.words())
    if surrogate.calibration is not None:
        _print_calibration(surrogate.calibration.summary(surrogate.quantity))


def _of_lattices(surrogate: "Surrogate") -> dict[str, str]:
    """What a model of lattices is of, and what it is made of."""
    crystal, config = surrogate.crystal, surrogate.config
    rows = {
        "crystal": f"{crystal.formula}, {crystal.space_group}, {len(crystal.images)} images, ions {crystal.ions}",
        "trained on": surrogate.report.trained_on,
    }
    for parameter, low, reference, high in surrogate.ranges():
        unit = "Å" if len(parameter) == 1 else "°"
        rows[f"range of {parameter}"] = f"{low:.4g} to {high:.4g} {unit}, reference {reference:.4g} {unit}"
    rows["model"] = (
        f"{config.networks} network{'s' * (config.networks > 1)} of {config.n_features} features, "
        f"{config.n_inducing} inducing points, {config.mean} mean"
    )
    return rows


def _of_ions(surrogate: "IonicSurrogate") -> dict[str, str]:
    """What a model of free ions is of, and what it is made of."""
    crystal, space = surrogate.crystal, surrogate.space
    mobile = int(crystal.mobile.sum())
    what = crystal.formula if crystal.dimension else f"molecule or cluster {crystal.formula}"
    kinds = len(space.names)
    return {
        "crystal": f"{what}, {crystal.space_group}, {len(crystal.operations.rotations)} operations, ions free",
        "ions that move": "all" if mobile == len(crystal.numbers) else f"{mobile} of {len(crystal.numbers)}",
        "trained on": surrogate.report.trained_on,
        "distances": f"{len(space.lengths)} of {kinds} kind{'s' * (kinds > 1)}, up to {space.lengths.max():.3g} Å",
        "model": f"{sum(map(len, surrogate.trained.inducing))} inducing environments",
    }


def _print_calibration(found: dict[str, Any]) -> None:
    """Print what held-out folds of the training rows say of the error bars."""

    def shown(fraction: float | None) -> str:
        return "too few rows" if fraction is None else f"{fraction:.1%}"

    rows = {}
    for name, kind in (("energies", found["energy"]), ("stresses", found["stress"])):
        if kind is not None:
            covered = {how: shown(fraction) for how, fraction in kind["coverage_95"].items()}
            rows[f"{name} of {kind['rows']} rows"] = f"errors are {kind['factor']:.2f} times as wide as σ"
            rows[f"{name} in 95 % intervals"] = (
                f"{covered['raw']} with σ as it is, {covered['scaled']} with {kind['factor']:.2f} σ, "
                f"{covered['conformal']} in conformal intervals"
            )
    for words in found["notes"]:
        rows.setdefault("but", "")
        rows["but"] += f"{words} "
    print_table(f"\nError bars, by {found['folds']} folds of the rows, each held out in turn", rows)
