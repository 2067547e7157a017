import numpy as np
import pytest

from ase_dkl import Surrogate, mos2
from ase_dkl.active.acquisition import ACQUISITIONS, Acquisition, choose
from ase_dkl.active.box import Box
from ase_dkl.active.target import Target
from ase_dkl.arrays import Floats
from ase_dkl.dataset import Dataset
from ase_dkl.model.conditioning import conditioned
from ase_dkl.model.records import TrainConfig
from ase_dkl.training.fit import fit


@pytest.fixture(scope="module")
def candidates(surrogate: Surrogate) -> Floats:
    return Box().design(surrogate.crystal, 24, seed=7)


def labelled(surrogate: Surrogate, cells: Floats) -> Dataset:
    """What the labels say plays no part in a variance: the surrogate's own predictions will do."""
    prediction = surrogate.predict_cells(cells)
    assert prediction.stress is not None
    return Dataset(surrogate.crystal, cells, prediction.energy, prediction.stress, np.arange(len(cells)), {}, ())


@pytest.mark.parametrize("kind", ACQUISITIONS)
def test_as_many_as_asked_for_and_none_twice(surrogate: Surrogate, candidates: Floats, kind: Acquisition) -> None:
    chosen = choose(surrogate, candidates, 6, kind=kind)
    assert len(set(chosen.index.tolist())) == len(chosen.reasons) == 6
    again = choose(surrogate, candidates, 6, kind=kind)
    assert np.array_equal(chosen.index, again.index)


def test_variance_takes_the_lattice_whose_label_leaves_the_least(surrogate: Surrogate, candidates: Floats) -> None:
    """By conditioning the joint Gaussian on each label in turn."""
    n = len(candidates)
    joint = surrogate.posterior(candidates).covariance
    slopes = surrogate.report.derivative_noise
    assert slopes is not None
    noise = np.diag([surrogate.report.energy_noise**2, *[slopes**2] * 6])
    left = []
    for i in range(n):
        label = [i, *range(n + 6 * i, n + 6 * i + 6)]
        shared = joint[:n, label]
        known = joint[:n, :n] - shared @ np.linalg.inv(joint[np.ix_(label, label)] + noise) @ shared.T
        left.append(np.trace(known))
    chosen = choose(surrogate, candidates, 1)
    assert chosen.index[0] == np.argmin(left)
    assert f"takes {1 - min(left) / np.trace(joint[:n, :n]):.0%} of the variance over the box" in chosen.reasons[0]


def test_largest_begins_with_the_largest_uncertainty(surrogate: Surrogate, candidates: Floats) -> None:
    sigma = surrogate.predict_cells(candidates, stress=False).energy_uncertainty
    chosen = choose(surrogate, candidates, 1, kind="largest")
    assert chosen.index[0] == sigma.argmax()
    assert chosen.reasons[0] == f"largest σ, {1e3 * sigma.max():.2g} meV"


@pytest.mark.parametrize("kind", ["variance", "conditional", "largest"])
def test_what_is_pending_counts_as_known(surrogate: Surrogate, candidates: Floats, kind: Acquisition) -> None:
    """A batch is chosen one by one: with the first pending, the second comes next."""
    batch = choose(surrogate, candidates, 3, kind=kind).index
    others = np.delete(np.arange(len(candidates)), batch[0])
    rest = choose(surrogate, candidates[others], 2, kind=kind, pending=candidates[batch[:1]]).index
    # What a label takes from the mean over the box depends on what the box is, and there is one lattice less in it.
    agree = batch[1:] if kind != "variance" else batch[1:2]
    assert np.array_equal(others[rest][: len(agree)], agree)


def test_stresses_make_a_label_worth_more(surrogate: Surrogate, candidates: Floats) -> None:
    def share(stress: bool) -> float:
        return float(choose(surrogate, candidates, 1, stress=stress).reasons[0].split("%")[0].split()[-1])

    assert share(True) > share(False) > 0


def test_a_target_is_reduced_most_by_what_is_chosen_for_it(surrogate: Surrogate, candidates: Floats) -> None:
    target = Target("C44", 1.0)

    def left(index: int) -> float:
        model = conditioned(surrogate, labelled(surrogate, candidates[index][None]))
        return target.evaluate(model).std

    chosen = choose(surrogate, candidates, 1, target=target)
    stds = [left(i) for i in range(0, len(candidates), 3)]
    # The model's update leaves alone what its inducing points do not explain; the choice does not.
    assert left(int(chosen.index[0])) <= min(stds) * 1.05
    assert chosen.reasons[0].endswith("% of the variance of C44")


def test_controls_ask_no_model(surrogate: Surrogate, candidates: Floats) -> None:
    assert choose(surrogate, candidates, 4, kind="sobol").index.tolist() == [0, 1, 2, 3]
    first, second = (choose(surrogate, candidates, 4, kind="random", seed=seed).index for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_sheets() -> None:
    dataset = Dataset.read(mos2(), select="set=pool")
    model = fit(dataset, TrainConfig(networks=1, steps=20), progress=False)
    cells = Box((-0.02, 0.02), (-2, 2)).design(model.crystal, 12)
    for kind in ("variance", "conditional", "largest"):
        assert len(set(choose(model, cells, 3, kind=kind, pending=cells[:1]).index.tolist())) == 3


def test_what_cannot_be_chosen_is_told(surrogate: Surrogate, candidates: Floats) -> None:
    with pytest.raises(ValueError, match="no acquisition 'entropy'; choose one of variance"):
        choose(surrogate, candidates, 1, kind="entropy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="25 lattices cannot be chosen among 24"):
        choose(surrogate, candidates, 25)
