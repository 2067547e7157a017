"""How coordinates pass through the networks: layer by layer, values and tangents together, averaged over the images.

K networks are held side by side in one leading dimension. Rows hold values first and then the tangents, direction by
direction, so that a layer is one product for all of them. Written for NumPy arrays and torch tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ase_dkl.arrays import Array, Floats, namespace


def propagate(
    layers: Sequence[tuple[Array, Array]],
    activate: Callable[[Array, int], Array],
    coordinates: Array,
    tangents: Array | None,
) -> tuple[Array, Array | None]:
    """Features, and their derivatives along the directions of the tangents.

    Args:
        layers: weights, shape (K, inputs, outputs), and biases, shape (K, 1, outputs): the first layer, the residual
            branches, the last layer.
        activate: maps rows in place of y = act(z) and ẏ = act'(z) ż; its second argument is how many rows are values.
        coordinates: scaled lattice parameters of each image, shape (n, g, p).
        tangents: their derivatives along t directions, shape (n, g, t, p).

    Returns:
        Features, shape (K, n, f), and their derivatives, shape (K, n, t, f), or None without tangents.
    """
    n, g, p = coordinates.shape
    rows = coordinates.reshape(1, n * g, p)
    if tangents is not None:
        xp = namespace(coordinates)
        rows = xp.concatenate([rows, xp.moveaxis(tangents, 2, 0).reshape(1, -1, p)], 1)
    hidden = _affine(rows, layers[0], n * g)
    for branch in layers[1:-1]:
        hidden = hidden + activate(_affine(hidden, branch, n * g), n * g)
    networks, _, width = hidden.shape
    mean = hidden.reshape(networks, -1, g, width).mean(2)
    features = _affine(mean, layers[-1], n)
    if tangents is None:
        return features, None
    derivatives = features[:, n:].reshape(networks, -1, n, features.shape[2])
    return features[:, :n], namespace(coordinates).moveaxis(derivatives, 1, 2)


def silu(rows: Floats, values: int) -> Floats:
    """SiLU of the values, and its slope times the tangents, in place of the rows."""
    z = rows[:, :values]
    # 1 / (1 + exp(−z)) in place: large arrays cost more to allocate than to fill.
    gate = np.negative(z)
    np.exp(gate, out=gate)
    gate += 1
    np.divide(1, gate, out=gate)
    if rows.shape[1] > values:
        slope = gate * (1 + z * (1 - gate))
        tangents = rows[:, values:].reshape(len(rows), -1, values, rows.shape[2])
        tangents *= slope[:, None]
    z *= gate
    return rows


def _affine(rows: Array, layer: tuple[Array, Array], values: int) -> Array:
    """W h + b for values, W ḣ for tangents."""
    weight, bias = layer
    product = rows @ weight
    product[:, :values] += bias
    return product
