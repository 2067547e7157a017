"""Other people's force fields, in an environment of their own: run by `ions.py`, which judges what they predict.

    python _ions_peers.py NAME rows.npz predicted.npz

`rows.npz` holds rows in the order of a reference: its `numbers`, `reference` and `cell`; `positions`, `forces` and
`energies` of the rows to train on, and `test_positions`; Å, eV. Answered are `forces`, `energies` where a peer has
them, the `seconds` of its training (processor time), and in `chosen` what its search took.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]

LENGTH_SCALES = (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90)
"""Of sGDML's kernel: its own range, and shorter ones."""
HELD_OUT = 5
"""One row in so many judges a length scale."""
CUTOFFS = [5.6, 4.0, 3.0]
"""Å. Of clusters of two, three and four atoms: larger ones of four take minutes to hours, and hardly help."""
REPEATS = 2
REGRESSIONS = ("least-squares", "ardr")
FOLDS = 5


def seconds() -> float:
    """Processor time of this process, and of those that it started and that have ended."""
    return sum(os.times()[:4])


def sgdml(rows: Arrays) -> dict[str, Any]:
    """Symmetric gradient-domain machine learning, its length scale from held-out rows, then trained on all.

    Source: Chmiela et al., Nat. Commun. 9, 3887 (2018).
    """
    from sgdml.predict import GDMLPredict
    from sgdml.train import GDMLTrain

    def dataset(index: Any) -> dict[str, Any]:
        return {
            "type": "d",
            "name": np.array("rows"),
            "theory": np.array("unknown"),
            "z": rows["numbers"],
            "R": rows["positions"][index],
            "F": rows["forces"][index],
            "E": rows["energies"][index],
        }

    def predict(model: Any, positions: Any) -> tuple[Any, Any]:
        energies, forces = GDMLPredict(model, max_processes=1).predict(positions.reshape(len(positions), -1))
        return energies, forces.reshape(positions.shape)

    training = GDMLTrain(max_processes=1)

    def trained(index: Any, scales: tuple[int, ...]) -> dict[int, Any]:
        """Models of each length scale; the search for permutations is done once."""
        data = dataset(index)
        # It asks for rows to validate on, and does not look at them.
        task = training.create_task(data, len(index), dataset(every[:2]), 1, sig=1)
        return {scale: training.train({**task, "sig": scale}) for scale in scales}

    every = np.random.default_rng(0).permutation(len(rows["positions"]))
    began = seconds()
    held, kept = every[: len(every) // HELD_OUT], every[len(every) // HELD_OUT :]
    errors = {}
    for scale, model in trained(kept, LENGTH_SCALES).items():
        error = predict(model, rows["positions"][held])[1] - rows["forces"][held]
        errors[scale] = float(np.sqrt(np.mean(error**2)))
    best = min(errors, key=lambda scale: errors[scale])
    model = trained(every, (best,))[best]
    took = seconds() - began
    energies, forces = predict(model, rows["test_positions"])
    chosen = f"length scale {best}, {len(model['perms'])} permutations"
    return {"energies": energies, "forces": forces, "seconds": took, "chosen": chosen}


def hiphive(rows: Arrays) -> dict[str, Any]:
    """Force constants of the second to fourth order, the kind of regression by cross-validation.

    Clusters must be shorter than half the supercell, where half of it is a lattice constant that matters. The same rows
    twice along each axis are rows of a larger supercell.

    Source: Eriksson, Fransson & Erhart, Adv. Theory Simul. 2, 1800184 (2019).
    """
    from ase import Atoms
    from hiphive import ClusterSpace
    from hiphive.force_constant_model import ForceConstantModel
    from trainstation import CrossValidationEstimator, Optimizer

    small = Atoms(rows["numbers"], rows["reference"], cell=rows["cell"], pbc=True)
    n, copies = len(small), REPEATS**3

    def seen(positions: Any) -> Any:
        """Derivatives of the forces by the parameters, shape (rows * 3 n, parameters)."""
        displacements = (np.tile(each - small.positions, (copies, 1)) for each in positions)
        return np.concatenate([model.get_fit_matrix(each)[: 3 * n] for each in displacements])

    began = seconds()
    model = ForceConstantModel(small.repeat(REPEATS), ClusterSpace(small, CUTOFFS, symprec=1e-3))
    data = seen(rows["positions"]), rows["forces"].ravel()
    errors = {}
    for method in REGRESSIONS:
        search = CrossValidationEstimator(data, fit_method=method, n_splits=FOLDS, validation_method="k-fold")
        search.validate()
        errors[method] = search.rmse_validation
    best = min(errors, key=lambda method: errors[method])
    fitted = Optimizer(data, fit_method=best, train_size=1.0)
    fitted.train()
    took = seconds() - began
    forces = (seen(rows["test_positions"]) @ fitted.parameters).reshape(rows["test_positions"].shape)
    return {"forces": forces, "seconds": took, "chosen": f"{best}, {fitted.n_parameters} parameters"}


PEERS: dict[str, Callable[[Arrays], dict[str, Any]]] = {"sgdml": sgdml, "hiphive": hiphive}

if __name__ == "__main__":
    name, given, answered = sys.argv[1:]
    np.savez(answered, **PEERS[name](dict(np.load(given))))
