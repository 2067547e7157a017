"""Model files as earlier versions wrote them → the present form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ase_dkl.arrays import Floats

_BLOCK = re.compile(r"extractor\.blocks?\.?(\d+)\.weight")


def modern(
    version: int, header: dict[str, Any], tensors: dict[str, Floats]
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Header and tensors of a file of an older format as the present one has them.

    Raises:
        KeyError: something is missing.
    """
    if version < 3:
        # All networks of a mixture were trained on all rows before there was a choice.
        header = {**header, "config": {"folds": False, **header["config"]}}
    if version < 2:
        header, tensors = _second(header, tensors)
    report, tensors = dict(header["report"]), dict(tensors)
    noises = {"value": report.pop("energy_noise"), "strain": report.pop("derivative_noise")}
    report["noise"] = {kind: noise for kind, noise in noises.items() if noise is not None}
    for kind, name in (("value", "value_noise"), ("strain", "derivative_noise")):
        tensors[f"posterior.noise.{kind}"] = tensors.pop(f"posterior.{name}")
    units = {name.removeprefix("energy_"): number for name, number in header["energy"].items()}
    header = {**header, "report": report, "scaling": {**units, "quantity": "energy"}}
    if header.get("calibration") is not None:
        folds = header["calibration"]["folds"]
        kinds = {name: {"energy": "value", "stress": "strain"}[name] for name in folds}
        tensors |= {f"calibration.{kind}": tensors.pop(f"calibration.{name}") for name, kind in kinds.items()}
        header["calibration"] |= {"folds": {kind: folds[name] for name, kind in kinds.items()}}
    return header, tensors


def _second(header: dict[str, Any], tensors: dict[str, Floats]) -> tuple[dict[str, Any], dict[str, Floats]]:
    """The same of a file of format 1, as format 2 has them."""
    if "energy" not in header:
        energy = {name: float(tensors[f"scaling.{name}"]) for name in ("energy_shift", "energy_scale")}
        return {**header, "energy": energy}, _of_modules(tensors)
    # Which noise each process had was not kept; the report has their mean.
    networks, report = len(tensors["posterior.weights"]), header["report"]
    noises = {"value": report["energy_noise"], "derivative": report["derivative_noise"] or report["energy_noise"]}
    more = {
        f"posterior.{kind}_noise": np.full(networks, noise / header["energy"]["energy_scale"])
        for kind, noise in noises.items()
    }
    return header, tensors | more


def _of_modules(tensors: Mapping[str, Floats]) -> dict[str, Floats]:
    """From the parameters of torch modules, which the first files held."""
    found = {name: tensors[name] for name in ("cells", "scaling.images", "scaling.centre", "scaling.scale")}
    # "block1", or "blocks.0" before that
    blocks = {int(re.sub(r"\D", "", name)): name.removesuffix(".weight") for name in tensors if _BLOCK.fullmatch(name)}
    layers = ["extractor.first", *(blocks[i] for i in sorted(blocks)), "extractor.last"]
    for i, layer in enumerate(layers):
        found |= {f"layer{i}.{name}": tensors[f"{layer}.{name}"] for name in ("weight", "bias")}
    points = tensors["process.gp.inducing_points"]
    if "process.head" in tensors:
        # [T_Z padded, T, w]
        head, m = tensors["process.head"], points.shape[1]
        whitening, factor, weights = head[:, :m, :m], head[..., m:-1], head[..., -1]
    else:
        whitening, factor = tensors["process.whitening"], tensors["process.factor"]
        weights = tensors["process.weights"][..., 0]
    process = {
        "points": points,
        "lengthscale": np.exp(tensors["process.gp.kernel.log_lengthscale"]),
        "scale": np.exp(tensors["process.gp.kernel.log_scale"]),
        "whitening": whitening,
        "factor": factor,
        "weights": weights,
        "value_noise": np.exp(tensors["process.gp.log_value_noise"]),
        "derivative_noise": np.exp(tensors["process.gp.log_derivative_noise"]),
    }
    return found | {f"posterior.{name}": array for name, array in process.items()}
