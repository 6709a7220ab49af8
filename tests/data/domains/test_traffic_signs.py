"""GTSRB from a small archive in its official form, and the signs that are drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paperzoo.config import instantiate
from paperzoo.data.domains.drawing import SIDE as DRAWN
from paperzoo.data.domains.drawn_signs import _signs
from paperzoo.data.domains.image_domains import ImageDomains
from paperzoo.data.domains.sign_drawings import SIGNS
from paperzoo.data.images import traffic_signs
from paperzoo.data.images.traffic_signs import ARCHIVE, SIGN_NAMES, GtsrbImages
from paperzoo.errors import UserError
from paperzoo.runner.check import target_problems
from tests.data.conftest import Make, TrustFiles
from tests.data.official_files import encoded, write_zip
from tests.data.test_configs import composed

HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n"


def write_gtsrb(folder: Path, each: int = 2) -> None:
    """`each` photographs of each class: grey around a region whose red is the class, green the image's number."""
    members = {"GTSRB/Readme-Images.txt": b"The German Traffic Sign Recognition Benchmark"}
    for label in range(43):
        place = f"GTSRB/Final_Training/Images/{label:05}"
        rows = HEADER
        for number in range(each):
            pixels = np.full((3, 30, 35), 127, dtype=np.uint8)
            pixels[:, 4:25, 5:30] = np.array([label, number, 0], dtype=np.uint8)[:, None, None]
            name = f"00000_{number:05}.ppm"
            members[f"{place}/{name}"] = encoded(pixels, "PPM")
            rows += f"{name};35;30;5;4;30;25;{label}\r\n"
        members[f"{place}/GT-{label:05}.csv"] = rows.encode()
    write_zip(folder / ARCHIVE, members)


@pytest.fixture
def gtsrb(monkeypatch: pytest.MonkeyPatch, data_root: Path, trust_files: TrustFiles) -> Path:
    write_gtsrb(data_root / "gtsrb/raw")
    trust_files(GtsrbImages, data_root / "gtsrb/raw")
    monkeypatch.setattr(traffic_signs, "GTSRB_IMAGES", 86)
    monkeypatch.setattr(traffic_signs, "GTSRB_TEST_IMAGES", 20)
    return data_root


def test_the_split_is_the_paper_s() -> None:
    assert traffic_signs.GTSRB_IMAGES - traffic_signs.GTSRB_TEST_IMAGES == 31_367


def test_the_annotated_region_is_cut_out_and_scaled(gtsrb: Path, make: Make) -> None:
    data = make(GtsrbImages)
    data.prepare_data()
    data.setup()
    images, labels = [], []
    for name, size in (("train", 66), ("test", 20)):
        batch = data.parts[name][torch.arange(size)]
        images.append(batch.image)
        labels.append(batch.label)
    image, label = torch.cat(images), torch.cat(labels)
    assert image.shape == (86, 3, 40, 40)
    assert (image[:, 0, 1:-1, 1:-1] == label[:, None, None]).all()  # edges blend with what is outside
    assert sorted(zip(label.tolist(), image[:, 1, 20, 20].tolist(), strict=True)) == [
        (k, n) for k in range(43) for n in range(2)
    ]


def test_another_archive_is_refused(gtsrb: Path, monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    monkeypatch.setattr(traffic_signs, "GTSRB_IMAGES", 39_209)
    with pytest.raises(UserError, match="86 images, the official archive has 39209"):
        make(GtsrbImages).prepare_data()


def test_a_damaged_table_is_named(data_root: Path, trust_files: TrustFiles, make: Make) -> None:
    table = "GTSRB/Final_Training/Images/00000/GT-00000.csv"
    write_zip(data_root / "gtsrb/raw" / ARCHIVE, {table: (HEADER + "a.ppm;35;30;5;4").encode()})
    trust_files(GtsrbImages, data_root / "gtsrb/raw")
    with pytest.raises(UserError, match=r"its table .*GT-00000\.csv is damaged"):
        make(GtsrbImages).prepare_data()


@pytest.fixture
def pair(gtsrb: Path) -> ImageDomains:
    choices = ["data/source=syn_signs", "data/target=gtsrb", "data.source.images=86"]
    node = composed("domains", gtsrb, *choices, "data.image_shape=[3,40,40]")
    assert target_problems(node, "data") == []
    data = instantiate(node)
    data.prepare_data()
    data.setup()
    return data


def test_drawn_signs_and_photographs_are_a_pair_of_domains(pair: ImageDomains) -> None:
    assert pair.names.classes[14] == "stop"
    assert len(pair.names.classes) == 43
    source, target = pair.domains[0], pair.domains[1]
    assert (len(source.train) + len(source.val), len(source.test)) == (86, 9)
    assert (len(target.train) + len(target.val), len(target.test)) == (66, 20)
    assert torch.bincount(torch.cat([source.train.labels, source.val.labels])).tolist() == 43 * [2]
    batch = next(iter(pair.train_dataloader()))
    assert batch.image.shape[1:] == (3, 40, 40)


def test_signs_are_the_same_in_every_run_and_never_the_same_twice() -> None:
    first, again, test = _signs("train", 0, 86), _signs("train", 0, 86), _signs("test", 0, 86)
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in (*first, *test)}) == 172


def test_every_class_has_a_drawing_of_its_own() -> None:
    assert tuple(SIGNS) == SIGN_NAMES
    drawings = [draw().image for draw in SIGNS.values()]
    assert len(drawings) == 43
    assert all(image.mode == "RGBA" and image.size == (DRAWN, DRAWN) for image in drawings)
    on_grey = np.stack([np.asarray(_on_grey(image).resize((20, 20)), dtype=np.float32) for image in drawings])
    distances = np.abs(on_grey[:, None] - on_grey).mean((2, 3, 4)) + 255 * np.eye(43)
    assert distances.min() > 2, np.unravel_index(distances.argmin(), distances.shape)


def _on_grey(image: Image.Image) -> Image.Image:
    ground = Image.new("RGB", image.size, (127, 127, 127))
    ground.paste(image, mask=image)
    return ground


@pytest.mark.parametrize(
    ("name", "colour"),
    [("stop", 0), ("no entry", 0), ("turn left", 2), ("roundabout", 2), ("keep right", 2)],
)
def test_prohibitions_are_red_and_orders_blue(name: str, colour: int) -> None:
    red, _, blue, opacity = np.asarray(SIGNS[name]().image, dtype=np.float32).transpose(2, 0, 1)
    seen = (red, blue)[colour // 2][opacity > 0].mean()
    other = (blue, red)[colour // 2][opacity > 0].mean()
    assert seen > 1.3 * other


@pytest.mark.parametrize(("left", "right"), [("turn left", "turn right"), ("keep left", "keep right"),
                                             ("ahead or left", "ahead or right"),
                                             ("curve to the left", "curve to the right")])  # fmt: skip
def test_left_and_right_are_mirror_images(left: str, right: str) -> None:
    one, other = (np.asarray(SIGNS[name]().image.convert("L"), dtype=np.float32) for name in (left, right))
    mirrored = np.abs(one - other[:, ::-1]).mean()
    assert mirrored < 0.3 * np.abs(one - other).mean()


def test_a_linear_classifier_tells_the_generated_signs_apart() -> None:
    """Far better than chance (1/43), so what is drawn survives blur, noise and darkness."""
    from sklearn.linear_model import RidgeClassifier

    train, test = (_signs(part, 0, 43 * n).astype(np.float32) for part, n in (("train", 12), ("test", 4)))
    flat = [
        (images - images.mean((1, 2, 3), keepdims=True)) / (images.std((1, 2, 3), keepdims=True) + 1)
        for images in (train, test)
    ]
    model = RidgeClassifier(alpha=1000.0).fit(flat[0].reshape(len(train), -1), np.arange(len(train)) % 43)
    accuracy = model.score(flat[1].reshape(len(test), -1), np.arange(len(test)) % 43)
    assert accuracy > 0.4, accuracy
