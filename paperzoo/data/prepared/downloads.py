"""Official files: where they come from, whether they are what they should be, and what is inside them.

Nothing is unpacked to the disk before its name was checked, and nothing is unpickled before its checksum matched.
"""

import gzip
import lzma
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pooch
import requests
import torch
from torchvision.datasets.utils import download_file_from_google_drive

from paperzoo.data.prepared.cache import checksums
from paperzoo.errors import UserError
from paperzoo.files import NO_SPACE
from paperzoo.machine import memory_of, shown

_SECONDS_TO_CONNECT = 30
_DOWNLOADING = ".downloading-"

SURELY_READ = 1 << 24  # bytes of a member that are read without asking for memory


@dataclass(frozen=True)
class Source:
    """One official file.

    Attributes:
        file: its name.
        urls: where it is offered, tried in turn; empty if it can only be fetched by hand.
        checksum: "md5:..." or "sha256:...", or None where nobody published one.
        google_drive: its id there, for files that are offered nowhere else.
    """

    file: str
    urls: tuple[str, ...] = ()
    checksum: str | None = None
    google_drive: str | None = None

    @property
    def pages(self) -> tuple[str, ...]:
        """Addresses for a browser."""
        drive = (f"https://drive.google.com/file/d/{self.google_drive}",) if self.google_drive else ()
        return self.urls + drive

    def fetch(self, folder: Path) -> None:
        """Downloads the file into `folder`, unless it is there already; it appears only when whole and right.

        Raises:
            UserError: no network, no such file, or a wrong checksum; says how to fetch it by hand.
            OSError: the disk is full.
        """
        if (folder / self.file).exists():
            return
        for leftover in folder.glob(f"{_DOWNLOADING}*"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        errors = []
        for address in self.pages:
            download = self._from_url if address in self.urls else self._from_google_drive
            try:
                with tempfile.TemporaryDirectory(prefix=_DOWNLOADING, dir=folder) as temporary:
                    download(address, Path(temporary))
                    (Path(temporary) / self.file).replace(folder / self.file)
                return
            except Exception as error:  # requests, pooch, torchvision and gdown each have their own
                if isinstance(error, OSError) and error.errno in NO_SPACE:
                    raise
                errors.append(f"{address}: {_short(error)}")
        raise UserError(
            f"{self.file} could not be downloaded: {'; '.join(errors) or 'it is offered nowhere without a login'}. "
            f"Fetch it by hand and put it into {folder}"
        )

    def _from_url(self, url: str, folder: Path) -> None:
        loader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_SECONDS_TO_CONNECT)
        pooch.retrieve(url, self.checksum, fname=self.file, path=folder, downloader=loader)

    def _from_google_drive(self, page: str, folder: Path) -> None:
        md5 = (self.checksum or "").removeprefix("md5:") or None
        download_file_from_google_drive(page.rsplit("/", 1)[-1], folder, self.file, md5)

    def verify(self, folder: Path) -> str:
        """The file's sha256, after comparing it with its published checksum.

        Raises:
            UserError: it differs.
        """
        path = folder / self.file
        algorithm, _, expected = (self.checksum or "sha256:").partition(":")
        found = checksums(path, "sha256", algorithm)
        if expected and found[algorithm] != expected:
            raise UserError(
                f"{path}: its {algorithm} checksum is {found[algorithm]}, the official file's is {expected}; "
                f"it is damaged, cut short or another release. Delete it and fetch it again"
                + (f" from {self.pages[0]}" if self.pages else "")
            )
        return found["sha256"]


def _short(error: Exception) -> str:
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return "no connection"
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a broken archive makes its reader raise into a message that names the file.

    Raises:
        UserError: the file is damaged or ends too early.
    """
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path}: damaged or cut short ({error}); delete it and fetch it again") from error


def tar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file in a tar archive (compressed or not), in the archive's order.

    Raises:
        UserError: a member that is no plain file or folder, or whose name leaves the folder; a damaged archive.
    """
    with reading(path), tarfile.open(path, "r|*") as archive:
        for member in archive:
            _check_member(path, member.name, is_plain=member.isfile() or member.isdir())
            if member.isfile():
                _refuse_large(path, member.name, member.size)
                stream = archive.extractfile(member)
                assert stream is not None
                content = stream.read()
                if len(content) != member.size:
                    raise tarfile.ReadError(f"{member.name} ends early")
                yield member.name, content


class SafeZip:
    """A zip archive whose members are all plain files with harmless names.

    Raises:
        UserError: on opening, if they are not, or the archive is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path):
            self._archive = zipfile.ZipFile(path)
        for member in self._archive.infolist():
            kind = (member.external_attr >> 16) & 0o170000
            _check_member(path, member.filename, is_plain=kind in (0, 0o100000, 0o040000))

    def __enter__(self) -> "SafeZip":
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def names(self) -> list[str]:
        """The files, in the archive's order."""
        return [member.filename for member in self._archive.infolist() if not member.is_dir()]

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            UserError: it is damaged, or does not fit into memory.
        """
        _refuse_large(self.path, name, self._archive.getinfo(name).file_size)
        with reading(self.path):
            return self._archive.read(name)

    @contextmanager
    def extracted(self, name: str, folder: Path) -> Iterator[Path]:
        """The member as a temporary file in `folder`."""
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            target = Path(temporary) / PurePosixPath(name).name
            with reading(self.path), self._archive.open(name) as stream, target.open("wb") as copy:
                shutil.copyfileobj(stream, copy)
            yield target


def _check_member(archive: Path, name: str, *, is_plain: bool) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if not is_plain:
        raise UserError(f"{archive}: refused, its member {name!r} is a link or a device")
    if parts.is_absolute() or ".." in parts.parts or ":" in name:
        raise UserError(f"{archive}: refused, its member {name!r} would be written outside the folder")


def _refuse_large(archive: Path, name: str, size: int) -> None:
    """Refuses a member that says that it is larger than what is free in memory; more than it says is not read."""
    if size > SURELY_READ and size > (free := memory_of(torch.device("cpu")).free):
        raise UserError(
            f"{archive}: refused, its member {name!r} has {shown(size)} unpacked, and {shown(free)} are free"
        )
