"""No command destroys a file: all that write, as a user would call them."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import ase.io
import pytest
from commands import Command

from ase_dkl import Surrogate, srtio3

LINE = ("--along", "a", "--range", "0", "0.1")
OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "m.dkl": ("train", "dft.db", "-o"),
    "p.csv": ("predict", "model.dkl", "structures.xyz", "-o"),
    "p.json": ("predict", "model.dkl", "structures.xyz", "-o"),
    "p.xyz": ("predict", "model.dkl", "structures.xyz", "-o"),
    "p.db": ("predict", "model.dkl", "structures.xyz", "-o"),
    "s.csv": ("scan", "model.dkl", *LINE, "-o"),
    "s.png": ("scan", "model.dkl", *LINE, "--plot"),
    "e.csv": ("eos", "model.dkl", "-o"),
    "e.png": ("eos", "model.dkl", "--plot"),
    "r.cif": ("relax", "model.dkl", "-o"),
    "r.db": ("relax", "model.dkl", "-o"),
    "c.png": ("elastic", "model.dkl", "--plot"),
    "r.html": ("report", "model.dkl", "-o"),
    "status.png": ("active", "status", "campaign.toml", "--figure"),
}
INPUTS: Mapping[str, tuple[str, ...]] = {
    "dft.db": ("train", "dft.db", "-o"),
    "structures.xyz": ("train", "dft.db", "--reference", "structures.xyz", "-o"),
    "predict.db": ("predict", "model.dkl", "predict.db@:2", "-o"),
    "predict.xyz": ("predict", "model.dkl", "structures.xyz", "predict.xyz", "-o"),
    "relax.xyz": ("relax", "relax.xyz", "-o"),
    "rows.csv": ("scan", "model.dkl", *LINE, "--data", "rows.csv", "-o"),
    "eos.csv": ("eos", "eos.csv", "-o"),
    "report.html": ("report", "model.dkl", "--data", "report.html", "-o"),
    "elastic.png": ("elastic", "elastic.png", "--plot"),
    "figure.png": ("active", "status", "figure.png", "--figure"),
    "study.csv": ("benchmark", "study.csv", "--results"),
}
DFT = (
    'seeds = [0]\n[[data]]\nname = "mine"\ndatabase = "structures.xyz"\nsizes = [16]\n[[method]]\nname = "polynomial"\n'
)


def refused(words: str, *arguments: str) -> None:
    result = Command().run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert words in " ".join(result.stderr.split())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, surrogate: Surrogate, model_file: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(model_file, "model.dkl")
    ase.io.write("structures.xyz", surrogate.crystal.atoms())
    return tmp_path


@pytest.mark.parametrize("output", OUTPUTS)
def test_what_exists_stays_unless_told(folder: Path, output: str) -> None:
    Path(output).write_text("precious")
    refused(f"{output} exists already", *OUTPUTS[output], output)
    assert Path(output).read_text() == "precious"
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("output", OUTPUTS)
def test_labels_stay_whatever_is_told(folder: Path, output: str) -> None:
    shutil.copy(srtio3(), output)
    words = "is no model: no model is written over it" if output == "m.dkl" else "is never replaced"
    refused(f"{output} exists and {words}" if output == "m.dkl" else words, *OUTPUTS[output], output, "--overwrite")
    assert Path(output).read_bytes() == srtio3().read_bytes()
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("source", INPUTS)
def test_what_is_read_stays_whatever_is_told(folder: Path, source: str) -> None:
    if source == "study.csv":
        Path(source).write_text(DFT)
    elif source != "structures.xyz":
        shutil.copy("model.dkl" if source.startswith(("relax", "eos", "elastic")) else srtio3(), source)
    before = Path(source).read_bytes()
    refused("is read here", *INPUTS[source], source, "--overwrite")
    Path("link" + Path(source).suffix).symlink_to(source)
    refused("is read here", *INPUTS[source], "link" + Path(source).suffix, "--overwrite")
    assert Path(source).read_bytes() == before


@pytest.mark.parametrize("pattern", ["runs", "runs/*"])
@pytest.mark.parametrize("command", ["predict", "report", "train"])
def test_what_is_read_by_a_pattern_or_a_directory_stays(folder: Path, command: str, pattern: str) -> None:
    source = folder / "runs" / ("a.html" if command == "report" and pattern != "runs" else "a.db")
    source.parent.mkdir()
    shutil.copy(srtio3(), source)
    words = {
        "predict": ("predict", "model.dkl", pattern, "-o"),
        "report": ("report", "model.dkl", "--data", pattern, "-o"),
        "train": ("train", pattern, "-o"),
    }[command]
    if command == "report" and source.suffix == ".db":
        (folder / "link.html").symlink_to(source)
        refused("is read here", *words, "link.html", "--overwrite")
    else:
        refused("is read here", *words, str(source), "--overwrite")
    assert source.read_bytes() == srtio3().read_bytes()


@pytest.mark.parametrize("output", ["p.db", "r.db"])
def test_rows_are_added_to_databases(folder: Path, output: str) -> None:
    Path("rows.txt").write_text("text")
    shutil.copy("structures.xyz", output)
    refused("no ASE database", *OUTPUTS[output], output, "--append")
    refused("Choose one of them", *OUTPUTS[output], output, "--append", "--overwrite")
    other = str(folder / "x.xyz")
    refused("--append adds rows to an ASE database", *OUTPUTS[output], other, "--append")


def test_the_demo_and_settings_stay(folder: Path) -> None:
    for name, command in (("srtio3_demo.png", ["demo"]), ("campaign.toml", ["active", "init"])):
        (folder / name).write_text("precious")
        refused(f"{name} ", *command)
        assert (folder / name).read_text() == "precious"
