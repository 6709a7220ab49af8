"""docs/adding_a_paper.md: its files, put into a copy of the project, are a paper; nothing that was there changes."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

COPIED = ("paperzoo", "conf", "tests", "scripts", "docs", "train.py", "pyproject.toml")
PAGE = (ROOT / "docs" / "adding_a_paper.md").read_text(encoding="utf-8")
NAMED = re.compile(r"^\*\*`([^`\n]+)`\*\*$", re.MULTILINE)
BLOCK = re.compile(
    r"^\*\*`(?P<path>[^`\n]+)`\*\*\n\n(?P<fence>`{3,})\w+\n(?P<content>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
FILES = {block["path"]: block["content"] for block in BLOCK.finditer(PAGE)}
PRESETS = [path[len("conf/experiment/") : -len(".yaml")] for path in FILES if path.startswith("conf/experiment/")]
NEW_TESTS = [path for path in FILES if path.endswith(".py") and "/test_" in path]


@dataclass(frozen=True)
class Zoo:
    """A copy of the project with the paper of the page.

    Attributes:
        folder: where it is.
        before: what was in it before the paper came, by `contents`.
    """

    folder: Path
    before: Mapping[str, str]

    def run(self, *arguments: str) -> str:
        """What `python ARGUMENTS` prints there; it ends with 0, and leaves what was there as it was."""
        own = {
            "PYTHONPATH": str(self.folder),
            "PAPERZOO_DATA": str(self.folder.parent / "data"),
            "OMP_NUM_THREADS": "1",
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=inherited | own,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert contents(self.folder).items() >= self.before.items()
        return result.stdout


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file below a folder, by its path."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    folder = tmp_path_factory.mktemp("adding") / "zoo"
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    before = contents(folder)
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return Zoo(folder, before)


def test_every_file_that_the_page_names_stands_there_once() -> None:
    assert NAMED.findall(PAGE) == list(FILES)
    assert len(PRESETS) == 3


def test_every_file_is_a_new_one() -> None:
    assert [name for name in FILES if (ROOT / name).exists()] == []


@pytest.mark.slow
def test_the_tests_find_and_accept_it(zoo: Zoo) -> None:
    there_already = ("tests/test_presets.py", "tests/papers/test_cards.py", "tests/test_architecture.py")
    own = "linear_classifier or bars or test_architecture"
    printed = zoo.run("-m", "pytest", "-v", *there_already, *NEW_TESTS, "-k", own)
    assert all(f"smoke_run_of_a_preset_goes_all_the_way[{name}] PASSED" in printed for name in PRESETS)
    assert "test_examples_run_as_they_stand[linear_classifier] PASSED" in printed
    assert "test_arrows_run_downwards[papers] PASSED" in printed
    assert all(f"{path}::" in printed for path in NEW_TESTS)


@pytest.mark.slow
def test_its_code_is_clean(zoo: Zoo) -> None:
    new = [name for name in FILES if name.endswith(".py")]
    zoo.run("-m", "ruff", "check", *new)
    zoo.run("-m", "ruff", "format", "--check", *new)


@pytest.mark.slow
def test_help_names_its_presets(zoo: Zoo) -> None:
    printed = zoo.run("train.py", "--help")
    assert "experiment/linear_classifier: bars_laptop, digits_laptop, mnist\n" in printed
    assert " bars," in printed


@pytest.mark.slow
def test_it_trains(zoo: Zoo) -> None:
    printed = zoo.run("train.py", "experiment=linear_classifier/digits_laptop", "trainer=smoke")
    assert "test/accuracy" in printed
