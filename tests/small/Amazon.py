"""A dozen reviews of each kind of products."""

from pathlib import Path
from typing import Any

import numpy as np

from paperzoo.data.domains.amazon import AMAZON, COUNTS, PARTS
from tests.small.arrays import random_bytes, write_arrays

REVIEWS = 12


def prepare(node: dict[str, Any], root: Path) -> None:
    names = [f"{products}_{part}" for products in (node["source"], node["target"]) for part in PARTS]
    vectors = {f"{name}_vectors": random_bytes(REVIEWS, COUNTS) for name in names}
    labels = {f"{name}_labels": np.arange(REVIEWS) % 2 for name in names}
    write_arrays(AMAZON.cache(str(root)), vectors | labels)
