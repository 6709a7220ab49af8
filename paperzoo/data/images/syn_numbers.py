"""SYN NUMBERS: digits drawn to look like house numbers (Ganin et al. 2016, section 5.2), as they were released."""

from pathlib import Path

from paperzoo.batches import LabelledImages
from paperzoo.data.images.module import ImageData
from paperzoo.data.images.small_images import DIGITS, append_mat
from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.downloads import SafeZip, Source
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.errors import UserError

_RELEASE = "SynthDigits.zip"


def convert_release(files: Path, writer: ArrayWriter) -> None:
    """The authors' archive: a file in SVHN's format for each part."""
    with SafeZip(files / _RELEASE) as archive:
        members = {name.rsplit("/", 1)[-1]: name for name in archive.names()}
        for part in ("train", "test"):
            file = f"synth_{part}_32x32.mat"
            if file not in members:
                raise UserError(f"{archive.path}: lacks {file}; it is not the official archive")
            with archive.extracted(members[file], writer.folder) as path:
                append_mat(writer, part, path)


class SynNumbers(ImageData):
    """SYN NUMBERS as its authors released it: 32 x 32, 479,400 / 9,553 (sizes recalled). No checksum was published."""

    yields = LabelledImages
    file_set = FileSet(
        "syn_numbers",
        convert_release,
        (Source(_RELEASE, google_drive="0B9Z4d7lAwbnTSVR1dEFSRUFxOUU"),),
        (3, 32, 32),
        DIGITS,
    )
