"""Questions about four random images."""

from pathlib import Path
from typing import Any

from tests.small.arrays import random_bytes
from tests.small.questions import write_questions


def prepare(node: dict[str, Any], root: Path) -> None:
    write_questions("images", {"images": random_bytes(4, 3, 128, 128)}, root)
