"""What a surrogate answers with."""

from __future__ import annotations

from dataclasses import dataclass

from ase_dkl.arrays import Floats


@dataclass(frozen=True)
class Prediction:
    """Predictions for n structures. An uncertainty is one standard deviation of the model; the labels' noise is apart.

    Attributes:
        energy: eV, shape (n,).
        energy_uncertainty: eV, shape (n,).
        energy_noise: standard deviation of the training labels' noise, eV, shape (n,).
        stress: eV/Å³, Voigt xx yy zz yz xz xy, tension positive, in each structure's own frame, shape (n, 6); None
            where not asked for. The energy's own derivative: it contains no offset of the labels.
        stress_uncertainty: eV/Å³, shape (n, 6), or None.
        stress_noise: eV/Å³, shape (n, 6), or None.
    """

    energy: Floats
    energy_uncertainty: Floats
    energy_noise: Floats
    stress: Floats | None = None
    stress_uncertainty: Floats | None = None
    stress_noise: Floats | None = None


@dataclass(frozen=True)
class JointPosterior:
    """The joint Gaussian of [E_1 … E_n, ∂E_1/∂ε_1 … ∂E_1/∂ε_6, ∂E_2/∂ε_1 …], per reference cell, eV.

    Attributes:
        mean: shape (7 n,), or (n,) of energies alone.
        covariance: without label noise, eV², shape (7 n, 7 n) or (n, n).
    """

    mean: Floats
    covariance: Floats
