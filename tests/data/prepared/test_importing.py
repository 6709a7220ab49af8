"""Filling the prepared data from files on this machine."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from paperzoo.data.images.small_images import Cifar10, Mnist
from paperzoo.data.prepared.importing import import_folder, importable
from paperzoo.errors import UserError
from tests.conftest import ROOT
from tests.data.conftest import Make, TrustFiles
from tests.data.official_files import random_images, write_cifar10, write_idx


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """CIFAR-10 as plain arrays, 12 / 5 images."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    for part, count in (("train", 12), ("test", 5)):
        np.save(folder / f"{part}_images.npy", random_images(count, 3, 32, 32))
        np.save(folder / f"{part}_labels.npy", np.arange(count, dtype=np.uint8) % 10)
    return folder


def refusal(name: str, folder: Path, data_root: Path) -> str:
    with pytest.raises(UserError) as caught:
        import_folder(name, folder, str(data_root))
    assert not list(data_root.rglob("manifest.json"))
    return str(caught.value)


def test_official_files_are_imported_and_then_used_without_downloads(
    tmp_path: Path, data_root: Path, make: Make, trust_files: TrustFiles
) -> None:
    written = write_idx(tmp_path / "official")
    trust_files(Mnist, tmp_path / "official")
    import_folder("mnist", tmp_path / "official", str(data_root))
    assert make.problems(Mnist) == []
    data = make(Mnist)
    data.prepare_data()
    data.setup()
    np.testing.assert_array_equal(data.items("train")[torch.arange(20)].image, written["train_images"])


def test_plain_arrays_are_imported(arrays: Path, data_root: Path, make: Make) -> None:
    import_folder("cifar10", arrays, str(data_root))
    data = make(Cifar10)
    data.prepare_data()
    data.setup()
    train, test = data.items("train")[torch.arange(12)], data.items("test")[torch.arange(5)]
    np.testing.assert_array_equal(train.image, np.load(arrays / "train_images.npy"))
    assert torch.equal(test.label, torch.arange(5))


def test_grey_arrays_need_no_axis_of_channels(tmp_path: Path, data_root: Path) -> None:
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}_images.npy", random_images(3, 28, 28))
        np.save(tmp_path / f"{part}_labels.npy", np.zeros(3, dtype=np.int64))
    import_folder("mnist", tmp_path, str(data_root))
    assert Mnist.file_set.cache(str(data_root)).shape("train_images") == (3, 1, 28, 28)


def test_attributes_are_imported(tmp_path: Path, data_root: Path) -> None:
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}_images.npy", random_images(3, 3, 64, 64))
        np.save(tmp_path / f"{part}_attributes.npy", np.eye(3, 40, dtype=bool))
    import_folder("celeba", tmp_path, str(data_root))
    assert importable()["celeba"].cache(str(data_root)).open("train_attributes").sum() == 3


IMAGES, LABELS = "train_images.npy", "train_labels.npy"
REFUSALS = {
    "float images": (IMAGES, np.zeros((12, 3, 32, 32), dtype=np.float32), "values of type float32, expected uint8"),
    "channels last": (IMAGES, random_images(12, 32, 32, 3), "move the channels to the front"),
    "another size": (IMAGES, random_images(12, 3, 28, 28), r"expected \(images, 3, 32, 32\)"),
    "no images": (IMAGES, random_images(0, 3, 32, 32), "no images"),
    "unequal lengths": (IMAGES, random_images(11, 3, 32, 32), "11 train_images, 12 train_labels"),
    "labels too large": (LABELS, np.arange(12), "labels from 0 to 11, expected 0 to 9"),
    "labels below zero": (LABELS, np.full(12, -1), "labels from -1 to -1"),
    "float labels": (LABELS, np.zeros(12), "expected one whole number for each image"),
    "one-hot labels": (LABELS, np.eye(12, 10, dtype=np.int64), "expected one whole number for each image"),
    "objects": (LABELS, np.array([{}] * 12, dtype=object), "not a readable .npy file of plain numbers"),
}


@pytest.mark.parametrize(("file", "content", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_arrays_that_do_not_fit_are_refused(
    arrays: Path, data_root: Path, file: str, content: np.ndarray, message: str
) -> None:
    np.save(arrays / file, content, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        import_folder("cifar10", arrays, str(data_root))
    assert not list(data_root.rglob("manifest.json"))


def test_all_problems_are_said_together(arrays: Path, data_root: Path) -> None:
    (arrays / "test_labels.npy").unlink()
    np.save(arrays / IMAGES, np.zeros((12, 3, 32, 32)))
    message = refusal("cifar10", arrays, data_root)
    assert "test_labels.npy: missing" in message
    assert "float64" in message


def test_a_truncated_array_is_refused(arrays: Path, data_root: Path) -> None:
    content = (arrays / IMAGES).read_bytes()
    (arrays / IMAGES).write_bytes(content[:-1])
    assert f"{IMAGES}: not a readable .npy file" in refusal("cifar10", arrays, data_root)


def test_the_wrong_official_file_is_refused(tmp_path: Path, data_root: Path) -> None:
    write_cifar10(tmp_path / "official")
    assert "its md5 checksum is" in refusal("cifar10", tmp_path / "official", data_root)


def test_what_is_missing_and_what_would_do_is_said(tmp_path: Path, data_root: Path) -> None:
    message = refusal("cifar10", tmp_path, data_root)
    assert "cifar-10-python.tar.gz is missing" in message
    assert "train_images.npy, train_labels.npy" in message


def test_prepared_data_is_not_overwritten(arrays: Path, data_root: Path) -> None:
    import_folder("cifar10", arrays, str(data_root))
    with pytest.raises(UserError, match="prepared already"):
        import_folder("cifar10", arrays, str(data_root))


def test_unknown_names_and_folders_are_refused(tmp_path: Path, data_root: Path) -> None:
    assert "there are amazon, " in refusal("cifar", tmp_path, data_root)
    assert "there is no such folder" in refusal("cifar10", tmp_path / "nowhere", data_root)


def test_every_category_of_lsun_can_be_imported() -> None:
    categories = ("bedroom", "tower", "church_outdoor")
    assert {f"lsun_{category}{side}" for category in categories for side in ("", "_128")} <= importable().keys()


def test_sets_of_all_kinds_can_be_imported_by_their_names() -> None:
    sets = importable()
    assert {"cifar10", "digits", "gtsrb", "celeba_hq", "amazon", "sudoku17"} <= sets.keys()
    assert any(name.startswith("clevr") for name in sets)
    assert any(name.startswith("babi") for name in sets)
    assert all(file_set.name == name for name, file_set in sets.items())


def test_images_alone_come_from_plain_arrays() -> None:
    sets = importable()
    assert sets["cifar10"].columns == ("images", "labels")
    assert sets["celeba"].columns == ("images", "attributes")
    assert sets["imagenet32"].columns == ("images",)
    assert sets["sudoku17"].columns == ()


def test_the_help_imports_no_data_set() -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "scripts/import_data.py"), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "--list names them all" in result.stdout
    assert "torch" not in result.stderr


def test_the_script_ends_with_2_and_no_traceback_on_a_mistake(arrays: Path, data_root: Path) -> None:
    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts/import_data.py"), *arguments, "--data-root", str(data_root)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    good = script("cifar10", str(arrays))
    assert good.returncode == 0, good.stderr
    assert f"cifar10 is ready in {data_root / 'cifar10'}" in good.stdout
    again = script("cifar10", str(arrays))
    assert again.returncode == 2
    assert "prepared already" in again.stderr
    assert "Traceback" not in again.stderr
