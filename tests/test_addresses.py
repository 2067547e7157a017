"""What is secret in an address reaches no message, whatever is wrong with it."""

import string
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from ase.build import bulk
from ase.calculators.calculator import BaseCalculator
from ase.calculators.emt import EMT
from commands import Command
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_cli_active import SETTINGS

from ase_dkl import Surrogate
from ase_dkl.active.on_the_fly import ActiveCalculator
from ase_dkl.active.store import Store, transactions
from ase_dkl.addresses import check_server, display_name, without_secrets
from ase_dkl.dataset.sources import read_rows


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://anna:secret@host:5432/strains", "postgresql://host:5432/strains"),
        ("postgresql://anna:se%2Fcret@[::1]:5/strains", "postgresql://[::1]:5/strains"),
        ("postgresql://one:1,other:2/strains", "postgresql://one:1,other:2/strains"),
        ("postgresql:///?service=labels", "postgresql:///?service=labels"),
        ("postgresql://host/labels?port=1&password=secret&user=anna", "postgresql://host/labels?port=1&…"),
        ("postgresql://anna:sec/ret@host/labels", "postgresql://…"),
        ("postgresql://anna:sec@ret@host/labels", "postgresql://…"),
        ("postgresql://anna:secret/labels", "postgresql://…"),
        ("postgresql://host/labels?password=sec@ret", "postgresql://…"),
        ("/home/postgresql:/anna:secret@host/labels", "/home/postgresql://…"),
        ("host=host password='sec ret' dbname=labels", "host=host password=…"),
        ("anna:secret@host/labels", "…"),
        ("a@b.db", "a@b.db"),
        ("run:1/x.traj@-1:", "run:1/x.traj@-1:"),
        ("compass=3.db", "compass=3.db"),
        ("tcp://host:8786", "tcp://host:8786"),
    ],
)
def test_addresses_as_they_may_be_shown(address: str, shown: str) -> None:
    assert display_name(address) == shown
    assert without_secrets(f"There is no {address}.", [address, "There"]) == f"There is no {shown}."


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql://anna:sec/ret@host/labels", "/ is written as %2F"),
        ("postgresql://anna:sec%ret@host/labels", "% itself as %25"),
        ("postgresql://host/labels?word=secret", "a parameter that PostgreSQL does not know"),
        ("https://anna:secret@host/labels", "no address of a database server"),
    ],
)
def test_addresses_that_a_driver_would_misread(address: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        check_server(address)
    assert "ret" not in str(caught.value).replace("service", "").replace("secret of", "")


FORMS: list[Callable[[str], str]] = [
    "postgresql://anna:{}@localhost:1/labels".format,
    "postgresql://localhost:1/labels?password={}".format,
    "postgresql:/anna:{}@localhost:1/labels".format,
    "host=localhost port=1 user=anna password='{}' dbname=labels".format,
    lambda password: f"postgresql://anna:{quote(password, safe='')}@localhost:1/labels",
    lambda password: f"postgresql://localhost:1/labels?user=anna&password={quote(password, safe='')}&connect_timeout=1",
]
FIRST, LAST = "1stHaLf", "lAsthALf"
# With halves that are never anything else, what is only a part of a password is found too.
PASSWORDS = st.text(
    st.sampled_from(string.punctuation + " \t\n\r%/@:?#&=σé") | st.characters(exclude_categories=["Cs", "Cc"]),
    max_size=9,
).map(lambda middle: FIRST + middle + LAST)
WEIRD = settings(
    deadline=None,
    max_examples=5,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def check(text: str) -> None:
    assert FIRST.lower() not in text.lower(), text
    assert LAST.lower() not in text.lower(), text


@WEIRD
@given(PASSWORDS, st.sampled_from(FORMS))
def test_errors_and_their_causes_tell_no_password(
    surrogate: Surrogate, password: str, form: Callable[[str], str]
) -> None:
    address = form(password)
    reference: BaseCalculator = EMT()
    opened: list[Callable[[], object]] = [
        lambda: read_rows(address),
        lambda: Store(address, "copper", owner="me", patience_s=0),
        lambda: ActiveCalculator(surrogate, reference, tolerance=1.0, database=address if "://" in address else "/"),
    ]
    for work in opened:
        with pytest.raises((ValueError, OSError)) as caught:
            work()
        check("".join(traceback.format_exception(caught.value)))


@WEIRD
@given(PASSWORDS, st.sampled_from(FORMS))
def test_commands_tell_no_password(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, form: Callable[[str], str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transactions, "OPENING_S", 0.0)
    address, model = form(password), str(model_file)
    bulk("Cu", cubic=True).write(tmp_path / "copper.xyz")
    campaign, study = tmp_path / "campaign.toml", tmp_path / "study.toml"
    written = "".join(f"\\U{ord(char):08x}" for char in address)
    for old in ('"labels.db"', '"copper.xyz"', "6"):
        campaign.write_text(SETTINGS.replace(old, f'["{written}"]' if old == "6" else f'"{written}"', 1))
        check_command("active", "status", str(campaign))
        check_command("active", "run", str(campaign))
    study.write_text(f'seeds = [0]\n[[data]]\nname = "x"\nsizes = [8]\ndatabase = "{written}"\n[[method]]\nname = "x"')
    for command in (
        ["train", address, "-o", str(tmp_path / "new.dkl")],
        ["train", model, "-o", address],
        ["evaluate", model, address],
        ["evaluate", address, model],
        ["evaluate", model, model, address],
        ["predict", model, address, "--json"],
        ["predict", model, model, "-o", address],
        ["scan", model, "--along", "a", "--range", "-0.1", "0.1", "--data", address],
        ["report", model, "-o", str(tmp_path / "x.html"), f"--data={address}"],
        ["relax", model, "-o", address],
        ["info", address],
        ["benchmark", str(study)],
        ["benchmark", address],
        ["active", "run", address],
        ["scan", model, "--seed", address],
        [address],
    ):
        check_command(*command)


def check_command(*arguments: str) -> None:
    result = Command().run(*arguments)
    assert result.exit_code, arguments
    assert isinstance(result.exception, SystemExit), result.exception
    check(result.output)
