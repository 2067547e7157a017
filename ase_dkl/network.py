"""The feature extractor: a residual network with soft spectral normalisation, averaged over symmetry images.

K networks are held side by side in one leading dimension, so that an ensemble trains and predicts as one batched
computation. Values and tangents (the images of the strain directions) pass through the layers together.

Source: spectral normalisation of residual branches for distance awareness: Liu et al., NeurIPS 2020 (SNGP); the soft
form and its use under a deep kernel: van Amersfoort et al., arXiv:2102.11409 (DUE).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

SILU_LIPSCHITZ = 1.0998
"""The largest slope of SiLU, at x ≈ 2.4: a branch act(W x + b) with ‖W‖ ≤ c' is c' · 1.0998-Lipschitz."""


class SpectralLinear(nn.Module):
    """K linear maps whose largest singular values are held at or below a coefficient: W / max(1, s / c').

    s comes from one power iteration a call while training. ``coefficient=None`` leaves the weights alone.
    """

    def __init__(self, networks: int, inputs: int, outputs: int, coefficient: float | None) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(networks, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(networks, 1, outputs).uniform_(-bound, bound))
        self.coefficient = coefficient
        self.left: Tensor
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


class _SiLUWithTangents(torch.autograd.Function):
    """y = silu(z) and ẏ = silu'(z) ż in one pass, rows of the second dimension being [z, ż_1 … ż_t].

    Autograd alone would keep and revisit a dozen temporaries the size of the tangents.
    """

    @staticmethod
    def forward(ctx: Any, stacked: Tensor) -> Tensor:
        output, gate, slope = _silu_gate_and_slope(stacked)
        ctx.save_for_backward(stacked, gate, slope)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        stacked, gate, slope = ctx.saved_tensors
        curvature = gate * (1 - gate) * (2 + stacked[:, :1] * (1 - 2 * gate))
        result: Tensor = gradient * slope
        result[:, :1] += curvature * (gradient[:, 1:] * stacked[:, 1:]).sum(1, keepdim=True)
        return result


def _silu_gate_and_slope(stacked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    value = stacked[:, :1]
    gate = torch.sigmoid(value)
    slope = gate * (1 + value * (1 - gate))
    output = stacked * slope
    torch.mul(value, gate, out=output[:, :1])
    return output, gate, slope


def _silu_with_tangents(stacked: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        output: Tensor = _SiLUWithTangents.apply(stacked)  # type: ignore[no-untyped-call]
        return output
    return _silu_gate_and_slope(stacked)[0]


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
        self.networks = networks
        self.first = SpectralLinear(networks, inputs, width, None)
        self.blocks = [SpectralLinear(networks, width, width, coefficient) for _ in range(depth)]
        for i, block in enumerate(self.blocks):
            self.add_module(f"block{i + 1}", block)
        self.last = SpectralLinear(networks, width, n_features, None)

    def forward(self, coordinates: Tensor, tangents: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Features, and their derivatives along the directions of the tangents.

        Args:
            coordinates: scaled lattice parameters of each image, shape (n, g, p).
            tangents: their derivatives along t directions, shape (n, g, t, p).

        Returns:
            Features, shape (K, n, f), and their derivatives, shape (K, n, t, f), or None without tangents.
        """
        n, g, p = coordinates.shape
        if tangents is None:
            hidden = _affine(coordinates.reshape(1, n * g, p).expand(self.networks, -1, -1), self.first)
            for block in self.blocks:
                hidden = hidden + nn.functional.silu(_affine(hidden, block))
            return _affine(hidden.view(-1, n, g, hidden.shape[2]).mean(2), self.last), None
        t = tangents.shape[2]
        stacked = torch.cat([coordinates.reshape(1, n * g, p), tangents.permute(2, 0, 1, 3).reshape(t, n * g, p)])
        hidden = _affine_with_tangents(stacked.expand(self.networks, -1, -1, -1), self.first)
        for block in self.blocks:
            hidden = hidden + _silu_with_tangents(_affine_with_tangents(hidden, block))
        features = _affine_with_tangents(hidden.unflatten(2, (n, g)).mean(3), self.last)
        return features[:, 0], features[:, 1:].transpose(1, 2)

    def fold(self) -> None:
        """Make the normalisation part of the weights. Call once, when training ends."""
        for layer in self._layers():
            layer.fold()

    def singular_values(self) -> dict[str, list[float]]:
        """The largest singular value of every layer's acting weights, by layer name, one for each network."""
        names = ["first", *(f"block {i + 1}" for i in range(len(self.blocks))), "last"]
        with torch.no_grad():
            return {
                name: torch.linalg.matrix_norm(layer.normalised_weight(), ord=2).tolist()
                for name, layer in zip(names, self._layers(), strict=True)
            }

    def _layers(self) -> list[SpectralLinear]:
        return [self.first, *self.blocks, self.last]


def _affine(values: Tensor, layer: SpectralLinear) -> Tensor:
    """W h + b, of shape (K, rows, width)."""
    return torch.bmm(values, layer.normalised_weight()) + layer.bias


def _affine_with_tangents(stacked: Tensor, layer: SpectralLinear) -> Tensor:
    """W h + b for the value (row 0 of the second dimension), W ḣ for the tangents."""
    product: Tensor = torch.bmm(stacked.flatten(1, 2), layer.normalised_weight()).unflatten(1, stacked.shape[1:3])
    product[:, :1] += layer.bias.unsqueeze(1)
    return product
