import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.slow
def test_snippets_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(snippets) == 5
    namespace: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, str(README), "exec"), namespace)
    assert (tmp_path / "srtio3.dkl").exists()


def test_commands_are_those_of_the_command_line() -> None:
    from ase_dkl.cli import app

    described = set(re.findall(r"^\| `ase-dkl (\w+)", README.read_text(encoding="utf-8"), flags=re.MULTILINE))
    registered = {command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {str(group.typer_instance.info.name) for group in app.registered_groups if group.typer_instance}
    assert described == registered | groups


def test_it_opens_with_demo_and_test() -> None:
    first = README.read_text(encoding="utf-8").split("```")[1]
    assert re.findall(r"^make (\w+)", first, flags=re.MULTILINE) == ["demo", "test"]
