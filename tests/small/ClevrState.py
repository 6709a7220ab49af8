"""Questions about four scenes."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.small.questions import write_questions


def prepare(node: dict[str, Any], root: Path) -> None:
    scenes = {"objects": np.ones((4, 10, 13), dtype=np.float32), "object_count": np.full(4, 3, dtype=np.uint8)}
    write_questions("scenes", scenes, root)
