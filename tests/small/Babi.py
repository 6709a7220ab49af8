"""Two questions of each task."""

from pathlib import Path
from typing import Any

import numpy as np

from paperzoo.data.questions.babi import FILE_SETS, SIZES
from tests.small.arrays import write_arrays

QUESTIONS = 40


def prepare(node: dict[str, Any], root: Path) -> None:
    columns = {
        "sentences": np.ones((QUESTIONS, 3), dtype=np.uint8),
        "questions": np.ones((QUESTIONS, 3), dtype=np.uint8),
        "first": np.arange(QUESTIONS),
        "last": np.arange(QUESTIONS) + 1,
        "answer": np.zeros(QUESTIONS, dtype=np.int64),
        "kind": np.arange(QUESTIONS) % 20,
    }
    story_set = node["story_set"]
    arrays = {f"{part}_{name}": column for part in SIZES[story_set] for name, column in columns.items()}
    write_arrays(FILE_SETS[story_set].cache(str(root)), arrays)
