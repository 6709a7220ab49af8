"""The networks s and t of a coupling layer (Dinh et al. 2017, sections 3.7 and 4.1)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.nn.flow import Image

Input = Float[Tensor, "batch in height width"]
Output = Float[Tensor, "batch out height width"]

# of the released code; the paper names none
EPSILON = 1e-4


class WeightNormConv2d(nn.Module):
    """A convolution whose filters have unit norm, times a learned gain for each (Salimans & Kingma 2016).

    Stride 1, padded with zeros to the size of its input.

    Args:
        gain: learn the norm of the filters; leave it out where batch normalisation follows and undoes it.
        bias: learn an offset for each output channel; leave it out where batch normalisation follows and undoes it.
    """

    gain: Float[Tensor, " out"] | None
    bias: Float[Tensor, " out"] | None

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, gain: bool, bias: bool) -> None:
        super().__init__()
        self.padding = kernel_size // 2
        self.direction = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.register_parameter("gain", nn.Parameter(torch.empty(out_channels)) if gain else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_channels)) if bias else None)
        # only the direction of a filter matters, but its length decides how fast Adam can turn it: the released code's
        bound = math.sqrt(2 / in_channels)
        nn.init.uniform_(self.direction, -bound, bound)
        if self.gain is not None:
            nn.init.constant_(self.gain, kernel_size / math.sqrt(6))

    def forward(self, x: Input) -> Output:
        weight = F.normalize(self.direction.flatten(1), dim=1).view_as(self.direction)
        if self.gain is not None:
            weight = weight * self.gain.view(-1, 1, 1, 1)
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class ResidualBlock(nn.Module):
    """`x + conv(relu(norm(conv(relu(norm(x))))))`: pre-activation, as in He et al. 2016."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(channels, EPSILON),
            nn.ReLU(),
            WeightNormConv2d(channels, channels, 3, gain=False, bias=False),
            nn.BatchNorm2d(channels, EPSILON),
            nn.ReLU(),
            WeightNormConv2d(channels, channels, 3, gain=True, bias=False),
        )

    def forward(self, x: Image) -> Image:
        return x + self.branch(x)


class ResidualNetwork(nn.Module):
    """Residual blocks, each of which also reaches the output through a skip connection of its own.

    The normalised input enters as its positive and its negative part, so that no half of it is lost in the first ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        hidden_channels: feature maps in between.
        blocks: residual blocks.
    """

    def __init__(self, in_channels: int, out_channels: int, hidden_channels: int, blocks: int) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(in_channels, EPSILON)
        self.input = WeightNormConv2d(2 * in_channels, hidden_channels, 3, gain=False, bias=False)
        self.blocks = nn.ModuleList(ResidualBlock(hidden_channels) for _ in range(blocks))
        self.skips = nn.ModuleList(
            WeightNormConv2d(hidden_channels, hidden_channels, 1, gain=True, bias=False) for _ in range(blocks + 1)
        )
        self.output_norm = nn.BatchNorm2d(hidden_channels, EPSILON)
        self.output = WeightNormConv2d(hidden_channels, out_channels, 1, gain=True, bias=True)

    def forward(self, x: Input) -> Output:
        x = self.input_norm(x)
        hidden = self.input(torch.cat([x, -x], dim=1).relu())
        collected = self.skips[0](hidden)
        for block, skip in zip(self.blocks, self.skips[1:], strict=True):
            hidden = block(hidden)
            collected = collected + skip(hidden)
        return self.output(self.output_norm(collected).relu())


class ShiftAndLogScale(nn.Module):
    """t and s of eq. 7: one network with two outputs, s bounded by a tanh times a learned factor (section 4.1).

    The factor starts at 0: every coupling starts volume-preserving.
    """

    def __init__(self, in_channels: int, out_channels: int, hidden_channels: int, blocks: int) -> None:
        super().__init__()
        self.network = ResidualNetwork(in_channels, 2 * out_channels, hidden_channels, blocks)
        self.factor = nn.Parameter(torch.zeros(()))

    def forward(self, x: Input) -> tuple[Output, Output]:
        # the networks may run in half precision (autocast), the flow and its log-determinants do not
        shift, log_scale = self.network(x).to(x.dtype).chunk(2, dim=1)
        return shift, self.factor * log_scale.tanh()
