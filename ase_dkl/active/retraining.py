"""When networks are trained again on what has been learnt: one rule, of campaigns and of `ActiveCalculator`.

In between, the Gaussian processes are conditioned on new labels, which takes a moment and is exact. The networks are
trained again when there are a quarter more labels than at their last training, so that all trainings together take a
few times as long as the last one; where the latest labels were further off than expected, when there are 5 % more.
"""

from ase_dkl.active.stopping import SURPRISE

GROWTH, GROWTH_SURPRISED, GROWTH_LARGE = 1.25, 1.05, 2.0
"""Labels, in units of those at the last training, at which training is due: usually, after a surprise, and of many."""
LARGE = 512
"""Labels that networks were trained on above which more of them hardly change the networks, and training takes long."""


def due(labels: int, trained_on: int, factor: float) -> bool:
    """Whether networks are to be trained again.

    Args:
        labels: that there are.
        trained_on: that there were at the last training.
        factor: `calibration` of the latest ones, a surprise above `SURPRISE`.
    """
    if trained_on > LARGE:
        return labels >= GROWTH_LARGE * trained_on
    return labels >= (GROWTH_SURPRISED if factor > SURPRISE else GROWTH) * trained_on
