"""DataModules for tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paperzoo.data.images import ImageData
from tests.data.official_files import trusted

MakeData = Callable[..., Any]
TrustFiles = Callable[[type[ImageData], Path], None]


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def arguments(data_root: Path) -> dict[str, Any]:
    """Constructor arguments that suit every image set but for image_shape and num_classes."""
    return {
        "data_root": str(data_root),
        "seed": 0,
        "download": False,
        "batch_size": 4,
        "eval_batch_size": 8,
        "workers": 0,
        "validation_images": 0,
        "shift": 0.0,
        "flip": False,
        "device_resident": False,
    }


@pytest.fixture
def make_data(arguments: dict[str, Any]) -> MakeData:
    """A DataModule of a class, in the shape of its own images if nothing else is said."""

    def make(data: type[ImageData], **changes: Any) -> ImageData:
        image_set = data.describe(**arguments | changes) if "image_shape" not in changes else None
        own = {"image_shape": image_set.shape, "num_classes": image_set.num_classes} if image_set else {}
        return data(**arguments | own | changes)

    return make


@pytest.fixture
def trust_files(monkeypatch: pytest.MonkeyPatch) -> TrustFiles:
    """Makes the files in a folder the official ones: their checksums replace those of the class."""

    def trust(data: type[ImageData], folder: Path) -> None:
        monkeypatch.setattr(data, "image_set", trusted(data.image_set, folder))

    return trust
