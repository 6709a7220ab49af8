"""What a trained flow decodes, and the pictures that it edits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paperzoo.batches import HAVING, LACKING, TO_EDIT
from paperzoo.data.images.edits import PictureEdits
from paperzoo.data.images.latents import LatentFiles
from paperzoo.errors import UserError
from tests.data.conftest import Make

SHAPE = (1, 2, 4)


def pictures(folder: Path, *levels: int) -> str:
    folder.mkdir(parents=True)
    for level in levels:
        Image.fromarray(np.full((2, 4), level, dtype=np.uint8)).save(folder / f"{level:03}.png")
    return str(folder)


def test_rows_of_all_files_are_decoded_in_the_order_of_their_names(tmp_path: Path, make: Make) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    np.save(tmp_path / "b.npy", rows[:2].astype(np.float64))
    np.save(tmp_path / "c.npy", rows[2])
    assert make.problems(LatentFiles, path=str(tmp_path), image_shape=SHAPE, facts={"image_shape": SHAPE}) == []
    data = make(LatentFiles, path=str(tmp_path), image_shape=SHAPE)
    assert data.item_names() == ["b_0", "b_1", "c"]
    batch = next(iter(data.predict_dataloader()))
    np.testing.assert_array_equal(batch.latent, rows)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (
            np.zeros((2, 9)),
            "holds an array of shape (2, 9); the latents of an image of [1, 2, 4] are a row of 8 numbers",
        ),
        (np.zeros((1, 1, 8)), "holds an array of shape (1, 1, 8)"),
        (np.array(["a"] * 8), "not numbers"),
        (np.array([{}] * 8, dtype=object), "not a readable .npy file"),
    ],
)
def test_what_are_no_latents_is_said_before_anything_is_built(
    array: np.ndarray, problem: str, tmp_path: Path, make: Make
) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    found = make.problems(LatentFiles, path=str(tmp_path / "x.npy"), image_shape=SHAPE)
    assert len(found) == 1
    assert found[0].startswith(f"data.path={tmp_path / 'x.npy'}: ")
    assert problem in found[0]


def test_latents_that_are_no_finite_numbers_are_refused(tmp_path: Path, make: Make) -> None:
    np.save(tmp_path / "x.npy", np.full(8, np.nan))
    with pytest.raises(UserError, match="no finite numbers"):
        make(LatentFiles, path=str(tmp_path / "x.npy"), image_shape=SHAPE).item_names()


def test_a_folder_without_latents_and_no_folder_are_said(tmp_path: Path, make: Make) -> None:
    assert "no .npy files" in make.problems(LatentFiles, path=str(tmp_path))[0]
    assert "no such file or folder" in make.problems(LatentFiles, path=str(tmp_path / "x"))[0]


def test_pictures_to_be_edited_come_after_all_that_show_how(tmp_path: Path, make: Make) -> None:
    folders = {
        "path": pictures(tmp_path / "mine", 5),
        "having": pictures(tmp_path / "smiling", 7, 8),
        "lacking": pictures(tmp_path / "sad", 1, 2, 3),
    }
    data = make(PictureEdits, **folders, image_shape=SHAPE)
    data.setup("predict")
    batch = next(iter(data.predict_dataloader()))
    assert batch.image[:, 0, 0, 0].tolist() == [1, 2, 3, 7, 8, 5]
    assert batch.role.tolist() == [LACKING] * 3 + [HAVING] * 2 + [TO_EDIT]
    assert data.item_names()[-3:] == ["smiling/007.png", "smiling/008.png", "mine/005.png"]
    one = make(PictureEdits, **folders | {"path": str(tmp_path / "mine/005.png")}, image_shape=SHAPE)
    one.setup("predict")
    assert torch.equal(next(iter(one.predict_dataloader())).image, batch.image)


def test_a_broken_picture_is_left_out_and_named(tmp_path: Path, make: Make) -> None:
    folders = {name: pictures(tmp_path / name, 1, 2) for name in ("path", "having", "lacking")}
    (tmp_path / "having/001.png").write_bytes(b"no picture")
    data = make(PictureEdits, **folders, image_shape=SHAPE)
    assert len(data.item_names()) == 5
    assert len(data.unreadable) == 1
    assert "001.png" in data.unreadable[0]


def test_folders_that_are_not_there_are_named_by_their_keys(tmp_path: Path, make: Make) -> None:
    mine = pictures(tmp_path / "mine", 5)
    (tmp_path / "empty").mkdir()
    found = make.problems(PictureEdits, path=mine, having=str(tmp_path / "x"), lacking=str(tmp_path / "empty"))
    assert found[0].startswith("data.having=") and "no such folder" in found[0]
    assert found[1].startswith("data.lacking=") and "no pictures" in found[1]
