import json

import numpy as np
import pytest
from safetensors.numpy import save

from ase_dkl.model_file import BadModelFile, pack, unpack

TENSORS = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones(1)}


def test_round_trip() -> None:
    header, tensors = unpack(pack({"crystal": {"x": [1, 2.5]}}, TENSORS), "m.dkl")
    assert header["crystal"] == {"x": [1, 2.5]}
    assert "eV/Å³" in header["units"]
    assert all(np.array_equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_a_transposed_tensor_is_written_as_it_is() -> None:
    _, tensors = unpack(pack({}, {"a": TENSORS["a"].T}), "m.dkl")
    assert np.array_equal(tensors["a"], TENSORS["a"].T)


@pytest.mark.parametrize("end", [0, 5, 8, 40, 200, -1])
def test_truncated(end: int) -> None:
    with pytest.raises(BadModelFile, match=r"m\.dkl is (truncated|not a model file)"):
        unpack(pack({}, TENSORS)[:end], "m.dkl")


@pytest.mark.parametrize(
    "content",
    [
        b"SQLite format 3\x00 and more",
        b"\x80\x04\x95pickle",
        save(TENSORS),
        save(TENSORS, metadata={"ase_dkl": "[]"}),
        save(TENSORS, metadata={"ase_dkl": json.dumps({"format": "other"})}),
    ],
)
def test_foreign(content: bytes) -> None:
    with pytest.raises(BadModelFile, match="not a model file of ase_dkl"):
        unpack(content, "m.dkl")


def test_newer() -> None:
    content = save(TENSORS, metadata={"ase_dkl": json.dumps({"format": "ase_dkl surrogate", "version": 99})})
    with pytest.raises(BadModelFile, match="version 99, and this ase_dkl reads version 2"):
        unpack(content, "m.dkl")
