"""Campaign files that are mistyped or meant to harm: each is told in words, and nothing is written."""

import re
from pathlib import Path

import pytest
from ase.build import bulk
from commands import Command
from test_cli_active import SETTINGS, SLOW

HUGE = "9" * 400
REPLACED = [
    ('name = "copper"', 'name = ""'),
    ('name = "copper"', "name = 3"),
    ('name = "copper"', 'name = "../../etc"'),
    ('name = "copper"', 'name = "σ"'),
    ('name = "copper"', 'name = "copper"\nname = "copper"'),
    ('name = "copper"', f'name = "{"a" * 5000}"'),
    ('name = "copper"', 'name = "copper"\nfolder = "\\u0000"'),
    ('name = "copper"', 'name = "copper"\nfolder = "copper.xyz"'),
    ('name = "copper"', f'name = "copper"\nfolder = "{"a" * 5000}"'),
    ('name = "copper"', 'name = "copper"\nseed = -1'),
    ('name = "copper"', f'name = "copper"\nseed = {HUGE}'),
    ('name = "copper"', 'name = "copper"\nseed = 1979-05-27'),
    ('"labels.db"', '"."'),
    ('"labels.db"', '"place.db"'),
    ('"labels.db"', '"\\u0000.db"'),
    ('"labels.db"', '"no/such/place.db"'),
    ('"labels.db"', '["labels.db"]'),
    ('"labels.db"', f'"{"a" * 5000}.db"'),
    ('"labels.db"', '"mysql://me@host/x"'),
    ('"labels.db"', '"postgresql://me:a/b@host/x"'),
    ('"copper.xyz"', '"."'),
    ('"copper.xyz"', '"/dev/null"'),
    ('"copper.xyz"', '"copper.xyz@999"'),
    ('"copper.xyz"', '"copper.xyz@nonsense"'),
    ('"copper.xyz"', '"\\u0000"'),
    ('"copper.xyz"', f'"{"a" * 5000}"'),
    ("[-0.04, 0.04]", "[nan, 0.04]"),
    ("[-0.04, 0.04]", "[-inf, inf]"),
    ("[-0.04, 0.04]", "[-3, 3]"),
    ("[-0.04, 0.04]", f"[-{HUGE}, {HUGE}]"),
    ("[-0.04, 0.04]", "[true, false]"),
    ("angles = [-4, 4]", "angles = [-400, 400]"),
    ("angles = [-4, 4]", "angles = { low = 1 }"),
    ('"slow.py:make"', '"slow.py:"'),
    ('"slow.py:make"', '":"'),
    ('"slow.py:make"', '"emt"\nparameters = { a = nan }'),
    ('"slow.py:make"', '"emt"\nparameters = { a = 1979-05-27 }'),
    ('"slow.py:make"', '"\\u0000"'),
    ('"slow.py:make"', '"../../os"'),
    ("initial = 6", "initial = -6"),
    ("initial = 6", "initial = 6.5"),
    ("initial = 6", f"initial = {HUGE}"),
    ("batch = 3", "batch = 0"),
    ("batch = 3", f"batch = {HUGE}"),
    ("own_process = false", "own_process = false\ntimeout_s = 5"),
    ("own_process = false", "own_process = true\ntimeout_s = -5"),
    ("own_process = false", "own_process = true\ntimeout_s = 1e999"),
    ("own_process = false", "own_process = 0"),
    ("budget = 12", "budget = -1"),
    ("budget = 12", "budget = inf"),
    ("budget = 12", "tolerance_meV = nan"),
    ("budget = 12", "tolerance_meV = -0.0"),
    ("budget = 12", "target = 3"),
    ("budget = 12", 'target = { name = "C44", tolerance = nan }'),
    ("budget = 12", 'target = { name = "C44", tolerance = 1, unit = "GPa" }'),
    ("candidates = 32", "candidates = -1"),
    ("candidates = 32", f"candidates = {HUGE}"),
    ("networks = 1", "networks = 0"),
    ("networks = 1", f"networks = {HUGE}"),
    ("width = 16", f"width = {10**9}"),
    ("[box]", "[[box]]"),
    ("[box]", "[boxes]"),
    ("[box]", "box = 3\n[x]"),
    ("[campaign]", "\ufeff[campaign]"),
    ("[campaign]", "[campaign"),
]
WHOLE = [b"", b"\xff\xfe", b"\x00" * 100, b"a" * 10**6, b"[" * 100_000, b"a = " + b"[" * 5000, b"a." * 5000 + b"b = 1"]


def tried(folder: Path, content: bytes) -> None:
    """Run a file that is wrong."""
    bulk("Cu", cubic=True).write(folder / "copper.xyz")
    (folder / "slow.py").write_text(SLOW)
    (folder / "place.db").mkdir()
    file = folder / "campaign.toml"
    file.write_bytes(content)
    before = sorted(folder.rglob("*"))
    result = Command("active").run("run", file, "--trust")
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.search(r"Error: .{20}", result.stderr), result.stderr
    assert len(result.stderr) < 20_000
    assert [each for each in sorted(folder.rglob("*")) if "__pycache__" not in str(each)] == before


@pytest.mark.parametrize(("old", "new"), REPLACED)
def test_a_setting_that_is_wrong(tmp_path: Path, old: str, new: str) -> None:
    assert old in SETTINGS
    tried(tmp_path, SETTINGS.replace(old, new, 1).encode())


@pytest.mark.parametrize("content", WHOLE, ids=range(len(WHOLE)))
def test_a_file_that_is_wrong(tmp_path: Path, content: bytes) -> None:
    tried(tmp_path, content)
