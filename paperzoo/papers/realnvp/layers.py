"""The bijections that Real NVP is made of (Dinh et al. 2017, section 3)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperzoo.nn.flow import Image, PerImage
from paperzoo.papers.realnvp.networks import EPSILON, ShiftAndLogScale

Half = Float[Tensor, "batch channel//2 height width"]
Double = Float[Tensor, "batch channel*2 height width"]


class Bijection(nn.Module, ABC):
    """Maps images to images of the same size and back."""

    @abstractmethod
    def forward(self, x: Image) -> tuple[Image, PerImage]:
        """Returns the transformed images and log |det dy/dx| of each."""

    @abstractmethod
    def inverse(self, y: Image) -> Image:
        """Returns the images that `forward` transforms to `y`."""


class Logit(Bijection):
    """`y = logit(low + (high - low) x)`: takes the bounded pixel values to the whole real line (section 4.1).

    Args:
        low: where 0 goes before the logit; the paper's alpha.
        high: where 1 goes before the logit.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Image) -> tuple[Image, PerImage]:
        # in float32, 255 plus noise just below 1 rounds to 256, and with high = 1 the logit would be infinite
        x = x.clamp(max=1 - torch.finfo(x.dtype).eps / 2)
        width = self.high - self.low
        log_p = (self.low + width * x).log()
        log_q = (1 - self.high + width * (1 - x)).log()
        log_det = math.log(width) - log_p - log_q
        return log_p - log_q, log_det.flatten(1).sum(1)

    def inverse(self, y: Image) -> Image:
        return (y.sigmoid() - self.low) / (self.high - self.low)


class FlowBatchNorm(Bijection):
    """Batch normalisation as a bijection, each channel with statistics over batch and space (section 3.7, appendix E).

    Training and evaluation use the same exponential moving average of the mini-batches' mean and variance; in training
    it includes the current mini-batch, through which alone gradients flow. The average starts as the plain mean of the
    batches seen, until that has the same horizon. `inverse` always uses the average as it stands.

    Args:
        channels: channels of the image.
        momentum: the weight of the past in the moving average; 0 uses the current mini-batch alone.
    """

    mean: Float[Tensor, " channel"]
    variance: Float[Tensor, " channel"]
    batches: Tensor

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("batches", torch.tensor(0))

    def forward(self, x: Image) -> tuple[Image, PerImage]:
        mean, variance = self._updated(x) if self.training else (self.mean, self.variance)
        log_std = 0.5 * (variance + EPSILON).log()
        y = (x - mean.view(-1, 1, 1)) * (-log_std).exp().view(-1, 1, 1)
        return y, -x[0, 0].numel() * log_std.sum().expand(len(x))

    def inverse(self, y: Image) -> Image:
        return y * (self.variance + EPSILON).sqrt().view(-1, 1, 1) + self.mean.view(-1, 1, 1)

    def _updated(self, x: Image) -> tuple[Tensor, Tensor]:
        self.batches += 1
        rate = (1 / self.batches).clamp(min=1 - self.momentum).to(x.dtype)
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        mean = self.mean + rate * (mean - self.mean)
        variance = self.variance + rate * (variance - self.variance)
        self.mean.copy_(mean.detach())
        self.variance.copy_(variance.detach())
        return mean, variance


class CheckerboardCoupling(Bijection):
    """Scales and shifts the pixels of one colour of a checkerboard by a function of the other colour (eq. 9, figure 3).

    Args:
        parity: the pixels whose row + column has this parity pass unchanged.
        conditioner: maps the image with the moved pixels blanked, and the mask as one channel more, to shift and
            log-scale.
    """

    def __init__(self, parity: int, conditioner: ShiftAndLogScale) -> None:
        super().__init__()
        self.parity = parity
        self.conditioner = conditioner

    def forward(self, x: Image) -> tuple[Image, PerImage]:
        shift, log_scale = self._shift_and_log_scale(x)
        return x * log_scale.exp() + shift, log_scale.flatten(1).sum(1)

    def inverse(self, y: Image) -> Image:
        shift, log_scale = self._shift_and_log_scale(y)
        return (y - shift) * (-log_scale).exp()

    def _shift_and_log_scale(self, x: Image) -> tuple[Image, Image]:
        kept = checkerboard(x, self.parity)
        shift, log_scale = self.conditioner(torch.cat([x * kept, kept.expand_as(x[:, :1])], dim=1))
        return shift * (1 - kept), log_scale * (1 - kept)


class ChannelCoupling(Bijection):
    """Scales and shifts one half of the channels by a function of the other half (eq. 7, figure 3).

    Args:
        keep_first: which half passes unchanged: the first or the second.
        conditioner: maps that half to shift and log-scale of the other.
    """

    def __init__(self, *, keep_first: bool, conditioner: ShiftAndLogScale) -> None:
        super().__init__()
        self.keep_first = keep_first
        self.conditioner = conditioner

    def forward(self, x: Image) -> tuple[Image, PerImage]:
        kept, moved = self._halves(x)
        shift, log_scale = self.conditioner(kept)
        return self._joined(kept, moved * log_scale.exp() + shift), log_scale.flatten(1).sum(1)

    def inverse(self, y: Image) -> Image:
        kept, moved = self._halves(y)
        shift, log_scale = self.conditioner(kept)
        return self._joined(kept, (moved - shift) * (-log_scale).exp())

    def _halves(self, x: Image) -> tuple[Half, Half]:
        first, second = x.chunk(2, dim=1)
        return (first, second) if self.keep_first else (second, first)

    def _joined(self, kept: Image, moved: Image) -> Double:
        return torch.cat([kept, moved] if self.keep_first else [moved, kept], dim=1)


class Chain(Bijection):
    """One bijection after the other."""

    def __init__(self, layers: Iterable[Bijection]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Image) -> tuple[Image, PerImage]:
        log_det = x.new_zeros(len(x))
        for layer in self.layers:
            x, increment = layer(x)
            log_det = log_det + increment
        return x, log_det

    def inverse(self, y: Image) -> Image:
        for layer in reversed(self.layers):
            assert isinstance(layer, Bijection)
            y = layer.inverse(y)
        return y


def checkerboard(x: Image, parity: int) -> Float[Tensor, "1 1 height width"]:
    """1 at the pixels of x whose row + column has this parity, 0 at the others."""
    rows, columns = (torch.arange(size, device=x.device) for size in x.shape[2:])
    return ((rows[:, None] + columns) % 2 == parity).to(x.dtype)[None, None]
