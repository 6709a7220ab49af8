"""Twenty persons, seen once by each camera."""

from pathlib import Path
from typing import Any

import numpy as np

from paperzoo.data.domains.person_sets import person_set
from tests.small.arrays import random_bytes, write_arrays


def prepare(node: dict[str, Any], root: Path) -> None:
    for name in (node["source"], node["target"]):
        arrays = {
            "images": random_bytes(40, 3, 128, 48),
            "persons": np.arange(40) // 2,
            "cameras": np.arange(40) % 2,
            "names": np.array([f"{row}.png" for row in range(40)]),
            "views": np.arange(40).reshape(20, 2, 1),
        }
        write_arrays(person_set(name).cache(str(root)), arrays)
