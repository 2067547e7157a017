"""Model files that were damaged, or made by somebody who means no good: words or the right answer, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from made import displaced, labelled
from safetensors.numpy import save

from ase_dkl import BadModelFile, Dataset, IonConfig, IonicSurrogate, Surrogate, fit_ions
from ase_dkl.arrays import Floats
from ase_dkl.cli.info import show
from ase_dkl.model.loading import Loaded
from ase_dkl.model.model_file import pack, unpack

MODELS = Path(__file__).parent / "models"
WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    1e300,
    -1e300,
    "x",
    "[/]",
    "",
    [],
    {},
    [[]],
    [1, "a"],
    {"a": None},
    ["x"],
)
SPOILT: dict[str, Callable[[Floats], Any]] = {
    "NaN": lambda array: np.where(np.arange(array.size).reshape(array.shape) == array.size // 2, np.nan, array),
    "infinite": lambda array: np.full(array.shape, np.inf),
    "huge": lambda array: np.full(array.shape, 1e200),
    "negative": lambda array: -np.abs(array) - 1,
    "zero": np.zeros_like,
    "empty": lambda array: array[:0],
    "longer": lambda array: np.concatenate([array, array]),
    "flat": np.ravel,
    "deeper": lambda array: array[None],
    "narrow": lambda array: array.astype(np.float32),
    "whole": lambda array: array.astype(np.int64),
    "true": lambda array: array > 0,
}
HARMLESS = {
    # What may have any sign, or any value.
    "calibration.value:negative",
    "calibration.value:zero",
    "calibration.strain:negative",
    "calibration.strain:zero",
    "cells:negative",
    "scaling.centre:negative",
    "scaling.centre:zero",
    *(f"layer{i}.{name}:{how}" for i in range(3) for name in ("weight", "bias") for how in ("negative", "zero")),
    *(f"posterior.{name}:{how}" for name in ("points", "factor", "weights") for how in ("negative", "zero")),
}


HARMLESS_OF_IONS = {
    *(f"inducing0.{name}:{how}" for name in ("points", "along") for how in ("negative", "zero")),
    *(f"posterior.{name}:{how}" for name in ("factor", "weights") for how in ("negative", "zero")),
    # All functionals are then of the first point, and none of those that there are twice.
    "inducing0.of:zero",
    "inducing0.points:longer",
}


@pytest.fixture(scope="module")
def model() -> Surrogate:
    """With a calibration, and small."""
    return Surrogate.load(MODELS / "format2-calibrated.dkl")


@pytest.fixture(scope="module")
def water() -> IonicSurrogate:
    """Of free ions, and small."""
    rows = [labelled(each, "energy", "forces") for each in displaced(molecule("H2O"), 6, size=0.05)]
    return fit_ions(Dataset.from_atoms(rows), IonConfig(n_inducing=8), progress=False)


@pytest.fixture(params=["model", "water"])
def either(request: pytest.FixtureRequest) -> Loaded:
    """A model of a lattice, and one of free ions."""
    found: Loaded = request.getfixturevalue(request.param)
    return found


def answers(surrogate: Loaded) -> list[Floats]:
    if isinstance(surrogate, IonicSurrogate):
        return list(surrogate.marginals(surrogate.points, True))
    prediction = surrogate.predict_cells(surrogate.cells)
    assert prediction.stress is not None
    return [prediction.energy, prediction.energy_uncertainty, prediction.stress]


def read(content: bytes, kind: type[Loaded] = Surrogate) -> Loaded | None:
    """What can be read is good for everything; what cannot is refused in words."""
    try:
        surrogate = kind.from_bytes(content, name="m.dkl")
    except BadModelFile as error:
        if not str(error).startswith("m.dkl "):
            raise AssertionError("it is not said which file") from error
        return None
    with np.errstate(all="ignore"):
        assert all(np.isfinite(each).all() for each in answers(surrogate)[:1])
    show(surrogate, "m.dkl", as_json=True)
    show(surrogate, "m.dkl", as_json=False)
    return surrogate


def damaged(content: bytes) -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    for _ in range(150):
        spoilt = bytearray(content)
        for at in rng.integers(len(content), size=rng.integers(1, 4)):
            spoilt[at] ^= 1 << rng.integers(8)
        yield bytes(spoilt)
    for at in rng.integers(len(content), size=30):
        yield content[:at]
        yield content[:at] + content[at + 1 :]
        yield content[:at] + b"\0" + content[at:]
    yield from (content + b"more", b"", content[:8], (2**63).to_bytes(8, "little") + content[8:])


def test_damaged_files_are_refused_or_answer_as_before(either: Loaded) -> None:
    expected = answers(either)
    refused = 0
    for content in damaged(either.to_bytes()):
        found = read(content, type(either))
        if found is None:
            refused += 1
        else:
            assert all(np.array_equal(*pair) for pair in zip(answers(found), expected, strict=True))
    assert refused > 230


def test_damaged_files_of_older_formats_end_in_no_traceback() -> None:
    for name in ("format1-modules.dkl", "format2-metric.dkl"):
        for content in damaged((MODELS / name).read_bytes()):
            read(content)


@pytest.mark.parametrize("how", SPOILT)
def test_tensors_that_no_model_has_are_refused(either: Loaded, how: str) -> None:
    header, tensors = unpack(either.to_bytes(), "m.dkl")
    harmless = HARMLESS if isinstance(either, Surrogate) else HARMLESS_OF_IONS
    for name, tensor in tensors.items():
        spoilt = pack(header, {**tensors, name: np.ascontiguousarray(SPOILT[how](tensor))})
        if np.array_equal(SPOILT[how](tensor), tensor) and SPOILT[how](tensor).dtype == tensor.dtype:
            continue
        found = read(spoilt, type(either))
        assert found is None or f"{name}:{how}" in harmless, (name, how)
    for name in tensors:
        left = {other: tensor for other, tensor in tensors.items() if other != name}
        assert read(pack(header, left), type(either)) is None


def places(value: Any, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, *path, key)
    elif isinstance(value, list) and value:
        yield from places(value[0], *path, 0)


def test_headers_that_no_model_has_are_refused_or_harm_nothing(either: Loaded) -> None:
    header, tensors = unpack(either.to_bytes(), "m.dkl")
    rng = np.random.default_rng(0)
    for path in list(places(header))[1:]:
        for wrong in {WRONG.index("[/]"), *rng.choice(len(WRONG), size=1, replace=False).tolist()}:
            spoilt = deepcopy(header)
            inner: Any = spoilt
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = WRONG[wrong]
            read(pack(spoilt, tensors), type(either))
        del inner[path[-1]]
        read(pack(spoilt, tensors), type(either))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": "ase_dkl surrogate", "version": 3, "crystal": ' + "[" * 5_000 + "]" * 5_000 + "}",
        '{"format": "ase_dkl surrogate", "version": 3, "crystal": NaN}',
        '{"format": "ase_dkl surrogate", "version": 3, "crystal": 1e999}',
        '{"format": "ase_dkl surrogate", "version": ' + "9" * 5_000 + "}",
        '{"format": "ase_dkl surrogate", "version": "3"}',
        '{"format": "ase_dkl surrogate", "version": 3}',
        '{"format": "ase_dkl surrogate", "version": 1}',
        '{"format": "ase_dkl surrogate", "version": 2, "config": []}',
    ],
)
def test_hostile_headers_are_refused(text: str) -> None:
    assert read(save({"a": np.ones(1)}, metadata={"ase_dkl": text})) is None
