"""Random items, written as prepared arrays."""

import numpy as np

from paperzoo.data.prepared.cache import ArrayCache


def random_bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def write_arrays(cache: ArrayCache, arrays: dict[str, np.ndarray]) -> None:
    """Writes the arrays, unless they are there."""
    if cache.is_prepared:
        return
    with cache.locked(), cache.writing() as writer:
        for name, array in arrays.items():
            writer.append(name, array)
