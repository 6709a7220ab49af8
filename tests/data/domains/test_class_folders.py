"""Office-31, Office-Home, ImageCLEF-DA, VisDA-2017 and the user's own folders, from small ones in their layouts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paperzoo.batches import HIDDEN, SOURCE, TARGET
from paperzoo.config import instantiate
from paperzoo.data.domains import class_folders
from paperzoo.data.domains.class_folders import PUBLISHED, FolderDomain, FolderTarget, Part, squeeze
from paperzoo.data.domains.image_domains import ImageDomains
from paperzoo.errors import UserError
from paperzoo.runner.check import target_problems
from tests.conftest import RunJob
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


@pytest.mark.parametrize(
    ("line_end", "encoding"), [("\r\n", "utf-8-sig"), ("\r", "utf-8"), ("\n", "utf-16"), ("\r\n", "utf-16")]
)
def test_lists_are_read_whatever_wrote_them(
    monkeypatch: pytest.MonkeyPatch, small: None, tmp_path: Path, line_end: str, encoding: str
) -> None:
    write_list(tmp_path / "image_clef/raw", "bList.txt", "b\\{k:03}.bird\\{k}.png {label}")
    listing = tmp_path / "image_clef/raw/bList.txt"
    listing.write_bytes((listing.read_text() + "\x1a").replace("\n", line_end).encode(encoding))
    expect(monkeypatch, "image_clef", b=6)
    assert pair(tmp_path, *chosen("image_clef", "b", "b")).domains[SOURCE].train.labels.tolist() == [11, 10, 9, 8, 7, 6]


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
        ("../../{k}.png 3", "bList.txt, line 1: ../../0.png leads out of the folder"),
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


def test_all_unreadable_pictures_of_a_published_set_are_named(
    monkeypatch: pytest.MonkeyPatch, small: None, tmp_path: Path
) -> None:
    folder = tmp_path / "visda/raw/train"
    write_classes(folder, PUBLISHED["visda"].classes, 1)
    for name in ("car", "plant"):
        (folder / f"{name}/frame_0000.png").write_bytes(b"no picture")
    expect(monkeypatch, "visda", train=12)
    with pytest.raises(UserError, match=r"plant/frame_0000\.png: not a readable picture") as caught:
        pair(tmp_path, *chosen("visda", "train", "train"))
    assert len(caught.value.problems) == 2


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


def test_broken_pictures_of_both_domains_are_left_out_and_named_in_every_run(
    small: None, tmp_path: Path, own: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    broken = [tmp_path / "photos/cat/frame_0001.png", tmp_path / "photos/dog/x.jpg", tmp_path / "sketches/cat/y.png"]
    for path in broken:
        path.write_bytes(b"no picture")
    for _ in range(2):  # prepared, then found prepared
        data = pair(tmp_path / "data", *own, "data.source.facts.num_classes=2")
        assert [problem.split(":")[0] for problem in data.unreadable] == [str(path) for path in broken]
        assert data.domains[SOURCE].train.labels.tolist() == [0, 1, 1]
        assert len(data.domains[TARGET].train) == 6
        assert "cat/y.png" not in data.item_names()
        assert data.item_names()[3:] == [f"dog/frame_{i:04}.png" for i in range(3)]


def test_a_class_of_the_source_none_of_whose_pictures_can_be_read_is_an_error(
    small: None, tmp_path: Path, own: list[str]
) -> None:
    for path in (tmp_path / "photos/dog").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"photos/dog: none of its pictures can be read"):
        pair(tmp_path / "data", *own, "data.source.facts.num_classes=2")


def test_a_wrong_number_of_classes_is_answered_with_the_right_one(tmp_path: Path, own: list[str]) -> None:
    found = problems(tmp_path, *own, "data.source.facts.num_classes=3")
    assert found == ["data.source.facts.num_classes=3: it is 2 in these data; set that"]


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
        "data: source and target differ in their classes: only in the source dog; only in the target horse; "
        "rename or move them, or set data.target.labelled=false to train without labels"
    ]


def test_classes_that_differ_only_in_case_are_told(tmp_path: Path, own: list[str]) -> None:
    (tmp_path / "sketches/dog").rename(tmp_path / "sketches/Dog")
    assert problems(tmp_path, *own, "data.source.facts.num_classes=2") == [
        "data.target: classes that differ only in capital and small letters: Dog is dog in the source; rename them"
    ]
    write_classes(tmp_path / "both", ("cat", "Cat"))
    assert list(FolderDomain.check(path=str(tmp_path / "both"), fit="pad")) == [
        f"path={tmp_path}/both: classes that differ only in capital and small letters: Cat, cat; join them"
    ]
    (tmp_path / "sketches/cat").rename(tmp_path / "sketches/CAT")
    (found,) = problems(tmp_path, *own, "data.source.facts.num_classes=2")
    assert "CAT is cat in the source, Dog is dog in the source" in found


def test_a_target_may_lack_classes_of_the_source(small: None, tmp_path: Path) -> None:
    write_classes(tmp_path / "photos", ("cat", "dog", "emu"))
    write_classes(tmp_path / "sketches", ("cat", "emu"), 3)
    paths = [f"data.source.path={tmp_path / 'photos'}", f"data.target.path={tmp_path / 'sketches'}"]
    data = pair(
        tmp_path / "data", "data/source=folder", "data/target=folder", *paths, "data.source.facts.num_classes=3"
    )
    assert data.domains[TARGET].test.labels.tolist() == [0] * 3 + [2] * 3
    assert data.names.classes == ("cat", "dog", "emu")


TREES = {
    "flat": ("3.png", "1.png", "2.png"),
    "by day": ("2024/may/1.png", "2024/june/2.png", "2025/3.png"),
    "deep and flat": ("a/b/c/1.png", "x.png"),
}


@pytest.mark.parametrize("files", TREES.values(), ids=TREES.keys())
def test_any_folder_of_pictures_is_a_target_without_labels(small: None, tmp_path: Path, files: tuple[str, ...]) -> None:
    write_classes(tmp_path / "photos", ("cat", "dog"))
    pictures = {name: write_picture(tmp_path / "new" / name, seed=k) for k, name in enumerate(files)}
    paths = [f"data.source.path={tmp_path / 'photos'}", f"data.target.path={tmp_path / 'new'}"]
    own = ["data/source=folder", "data/target=folder", *paths, "data.source.facts.num_classes=2"]
    data = pair(tmp_path / "data", *own)
    assert data.item_names() == sorted(files)
    target = data.domains[TARGET].test
    assert target.labels.tolist() == [HIDDEN] * len(files)
    np.testing.assert_array_equal(target.values[torch.arange(len(files))], [pictures[name] for name in sorted(files)])
    (found,) = problems(tmp_path / "data", *own, "data.labels_per_class=1")
    assert found == "data.labels_per_class=1: the target has no labels"


def test_pictures_beside_the_classes_of_a_target_have_no_label(small: None, tmp_path: Path, own: list[str]) -> None:
    write_picture(tmp_path / "sketches/z.png")
    data = pair(tmp_path / "data", *own, "data.source.facts.num_classes=2")
    assert data.domains[TARGET].test.labels.tolist() == [0, 0, 0, 1, 1, 1, HIDDEN]


def test_labels_of_a_target_can_be_left_out(small: None, tmp_path: Path, own: list[str]) -> None:
    data = pair(tmp_path / "data", *own, "data.source.facts.num_classes=2", "data.target.labelled=false")
    assert set(data.domains[TARGET].test.labels.tolist()) == {HIDDEN}


@pytest.mark.slow
def test_a_target_without_labels_is_trained_on_tested_and_answered(
    run_job: RunJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classes(tmp_path / "photos", ("cat", "dog"), 8)
    for k in range(6):
        write_picture(tmp_path / "new" / f"{k}.png", seed=50 + k)
    own = (
        *("model=dann", "data=domains", "data/source=folder", "data/target=folder", "trainer=smoke"),
        *(f"data.source.path={tmp_path / 'photos'}", f"data.target.path={tmp_path / 'new'}"),
        *("data.source.facts.num_classes=2", f"data_root={tmp_path / 'root'}"),
    )
    folder = run_job(*own)
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    assert {"test/accuracy_source", "test/domain_accuracy", "test/proxy_a_distance"} <= metrics.keys()
    assert not [name for name in metrics if "accuracy_target" in name]
    assert (folder / "figures/domains.png").is_file()
    answered = run_job("mode=predict", f"checkpoint={folder}", f"data_root={tmp_path / 'root'}")
    first, *rows = (answered / "predictions.csv").read_text().splitlines()
    assert first.split(",")[1:] == ["class", "confidence", "probability_cat", "probability_dog"]
    assert [row.split(",")[0] for row in rows] == [f"{k}.png" for k in range(6)]
    assert all(row.split(",")[1] in ("cat", "dog") for row in rows)


def test_a_source_must_have_labels(tmp_path: Path) -> None:
    write_picture(tmp_path / "photos/1.png")
    write_picture(tmp_path / "new/1.png")
    paths = [f"data.source.path={tmp_path / 'photos'}", f"data.target.path={tmp_path / 'new'}"]
    found = problems(tmp_path, "data/source=folder", "data/target=folder", *paths, "data.source.facts.num_classes=2")
    assert found[0].startswith(
        f"data.source.path={tmp_path}/photos: has no sub-folders; put the pictures of each class"
    )


def test_a_target_without_a_picture_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    own = {"labelled": True, "fit": "resize"}
    assert list(FolderTarget.check(path=str(tmp_path / "new"), **own)) == [
        f"path={tmp_path}/new: no pictures (.png, .jpg, .webp, ...) in it or below"
    ]
    assert list(FolderTarget.check(path=str(tmp_path / "gone"), **own)) == [
        f"path={tmp_path}/gone: there is no such folder"
    ]
