import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import GPa
from commands import Command

from ase_dkl import Dataset, Evaluation, Surrogate, srtio3
from ase_dkl.cli import app
from ase_dkl.mechanics.scan import ALONG
from ase_dkl.wording import plus_minus

COMMAND = Command()
run, succeed, numbers = COMMAND.run, COMMAND.succeed, COMMAND.numbers


@pytest.fixture
def structures(surrogate: Surrogate, tmp_path: Path) -> Path:
    path = tmp_path / "structures.xyz"
    ase.io.write(path, [surrogate.crystal.atoms(), surrogate.crystal.atoms().repeat((1, 1, 2))])
    return path


class TestHelp:
    def test_is_quick_and_loads_nothing_heavy(self) -> None:
        program = "import sys; from ase_dkl.cli import app; app(['--help'], standalone_mode=False); print(*sys.modules)"
        before = os.times()
        result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        after = os.times()
        assert not {"torch", "pymatgen", "matplotlib", "scipy"} & set(result.stdout.split())
        # 0.4 s of a processor; what others do on the machine is not counted.
        assert after.children_user + after.children_system - before.children_user - before.children_system < 2

    def test_every_command_explains_itself(self) -> None:
        commands = "train evaluate predict scan eos relax elastic phonons report info demo benchmark".split()
        assert [command.callback.__name__ for command in app.registered_commands if command.callback] == commands
        for command in commands:
            assert command in succeed("--help").stdout
            assert "--json" in succeed(command, "--help").stdout

    def test_scan_offers_what_can_be_scanned(self) -> None:
        from ase_dkl.cli.scan import WHAT

        assert {name.split()[0] for name in WHAT.split(", ")} == set(ALONG)


@pytest.mark.usefixtures("hasty")
class TestTrain:
    def test_reports_held_out_rows_and_saves_a_model_of_all(self, tmp_path: Path) -> None:
        model = tmp_path / "x.dkl"
        arguments = ["--select", "set=pool,index<12", "--networks", 1, "--inducing", 20, "--test-fraction", 0.25]
        printed = numbers("train", srtio3(), "-o", model, *arguments)
        report = Surrogate.load(model).report
        assert printed["report"] == json.loads(json.dumps(report.to_dict()))
        assert report.n_rows == 12
        assert report.test is not None
        assert report.test.n == 3

    def test_keep_split_saves_the_model_that_was_tested(self, tmp_path: Path) -> None:
        select = ["--select", "set=pool,index<12"]
        size = ["--networks", 1, "--inducing", 20, "--test-fraction", 0.25, "--keep-split", "--mean", "sextic"]
        result = succeed("train", srtio3(), "-o", tmp_path / "x.dkl", *select, *size)
        assert Surrogate.load(tmp_path / "x.dkl").report.n_rows == 9
        assert Surrogate.load(tmp_path / "x.dkl").config.mean == "sextic"
        assert "sextic mean" in " ".join(result.stdout.split())
        assert "Pm-3m" in result.stderr
        assert "12 rows of SrTiO3" in result.stderr
        assert "clamped" in result.stderr


class TestEvaluate:
    def test_prints_exactly_the_keys(self, model_file: Path) -> None:
        result = numbers("evaluate", model_file, srtio3(), "--select", "set=pool,index>=192,index<200")
        assert list(result) == [
            name for name in (*Evaluation.__dataclass_fields__, "warnings") if not name.startswith("force_")
        ]
        assert result["n"] == 8
        assert result["warnings"] == []
        assert 0 < result["energy_rmse_meV"] < 100

    def test_table(self, model_file: Path) -> None:
        result = succeed("evaluate", model_file, srtio3(), "--select", "set=scan_a")
        assert "meV per cell" in result.stdout
        assert "17" in result.stdout


class TestPredict:
    def test_json_agrees_with_the_surrogate(self, model_file: Path, structures: Path, surrogate: Surrogate) -> None:
        one, two = numbers("predict", model_file, structures)
        prediction = surrogate.predict(surrogate.crystal.atoms())
        assert prediction.stress is not None
        assert one["energy_eV"] == pytest.approx(prediction.energy[0])
        assert one["stress_xx_GPa"] == pytest.approx(prediction.stress[0, 0] / GPa)
        assert two["energy_eV"] == pytest.approx(2 * one["energy_eV"])
        assert two["energy_uncertainty_eV"] == pytest.approx(2 * one["energy_uncertainty_eV"])
        assert one["outside_domain"] is False
        assert (two["file"], two["frame"]) == (str(structures), 1)

    def test_databases_and_several_files(self, model_file: Path, structures: Path) -> None:
        rows = numbers("predict", model_file, structures, f"{srtio3()}@set=scan_a,index<3")
        assert len(rows) == 5

    def test_csv(self, model_file: Path, structures: Path, tmp_path: Path) -> None:
        result = succeed("predict", model_file, structures, "-o", tmp_path / "out.csv")
        assert result.stdout == ""
        with (tmp_path / "out.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [float(row["energy_eV"]) for row in rows] == [
            row["energy_eV"] for row in numbers("predict", model_file, structures)
        ]

    def test_json_file_is_what_json_prints(self, model_file: Path, structures: Path, tmp_path: Path) -> None:
        printed = numbers("predict", model_file, structures, "-o", tmp_path / "out.json")
        assert json.loads((tmp_path / "out.json").read_text()) == printed

    def test_xyz_keeps_everything(self, model_file: Path, structures: Path, tmp_path: Path) -> None:
        printed = numbers("predict", model_file, structures, "-o", tmp_path / "out.xyz")
        frames = ase.io.read(tmp_path / "out.xyz", ":")
        for atoms, row in zip(frames, printed, strict=True):
            assert isinstance(atoms, Atoms)
            assert atoms.get_potential_energy() == pytest.approx(row["energy_eV"], abs=1e-7)
            assert atoms.info["energy_uncertainty"] == pytest.approx(row["energy_uncertainty_eV"], rel=1e-6)
            uncertainty_yy = atoms.info["stress_uncertainty"][1] / GPa
            assert uncertainty_yy == pytest.approx(row["stress_yy_uncertainty_GPa"], rel=1e-6)

    def test_database_keeps_everything(self, model_file: Path, structures: Path, tmp_path: Path) -> None:
        printed = numbers("predict", model_file, structures, "-o", tmp_path / "out.db")
        with ase.db.connect(tmp_path / "out.db") as database:
            rows = list(database.select("energy_uncertainty>0"))
        assert [row.energy for row in rows] == [row["energy_eV"] for row in printed]
        assert [row.energy_uncertainty for row in rows] == [row["energy_uncertainty_eV"] for row in printed]
        assert rows[0].data["stress_uncertainty"].shape == (6,)

    def test_existing_predictions_are_replaced_or_added_to(
        self, model_file: Path, structures: Path, tmp_path: Path
    ) -> None:
        for more, rows in ([], 2), (["--overwrite"], 2), (["--append"], 4):
            succeed("predict", model_file, structures, "-o", tmp_path / "out.db", *more)
            with ase.db.connect(tmp_path / "out.db") as database:
                assert database.count() == rows
        assert {path.name for path in tmp_path.iterdir()} == {"out.db", "structures.xyz"}

    def test_rows_are_added_to_a_database_of_labels(self, model_file: Path, structures: Path, tmp_path: Path) -> None:
        shutil.copy(srtio3(), tmp_path / "mine.db")
        succeed("predict", model_file, structures, "-o", tmp_path / "mine.db", "--append")
        with ase.db.connect(tmp_path / "mine.db") as mine, ase.db.connect(srtio3()) as before:
            assert mine.count() == before.count() + 2
            assert mine.count("calculator=dkl") == 2
            assert [row.energy for row in mine.select(limit=9)] == [row.energy for row in before.select(limit=9)]

    def test_names_of_files_are_no_formulas(self, model_file: Path, structures: Path, tmp_path: Path) -> None:
        shutil.copy(structures, tmp_path / "=1+1.xyz")
        with contextlib.chdir(tmp_path):
            succeed("predict", model_file, "=1+1.xyz", "-o", "out.csv")
        with (tmp_path / "out.csv").open(newline="") as file:
            row, _ = csv.DictReader(file)
        assert row["file"] == "'=1+1.xyz"
        assert float(row["energy_eV"]) < 0  # a number stays one

    def test_table(self, model_file: Path, structures: Path, surrogate: Surrogate) -> None:
        prediction = surrogate.predict(surrogate.crystal.atoms())
        words = plus_minus(float(prediction.energy[0]), float(prediction.energy_uncertainty[0]))
        assert words in succeed("predict", model_file, structures).stdout
        assert "Sr2Ti2O6" in succeed("predict", model_file, structures).stdout.replace("SrTiO3SrTiO3", "Sr2Ti2O6")


class TestScan:
    def test_csv_carries_units(self, model_file: Path, tmp_path: Path, surrogate: Surrogate) -> None:
        out = tmp_path / "scan.csv"
        succeed("scan", model_file, "--along", "alpha", "--range", "-5", "5", "-n", "11", "-o", out)
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0])[:4] == ["alpha_deg", "offset_deg", "energy_eV", "energy_uncertainty_eV"]
        assert "stress_xy_uncertainty_GPa" in rows[0]
        np.testing.assert_allclose([float(row["alpha_deg"]) for row in rows], np.linspace(85, 95, 11), atol=1e-9)
        assert float(rows[5]["energy_eV"]) == pytest.approx(surrogate.predict(surrogate.crystal.atoms()).energy[0])

    @pytest.mark.parametrize(("along", "column"), [("b", "b_A"), ("volume", "volume_A3"), ("yz", "strain_yz")])
    def test_prints_csv_without_a_file(self, model_file: Path, along: str, column: str) -> None:
        result = succeed("scan", model_file, "--along", along, "--range", "-0.02", "0.02", "-n", "3")
        rows = list(csv.DictReader(result.stdout.splitlines()))
        assert len(rows) == 3
        assert column in rows[0]

    def test_compares_with_data_and_draws(self, model_file: Path, tmp_path: Path) -> None:
        arguments = ["--along", "a", "--range", "-0.1", "0.1", "-n", "5", "--plot", tmp_path / "scan.png"]
        result = numbers("scan", model_file, *arguments, "--data", srtio3())
        assert len(result["data"]) >= 17
        assert all(abs(point["error_meV"]) < 1000 for point in result["data"])
        assert (tmp_path / "scan.png").read_bytes().startswith(b"\x89PNG")

    def test_any_strain_is_a_direction(self, model_file: Path) -> None:
        arguments = ["--along", "xx=1,yy=-0.5,xy=0.2", "--range", "-0.02", "0.02", "-n", "3"]
        result = numbers("scan", model_file, *arguments)
        assert [row["amplitude"] for row in result["scan"]] == [-0.02, 0, 0.02]

    def test_stresses_are_left_out_where_not_wanted(self, model_file: Path) -> None:
        (row, _) = numbers("scan", model_file, "--along", "a", "--range", "0", "0.1", "-n", "2", "--no-stress")["scan"]
        assert list(row) == ["a_A", "offset", "energy_eV", "energy_uncertainty_eV", "outside_domain"]

    def test_map(self, model_file: Path, tmp_path: Path) -> None:
        lines = ["--along", "a", "--range", "-0.1", "0.1", "--across", "alpha", "--across-range", "-8", "8", "-n", "5"]
        files = ["--plot", tmp_path / "map.png", "-o", tmp_path / "map.csv"]
        result = numbers("scan", model_file, *lines, *files, "--data", srtio3())
        assert len(result["scan"]) == 25
        assert list(result["scan"][0])[:4] == ["a_A", "a_offset", "alpha_deg", "alpha_offset_deg"]
        assert "stress_xx_GPa" not in result["scan"][0]
        assert len(result["data"]) >= 33
        assert list(result["data"][0]) == ["a_A", "alpha_deg", "energy_eV", "error_meV"]
        assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
        with (tmp_path / "map.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [float(row["energy_eV"]) for row in rows] == [row["energy_eV"] for row in result["scan"]]
        assert "stress_xx_GPa" in numbers("scan", model_file, *lines, "--stress")["scan"][0]


def test_info(model_file: Path, surrogate: Surrogate) -> None:
    shown = succeed("info", model_file).stdout
    assert "SrTiO3" in shown
    assert f"ase_dkl {version('ase-dkl')} on 20" in shown
    printed = numbers("info", model_file)
    assert printed["formula"] == "SrTiO3"
    assert printed["report"]["n_rows"] == 24


@pytest.mark.usefixtures("hasty")
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["ase_dkl.cli.demo"], "TRAIN", "set=pool,index<6")
    printed = numbers("demo")
    assert printed["n"] == 156
    assert (tmp_path / printed["figure"]).read_bytes().startswith(b"\x89PNG")


class TestMistakes:
    """Each ends with one message on stderr, nothing on stdout, and a non-zero status."""

    def check(self, words: str, *arguments: object) -> None:
        result = run(*arguments)
        assert result.exit_code != 0
        assert isinstance(result.exception, SystemExit)
        assert result.stdout == ""
        assert words in " ".join(result.stderr.replace("│", " ").split())
        assert "Traceback" not in result.stderr

    def test_no_such_model(self, structures: Path) -> None:
        self.check("nowhere.dkl", "predict", "nowhere.dkl", structures)
        self.check("nowhere.dkl", "info", "nowhere.dkl", "--json")

    def test_a_file_that_is_no_model(self, structures: Path) -> None:
        self.check("structures.xyz", "info", structures)

    def test_no_such_database(self, model_file: Path, tmp_path: Path) -> None:
        self.check("nowhere.db", "evaluate", model_file, "nowhere.db")
        self.check("nowhere.db", "train", "nowhere.db", "-o", tmp_path / "x.dkl")

    def test_a_query_that_selects_nothing(self, model_file: Path) -> None:
        self.check("set=nothing", "evaluate", model_file, srtio3(), "--select", "set=nothing")

    def test_no_such_structure_file(self, model_file: Path) -> None:
        self.check("nowhere.xyz: there is no such file", "predict", model_file, "nowhere.xyz")

    def test_a_structure_file_that_cannot_be_read(self, model_file: Path, tmp_path: Path) -> None:
        (tmp_path / "x.xyz").write_text("three\natoms\n")
        self.check("ASE cannot read it", "predict", model_file, tmp_path / "x.xyz")

    def test_another_crystal(self, model_file: Path, tmp_path: Path) -> None:
        ase.io.write(tmp_path / "cu.xyz", bulk("Cu"))
        self.check("cu.xyz, frame 0 (Cu)", "predict", model_file, tmp_path / "cu.xyz")

    def test_data_of_another_crystal(self, model_file: Path, tmp_path: Path) -> None:
        from ase.calculators.emt import EMT

        with ase.db.connect(tmp_path / "cu.db") as database:
            for strain in np.linspace(-0.05, 0.05, 12):
                atoms = bulk("Cu", a=3.6 * (1 + strain))
                atoms.calc = EMT()
                atoms.get_potential_energy()
                database.write(atoms)
        self.check("Cu", "evaluate", model_file, tmp_path / "cu.db")

    def test_output_directory_that_does_not_exist(self, model_file: Path, structures: Path, tmp_path: Path) -> None:
        out = tmp_path / "no" / "x.csv"
        words = "there is no directory"
        self.check(words, "predict", model_file, structures, "-o", out)
        self.check(words, "train", srtio3(), "-o", out)
        self.check(words, "scan", model_file, "--along", "a", "--range", "0", "1", "-o", out)
        self.check(words, "scan", model_file, "--along", "a", "--range", "0", "1", "--plot", out.with_suffix(".png"))

    def test_output_that_is_a_directory(self, tmp_path: Path) -> None:
        self.check("it is a directory", "train", srtio3(), "-o", tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_output_directory_that_is_not_writable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tmp_path.chmod(0o500)
        monkeypatch.chdir(tmp_path)
        self.check("you may not write into", "demo")

    def test_unknown_output_format(self, model_file: Path, structures: Path, tmp_path: Path) -> None:
        self.check("Choose one of these endings", "predict", model_file, structures, "-o", tmp_path / "x.pdf")
        scan = ["scan", model_file, "--along", "a", "--range", "0", "0.1"]
        self.check("a table is written as .csv", *scan, "-o", tmp_path / "x.json")
        self.check("a figure is written as one of", *scan, "--plot", tmp_path / "x.docx")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--along", "d", "--range", "0", "1"], "'d' is none of them"),
            (["--along", "a", "--range", "0.1", "-0.1"], "the first number must be the lower one"),
            (["--along", "a", "--range", "0"], "requires 2 arguments"),
            (["--along", "a", "--range", "0", "inf"], "inf is not a finite number"),
            (["--along", "a", "--range", "-2", "0"], "no lattice at an offset of -2 along a"),
            (["--along", "alpha", "--range", "0", "170"], "flat or inside out"),
            (["--along", "a", "--range", "0", "1", "-n", "1"], "-n"),
            (["--along", "a", "--range", "0", "1", "--data", "nowhere.db"], "nowhere.db"),
            (["--along", "xx=1,yx=1", "--range", "0", "1"], "is none of them"),
            (["--along", "a", "--range", "0", "1", "--across", "b"], "both --across and --across-range"),
            (["--along", "a", "--range", "0", "1", "--across-range", "0", "1"], "both --across and --across-range"),
            (
                ["--along", "a", "--range", "0", "1", "--across", "b", "--across-range", "1", "0"],
                "--across-range 1 0: the first number must be the lower one",
            ),
            (["--along", "a", "--range", "0", "1", "--across", "xx", "--across-range", "0", "1"], "not one of each"),
        ],
    )
    def test_scans(self, model_file: Path, arguments: list[str], words: str) -> None:
        self.check(words, "scan", model_file, *arguments)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--inducing", "0"], "--inducing"),
            (["--networks", "none"], "--networks"),
            (["--test-fraction", "1"], "--test-fraction"),
            (["--stress", "some"], "'some' is not one of"),
            (["--mean", "cubist"], "'cubist' is not one of"),
            (["--reference", "nowhere.cif"], "nowhere.cif"),
            (["--select", "set=pool,index<1"], "row"),
        ],
    )
    def test_training_options(self, tmp_path: Path, arguments: list[str], words: str) -> None:
        self.check(words, "train", srtio3(), "-o", tmp_path / "x.dkl", *arguments)
        assert not list(tmp_path.iterdir())

    def test_no_command(self) -> None:
        assert run("tain").exit_code == 2


def test_dataset_and_model_agree_on_the_reference(surrogate: Surrogate) -> None:
    rows = Dataset.read(srtio3(), select="set=scan_iso", reference=surrogate.crystal)
    np.testing.assert_array_equal(rows.crystal.cell, surrogate.crystal.cell)


@pytest.mark.usefixtures("hasty")
def test_stresses_that_are_refused_can_be_left_alone(tmp_path: Path) -> None:
    """Wherever labels are read: stresses of this sheet are 18 times too small."""
    wrong, model = Path(__file__).parent / "cases" / "phosphorene_18.xyz", tmp_path / "sheet.dkl"
    few = ["--networks", 1, "--inducing", 5, "--test-fraction", 0]
    refused = run("train", wrong, "-o", model, *few)
    assert refused.exit_code == 1
    assert "18 times too small" in refused.stderr
    assert "--stress ignore" in refused.stderr
    succeed("train", wrong, "-o", model, *few, "--stress", "ignore")
    assert run("evaluate", model, wrong).exit_code == 1
    assert numbers("evaluate", model, wrong, "--stress", "ignore")["stress_rmse_GPa"] is None
    page = tmp_path / "sheet.html"
    assert "18 times too small" in run("report", model, "-o", page, "--data", wrong).stderr
    succeed("scan", model, "--along", "area", "--range", -0.01, 0.01, "-n", 3, "--data", wrong)
