"""Real NVP (Dinh, Sohl-Dickstein, Bengio 2017): a multi-scale normalising flow of affine coupling layers."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperzoo.nn.flow import Image, ImageFlow, Label, Latents, PerImage
from paperzoo.nn.squeeze import squeeze, unsqueeze
from paperzoo.papers.realnvp.layers import Bijection, Chain, ChannelCoupling, CheckerboardCoupling, FlowBatchNorm, Logit
from paperzoo.papers.realnvp.networks import ShiftAndLogScale

Coarse = Float[Tensor, "batch channel*2 height//2 width//2"]
Fine = Float[Tensor, "batch channel//2 height*2 width*2"]
Half = Float[Tensor, "batch channel//2 height width"]
Double = Float[Tensor, "batch channel*2 height width"]


class RealNVP(ImageFlow):
    """The model: `log_prob`, `encode`, `decode` and `sample` (see `ImageFlow`); unconditional, labels are ignored.

        flow = RealNVP(image_shape=(3, 32, 32), scales=2, couplings=3, residual_blocks=8, hidden_channels=64)
        flow.log_prob(x)            # nats, for x in [0, 1)
        flow.eval().sample(16)

    In training mode the batch normalisation makes an image's density depend on the batch; the density proper is that of
    evaluation mode, of which alone `decode` is the inverse.

    Args:
        image_shape: channels, height, width.
        scales: resolutions at which couplings work; the image is halved `scales - 1` times.
        couplings: checkerboard couplings, and as many channel-wise ones, of each scale; the last scale has one
            checkerboard coupling more and no channel-wise ones.
        residual_blocks: residual blocks of each network of shift and scale.
        hidden_channels: feature maps of these networks at full resolution; doubled with every halving.
        logit_range: where the pixel values 0 and 1 go before the logit.
        batch_norm_momentum: weight of the past in the statistics of the batch normalisation between couplings.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        scales: int,
        couplings: int,
        residual_blocks: int,
        hidden_channels: int,
        logit_range: Sequence[float] = (0.05, 1.0),
        batch_norm_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        self._latent_shapes: list[tuple[int, ...]] = []
        low, high = logit_range
        self.logit = Logit(low, high)
        self.scales = nn.ModuleList()
        for level in range(scales - 1):
            hidden = hidden_channels * 2**level
            checkerboard = _checkerboard_chain(channels, hidden, residual_blocks, couplings, batch_norm_momentum)
            channelwise = _channel_chain(4 * channels, 2 * hidden, residual_blocks, couplings, batch_norm_momentum)
            self.scales.append(Scale(checkerboard, channelwise))
            channels, height, width = 2 * channels, height // 2, width // 2
            self._latent_shapes.append((channels, height, width))
        hidden = hidden_channels * 2 ** (scales - 1)
        self.last_scale = _checkerboard_chain(channels, hidden, residual_blocks, couplings + 1, batch_norm_momentum)
        self._latent_shapes.append((channels, height, width))

    @property
    def latent_shapes(self) -> list[tuple[int, ...]]:
        return self._latent_shapes

    def forward(self, x: Image, label: Label | None = None) -> tuple[Latents, PerImage]:
        latents: Latents = []
        x, log_det = self.logit(x)
        for scale in self.scales:
            x, factored, increment = scale(x)
            latents.append(factored)
            log_det = log_det + increment
        x, increment = self.last_scale(x)
        return [*latents, x], log_det + increment

    def decode(self, latents: Sequence[Tensor], label: Label | None = None) -> Image:
        *factored, x = latents
        x = self.last_scale.inverse(x)
        for scale, half in zip(reversed(self.scales), reversed(factored), strict=True):
            assert isinstance(scale, Scale)
            x = scale.inverse(x, half)
        return self.logit.inverse(x)


class Scale(nn.Module):
    """Checkerboard couplings, squeeze, channel-wise couplings, then half of the values leave (section 3.6).

    Args:
        checkerboard: bijection of the image.
        channelwise: bijection of the squeezed image.
    """

    def __init__(self, checkerboard: Chain, channelwise: Chain) -> None:
        super().__init__()
        self.checkerboard = checkerboard
        self.channelwise = channelwise

    def forward(self, x: Image) -> tuple[Coarse, Coarse, PerImage]:
        """Returns the half that goes on, the half that leaves, and log |det d both / dx|."""
        x, log_det = self.checkerboard(x)
        x, increment = self.channelwise(squeeze(x))
        kept, factored = factor_out(x)
        return kept, factored, log_det + increment

    def inverse(self, kept: Image, factored: Image) -> Fine:
        return self.checkerboard.inverse(unsqueeze(self.channelwise.inverse(put_back(kept, factored))))


def factor_out(x: Image) -> tuple[Half, Half]:
    """Splits a squeezed image into the values that go on and those that leave, each with half of the channels.

    Of every 2x2 square of every channel the upper left and the lower right pixel go on: one colour of a checkerboard.
    """
    top_left, top_right, bottom_left, bottom_right = x.unflatten(1, (-1, 4)).unbind(2)
    return torch.cat([top_left, bottom_right], dim=1), torch.cat([top_right, bottom_left], dim=1)


def put_back(kept: Image, factored: Image) -> Double:
    """The inverse of `factor_out`."""
    top_left, bottom_right = kept.chunk(2, dim=1)
    top_right, bottom_left = factored.chunk(2, dim=1)
    return torch.stack([top_left, top_right, bottom_left, bottom_right], dim=2).flatten(1, 2)


def _checkerboard_chain(channels: int, hidden: int, blocks: int, couplings: int, momentum: float) -> Chain:
    layers: list[Bijection] = []
    for index in range(couplings):
        # one channel more for the mask
        conditioner = ShiftAndLogScale(channels + 1, channels, hidden, blocks)
        layers += [CheckerboardCoupling(index % 2, conditioner), FlowBatchNorm(channels, momentum)]
    return Chain(layers)


def _channel_chain(channels: int, hidden: int, blocks: int, couplings: int, momentum: float) -> Chain:
    layers: list[Bijection] = []
    for index in range(couplings):
        conditioner = ShiftAndLogScale(channels // 2, channels // 2, hidden, blocks)
        layers += [
            ChannelCoupling(keep_first=index % 2 == 0, conditioner=conditioner),
            FlowBatchNorm(channels, momentum),
        ]
    return Chain(layers)
