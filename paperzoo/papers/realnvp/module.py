"""Training of Real NVP (Dinh, Sohl-Dickstein, Bengio 2017, section 4.1)."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval, Le, Len, Lt
from torch import Tensor

from paperzoo.module import OptimizerFactory
from paperzoo.papers.realnvp.flow import RealNVP
from paperzoo.papers.realnvp.networks import WeightNormConv2d
from paperzoo.tasks.density import DensityModule

Positive = Annotated[int, Ge(1)]


class RealNVPModule(DensityModule):
    """Maximum likelihood of images under `RealNVP`, with an L2 penalty on the gains of the weight-normalised filters.

    The paper's objective is in nats per image, plus the penalty. Ours is that divided by `dimensions * ln 2`: it reads
    as bits per dimension, and the penalty keeps its weight against the likelihood.

    Args:
        image_shape: channels, height, width.
        scales: see `RealNVP`, as for the next five.
        couplings: couplings of each kind at each scale.
        residual_blocks: residual blocks of each network.
        hidden_channels: feature maps of the networks at full resolution.
        logit_range: where the pixel values 0 and 1 go before the logit.
        batch_norm_momentum: weight of the past in the flow's batch normalisation.
        gain_penalty: coefficient of the sum of the squared gains, against nats per image.
        n_bits: bits of every value that are kept.
        optimizer: makes the optimiser from the parameters.
        warmup_steps: optimiser steps over which the learning rate grows linearly; 0 for none.
        temperatures: see `DensityModule`, as for the next two.
        samples: samples drawn at each temperature.
        interpolation_steps: images on the way from one real image to another.
    """

    flow: RealNVP

    def __init__(
        self,
        image_shape: Annotated[Sequence[Positive], Len(3, 3)],
        scales: Positive,
        couplings: Positive,
        residual_blocks: Annotated[int, Ge(0)],
        hidden_channels: Positive,
        logit_range: Annotated[Sequence[Annotated[float, Gt(0), Le(1)]], Len(2, 2)],
        batch_norm_momentum: Annotated[float, Ge(0), Lt(1)],
        gain_penalty: Annotated[float, Ge(0)],
        n_bits: Annotated[int, Interval(ge=1, le=8)],
        optimizer: OptimizerFactory,
        warmup_steps: Annotated[int, Ge(0)],
        temperatures: Annotated[Sequence[Annotated[float, Ge(0)]], Len(1)],
        samples: Positive,
        interpolation_steps: Annotated[int, Ge(2)],
    ) -> None:
        flow = RealNVP(
            image_shape, scales, couplings, residual_blocks, hidden_channels, logit_range, batch_norm_momentum
        )
        super().__init__(flow, n_bits, optimizer, warmup_steps, temperatures, samples, interpolation_steps)
        self.gain_penalty = gain_penalty
        self.nats_per_bit_per_dim = math.prod(image_shape) * math.log(2)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        shape, scales, logit_range = (arguments.get(name) for name in ("image_shape", "scales", "logit_range"))
        if shape is not None and scales is not None:
            _, height, width = shape
            halving = 2 ** (scales - 1)
            if height % halving or width % halving:
                yield (
                    f"scales={scales}: the image size {height}x{width} is not divisible by 2^{scales - 1}; "
                    f"choose from 1 to {_most_scales(height, width)}"
                )
            elif min(height, width) < 2 * halving:
                yield (
                    f"scales={scales}: the image size {height}x{width} leaves a single row or column at the last "
                    f"scale; choose from 1 to {_most_scales(height, width)}"
                )
        if logit_range is not None and not 0 < logit_range[0] < logit_range[1] <= 1:
            yield f"logit_range={list(logit_range)}: allowed is 0 < low < high <= 1, as in [0.05, 1.0]"

    def training_loss(self, metrics: dict[str, Tensor]) -> Tensor:
        return metrics["bits_per_dim"] + self.gain_penalty * self._squared_gains() / self.nats_per_bit_per_dim

    def _squared_gains(self) -> Tensor:
        layers = (layer for layer in self.flow.modules() if isinstance(layer, WeightNormConv2d))
        return torch.cat([layer.gain for layer in layers if layer.gain is not None]).square().sum()


def _most_scales(height: int, width: int) -> int:
    """The largest number of scales whose last one still has two rows and two columns; at least 1."""
    scales = 1
    while height % 2**scales == 0 and width % 2**scales == 0 and min(height, width) >= 2 ** (scales + 1):
        scales += 1
    return scales
