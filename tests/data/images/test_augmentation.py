"""Shifts, turns, flips and crops of whole batches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from paperzoo.batches import LabelledImages
from paperzoo.data.images.augmentation import (
    STEPS_PER_PIXEL,
    ImageAugmentation,
    PadAndCrop,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomShift,
    ShiftAndTurn,
    random_crop,
    random_flip,
    random_resized_crop,
    random_shift,
    random_shift_and_turn,
    shift,
    windows,
)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (64, 3, 12, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("down", "right"), [(0.0, 0.0), (2.0, -3.0), (0.5, 0.25), (-1.75, 3.125), (-20.0, 0.5)])
def test_shift_is_scipys_bilinear_translation_floored(images: torch.Tensor, down: float, right: float) -> None:
    steps = [torch.full((len(images),), int(by * STEPS_PER_PIXEL)) for by in (down, right)]
    expected = ndimage.shift(images.double().numpy(), (0, 0, down, right), order=1, mode="nearest")
    np.testing.assert_array_equal(shift(images, *steps).numpy(), np.floor(expected).astype(np.uint8))


def test_each_image_of_a_batch_moves_by_itself(images: torch.Tensor) -> None:
    steps = torch.arange(len(images)) * 37 - 1000
    together = shift(images, steps, -steps)
    alone = [shift(images[i : i + 1], steps[i : i + 1], -steps[i : i + 1]) for i in range(len(images))]
    assert torch.equal(together, torch.cat(alone))


def test_random_shift_moves_by_at_most_its_fraction_and_not_on_average() -> None:
    torch.manual_seed(0)
    dots = torch.zeros(4000, 1, 40, 40, dtype=torch.uint8)
    dots[:, :, 18:22, 18:22] = 200
    moved = random_shift(dots, 0.1).double()[:, 0]
    place = torch.arange(40, dtype=torch.double) - 19.5
    weight = moved.sum((1, 2))
    displacement = torch.stack([(moved.sum(2) * place).sum(1), (moved.sum(1) * place).sum(1)]) / weight
    assert displacement.abs().max() <= 4.02  # flooring moves the centre of mass a little
    assert displacement.abs().max() > 3.9
    assert displacement.mean(1).abs().max() < 0.15
    assert abs(float(displacement.std()) - 8 / 12**0.5) < 0.1  # evenly distributed between -4 and 4
    assert abs(np.corrcoef(displacement.numpy())[0, 1]) < 0.1


def test_nothing_comes_in_from_the_opposite_side() -> None:
    torch.manual_seed(0)
    halves = torch.zeros(500, 1, 20, 20, dtype=torch.uint8)
    halves[..., 10:] = 255
    moved = random_shift(halves, 0.4)
    assert (moved[..., 0] == 0).all()
    assert (moved[..., -1] == 255).all()


def test_a_flat_image_stays_as_it_is_wherever_it_moves() -> None:
    flat = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 9, 9)
    assert torch.equal(random_shift(flat, 0.5), flat)


def test_random_flip_mirrors_about_half_of_the_images(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    many = images.repeat(20, 1, 1, 1)
    flipped = random_flip(many)
    same = (flipped == many).all(-1).all(-1).all(-1)
    assert torch.equal(flipped[~same], many[~same].flip(-1))
    assert 0.45 < float(same.double().mean()) < 0.55


def test_random_crops_are_windows_of_their_image_from_everywhere() -> None:
    torch.manual_seed(0)
    numbered = torch.arange(48, dtype=torch.uint8).view(1, 1, 6, 8).expand(2000, -1, -1, -1)
    crops = random_crop(numbered, 4, 4)
    corner = crops[:, 0, 0, 0].long()
    row, column = corner // 8, corner % 8
    assert torch.equal(crops, windows(numbered, row, column, 4, 4))
    assert set(row.tolist()) == {0, 1, 2}
    assert set(column.tolist()) == {0, 1, 2, 3, 4}
    assert torch.bincount(row).min() > 550
    assert torch.bincount(column).min() > 320


def test_augmentation_follows_torchs_seed(images: torch.Tensor) -> None:
    def augmented(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return random_flip(random_shift(images, 0.1))

    assert torch.equal(augmented(1), augmented(1))
    assert not torch.equal(augmented(1), augmented(2))


AUGMENTATIONS: dict[str, tuple[ImageAugmentation, Callable[..., torch.Tensor], tuple[Any, ...]]] = {
    "shift": (RandomShift(0.2), random_shift, (0.2,)),
    "flip": (RandomFlip(), random_flip, ()),
    "crop": (RandomCrop((3, 8, 9)), random_crop, (8, 9)),
    "resized crop": (RandomResizedCrop((3, 8, 9)), random_resized_crop, (8, 9)),
    "shift and turn": (ShiftAndTurn(2, 0.3), random_shift_and_turn, (2, 0.3)),
}


@pytest.mark.parametrize(("change", "function", "arguments"), AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
def test_a_class_does_to_a_batch_what_its_function_does_to_the_images(
    images: torch.Tensor, change: ImageAugmentation, function: Callable[..., torch.Tensor], arguments: tuple[Any, ...]
) -> None:
    batch = LabelledImages(images, torch.arange(len(images)))
    torch.manual_seed(0)
    changed = change(batch)
    torch.manual_seed(0)
    assert torch.equal(changed.image, function(images, *arguments))
    assert torch.equal(changed.label, batch.label)
    assert change.cuts == (changed.image.shape != images.shape)


def test_padded_crops_are_the_image_moved_by_whole_pixels_with_black_around() -> None:
    torch.manual_seed(0)
    numbered = torch.arange(1, 49, dtype=torch.uint8).view(1, 1, 6, 8)
    batch = LabelledImages(numbered.expand(2000, -1, -1, -1), torch.zeros(2000, dtype=torch.int64))
    padded = torch.nn.functional.pad(numbered[0, 0], [2] * 4)
    possible = {padded[i : i + 6, j : j + 8].numpy().tobytes() for i in range(5) for j in range(5)}
    seen = {image.numpy().tobytes() for image in PadAndCrop(2)(batch).image[:, 0]}
    assert seen == possible


def test_without_turning_images_move_by_whole_pixels_with_black_around() -> None:
    torch.manual_seed(0)
    dots = torch.zeros(2000, 1, 9, 9, dtype=torch.uint8)
    dots[:, :, 4, 4] = 200
    moved = random_shift_and_turn(dots, 2, 0.0)
    assert set(moved.unique().tolist()) == {0, 200}
    assert moved.flatten(1).sum(1).eq(200).all()
    rows, columns = (moved[:, 0] > 0).nonzero()[:, 1:].T
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}


def test_turning_keeps_the_middle_where_it_is_and_moves_the_rim() -> None:
    torch.manual_seed(0)
    dots = torch.zeros(500, 1, 41, 41, dtype=torch.uint8)
    dots[:, :, 20, 20] = 255
    dots[:, :, 20, 38:41] = 255
    turned = random_shift_and_turn(dots, 0, 0.3)[:, 0].double()
    assert (turned[:, 20, 20] > 180).all()
    rim = turned[:, :, 30:].sum(2)
    height = (rim * (torch.arange(41) - 20)).sum(1) / rim.sum(1)
    assert 4.5 < height.abs().max() < 19 * 0.3 + 0.3
    assert abs(float(height.mean())) < 0.5
