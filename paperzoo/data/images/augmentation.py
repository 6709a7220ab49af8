"""Random changes of whole batches of uint8 images, on the device they are on, from torch's global generators.

The classes are what a config lists as `data.augment`; the functions are what they do.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from jaxtyping import Float, Int64, UInt8
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.config import class_of

Pixels = UInt8[Tensor, "batch channel height width"]
Larger = UInt8[Tensor, "batch channel rows columns"]

# Displacements are multiples of 1/256 pixel: with 8 bits for each axis and 8 for the value, bilinear interpolation is
# exact in float32, so that flooring it gives the same image on every device.
STEPS_PER_PIXEL = 256

# On a CPU, so many values at a time stay in its cache: half as fast again.
_CACHED_VALUES = 1 << 19

# Random resized crops: torchvision's numbers.
_DRAWS = 10
_LEAST_AREA = 0.08
_WIDEST = 4 / 3


class ImageAugmentation:
    """Changes the images of a batch at random, each by itself, and nothing else in it."""

    cuts: ClassVar[bool] = False
    """Whether it makes images of one size from larger ones; they are then gathered uncut for training."""

    def __call__(self, batch: Any) -> Any:
        return batch._replace(image=self.change(batch.image))

    def change(self, image: Larger) -> Pixels:
        """The images, changed."""
        raise NotImplementedError(f"{type(self).__name__} has no change")


class RandomShift(ImageAugmentation):
    """See `random_shift`."""

    def __init__(self, fraction: Annotated[float, Ge(0), Lt(1)]) -> None:
        self.fraction = fraction

    def change(self, image: Pixels) -> Pixels:
        return random_shift(image, self.fraction)


class RandomFlip(ImageAugmentation):
    """See `random_flip`."""

    def change(self, image: Pixels) -> Pixels:
        return random_flip(image)


class RandomCrop(ImageAugmentation):
    """See `random_crop`; `shape` is that of the images that are left: channels, height and width."""

    cuts = True

    def __init__(self, shape: tuple[PositiveInt, PositiveInt, PositiveInt]) -> None:
        _, self.height, self.width = shape

    def change(self, image: Larger) -> Pixels:
        return random_crop(image, self.height, self.width)


class RandomResizedCrop(ImageAugmentation):
    """See `random_resized_crop`; `shape` is that of the images that are left."""

    cuts = True

    def __init__(self, shape: tuple[PositiveInt, PositiveInt, PositiveInt]) -> None:
        _, self.height, self.width = shape

    def change(self, image: Larger) -> Pixels:
        return random_resized_crop(image, self.height, self.width)


class PadAndCrop(ImageAugmentation):
    """A random window, as large as the image, of the image with `padding` black pixels at each side.

    The usual augmentation of CIFAR's classifiers, together with flips (He et al. 2016, section 4.2: 4 pixels).
    """

    def __init__(self, padding: NonNegativeInt) -> None:
        self.padding = padding

    def change(self, image: Pixels) -> Pixels:
        return random_crop(F.pad(image, [self.padding] * 4), image.shape[2], image.shape[3])


class ShiftAndTurn(ImageAugmentation):
    """See `random_shift_and_turn`."""

    def __init__(self, padding: NonNegativeInt, rotation: Annotated[float, Ge(0)]) -> None:
        self.padding, self.rotation = padding, rotation

    def change(self, image: Pixels) -> Pixels:
        return random_shift_and_turn(image, self.padding, self.rotation)


def cutting(augment: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which nodes of a config's list of augmentations cut images, by their number."""
    classes = [class_of(node, ImageAugmentation) for node in augment]
    return [number for number, change in enumerate(classes) if change is not None and change.cuts]


def cut_problems(augment: Sequence[Mapping[str, Any]], wanted: Sequence[int]) -> Iterator[str]:
    """What is wrong with the sizes that a config's list of augmentations cuts images to.

    Args:
        augment: the nodes.
        wanted: channels, height and width that the model gets.
    """
    for number in cutting(augment):
        shape = list(augment[number]["shape"])
        if shape != list(wanted):
            yield f"augment[{number}].shape={shape}: should be data.image_shape, {list(wanted)}"


def random_shift(image: Pixels, fraction: float) -> Pixels:
    """Moves each image by up to `fraction` of its size in each axis, evenly distributed, independently for each image.

    Bilinear interpolation, floored; what comes in from outside repeats the nearest edge. This is augmentation level 1
    of the code of Glow (Kingma & Dhariwal 2018): Keras' `width_shift_range=0.1, height_shift_range=0.1`.
    """
    batch, _, height, width = image.shape
    reach = STEPS_PER_PIXEL * fraction * torch.tensor([[height], [width]], device=image.device)
    steps = ((2 * torch.rand(2, batch, device=image.device) - 1) * reach).trunc().long()
    return shift(image, steps[0], steps[1])


def shift(image: Pixels, down: Int64[Tensor, " batch"], right: Int64[Tensor, " batch"]) -> Pixels:
    """Each image moved down and to the right by so many 1/256 of a pixel; see `random_shift`."""
    if image.device.type != "cpu":
        return _shift(image, down, right)
    group = max(1, _CACHED_VALUES // image[0].numel())
    parts = zip(image.split(group), down.split(group), right.split(group), strict=True)
    return torch.cat([_shift(*part) for part in parts])


def _shift(image: Pixels, down: Int64[Tensor, " batch"], right: Int64[Tensor, " batch"]) -> Pixels:
    _, _, height, width = image.shape
    top, left = -down, -right
    whole_top, whole_left = top // STEPS_PER_PIXEL, left // STEPS_PER_PIXEL
    pixels = windows(image, whole_top, whole_left, height + 1, width + 1).float()
    pixels = _blend(pixels[:, :, :-1], pixels[:, :, 1:], top - STEPS_PER_PIXEL * whole_top)
    pixels = _blend(pixels[..., :-1], pixels[..., 1:], left - STEPS_PER_PIXEL * whole_left)
    return pixels.byte().contiguous()


def _blend(near: Tensor, far: Tensor, steps: Tensor) -> Tensor:
    # in place: twice as fast on a CPU as torch.lerp
    return far.sub(near).mul_(steps[:, None, None, None] / STEPS_PER_PIXEL).add_(near)


def random_flip(image: Pixels) -> Pixels:
    """Mirrors each image, left to right, with probability 1/2."""
    mirrored = torch.rand(len(image), device=image.device) < 0.5
    return torch.where(mirrored[:, None, None, None], image.flip(-1), image)


def random_shift_and_turn(image: Pixels, padding: int, rotation: float) -> Pixels:
    """Each image moved by whole pixels, up to `padding` in each axis, and turned by up to `rotation` radians.

    All moves and angles are equally likely. Bilinear interpolation, rounded; what comes in from outside is black.
    """
    batch, _, height, width = image.shape
    angle = rotation * (2 * torch.rand(batch, device=image.device) - 1)
    move = torch.randint(-padding, padding + 1, (2, batch), device=image.device)
    cos, sin = angle.cos(), angle.sin()
    across, down = 2 * move[0] / width, 2 * move[1] / height
    turn = torch.stack([cos, -sin * height / width, across, sin * width / height, cos, down], 1).view(batch, 2, 3)
    grid = F.affine_grid(turn, list(image.shape), align_corners=False)
    return F.grid_sample(image.float(), grid, mode="bilinear", align_corners=False).round_().byte()


def random_crop(image: Larger, height: int, width: int) -> UInt8[Tensor, "batch channel {height} {width}"]:
    """A window of `height` x `width` of each image, each possible place equally likely."""
    room = torch.tensor([[image.shape[2] - height], [image.shape[3] - width]], device=image.device)
    corner = (torch.rand(2, len(image), device=image.device) * (room + 1)).long().minimum(room)
    return windows(image, corner[0], corner[1], height, width).contiguous()


def random_resized_crop(image: Larger, height: int, width: int) -> UInt8[Tensor, "batch channel {height} {width}"]:
    """A random part of each image, scaled to `height` x `width` (Szegedy et al. 2015, section 6).

    Its area is evenly distributed from 8 to 100 % of the image's, the logarithm of its proportions from 3:4 to 4:3; of
    ten draws the first that fits is taken, else the largest part around the centre. Bilinear interpolation, rounded.
    """
    batch, _, rows, columns = image.shape
    area, proportions, down, right = torch.rand(4, batch, _DRAWS, device=image.device)
    area = rows * columns * (_LEAST_AREA + (1 - _LEAST_AREA) * area)
    proportions = torch.exp(math.log(_WIDEST) * (2 * proportions - 1))
    tall, wide = (area / proportions).sqrt().round(), (area * proportions).sqrt().round()
    fits = (tall <= rows) & (wide <= columns) & (tall >= 1) & (wide >= 1)
    first = fits.int().argmax(1, keepdim=True)
    fits, tall, wide, down, right = (draw.gather(1, first)[:, 0] for draw in (fits, tall, wide, down, right))
    tall, wide = (
        tall.where(fits, min(rows, round(columns * _WIDEST))),
        wide.where(fits, min(columns, round(rows * _WIDEST))),
    )
    top = torch.where(fits, (down * (rows - tall + 1)).floor(), (rows - tall) / 2)
    left = torch.where(fits, (right * (columns - wide + 1)).floor(), (columns - wide) / 2)
    return scaled_windows(image, torch.stack([top, left, tall, wide], 1), height, width)


def scaled_windows(
    image: Larger, window: Float[Tensor, "batch 4"], height: int, width: int
) -> UInt8[Tensor, "batch channel {height} {width}"]:
    """Each image's own window, of (top, left, height, width) in pixels, scaled to `height` x `width`; rounded."""
    rows, columns = image.shape[2:]
    top, left, tall, wide = window.T[..., None]
    y = (top + tall * (torch.arange(height, device=image.device) + 0.5) / height) * 2 / rows - 1
    x = (left + wide * (torch.arange(width, device=image.device) + 0.5) / width) * 2 / columns - 1
    grid = torch.stack([x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], 3)
    picked = F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return picked.round_().byte()


def windows(
    image: Larger,
    top: Int64[Tensor, " batch"],
    left: Int64[Tensor, " batch"],
    height: int,
    width: int,
) -> UInt8[Tensor, "batch channel {height} {width}"]:
    """Each image's window of `height` x `width` with its own corner; pixels outside the image repeat its edge."""
    batch, channels, rows, columns = image.shape
    plane = torch.arange(batch * channels, device=image.device).view(batch, channels, 1)
    row = (top[:, None] + torch.arange(height, device=image.device)).clamp(0, rows - 1)
    column = (left[:, None] + torch.arange(width, device=image.device)).clamp(0, columns - 1)
    # whole rows, then whole columns of the transposed image: many times faster than indexing pixels
    picked = image.reshape(-1, columns).index_select(0, (plane * rows + row[:, None]).flatten())
    picked = picked.view(batch, channels, height, columns).transpose(2, 3).reshape(-1, height)
    picked = picked.index_select(0, (plane * columns + column[:, None]).flatten())
    return picked.view(batch, channels, width, height).transpose(2, 3)
