"""Layers that query decoder and embedding heads share."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FourierPosition(nn.Module):
    """Coordinates as sines and cosines of random directions, then a linear layer (Tancik et al. 2020).

    Args:
        width: channels of the result.
        num_frequencies: number of random directions.
        scale: standard deviation of the directions in radians per meter.
    """

    directions: Tensor

    def __init__(self, width: int, num_frequencies: int = 32, scale: float = 1.5) -> None:
        super().__init__()
        self.register_buffer("directions", torch.randn(3, num_frequencies) * scale)
        self.linear = nn.Linear(2 * num_frequencies, width)

    def forward(self, xyz: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n width"]:
        phase = xyz @ self.directions
        return self.linear(torch.cat([phase.sin(), phase.cos()], dim=-1))


def mlp(width: int, out_channels: int, activation: type[nn.Module] = nn.GELU) -> nn.Sequential:
    """Two linear layers with an activation between them."""
    return nn.Sequential(nn.Linear(width, width), activation(), nn.Linear(width, out_channels))
