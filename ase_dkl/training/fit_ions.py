"""A data set of free ions → a model of them."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace

import numpy as np
from ase.units import GPa
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ase_dkl.crystal.lattice import volumes
from ase_dkl.dataset import Dataset
from ase_dkl.model.evaluation import evaluate, judged
from ase_dkl.model.ion_labels import KINDS, IonLabels, units_of
from ase_dkl.model.ionic_surrogate import IonicSurrogate
from ase_dkl.model.layout import VALUE
from ase_dkl.model.pairs import Pairs
from ase_dkl.model.records import BadTraining, Evaluation, IonConfig, TrainingReport
from ase_dkl.training.local import Trained, memory, train

MUCH = 4 * 2**30
"""Bytes that are told of before training takes them."""
_log = logging.getLogger(__name__)


def fit_ions(
    dataset: Dataset,
    config: IonConfig | None = None,
    *,
    test: Dataset | None = None,
    held_out: Evaluation | None = None,
    progress: bool = True,
) -> IonicSurrogate:
    """Train a model of free ions on energies, forces and stresses, as far as there are any.

    Args:
        dataset: labelled structures of one crystal, molecule or cluster, with `ions` free.
        config: how to train.
        test: rows to measure the model's errors on, for its report.
        held_out: errors that an earlier model, trained without these rows, made on them; for the report.
        progress: show what training does.

    Returns:
        The model. The same data, configuration and seed give the same model on the same machine and number of threads.

    Raises:
        BadTraining: ions are not free, there is nothing to learn from, stresses are demanded and there are none, labels
            are absurd, or the machine has not the memory.
        Refused: pairs of ions do not hold the reference together.
    """
    config = config or IonConfig()
    began = time.perf_counter()
    if dataset.crystal.ions != "free":
        raise BadTraining(
            f"Ions of this data set are {dataset.crystal.ions}: it is one of lattices. Use fit, or read it with "
            'ions="free" (--ions free) where rows have forces on displaced ions.'
        )
    if config.stress == "ignore":
        dataset = dataset.without_stresses()
    elif config.stress == "use" and not dataset.has_stress.any():
        raise BadTraining('No row has a stress label, and stress="use" demands some. Use "auto" or "ignore".')
    if not dataset.has_forces.any() and dataset.has_energy.sum() < 2:
        raise BadTraining("There are neither forces nor energies to learn from. Give rows that have some.")
    crystal = dataset.crystal if config.symmetry else dataset.crystal.without_symmetry()
    space, units = Pairs.of(crystal, config.interchange), units_of(dataset)
    labels = IonLabels.of(dataset, space, units)
    _refuse_the_impossible(labels, config)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not progress, transient=True) as bar:
        task = bar.add_task("training", total=None)
        trained = train(labels, config, lambda stage: bar.update(task, description=stage))
    noise = {kind: units.scale * trained.process.noise[kind] for kind in trained.kinds}
    offset = offset_std = None
    if "strain" in noise:
        to_GPa = units.scale / GPa / float(volumes(crystal.cell))
        offset, offset_std = (to_GPa * each for each in trained.offset)
    notes = list(dataset.warnings)
    if not dataset.has_energy.any():
        notes.append("No row has an energy: energies are predicted up to a constant, as differences from zero.")
    report = TrainingReport(
        n_rows=len(dataset),
        n_stress=int(dataset.has_stress.sum()),
        test=None,
        noise={VALUE: 0.0, **noise},
        stress_offset_GPa=offset,
        stress_offset_std_GPa=offset_std,
        singular_values={},
        centre_spread=[],
        fuzzifier=None,
        bound="FITC",
        bound_per_label=trained.evidence,
        steps=trained.steps,
        converged=trained.converged,
        seconds=time.perf_counter() - began,
        dataset=dataset.provenance,
        warnings=tuple(notes),
        n_forces=int(dataset.has_forces.sum()),
    )
    surrogate = IonicSurrogate(space, units, config, report, dataset.points, trained.process)
    surrogate.report = replace(
        report,
        test=held_out if test is None else evaluate(surrogate, test),
        left_out=_left_out(surrogate, labels, dataset, trained),
    )
    return surrogate


def _refuse_the_impossible(labels: IonLabels, config: IonConfig) -> None:
    """Rows that are one structure are refused, and so is what the machine has no memory for; much of it is told."""
    if not labels.space.size(labels.points) > 0:
        raise BadTraining("All rows are the reference itself: no distance between ions changes. Add displaced ones.")
    needed, there = memory(labels, config.n_inducing), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    words = (
        f"Training on {int(labels.known.sum())} labels with up to {config.n_inducing} inducing environments takes "
        f"about {needed / 2**30:.1f} GiB of memory"
    )
    if needed > there:
        raise BadTraining(
            f"{words}, and this machine has {there / 2**30:.1f}. Give a smaller n_inducing, or fewer rows."
        )
    if needed > MUCH:
        _log.warning("%s. A smaller n_inducing, or fewer rows, take less.", words)


def _left_out(surrogate: IonicSurrogate, labels: IonLabels, dataset: Dataset, trained: Trained) -> Evaluation | None:
    """Errors on each structure, predicted by the same process from all others."""
    if trained.left_out is None:
        return None
    errors, covariances = trained.left_out
    scale, n = surrogate.units.scale, len(dataset)
    strains = int((labels.kinds == KINDS.index("strain")).sum())
    means = np.nan_to_num(labels.labels) - errors - labels.offsets * trained.process.weights[-1]
    back = np.zeros((n, 1 + sum(surrogate.space.blocks.values()), labels.labels.shape[1]))
    back[:, 0, 0] = 1
    back[:, 1:, 1 : 1 + strains] = np.linalg.pinv(labels.directions[:, :strains])
    back[:, 1:, 1 + strains :] = labels.directions[:, strains:].mT
    means = scale * (back @ means[..., None])[..., 0]
    means[:, 0] += surrogate.units.shift
    stds = scale * np.sqrt(np.maximum(np.einsum("nij,njk,nik->ni", back, covariances, back, optimize=True), 0))
    prediction = surrogate.as_labels(dataset.cells, means, stds)
    return judged(prediction, dataset, surrogate.stress_offset)
