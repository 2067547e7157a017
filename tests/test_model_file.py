import json
import re

import numpy as np
import pytest
from safetensors.numpy import save

from ase_dkl.model.model_file import BadModelFile, pack, unpack, writer

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


def test_newer_ones_say_who_wrote_them_and_what_to_do() -> None:
    newer = {"format": "ase_dkl surrogate", "version": 99, "surprise": [1]}
    with pytest.raises(BadModelFile, match=r"by a newer ase_dkl in format 99; this is ase_dkl .* up to 4\. Install"):
        unpack(save(TENSORS, metadata={"ase_dkl": json.dumps(newer)}), "m.dkl")
    newer["written"] = {"ase_dkl": "9.1", "date": "2031-01-02T03:04:05Z"}
    with pytest.raises(BadModelFile, match=r"by ase_dkl 9\.1 on 2031-01-02"):
        unpack(save(TENSORS, metadata={"ase_dkl": json.dumps(newer)}), "m.dkl")


def test_who_wrote_a_file_is_told_only_where_that_can_be() -> None:
    header, _ = unpack(pack({}, TENSORS), "m.dkl")
    assert re.fullmatch(r"ase_dkl \d+\.\d+.* on 20\d\d-\d\d-\d\d at \d\d:\d\d UTC", str(writer(header)))
    for written in (None, 1, {}, {"ase_dkl": "\033[31m", "date": "2031-01-02T03:04:05Z"}, {"ase_dkl": "1", "date": 3}):
        assert writer({"written": written}) is None
