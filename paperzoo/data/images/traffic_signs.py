"""Traffic signs: GTSRB's photographs (Stallkamp et al. 2012)."""

import csv
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from paperzoo.batches import LabelledImages
from paperzoo.data.base.order import hold_out
from paperzoo.data.images.module import ImageData
from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.decoding import Picture, append_decoded, decode, pixels
from paperzoo.data.prepared.downloads import SafeZip, Source
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.errors import UserError

# uncertain: Ganin et al. 2016 do not say what size their network gets
SIDE = 40

ARCHIVE = "GTSRB_Final_Training_Images.zip"
GTSRB_IMAGES, GTSRB_TEST_IMAGES = 39_209, 7_842

# In the order of GTSRB's class numbers.
SIGN_NAMES = (
    "speed limit 20", "speed limit 30", "speed limit 50", "speed limit 60", "speed limit 70", "speed limit 80",
    "end of speed limit 80", "speed limit 100", "speed limit 120", "no passing", "no passing for lorries",
    "right of way", "priority road", "yield", "stop", "no vehicles", "no lorries", "no entry", "caution",
    "curve to the left", "curve to the right", "double curve", "bumpy road", "slippery road",
    "road narrows on the right", "road work", "traffic lights", "pedestrians", "children", "bicycles",
    "ice and snow", "wild animals", "end of all limits", "turn right", "turn left", "ahead only", "ahead or right",
    "ahead or left", "keep right", "keep left", "roundabout", "end of no passing", "end of no passing for lorries",
)  # fmt: skip


def convert_gtsrb(files: Path, writer: ArrayWriter) -> None:
    """The annotated region of each training photograph, scaled to 40 x 40.

    As in Ganin et al. 2016, section 5.2.4, 31,367 random ones are `train`; that the other 7,842 are what they test on
    (and not the official test set, which is left out here) is uncertain.

    Raises:
        UserError: it is not the official archive.
    """
    with SafeZip(files / ARCHIVE) as archive:
        regions = {name: row for table in _tables(archive) for name, row in _read_table(archive, table).items()}
        if len(regions) != GTSRB_IMAGES:
            raise UserError(f"{archive.path}: {len(regions)} images, the official archive has {GTSRB_IMAGES}")
        names = list(regions)
        labels = np.array([label for label, _ in regions.values()], dtype=np.int64)

        def cut(name: str, content: bytes) -> Picture:
            _, region = regions[name]
            image = decode(content, f"{archive.path}: {name}", channels=3)
            return pixels(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=region))

        for part, rows in zip(("train", "test"), hold_out(GTSRB_IMAGES, GTSRB_TEST_IMAGES), strict=True):
            encoded = ((names[row], archive.read(names[row])) for row in rows)
            append_decoded(writer, f"{part}_images", encoded, cut)
            writer.append(f"{part}_labels", labels[rows])


def _tables(archive: SafeZip) -> list[str]:
    return sorted(name for name in archive.names() if re.search(r"/(\d{5})/GT-\1\.csv$", name))


def _read_table(archive: SafeZip, table: str) -> dict[str, tuple[int, tuple[int, int, int, int]]]:
    """Class and region (left, top, right, bottom) of each image that the table of a class lists."""
    folder = table.rpartition("/")[0]
    rows = csv.DictReader(io.StringIO(archive.read(table).decode("utf-8", errors="replace")), delimiter=";")
    try:
        return {
            f"{folder}/{row['Filename']}": (
                int(row["ClassId"]),
                (int(row["Roi.X1"]), int(row["Roi.Y1"]), int(row["Roi.X2"]), int(row["Roi.Y2"])),
            )
            for row in rows
        }
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{archive.path}: its table {table} is damaged ({error}); fetch the archive again") from error


class GtsrbImages(ImageData):
    """GTSRB's training photographs, 40 x 40, in 43 classes, split at random: 31,367 / 7,842; see `convert_gtsrb`."""

    yields = LabelledImages
    # torchvision fetches the archive of the competition's first stage, with 26,640 images. Nobody published a checksum
    # of this one beside the file; many public loaders have this.
    file_set = FileSet(
        "gtsrb",
        convert_gtsrb,
        (
            Source(
                ARCHIVE,
                (f"https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/{ARCHIVE}",),
                "md5:f33fd80ac59bff73c82d25ab499e03a3",
            ),
        ),
        (3, SIDE, SIDE),
        SIGN_NAMES,
        megabytes=276,
    )
