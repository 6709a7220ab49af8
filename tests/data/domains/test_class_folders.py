"""Office-31, Office-Home, ImageCLEF-DA, VisDA-2017 and the user's own folders, from small ones in their layouts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paperzoo.batches import SOURCE, TARGET
from paperzoo.config import instantiate
from paperzoo.data.domains import class_folders
from paperzoo.data.domains.class_folders import PUBLISHED, FolderDomain, Part, squeeze
from paperzoo.data.domains.image_domains import ImageDomains
from paperzoo.errors import UserError
from paperzoo.runner.check import target_problems
from tests.data.official_files import encoded, random_images
from tests.data.test_configs import composed

WritePictures = Callable[..., dict[str, np.ndarray]]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 4 x 4, so that the tests are fast."""
    monkeypatch.setattr(class_folders, "SIDE", 4)


def write_picture(path: Path, seed: int = 0) -> np.ndarray:
    pixels = random_images(1, 3, 4, 4, seed=seed)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(pixels))
    return pixels


def write_classes(folder: Path, names: tuple[str, ...], each: int = 2) -> np.ndarray:
    """`each` pictures in a sub-folder for each of `names`, in that order; what is in them."""
    return np.stack(
        [
            write_picture(folder / name / f"frame_{i:04}.png", seed=i + 10 * label)
            for label, name in enumerate(names)
            for i in range(each)
        ]
    )


def expect(monkeypatch: pytest.MonkeyPatch, name: str, **pictures: int) -> None:
    """Makes the sets as small as those written here."""
    for domain, count in pictures.items():
        places = PUBLISHED[name].parts[domain].places
        monkeypatch.setitem(PUBLISHED[name].parts, domain, Part(count, places))


def pair(data_root: Path, *overrides: str) -> ImageDomains:
    node = composed("domains", data_root, "data.image_shape=[3,4,4]", "data.validation_fraction=0", *overrides)
    assert target_problems(node, "data") == []
    data = instantiate(node)
    data.prepare_data()
    data.setup()
    return data


def problems(data_root: Path, *overrides: str) -> list[str]:
    return target_problems(composed("domains", data_root, "data.image_shape=[3,227,227]", *overrides), "data")


def chosen(name: str, source: str, target: str) -> list[str]:
    domains = [f"data.source.domain={source}", f"data.target.domain={target}"]
    return [f"data/source={name}", f"data/target={name}", *domains]


def test_the_published_sets_have_the_sizes_of_the_papers() -> None:
    sizes = {name: {domain: part.pictures for domain, part in PUBLISHED[name].parts.items()} for name in PUBLISHED}
    assert sizes["office31"] == {"amazon": 2817, "webcam": 795, "dslr": 498}
    assert sizes["office_home"] == {"art": 2427, "clipart": 4365, "product": 4439, "real_world": 4357}
    assert sizes["image_clef"] == dict.fromkeys("bcip", 600)
    assert sizes["visda"]["validation"] == 55_388
    assert {name: len(PUBLISHED[name].classes) for name in PUBLISHED} == {
        "office31": 31,
        "office_home": 65,
        "image_clef": 12,
        "visda": 12,
    }
    assert all(list(whole.classes) == sorted(whole.classes) for whole in PUBLISHED.values())


@pytest.mark.parametrize(
    ("name", "source", "target", "folders"),
    [
        ("office31", "amazon", "dslr", ("amazon/images", "dslr/images")),
        ("office_home", "art", "real_world", ("Art", "Real World")),
        ("visda", "train", "validation", ("train", "validation")),
    ],
)
def test_all_pictures_of_a_domain_are_trained_and_tested_on(
    monkeypatch: pytest.MonkeyPatch,
    small: None,
    tmp_path: Path,
    name: str,
    source: str,
    target: str,
    folders: tuple[str, str],
) -> None:
    names = PUBLISHED[name].classes
    first, second = (
        write_classes(tmp_path / name / "raw" / folder, names, each)
        for folder, each in zip(folders, (2, 1), strict=True)
    )
    expect(monkeypatch, name, **{source: len(first), target: len(second)})
    data = pair(tmp_path, *chosen(name, source, target))
    assert data.names.classes == names
    for domain, pictures in ((SOURCE, first), (TARGET, second)):
        for items in (data.domains[domain].train, data.domains[domain].test):
            image, label = items[torch.arange(len(items))]
            np.testing.assert_array_equal(image, pictures)
            assert label.tolist() == [k for k in range(len(names)) for _ in range(len(pictures) // len(names))]


def write_list(folder: Path, listing: str, line: str, count: int = 6) -> np.ndarray:
    pictures = np.stack([write_picture(folder / f"b/{k:03}.bird/{k}.png", seed=k) for k in range(count)])
    (folder / listing).parent.mkdir(exist_ok=True)
    (folder / listing).write_text("".join(line.format(k=k, label=11 - k) + "\n" for k in range(count)) + "\n")
    return pictures


@pytest.mark.parametrize("listing", ["list/bList.txt", "bList.txt"])
@pytest.mark.parametrize(
    "line", ["b/{k:03}.bird/{k}.png {label}", "/data/clef/b/{k:03}.bird/{k}.png {label}", "{k:03}.bird/{k}.png {label}"]
)
def test_image_clef_is_read_from_its_lists(
    monkeypatch: pytest.MonkeyPatch, small: None, tmp_path: Path, listing: str, line: str
) -> None:
    pictures = write_list(tmp_path / "image_clef/raw", listing, line)
    expect(monkeypatch, "image_clef", b=6)
    data = pair(tmp_path, *chosen("image_clef", "b", "b"))
    image, label = data.domains[SOURCE].train[torch.arange(6)]
    np.testing.assert_array_equal(image, pictures)
    assert label.tolist() == [11, 10, 9, 8, 7, 6]
    assert [data.names.classes[k] for k in label[:3]] == ["people", "motorbike", "monitor"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b/{k:03}.bird/{k}.png 12", "bList.txt, line 1: not a path and a class from 0 to 11: b/000.bird/0.png 12"),
        ("b/{k:03}.bird/{k}.png", "bList.txt, line 1: not a path"),
        ("b/{k:03}.bird/{k}.jpg 3", "bList.txt, line 1: there is no picture .*b/000.bird/0.jpg"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(
    monkeypatch: pytest.MonkeyPatch, small: None, tmp_path: Path, line: str, message: str
) -> None:
    write_list(tmp_path / "image_clef/raw", "list/bList.txt", line)
    expect(monkeypatch, "image_clef", b=6)
    with pytest.raises(UserError, match=message):
        pair(tmp_path, *chosen("image_clef", "b", "b"))


def test_another_number_of_pictures_is_an_error_with_both_numbers(
    monkeypatch: pytest.MonkeyPatch, small: None, tmp_path: Path
) -> None:
    write_classes(tmp_path / "office31/raw/amazon/images", PUBLISHED["office31"].classes, 1)
    expect(monkeypatch, "office31", amazon=32)
    with pytest.raises(UserError, match="amazon/images: 31 pictures, but Office-31 has 32 of the domain amazon"):
        pair(tmp_path, *chosen("office31", "amazon", "amazon"))


def test_classes_without_a_folder_are_named(small: None, tmp_path: Path) -> None:
    write_classes(tmp_path / "visda/raw/train", PUBLISHED["visda"].classes[:-2], 1)
    with pytest.raises(UserError, match="train: has no folder for 2 of 12 classes: train, truck"):
        pair(tmp_path, *chosen("visda", "train", "train"))


def test_a_target_may_lack_the_last_classes(monkeypatch: pytest.MonkeyPatch, small: None, tmp_path: Path) -> None:
    pictures = write_classes(tmp_path / "office31/raw/dslr/images", PUBLISHED["office31"].classes)
    expect(monkeypatch, "office31", dslr=62)
    data = pair(tmp_path, *chosen("office31", "dslr", "dslr"), "data.target.classes=25")
    assert (len(data.domains[SOURCE].train), len(data.domains[TARGET].train)) == (62, 50)
    np.testing.assert_array_equal(data.domains[TARGET].train.values[torch.arange(50)], pictures[:50])
    assert len(data.names.classes) == 31


def test_an_unreadable_picture_is_named(monkeypatch: pytest.MonkeyPatch, small: None, tmp_path: Path) -> None:
    folder = tmp_path / "visda/raw/train"
    write_classes(folder, PUBLISHED["visda"].classes, 1)
    (folder / "plant/frame_0000.png").write_bytes(b"no picture")
    expect(monkeypatch, "visda", train=12)
    with pytest.raises(UserError, match=r"plant/frame_0000\.png: not a readable picture"):
        pair(tmp_path, *chosen("visda", "train", "train"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_files_are_named_with_their_place_and_page(tmp_path: Path, name: str) -> None:
    (domain, part), *_ = PUBLISHED[name].parts.items()
    found = problems(tmp_path, *chosen(name, domain, domain))
    assert len(found) == 1
    assert f"{tmp_path / name / 'raw' / part.places[0]} is missing" in found[0]
    assert PUBLISHED[name].page in found[0]
    assert "data.source.path" in found[0]


def test_files_are_found_where_the_path_says(monkeypatch: pytest.MonkeyPatch, small: None, tmp_path: Path) -> None:
    pictures = write_classes(tmp_path / "mine/train", PUBLISHED["visda"].classes, 1)
    expect(monkeypatch, "visda", train=12)
    paths = [f"data.{side}.path={tmp_path / 'mine'}" for side in ("source", "target")]
    data = pair(tmp_path / "data", *chosen("visda", "train", "train"), *paths)
    np.testing.assert_array_equal(data.domains[SOURCE].train.values[torch.arange(12)], pictures)
    # what is prepared stays of use without the files
    pair(tmp_path / "data", *chosen("visda", "train", "train"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.source.domain=amazn", "data.source.domain=amazn: office31 has amazon, webcam, dslr"),
        ("data.source.classes=32", "data.source.classes=32: office31 has 31"),
        ("data.source.path=nowhere", "data.source.path=nowhere: there is no such folder"),
        ("data.source.facts.num_classes=30", "data.source.facts.num_classes=30: it is 31 in these data"),
    ],
)
def test_wrong_choices_are_problems(tmp_path: Path, override: str, message: str) -> None:
    found = problems(tmp_path, *chosen("office31", "amazon", "webcam"), override)
    assert found[0].startswith(message), found


def test_a_picture_is_squeezed_whatever_its_proportions() -> None:
    wide = np.zeros((3, 10, 40), dtype=np.uint8)
    wide[:, :, 20:] = 255
    squeezed = squeeze("wide", encoded(wide))
    assert squeezed.shape == (3, 256, 256)
    assert (squeezed[:, :, :100] == 0).all()
    assert (squeezed[:, :, 156:] == 255).all()


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """Overrides that choose two folders of the classes cat and dog."""
    write_classes(tmp_path / "photos", ("cat", "dog"))
    write_classes(tmp_path / "sketches", ("cat", "dog"), 3)
    paths = [f"data.source.path={tmp_path / 'photos'}", f"data.target.path={tmp_path / 'sketches'}"]
    return ["data/source=folder", "data/target=folder", *paths]


def test_own_folders_are_a_pair_of_domains(small: None, tmp_path: Path, own: list[str]) -> None:
    data = pair(tmp_path / "data", *own, "data.source.facts.num_classes=2", "data.batch_size=4")
    assert data.names.classes == ("cat", "dog")
    batch = next(iter(data.train_dataloader()))
    assert batch.image.shape == (8, 3, 4, 4)
    assert len(data.domains[TARGET].test) == 6
    assert sorted(batch.label[:4].tolist()) == [0, 0, 1, 1]


def test_a_changed_folder_is_prepared_anew(small: None, tmp_path: Path, own: list[str]) -> None:
    wanted = (tmp_path / "data", *own, "data.source.facts.num_classes=2")
    assert len(pair(*wanted).domains[SOURCE].train) == 4
    write_picture(tmp_path / "photos/dog/another.png")
    assert pair(*wanted).domains[SOURCE].train.labels.tolist() == [0, 0, 1, 1, 1]


def test_a_wrong_number_of_classes_is_answered_with_the_right_one(tmp_path: Path, own: list[str]) -> None:
    found = problems(tmp_path, *own, "data.source.facts.num_classes=3")
    assert found == [
        f"data.{side}.facts.num_classes=3: it is 2 in these data; set that" for side in ("source", "target")
    ]


def test_a_folder_without_classes_or_pictures_is_a_problem(tmp_path: Path) -> None:
    def found(path: Path) -> list[Any]:
        return list(FolderDomain.check(path=str(path), fit="pad"))

    assert found(tmp_path / "nowhere") == [f"path={tmp_path}/nowhere: there is no such folder"]
    assert found(tmp_path)[0].startswith(f"path={tmp_path}: has no sub-folders")
    write_classes(tmp_path, ("cat",))
    (tmp_path / "dog").mkdir()
    assert found(tmp_path) == [f"path={tmp_path}: no pictures (.png, .jpg, .webp, ...) of dog"]
    write_picture(tmp_path / "dog/1.png")
    assert found(tmp_path) == []


def test_classes_that_only_one_folder_has_are_named(tmp_path: Path, own: list[str]) -> None:
    (tmp_path / "sketches/dog").rename(tmp_path / "sketches/horse")
    assert problems(tmp_path, *own, "data.source.facts.num_classes=2") == [
        "data: source and target differ in their classes: only in the source dog; only in the target horse"
    ]
