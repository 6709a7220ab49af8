"""The layers inside and between Glow's coupling networks (Kingma & Dhariwal 2018, section 3; openai/glow).

Activation normalisation is never run as a layer of its own in training: being affine in each channel, it is folded
into the weights of the convolution before or after it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.nn.flow import Image, PerImage

# Log-scales are stored divided by 3: gradient steps move them three times as far.
LOG_SCALE_FACTOR = 3.0
HIDDEN_WEIGHT_STD = 0.05

Half = Float[Tensor, "batch half_channel height width"]
Output = Float[Tensor, "batch out_channel height width"]
Kernel = Float[Tensor, "out_channel in_channel kernel_height kernel_width"]


class ActNorm(nn.Module):
    """Activation normalisation, `y = (x + bias) * exp(log_scale)` for each channel (section 3.1).

    Set from one batch so that y has mean 0 and standard deviation 1 there; parameters like any others afterwards.
    """

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale_parameter = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(False))

    @property
    def log_scale(self) -> Float[Tensor, " channel"]:
        """The log-determinant of one pixel is the sum of these."""
        return LOG_SCALE_FACTOR * self.log_scale_parameter

    def forward(self, x: Image) -> Image:
        return (x + self.bias.view(-1, 1, 1)) * self.log_scale.exp().view(-1, 1, 1)

    def fold_into_next(
        self, matrix: Float[Tensor, "out channel"]
    ) -> tuple[Float[Tensor, "out channel"], Float[Tensor, " out"]]:
        """Matrix and bias of this normalisation followed by a matrix over the channels."""
        scaled = matrix * self.log_scale.exp()
        return scaled, scaled @ self.bias

    def fold_into_previous(self, kernel: Kernel) -> tuple[Kernel, Float[Tensor, " out_channel"]]:
        """Kernel and bias of a convolution without bias followed by this normalisation."""
        scale = self.log_scale.exp()
        return kernel * scale.view(-1, 1, 1, 1), scale * self.bias

    @torch.no_grad()
    def initialize(self, x: Image) -> None:
        """Does nothing if the layer has been initialised before."""
        if self.initialized:
            return
        std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
        self.bias.copy_(-mean)
        self.log_scale_parameter.copy_(-torch.log(std + 1e-6) / LOG_SCALE_FACTOR)
        self.initialized.fill_(True)


def conv3x3(
    x: Image, kernel: Float[Tensor, "out_channel in_channel 3 3"], bias: Float[Tensor, " out_channel"]
) -> Output:
    """A 3x3 convolution with zero padding, computed in x's precision.

    If the kernel has one input channel more than x, that channel is 1 on the padding and 0 inside, which tells the
    network where the border is ("edge bias" in openai/glow).
    """
    kernel, bias = kernel.to(x.dtype), bias.to(x.dtype)
    if kernel.shape[1] == x.shape[1]:
        return F.conv2d(x, kernel, bias, padding=1)
    padding = (1, 1, 1, 1)
    border = F.pad(x.new_zeros(1, 1, *x.shape[2:]), padding, value=1.0)
    if x.shape[1] < kernel.shape[0]:
        padded = torch.cat([F.pad(x, padding), border.expand(len(x), -1, -1, -1)], dim=1)
        return F.conv2d(padded.contiguous(memory_format=torch.channels_last), kernel, bias)
    # What the border adds is the same for all images: compute it once, and spare a copy of the many input channels.
    return F.conv2d(x, kernel[:, :-1], padding=1) + F.conv2d(border, kernel[:, -1:], bias)


class ZeroConv(nn.Module):
    """A 3x3 convolution whose output is 0 at first and is scaled by `exp(log_scale)` for each channel (section 3.3)."""

    def __init__(self, in_channels: int, out_channels: int, edge_bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels + edge_bias, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.log_scale_parameter = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Image) -> Output:
        scale = (LOG_SCALE_FACTOR * self.log_scale_parameter).exp()
        return conv3x3(x, self.weight * scale.view(-1, 1, 1, 1), self.bias * scale)


class ZeroLinear(nn.Module):
    """A linear map whose output is 0 at first and is scaled by `exp(log_scale)` for each feature."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.log_scale_parameter = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Float[Tensor, "batch in_feature"]) -> Float[Tensor, "batch out_feature"]:
        return F.linear(x, self.weight, self.bias) * (LOG_SCALE_FACTOR * self.log_scale_parameter).exp()


class CouplingNet(nn.Module):
    """conv3x3 - actnorm - ReLU - conv1x1 - actnorm - ReLU - zero conv3x3: shifts (and scales) one half from the other.

    Args:
        in_channels: channels of the half that is kept.
        out_channels: values for each pixel of the half that is moved.
        width: hidden channels.
        edge_bias: whether the 3x3 convolutions see where the border is.
        dtype: precision of the network inside; None for that of its input.
    """

    def __init__(
        self, in_channels: int, out_channels: int, width: int, edge_bias: bool, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.weight1 = nn.Parameter(HIDDEN_WEIGHT_STD * torch.randn(width, in_channels + edge_bias, 3, 3))
        self.norm1 = ActNorm(width)
        self.weight2 = nn.Parameter(HIDDEN_WEIGHT_STD * torch.randn(width, width, 1, 1))
        self.norm2 = ActNorm(width)
        self.last = ZeroConv(width, out_channels, edge_bias)
        self.dtype = dtype

    def forward(self, x: Image) -> Output:
        hidden = x.to(self.dtype or x.dtype, memory_format=torch.channels_last)
        hidden = F.relu(self._conv1(hidden))
        hidden = F.relu(self._conv2(hidden))
        return self.last(hidden).to(x.dtype)

    @torch.no_grad()
    def initialize(self, x: Image) -> None:
        """Sets both normalisations from a batch; before that they are the identity."""
        hidden = self._conv1(x)
        self.norm1.initialize(hidden)
        self.norm2.initialize(self._conv2(F.relu(self.norm1(hidden))))

    def _conv1(self, x: Image) -> Output:
        return conv3x3(x, *self.norm1.fold_into_previous(self.weight1))

    def _conv2(self, x: Image) -> Output:
        kernel, bias = self.norm2.fold_into_previous(self.weight2)
        return F.conv2d(x, kernel.to(x.dtype), bias.to(x.dtype))


class AdditiveCoupling(nn.Module):
    """Adds to one half of the channels a function of the other half: `y2 = x2 + net(x1)`.

    Args:
        net: maps the first half of the channels to as many.
    """

    def __init__(self, net: CouplingNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Image) -> tuple[Image, PerImage]:
        """Returns the transformed image and log |det dy/dx|, which is 0."""
        kept, moved = x.chunk(2, dim=1)
        return torch.cat([kept, moved + self.net(kept)], dim=1), x.new_zeros(len(x))

    def inverse(self, y: Image) -> Image:
        kept, moved = y.chunk(2, dim=1)
        return torch.cat([kept, moved - self.net(kept)], dim=1)


class AffineCoupling(nn.Module):
    """Shifts and scales one half of the channels by functions of the other: `y2 = (x2 + shift) * sigmoid(logit + 2)`.

    openai/glow's form, which can only contract; Table 1 of the paper has `exp(logit)` and the shift after the scale.

    Args:
        net: maps the first half of the channels to twice as many, shift and logit of each channel side by side.
    """

    def __init__(self, net: CouplingNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Image) -> tuple[Image, PerImage]:
        """Returns the transformed image and log |det dy/dx|."""
        kept, moved = x.chunk(2, dim=1)
        shift, log_scale = self._shift_and_log_scale(kept)
        return torch.cat([kept, (moved + shift) * log_scale.exp()], dim=1), log_scale.flatten(1).sum(1)

    def inverse(self, y: Image) -> Image:
        kept, moved = y.chunk(2, dim=1)
        shift, log_scale = self._shift_and_log_scale(kept)
        return torch.cat([kept, moved * (-log_scale).exp() - shift], dim=1)

    def _shift_and_log_scale(self, kept: Image) -> tuple[Image, Image]:
        shift, logit = interleaved(self.net(kept))
        return shift, F.logsigmoid(logit + 2)


def interleaved(h: Image) -> tuple[Half, Half]:
    """The even and the odd channels."""
    return h[:, 0::2], h[:, 1::2]
