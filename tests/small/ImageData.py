"""Random images in place of a set's official ones."""

from pathlib import Path
from typing import Any

import numpy as np

from paperzoo.config import find_target
from tests.small.arrays import random_bytes, write_arrays


def prepare(node: dict[str, Any], root: Path) -> None:
    data: Any = find_target(node["_target_"], "data")
    file_set = data.describe(**node)
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 8), ("test", 4)):
        columns = {
            "images": random_bytes(count, *file_set.shape),
            "labels": generator.integers(0, max(1, len(file_set.classes)), count),
            "attributes": generator.integers(0, 2, (count, len(file_set.attributes))).astype(bool),
        }
        arrays |= {f"{part}_{column}": columns[column] for column in file_set.columns}
    write_arrays(file_set.cache(str(root)), arrays)
