"""USPS, MNIST-M and SYN NUMBERS: their official formats, and the images that are made anew."""

import bz2
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from paperzoo.config import instantiate
from paperzoo.data.domains.drawn_numbers import FONTS, draw_numbers, glyphs
from paperzoo.data.images.mnist_m import BlendedMnist, MnistM, blend, convert_blended, cut_patches
from paperzoo.data.images.module import ImageData
from paperzoo.data.images.small_images import Usps
from paperzoo.data.images.syn_numbers import SynNumbers
from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.importing import import_folder
from paperzoo.errors import UserError
from paperzoo.runner.check import target_problems
from tests.data.conftest import Make, TrustFiles
from tests.data.official_files import encoded, random_images, tar_gz, write_idx
from tests.data.test_configs import composed


def libsvm(images: np.ndarray, labels: np.ndarray) -> bytes:
    lines = [
        " ".join([str(label + 1), *(f"{i}:{v:.6f}" for i, v in enumerate(row / 127.5 - 1, start=1) if v)])
        for row, label in zip(images.reshape(len(images), -1), labels, strict=True)
    ]
    return bz2.compress("\n".join(lines).encode())


def write_usps(folder: Path) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True)
    written = {}
    for part, file, count in (("train", "usps.bz2", 12), ("test", "usps.t.bz2", 5)):
        images, labels = random_images(count, 1, 16, 16, seed=count), np.arange(count) % 10
        (folder / file).write_bytes(libsvm(images, labels))
        written |= {f"{part}_images": images, f"{part}_labels": labels}
    return written


def write_mnist_m(folder: Path, *, without: str = "") -> dict[str, np.ndarray]:
    """The authors' archive; files stand in it in another order than in the lists."""
    members: dict[str, bytes] = {}
    written = {}
    for part, numbers in (("train", [0, 1, 2, 4]), ("test", [0, 1, 2])):  # the release leaves some out, too
        images, labels = random_images(len(numbers), 3, 32, 32, seed=len(numbers)), np.array(numbers) % 10
        names = [f"{number:08}.png" for number in numbers]
        pictures = {f"mnist_m/mnist_m_{part}/{name}": encoded(i) for name, i in zip(names, images, strict=True)}
        members |= dict(reversed(pictures.items()))
        lines = "".join(f"{name} {label}\n" for name, label in zip(names, labels, strict=True))
        members[f"mnist_m/mnist_m_{part}_labels.txt"] = lines.encode()
        written |= {f"{part}_images": images, f"{part}_labels": labels}
    tar_gz(folder / "mnist_m.tar.gz", {name: content for name, content in members.items() if name != without})
    return written


def write_syn_numbers(folder: Path) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True)
    written = {}
    with zipfile.ZipFile(folder / "SynthDigits.zip", "w") as archive:
        for part, count in (("train", 12), ("test", 5)):
            images, labels = random_images(count, 3, 32, 32, seed=count), np.arange(count) % 10
            content = io.BytesIO()
            savemat(content, {"X": images.transpose(2, 3, 1, 0), "y": labels[:, None].astype(np.uint8)})
            archive.writestr(f"synth_{part}_32x32.mat", content.getvalue())
            written |= {f"{part}_images": images, f"{part}_labels": labels}
    return written


@pytest.mark.parametrize(
    ("data", "write"), [(Usps, write_usps), (MnistM, write_mnist_m), (SynNumbers, write_syn_numbers)]
)
def test_official_files_are_read(
    data: type[ImageData], write: Any, data_root: Path, make: Make, trust_files: TrustFiles
) -> None:
    files = data_root / data.file_set.name / "raw"
    written = write(files)
    trust_files(data, files)
    ready = make(data)
    ready.prepare_data()
    ready.setup()
    for part, split in (("train", ready.parts["train"]), ("test", ready.parts["test"])):
        batch = split[torch.arange(len(split))]
        np.testing.assert_array_equal(batch.image, written[f"{part}_images"])
        np.testing.assert_array_equal(batch.label, written[f"{part}_labels"])


def test_the_published_checksums_guard_the_official_files(data_root: Path, tmp_path: Path) -> None:
    for data, write in ((Usps, write_usps), (MnistM, write_mnist_m)):
        write(tmp_path / data.file_set.name)
        with pytest.raises(UserError, match="md5 checksum"):
            import_folder(data.file_set.name, tmp_path / data.file_set.name, str(data_root))


def test_a_usps_file_that_is_none_is_named(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    files = data_root / "usps/raw"
    write_usps(files)
    (files / "usps.bz2").write_bytes(bz2.compress(b"digits\n"))
    trust_files(Usps, files)
    with pytest.raises(UserError, match=r"usps.bz2: not a readable LIBSVM file"):
        make(Usps).prepare_data()


@pytest.mark.parametrize("missing", ["mnist_m_train/00000002.png", "mnist_m_test_labels.txt"])
def test_a_release_that_lacks_something_is_not_the_official_one(
    data_root: Path, make: Make, trust_files: TrustFiles, missing: str
) -> None:
    write_mnist_m(data_root / "mnist_m/raw", without=f"mnist_m/{missing}")
    trust_files(MnistM, data_root / "mnist_m/raw")
    with pytest.raises(UserError, match="it is not the official archive"):
        make(MnistM).prepare_data()


def test_a_blended_pixel_is_the_distance_of_digit_and_patch_in_each_channel() -> None:
    digits = np.array([[[0, 3]]], dtype=np.uint8)
    patches = np.array([[[[10, 10]], [[0, 0]], [[255, 200]]]], dtype=np.uint8)
    assert blend(digits, patches).tolist() == [[[[10, 245]], [[0, 255]], [[255, 55]]]]


def test_a_digit_lies_in_the_middle_of_its_patch() -> None:
    blended = blend(np.full((2, 28, 28), 255, np.uint8), np.zeros((2, 3, 32, 32), np.uint8))
    assert (blended[:, :, 2:30, 2:30] == 255).all()
    assert blended.sum() == 2 * 3 * 28 * 28 * 255


def test_patches_are_cut_from_everywhere_of_every_photograph() -> None:
    photographs = [random_images(1, 3, 33, 34)[0], random_images(1, 3, 32, 33, seed=1)[0]]
    windows = [p[:, y : y + 32, x : x + 32] for p in photographs for y in range(2) for x in range(3)]
    known = {window.tobytes() for window in windows if window.shape == (3, 32, 32)}
    cut = {patch.tobytes() for patch in cut_patches(photographs, 200, np.random.default_rng(0))}
    assert len(known) == 8
    assert cut == known


def write_bsds(folder: Path) -> None:
    pictures = {
        f"BSR/BSDS500/data/images/{part}/{name}.jpg": encoded(np.full((3, 40, 50), grey, np.uint8), "JPEG")
        for part, grey in (("train", 20), ("val", 130), ("test", 240))
        for name in ("1", "2")
    }
    others = {"BSR/BSDS500/data/images/train/Thumbs.db": b"?", "BSR/documentation/train/x.jpg": b"?"}
    tar_gz(folder / "BSR_bsds500.tgz", pictures | others)


def test_mnist_m_is_made_of_mnist_and_photographs_of_the_same_part(
    data_root: Path, make: Make, trust_files: TrustFiles
) -> None:
    files = data_root / "mnist_m_blended/raw"
    digits = write_idx(files)
    write_bsds(files)
    trust_files(BlendedMnist, files)
    data = make(BlendedMnist)
    data.prepare_data()
    data.setup()
    for part, ground in (("train", 20), ("test", 240)):
        batch = data.parts[part][torch.arange(len(data.parts[part]))]
        ink = np.zeros((len(batch.label), 1, 32, 32), bool)
        ink[:, :, 2:30, 2:30] = digits[f"{part}_images"] > 0
        assert set(np.unique(batch.image.numpy()[np.broadcast_to(ink, batch.image.shape)])) == {255 - ground}
        assert set(np.unique(batch.image.numpy()[np.broadcast_to(~ink, batch.image.shape)])) == {ground}
        np.testing.assert_array_equal(batch.label, digits[f"{part}_labels"])


def test_an_archive_without_photographs_is_not_the_official_one(tmp_path: Path) -> None:
    write_idx(tmp_path)
    tar_gz(
        tmp_path / "BSR_bsds500.tgz", {"BSR/BSDS500/data/images/train/1.jpg": encoded(random_images(1, 3, 40, 40)[0])}
    )
    with pytest.raises(UserError, match="lacks the photographs BSDS500/data/images/test"):
        convert_blended(tmp_path, ArrayWriter(tmp_path))


def test_drawn_numbers_depend_on_the_seed_alone() -> None:
    first, again, other = (draw_numbers(20, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_all_digits_of_all_fonts_differ_and_their_outlines_surround_them() -> None:
    ink, outlined = glyphs().unbind(2)
    assert ink.shape == (len(FONTS), 10, 64, 44)
    assert len({glyph.numpy().tobytes() for glyph in ink.flatten(0, 1)}) == 10 * len(FONTS)
    assert (outlined >= ink - 0.02).all()
    assert (outlined.sum((2, 3)) > 1.1 * ink.sum((2, 3))).all()
    heights = (ink > 0.5).any(3).sum(2)
    assert heights.min() >= 34
    assert heights.max() <= 46


def test_the_label_is_the_digit_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """With glyphs that are as bright all over as they count, white on black, the pixel in the middle is the label."""
    brightness = torch.arange(10.0)[:, None, None] / 9 * torch.ones(64, 44)
    cells = torch.stack([brightness, torch.zeros_like(brightness)], 1).expand(len(FONTS), -1, -1, -1, -1)
    colours = torch.tensor([0.0, 255.0, 0.0])[:, None, None, None, None]
    monkeypatch.setattr("paperzoo.data.domains.drawn_numbers.glyphs", lambda: cells)
    monkeypatch.setattr(
        "paperzoo.data.domains.drawn_numbers._colours", lambda count, _: colours.expand(3, count, 3, 1, 1)
    )
    image, label = draw_numbers(500, torch.Generator().manual_seed(0))
    assert label.unique().tolist() == list(range(10))
    assert torch.equal((image[:, 0, 16, 16] * (9 / 255)).round().long(), label)
    edges = image[:, 0, 16, [0, 31]] > 0
    assert 0.3 < edges.float().mean() < 0.7  # a digit beside it: as often as not


def test_drawn_numbers_are_prepared_the_same_on_every_machine_and_need_no_download(data_root: Path) -> None:
    seen = []
    for folder in ("a", "b"):
        overrides = ("data/source=drawn_numbers", "data/target=drawn_numbers", "data.download=false")
        node = composed("domains", data_root / folder, *overrides, "data.source.images=30", "data.target.images=20")
        assert target_problems(node, "data") == []
        data = instantiate(node)
        data.prepare_data()
        data.setup()
        seen.append(next(iter(data.test_dataloader())))
    assert torch.equal(seen[0].image, seen[1].image)
    assert seen[0].domain.bincount().tolist() == [3, 2]
