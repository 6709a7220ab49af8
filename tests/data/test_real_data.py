"""Facts about the real data sets, where PAPERZOO_DATA holds them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paperzoo.data.images import ImageData
from paperzoo.data.small_images import Cifar10, Mnist
from tests.data.conftest import MakeData

pytestmark = pytest.mark.real_data


def arrays(make_data: MakeData, data: type[ImageData]) -> dict[str, Any]:
    root = os.environ.get("PAPERZOO_DATA")
    if root is None:
        pytest.skip("PAPERZOO_DATA is not set")
    if not data.image_set.cache(root).is_prepared:
        pytest.skip(f"{data.image_set.name} is not prepared in PAPERZOO_DATA ({Path(root)})")
    module = make_data(data, data_root=root)
    module.prepare_data()
    module.setup()
    return {
        f"{name}_{field}": array for name in ("train", "test") for field, array in module.splits[name].arrays.items()
    }


def test_cifar10_has_its_published_means_deviations_and_classes(make_data: MakeData) -> None:
    cifar10 = arrays(make_data, Cifar10)
    assert cifar10["train_image"].shape == (50_000, 3, 32, 32)
    assert cifar10["test_image"].shape == (10_000, 3, 32, 32)
    values = np.arange(256) / 255
    for channel, mean, deviation in zip(range(3), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), strict=True):
        share = np.bincount(cifar10["train_image"][:, channel].ravel(), minlength=256) / (50_000 * 1024)
        assert share @ values == pytest.approx(mean, abs=6e-5)
        assert (share @ values**2 - (share @ values) ** 2) ** 0.5 == pytest.approx(deviation, abs=6e-5)
    assert np.bincount(cifar10["train_label"]).tolist() == [5000] * 10
    assert np.bincount(cifar10["test_label"]).tolist() == [1000] * 10


def test_mnist_has_its_published_mean_deviation_and_classes(make_data: MakeData) -> None:
    mnist = arrays(make_data, Mnist)
    assert mnist["train_image"].shape == (60_000, 1, 28, 28)
    assert mnist["test_image"].shape == (10_000, 1, 28, 28)
    assert mnist["train_image"].mean() / 255 == pytest.approx(0.1307, abs=6e-5)
    assert mnist["train_image"].std() / 255 == pytest.approx(0.3081, abs=6e-5)
    assert np.bincount(mnist["train_label"]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist["test_label"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
