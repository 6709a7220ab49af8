"""Training of Glow: the likelihood, and for class-conditional models an auxiliary classifier."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Interval, Len
from torch import Tensor
from torch.nn import functional as F

from paperzoo.batches import LabelledImages
from paperzoo.module import Measures, OptimizerFactory
from paperzoo.nn.flow import Label, PerImage, standard_normal_log_prob
from paperzoo.papers.glow.flow import CouplingName, Glow
from paperzoo.papers.glow.permutations import PermutationName
from paperzoo.tasks.density import Batch, DensityModule, bits_per_dim, dequantize

COUPLING_DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


class GlowModule(DensityModule):
    """Glow (Kingma & Dhariwal 2018).

    Args:
        image_shape: channels, height and width.
        levels: scales L.
        depth: flow steps K in each level.
        width: hidden channels of the coupling networks.
        permutation: how a step mixes the channels; the LU form of the 1x1 convolution has a cheaper determinant.
        coupling: additive or affine coupling layers.
        edge_bias: whether 3x3 convolutions see where the border is (openai/glow).
        learn_top_prior: learn mean and scale of the last level's latents.
        class_conditional: shift the last level's prior by the class, and classify its latents.
        num_classes: classes of the data; 0 if it has none.
        classifier_weight: weight of the classifier's cross-entropy (in bits) beside bits per dimension.
        n_bits: bits of every value that are kept.
        initial_images: training images that the actnorm layers are initialised with.
        optimizer: makes the optimiser from the parameters.
        warmup_steps: optimiser steps over which the learning rate grows linearly from 0.
        coupling_dtype: precision inside the coupling networks; everything else, log-determinants above all, is float32.
        checkpointing: compute each flow step again in the backward pass instead of keeping its activations.
        compile: compile the flow steps with torch.compile.
        temperatures: factors of the prior's standard deviation at which samples are drawn.
        samples: samples drawn at each temperature.
        interpolation_steps: images on the way from one real image to another.
    """

    measures: ClassVar[Measures] = {"bits_per_dim": "min", "bits_per_label": "min", "accuracy": "max"}

    flow: Glow

    def __init__(
        self,
        image_shape: Annotated[Sequence[Annotated[int, Ge(1)]], Len(3, 3)],
        levels: Annotated[int, Ge(1)],
        depth: Annotated[int, Ge(1)],
        width: Annotated[int, Ge(1)],
        permutation: PermutationName,
        coupling: CouplingName,
        edge_bias: bool,
        learn_top_prior: bool,
        class_conditional: bool,
        num_classes: Annotated[int, Ge(0)],
        classifier_weight: Annotated[float, Ge(0)],
        n_bits: Annotated[int, Interval(ge=1, le=8)],
        initial_images: Annotated[int, Ge(1)],
        optimizer: OptimizerFactory,
        warmup_steps: Annotated[int, Ge(0)],
        coupling_dtype: Literal["float32", "bfloat16"],
        checkpointing: bool,
        compile: bool,
        temperatures: Annotated[Sequence[Annotated[float, Ge(0)]], Len(1)],
        samples: Annotated[int, Ge(1)],
        interpolation_steps: Annotated[int, Ge(2)],
    ) -> None:
        flow = Glow(
            image_shape,
            levels,
            depth,
            width,
            permutation=permutation,
            coupling=coupling,
            edge_bias=edge_bias,
            learn_top_prior=learn_top_prior,
            classes=num_classes if class_conditional else 0,
            coupling_dtype=COUPLING_DTYPES[coupling_dtype],
            checkpointing=checkpointing,
        )
        super().__init__(flow, n_bits, optimizer, warmup_steps, temperatures, samples, interpolation_steps)
        self.class_conditional = class_conditional
        self.num_classes = num_classes
        self.classifier_weight = classifier_weight
        self.initial_images = initial_images
        if compile:
            flow.compile_steps()

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        shape, levels = arguments.get("image_shape"), arguments.get("levels")
        if shape and levels and any(side % 2**levels for side in shape[1:]):
            most = min((side & -side).bit_length() - 1 for side in shape[1:])
            choose = f"choose from 1 to {most}" if most else "pad or resize the images to even sides"
            yield f"levels={levels}: images of {shape[1]}x{shape[2]} are not divisible by 2^{levels}; {choose}"
        if arguments.get("class_conditional") and arguments.get("num_classes") == 0:
            yield "class_conditional=true: the data has no classes; choose labelled data or set it to false"

    @property
    def learned_names(self) -> tuple[str, ...]:
        return ("classes",) if self.class_conditional else ()

    @property
    def initial_batch_size(self) -> int:
        return self.initial_images

    @torch.no_grad()
    def initialize(self, batch: Batch) -> None:
        self.flow.initialize(dequantize(batch.image, self.n_bits))

    def label_of(self, batch: Batch) -> Label | None:
        return batch.label if self.class_conditional and isinstance(batch, LabelledImages) else None

    def bits_per_dim(self, batch: Batch) -> PerImage:
        """Bits per dimension of each image; of images without labels under the even mixture of all classes."""
        if not self.class_conditional or isinstance(batch, LabelledImages):
            return super().bits_per_dim(batch)
        x = self.dequantized(batch.image)
        labels = torch.arange(self.num_classes, device=x.device)
        of_class = torch.stack([self.flow.log_prob(x, label.expand(len(x))) for label in labels])
        log_prob = of_class.logsumexp(0) - math.log(self.num_classes)
        return bits_per_dim(log_prob, x[0].numel(), self.n_bits)

    def sample_label(self, count: int) -> Label | None:
        """All classes in turn."""
        return torch.arange(count, device=self.device) % self.num_classes if self.class_conditional else None

    def metrics(self, batch: Batch) -> dict[str, Tensor]:
        """Mean bits per dimension; of a class-conditional model also the bits and the accuracy of its classifier."""
        label = self.label_of(batch)
        if label is None:
            return super().metrics(batch)
        x = self.dequantized(batch.image)
        latents, log_det = self.flow(x, label)
        logits = self.flow.classify(latents, label)
        bits = bits_per_dim(standard_normal_log_prob(latents) + log_det, x[0].numel(), self.n_bits)
        return {
            "bits_per_dim": bits.mean(),
            "bits_per_label": F.cross_entropy(logits, label) / math.log(2),
            "accuracy": (logits.argmax(1) == label).float().mean(),
        }

    def training_loss(self, metrics: dict[str, Tensor]) -> Tensor:
        if not self.class_conditional:
            return super().training_loss(metrics)
        return metrics["bits_per_dim"] + self.classifier_weight * metrics["bits_per_label"]
