"""What every normalising flow over images shares: a bijection between images and independent standard normals."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

Image = Float[Tensor, "batch channel height width"]
Label = Int64[Tensor, " batch"]
PerImage = Float[Tensor, " batch"]
Latents = list[Float[Tensor, "batch ..."]]


def standard_normal_log_prob(latents: Latents) -> PerImage:
    """The log-density of each image's latents, all levels together, in nats."""
    squares = torch.stack([eps.flatten(1).square().sum(1) for eps in latents]).sum(0)
    size = sum(eps[0].numel() for eps in latents)
    return -0.5 * (squares + size * math.log(2 * math.pi))


class ImageFlow(nn.Module, ABC):
    """A bijection between images of one size and latents that are standard normal under the model.

    Images are dequantised: real values in [0, 1). A prior with learned mean and scale counts as the last layer of the
    bijection, so the latents of every level are standardised, `eps = (z - mean) / std`, and all sampling, interpolation
    and temperature work on them alone.
    """

    @property
    @abstractmethod
    def latent_shapes(self) -> list[tuple[int, ...]]:
        """The shape of each level's latents without the batch; the sizes sum to that of the image."""

    @abstractmethod
    def forward(self, x: Image, label: Label | None = None) -> tuple[Latents, PerImage]:
        """Returns the latents of each level and log |det d latents / d x| in float32 (or wider, if x is)."""

    @abstractmethod
    def decode(self, latents: Sequence[Tensor], label: Label | None = None) -> Image:
        """The inverse of `encode`; unlikely latents may give values outside [0, 1)."""

    def initialize(self, x: Image) -> None:
        """Sets the parameters that the flow initialises from a first batch of images."""

    def encode(self, x: Image, label: Label | None = None) -> Latents:
        return self(x, label)[0]

    def log_prob(self, x: Image, label: Label | None = None) -> PerImage:
        """The log-density of each image, in nats."""
        latents, log_det = self(x, label)
        return standard_normal_log_prob(latents) + log_det

    @torch.no_grad()
    def sample(self, count: int, temperature: float = 1.0, label: Label | None = None) -> Image:
        """Draws images with every standard deviation of the prior multiplied by `temperature`."""
        like = next(self.parameters())
        latents = [
            temperature * torch.randn(count, *shape, device=like.device, dtype=like.dtype)
            for shape in self.latent_shapes
        ]
        return self.decode(latents, label)
