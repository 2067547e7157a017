"""`ase-dkl active`: campaigns of active learning, each described by one TOML file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ase_dkl.cli.inputs import read_structures
from ase_dkl.cli.options import Json, Overwrite, Trust
from ase_dkl.cli.output import check_endings, deliver, print_columns, print_json, save
from ase_dkl.cli.terminal import in_words, note
from ase_dkl.errors import Refused
from ase_dkl.files import check_outputs

if TYPE_CHECKING:
    from ase_dkl.active.plan import Plan
    from ase_dkl.active.status import Status

TEMPLATE = Path(__file__).parents[1] / "active" / "campaign.toml"

active = typer.Typer(
    name="active",
    help="Ask DFT only where the model is unsure, until it is as accurate as you need.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A campaign's TOML file, as written by init.")]


@active.command()
@in_words
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("campaign.toml"),
) -> None:
    """Write a file of settings to edit, with every setting explained.

    It never overwrites one.
    """
    try:
        check_outputs(file)
        with file.open("x", encoding="utf-8") as new:
            new.write(TEMPLATE.read_text(encoding="utf-8").replace("THIS_FILE", file.name))
    except FileExistsError:
        raise Refused(f"{file} is there already and stays as it is. Name another file, or edit this one.") from None
    note(
        f"{file} is written. Edit it: at least the crystal, the box and the calculator. Then: ase-dkl active run {file}"
    )


@active.command()
@in_words
def run(file: File, trust: Trust = False, as_json: Json = False) -> None:
    """Run a campaign until it stops, or go on with it where it was.

    Interrupt it as you like: started again it loses nothing and computes nothing twice.
    """
    from ase_dkl.active.campaign import Campaign
    from ase_dkl.active.record import MODEL
    from ase_dkl.active.settings import read_settings
    from ase_dkl.cli.live import watching

    settings = read_settings(file, trust=trust)
    _describe(settings.plan)
    try:
        with watching() as watch:
            result = Campaign(settings.plan, settings.executor).run(watch)
    except KeyboardInterrupt:
        note(f"\nInterrupted. Nothing is lost: ase-dkl active run {file}{' --trust' * trust} goes on where this ended.")
        raise typer.Exit(130) from None
    _print(Campaign.status(settings.plan), settings.plan, as_json)
    note(f"The model of {result.labels} labels is {settings.plan.folder / MODEL}.")


@active.command()
@in_words
def status(
    file: File,
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Draw error and uncertainty against the number of labels.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Tell how far a campaign is, while it runs and afterwards."""
    check_endings(figure=figure)
    check_outputs(figure, inputs=[file], overwrite=overwrite)
    from ase_dkl.active.campaign import Campaign
    from ase_dkl.active.settings import read_settings

    plan = read_settings(file).plan
    found = Campaign.status(plan)
    if figure is not None:
        _draw(figure, found, plan)
    _print(found, plan, as_json)


@active.command()
@in_words
def retry(file: File, as_json: Json = False) -> None:
    """Let labels that failed for good be tried again, once what was wrong is mended.

    They wait until the campaign is next run; it must not be running now. Those of label are among them.
    """
    from ase_dkl.active.campaign import Campaign
    from ase_dkl.active.settings import read_settings

    again = Campaign.retry(read_settings(file).plan)
    if as_json:
        print_json({"again": again})
    labels = "1 failed label waits" if again == 1 else f"{again} failed labels wait"
    note(f"{labels} to be tried again. Next: ase-dkl active run {file} (or label, for structures given to that).")


@active.command()
@in_words
def label(
    file: File,
    structures: Annotated[
        list[str],
        typer.Argument(
            metavar="STRUCTURES",
            help="Files in any format ASE reads, - for stdin; all frames or rows.",
        ),
    ],
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Compute given structures with a campaign's calculator, into its database.

    They must be strained copies of its crystal. What the database has already is not computed again. The campaign does
    not learn from them: they are for judging its model, and for ase-dkl train.
    """
    from ase_dkl.active.given import label_given
    from ase_dkl.active.settings import read_settings

    settings = read_settings(file, trust=trust)
    sources, read = read_structures(structures)
    labels = label_given(settings.plan, settings.executor, read, told=note)
    rows = []
    for source, found in zip(sources, labels, strict=True):
        energy = None if found.atoms is None else float(found.atoms.get_potential_energy())
        row = {**source, "formula": str(found.request.atoms.symbols), "key": found.request.key, "id": found.id}
        rows.append({**row, "energy_eV": energy, "error": None if found.atoms else found.errors[-1]})
    if as_json:
        print_json(rows)
    else:
        _print_labels(rows)
    if failed := sum(row["error"] is not None for row in rows):
        raise Refused(f"{failed} of {len(rows)} labels failed, after {settings.plan.attempts} attempts each.")


def _describe(plan: "Plan") -> None:
    crystal = plan.crystal
    images = len(crystal.images)
    note(
        f"{crystal.formula}, {crystal.space_group}, {images} symmetry image{'s' * (images > 1)}. Labels by "
        f"{plan.calculation.name}, into {plan.database_shown}; everything else into {plan.folder}."
    )


def _print(found: "Status", plan: "Plan", as_json: bool) -> None:
    title = f"Campaign {found.name}"
    deliver(found, title, as_json=as_json, database=plan.database_shown, folder=plan.folder)


def _draw(figure: Path, found: "Status", plan: "Plan") -> None:
    from ase_dkl.figures.active import campaign_figure

    if not found.stages:
        note("No figure: there is no model yet.")
        return
    save(figure, "Figure", campaign_figure(found, f"{plan.crystal.formula}: campaign {found.name}").savefig)


def _print_labels(rows: list[dict[str, Any]]) -> None:
    shown = []
    for row in rows:
        energy = "" if row["energy_eV"] is None else f"{row['energy_eV']:.5f}"
        file, words = Path(row["file"]).name, row["error"] or ""
        shown.append((file, str(row["frame"]), row["formula"], str(row["id"]), energy, words))
    print_columns(("file", "frame", "formula", "row", "energy (eV)", ""), shown)
