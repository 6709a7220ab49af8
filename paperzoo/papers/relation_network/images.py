"""The convolutional network before a relation network, and before its baselines."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, UInt8
from pydantic import PositiveInt
from torch import Tensor, nn


class ConvFeatures(nn.Sequential):
    """Convolutions of 3 x 3 with stride 2, each followed by ReLU and batch normalisation (supplement B and D).

    The order of these two and the padding of 1, which makes 8 x 8 cells of 128 x 128 pixels, are uncertain. Memory is
    laid out channels last, which is faster on a CPU.

    Args:
        channels: kernels of each convolution.
        in_channels: of the image.
    """

    def __init__(self, channels: Sequence[PositiveInt], in_channels: PositiveInt) -> None:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise([in_channels, *channels]):
            layers += [nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1), nn.ReLU(), nn.BatchNorm2d(fan_out)]
        super().__init__(*layers)
        self.to(memory_format=torch.channels_last)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        if not arguments["channels"]:
            yield "channels=[]: should have at least one convolution"

    def forward(self, image: UInt8[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch channel height width"]:
        return super().forward(image.contiguous(memory_format=torch.channels_last) / 255)
