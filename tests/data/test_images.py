"""What all image data sets share: splits, shapes, batches, checks."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from torch import Tensor

from paperzoo.batches import LabelledImages
from paperzoo.data.digits import Digits
from paperzoo.data.downsampled_imagenet import ImageNet32
from paperzoo.data.faces import CelebA, CelebAHQ
from paperzoo.data.images import ImageData
from paperzoo.data.importing import importable
from paperzoo.data.lsun import Lsun
from paperzoo.data.small_images import Cifar10, Mnist
from paperzoo.data.splits import ResidentBatch, hold_out
from paperzoo.errors import UserError
from tests.data.conftest import MakeData, TrustFiles
from tests.data.official_files import write_idx


@pytest.fixture
def mnist(data_root: Path, trust_files: TrustFiles) -> dict[str, np.ndarray]:
    written = write_idx(data_root / "mnist/raw")
    trust_files(Mnist, data_root / "mnist/raw")
    return written


def ready(data: ImageData) -> ImageData:
    data.prepare_data()
    data.setup()
    return data


def test_batches_are_whole_and_carry_what_was_stored(mnist: dict[str, np.ndarray], make_data: MakeData) -> None:
    data = ready(make_data(Mnist))
    batches = list(data.train_dataloader())
    assert all(isinstance(batch, LabelledImages) and batch.image.shape == (4, 1, 28, 28) for batch in batches)
    first = order_of(data).order(0)[:4]
    np.testing.assert_array_equal(batches[0].image, mnist["train_images"][first])
    np.testing.assert_array_equal(batches[0].label, mnist["train_labels"][first])


def order_of(data: ImageData) -> Any:
    return data.train_dataloader().sampler


def test_an_epoch_trains_on_every_image_once(mnist: dict[str, np.ndarray], make_data: MakeData) -> None:
    data = ready(make_data(Mnist))
    seen = torch.cat([batch.image for batch in data.train_dataloader()]).numpy()
    assert sorted(image.tobytes() for image in seen) == sorted(image.tobytes() for image in mnist["train_images"])


def test_evaluation_gives_every_test_image_once_in_order(mnist: dict[str, np.ndarray], make_data: MakeData) -> None:
    data = ready(make_data(Mnist))
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        np.testing.assert_array_equal(torch.cat([batch.image for batch in loader]), mnist["test_images"])
    assert data.item_names() == [str(i) for i in range(10)]


def test_worker_processes_give_the_same_batches(mnist: dict[str, np.ndarray], make_data: MakeData) -> None:
    alone, helped = (list(ready(make_data(Mnist, workers=workers)).train_dataloader()) for workers in (0, 2))
    assert all(torch.equal(a.image, b.image) for a, b in zip(alone, helped, strict=True))


def test_a_split_is_sent_to_a_worker_without_its_images(mnist: dict[str, np.ndarray], make_data: MakeData) -> None:
    split = ready(make_data(Mnist)).splits["train"]
    assert split.arrays
    sent = pickle.dumps(split)
    assert len(sent) < 2000
    assert torch.equal(pickle.loads(sent)[torch.arange(3)].image, split[torch.arange(3)].image)


def test_held_out_images_are_the_same_for_every_seed_and_not_trained_on(
    mnist: dict[str, np.ndarray], make_data: MakeData
) -> None:
    held = []
    for seed in (0, 1):
        data = ready(make_data(Mnist, seed=seed, validation_images=8))
        train = {image.numpy().tobytes() for batch in data.train_dataloader() for image in batch.image}
        val = {image.numpy().tobytes() for batch in data.val_dataloader() for image in batch.image}
        assert len(train) == 12
        assert train | val == {image.tobytes() for image in mnist["train_images"]}
        held.append(val)
    assert held[0] == held[1]
    kept, held_rows = hold_out(50_000, 5_000)
    assert np.array_equal(np.sort(np.concatenate([kept, held_rows])), np.arange(50_000))


def test_the_order_depends_on_the_seed(mnist: dict[str, np.ndarray], make_data: MakeData) -> None:
    labels = [next(iter(ready(make_data(Mnist, seed=seed)).train_dataloader())).image for seed in (0, 0, 1)]
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])


def test_small_grey_images_are_padded_and_repeated(mnist: dict[str, np.ndarray], make_data: MakeData) -> None:
    data = ready(make_data(Mnist, image_shape=(3, 32, 33), num_classes=10))
    image = next(iter(data.test_dataloader())).image
    assert image.shape == (8, 3, 32, 33)
    np.testing.assert_array_equal(image[:, :, 2:30, 2:30], mnist["test_images"][:8].repeat(3, 1))
    assert image.sum() == 3 * mnist["test_images"][:8].sum(dtype=np.int64)


def test_a_set_on_the_device_gives_the_same_batches(mnist: dict[str, np.ndarray], make_data: MakeData) -> None:
    shape = {"image_shape": (3, 32, 32), "num_classes": 10, "validation_images": 7}
    here, there = (ready(make_data(Mnist, device_resident=resident, **shape)) for resident in (False, True))
    for name in ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"):
        for batch, stand_in in zip(getattr(here, name)(), getattr(there, name)(), strict=True):
            assert isinstance(stand_in, ResidentBatch)
            resident = there.transfer_batch_to_device(stand_in, torch.device("cpu"), 0)
            assert isinstance(resident, LabelledImages)
            assert torch.equal(batch.image, resident.image)
            assert torch.equal(batch.label, resident.label)


def test_automatic_residence_is_for_accelerators_only(mnist: dict[str, np.ndarray], make_data: MakeData) -> None:
    assert isinstance(next(iter(ready(make_data(Mnist, device_resident="auto")).train_dataloader())), LabelledImages)


def test_augmentation_leaves_the_labels_and_changes_the_images(
    mnist: dict[str, np.ndarray], make_data: MakeData
) -> None:
    batch = next(iter(ready(make_data(Mnist)).train_dataloader()))
    shifted = make_data(Mnist, shift=0.1, flip=True).augment(batch)
    assert torch.equal(shifted.label, batch.label)
    assert not torch.equal(shifted.image, batch.image)
    assert torch.equal(make_data(Mnist).augment(batch).image, batch.image)


def test_the_initial_batch_is_the_same_in_every_run_and_leaves_the_random_streams_alone(
    mnist: dict[str, np.ndarray], make_data: MakeData
) -> None:
    def initial(seed: int) -> Tensor:
        return make_data(Mnist, seed=seed, shift=0.1).initial_batch(6).image

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = initial(0)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, initial(0))
    assert not torch.equal(first, initial(1))
    assert first.shape == (6, 1, 28, 28)


def test_the_home_folder_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_data: MakeData) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ready(make_data(Digits, data_root="~/here"))
    assert (tmp_path / "here/digits/manifest.json").is_file()


def test_prepared_data_on_a_read_only_disk_is_used(
    mnist: dict[str, np.ndarray], data_root: Path, make_data: MakeData
) -> None:
    make_data(Mnist).prepare_data()
    (data_root / "mnist/.lock").unlink()
    (data_root / "mnist").chmod(0o555)
    try:
        assert next(iter(ready(make_data(Mnist)).test_dataloader()))
        assert not (data_root / "mnist/.lock").exists()
    finally:
        (data_root / "mnist").chmod(0o755)


def problems(data: type[ImageData], **arguments: Any) -> list[str]:
    return list(data.check(**arguments))


def test_every_set_says_which_file_is_missing_and_where_it_goes(arguments: dict[str, Any], data_root: Path) -> None:
    for name, (data, image_set) in importable().items():
        if name == "digits":
            continue
        own = {"image_shape": [*image_set.shape], "num_classes": image_set.num_classes}
        category = {"category": name.removeprefix("lsun_")} if data is Lsun else {}
        found = problems(data, **arguments | own | category)
        assert len(found) == 1, found
        assert found[0].startswith("data.download=false")
        assert all(source.file in found[0] for source in image_set.sources)
        assert str(data_root / name / "raw") in found[0]
        assert f"python scripts/import_data.py {name} FOLDER" in found[0]
    assert not data_root.exists()


def test_with_downloads_allowed_missing_files_are_no_problem_yet(arguments: dict[str, Any]) -> None:
    wanted = arguments | {"image_shape": [3, 32, 32], "num_classes": 10, "download": True}
    assert problems(Cifar10, **wanted) == []


def test_what_cannot_be_downloaded_is_said_before_training(arguments: dict[str, Any]) -> None:
    wanted = arguments | {"image_shape": [3, 256, 256], "num_classes": 0, "download": True}
    assert "celeba_hq cannot be downloaded" in problems(CelebAHQ, **wanted)[0]


@pytest.mark.parametrize(
    ("data", "shape", "classes"), [(Digits, [1, 7, 8], 10), (Digits, [2, 8, 8], 10), (Cifar10, [1, 32, 32], 10)]
)
def test_a_shape_that_cannot_be_reached_is_a_problem(
    arguments: dict[str, Any], data: type[ImageData], shape: list[int], classes: int
) -> None:
    found = problems(data, **arguments | {"image_shape": shape, "num_classes": classes, "download": True})
    assert len(found) == 1
    assert found[0].startswith(f"data.image_shape={shape}: ")


def test_the_wrong_number_of_classes_is_a_problem(arguments: dict[str, Any]) -> None:
    found = problems(Digits, **arguments | {"image_shape": [1, 8, 8], "num_classes": 9})
    assert found == ["data.num_classes=9: digits has 10 classes"]


def test_an_unknown_category_of_lsun_is_a_problem(arguments: dict[str, Any]) -> None:
    found = problems(Lsun, **arguments | {"image_shape": [3, 64, 64], "num_classes": 0, "category": "cat"})
    assert found == ["data.category=cat: choose one of bedroom, tower, church_outdoor"]


def test_lsun_cannot_be_cut_larger_than_it_is(arguments: dict[str, Any]) -> None:
    wanted = {"image_shape": [3, 128, 64], "num_classes": 0, "category": "tower", "download": True}
    assert problems(Lsun, **arguments | wanted)[0].startswith("data.image_shape=[3, 128, 64]")


def test_holding_out_everything_is_a_problem(arguments: dict[str, Any], make_data: MakeData) -> None:
    make_data(Digits).prepare_data()
    wanted = arguments | {"image_shape": [1, 8, 8], "num_classes": 10, "validation_images": 1497}
    assert problems(Digits, **wanted)[0].startswith("data.validation_images=1497: there are only 1497")
    with pytest.raises(UserError, match=r"data\.validation_images"):
        make_data(Digits, validation_images=1497).setup()


def test_damaged_prepared_data_is_a_problem(
    arguments: dict[str, Any], mnist: dict[str, np.ndarray], data_root: Path, make_data: MakeData
) -> None:
    make_data(Mnist).prepare_data()
    os.truncate(data_root / "mnist/train_images.npy", 1000)
    found = problems(Mnist, **arguments | {"image_shape": [1, 28, 28], "num_classes": 10})
    assert "train_images.npy: damaged" in found[0]


def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def get(url: str, **_: Any) -> Any:
        asked.append(url)
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "get", get)
    return asked


def test_without_network_the_address_the_place_and_the_import_script_are_named(
    monkeypatch: pytest.MonkeyPatch, data_root: Path, make_data: MakeData
) -> None:
    asked = no_network(monkeypatch)
    with pytest.raises(UserError) as caught:
        make_data(Cifar10, download=True).prepare_data()
    message = str(caught.value)
    assert asked == ["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"]
    for part in (asked[0], str(data_root / "cifar10/raw"), "python scripts/import_data.py cifar10 FOLDER"):
        assert part in message


def test_mirrors_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch, make_data: MakeData) -> None:
    asked = no_network(monkeypatch)
    with pytest.raises(UserError, match="no connection"):
        make_data(Mnist, download=True).prepare_data()
    assert len(asked) == 2
    assert all(url.endswith("train-images-idx3-ubyte.gz") for url in asked)


def test_a_set_on_google_drive_names_its_page(monkeypatch: pytest.MonkeyPatch, make_data: MakeData) -> None:
    def offline(*_: Any) -> None:
        raise RuntimeError("To download files from GDrive, 'gdown' is required.")

    monkeypatch.setattr("paperzoo.data.downloads.download_file_from_google_drive", offline)
    with pytest.raises(UserError, match=r"https://drive\.google\.com/file/d/0B7EVK8r0v71p.*gdown"):
        make_data(CelebA, download=True).prepare_data()


def test_download_false_never_asks_the_network(monkeypatch: pytest.MonkeyPatch, make_data: MakeData) -> None:
    asked = no_network(monkeypatch)
    with pytest.raises(UserError, match=r"data\.download=false"):
        make_data(ImageNet32).prepare_data()
    assert asked == []


def test_downloaded_files_are_kept_only_if_their_checksum_matches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data_root: Path, make_data: MakeData, mnist: dict[str, np.ndarray]
) -> None:
    served = tmp_path / "server"
    (data_root / "mnist/raw").rename(served)
    asked = serve(monkeypatch, served)
    (served / "t10k-labels-idx1-ubyte.gz").write_bytes(b"not what it was")
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte\.gz could not be downloaded"):
        make_data(Mnist, download=True).prepare_data()
    assert len(list((data_root / "mnist/raw").iterdir())) == 3
    write_idx(served)
    asked.clear()
    data = ready(make_data(Mnist, download=True))
    assert len(asked) == 1  # the other three are there already
    np.testing.assert_array_equal(data.splits["test"].arrays["image"], mnist["test_images"])


def serve(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    asked: list[str] = []

    class Response:
        def __init__(self, content: bytes) -> None:
            self.content, self.headers = content, {"content-length": str(len(content))}

        def raise_for_status(self) -> None: ...

        def iter_content(self, chunk_size: int) -> list[bytes]:
            return [self.content]

    def get(url: str, **_: Any) -> Response:
        asked.append(url)
        return Response((folder / url.rsplit("/", 1)[-1]).read_bytes())

    monkeypatch.setattr(requests, "get", get)
    return asked
