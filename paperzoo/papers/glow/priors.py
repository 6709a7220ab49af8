"""Glow's learned Gaussians, each written as the map that standardises its latents (Dinh et al. 2017, section 3.6)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.nn.flow import Image, Label, PerImage
from paperzoo.papers.glow.layers import Half, ZeroConv, ZeroLinear, interleaved


def standardize(z: Image, mean: Tensor, log_std: Tensor) -> tuple[Image, PerImage]:
    """Returns `eps = (z - mean) / std` and log |det d eps / d z|."""
    return (z - mean) * (-log_std).exp(), -log_std.expand_as(z).flatten(1).sum(1)


class SplitPrior(nn.Module):
    """Factors out the second half of the channels as a Gaussian given the first half.

    Args:
        channels: channels before the split.
    """

    def __init__(self, channels: int, edge_bias: bool) -> None:
        super().__init__()
        self.conv = ZeroConv(channels // 2, channels, edge_bias)

    def forward(self, x: Image) -> tuple[Half, Half, PerImage]:
        """Returns the first half, the standardised second half, and the log-determinant of standardising."""
        kept, factored_out = x.chunk(2, dim=1)
        eps, log_det = standardize(factored_out, *interleaved(self.conv(kept)))
        return kept, eps, log_det

    def inverse(self, kept: Half, eps: Half) -> Image:
        mean, log_std = interleaved(self.conv(kept))
        return torch.cat([kept, mean + eps * log_std.exp()], dim=1)


class TopPrior(nn.Module):
    """The Gaussian of the last level's latents, standard normal at first.

    Args:
        shape: channels, height and width of the latents.
        learned: whether mean and scale are learned. They come from a convolution that sees zeros alone, so they are
            constant over the image but for the border that the edge bias marks.
        classes: classes that shift mean and log-scale; 0 for a prior that knows no classes.
    """

    def __init__(self, shape: tuple[int, int, int], learned: bool, classes: int, edge_bias: bool) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
        channels = 2 * shape[0]
        self.conv = ZeroConv(channels, channels, edge_bias) if learned else None
        self.class_embedding = ZeroLinear(classes, channels) if classes else None

    def forward(self, z: Image, label: Label | None) -> tuple[Image, PerImage]:
        """Returns the standardised latents and the log-determinant of standardising."""
        return standardize(z, *self._mean_and_log_std(z, label))

    def inverse(self, eps: Image, label: Label | None) -> Image:
        mean, log_std = self._mean_and_log_std(eps, label)
        return mean + eps * log_std.exp()

    def _mean_and_log_std(self, like: Tensor, label: Label | None) -> tuple[Tensor, Tensor]:
        channels, height, width = self.shape
        parameters = like.new_zeros(1, 2 * channels, height, width)
        if self.conv is not None:
            parameters = self.conv(parameters)
        if self.class_embedding is not None and label is not None:
            one_hot = F.one_hot(label, self.classes).to(like.dtype)
            parameters = parameters + self.class_embedding(one_hot)[:, :, None, None]
        mean, log_std = parameters.chunk(2, dim=1)
        return mean, log_std
