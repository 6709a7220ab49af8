"""`mode=prepare`: the data of a composition, fetched, checked whole, and told of."""

import os
from pathlib import Path

import pytest

from paperzoo.errors import UserError
from tests.conftest import RunJob


def test_data_are_prepared_and_told_of_and_no_run_is_left(
    run_job: RunJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    run_job("mode=prepare", "data=digits", f"data_root={root}")
    assert capsys.readouterr().out == f"digits: 0 MiB in {root / 'digits'}, whole; terms: CC BY 4.0 (UCI)\n"
    assert (root / "digits/train_images.npy").is_file()


def test_a_changed_byte_is_found_whatever_the_time_of_the_file_says(run_job: RunJob, tmp_path: Path) -> None:

    root = tmp_path / "data"
    run_job("mode=prepare", "data=digits", f"data_root={root}")
    path = root / "digits/train_images.npy"
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UserError, match="damaged"):
        run_job("mode=prepare", "data=digits", f"data_root={root}")


def test_the_model_does_not_matter(run_job: RunJob, capsys: pytest.CaptureFixture[str]) -> None:
    run_job("mode=prepare", "data=sr", "data.workers=0")
    assert capsys.readouterr().out == "data=sr: generated, or your own files; there is nothing to prepare\n"


def test_what_cannot_be_had_is_told(run_job: RunJob, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz"):
        run_job("mode=prepare", "data=mnist", f"data_root={tmp_path}", "data.download=false")
