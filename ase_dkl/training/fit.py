"""From labelled structures to a model: what is checked before the training, and what is measured after it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from ase_dkl.crystal import Crystal
from ase_dkl.dataset import Dataset
from ase_dkl.dataset.consistency import untrainable
from ase_dkl.model.evaluation import evaluate
from ase_dkl.model.labels import Labels, Units
from ase_dkl.model.left_out import left_out
from ase_dkl.model.quantity import ENERGY, Quantity
from ase_dkl.model.records import BadTraining, Evaluation, TrainConfig
from ase_dkl.model.space import Lattice
from ase_dkl.model.surrogate import Surrogate, stress_offset_GPa
from ase_dkl.training.algorithm import learn
from ase_dkl.training.batches import folds
from ase_dkl.training.contradiction import contradicted

COLD = 64
"""Rows up to which networks are trained from the beginning: that takes seconds, and gives smaller errors than going on
from networks that were trained on fewer."""


def fit(
    dataset: Dataset,
    config: TrainConfig | None = None,
    *,
    test: Dataset | None = None,
    held_out: Evaluation | None = None,
    start: Surrogate | None = None,
    quantity: Quantity = ENERGY,
    progress: bool = True,
) -> Surrogate:
    """Train a model.

    Args:
        dataset: labelled cells of one crystal.
        config: how to train; the default is what the project's benchmarks use.
        test: rows to measure the model's errors on, for its report.
        start: an earlier model of the crystal with the same configuration. With more than 64 rows training goes on
            from it, in a third of the steps and in its units; fewer are trained from the beginning.
        held_out: errors that an earlier model, trained without these rows, made on them; for the report.
        quantity: what the labels are of.
        progress: show a progress bar with the bound.

    Returns:
        The model. The same data, configuration and seed give the same model on the same machine and number of threads.

    Raises:
        BadTraining: the rows tell nothing, their numbers are absurd, stress labels are demanded and there are none, or
            there is no going on from `start`.
    """
    config = config or TrainConfig()
    began = time.perf_counter()
    if dataset.crystal.ions == "free":
        raise BadTraining(
            "In this data set ions are free: fit_ions trains a model of them. For one of the lattice alone leave out "
            "rows with displaced ions."
        )
    if config.stress == "ignore" or not quantity.slopes:
        dataset = dataset.without_stresses()
    elif config.stress == "use" and not dataset.has_stress.any():
        raise BadTraining('No row has a stress label, and stress="use" demands some. Use "auto" or "ignore".')
    if problem := untrainable(dataset):
        raise BadTraining(problem)
    crystal = dataset.crystal if config.symmetry else dataset.crystal.without_symmetry()

    if start is not None:
        _check_start(start, crystal, config, quantity)
        start = start if len(dataset) > COLD else None
    contradictions = contradicted(dataset)
    space = Lattice.of(crystal, dataset.cells) if start is None else start.space.knowing(dataset.cells)
    units = Units.standardising(dataset.energies, quantity) if start is None else start.units
    labels = Labels.of(dataset, space, units)
    with _numerics(dataset):
        trained, report = learn(
            labels,
            config,
            start=start,
            breadth=None if start is None else start.report.mean_breadth,
            progress=progress,
        )

    notes = [*dataset.warnings, *report.warnings]
    if not report.n_stress and quantity.slopes:
        notes.append(
            "No stress labels: standard deviations of the stress, and of what follows from slopes of the energy, may "
            "be too small by half."
        )
    offset, offset_std = stress_offset_GPa(trained.process, labels.units, crystal) if report.n_stress else (None, None)
    report = replace(
        report,
        stress_offset_GPa=offset,
        stress_offset_std_GPa=offset_std,
        seconds=time.perf_counter() - began,
        dataset=dataset.provenance,
        warnings=tuple(notes),
        contradictions=contradictions,
    )
    surrogate = Surrogate(space, labels.units, config, report, dataset.cells, trained.layers, trained.process)
    # What an earlier model's networks have seen is not known here.
    fold = None
    if leaves_out(config, len(dataset)) and start is None and report.bound == "collapsed":
        fold = folds(len(dataset), config)
    surrogate.report = replace(
        report,
        test=held_out if test is None else evaluate(surrogate, test),
        left_out=None if fold is None else left_out(surrogate, dataset.stressed_first(), fold),
    )
    return surrogate


def leaves_out(config: TrainConfig, n: int) -> bool:
    """Whether, of n rows that fit in memory, each is kept from one of the networks while they train."""
    return config.folds and config.bound != "stochastic" and 1 < config.networks <= n


@contextmanager
def _numerics(dataset: Dataset) -> Iterator[None]:
    """Linear algebra that fails, in words."""
    try:
        yield
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise BadTraining(
            "Training ended in numbers that are not finite, or in matrices that are singular. "
            f"Energies, here from {dataset.energies.min():.6g} to {dataset.energies.max():.6g} eV a cell, or stresses "
            "may be absurd in some rows, or lattices too much alike: look for such rows and leave them out."
        ) from error


def _check_start(start: Surrogate, crystal: Crystal, config: TrainConfig, quantity: Quantity) -> None:
    if start.quantity != quantity:
        raise BadTraining(
            f"The model to go on from is one of the {start.quantity.name}, not of the {quantity.name}. Train from the "
            "beginning."
        )
    if replace(start.config, seed=config.seed, steps=config.steps) != config:
        raise BadTraining(
            "The model to go on from has another configuration. Give its own, or train from the beginning."
        )
    if start.crystal.to_dict() != crystal.to_dict():
        raise BadTraining("The model to go on from is of another reference crystal. Train from the beginning.")
