"""What a machine refuses of files and folders: a sentence and exit code 2, before training."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Root may write everywhere, unless it gives that away.
OBEYING = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []

pytestmark = pytest.mark.skipif(
    bool(OBEYING) and shutil.which("setpriv") is None, reason="root, and no setpriv to obey permissions with"
)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that may not be written to."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    return folder


def start(*arguments: str, folder: Path, shell: str = "") -> subprocess.CompletedProcess[str]:
    command = [*OBEYING, sys.executable, str(ROOT / "train.py"), "trainer=smoke", *arguments]
    if shell:
        command = ["bash", "-c", f'{shell}; "$@"', "bash", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize("key", ["output_root", "hydra.run.dir"])
def test_a_folder_for_runs_that_may_not_be_written_to_is_told(key: str, closed: Path, tmp_path: Path) -> None:
    folder = closed / "out" if key == "output_root" else closed
    result = start(f"{key}={folder}", folder=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"paperzoo: {closed}")
    assert result.stderr.endswith("you have no permission; choose another folder: output_root=FOLDER\n")


def test_a_folder_to_work_in_that_may_not_be_written_to_is_told(closed: Path) -> None:
    result = start(folder=closed)
    assert result.returncode == 2
    assert result.stderr == "paperzoo: outputs: you have no permission; choose another folder: output_root=FOLDER\n"


def test_a_folder_for_data_that_may_not_be_written_to_is_told(closed: Path, tmp_path: Path) -> None:
    result = start(f"data_root={closed / 'data'}", folder=tmp_path)
    assert result.returncode == 2
    words = "cannot be written: you have no permission; choose data_root=FOLDER"
    assert result.stderr.splitlines()[-1] == f"paperzoo: {closed / 'data/digits'}: {words}"
    assert not list((tmp_path / "outputs").rglob("summary.json"))


@pytest.mark.slow
def test_a_limit_of_the_shell_on_files_is_no_full_disk(tmp_path: Path) -> None:
    result = start(f"data_root={tmp_path / 'data'}", folder=tmp_path, shell="ulimit -f 8")
    assert result.returncode == 2
    assert "it would be larger than a file may be here (ulimit -f)" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_prepared_data_of_somebody_else_may_be_read(tmp_path: Path) -> None:
    assert start(f"data_root={tmp_path / 'data'}", folder=tmp_path).returncode == 0
    (tmp_path / "data/digits").chmod(0o555)
    (tmp_path / "data").chmod(0o555)
    assert start(f"data_root={tmp_path / 'data'}", folder=tmp_path).returncode == 0
