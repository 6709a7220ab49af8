"""What is known of a data set before any of its files is read, and how it is prepared."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from paperzoo.data.cache import ArrayCache, ArrayWriter
from paperzoo.data.downloads import Source
from paperzoo.errors import UserError

IMPORT_COMMAND = "python scripts/import_data.py"

log = logging.getLogger(__name__)


class PreparedOnce:
    """Base of the data sets that are prepared once, as arrays, from official files.

    Attributes:
        name: its folder below the data root; what it is called on the command line.
        convert: reads the official files in a folder and appends the arrays to a writer.
        sources: the official files.
        official_files: the folder that holds them, if it is not `raw` in the set's own folder.
    """

    name: str
    convert: Callable[[Path, ArrayWriter], None]
    sources: tuple[Source, ...]
    official_files: Path | None

    def cache(self, data_root: str) -> ArrayCache:
        return ArrayCache(Path(data_root).expanduser() / self.name)

    def raw(self, data_root: str) -> Path:
        return self.official_files or self.cache(data_root).folder / "raw"

    def missing(self, folder: Path) -> list[str]:
        """The official files that `folder` lacks."""
        return [source.file for source in self.sources if not (folder / source.file).is_file()]

    def digests(self, folder: Path) -> dict[str, str]:
        """The sha256 of each official file.

        Raises:
            UserError: one is damaged or not the official one.
        """
        return {source.file: source.verify(folder) for source in self.sources}

    def file_problems(self, data_root: str, *, download: bool) -> Iterator[str]:
        """What keeps the set from being used, as far as file names and sizes tell; touches no network."""
        cache = self.cache(data_root)
        if cache.is_prepared:
            yield from cache.problems()
            return
        absent = self.missing(self.raw(data_root))
        if absent and not (download and self.sources):
            reason = f"{self.name} cannot be downloaded" if download else "data.download=false"
            remedy = ", or set data.download=true" if self.sources else ""
            yield (
                f"{reason}, and {', '.join(absent)} is missing: put it into {self.raw(data_root)}, "
                f"or run `{IMPORT_COMMAND} {self.name} FOLDER` with the folder that has it{remedy}"
            )

    def prepare(self, data_root: str, *, download: bool) -> None:
        """Makes the prepared arrays, from the official files, downloaded if need be; verifies them if they are there.

        Any number of processes may do this at the same time.

        Raises:
            UserError: missing, damaged or wrong files, no network, no space.
        """
        cache = self.cache(data_root)
        if not cache.is_prepared:
            with cache.locked():
                if not cache.is_prepared:
                    self._make(cache, data_root, download=download)
        cache.verify()

    def _make(self, cache: ArrayCache, data_root: str, *, download: bool) -> None:
        raw = self.raw(data_root)
        if download:
            raw.mkdir(parents=True, exist_ok=True)
            absent = self.missing(raw)
            for source in self.sources:
                if source.file not in absent:
                    continue
                try:
                    source.fetch(raw)
                except UserError as error:
                    raise UserError(
                        f"{error}, or run `{IMPORT_COMMAND} {self.name} FOLDER` with the folder that has it"
                    ) from error
        if problems := list(self.file_problems(data_root, download=download)):
            raise UserError(*problems)
        self.convert_into(cache, raw)

    def convert_into(self, cache: ArrayCache, files: Path) -> None:
        """Makes the prepared arrays from the official files in the folder `files`; the cache must be locked.

        Raises:
            UserError: a file is missing, damaged or not the official one.
        """
        if absent := self.missing(files):
            raise UserError(f"{files}: {', '.join(absent)} is missing")
        log.info("preparing %s in %s (once)", self.name, cache.folder)
        digests = self.digests(files)
        with cache.writing(digests) as writer:
            self.convert(files, writer)


@dataclass(frozen=True)
class FileSet(PreparedOnce):
    """Such a set of which nothing else has to be known."""

    name: str
    convert: Callable[[Path, ArrayWriter], None]
    sources: tuple[Source, ...] = ()
    official_files: Path | None = None
