"""Facts about the real data sets, where PAPERZOO_DATA holds them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paperzoo.data.images.module import ImageData
from paperzoo.data.images.small_images import Cifar10, Mnist
from tests.data.conftest import Make

pytestmark = pytest.mark.real_data


def arrays(make: Make, data: type[ImageData]) -> dict[str, Any]:
    root = os.environ.get("PAPERZOO_DATA")
    if root is None:
        pytest.skip("PAPERZOO_DATA is not set")
    if not data.file_set.cache(root).is_prepared:
        pytest.skip(f"{data.file_set.name} is not prepared in PAPERZOO_DATA ({Path(root)})")
    make(data, data_root=root).prepare_data()
    cache = data.file_set.cache(root)
    return {name: cache.open(name) for name in cache.manifest()["arrays"]}


def test_cifar10_has_its_published_means_deviations_and_classes(make: Make) -> None:
    cifar10 = arrays(make, Cifar10)
    assert cifar10["train_images"].shape == (50_000, 3, 32, 32)
    assert cifar10["test_images"].shape == (10_000, 3, 32, 32)
    values = np.arange(256) / 255
    for channel, mean, deviation in zip(range(3), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), strict=True):
        share = np.bincount(cifar10["train_images"][:, channel].ravel(), minlength=256) / (50_000 * 1024)
        assert share @ values == pytest.approx(mean, abs=6e-5)
        assert (share @ values**2 - (share @ values) ** 2) ** 0.5 == pytest.approx(deviation, abs=6e-5)
    assert np.bincount(cifar10["train_labels"]).tolist() == [5000] * 10
    assert np.bincount(cifar10["test_labels"]).tolist() == [1000] * 10


def test_mnist_has_its_published_mean_deviation_and_classes(make: Make) -> None:
    mnist = arrays(make, Mnist)
    assert mnist["train_images"].shape == (60_000, 1, 28, 28)
    assert mnist["test_images"].shape == (10_000, 1, 28, 28)
    assert mnist["train_images"].mean() / 255 == pytest.approx(0.1307, abs=6e-5)
    assert mnist["train_images"].std() / 255 == pytest.approx(0.3081, abs=6e-5)
    assert np.bincount(mnist["train_labels"]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist["test_labels"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
