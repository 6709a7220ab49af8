"""The base of the papers that give an exact likelihood of images, and the arithmetic of bits per dimension."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from paperzoo.batches import AttributedImages, Images, LabelledImages
from paperzoo.module import OptimizerFactory, PaperModule, scheduled
from paperzoo.nn.flow import Image, ImageFlow, Label, Latents, PerImage
from paperzoo.reporting.images import image_grid, save_png
from paperzoo.reporting.style import BLUE, WIDTH, open_axes

Batch = Images | LabelledImages | AttributedImages
Bytes = UInt8[Tensor, "batch channel height width"]

GRID_COLUMNS = 8
SHOWN_ATTRIBUTES = ("Smiling", "Pale_Skin", "Blond_Hair", "Narrow_Eyes", "Young", "Male")  # Glow's Figure 6


def quantize(image: Bytes, n_bits: int) -> Image:
    """The integer level 0 .. 2^n_bits - 1 of every value, as a float."""
    return (image >> (8 - n_bits)).float()


def dequantize(image: Bytes, n_bits: int) -> Image:
    """Spreads each of the 2^n_bits levels uniformly over its bin of [0, 1), so that a density can be fitted."""
    levels = quantize(image, n_bits)
    x = (levels + torch.rand_like(levels)) / 2**n_bits
    return x.clamp(max=1 - 2**-24)  # 255 + 0.9999999 rounds to 256 in float32


def to_bytes(x: Image, n_bits: int) -> Bytes:
    """The image 0..255 whose level is that of x; values outside [0, 1) go to the nearest level, NaN to 0."""
    levels = (x.nan_to_num(0.0) * 2**n_bits).floor().clamp(0, 2**n_bits - 1)
    return (levels * 2 ** (8 - n_bits)).to(torch.uint8)


def bits_per_dim(log_prob: PerImage, dimensions: int, n_bits: int) -> PerImage:
    """Bits that the density of the dequantised image needs for each of its `dimensions` values.

    An upper bound, in expectation over the noise, of the bits that the best code for the discrete image needs.
    """
    return n_bits - log_prob / (dimensions * math.log(2))


class AttributeMeans:
    """Mean latents of the images with and without each attribute: semantic manipulation (Kingma & Dhariwal 2018).

    Args:
        latent_shapes: the shape of each level's latents without the batch.
    """

    def __init__(self, latent_shapes: list[tuple[int, ...]]) -> None:
        self.latent_shapes = latent_shapes
        self.sums: list[Tensor] = []
        self.counts: list[Tensor] = []

    def update(self, latents: Latents, attributes: Bool[Tensor, "batch attribute"]) -> None:
        """Adds a batch to the sums."""
        # row 0 sums the images with an attribute, row 1 those without it
        member = torch.stack([attributes, ~attributes]).float()
        sums = [member.transpose(1, 2) @ eps.flatten(1).float() for eps in latents]
        self.sums = [old + new for old, new in zip(self.sums, sums, strict=True)] if self.sums else sums
        self.counts = [self.counts[0] + member.sum(1)] if self.counts else [member.sum(1)]

    def sum_over_ranks(self, reduce: Callable[..., Any]) -> None:
        """Sums over all processes; `reduce` is the strategy's."""
        self.sums = [reduce(total, reduce_op="sum") for total in self.sums]
        self.counts = [reduce(count, reduce_op="sum") for count in self.counts]

    def direction(self, attribute: int) -> Latents:
        """Mean with the attribute minus mean without it; zero for an attribute that all or no images have."""
        count = self.counts[0][:, attribute]
        return [
            torch.where(count.min() > 0, total[0, attribute] / count[0] - total[1, attribute] / count[1], 0.0).view(
                1, *shape
            )
            for total, shape in zip(self.sums, self.latent_shapes, strict=True)
        ]


class DensityModule(PaperModule):
    """Maximum likelihood of images under a flow, reported in bits per dimension.

    A subclass builds the flow and may add to `metrics` and `training_loss`.

    Args:
        flow: the model; takes dequantised images in [0, 1).
        n_bits: bits of every value that are kept; 8 keeps the images as they are.
        optimizer: makes the optimiser from the parameters.
        warmup_steps: optimiser steps over which the learning rate grows linearly from 0 to its value; 0 for none.
        temperatures: factors of the prior's standard deviation at which samples are drawn.
        samples: samples drawn at each temperature.
        interpolation_steps: images on the way from one real image to another, both ends included.
    """

    accepts: ClassVar[tuple[type, ...]] = (Images, LabelledImages, AttributedImages)
    objective: ClassVar[str] = "val/bits_per_dim"

    def __init__(
        self,
        flow: ImageFlow,
        n_bits: int,
        optimizer: OptimizerFactory,
        warmup_steps: int,
        temperatures: Sequence[float],
        samples: int,
        interpolation_steps: int,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.n_bits = n_bits
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.temperatures = temperatures
        self.samples = samples
        self.interpolation_steps = interpolation_steps
        self.attribute_means: AttributeMeans | None = None

    def label_of(self, batch: Batch) -> Label | None:
        """What the flow is conditioned on; nothing unless a subclass says so."""
        return None

    def metrics(self, batch: Batch) -> dict[str, Tensor]:
        """Mean quantities of a batch, logged at every stage; `bits_per_dim` is among them."""
        return {"bits_per_dim": self.bits_per_dim(batch).mean()}

    def training_loss(self, metrics: dict[str, Tensor]) -> Tensor:
        return metrics["bits_per_dim"]

    def bits_per_dim(self, batch: Batch) -> PerImage:
        """Bits per dimension of each image, with one draw of the dequantisation noise."""
        x = dequantize(batch.image, self.n_bits)
        return bits_per_dim(self.flow.log_prob(x, self.label_of(batch)), x[0].numel(), self.n_bits)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        metrics = self.metrics(batch)
        loss = self.training_loss(metrics)
        if loss is not metrics["bits_per_dim"]:
            metrics = {**metrics, "loss": loss}
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in metrics.items()}, on_step=True, on_epoch=False
        )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        for name, mean in self.metrics(batch).items():
            self.tally.add_mean(name, mean, len(batch.image))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)
        if isinstance(batch, AttributedImages):
            if self.attribute_means is None:
                self.attribute_means = AttributeMeans(self.flow.latent_shapes)
            self.attribute_means.update(self.flow.encode(dequantize(batch.image, self.n_bits)), batch.attributes)

    def begin_evaluation(self) -> None:
        super().begin_evaluation()
        self.attribute_means = None

    def report(self, stage: str, means: dict[str, float]) -> dict[str, float]:
        if self.attribute_means is not None:
            self.attribute_means.sum_over_ranks(self.trainer.strategy.reduce)
        return means

    def configure_optimizers(self) -> Any:
        def warmup(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
            return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / self.warmup_steps))

        return scheduled(self.optimizer(self.parameters()), warmup if self.warmup_steps else None)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor | list[str]]:
        bits = self.bits_per_dim(batch)
        nats = -bits * batch.image[0].numel() * math.log(2)
        return {"log_likelihood_nats": nats, "bits_per_dim": bits}

    def sample_label(self, count: int) -> Label | None:
        """The labels under which `count` samples are drawn; none unless the flow is conditioned on labels."""
        return None

    def sample(self, temperature: float) -> Bytes:
        """Draws `samples` images at a temperature."""
        x = self.flow.sample(self.samples, temperature, self.sample_label(self.samples))
        return to_bytes(x, self.n_bits)

    def interpolate(self, first: Bytes, last: Bytes) -> UInt8[Tensor, "step channel height width"]:
        """The images on the straight line between the latents of two images, each given with a batch axis of 1."""
        latents = self.flow.encode(dequantize(torch.cat([first, last]), self.n_bits))
        way = torch.linspace(0, 1, self.interpolation_steps, device=first.device).view(-1, 1, 1, 1)
        return to_bytes(self.flow.decode([torch.lerp(eps[:1], eps[1:], way) for eps in latents]), self.n_bits)

    def manipulate(self, image: Bytes, attribute: int) -> UInt8[Tensor, "step channel height width"]:
        """One image moved along an attribute's direction from alpha = -1 to alpha = 1."""
        assert self.attribute_means is not None
        latents = self.flow.encode(dequantize(image, self.n_bits))
        alpha = torch.linspace(-1, 1, self.interpolation_steps, device=image.device).view(-1, 1, 1, 1)
        direction = self.attribute_means.direction(attribute)
        moved = [eps + alpha * way for eps, way in zip(latents, direction, strict=True)]
        return to_bytes(self.flow.decode(moved), self.n_bits)

    def figures(self, batch: Batch) -> dict[str, Figure]:
        image = batch.image[: self.samples]
        with self._evaluation():
            rows = {f"T={temperature:g}": self.sample(temperature) for temperature in self.temperatures}
            figures = {"samples": _rows_of_images("Samples by temperature", rows)}
            if len(image) > 1:
                way = self.interpolate(image[:1], image[1:2])
                figures["interpolation"] = _rows_of_images("From one real image to another", {"": way})
            figures["reconstruction"] = self._reconstruction_figure(image)
            if self.attribute_means is not None:
                shown = self._shown_attributes()
                rows = {name: self.manipulate(image[:1], index) for name, index in shown.items()}
                figures["attributes"] = _rows_of_images("Attributes moved from alpha=-1 to 1", rows)
        return figures

    def write_predictions(self, names: Sequence[str], batch: Batch, folder: Path) -> list[Path]:
        images: dict[str, Bytes] = {}
        with self._evaluation():
            for temperature in self.temperatures:
                images[f"samples_T{temperature:.2f}"] = self.sample(temperature)
            if len(batch.image) > 1:
                images["interpolation"] = self.interpolate(batch.image[:1], batch.image[1:2])
        written: list[Path] = []
        for name, image in images.items():
            picture, array = folder / f"{name}.png", folder / f"{name}.npy"
            save_png(image, picture, columns=GRID_COLUMNS)
            np.save(array, image.cpu().numpy(), allow_pickle=False)
            written += [picture, array]
        return written

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(was_training)

    def _shown_attributes(self) -> dict[str, int]:
        """Name and index of those attributes that the paper shows, or of the first few of data that has others."""
        assert self.attribute_means is not None
        count = self.attribute_means.counts[0].shape[1]
        names = self.names.attributes
        if len(names) != count:
            names = tuple(f"attribute {index}" for index in range(count))
        known = {name: index for index, name in enumerate(names)}
        shown = [name for name in SHOWN_ATTRIBUTES if name in known] or list(known)[: len(SHOWN_ATTRIBUTES)]
        return {name: known[name] for name in shown}

    def _reconstruction_figure(self, image: Bytes) -> Figure:
        x = dequantize(image, self.n_bits)
        latents = self.flow.encode(x)
        decoded = self.flow.decode(latents)
        per_image = (decoded - x).abs().flatten(1).amax(1)
        per_level = [(a - b).abs().max() for a, b in zip(self.flow.encode(decoded), latents, strict=True)]
        levels = range(1, len(per_level) + 1)
        smallest = 1e-12  # a logarithmic axis has no 0
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.bar(range(len(per_image)), per_image.clamp(min=smallest).cpu(), color=BLUE)
        left.set(title="max |x - decode(encode(x))|", xlabel="image", yscale="log")
        right.bar(levels, [max(float(error), smallest) for error in per_level], color=BLUE)
        right.set(title="max |eps - encode(decode(eps))|", xlabel="level", xticks=levels, yscale="log")
        for axes in (left, right):
            open_axes(axes, grid="y")
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure


def _rows_of_images(title: str, rows: dict[str, Bytes]) -> Figure:
    columns = max(len(images) for images in rows.values())
    labels = list(rows) if any(rows) else []
    return image_grid(torch.cat(list(rows.values())), columns, row_labels=labels, title=title)
