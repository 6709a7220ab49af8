"""The papers' cards: what they show of the code works."""

import re
from pathlib import Path

import pytest
import torch

CARDS = sorted((Path(__file__).parents[2] / "paperzoo" / "papers").glob("*/README.md"))
EXAMPLES = [
    pytest.param(code, id=card.parent.name)
    for card in CARDS
    for code in re.findall(r"^```python\n(.*?)^```", card.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("code", EXAMPLES)
def test_examples_run_as_they_stand(code: str) -> None:
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), {})
