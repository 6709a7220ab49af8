"""Each data set from small files in its official format."""

import gzip
import io
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from paperzoo.data.images import lsun
from paperzoo.data.images.downsampled_imagenet import ImageNet32, ImageNet32Chrabaszcz
from paperzoo.data.images.faces import CelebA, CelebAHQ, read_attributes
from paperzoo.data.images.lsun import Lsun
from paperzoo.data.images.module import ImageData
from paperzoo.data.images.small_images import Cifar10, Cifar100, Digits, FashionMnist, Mnist, Svhn
from paperzoo.errors import UserError
from tests.data.conftest import Make, TrustFiles
from tests.data.official_files import (
    encoded,
    picture_folder,
    random_images,
    tar_gz,
    trusted,
    write_cifar10,
    write_idx,
    write_zip,
)


def prepared(data: ImageData) -> dict[str, np.ndarray]:
    data.prepare_data()
    cache = data.chosen.cache(data.data_root)
    return {name: np.asarray(cache.open(name)) for name in cache.manifest()["arrays"]}


def assert_prepared(data: ImageData, written: dict[str, np.ndarray]) -> None:
    arrays = prepared(data)
    assert arrays.keys() == written.keys()
    for name, expected in written.items():
        np.testing.assert_array_equal(arrays[name], expected, err_msg=name)


@pytest.mark.parametrize("data", [Mnist, FashionMnist])
def test_idx_files_are_read(data: type[ImageData], data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    raw = data_root / data.file_set.name / "raw"
    written = write_idx(raw)
    trust_files(data, raw)
    assert_prepared(make(data), written)


def test_cifar10_pickles_are_read(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    raw = data_root / "cifar10/raw"
    written = write_cifar10(raw)
    trust_files(Cifar10, raw)
    assert_prepared(make(Cifar10), written)


def test_cifar100_takes_the_fine_labels(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    import pickle

    raw = data_root / "cifar100/raw"
    batch = {b"data": random_images(2, 3072), b"fine_labels": [99, 3], b"coarse_labels": [1, 2]}
    members = {f"cifar-100-python/{name}": pickle.dumps(batch, protocol=2) for name in ("train", "test", "meta")}
    tar_gz(raw / "cifar-100-python.tar.gz", members)
    trust_files(Cifar100, raw)
    assert prepared(make(Cifar100))["train_labels"].tolist() == [99, 3]


def test_svhns_label_10_becomes_0(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    from scipy.io import savemat

    raw = data_root / "svhn/raw"
    raw.mkdir(parents=True)
    images = random_images(5, 3, 32, 32)
    for part in ("train", "test"):
        labels = np.array([[1], [10], [9], [2], [10]], dtype=np.uint8)
        savemat(raw / f"{part}_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": labels})
    trust_files(Svhn, raw)
    arrays = prepared(make(Svhn))
    np.testing.assert_array_equal(arrays["train_images"], images)
    assert arrays["test_labels"].tolist() == [1, 0, 9, 2, 0]


def write_imagenet32(raw: Path, images: dict[str, np.ndarray]) -> None:
    for prefix, pixels in images.items():
        members = {f"{prefix}_32x32/{i:05}.png": encoded(image) for i, image in enumerate(pixels)}
        tar_gz(raw / f"{prefix}_32x32.tar", members, mode="w")


def test_imagenet32_pngs_are_read_in_the_order_of_the_archive(
    data_root: Path, make: Make, trust_files: TrustFiles
) -> None:
    raw = data_root / "imagenet32/raw"
    images = {"train": random_images(300, 3, 32, 32, seed=1), "valid": random_images(3, 3, 32, 32, seed=2)}
    write_imagenet32(raw, images)
    trust_files(ImageNet32, raw)
    assert_prepared(make(ImageNet32), {"train_images": images["train"], "test_images": images["valid"]})


def test_imagenet32_of_another_size_is_refused(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    raw = data_root / "imagenet32/raw"
    write_imagenet32(raw, {"train": random_images(2, 3, 16, 16), "valid": random_images(2, 3, 32, 32)})
    trust_files(ImageNet32, raw)
    with pytest.raises(UserError, match=r"00000\.png: 16 x 16 pixels, expected 32 x 32"):
        make(ImageNet32).prepare_data()


def test_a_broken_png_in_an_archive_is_named(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    raw = data_root / "imagenet32/raw"
    write_imagenet32(raw, {"train": random_images(2, 3, 32, 32), "valid": random_images(2, 3, 32, 32)})
    good = encoded(random_images(1, 3, 32, 32)[0])
    tar_gz(raw / "train_32x32.tar", {"train_32x32/a.png": good, "train_32x32/b.png": good[:200]}, mode="w")
    trust_files(ImageNet32, raw)
    with pytest.raises(UserError, match=r"train_32x32\.tar: train_32x32/b\.png: not a readable picture"):
        make(ImageNet32).prepare_data()


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def write_chrabaszcz(raw: Path, data: np.ndarray) -> None:
    labels = np.arange(1, len(data) + 1)
    batches = {
        f"Imagenet32_train_npz/train_data_batch_{i}.npz": npz(data=data + i, labels=labels + i) for i in (1, 10, 2)
    }
    write_zip(raw / "Imagenet32_train_npz.zip", batches)
    write_zip(raw / "Imagenet32_val_npz.zip", {"val_data.npz": npz(data=data, labels=labels)})


def test_chrabaszcz_npz_batches_are_read_in_order(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    raw = data_root / "imagenet32_chrabaszcz/raw"
    data = random_images(4, 3072)
    write_chrabaszcz(raw, data)
    trust_files(ImageNet32Chrabaszcz, raw)
    train = np.concatenate([data + 1, data + 2, data + 10]).reshape(-1, 3, 32, 32)
    labels = np.arange(4)
    expected = {"train_images": train, "train_labels": np.concatenate([labels + 1, labels + 2, labels + 10])}
    expected |= {"test_images": data.reshape(-1, 3, 32, 32), "test_labels": labels}
    assert_prepared(make(ImageNet32Chrabaszcz), expected)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [1, 2, 3], [1, 2, 3, 1001]])
def test_labels_of_imagenet32_that_cannot_be_are_refused(
    labels: list[int], data_root: Path, make: Make, trust_files: TrustFiles
) -> None:
    raw = data_root / "imagenet32_chrabaszcz/raw"
    data = random_images(4, 3072)
    write_chrabaszcz(raw, data)
    write_zip(raw / "Imagenet32_val_npz.zip", {"val_data.npz": npz(data=data, labels=np.array(labels))})
    trust_files(ImageNet32Chrabaszcz, raw)
    with pytest.raises(UserError, match="its labels are no numbers from 1 to 1000, one an image"):
        make(ImageNet32Chrabaszcz).prepare_data()


def test_pickled_objects_in_npz_files_are_refused(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    raw = data_root / "imagenet32_chrabaszcz/raw"
    write_chrabaszcz(raw, random_images(4, 3072))
    write_zip(raw / "Imagenet32_val_npz.zip", {"val_data.npz": npz(data=np.array([{}, 1], dtype=object))})
    trust_files(ImageNet32Chrabaszcz, raw)
    with pytest.raises(UserError, match=r"Imagenet32_val_npz\.zip"):
        make(ImageNet32Chrabaszcz).prepare_data()


def write_celeba(raw: Path, count: int = 10) -> tuple[np.ndarray, list[int]]:
    names = [f"{i:06}.jpg" for i in range(1, count + 1)]
    attributes = np.random.default_rng(0).integers(0, 2, (count, 40)).astype(bool)
    parts = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]
    pictures = {}
    for i, name in enumerate(names):
        pixels = np.zeros((3, 218, 178), dtype=np.uint8)
        pixels[:, 40:188, 15:163] = 20 * i
        pictures[f"img_align_celeba/{name}"] = encoded(pixels)
    write_zip(raw / "img_align_celeba.zip", pictures)
    rows = [" ".join([name, *("1" if a else "-1" for a in row)]) for name, row in zip(names, attributes, strict=True)]
    header = " ".join(f"Attribute_{i}" for i in range(40))
    (raw / "list_attr_celeba.txt").write_text("\n".join([str(count), header, *rows]) + "\n")
    lines = [f"{name} {part}" for name, part in zip(names, parts, strict=True)]
    (raw / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return attributes, parts


def test_celeba_faces_are_cut_out_and_come_with_their_attributes(
    data_root: Path, make: Make, trust_files: TrustFiles
) -> None:
    raw = data_root / "celeba/raw"
    attributes, _ = write_celeba(raw)
    trust_files(CelebA, raw)
    data = make(CelebA)
    arrays = prepared(data)
    np.testing.assert_array_equal(arrays["train_attributes"], attributes[:6])
    np.testing.assert_array_equal(arrays["test_attributes"], attributes[8:])
    assert arrays["train_images"].shape == (6, 3, 64, 64)
    # nothing of the black surroundings is left
    assert (arrays["test_images"] == np.array([160, 180])[:, None, None, None]).all()
    data.setup()
    batch = next(iter(data.test_dataloader()))
    assert batch.attributes.dtype == torch.bool
    assert batch.attributes.shape == (2, 40)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_list_of_attributes_is_read_whatever_wrote_it(tmp_path: Path, encoding: str, line_end: str) -> None:
    path = tmp_path / "attributes.txt"
    path.write_bytes("2\nBald Young\n1.jpg  1 -1\n2.jpg -1  1\n".replace("\n", line_end).encode(encoding))
    assert {name: row.tolist() for name, row in read_attributes(path).items()} == {
        "1.jpg": [True, False],
        "2.jpg": [False, True],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("-1", "2", 1), "is not a file name and 40 times -1 or 1"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "cut short, 9 rows"),
    ],
)
def test_a_damaged_list_of_attributes_is_named(
    data_root: Path, make: Make, trust_files: TrustFiles, change: Any, message: str
) -> None:
    raw = data_root / "celeba/raw"
    write_celeba(raw)
    path = raw / "list_attr_celeba.txt"
    path.write_text(change(path.read_text()))
    trust_files(CelebA, raw)
    with pytest.raises(UserError, match=rf"list_attr_celeba\.txt: .*{message}"):
        make(CelebA).prepare_data()


def test_all_broken_pictures_of_celeba_hq_are_named(data_root: Path, make: Make) -> None:
    raw = data_root / "celeba_hq/raw"
    raw.mkdir(parents=True)
    for i in range(20):
        (raw / f"{i}.png").write_bytes(b"nothing" if i in (3, 7) else encoded(np.zeros((3, 4, 4), dtype=np.uint8)))
    with pytest.raises(UserError) as caught:
        make(CelebAHQ).prepare_data()
    assert [problem.split(":")[0] for problem in caught.value.problems] == [str(raw / f"{i}.png") for i in (3, 7)]


def test_celeba_hq_is_a_folder_split_9_to_1_in_the_order_of_its_numbers(data_root: Path, make: Make) -> None:
    raw = data_root / "celeba_hq/raw"
    raw.mkdir(parents=True)
    for i in range(20):
        (raw / f"{i}.png").write_bytes(encoded(np.full((3, 300, 260), i, dtype=np.uint8)))
    arrays = prepared(make(CelebAHQ))
    assert arrays["train_images"].shape == (18, 3, 256, 256)
    assert arrays["train_images"][:, 0, 0, 0].tolist() == list(range(18))
    assert arrays["test_images"][:, 0, 0, 0].tolist() == [18, 19]
    assert arrays["train_attributes"].shape == (18, 0)


def test_celeba_hq_takes_attributes_that_lie_beside_the_pictures(data_root: Path, make: Make) -> None:
    raw = data_root / "celeba_hq/raw"
    raw.mkdir(parents=True)
    for i in range(3):
        (raw / f"{i}.png").write_bytes(encoded(random_images(1, 3, 256, 256)[0]))
    (raw / "CelebAMask-HQ-attribute-anno.txt").write_text("3\nSmiling Young\n0.png 1 -1\n1.png -1 -1\n2.png 1 1\n")
    arrays = prepared(make(CelebAHQ))
    assert arrays["train_attributes"].tolist() == [[True, False], [False, False]]


def write_lsun(raw: Path, folder: Path, pictures: dict[str, list[np.ndarray]]) -> None:
    lmdb = pytest.importorskip("lmdb")
    raw.mkdir(parents=True)
    for split, images in pictures.items():
        database = folder / f"tower_{split}_lmdb"
        with lmdb.open(str(database), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
            for i, image in enumerate(images):
                transaction.put(f"{i:040x}".encode(), encoded(image))
        members = {f"{database.name}/{path.name}": path.read_bytes() for path in database.iterdir()}
        write_zip(raw / f"tower_{split}_lmdb.zip", members)


def test_lsun_is_scaled_to_96_and_cropped_to_64(
    tmp_path: Path, data_root: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = data_root / "lsun_tower/raw"
    column = np.broadcast_to(np.arange(256) // 8 * 8, (3, 192, 256)).astype(np.uint8)
    write_lsun(raw, tmp_path, {"train": [column, column.transpose(0, 2, 1)] * 4, "val": [column]})
    monkeypatch.setitem(lsun.FILE_SETS, "tower", trusted(lsun.FILE_SETS["tower"], raw))
    data = make(Lsun, category="tower")
    arrays = prepared(data)
    assert arrays["train_images"].shape == (8, 3, 96, 96)
    # the central 192 of 256 columns: from level 32 to level 216, two columns averaged into one
    assert arrays["train_images"][0, 0, 50, [0, 95]].tolist() == [32, 216]
    np.testing.assert_array_equal(arrays["train_images"][1], arrays["train_images"][0].transpose(0, 2, 1))
    data.setup()
    evaluation = next(iter(data.val_dataloader()))
    np.testing.assert_array_equal(evaluation.image, arrays["test_images"][:, :, 16:80, 16:80])
    torch.manual_seed(0)
    training = data.augment(next(iter(data.train_dataloader())))
    assert training.image.shape == (4, 3, 64, 64)
    assert len(training.image[:, 0, 0, 0].unique()) > 1


def test_lsun_at_128_comes_from_the_same_files(
    tmp_path: Path, data_root: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = data_root / "lsun_tower/raw"
    column = np.broadcast_to(np.arange(256) // 8 * 8, (3, 256, 256)).astype(np.uint8)
    write_lsun(raw, tmp_path, {"train": [column] * 4, "val": [column]})
    monkeypatch.setitem(lsun.FILE_SETS, "tower_128", trusted(lsun.FILE_SETS["tower_128"], raw))
    data = make(Lsun, category="tower", side=128, image_shape=(3, 128, 128), augment=[])
    arrays = prepared(data)
    np.testing.assert_array_equal(arrays["train_images"][0], column[:, ::2, ::2])
    data.setup()
    assert next(iter(data.train_dataloader())).image.shape == (4, 3, 128, 128)


def test_digits_are_scikit_learns(make: Make) -> None:
    from sklearn.datasets import load_digits

    arrays = prepared(make(Digits))
    images = np.concatenate([arrays["train_images"], arrays["test_images"]])
    assert len(arrays["train_images"]) == 1497
    assert len(arrays["test_images"]) == 300
    assert set(np.unique(images)) == {*range(0, 256, 16), 255}
    expected = np.minimum(16 * load_digits().images, 255).astype(np.uint8)
    assert {image.tobytes() for image in images} == {image.tobytes() for image in expected}
    assert np.bincount(arrays["test_labels"], minlength=10).min() >= 20


def test_a_file_with_the_wrong_checksum_is_named_and_not_read(data_root: Path, make: Make) -> None:
    raw = data_root / "cifar10/raw"
    write_cifar10(raw)
    with pytest.raises(
        UserError, match=r"cifar-10-python\.tar\.gz: its md5 checksum is .*c58f30108f718f92721af3b95e74349a"
    ):
        make(Cifar10).prepare_data()
    assert not (data_root / "cifar10/manifest.json").exists()


def test_a_truncated_download_is_found_by_its_checksum(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    raw = data_root / "cifar10/raw"
    write_cifar10(raw)
    trust_files(Cifar10, raw)
    path = raw / "cifar-10-python.tar.gz"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz: its sha256 checksum .*cut short"):
        make(Cifar10).prepare_data()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_truncated_idx_files_are_named(data_root: Path, make: Make, trust_files: TrustFiles, file: str) -> None:
    raw = data_root / "mnist/raw"
    write_idx(raw)
    cut(raw / file)
    trust_files(Mnist, raw)
    with pytest.raises(UserError, match=f"{file}: damaged or cut short"):
        make(Mnist).prepare_data()


def test_an_idx_file_with_too_few_images_is_named(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    raw = data_root / "mnist/raw"
    write_idx(raw)
    path = raw / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    trust_files(Mnist, raw)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz: not an idx file"):
        make(Mnist).prepare_data()


def test_truncated_archives_are_named(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    raw = data_root / "cifar10/raw"
    write_cifar10(raw)
    cut(raw / "cifar-10-python.tar.gz")
    trust_files(Cifar10, raw)
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz: damaged or cut short"):
        make(Cifar10).prepare_data()
    raw = data_root / "celeba/raw"
    write_celeba(raw)
    cut(raw / "img_align_celeba.zip")
    trust_files(CelebA, raw)
    with pytest.raises(UserError, match=r"img_align_celeba\.zip: damaged or cut short"):
        make(CelebA).prepare_data()


def test_a_truncated_matlab_file_is_named(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    from scipy.io import savemat

    raw = data_root / "svhn/raw"
    raw.mkdir(parents=True)
    for part in ("train", "test"):
        savemat(raw / f"{part}_32x32.mat", {"X": random_images(32, 32, 3, 5), "y": np.ones((5, 1), dtype=np.uint8)})
    cut(raw / "train_32x32.mat")
    trust_files(Svhn, raw)
    with pytest.raises(UserError, match=r"train_32x32\.mat"):
        make(Svhn).prepare_data()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


def test_even_a_trusted_pickle_may_only_build_arrays(
    tmp_path: Path, data_root: Path, make: Make, trust_files: TrustFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    monkeypatch.chdir(tmp_path)
    raw = data_root / "cifar10/raw"
    tar_gz(raw / "cifar-10-python.tar.gz", {"cifar-10-batches-py/data_batch_1": pickle.dumps(Evil())})
    trust_files(Cifar10, raw)
    with pytest.raises(UserError, match="refused to unpickle"):
        make(Cifar10).prepare_data()
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "C:\\evil.png"])
def test_members_that_would_leave_the_folder_are_refused(
    data_root: Path, make: Make, trust_files: TrustFiles, name: str
) -> None:
    raw = data_root / "imagenet32/raw"
    write_imagenet32(raw, {"train": random_images(1, 3, 32, 32), "valid": random_images(1, 3, 32, 32)})
    tar_gz(raw / "train_32x32.tar", {name: encoded(random_images(1, 3, 32, 32)[0])}, mode="w")
    trust_files(ImageNet32, raw)
    with pytest.raises(UserError, match="would be written outside"):
        make(ImageNet32).prepare_data()
    raw = data_root / "celeba/raw"
    write_celeba(raw)
    write_zip(raw / "img_align_celeba.zip", {name: b""})
    trust_files(CelebA, raw)
    with pytest.raises(UserError, match="would be written outside"):
        make(CelebA).prepare_data()


def test_links_in_archives_are_refused(data_root: Path, make: Make, trust_files: TrustFiles) -> None:
    raw = data_root / "imagenet32/raw"
    write_imagenet32(raw, {"train": random_images(1, 3, 32, 32), "valid": random_images(1, 3, 32, 32)})
    with tarfile.open(raw / "train_32x32.tar", "w") as archive:
        link = tarfile.TarInfo("train_32x32/a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    trust_files(ImageNet32, raw)
    with pytest.raises(UserError, match="is a link or a device"):
        make(ImageNet32).prepare_data()
    raw = data_root / "celeba/raw"
    write_celeba(raw)
    with zipfile.ZipFile(raw / "img_align_celeba.zip", "w") as zipped:
        member = zipfile.ZipInfo("img_align_celeba/000001.jpg")
        member.external_attr = 0o120777 << 16
        zipped.writestr(member, "/etc/passwd")
    trust_files(CelebA, raw)
    with pytest.raises(UserError, match="is a link or a device"):
        make(CelebA).prepare_data()


def test_16_bit_grey_pictures_are_scaled_not_clipped(tmp_path: Path) -> None:
    from paperzoo.data.prepared.decoding import decode, pixels

    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16)).save(stream, "PNG")
    assert (pixels(decode(stream.getvalue(), "grey.png", channels=1)) == 0x80).all()


def test_sources_without_a_published_checksum_are_recorded(data_root: Path, make: Make) -> None:
    raw = data_root / "mnist/raw"
    write_idx(raw)
    sources = tuple(replace(source, checksum=None) for source in Mnist.file_set.sources)
    file_set = replace(Mnist.file_set, sources=sources)
    file_set.prepare(str(data_root), download=False)
    assert file_set.cache(str(data_root)).manifest()["sources"].keys() == {source.file for source in sources}


def test_pictures_are_found_in_sub_folders_in_the_order_of_their_names(tmp_path: Path) -> None:
    from paperzoo.data.prepared.decoding import list_pictures

    names = picture_folder(tmp_path / "pictures")
    (tmp_path / "pictures/.hidden.png").write_bytes(b"")
    (tmp_path / "pictures/notes.txt").write_text("")
    found = [path.relative_to(tmp_path / "pictures").as_posix() for path in list_pictures(tmp_path / "pictures")]
    assert found == names
