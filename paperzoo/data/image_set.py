"""What is known of a data set of images before it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paperzoo.data.cache import ArrayWriter
from paperzoo.data.downloads import Source
from paperzoo.data.file_set import PreparedOnce

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class ImageSet(PreparedOnce):
    """What is known of a data set before any of its files is read.

    Attributes:
        name: its folder below the data root; what it is called on the command line.
        shape: channels, height and width of the prepared images.
        convert: reads the official files in a folder and appends {train,test}_{images,labels,attributes} to a writer.
        num_classes: 0 if the images have no labels.
        sources: the official files.
        official_files: the folder that holds them, if it is not `raw` in the set's own folder.
    """

    name: str
    shape: Shape
    convert: Callable[[Path, ArrayWriter], None]
    num_classes: int = 0
    sources: tuple[Source, ...] = ()
    official_files: Path | None = None
