"""What is known of a data set before any of its files is read, and how it is prepared."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from paperzoo.config import placed
from paperzoo.data.prepared.cache import ArrayCache, ArrayWriter
from paperzoo.data.prepared.downloads import Source
from paperzoo.errors import UserError

GENERATED = "none of anybody's: generated here"
IMPORT_COMMAND = "python scripts/import_data.py"

Shape = tuple[int, int, int]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileSet:
    """A data set that is prepared once, as arrays, from official files.

    Attributes:
        name: its folder below the data root; what it is called on the command line.
        convert: reads the official files in a folder and appends the arrays to a writer.
        sources: the official files that can be downloaded.
        shape: of images, as they are prepared: channels, height and width.
        classes: of the labels 0, 1, 2, ... of images.
        attributes: that images have or have not.
        official_files: the folder that holds them, if it is not `raw` in the home folder.
        home: the folder below the data root whose `raw` holds the official files; "": the set's own.
        places: of a set that the user unpacks: where it may lie in the folder of the files, the official place first.
        title: what the published set is called, if not as its folder.
        page: where a set is offered under terms of its own, which cannot be downloaded from here.
        terms: its licence, or what its authors allow, as far as we know.
        megabytes: the official files together, where that is known.
        is_withdrawn: whether the official address answers no longer, so that other places must be found.
        otherwise: what else the user can do if nothing is there, as the end of a sentence.
    """

    name: str
    convert: Callable[[Path, ArrayWriter], None]
    sources: tuple[Source, ...] = ()
    shape: Shape | None = None
    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    official_files: Path | None = None
    home: str = ""
    places: tuple[str, ...] = ()
    title: str = ""
    page: str = ""
    otherwise: str = ""
    terms: str = ""
    megabytes: int | None = None
    is_withdrawn: bool = False

    def __post_init__(self) -> None:
        for name in (self.name, self.home):
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"{name}: the folder of a data set lies below the data root")

    @property
    def columns(self) -> tuple[str, ...]:
        """The arrays of each part of a set of images, "train" and "test"; `train_images` is one of them."""
        kinds = {"images": self.shape, "labels": self.classes, "attributes": self.attributes}
        return tuple(column for column, is_there in kinds.items() if self.shape and is_there)

    def cache(self, data_root: str) -> ArrayCache:
        return ArrayCache(Path(data_root).expanduser() / self.name)

    def raw(self, data_root: str) -> Path:
        return self.official_files or Path(data_root).expanduser() / (self.home or self.name) / "raw"

    def missing(self, folder: Path) -> list[str]:
        """The official files that `folder` lacks."""
        if self.places:
            return [] if find_place(folder, self.places) else [self.places[0]]
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
        raw = self.raw(data_root)
        absent = self.missing(raw)
        if not absent or (download and self.sources):
            return
        what = self.title or self.name
        if self.page:
            yield (
                f"{what} cannot be downloaded, and {_listed(raw / file for file in absent)} missing: fetch it, under "
                f"its own terms, from {self.page} and unpack it into {raw}{self.otherwise}"
            )
            return
        reason = f"{what} cannot be downloaded" if download else "download=false"
        remedy = ", or set data.download=true" if self.sources else ""
        yield (
            f"{reason}, and {_listed(absent)} missing: put {'it' if len(absent) == 1 else 'them'} into {raw}, "
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

    def prepared(self, data_root: str, *, download: bool) -> ArrayCache:
        """The prepared arrays, made if they are not there.

        Raises:
            UserError: as `prepare`.
        """
        cache = self.cache(data_root)
        if not cache.is_prepared:
            self.prepare(data_root, download=download)
        return cache

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
            raise UserError(*(placed(problem, "data", ("download",)) for problem in problems))
        self.convert_into(cache, raw)

    def convert_into(self, cache: ArrayCache, files: Path) -> None:
        """Makes the prepared arrays from the official files in the folder `files`; the cache must be locked.

        Raises:
            UserError: a file is missing, damaged or not the official one.
        """
        if absent := self.missing(files):
            raise UserError(f"{files}: {_listed(absent)} missing")
        log.info("preparing %s in %s (once)", self.name, cache.folder)
        digests = self.digests(files)
        with cache.writing(digests) as writer:
            self.convert(files, writer)


def find_place(files: Path, places: tuple[str, ...]) -> Path | None:
    """The first of `places` that there is in the folder `files`."""
    return next((files / place for place in places if (files / place).exists()), None)


def _listed(files: "Iterator[Path] | list[str]") -> str:
    """The files, and the verb that goes with their number."""
    names = [str(file) for file in files]
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"
