import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "results_table.py"


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120)


def test_the_readme_shows_the_numbers_of_the_presets():
    result = run_script("--check")
    assert result.returncode == 0, result.stderr


@pytest.fixture
def readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n")
    return path


def test_the_table_replaces_what_is_between_the_markers_and_nothing_else(readme):
    assert run_script("--readme", str(readme), "--check").returncode == 1
    assert run_script("--readme", str(readme)).returncode == 0
    lines = readme.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert "old" not in lines
    assert any(line.startswith("| `glow/cifar10` | `test/bits_per_dim` | 3.35 (") for line in lines)
    assert run_script("--readme", str(readme), "--check").returncode == 0


def test_a_readme_without_markers_is_left_alone_and_the_markers_are_named(readme):
    readme.write_text("no markers")
    result = run_script("--readme", str(readme))
    assert result.returncode == 1
    assert "<!-- results:begin -->" in result.stderr
    assert readme.read_text() == "no markers"
