"""LSUN (Yu et al. 2015): scenes, prepared as in RealNVP (Dinh et al. 2017, section 4.1)."""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt
from PIL import Image
from pydantic import NonNegativeInt, PositiveInt

from paperzoo.batches import Images
from paperzoo.data.cache import ArrayWriter
from paperzoo.data.decoding import Picture, append_decoded, decode, pixels
from paperzoo.data.downloads import SafeZip, Source
from paperzoo.data.image_set import ImageSet
from paperzoo.data.images import ImageData
from paperzoo.errors import UserError

_SIDE = 96
_NEEDS_LMDB = "LSUN comes as LMDB databases; install their reader: pip install 'paperzoo[lsun]'"

# sha256 of the training and the validation archive. Nobody published checksums beside the files; these are the ones
# that TensorFlow Datasets recorded when it downloaded them from the official address.
_CHECKSUMS = {
    "bedroom": (
        "a15644c2e7153106867f0adb3491fc41224102d1f01b24494fb47d9f5d1f174e",
        "5d022e781b241c25ec2e1f1f769afcdb8091d7fd58362667aec03137b8114b12",
    ),
    "tower": (
        "440caec74c9641cb51fd235a5970c8e4931c3af875aeb044a8bcca956e106309",
        "7f5257847bc01f4e40d4a1b3e24dd8fcd37063f12ca8cf31e726c2ee0b1ae104",
    ),
    "church_outdoor": (
        "91128ae026840ac0c5982b4445ab5fc4e092d6847cca76793b2b1a0815c2e74a",
        "34635b7547a3e51a15f942a4a4082dd6bc9cca381a953515cb2275c0eed50584",
    ),
}


def convert(files: Path, writer: ArrayWriter, category: str) -> None:
    """The official LMDB archives; pictures averaged down until the smaller side is 96, then the central 96 x 96.

    RealNVP's code keeps the whole of the longer side for its random crops; here the crops come from the central square.
    """
    for part, split in (("train", "train"), ("test", "val")):
        archive = files / f"{category}_{split}_lmdb.zip"
        with SafeZip(archive) as members:
            databases = [name for name in members.names() if name.endswith("data.mdb")]
            if len(databases) != 1:
                raise UserError(f"{archive}: holds no LMDB database (data.mdb); it is not the official archive")
            with members.extracted(databases[0], writer.folder) as database:
                append_decoded(writer, f"{part}_images", _read_lmdb(database, archive), _decode)


def _read_lmdb(database: Path, archive: Path) -> Iterator[tuple[str, bytes]]:
    try:
        import lmdb  # optional: only the first use of LSUN needs it
    except ImportError as error:
        raise UserError(_NEEDS_LMDB) from error
    try:
        environment = lmdb.open(str(database), subdir=False, readonly=True, lock=False, readahead=False)
        with environment, environment.begin() as transaction:
            for key, content in transaction.cursor():
                yield f"{archive}: {bytes(key).decode(errors='replace')}", bytes(content)
    except lmdb.Error as error:
        raise UserError(f"{archive}: its database is damaged ({error}); delete it and fetch it again") from error


def _decode(name: str, content: bytes) -> Picture:
    image = decode(content, name, channels=3)
    scale = min(image.width, image.height) / _SIDE
    if scale < 1:
        raise UserError(f"{name}: {image.width} x {image.height} pixels, expected at least {_SIDE} x {_SIDE}")
    left, top = (image.width - _SIDE * scale) / 2, (image.height - _SIDE * scale) / 2
    square = (left, top, left + _SIDE * scale, top + _SIDE * scale)
    return pixels(image.resize((_SIDE, _SIDE), Image.Resampling.BOX, box=square))


def _image_set(category: str) -> ImageSet:
    sources = tuple(
        Source(file, (f"http://dl.yf.io/lsun/scenes/{file}",), f"sha256:{checksum}")
        for file, checksum in zip(
            (f"{category}_train_lmdb.zip", f"{category}_val_lmdb.zip"), _CHECKSUMS[category], strict=True
        )
    )
    return ImageSet(f"lsun_{category}", (3, _SIDE, _SIDE), partial(convert, category=category), sources=sources)


_IMAGE_SETS = {category: _image_set(category) for category in _CHECKSUMS}


class Lsun(ImageData):
    """LSUN: 3,033,042 bedrooms, 708,264 towers or 126,227 churches for training, 300 for testing.

    Training images are random crops, the others central ones. The prepared bedrooms take 84 GB.

    Args:
        category: the kind of scene.
        data_root: this and all others: see `ImageData`.
    """

    yields = Images
    crops = True

    def __init__(
        self,
        category: Literal["bedroom", "tower", "church_outdoor"],
        data_root: str,
        seed: int,
        download: bool,
        image_shape: tuple[PositiveInt, PositiveInt, PositiveInt],
        num_classes: NonNegativeInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
        validation_images: NonNegativeInt,
        shift: Annotated[float, Ge(0), Lt(1)],
        flip: bool,
        device_resident: Literal["auto"] | bool,
    ) -> None:
        super().__init__(
            data_root,
            seed,
            download,
            image_shape,
            num_classes,
            batch_size,
            eval_batch_size,
            workers,
            validation_images,
            shift,
            flip,
            device_resident,
        )
        self.category = category

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        if arguments["category"] not in _IMAGE_SETS:
            yield f"data.category={arguments['category']}: choose one of {', '.join(_IMAGE_SETS)}"
            return
        prepared = _IMAGE_SETS[arguments["category"]].cache(arguments["data_root"]).is_prepared
        if not prepared and find_spec("lmdb") is None:
            yield f"data=lsun: {_NEEDS_LMDB}"
        yield from super().check(**arguments)

    @classmethod
    def describe(cls, **arguments: Any) -> ImageSet:
        return _IMAGE_SETS[arguments["category"]]

    @classmethod
    def image_sets(cls) -> tuple[ImageSet, ...]:
        return tuple(_IMAGE_SETS.values())
