import json

import pytest

from ase_dkl.model.records import BadTraining, TrainConfig, TrainingReport
from ase_dkl.model.surrogate import Surrogate


def test_the_bare_method_switches_every_addition_off() -> None:
    bare = TrainConfig.paper(n_inducing=10, seed=3)
    assert (bare.networks, bare.n_inducing, bare.seed) == (1, 10, 3)
    assert (bare.symmetry, bare.stress, bare.mean, bare.bound) == (False, "ignore", "constant", "stochastic")
    assert not bare.natural_gradients
    assert bare.weight_decay == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"networks": 0}, "networks is 0"),
        ({"steps": -1}, "steps is -1"),
        ({"kernel": "linear"}, "kernel is 'linear'; choose one of rbf, matern52"),
        ({"inducing": "grid"}, "inducing is 'grid'; choose one of fuzzy, kmeans, random"),
        ({"stress": "yes"}, "stress is 'yes'"),
        ({"learning_rate": -0.01}, "learning_rate is -0.01; it is a finite number and at least 0"),
        ({"gp_rate": float("inf")}, "gp_rate is inf"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(BadTraining, match=message):
        TrainConfig(**values)  # type: ignore[arg-type]


def test_a_report_survives_json(surrogate: Surrogate) -> None:
    text = json.dumps(surrogate.report.to_dict(), allow_nan=False)
    assert TrainingReport.from_dict(json.loads(text)) == surrogate.report
