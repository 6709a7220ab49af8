"""Random images in place of a domain's official ones, of each class one."""

from pathlib import Path
from typing import Any

import numpy as np

from paperzoo.config import instantiate
from paperzoo.data.domains.image_domains import ImageDomain
from tests.small.arrays import random_bytes, write_arrays


def prepare(node: dict[str, Any], root: Path) -> None:
    domain: ImageDomain = instantiate(node)
    classes = len(domain.file_set.classes)
    arrays = {}
    for part, count in {"train": classes, **({} if domain.transductive else {"test": 4})}.items():
        arrays[f"{part}_images"] = random_bytes(count, *domain.shape)
        arrays[f"{part}_labels"] = np.arange(count) % classes
    write_arrays(domain.file_set.cache(str(root)), arrays)
