import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, mx2

from ase_dkl import TrainConfig
from ase_dkl.active.box import Box
from ase_dkl.active.labels.executors import BadExecutor
from ase_dkl.active.plan import Plan
from ase_dkl.active.settings import BadSettings, Settings, read_settings
from ase_dkl.active.stopping import Stop
from ase_dkl.active.target import Target
from ase_dkl.cli.active import TEMPLATE

TABLES: dict[str, dict[str, str]] = {
    "campaign": {"name": '"copper"', "database": '"labels.db"'},
    "crystal": {"file": '"copper.xyz"'},
    "calculator": {"name": '"emt"'},
    "stop": {"budget": "20"},
}


def settings(table: str = "stop", **changed: str | None) -> str:
    """The least that a file says, and more or something else in one table."""
    tables: dict[str, dict[str, str | None]] = {name: {**values} for name, values in TABLES.items()}
    tables[table] = {**tables.get(table, {}), **changed}
    lines: list[str] = []
    for name, values in tables.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items() if value is not None)]
    return "\n".join([*lines, ""])


LEAST = settings()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ase.io.write(tmp_path / "copper.xyz", bulk("Cu", cubic=True))
    return tmp_path


def read(folder: Path, text: str) -> Settings:
    path = folder / "campaign.toml"
    path.write_text(text, encoding="utf-8")
    return read_settings(path)


class TestWhatIsLeftOut:
    def test_has_the_defaults_of_the_plan(self, folder: Path) -> None:
        plan = read(folder, LEAST).plan
        for field in fields(Plan):
            if field.name in ("initial", "batch", "acquisition", "candidates", "attempts", "own_process", "seed"):
                assert getattr(plan, field.name) == field.default, field.name
        assert plan.config == TrainConfig()
        assert plan.box == Box()
        assert plan.timeout_s is None

    def test_everything_lies_beside_the_file(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("/")
        plan = read(folder, LEAST).plan
        assert plan.database == str(folder / "labels.db")
        assert plan.folder == folder / "copper"
        assert plan.crystal.formula == "Cu4"


class TestWhatIsSaid:
    def test_reaches_the_plan(self, folder: Path) -> None:
        (folder / "mine.py").write_text("from ase.calculators.emt import EMT as make")
        plan = read(
            folder,
            """
            [campaign]
            name = "x"
            database = "postgresql://me@there:5432/labels"
            folder = "elsewhere"
            seed = 3
            [crystal]
            file = "copper.xyz@0"
            [box]
            lengths = [-0.05, 0.1]
            angles = [0, 4.5]
            [calculator]
            name = "mine.py:make"
            parameters = { asap_cutoff = true }
            [labels]
            initial = 9
            batch = 2
            attempts = 1
            own_process = true
            timeout_s = 60
            [stop]
            measure = "largest"
            tolerance_meV = 2
            budget = 30
            [acquisition]
            kind = "largest"
            candidates = 64
            [model]
            networks = 2
            kernel = "matern52"
            spectral_coefficient = 1
            steps = 100
            folds = false
            """,
        ).plan
        assert (plan.name, plan.database) == ("x", "postgresql://me@there:5432/labels")
        assert plan.folder == folder / "elsewhere"
        assert plan.box == Box((-0.05, 0.1), (0.0, 4.5))
        assert plan.calculation.name == f"{folder / 'mine.py'}:make"
        assert plan.calculation.parameters == {"asap_cutoff": True}
        assert (plan.initial, plan.batch, plan.attempts, plan.own_process, plan.timeout_s) == (9, 2, 1, True, 60.0)
        assert plan.stop == Stop(tolerance_meV=2.0, measure="largest", budget=30)
        assert (plan.acquisition, plan.candidates, plan.seed) == ("largest", 64, 3)
        assert plan.config == TrainConfig(
            networks=2, kernel="matern52", spectral_coefficient=1.0, steps=100, folds=False, seed=3
        )

    def test_a_target(self, folder: Path) -> None:
        text = f'{LEAST}[stop.target]\nname = "C44"\ntolerance = 1\n'
        assert read(folder, text).plan.stop == Stop(target=Target("C44", 1.0), budget=20)

    def test_a_sheet_stays_one(self, folder: Path) -> None:
        ase.io.write(folder / "copper.xyz", mx2("MoS2", vacuum=5.0))
        assert read(folder, LEAST).plan.crystal.periodic == (0, 1)

    def test_magnetic_moments_of_the_file_count(self, folder: Path) -> None:
        iron = bulk("Fe")
        iron.set_initial_magnetic_moments([2.3])
        ase.io.write(folder / "copper.xyz", iron)
        np.testing.assert_allclose(read(folder, LEAST).plan.crystal.magnetic_moments, [2.3])

    @pytest.mark.parametrize("own", ["true", "false"])
    def test_the_executor_opens(self, folder: Path, own: str) -> None:
        text = settings("labels", own_process=own) + '[executor]\nkind = "local"\nworkers = 1\n'
        with read(folder, text).executor() as executor:
            assert executor.submit(abs, -1).result() == 1

    def test_functions_of_files_are_found_beside_it(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("/")
        (folder / "mine.py").write_text("from concurrent.futures import ThreadPoolExecutor as make")
        with read(folder, f'{LEAST}[executor]\nkind = "factory"\nfactory = "mine.py:make"').executor() as executor:
            assert executor.submit(abs, -2).result() == 2


class TestTemplate:
    def test_is_read_as_it_stands(self, folder: Path) -> None:
        ase.io.write(folder / "crystal.cif", bulk("Cu", cubic=True))
        plan = read(folder, TEMPLATE.read_text(encoding="utf-8")).plan
        assert plan.calculation.name == "vasp"

    def test_every_setting_in_a_comment_can_be_made(self, folder: Path) -> None:
        """What a comment says to be a default is one, and what it names is known."""
        ase.io.write(folder / "crystal.cif", bulk("Cu", cubic=True))
        text = TEMPLATE.read_text(encoding="utf-8")
        plan = read(folder, text).plan
        switched, count = re.subn(r'(?m)^# (\w+ = (?:\d+|true|"\S+") {5,}# )', r"\1", text)
        assert count == 11
        changed = read(folder, switched.replace('folder = "my-crystal"', "")).plan
        assert changed == replace(plan, timeout_s=3600.0, crystal=changed.crystal)

    def test_the_same_with_gpaw(self) -> None:
        text = TEMPLATE.read_text(encoding="utf-8")
        lines = text.split("they would be, for example:\n")[1].split("\n\n")[0].splitlines()
        parameters = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))
        assert parameters["kpts"] == {"size": [6, 6, 6], "gamma": True}

    def test_executors_of_clusters(self) -> None:
        text = TEMPLATE.read_text(encoding="utf-8").split("[executor]")[1]
        for kind, key in (("parsl", "config"), ("dask", "cluster")):
            assert f'# kind = "{kind}"\n# {key} = "cluster.py:{key}"' in text

    def test_every_table_and_setting_is_explained(self) -> None:
        from ase_dkl.active.settings import _TABLES

        text = TEMPLATE.read_text(encoding="utf-8")
        tables = dict(re.findall(r"(?ms)^(?:# )?\[([\w.]+)\]\n(.*?)(?=^(?:# )?\[|\Z)", text))
        for table, keys in _TABLES.items():
            if table != "model":
                there = re.findall(r"(?m)(?:^|# |: )(\w+) = ", tables[table])
                missing = [key for key in keys if key not in there and f"{table}.{key}" not in tables]
                assert missing in ([], ["factory"]), table


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[campaign\n", "is not written in TOML: "),
        (LEAST + "[modle]\n", "There is no table [modle]: did you mean model?"),
        (LEAST + "[xyz]\n", "There is no table [xyz]: the tables are campaign, crystal,"),
        ("name = 3\n" + LEAST, "There is no table [name]: "),
        ("stop = 3\n" + LEAST.partition("[stop]")[0], "stop is 3; it must be a table: write [stop]"),
        (settings("box", lenghts="[0, 1]"), "[box] has no lenghts: did you mean lengths?"),
        (settings("crystal", qqqq="1"), "[crystal] has no qqqq: there is file."),
        (settings("labels", batch="2.0"), "[labels] batch is 2.0; it must be a whole number,"),
        (settings("labels", batch="true"), "[labels] batch is true; it must be a whole number,"),
        (settings("labels", timeout_s="2020-01-01"), '[labels] timeout_s is "2020-01-01"; it must be a number.'),
        (settings("labels", timeout_s="nan"), "[labels] timeout_s is NaN; it must be a number."),
        (settings("labels", own_process='"yes"'), '[labels] own_process is "yes"; it must be true or false.'),
        (settings("campaign", name="7"), "[campaign] name is 7; it must be a text in quotation marks."),
        (settings("box", angles="3"), "[box] angles is 3; it must be two numbers, [lowest, highest]."),
        (settings("box", angles='[1, "2"]'), '[box] angles is [1, "2"]; it must be two numbers'),
        (settings("calculator", parameters="3"), "[calculator] parameters is 3; it must be a table."),
        (settings("stop", measure='"max"'), '[stop] measure is "max"; it must be one of "rms", "largest".'),
        (settings("stop", target="{}"), "[stop.target] name is missing."),
        (settings("stop", target='{ name = "B0" }'), "[stop.target] tolerance is missing."),
        (settings("stop", target="{ name = 3 }"), "[stop.target] name is 3; it must be a text"),
        (settings("stop", target='{ name = "B0", tolerance = -1 }'), "[stop.target] The tolerance of B0 is -1"),
        (settings("acquisition", kind='"best"'), '[acquisition] kind is "best"; it must be one of "variance",'),
        (settings("model", networks="0"), "[model] networks is 0;"),
        (settings("model", kernel='"x"'), "[model] kernel is 'x';"),
        (settings("model", seed="1"), "[model] has no seed: "),
        (settings("executor", kind='"slurm"'), '[executor] kind is "slurm"; it must be one of "local",'),
        (settings("executor", worker="2"), "[executor] has no worker: did you mean workers?"),
        (settings("box", lengths="[0.1, 0.2]"), "[box] The box goes from 0.1 to 0.2 in lengths."),
        (settings("labels", batch="0"), "batch is 0; it has to be at least 1."),
        (settings("campaign", name='"my campaign"'), "A campaign cannot be named 'my campaign'"),
        (settings("crystal", file='"tin.cif"'), "[crystal] file: there is no "),
        (settings("crystal", file='"campaign.toml"'), "[crystal] file: ASE cannot read campaign.toml ("),
        (settings("crystal", file='"copper.xyz@:"'), "[crystal] file: copper.xyz@: names 1 structures; it must"),
        (settings("calculator", name='"none.py:make"'), "[calculator] "),
        (settings("campaign", name=None), "[campaign] name is missing. Give the campaign a name"),
        (settings("campaign", database=None), "[campaign] database is missing."),
        (settings("calculator", name=None), "[calculator] name is missing."),
        (settings("crystal", file=None), "[crystal] file is missing."),
        (settings("stop", budget=None), "[stop] Nothing would ever stop this campaign."),
        (settings("stop", budget="2"), "The budget of 2 labels does not cover the 8 of the initial design."),
    ],
)
def test_mistakes_are_told_in_words(folder: Path, text: str, words: str) -> None:
    with pytest.raises(BadSettings) as caught:
        read(folder, text)
    assert str(caught.value).startswith(f"{folder / 'campaign.toml'}")
    assert words in str(caught.value)


def test_no_periodic_crystal(folder: Path) -> None:
    ase.io.write(folder / "copper.xyz", bulk("Cu") * (1, 1, 1), format="xyz")
    with pytest.raises(BadSettings, match="A reference crystal cannot be made"):
        read(folder, LEAST)


def test_an_executor_that_lacks_something_says_so_when_it_is_opened(folder: Path) -> None:
    opened = read(folder, settings("executor", kind='"dask"')).executor
    with pytest.raises(BadExecutor, match="needs address or cluster"):
        opened()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_settings(tmp_path / "campaign.toml")
