"""The README and the pages in docs/: their Python runs, their commands exist, their links lead somewhere."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted(ROOT.glob("docs/*.md"))
MARKDOWN = [*ROOT.glob("*.md"), *PAGES, *ROOT.glob("examples/**/*.md"), *ROOT.glob("ase_dkl/**/*.md")]


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def run_snippets(page: Path, namespace: dict[str, object]) -> int:
    snippets = re.findall(r"^```python\n(.*?)^```", read(page), flags=re.DOTALL | re.MULTILINE)
    for snippet in snippets:
        exec(compile(snippet, str(page), "exec"), namespace)
    return len(snippets)


@pytest.mark.slow
def test_snippets_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    assert run_snippets(README, namespace) == 6
    assert (tmp_path / "srtio3.dkl").exists()
    # Pages go on from the README, and not from each other.
    assert sum(run_snippets(page, {**namespace}) for page in PAGES) == 8


def test_the_readme_is_short() -> None:
    assert len(read(README).splitlines()) <= 200


def test_it_opens_with_demo_and_test() -> None:
    first = read(README).split("```")[1]
    assert re.findall(r"^make (\w+)", first, flags=re.MULTILINE) == ["demo", "test"]


def test_commands_are_those_of_the_command_line() -> None:
    from ase_dkl.cli import app

    described = set(re.findall(r"^\| `ase-dkl (\w+)", read(ROOT / "docs" / "commands.md"), flags=re.MULTILINE))
    registered = {command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {str(group.typer_instance.info.name) for group in app.registered_groups if group.typer_instance}
    assert described == registered | groups


def test_every_example_is_described() -> None:
    described = set(re.findall(r"`([\w/]+\.(?:py|toml))`", read(ROOT / "examples" / "README.md")))
    folder = ROOT / "examples"
    top = {str(path.relative_to(folder)) for path in [*folder.glob("[!_]*.py"), *folder.glob("paper/*.py")]}
    benchmarks = {path.name for path in folder.glob("benchmarks/[!_]*.*") if path.suffix in {".py", ".toml"}}
    assert described == top | benchmarks


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", read(page), flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    citation = dict(re.findall(r"^(\w[\w-]*): (.+)$", read(ROOT / "CITATION.cff"), flags=re.MULTILINE))
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["abstract"] == project["description"]
