"""A flow is defined by `forward` and `decode`; the rest follows."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from paperzoo.nn.flow import ImageFlow, standard_normal_log_prob


class Halving(ImageFlow):
    """Divides by 2 and keeps the rows of an image in two levels."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))

    @property
    def latent_shapes(self) -> list[tuple[int, ...]]:
        return [(1, 1, 2), (1, 1, 2)]

    def forward(self, x: Tensor, label: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        return [x[:, :, :1] / 2, x[:, :, 1:] / 2], x.new_full((len(x),), -4 * math.log(2))

    def decode(self, latents: Sequence[Tensor], label: Tensor | None = None) -> Tensor:
        return 2 * torch.cat(list(latents), dim=2)


def test_log_prob_is_the_density_of_the_image():
    x = torch.randn(3, 1, 2, 2)
    expected = torch.distributions.Normal(0, 2).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(Halving().log_prob(x), expected)


def test_standard_normal_log_prob_sums_over_levels():
    latents = [torch.randn(2, 1, 1, 2), torch.randn(2, 3)]
    flat = torch.cat([eps.flatten(1) for eps in latents], dim=1)
    expected = torch.distributions.Normal(0, 1).log_prob(flat).sum(1)
    torch.testing.assert_close(standard_normal_log_prob(latents), expected)


@pytest.mark.parametrize("temperature", [0.0, 0.3, 0.7])
def test_temperature_multiplies_the_standard_deviation(temperature):
    torch.manual_seed(0)
    reference = Halving().sample(100, 1.0)
    torch.manual_seed(0)
    torch.testing.assert_close(Halving().sample(100, temperature), temperature * reference)
