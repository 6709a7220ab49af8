"""The multi-scale flow (Kingma & Dhariwal 2018, section 3 and Figure 2)."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from paperzoo.nn.flow import Image, ImageFlow, Label, Latents, PerImage
from paperzoo.nn.squeeze import squeeze, unsqueeze
from paperzoo.papers.glow.layers import ActNorm, AdditiveCoupling, AffineCoupling, CouplingNet, ZeroLinear
from paperzoo.papers.glow.permutations import PERMUTATIONS, PermutationName
from paperzoo.papers.glow.priors import SplitPrior, TopPrior

CouplingName = Literal["additive", "affine"]


class FlowStep(nn.Module):
    """Actnorm, then a permutation of the channels, then a coupling layer (Figure 2a).

    Actnorm and permutation are both affine in the channels of a pixel and run as one 1x1 convolution.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        permutation: PermutationName,
        coupling: CouplingName,
        edge_bias: bool,
        coupling_dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        half = channels // 2
        self.actnorm = ActNorm(channels)
        self.permutation = PERMUTATIONS[permutation](channels)
        self.coupling: AdditiveCoupling | AffineCoupling
        if coupling == "affine":
            self.coupling = AffineCoupling(CouplingNet(half, 2 * half, width, edge_bias, coupling_dtype))
        else:
            self.coupling = AdditiveCoupling(CouplingNet(half, half, width, edge_bias, coupling_dtype))

    def forward(self, x: Image) -> tuple[Image, PerImage]:
        """Returns the transformed image and the coupling's log-determinant.

        The rest of the log-determinant depends on parameters alone; `Level` computes it for all its steps at once.
        """
        return self.coupling(self._mix(x))

    def inverse(self, y: Image) -> Image:
        mixed = self.coupling.inverse(y)
        scale = self.actnorm.log_scale.exp()
        matrix = self.permutation.inverse_matrix() / scale[:, None]
        return F.conv2d(mixed, matrix[:, :, None, None], -self.actnorm.bias)

    @torch.no_grad()
    def initialize(self, x: Image) -> Image:
        """Sets every actnorm of the step from a batch and returns the transformed batch."""
        self.actnorm.initialize(x)
        mixed = self._mix(x)
        self.coupling.net.initialize(mixed.chunk(2, dim=1)[0])
        return self.coupling(mixed)[0]

    def _mix(self, x: Image) -> Image:
        matrix, bias = self.actnorm.fold_into_next(self.permutation.matrix())
        return F.conv2d(x, matrix[:, :, None, None], bias)


class Level(nn.Module):
    """The flow steps of one scale.

    Args:
        steps: all with the same kind of permutation.
        checkpointing: keep only the steps' inputs for the backward pass and compute the rest again.
    """

    def __init__(self, steps: Iterable[FlowStep], checkpointing: bool) -> None:
        super().__init__()
        self.steps: Sequence[FlowStep] = nn.ModuleList(steps)  # type: ignore[assignment]
        self.checkpointing = checkpointing

    def forward(self, x: Image) -> tuple[Image, PerImage]:
        """Returns the transformed image and log |det dy/dx|."""
        log_det = x.new_zeros(len(x)) + x[0, 0].numel() * self._log_det_of_a_pixel()
        for step in self.steps:
            x, of_step = checkpoint(step, x, use_reentrant=False) if self.checkpointing else step(x)
            log_det = log_det + of_step
        return x, log_det

    def inverse(self, y: Image) -> Image:
        for step in reversed(self.steps):
            y = step.inverse(y)
        return y

    def initialize(self, x: Image) -> Image:
        for step in self.steps:
            x = step.initialize(x)
        return x

    def _log_det_of_a_pixel(self) -> Float[Tensor, ""]:
        permutations = [step.permutation for step in self.steps]
        log_scales = torch.cat([step.actnorm.log_scale for step in self.steps])
        return log_scales.sum() + permutations[0].total_log_abs_det(permutations)


class Glow(ImageFlow):
    """Glow: squeeze and flow steps, level after level, half of the channels factored out between levels (Figure 2b).

    Args:
        image_shape: channels, height and width of the images; the sides are divisible by 2^levels.
        levels: scales L.
        depth: flow steps K in each level.
        width: hidden channels of the coupling networks.
        permutation: how a step mixes the channels.
        coupling: what a step does to half of the channels.
        edge_bias: whether 3x3 convolutions see where the border is, as in openai/glow; the paper does not say.
        learn_top_prior: learn mean and scale of the last level's latents.
        classes: classes that the last level's prior is conditioned on, with an auxiliary classifier; 0 for none.
        coupling_dtype: precision inside the coupling networks; None for that of the images.
        checkpointing: trade about a third more time for memory that does not grow with the coupling networks.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        levels: int,
        depth: int,
        width: int,
        permutation: PermutationName = "conv1x1",
        coupling: CouplingName = "affine",
        edge_bias: bool = True,
        learn_top_prior: bool = True,
        classes: int = 0,
        coupling_dtype: torch.dtype | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        channels, height, width_in_pixels = image_shape
        self._latent_shapes: list[tuple[int, ...]] = []
        self.levels: list[Level] = nn.ModuleList()  # type: ignore[assignment]
        self.splits: list[SplitPrior] = nn.ModuleList()  # type: ignore[assignment]
        for index in range(levels):
            channels, height, width_in_pixels = 4 * channels, height // 2, width_in_pixels // 2
            steps = (FlowStep(channels, width, permutation, coupling, edge_bias, coupling_dtype) for _ in range(depth))
            self.levels.append(Level(steps, checkpointing))
            if index < levels - 1:
                self.splits.append(SplitPrior(channels, edge_bias))
                channels //= 2
            self._latent_shapes.append((channels, height, width_in_pixels))
        self.top = TopPrior((channels, height, width_in_pixels), learn_top_prior, classes, edge_bias)
        self.classifier = ZeroLinear(channels, classes) if classes else None

    @property
    def latent_shapes(self) -> list[tuple[int, ...]]:
        return self._latent_shapes

    def forward(self, x: Image, label: Label | None = None) -> tuple[Latents, PerImage]:
        """Returns the standardised latents of each level and log |det d latents / d x|.

        A class-conditional flow without labels leaves the class out of the last prior, and stays a bijection.
        """
        with torch.autocast(x.device.type, enabled=False):  # of the networks' precision, coupling_dtype decides
            return self._encode_with_log_det(x - 0.5, label)

    def _encode_with_log_det(self, x: Image, label: Label | None) -> tuple[Latents, PerImage]:
        latents: Latents = []
        log_det = x.new_zeros(len(x))
        for index, level in enumerate(self.levels):
            x, of_level = level(squeeze(x))
            log_det = log_det + of_level
            if index < len(self.splits):
                x, eps, of_split = self.splits[index](x)
                latents.append(eps)
                log_det = log_det + of_split
        eps, of_top = self.top(x, label)
        return [*latents, eps], log_det + of_top

    def compile_steps(self) -> None:
        """Compiles the flow steps in place; steps of one level share their code."""
        for level in self.levels:
            for step in level.steps:
                step.compile()

    def decode(self, latents: Sequence[Tensor], label: Label | None = None) -> Image:
        with torch.autocast(latents[-1].device.type, enabled=False):
            return self._decode(latents, label) + 0.5

    def _decode(self, latents: Sequence[Tensor], label: Label | None) -> Image:
        x = self.top.inverse(latents[-1], label)
        for index in reversed(range(len(self.levels))):
            if index < len(self.splits):
                x = self.splits[index].inverse(x, latents[index])
            x = unsqueeze(self.levels[index].inverse(x))
        return x

    def classify(self, latents: Sequence[Tensor], label: Label) -> Float[Tensor, "batch class"]:
        """Logits of the auxiliary classifier, which sees the last level's latents before they are standardised.

        Args:
            label: those that the latents were standardised with.
        """
        assert self.classifier is not None
        return self.classifier(self.top.inverse(latents[-1], label).mean(dim=(2, 3)))

    @torch.no_grad()
    def initialize(self, x: Image) -> None:
        """Sets every actnorm from a batch, in one pass through the flow."""
        x = x - 0.5
        for index, level in enumerate(self.levels):
            x = level.initialize(squeeze(x))
            if index < len(self.splits):
                x = x.chunk(2, dim=1)[0]
