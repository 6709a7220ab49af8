"""Data sets that are offered under terms of their own: the user fetches and unpacks them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paperzoo.data.image_set import ImageSet


@dataclass(frozen=True)
class UnpackedSet(ImageSet):
    """An image set that is made from unpacked files and cannot be downloaded.

    Attributes:
        title: what the published set is called.
        page: where it is offered.
        home: the folder below the data root whose `raw` holds the files.
        places: where the pictures may lie in the folder of the files, the official place first.
        otherwise: what else the user can do if nothing is there.
    """

    title: str = ""
    page: str = ""
    home: str = ""
    places: tuple[str, ...] = ()
    otherwise: str = ""

    def raw(self, data_root: str) -> Path:
        return self.official_files or Path(data_root).expanduser() / self.home / "raw"

    def missing(self, folder: Path) -> list[str]:
        return [] if find_place(folder, self.places) else [self.places[0]]

    def file_problems(self, data_root: str, *, download: bool) -> Iterator[str]:
        raw = self.raw(data_root)
        if self.cache(data_root).is_prepared or not self.missing(raw):
            yield from super().file_problems(data_root, download=download)
            return
        yield (
            f"{self.title} cannot be downloaded, and {raw / self.places[0]} is missing: fetch it, under its own terms, "
            f"from {self.page} and unpack it into {raw}{self.otherwise}"
        )


def find_place(files: Path, places: tuple[str, ...]) -> Path | None:
    """The first of `places` that there is in the folder `files`."""
    return next((files / place for place in places if (files / place).exists()), None)
