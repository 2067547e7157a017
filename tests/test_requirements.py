"""Bounds of pyproject.toml are true: CI tests the lowest versions that they admit, and the newest that are pinned."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
UNTESTED = {"torch"}
"""Its older wheels bring CUDA, which is gigabytes."""


def bounds() -> dict[NormalizedName, Version]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: some for name, some in project["optional-dependencies"].items() if name != "dev"}
    found = {}
    for text in [*project["dependencies"], *(text for some in extras.values() for text in some)]:
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            (bound,) = requirement.specifier
            assert bound.operator == ">=", text
            found[canonicalize_name(requirement.name)] = Version(bound.version)
    return found


def pins(file: str) -> dict[NormalizedName, Version]:
    lines = (ROOT / ".ci" / file).read_text(encoding="utf-8").split()
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


@pytest.mark.parametrize("name", bounds())
def test_lowest_and_newest_versions_are_tested(name: NormalizedName) -> None:
    assert pins("constraints.txt")[name] >= bounds()[name]
    if name not in UNTESTED:
        assert pins("lowest.txt")[name] == bounds()[name], ".ci/lowest.txt pins what pyproject.toml admits"
