"""The user's own pictures."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from paperzoo.batches import Images
from paperzoo.data.images.image_folder import ImageFolder
from paperzoo.errors import UserError
from tests.data.conftest import Make
from tests.data.official_files import encoded, picture_folder, random_images

SHAPE = {"image_shape": (3, 16, 24)}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    picture_folder(tmp_path / "pictures", count=9)
    return tmp_path / "pictures"


def ready(make: Make, folder: Path, **changes: Any) -> ImageFolder:
    data = make(ImageFolder, path=str(folder), **SHAPE | changes)
    data.prepare_data()
    data.setup()
    return data


def test_pictures_of_any_size_come_in_one_shape_and_in_the_order_of_their_names(pictures: Path, make: Make) -> None:
    data = ready(make, pictures)
    batches = list(data.predict_dataloader())
    assert all(isinstance(batch, Images) for batch in batches)
    images = torch.cat([batch.image for batch in batches])
    assert images.shape == (9, 3, 16, 24)
    assert data.item_names() == [
        "00.jpg",
        "02.jpg",
        "04.jpg",
        "06.jpg",
        "08.jpg",
        *(f"sub/0{i}.png" for i in (1, 3, 5, 7)),
    ]


def test_a_picture_of_the_right_size_is_not_changed(tmp_path: Path, make: Make) -> None:
    pixels = random_images(1, 3, 16, 24)[0]
    (tmp_path / "a.png").write_bytes(encoded(pixels))
    np.testing.assert_array_equal(next(iter(ready(make, tmp_path).predict_dataloader())).image[0], pixels)


def test_a_wide_picture_is_cut_around_its_centre(tmp_path: Path, make: Make) -> None:
    pixels = np.zeros((3, 16, 60), dtype=np.uint8)
    pixels[:, :, 18:42] = 200
    (tmp_path / "a.png").write_bytes(encoded(pixels))
    assert (next(iter(ready(make, tmp_path).predict_dataloader())).image == 200).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_picture_becomes_grey_or_rgb(tmp_path: Path, make: Make, mode: str, channels: int) -> None:
    Image.new("RGB", (30, 20), (255, 255, 255)).convert(mode).save(tmp_path / "a.tiff")
    data = ready(make, tmp_path, image_shape=(channels, 16, 24))
    image = next(iter(data.predict_dataloader())).image
    assert image.shape == (1, channels, 16, 24)
    assert (image == 255).all()


def test_held_out_pictures_are_tested_on_and_all_are_predicted(pictures: Path, make: Make) -> None:
    data = ready(make, pictures, validation_images=3)
    parts: Any = data.parts
    sizes = {name: len(items) for name, items in parts.items()}
    assert sizes == {"train": 6, "val": 3, "test": 3, "predict": 9}
    train, test = (
        {image.numpy().tobytes() for image in parts[n][torch.arange(s)].image} for n, s in (("train", 6), ("test", 3))
    )
    assert not train & test


def test_a_changed_folder_is_prepared_anew(pictures: Path, make: Make) -> None:
    before = ready(make, pictures)
    (pictures / "00.jpg").unlink()
    after = ready(make, pictures)
    assert len(before.item_names()) == 9
    assert len(after.item_names()) == 8


@pytest.fixture
def broken(pictures: Path) -> Path:
    """Pictures, one of them cut short, one that is none, and a link to nothing."""
    path = pictures / "sub/03.png"
    os.truncate(path, path.stat().st_size // 2)
    (pictures / "03.png").write_text("hello")
    (pictures / "z.png").symlink_to(pictures / "gone.png")
    return pictures


LEFT = ["00.jpg", "02.jpg", "04.jpg", "06.jpg", "08.jpg", "sub/01.png", "sub/05.png", "sub/07.png"]


def test_broken_pictures_are_left_out_and_all_of_them_are_named_in_every_run(broken: Path, make: Make) -> None:
    for _ in range(2):  # prepared, then found prepared
        data = ready(make, broken)
        images = torch.cat([batch.image for batch in data.predict_dataloader()])
        assert (len(images), data.item_names()) == (8, LEFT)
        assert [problem.partition(" (")[0].removeprefix(f"{broken}/") for problem in data.unreadable] == [
            "03.png: not a readable picture",
            "sub/03.png: not a readable picture",
            f"z.png: a link to {broken}/gone.png, which is not there; mend or delete the link",
        ]


def test_training_goes_on_without_broken_pictures_and_names_them(
    broken: Path, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    data = make(ImageFolder, path=str(broken), validation_images=2, **SHAPE)
    data.prepare_data()
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
        data.setup("fit")
    parts: Any = data.parts
    assert {name: len(items) for name, items in parts.items()} == {"train": 6, "val": 2, "test": 2, "predict": 8}
    assert len(caplog.messages) == 3
    assert all(message.endswith("; left out") for message in caplog.messages)


def test_a_mended_picture_is_used(broken: Path, make: Make) -> None:
    assert len(ready(make, broken).item_names()) == 8
    (broken / "03.png").write_bytes(encoded(random_images(1, 3, 16, 24)[0]))
    assert ready(make, broken).item_names() == [LEFT[0], LEFT[1], "03.png", *LEFT[2:]]


def test_if_no_picture_can_be_read_all_are_named(tmp_path: Path, make: Make) -> None:
    for name in ("a.png", "b.heic"):
        (tmp_path / name).write_text("hello")
    with pytest.raises(UserError) as caught:
        ready(make, tmp_path)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        str(tmp_path / name) for name in ("a.png", "b.heic")
    ]


def test_a_picture_with_odd_values_is_named_in_every_run(
    tmp_path: Path, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(np.linspace(-1, 1, 16 * 24, dtype=np.float32).reshape(16, 24)).save(tmp_path / "a.tiff")
    for run in (1, 2):
        with caplog.at_level(logging.WARNING):
            data = ready(make, tmp_path)
        assert len(caplog.messages) == run
        assert caplog.messages[-1].startswith(f"{tmp_path}/a.tiff: values from -1 to 1, which is none of the ranges")
    assert data.unreadable == []
    assert next(iter(data.predict_dataloader())).image.float().mean() == pytest.approx(127.5, abs=1)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "data.path: has no value"),
        ("nowhere", "data.path=.*nowhere: there is no such folder"),
        ("notes.txt", "data.path=.*notes.txt: is a file; give the folder that it lies in"),
        ("", "no pictures"),
    ],
)
def test_a_folder_that_cannot_be_used_is_a_problem(make: Make, tmp_path: Path, path: str | None, message: str) -> None:
    (tmp_path / "notes.txt").touch()
    problems = make.problems(ImageFolder, path=None if path is None else str(tmp_path / path), **SHAPE)
    assert len(problems) == 1
    with pytest.raises(UserError, match=message):
        raise UserError(*problems)


def test_a_number_of_channels_that_pictures_do_not_have_is_a_problem(make: Make, pictures: Path) -> None:
    found = make.problems(ImageFolder, image_shape=(2, 8, 8), path=str(pictures))
    assert found == ["data.image_shape=[2, 8, 8]: choose 1 channel (grey) or 3 (RGB)"]


def test_a_good_folder_is_no_problem(make: Make, pictures: Path) -> None:
    assert make.problems(ImageFolder, path=str(pictures), **SHAPE) == []
