"""LSUN (Yu et al. 2015): scenes, prepared as in RealNVP (Dinh et al. 2017, section 4.1)."""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Unpack

from PIL import Image

from paperzoo.batches import Images
from paperzoo.data.images.module import ImageArguments, ImageData
from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.decoding import Picture, append_decoded, decode, pixels
from paperzoo.data.prepared.downloads import SafeZip, Source
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.errors import UserError

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
_MEGABYTES = {"bedroom": 43_000, "tower": 11_200, "church_outdoor": 2300}  # recalled


def convert(files: Path, writer: ArrayWriter, category: str, side: int) -> None:
    """The official LMDB archives; pictures averaged down until the smaller side is `side`, then the central square.

    RealNVP's code keeps the whole of the longer side for its random crops; here the crops come from the central square.
    """
    decode_scene = partial(_decode, side=side)
    for part, split in (("train", "train"), ("test", "val")):
        archive = files / f"{category}_{split}_lmdb.zip"
        with SafeZip(archive) as members:
            databases = [name for name in members.names() if name.endswith("data.mdb")]
            if len(databases) != 1:
                raise UserError(f"{archive}: holds no LMDB database (data.mdb); it is not the official archive")
            with members.extracted(databases[0], writer.folder) as database:
                append_decoded(writer, f"{part}_images", _read_lmdb(database, archive), decode_scene)


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


def _decode(name: str, content: bytes, side: int) -> Picture:
    image = decode(content, name, channels=3)
    scale = min(image.width, image.height) / side
    if scale < 1:
        raise UserError(f"{name}: {image.width} x {image.height} pixels, expected at least {side} x {side}")
    left, top = (image.width - side * scale) / 2, (image.height - side * scale) / 2
    square = (left, top, left + side * scale, top + side * scale)
    return pixels(image.resize((side, side), Image.Resampling.BOX, box=square))


def _file_set(category: str, side: int) -> FileSet:
    sources = tuple(
        Source(file, (f"http://dl.yf.io/lsun/scenes/{file}",), f"sha256:{checksum}")
        for file, checksum in zip(
            (f"{category}_train_lmdb.zip", f"{category}_val_lmdb.zip"), _CHECKSUMS[category], strict=True
        )
    )
    reader = partial(convert, category=category, side=side)
    name, home = f"lsun_{_name(category, side)}", f"lsun_{category}"
    return FileSet(name, reader, sources, (3, side, side), home=home, megabytes=_MEGABYTES[category])


def _name(category: str, side: int) -> str:
    return category if side == 96 else f"{category}_{side}"


FILE_SETS = {_name(category, side): _file_set(category, side) for category in _CHECKSUMS for side in (96, 128)}


class Lsun(ImageData):
    """LSUN: 3,033,042 bedrooms, 708,264 towers or 126,227 churches for training, 300 for testing.

    The prepared images may be cut: at random for training, around the centre otherwise. The bedrooms take 84 GB at
    96 x 96, 149 GB at 128 x 128.

    Args:
        category: the kind of scene.
        side: of the prepared images, in pixels; both come from the same official files.
        arguments: see `ImageData`.
    """

    yields = Images

    def __init__(
        self,
        category: Literal["bedroom", "tower", "church_outdoor"],
        side: Literal[96, 128],
        **arguments: Unpack[ImageArguments],
    ) -> None:
        super().__init__(**arguments)
        self.category = category
        self.side = side

    @classmethod
    def describe(cls, **arguments: Any) -> FileSet:
        return FILE_SETS[_name(arguments["category"], arguments["side"])]

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        prepared = cls.describe(**arguments).cache(arguments["data_root"]).is_prepared
        if not prepared and find_spec("lmdb") is None:
            yield _NEEDS_LMDB
        yield from super().check(**arguments)
