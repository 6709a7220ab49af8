"""What all image data sets share: parts, shapes, batches, checks."""

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
from paperzoo.data.base.items import DeferredBatch
from paperzoo.data.base.order import hold_out
from paperzoo.data.images.augmentation import RandomCrop, RandomFlip, RandomShift
from paperzoo.data.images.downsampled_imagenet import ImageNet32
from paperzoo.data.images.faces import CelebA, CelebAHQ
from paperzoo.data.images.image_folder import ImageFolder
from paperzoo.data.images.lsun import FILE_SETS as LSUN_SETS
from paperzoo.data.images.lsun import Lsun
from paperzoo.data.images.mnist_m import BlendedMnist, MnistM
from paperzoo.data.images.module import ImageData
from paperzoo.data.images.small_images import Cifar10, Cifar100, Digits, FashionMnist, Mnist, Svhn, Usps
from paperzoo.data.images.syn_numbers import SynNumbers
from paperzoo.data.images.traffic_signs import GtsrbImages
from paperzoo.errors import UserError
from tests.data.conftest import Make, TrustFiles
from tests.data.official_files import write_idx

AUGMENTATION = "paperzoo.data.images.augmentation"


@pytest.fixture
def mnist(data_root: Path, trust_files: TrustFiles) -> dict[str, np.ndarray]:
    written = write_idx(data_root / "mnist/raw")
    trust_files(Mnist, data_root / "mnist/raw")
    return written


def ready(data: ImageData) -> ImageData:
    data.prepare_data()
    data.setup()
    return data


def test_batches_are_whole_and_carry_what_was_stored(mnist: dict[str, np.ndarray], make: Make) -> None:
    data = ready(make(Mnist))
    batches = list(data.train_dataloader())
    assert all(isinstance(batch, LabelledImages) and batch.image.shape == (4, 1, 28, 28) for batch in batches)
    first = order_of(data).order(0)[:4]
    np.testing.assert_array_equal(batches[0].image, mnist["train_images"][first])
    np.testing.assert_array_equal(batches[0].label, mnist["train_labels"][first])


def order_of(data: ImageData) -> Any:
    return data.train_dataloader().sampler


def test_an_epoch_trains_on_every_image_once(mnist: dict[str, np.ndarray], make: Make) -> None:
    data = ready(make(Mnist))
    seen = torch.cat([batch.image for batch in data.train_dataloader()]).numpy()
    assert sorted(image.tobytes() for image in seen) == sorted(image.tobytes() for image in mnist["train_images"])


def test_evaluation_gives_every_test_image_once_in_order(mnist: dict[str, np.ndarray], make: Make) -> None:
    data = ready(make(Mnist))
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        np.testing.assert_array_equal(torch.cat([batch.image for batch in loader]), mnist["test_images"])
    assert data.item_names() == [str(i) for i in range(10)]


def test_worker_processes_give_the_same_batches(mnist: dict[str, np.ndarray], make: Make) -> None:
    alone, helped = (list(ready(make(Mnist, workers=workers)).train_dataloader()) for workers in (0, 2))
    assert all(torch.equal(a.image, b.image) for a, b in zip(alone, helped, strict=True))


def test_a_part_is_sent_to_a_worker_without_its_images(mnist: dict[str, np.ndarray], make: Make) -> None:
    items = ready(make(Mnist)).items("train")
    batch = items[torch.arange(3)]
    sent = pickle.dumps(items)
    assert len(sent) < 2000
    assert torch.equal(pickle.loads(sent)[torch.arange(3)].image, batch.image)


def test_held_out_images_are_the_same_for_every_seed_and_not_trained_on(
    mnist: dict[str, np.ndarray], make: Make
) -> None:
    held = []
    for seed in (0, 1):
        data = ready(make(Mnist, seed=seed, validation_images=8))
        train = {image.numpy().tobytes() for batch in data.train_dataloader() for image in batch.image}
        val = {image.numpy().tobytes() for batch in data.val_dataloader() for image in batch.image}
        assert len(train) == 12
        assert train | val == {image.tobytes() for image in mnist["train_images"]}
        held.append(val)
    assert held[0] == held[1]


def test_every_item_is_held_out_in_one_fold_and_trained_on_in_the_others() -> None:
    held = []
    for fold in range(10):
        kept, out = hold_out(50_000, 5_000, fold)
        assert np.array_equal(np.sort(np.concatenate([kept, out])), np.arange(50_000))
        held.append(out)
    assert np.array_equal(np.sort(np.concatenate(held)), np.arange(50_000))
    with pytest.raises(UserError, match=r"data\.fold=10: 5000 of 50000 items are held out; choose 0 \.\.\. 9"):
        hold_out(50_000, 5_000, 10)


def test_the_order_depends_on_the_seed(mnist: dict[str, np.ndarray], make: Make) -> None:
    labels = [next(iter(ready(make(Mnist, seed=seed)).train_dataloader())).image for seed in (0, 0, 1)]
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])


def test_small_grey_images_are_padded_and_repeated(mnist: dict[str, np.ndarray], make: Make) -> None:
    data = ready(make(Mnist, image_shape=(3, 32, 33)))
    image = next(iter(data.test_dataloader())).image
    assert image.shape == (8, 3, 32, 33)
    np.testing.assert_array_equal(image[:, :, 2:30, 2:30], mnist["test_images"][:8].repeat(3, 1))
    assert image.sum() == 3 * mnist["test_images"][:8].sum(dtype=np.int64)


def test_a_set_on_the_device_gives_the_same_batches(mnist: dict[str, np.ndarray], make: Make) -> None:
    shape = {"image_shape": (3, 32, 32), "validation_images": 7}
    here, there = (ready(make(Mnist, device_resident=resident, **shape)) for resident in (False, True))
    for name in ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"):
        for batch, stand_in in zip(getattr(here, name)(), getattr(there, name)(), strict=True):
            assert isinstance(stand_in, DeferredBatch)
            resident = there.transfer_batch_to_device(stand_in, torch.device("cpu"), 0)
            assert isinstance(resident, LabelledImages)
            assert torch.equal(batch.image, resident.image)
            assert torch.equal(batch.label, resident.label)


def test_automatic_residence_is_for_accelerators_only(mnist: dict[str, np.ndarray], make: Make) -> None:
    assert isinstance(next(iter(ready(make(Mnist, device_resident="auto")).train_dataloader())), LabelledImages)


def test_augmentation_leaves_the_labels_and_changes_the_images(mnist: dict[str, np.ndarray], make: Make) -> None:
    batch = next(iter(ready(make(Mnist)).train_dataloader()))
    shifted = make(Mnist, augment=[RandomShift(0.1), RandomFlip()]).augment(batch)
    assert torch.equal(shifted.label, batch.label)
    assert not torch.equal(shifted.image, batch.image)
    assert torch.equal(make(Mnist).augment(batch).image, batch.image)


def test_the_initial_batch_is_the_same_in_every_run_and_leaves_the_random_streams_alone(
    mnist: dict[str, np.ndarray], make: Make
) -> None:
    def initial(seed: int) -> Tensor:
        return make(Mnist, seed=seed, augment=[RandomShift(0.1)]).initial_batch(6).image

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = initial(0)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, initial(0))
    assert not torch.equal(first, initial(1))
    assert first.shape == (6, 1, 28, 28)


def test_the_home_folder_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Make) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ready(make(Digits, data_root="~/here"))
    assert (tmp_path / "here/digits/manifest.json").is_file()


def test_prepared_data_on_a_read_only_disk_is_used(mnist: dict[str, np.ndarray], data_root: Path, make: Make) -> None:
    make(Mnist).prepare_data()
    (data_root / "mnist/.lock").unlink()
    (data_root / "mnist").chmod(0o555)
    try:
        assert next(iter(ready(make(Mnist)).test_dataloader()))
        assert not (data_root / "mnist/.lock").exists()
    finally:
        (data_root / "mnist").chmod(0o755)


def test_every_set_says_which_file_is_missing_and_where_it_goes(make: Make, data_root: Path) -> None:
    sets: list[Any] = [
        *(Mnist, FashionMnist, Usps, Cifar10, Cifar100, Svhn, MnistM, BlendedMnist, SynNumbers, GtsrbImages),
        *(CelebA, CelebAHQ, ImageNet32, Lsun),
    ]
    for data in sets:
        file_set = LSUN_SETS["bedroom"] if data is Lsun else data.file_set
        found = make.problems(data)
        assert len(found) == 1, found
        assert found[0].startswith("data.download=false")
        assert all(source.file in found[0] for source in file_set.sources)
        assert str(data_root / file_set.name / "raw") in found[0]
        assert f"python scripts/import_data.py {file_set.name} FOLDER" in found[0]
    assert not data_root.exists()


def test_with_downloads_allowed_missing_files_are_no_problem_yet(make: Make) -> None:
    assert make.problems(Cifar10, download=True) == []


def test_what_cannot_be_downloaded_is_said_before_training(make: Make) -> None:
    assert "celeba_hq cannot be downloaded" in make.problems(CelebAHQ, download=True)[0]


@pytest.mark.parametrize(("data", "shape"), [(Digits, [1, 7, 8]), (Digits, [2, 8, 8]), (Cifar10, [1, 32, 32])])
def test_a_shape_that_cannot_be_reached_is_a_problem(make: Make, data: type[ImageData], shape: list[int]) -> None:
    found = make.problems(data, image_shape=shape, download=True)
    assert len(found) == 1
    assert found[0].startswith(f"data.image_shape={shape}: ")


def test_the_wrong_number_of_classes_is_a_problem(make: Make) -> None:
    assert make.problems(Digits, facts={"num_classes": 9}) == [
        "data.facts.num_classes=9: it is 10 in these data; set that"
    ]


def test_the_shape_that_a_model_gets_is_a_fact(make: Make) -> None:
    assert make.node(Digits, image_shape=(3, 9, 9))["facts"] == {"image_shape": [3, 9, 9], "num_classes": 10}
    assert make.problems(Digits, image_shape=(3, 9, 9)) == []


def test_what_the_labels_stand_for_is_known_before_anything_is_prepared(make: Make) -> None:
    assert make(Cifar10).names.classes[3] == "cat"
    assert make(Mnist).names.classes == tuple("0123456789")
    assert make(Cifar100).names.classes == tuple(sorted(make(Cifar100).names.classes))
    assert make(FashionMnist).names.classes[-1] == "Ankle boot"
    assert make(GtsrbImages).names.classes[14] == "stop"
    assert make(CelebA).names.attributes[-1] == "Young"
    assert not any(make(ImageFolder).names.to_plain().values())


@pytest.mark.parametrize(("data", "classes"), [(Cifar10, 10), (Cifar100, 100), (FashionMnist, 10), (GtsrbImages, 43)])
def test_no_two_classes_are_called_alike(make: Make, data: type[ImageData], classes: int) -> None:
    assert len(set(make(data).names.classes)) == classes


def test_celeba_has_40_attributes(make: Make) -> None:
    assert len(set(make(CelebA).names.attributes)) == 40


def test_an_unknown_category_of_lsun_is_a_problem(make: Make) -> None:
    found = make.problems(Lsun, category="cat")
    assert found == ["data.category=cat: should be 'bedroom', 'tower' or 'church_outdoor'"]


def test_lsun_cannot_be_cut_larger_than_it_is(make: Make) -> None:
    found = make.problems(Lsun, category="tower", image_shape=(3, 128, 64), download=True)
    assert found[-1].startswith("data.image_shape=[3, 128, 64]")


def crop(height: int, width: int) -> dict[str, Any]:
    return {"_target_": f"{AUGMENTATION}.RandomCrop", "shape": [3, height, width]}


def test_larger_images_are_cut_at_random_for_training_and_around_the_centre_otherwise(
    mnist: dict[str, np.ndarray], make: Make
) -> None:
    assert make.problems(Mnist, image_shape=(3, 20, 24), augment=[crop(20, 24)]) == []
    data = ready(make(Mnist, image_shape=(3, 20, 24), augment=[RandomCrop((3, 20, 24))], validation_images=7))
    training = next(iter(data.train_dataloader()))
    assert training.image.shape == (4, 3, 28, 28)
    assert data.augment(training).image.shape == data.initial_batch(4).image.shape == (4, 3, 20, 24)
    for loader, wanted in (
        (data.test_dataloader(), mnist["test_images"]),
        (data.val_dataloader(), mnist["train_images"][hold_out(20, 7)[1]]),
    ):
        seen = torch.cat([batch.image for batch in loader])
        np.testing.assert_array_equal(seen, wanted[:, :, 4:24, 2:26].repeat(3, 1))


def test_an_augmentation_that_cuts_to_another_shape_is_a_problem(make: Make) -> None:
    found = make.problems(Digits, augment=[{"_target_": f"{AUGMENTATION}.RandomFlip"}, crop(8, 6)])
    assert found == ["data.augment[1].shape=[3, 8, 6]: should be data.image_shape, [1, 8, 8]"]


def test_holding_out_everything_is_a_problem(make: Make) -> None:
    make(Digits).prepare_data()
    found = make.problems(Digits, validation_images=299, fold=5)
    assert found == ["data.fold=5: 299 of 1497 training images are held out in each; choose 0 ... 4"]
    found = make.problems(Digits, validation_images=1497)
    assert found[0].startswith("data.validation_images=1497: there are only 1497")
    with pytest.raises(UserError, match=r"data\.validation_images"):
        make(Digits, validation_images=1497).setup()


def test_damaged_prepared_data_is_a_problem(mnist: dict[str, np.ndarray], data_root: Path, make: Make) -> None:
    make(Mnist).prepare_data()
    os.truncate(data_root / "mnist/train_images.npy", 1000)
    assert "train_images.npy: damaged" in make.problems(Mnist)[0]


def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def get(url: str, **_: Any) -> Any:
        asked.append(url)
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "get", get)
    return asked


def test_without_network_the_address_the_place_and_the_import_script_are_named(
    monkeypatch: pytest.MonkeyPatch, data_root: Path, make: Make
) -> None:
    asked = no_network(monkeypatch)
    with pytest.raises(UserError) as caught:
        make(Cifar10, download=True).prepare_data()
    message = str(caught.value)
    assert asked == ["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"]
    for part in (asked[0], str(data_root / "cifar10/raw"), "python scripts/import_data.py cifar10 FOLDER"):
        assert part in message


def test_mirrors_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    asked = no_network(monkeypatch)
    with pytest.raises(UserError, match="no connection"):
        make(Mnist, download=True).prepare_data()
    assert len(asked) == 2
    assert all(url.endswith("train-images-idx3-ubyte.gz") for url in asked)


def test_a_set_on_google_drive_names_its_page(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    def offline(*_: Any) -> None:
        raise RuntimeError("To download files from GDrive, 'gdown' is required.")

    monkeypatch.setattr("paperzoo.data.prepared.downloads.download_file_from_google_drive", offline)
    with pytest.raises(UserError, match=r"https://drive\.google\.com/file/d/0B7EVK8r0v71p.*gdown"):
        make(CelebA, download=True).prepare_data()


def test_download_false_never_asks_the_network(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    asked = no_network(monkeypatch)
    with pytest.raises(UserError, match=r"data\.download=false"):
        make(ImageNet32).prepare_data()
    assert asked == []


def test_downloaded_files_are_kept_only_if_their_checksum_matches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data_root: Path, make: Make, mnist: dict[str, np.ndarray]
) -> None:
    served = tmp_path / "server"
    (data_root / "mnist/raw").rename(served)
    asked = serve(monkeypatch, served)
    (served / "t10k-labels-idx1-ubyte.gz").write_bytes(b"not what it was")
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte\.gz could not be downloaded"):
        make(Mnist, download=True).prepare_data()
    assert len(list((data_root / "mnist/raw").iterdir())) == 3
    write_idx(served)
    asked.clear()
    data = ready(make(Mnist, download=True))
    assert len(asked) == 1  # the other three are there already
    np.testing.assert_array_equal(data.items("test")[torch.arange(10)].image, mnist["test_images"])


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
