"""The feature extractor in training: a residual network with soft spectral normalisation.

Source: spectral normalisation of residual branches for distance awareness: Liu et al., NeurIPS 2020 (SNGP); the soft
form and its use under a deep kernel: van Amersfoort et al., arXiv:2102.11409 (DUE).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ase_dkl.arrays import Floats
from ase_dkl.model.features import propagate


class SpectralLinear(nn.Module):
    """K linear maps whose largest singular values are held at or below a coefficient: W / max(1, s / c').

    s comes from one power iteration a call while training. ``coefficient=None`` leaves the weights alone.
    """

    left: Tensor

    def __init__(self, networks: int, inputs: int, outputs: int, coefficient: float | None) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(networks, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(networks, 1, outputs).uniform_(-bound, bound))
        self.coefficient = coefficient
        self.register_buffer("left", nn.functional.normalize(torch.randn(networks, inputs, 1), dim=1))

    def normalised_weight(self) -> Tensor:
        """The weights that act, shape (K, inputs, outputs)."""
        if self.coefficient is None:
            return self.weight
        with torch.no_grad():
            right = nn.functional.normalize(self.weight.mT @ self.left, dim=1)
            left = nn.functional.normalize(self.weight @ right, dim=1)
            if self.training:
                self.left.copy_(left)
        norm = left.mT @ self.weight @ right
        normalised: Tensor = self.weight / (norm / self.coefficient).clamp(min=1.0)
        return normalised

    def fold(self) -> None:
        """Replace the weights by the normalised ones, scaled with their exact singular values, for good."""
        if self.coefficient is None:
            return
        with torch.no_grad():
            norm = torch.linalg.matrix_norm(self.weight, ord=2, keepdim=True)
            self.weight.div_((norm / self.coefficient).clamp(min=1.0))
        self.coefficient = None

    def numpy(self) -> tuple[Floats, Floats]:
        """Copies of weights and biases, for predictions."""
        return self.weight.detach().numpy().copy(), self.bias.detach().numpy().copy()


class FeatureExtractor(nn.Module):
    """K residual networks from image coordinates to features.

    First layer d → width, ``depth`` residual blocks x + silu(W x + b), the mean over the images, a last linear map to
    ``n_features``. Only the residual branches are normalised: the first and last layers set scales, and the average
    over images has no lower bound anyway.
    """

    def __init__(
        self, networks: int, inputs: int, n_features: int, *, width: int, depth: int, coefficient: float | None
    ) -> None:
        super().__init__()
        self.first = SpectralLinear(networks, inputs, width, None)
        self.blocks = [SpectralLinear(networks, width, width, coefficient) for _ in range(depth)]
        for i, block in enumerate(self.blocks):
            self.add_module(f"block{i + 1}", block)
        self.last = SpectralLinear(networks, width, n_features, None)

    def forward(self, coordinates: Tensor, tangents: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Features and their derivatives; see `propagate`."""
        layers = [(layer.normalised_weight(), layer.bias) for layer in self.layers]
        features, derivatives = propagate(layers, silu, coordinates, tangents)
        return features, derivatives

    @torch.no_grad()
    def set(self, layers: Sequence[tuple[Floats, Floats]]) -> None:
        """Take the weights and biases of trained networks of the same shape."""
        for layer, (weight, bias) in zip(self.layers, layers, strict=True):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))

    @property
    def layers(self) -> list[SpectralLinear]:
        """First layer, residual branches, last layer."""
        return [self.first, *self.blocks, self.last]


class _SiLUWithTangents(torch.autograd.Function):
    """y = silu(z) and ẏ = silu'(z) ż in one pass.

    Autograd alone would keep and revisit a dozen temporaries the size of the tangents.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, values: int) -> Tensor:
        stacked = rows.unflatten(1, (-1, values))
        z = stacked[:, :1]
        gate = torch.sigmoid(z)
        slope = gate * (1 + z * (1 - gate))
        output = stacked * slope
        torch.mul(z, gate, out=output[:, :1])
        ctx.save_for_backward(stacked, gate, slope)
        flat: Tensor = output.flatten(1, 2)
        return flat

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        stacked, gate, slope = ctx.saved_tensors
        gradient = gradients[0].reshape(stacked.shape)
        curvature = gate * (1 - gate) * (2 + stacked[:, :1] * (1 - 2 * gate))
        result: Tensor = gradient * slope
        result[:, :1] += curvature * (gradient[:, 1:] * stacked[:, 1:]).sum(1, keepdim=True)
        return result.flatten(1, 2), None


def silu(rows: Tensor, values: int) -> Tensor:
    """SiLU of the values, and its slope times the tangents, shape (K, rows, width); see `propagate`."""
    if rows.shape[1] == values:
        activated: Tensor = nn.functional.silu(rows)
        return activated
    output: Tensor = _SiLUWithTangents.apply(rows, values)  # type: ignore[no-untyped-call]
    return output
