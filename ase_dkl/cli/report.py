"""`ase-dkl report`."""

from pathlib import Path
from typing import Annotated

import typer

from ase_dkl.cli.inputs import paths_of
from ase_dkl.cli.options import Json, Model, Overwrite, Pbc, Select, Stress
from ase_dkl.cli.output import print_json
from ase_dkl.cli.terminal import bars, in_words, note
from ase_dkl.errors import Refused
from ase_dkl.files import check_outputs, written_whole


@in_words
def report(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.html", help="The page to write.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATABASE",
            help="Labelled structures to compare with: an ASE database or any file ASE reads.",
            show_default=False,
        ),
    ] = None,
    select: Select = None,
    pbc: Pbc = None,
    overwrite: Overwrite = False,
    stress: Stress = "auto",
    as_json: Json = False,
) -> None:
    """Write one HTML page about a model: its errors, what it predicts, and sliders to strain the crystal with.

    Of free ions it has a picture of the structure that tells which of them are least certain, and the vibrations.

    The page holds everything that it shows, and opens without a network.
    """
    if output.suffix not in (".html", ".htm"):
        raise Refused(f"{output}: a report is written as .html. Choose that ending.")
    if select is not None and data is None:
        raise Refused(f"--select {select!r} chooses among labelled rows, and there are none: name some with --data.")
    check_outputs(output, inputs=[model, *paths_of([data] if data else [])], overwrite=overwrite)
    from rich.console import Console
    from rich.progress import track

    from ase_dkl.dataset import Dataset
    from ase_dkl.model.loading import load
    from ase_dkl.report.page import page, sections

    surrogate = load(model)
    dataset = None
    if data is not None:
        judged = stress != "ignore"
        dataset = Dataset.read(
            data, select=select, reference=surrogate.crystal, pbc=pbc, stress=judged, progress=bars()
        )
    makers = sections(surrogate, dataset)
    console = Console(stderr=True)
    bar = track(list(makers.values()), "Making the report", console=console, transient=True, disable=not bars())
    parts = [make() for make in bar]
    with written_whole(output) as path:
        path.write_text(page(surrogate, model.name, parts, dataset), encoding="utf-8")
    for part in parts:
        for text in (*part.missing, *part.warnings):
            note(f"{part.title}: {text}")
    if as_json:
        told = {part.name: {"missing": part.missing, "warnings": part.warnings} for part in parts}
        print_json({"report": str(output), "sections": told})
    else:
        note(f"Report in {output}.")
