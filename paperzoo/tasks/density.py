"""The base of the papers that give an exact likelihood of images, and the arithmetic of bits per dimension."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from paperzoo.batches import (
    HAVING,
    TO_EDIT,
    AttributedImages,
    ComparedImages,
    Images,
    LabelledImages,
    LatentVectors,
)
from paperzoo.datamodule import stream_seed
from paperzoo.module import Measures, OptimizerFactory, PaperModule, scheduled
from paperzoo.nn.flow import Image, ImageFlow, Label, Latents, PerImage
from paperzoo.reporting.images import save_png
from paperzoo.tasks.density_figures import reconstruction_figure, rows_of_images
from paperzoo.tasks.latents import RowsFile, as_latents, as_rows, save_pictures

Batch = Images | LabelledImages | AttributedImages
Predicted = Batch | ComparedImages | LatentVectors
Columns = dict[str, Tensor | list[str]]
Bytes = UInt8[Tensor, "batch channel height width"]

GRID_COLUMNS, MOST_COLUMNS = 8, 20  # of samples in a picture
DECODED, EDITED = "decoded", "edited"  # the folders of pictures that a prediction makes
SHOWN_ATTRIBUTES = ("Smiling", "Pale_Skin", "Blond_Hair", "Narrow_Eyes", "Young", "Male")  # Glow's Figure 6


def quantize(image: Bytes, n_bits: int) -> Image:
    """The integer level 0 .. 2^n_bits - 1 of every value, as a float."""
    return (image >> (8 - n_bits)).float()


def dequantize(image: Bytes, n_bits: int, noise: Image | None = None) -> Image:
    """Spreads each of the 2^n_bits levels uniformly over its bin of [0, 1), so that a density can be fitted.

    Args:
        image: the images.
        n_bits: bits of every value that are kept.
        noise: where in its bin each value lies, 0 to 1; drawn anew if it is not given.
    """
    levels = quantize(image, n_bits)
    x = (levels + (torch.rand_like(levels) if noise is None else noise)) / 2**n_bits
    return x.clamp(max=1 - 2**-24)  # 255 + 0.9999999 rounds to 256 in float32


def noise_of(image: Bytes) -> Image:
    """Uniform noise that is a function of each image alone.

    What an evaluation measures then depends neither on the images beside one, nor on device, process or place.
    """
    generator = torch.Generator()
    noise = [
        torch.rand(one.shape, generator=generator.manual_seed(stream_seed("noise", sha256(one.numpy()).hexdigest())))
        for one in image.cpu().contiguous()
    ]
    return torch.stack(noise).to(image.device) if noise else torch.zeros_like(image, dtype=torch.float32)


def centred(image: Bytes, n_bits: int) -> Image:
    """The middle of the bin of each level: what is encoded where the answer must not depend on chance."""
    return (quantize(image, n_bits) + 0.5) / 2**n_bits


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

    A prediction writes `latents.npy`, a row for each image; latents are decoded to `decoded/`. Of `ComparedImages` it
    takes the mean difference of latents, `direction.npy`, and moves those to be edited along it: `edited/`.

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
    predicts: ClassVar[tuple[type, ...]] = (ComparedImages, LatentVectors)
    objective: ClassVar[str] = "val/bits_per_dim"
    measures: ClassVar[Measures] = {"bits_per_dim": "min"}

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
        self.latents_file: RowsFile | None = None
        self.encoded = 0
        self.decoded: list[Bytes] = []
        self.edited: dict[int, Bytes] = {}
        """The pictures on the way of an edited image, by its place among all items."""

    def label_of(self, batch: Batch) -> Label | None:
        """What the flow is conditioned on; nothing unless a subclass says so."""
        return None

    def metrics(self, batch: Batch) -> dict[str, Tensor]:
        """Mean quantities of a batch, logged at every stage; `bits_per_dim` is among them."""
        return {"bits_per_dim": self.bits_per_dim(batch).mean()}

    def training_loss(self, metrics: dict[str, Tensor]) -> Tensor:
        return metrics["bits_per_dim"]

    def dequantized(self, image: Bytes) -> Image:
        """Images as the flow takes them: with new noise in training, else with that of each image."""
        return dequantize(image, self.n_bits, None if self.training else noise_of(image))

    def bits_per_dim(self, batch: Batch) -> PerImage:
        """Bits per dimension of each image, with one draw of the dequantisation noise."""
        x = self.dequantized(batch.image)
        return bits_per_dim(self.flow.log_prob(x, self.label_of(batch)), x[0].numel(), self.n_bits)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        metrics = self.metrics(batch)
        loss = self.training_loss(metrics)
        if loss is not metrics["bits_per_dim"]:
            metrics = {**metrics, "loss": loss}
        self.log_step(lambda: {f"train/{name}": value.detach() for name, value in metrics.items()})
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        for name, mean in self.metrics(batch).items():
            self.tally.add_mean(name, mean, len(batch.image))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)
        if isinstance(batch, AttributedImages):
            if self.attribute_means is None:
                self.attribute_means = AttributeMeans(self.flow.latent_shapes)
            self.attribute_means.update(self.flow.encode(self.dequantized(batch.image)), batch.attributes)

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

    def on_predict_start(self) -> None:
        self.attribute_means, self.encoded, self.decoded, self.edited = None, 0, [], {}
        self.latents_file = RowsFile(Path(self.trainer.default_root_dir) / "latents.npy")

    def predict_step(self, batch: Predicted, batch_idx: int) -> Columns:
        """The likelihood of images, and their latents into a file; of latents, what they decode to."""
        if isinstance(batch, LatentVectors):
            return self._decode_rows(batch)
        images = Images(batch.image) if isinstance(batch, ComparedImages) else batch
        bits = self.bits_per_dim(images)
        nats = -bits * images.image[0].numel() * math.log(2)
        latents = self.flow.encode(centred(images.image, self.n_bits))
        if self.latents_file is not None:
            self.latents_file.append(as_rows(latents))
        if isinstance(batch, ComparedImages):
            self._edit(latents, batch.role)
        self.encoded += len(images.image)
        return {"log_likelihood_nats": nats, "bits_per_dim": bits}

    def _decode_rows(self, batch: LatentVectors) -> Columns:
        x = self.flow.decode(as_latents(batch.latent, self.flow.latent_shapes))
        self.decoded.append(to_bytes(x, self.n_bits).cpu())
        return {"mean_square": batch.latent.square().mean(1)}  # about 1 for latents that are likely

    def _edit(self, latents: Latents, role: Int64[Tensor, " batch"]) -> None:
        """Counts those that show what is to change, and moves the others, which come after all of them."""
        shows = role != TO_EDIT
        if self.attribute_means is None:
            self.attribute_means = AttributeMeans(self.flow.latent_shapes)
        self.attribute_means.update([eps[shows] for eps in latents], (role[shows] == HAVING)[:, None])
        for place in (~shows).nonzero().flatten().tolist():
            self.edited[self.encoded + place] = self._moved([eps[place : place + 1] for eps in latents], 0).cpu()

    def sample_label(self, count: int) -> Label | None:
        """The labels under which `count` samples are drawn; none unless the flow is conditioned on labels."""
        return None

    def sample(self, temperature: float) -> Bytes:
        """Draws `samples` images at a temperature."""
        x = self.flow.sample(self.samples, temperature, self.sample_label(self.samples))
        return to_bytes(x, self.n_bits)

    def interpolate(self, first: Bytes, last: Bytes) -> UInt8[Tensor, "step channel height width"]:
        """The images on the straight line between the latents of two images, each given with a batch axis of 1."""
        latents = self.flow.encode(self.dequantized(torch.cat([first, last])))
        way = torch.linspace(0, 1, self.interpolation_steps, device=first.device).view(-1, 1, 1, 1)
        return to_bytes(self.flow.decode([torch.lerp(eps[:1], eps[1:], way) for eps in latents]), self.n_bits)

    def manipulate(self, image: Bytes, attribute: int) -> UInt8[Tensor, "step channel height width"]:
        """One image moved along an attribute's direction from alpha = -1 to alpha = 1."""
        return self._moved(self.flow.encode(self.dequantized(image)), attribute)

    def _moved(self, latents: Latents, attribute: int) -> UInt8[Tensor, "step channel height width"]:
        assert self.attribute_means is not None
        alpha = torch.linspace(-1, 1, self.interpolation_steps, device=latents[0].device).view(-1, 1, 1, 1)
        direction = self.attribute_means.direction(attribute)
        moved = [eps + alpha * way for eps, way in zip(latents, direction, strict=True)]
        return to_bytes(self.flow.decode(moved), self.n_bits)

    def figures(self, batch: Batch) -> dict[str, Figure]:
        image = batch.image[: self.samples]
        with self._evaluation():
            rows = {f"T={temperature:g}": self.sample(temperature) for temperature in self.temperatures}
            of_class = "" if self.sample_label(1) is None else ", class by class"
            caption = f"Samples that the model draws at each temperature T{of_class}"
            figures = {"samples": rows_of_images("Samples by temperature", rows, self._sample_columns(), caption)}
            if len(image) > 1:
                way = self.interpolate(image[:1], image[1:2])
                caption = "What the model makes of the straight line between the latents of two held-out images"
                figures["interpolation"] = rows_of_images(
                    "From one real image to another", {"": way}, len(way), caption
                )
            figures["reconstruction"] = self._reconstruction_figure(image)
            if self.attribute_means is not None:
                shown = self._shown_attributes()
                rows = {name: self.manipulate(image[:1], index) for name, index in shown.items()}
                caption = "A held-out image, its latents moved along the direction of each attribute"
                title, columns = "Attributes moved from alpha=-1 to 1", self.interpolation_steps
                figures["attributes"] = rows_of_images(title, rows, columns, caption)
        return figures

    def _sample_columns(self) -> int:
        """Of a class-conditional model as many as it has classes, if that makes full rows; else all in one row."""
        label = self.sample_label(self.samples)
        classes = self.samples if label is None else int(label.max()) + 1
        return classes if self.samples % classes == 0 else self.samples

    def write_predictions(self, names: Sequence[str], batch: Predicted, folder: Path) -> list[Path]:
        if self.decoded:
            images = torch.cat(self.decoded)
            save_pictures(list(images), [folder / DECODED / f"{name}.png" for name in names[: len(images)]])
            return [folder / DECODED]
        written = self.latents_file.finish() if self.latents_file is not None else []
        if self.edited:
            return [*written, *self._write_edited(names, folder)]
        if isinstance(batch, LatentVectors | ComparedImages):
            return written
        return [*written, *self._write_samples(batch, folder)]

    def _write_edited(self, names: Sequence[str], folder: Path) -> list[Path]:
        """Every edited image as a strip from alpha = -1 to alpha = 1, and the direction as a row of latents."""
        assert self.attribute_means is not None
        direction = RowsFile(folder / "direction.npy")
        direction.append(as_rows(self.attribute_means.direction(0)))
        for place, way in self.edited.items():
            save_png(way, folder / EDITED / f"{names[place]}.png", columns=len(way))
        return [*direction.finish(), folder / EDITED]

    def _write_samples(self, batch: Batch, folder: Path) -> list[Path]:
        images: dict[str, Bytes] = {}
        with self._evaluation():
            for temperature in self.temperatures:
                images[f"samples_T{temperature:.2f}"] = self.sample(temperature)
            if len(batch.image) > 1:
                images["interpolation"] = self.interpolate(batch.image[:1], batch.image[1:2])
        is_labelled = self.sample_label(1) is not None
        columns = self._sample_columns() if is_labelled and self._sample_columns() <= MOST_COLUMNS else GRID_COLUMNS
        written: list[Path] = []
        for name, image in images.items():
            picture, array = folder / f"{name}.png", folder / f"{name}.npy"
            save_png(image, picture, columns=columns)
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
        x = self.dequantized(image)
        latents = self.flow.encode(x)
        decoded = self.flow.decode(latents)
        per_image = (decoded - x).abs().flatten(1).amax(1)
        per_level = [(a - b).abs().max() for a, b in zip(self.flow.encode(decoded), latents, strict=True)]
        return reconstruction_figure(per_image.tolist(), [float(error) for error in per_level])
