"""A small one of the study in examples/benchmarks/coverage.py: do error bars hold what is known to be true?"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

STUDY = Path(__file__).parent.parent / "examples" / "benchmarks" / "coverage.py"


@pytest.mark.slow
def test_intervals_hold_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDY.parent))
    spec = importlib.util.spec_from_file_location("coverage_study", STUDY)
    assert spec is not None
    assert spec.loader is not None
    study = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "coverage_study", study)
    spec.loader.exec_module(study)
    scores = np.array([study.one(seed=1, index=index, quick=False)[2] for index in range(5)])
    # V0, B0, C11, C12 and C44 of five crystals: 25 intervals, of which 95 % should hold.
    assert (np.abs(scores) < study.IN_95).mean() >= 0.8
    # Nor are they so wide that nothing could fall outside.
    assert np.median(np.abs(scores)) > 0.2
