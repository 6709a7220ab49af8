import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "results.py"


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120)


def test_the_page_shows_the_numbers_of_the_presets() -> None:
    result = run_script("--check")
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_page_is_rendered_by_paper_and_another_one_is_stale(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text("old")
    assert run_script("--page", str(page), "--check").returncode == 1
    assert run_script("--page", str(page)).returncode == 0
    lines = page.read_text().splitlines()
    assert "## Glow: Generative Flow with Invertible 1x1 Convolutions (2018)" in lines
    assert any(line.startswith("| `cifar10` | `test/bits_per_dim` | 3.35 (Table 2) |") for line in lines)
    assert any("Code measured at:" in line and "`glow/digits_laptop`" in line for line in lines)
