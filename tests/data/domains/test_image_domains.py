"""Pairs of image domains: shapes, splits, crops, the accelerator, and what is told before a run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperzoo.batches import HIDDEN, SOURCE, TARGET, DomainImages
from paperzoo.config import instantiate
from paperzoo.data.domains import image_domains
from paperzoo.data.domains.image_domains import ImageDomains
from paperzoo.data.images.augmentation import random_resized_crop, scaled_windows
from paperzoo.data.images.fitting import FittedImages, fit, resize
from paperzoo.data.prepared.cache import ArrayCache
from paperzoo.data.prepared.importing import import_folder
from paperzoo.data.prepared.stored import StoredArray
from paperzoo.runner.check import target_problems
from tests.conftest import ROOT
from tests.data.base.test_order import Recorder, trainer
from tests.data.official_files import random_images
from tests.data.test_configs import composed

NAMES = sorted(path.stem for path in (ROOT / "conf/data/source").glob("*.yaml"))
FLIP = "{_target_:paperzoo.data.images.augmentation.RandomFlip}"


def crop(height: int, width: int, name: str = "RandomCrop") -> str:
    return f"{{_target_:paperzoo.data.images.augmentation.{name},shape:[3,{height},{width}]}}"


def augment(*changes: str) -> str:
    """The override that chooses these changes of training batches."""
    return f"data.augment=[{','.join(changes)}]"


def prepare(data_root: Path, name: str, *shape: int, train: int = 40, test: int = 9) -> dict[str, np.ndarray]:
    """Random images as the prepared arrays of the set `name`."""
    folder = data_root.parent / f"{name}_arrays"
    folder.mkdir()
    arrays = {}
    for part, count in (("train", train), ("test", test)):
        arrays[f"{part}_images"] = random_images(count, *shape, seed=count + len(name))
        arrays[f"{part}_labels"] = np.arange(count) % 10
    for array, content in arrays.items():
        np.save(folder / f"{array}.npy", content)
    import_folder(name, folder, str(data_root))
    return arrays


@pytest.fixture
def arrays(data_root: Path) -> dict[str, dict[str, np.ndarray]]:
    return {"mnist": prepare(data_root, "mnist", 1, 28, 28), "svhn": prepare(data_root, "svhn", 3, 32, 32, train=60)}


def node(data_root: Path, *overrides: str) -> dict[str, Any]:
    pair = ("data/source=mnist", "data/target=svhn", "data.download=false", "data.batch_size=4")
    return composed("domains", data_root, *pair, *overrides)


def pair(data_root: Path, *overrides: str) -> ImageDomains:
    config = node(data_root, *overrides)
    assert target_problems(config, "data") == []
    data = instantiate(config)
    data.prepare_data()
    data.setup()
    return data


def joined(loader: Any) -> DomainImages:
    return DomainImages(*(torch.cat(fields) for fields in zip(*loader, strict=True)))


def test_grey_images_are_padded_and_repeated_and_large_ones_are_cut(
    data_root: Path, arrays: dict[str, dict[str, np.ndarray]]
) -> None:
    small, large = (
        joined(pair(data_root, f"data.image_shape={s}").test_dataloader()) for s in ("[3,28,28]", "[3,32,32]")
    )
    mnist, svhn = (torch.from_numpy(arrays[name]["test_images"]) for name in ("mnist", "svhn"))
    assert torch.equal(small.image[:9], mnist.expand(-1, 3, -1, -1))
    assert torch.equal(small.image[9:], svhn[:, :, 2:30, 2:30])
    assert torch.equal(large.image[:9, :, 2:30, 2:30], mnist.expand(-1, 3, -1, -1))
    assert large.image[:9].sum() == 3 * mnist.sum()
    assert torch.equal(large.image[9:], svhn)


def test_resized_images_fill_the_shape(data_root: Path, arrays: dict[str, dict[str, np.ndarray]]) -> None:
    data = pair(data_root, "data.image_shape=[3,32,32]", "data.source.fit=resize")
    images = torch.from_numpy(arrays["mnist"]["test_images"])
    assert torch.equal(joined(data.test_dataloader()).image[:9], resize(images, 32, 32).expand(-1, 3, -1, -1))


def test_resizing_interpolates_and_averages() -> None:
    ramp = torch.tensor([[0, 0, 100, 100], [0, 0, 100, 100]], dtype=torch.uint8)[None, None]
    assert resize(ramp, 1, 2).tolist() == [
        [[[14, 86]]]
    ]  # half as wide: a triangle of weights over two pixels each side
    assert resize(torch.full((2, 3, 16, 16), 255, dtype=torch.uint8), 28, 28).unique().tolist() == [255]
    assert resize(ramp, 2, 4) is ramp
    wider = resize(torch.tensor([[[[0, 80]]]], dtype=torch.uint8), 1, 4)
    assert wider.flatten().tolist() == [0, 20, 60, 80]


def test_held_out_images_are_the_same_for_every_seed_and_not_trained_on(
    data_root: Path, arrays: dict[str, dict[str, np.ndarray]]
) -> None:
    overrides = ("data.validation_fraction=0.2", "data.batches_per_epoch=12", "data.image_shape=[3,32,32]")
    first, second = (pair(data_root, *overrides, f"seed={seed}") for seed in (3, 4))
    held = joined(first.val_dataloader())
    assert held.domain.bincount().tolist() == [8, 12]
    assert torch.equal(held.image, joined(second.val_dataloader()).image)
    trained, kept = joined(first.train_dataloader()), {SOURCE: 32, TARGET: 48}
    for domain, name in ((SOURCE, "mnist"), (TARGET, "svhn")):
        seen, unseen = (
            {image.numpy().tobytes() for image in part.image[part.domain == domain]} for part in (trained, held)
        )
        assert len(seen) == kept[domain]
        assert len(seen | unseen) == len(arrays[name]["train_images"])


def test_without_held_out_images_it_validates_on_the_test_images(
    data_root: Path, arrays: dict[str, dict[str, np.ndarray]]
) -> None:
    data = pair(data_root, "data.validation_fraction=0")
    validation, test = joined(data.val_dataloader()), joined(data.test_dataloader())
    assert all(torch.equal(a, b) for a, b in zip(validation, test, strict=True))
    assert test.label.tolist() == [*range(9), *range(9)]
    assert len(data.domains[SOURCE].train) == 40


def test_a_transductive_domain_is_tested_on_the_images_it_is_trained_on(
    data_root: Path, arrays: dict[str, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_domains.SetDomain, "transductive", True)
    data = pair(data_root, "data.image_shape=[3,32,32]")
    assert data.domains[TARGET].train.values is data.domains[TARGET].test.values
    assert torch.equal(joined(data.predict_dataloader()).image, torch.from_numpy(arrays["svhn"]["train_images"]))


@pytest.mark.parametrize("labels", [0, 2])
def test_target_labels_are_hidden_but_for_those_asked_for(
    data_root: Path, arrays: dict[str, dict[str, np.ndarray]], labels: int
) -> None:
    data = pair(data_root, f"data.labels_per_class={labels}", "data.batch_size=54", "data.validation_fraction=0.1")
    batch = next(iter(data.train_dataloader()))
    known = batch.label[(batch.domain == TARGET) & (batch.label != HIDDEN)]
    assert known.bincount(minlength=10).tolist() == [labels] * 10


def test_a_crop_is_random_in_training_and_central_in_evaluation(
    data_root: Path, arrays: dict[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    overrides = ("data/source=svhn", "data.image_shape=[3,20,20]", augment(crop(20, 20)), "data.validation_fraction=0")
    data = pair(data_root, *overrides)
    svhn = torch.from_numpy(arrays["svhn"]["test_images"])
    assert torch.equal(joined(data.test_dataloader()).image[:9], svhn[:, :, 6:26, 6:26])
    (labelling, _) = data.target_dataloaders()
    assert joined(labelling).image.shape == (60, 3, 20, 20)
    windows = np.lib.stride_tricks.sliding_window_view(arrays["svhn"]["train_images"], (20, 20), (2, 3))
    known = {windows[i, :, y, x].tobytes() for i in range(60) for y in range(13) for x in range(13)}
    cut = data.initial_batch(8).image
    assert all(image.numpy().tobytes() in known for image in cut)
    central = {image.numpy().tobytes() for image in fit(torch.from_numpy(arrays["svhn"]["train_images"]), (3, 20, 20))}
    assert any(image.numpy().tobytes() not in central for image in cut)


def test_a_random_resized_crop_gives_the_shape_of_the_model(
    data_root: Path, arrays: dict[str, dict[str, np.ndarray]]
) -> None:
    overrides = ("data/source=svhn", "data.image_shape=[3,24,20]", augment(crop(24, 20, "RandomResizedCrop"), FLIP))
    assert pair(data_root, *overrides).initial_batch(5).image.shape == (10, 3, 24, 20)


def test_a_window_of_whole_pixels_in_its_own_size_is_cut_exactly() -> None:
    image = torch.from_numpy(random_images(3, 3, 16, 20))
    corners = torch.tensor([[0, 0], [4, 7], [8, 12]])
    cut = scaled_windows(image, torch.cat([corners, torch.full((3, 2), 8)], 1).float(), 8, 8)
    assert all(
        torch.equal(c, i[:, y : y + 8, x : x + 8]) for c, i, (y, x) in zip(cut, image, corners.tolist(), strict=True)
    )


def test_a_window_is_scaled_as_torch_scales_it() -> None:
    image = torch.from_numpy(random_images(2, 3, 16, 20))
    window = torch.tensor([[2.0, 3.0, 6.0, 10.0]] * 2)
    expected = torch.nn.functional.interpolate(image[:, :, 2:8, 3:13].float(), (12, 20), mode="bilinear").round()
    inside = scaled_windows(image, window, 12, 20)[:, :, 1:-1, 1:-1]  # at its edges a window looks at its neighbours
    assert (inside.float() - expected[:, :, 1:-1, 1:-1]).abs().max() <= 1


def test_random_resized_crops_have_the_area_and_proportions_of_their_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    windows: list[Tensor] = []
    monkeypatch.setattr(
        "paperzoo.data.images.augmentation.scaled_windows", lambda image, window, *size: windows.append(window) or image
    )
    torch.manual_seed(0)
    random_resized_crop(torch.zeros(4000, 1, 100, 120, dtype=torch.uint8), 100, 120)
    top, left, tall, wide = windows[0].T
    assert (top >= 0).all() and (left >= 0).all() and (top + tall <= 100).all() and (left + wide <= 120).all()
    area, proportions = tall * wide / 12000, wide / tall
    assert 0.075 < area.min() < 0.1
    assert area.max() > 0.9
    assert 0.73 < proportions.min() < 0.76
    assert 1.31 < proportions.max() < 1.37
    assert abs(proportions.log().mean()) < 0.03


def test_an_image_too_narrow_for_any_draw_gives_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    windows: list[Tensor] = []
    monkeypatch.setattr(
        "paperzoo.data.images.augmentation.scaled_windows", lambda image, window, *size: windows.append(window) or image
    )
    random_resized_crop(torch.zeros(3, 1, 9, 900, dtype=torch.uint8), 9, 900)
    assert windows[0].tolist() == [[0, 444, 9, 12]] * 3


@pytest.mark.parametrize("cut", [False, True])
def test_domains_on_the_device_give_the_same_batches(
    data_root: Path, arrays: dict[str, dict[str, np.ndarray]], tmp_path: Path, cut: bool
) -> None:
    runs = []
    for resident in ("false", "true"):
        overrides = ("data/source=svhn", "data.image_shape=[3,28,28]", augment(*([crop(28, 28)] if cut else []), FLIP))
        runs.append(Recorder())
        data = pair(data_root, *overrides, f"data.device_resident={resident}")
        trainer(tmp_path, max_epochs=2).fit(runs[-1], data)
    assert len(runs[0].seen) == 10
    assert all(torch.equal(a, b) for a, b in zip(runs[0].seen, runs[1].seen, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(runs[0].evaluated, runs[1].evaluated, strict=True))


def test_worker_processes_give_the_same_batches(data_root: Path, arrays: dict[str, dict[str, np.ndarray]]) -> None:
    alone, helped = (list(pair(data_root, f"data.workers={n}").train_dataloader()) for n in (0, 2))
    assert all(torch.equal(a.image, b.image) for a, b in zip(alone, helped, strict=True))


def test_a_device_gets_one_copy_of_an_array(data_root: Path, arrays: dict[str, dict[str, np.ndarray]]) -> None:
    stored = StoredArray(ArrayCache(data_root / "svhn"), "train_images")
    first, second = (FittedImages(stored, (3, side, side), "pad").to(torch.device("cpu")) for side in (32, 28))
    assert isinstance(first.stored, Tensor)
    assert first.stored is second.stored


def test_the_classes_are_those_of_the_source(data_root: Path, arrays: dict[str, dict[str, np.ndarray]]) -> None:
    data = pair(data_root)
    assert data.names.classes == tuple("0123456789")


def test_source_and_target_may_be_the_same_set(data_root: Path, arrays: dict[str, dict[str, np.ndarray]]) -> None:
    test = joined(pair(data_root, "data/target=mnist").test_dataloader())
    assert torch.equal(test.image[:9], test.image[9:])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.source.name=mnits", "data.source.name=mnits: no such data set of labelled images; there are "),
        ("data.source.facts.num_classes=9", "data.source.facts.num_classes=9: it is 10 in these data"),
        ("data.facts.num_classes=9", "data.facts.num_classes=9: it is 10 in these data"),
        ("data.image_shape=[1,28,28]", "data.image_shape=[1, 28, 28]: the target svhn has images of [3, 32, 32]; "),
        ("data.image_shape=[3,15,15]", "data.image_shape=[3, 15, 15]: the target svhn has images of [3, 32, 32]; less"),
        (
            augment(crop(28, 28)),
            "data.augment: cuts images, but those of mnist are [1, 28, 28] and those of svhn [3, 32, 32]",
        ),
        (
            augment(FLIP, crop(28, 32)),
            "data.augment[1].shape=[3, 28, 32]: should be data.image_shape, [3, 28, 28]",
        ),
        (augment(crop(0, 28)), "data.augment[0].shape=[3, 0, 28]: should be greater than 0"),
        ("data.augment=[sometimes]", "data.augment="),
        ("data.source.fit=stretch", "data.source.fit=stretch"),
        ("data.validation_fraction=1.0", "data.validation_fraction=1.0"),
        ("data.labels_per_class=-1", "data.labels_per_class=-1"),
    ],
)
def test_mistakes_are_told_before_anything_is_built(
    data_root: Path, arrays: dict[str, dict[str, np.ndarray]], override: str, message: str
) -> None:
    problems = target_problems(node(data_root, override), "data")
    assert any(problem.startswith(message) for problem in problems), problems


def test_images_too_small_for_a_crop_are_told(data_root: Path, arrays: dict[str, dict[str, np.ndarray]]) -> None:
    overrides = ("data/source=svhn", augment(crop(40, 20)), "data.image_shape=[3,40,20]")
    problems = target_problems(node(data_root, *overrides), "data")
    assert len(problems) == 2
    assert all("choose at most 32 x 32" in problem for problem in problems)


def test_missing_files_of_both_domains_are_named(data_root: Path) -> None:
    problems = target_problems(node(data_root), "data")
    assert len(problems) == 2
    assert "train-images-idx3-ubyte.gz" in problems[0]
    assert "train_32x32.mat" in problems[1]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "folder"])  # a folder's target needs no labels
def test_a_target_says_what_the_source_of_its_name_says(name: str, data_root: Path) -> None:
    config = composed("domains", data_root, f"data/source={name}", f"data/target={name}")
    source, target = ({k: v for k, v in config[side].items() if k != "domain"} for side in ("source", "target"))
    assert source == target
    assert config["facts"]["num_classes"] == config["source"]["facts"]["num_classes"]


def test_test_images_can_be_left_uncut_for_models_that_cut_them(
    data_root: Path, arrays: dict[str, dict[str, np.ndarray]]
) -> None:
    uncut = ("data/source=svhn", "data.image_shape=[3,24,24]", augment(crop(24, 24)), "data.uncut_test=true")
    data = pair(data_root, *uncut)
    for loader, size in ((data.val_dataloader(), 24), (data.test_dataloader(), 32), (data.predict_dataloader(), 32)):
        assert joined(loader).image.shape[1:] == (3, size, size)
    np.testing.assert_array_equal(joined(data.predict_dataloader()).image, arrays["svhn"]["test_images"])
    assert target_problems(node(data_root, "data.uncut_test=true"), "data") == [
        "data.uncut_test=true: nothing in data.augment cuts images; leave it false"
    ]
