"""Prepared arrays: whole or not there, and never silently damaged."""

import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from paperzoo.data.prepared.cache import ArrayCache
from paperzoo.errors import UserError


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    return ArrayCache(tmp_path / "set")


def fill(cache: ArrayCache) -> None:
    with cache.locked(), cache.writing({"raw.tar": "abc"}) as writer:
        for start in range(0, 10, 3):
            writer.append("train_images", np.arange(start, min(start + 3, 10), dtype=np.uint8)[:, None].repeat(4, 1))
        writer.append("train_labels", np.arange(10))


def test_what_was_written_piece_by_piece_is_read_as_one_array(cache: ArrayCache) -> None:
    fill(cache)
    np.testing.assert_array_equal(cache.open("train_images"), np.arange(10, dtype=np.uint8)[:, None].repeat(4, 1))
    assert cache.open("train_labels").dtype == np.int64
    assert cache.shape("train_images") == (10, 4)
    assert cache.manifest()["sources"] == {"raw.tar": "abc"}
    cache.verify(thorough=True)


def test_nothing_but_the_arrays_and_the_manifest_is_left(cache: ArrayCache) -> None:
    fill(cache)
    assert {path.name for path in cache.folder.iterdir()} == {
        ".lock",
        "manifest.json",
        "train_images.npy",
        "train_labels.npy",
    }


def test_a_preparation_that_fails_leaves_nothing(cache: ArrayCache) -> None:
    with pytest.raises(KeyError), cache.locked(), cache.writing() as writer:
        writer.append("train_images", np.zeros((3, 2), dtype=np.uint8))
        raise KeyError("half way")
    assert not cache.is_prepared
    assert {path.name for path in cache.folder.iterdir()} == {".lock"}


def test_a_full_disk_is_said_and_leaves_nothing(cache: ArrayCache) -> None:
    with pytest.raises(UserError, match=r"the disk is full.*data_root"), cache.locked(), cache.writing() as writer:
        writer.append("train_images", np.zeros((3, 2), dtype=np.uint8))
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not cache.is_prepared
    assert not list(cache.folder.glob(".preparing-*"))


def test_a_data_root_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"a file is where a folder should be.*data_root"),
        ArrayCache(tmp_path / "file/set").locked(),
    ):
        pass


def test_a_file_cut_short_is_found_and_named(cache: ArrayCache) -> None:
    fill(cache)
    path = cache.folder / "train_images.npy"
    os.truncate(path, path.stat().st_size - 1)
    assert [problem for problem in cache.problems() if "train_images.npy" in problem and "delete" in problem]
    with pytest.raises(UserError, match=r"train_images\.npy: damaged"):
        cache.verify()


def test_a_missing_file_is_found_and_named(cache: ArrayCache) -> None:
    fill(cache)
    (cache.folder / "train_labels.npy").unlink()
    with pytest.raises(UserError, match=r"train_labels\.npy: missing"):
        cache.verify()


def overwrite_last_byte(path: Path, *, keep_time: bool) -> None:
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + (0 if keep_time else 1)))


def test_a_file_written_into_is_found_by_its_checksum(cache: ArrayCache) -> None:
    fill(cache)
    overwrite_last_byte(cache.folder / "train_images.npy", keep_time=False)
    with pytest.raises(UserError, match=r"train_images\.npy: damaged, its checksum"):
        cache.verify()


def test_rotten_bits_of_a_small_file_are_found_at_each_start(cache: ArrayCache) -> None:
    fill(cache)
    path, generator = cache.folder / "train_images.npy", np.random.default_rng(0)
    whole, time_ns = path.read_bytes(), path.stat().st_mtime_ns
    for bit in generator.integers(0, 8 * len(whole), 30):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        os.utime(path, ns=(time_ns, time_ns))
        with pytest.raises(UserError, match=r"train_images\.npy: damaged, its checksum"):
            cache.verify()


def test_rotten_bits_of_a_large_file_are_found_by_a_thorough_look_and_in_time_by_others(cache: ArrayCache) -> None:
    with cache.locked(), cache.writing() as writer:
        writer.append("train_images", np.zeros((32, 2**20), dtype=np.uint8))
    overwrite_last_byte(cache.folder / "train_images.npy", keep_time=True)
    with pytest.raises(UserError, match="checksum"):
        cache.verify(thorough=True)
    with pytest.raises(UserError, match="checksum"):
        for _ in range(40):  # each misses it with a probability of a half
            cache.verify()


def test_a_manifest_from_before_there_were_blocks_is_completed(cache: ArrayCache) -> None:
    fill(cache)
    path = cache.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    for entry in manifest["arrays"].values():
        del entry["blocks"]
    path.write_text(json.dumps(manifest))
    cache.verify()
    assert all(len(entry["blocks"]) == 1 for entry in cache.manifest()["arrays"].values())
    overwrite_last_byte(cache.folder / "train_images.npy", keep_time=True)
    with pytest.raises(UserError, match="checksum"):
        cache.verify()


def test_no_flipped_bit_of_a_manifest_changes_what_it_says(cache: ArrayCache) -> None:
    fill(cache)
    path, expected = cache.folder / "manifest.json", cache.manifest()
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).integers(0, 8 * len(whole), 200):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            assert cache.manifest() == expected
        except UserError as error:
            assert "manifest.json: damaged" in str(error)


def test_a_copied_cache_is_checked_once_and_then_known(cache: ArrayCache) -> None:
    fill(cache)
    os.utime(cache.folder / "train_images.npy", ns=(5, 5))
    cache.verify()
    assert cache.manifest()["arrays"]["train_images"]["mtime_ns"] == 5


@pytest.mark.parametrize("content", ["", "{}", "[1]", "{'arrays'"])
def test_a_damaged_manifest_is_named(cache: ArrayCache, content: str) -> None:
    fill(cache)
    (cache.folder / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: damaged"):
        cache.verify()


def test_opened_arrays_hold_no_pickles(cache: ArrayCache) -> None:
    fill(cache)
    np.save(cache.folder / "evil.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="Python objects"):
        cache.open("evil")


def prepare_slowly(folder: Path, started: Path, log: Path) -> None:
    cache = ArrayCache(folder)
    with cache.locked():
        if cache.is_prepared:
            return
        with log.open("a") as stream:
            stream.write("prepared\n")
        with cache.writing() as writer:
            writer.append("train_images", np.zeros((4, 2), dtype=np.uint8))
            started.touch()
            time.sleep(1)


def start(*arguments: Path) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=prepare_slowly, args=arguments)
    process.start()
    return process


def test_of_two_processes_one_prepares_and_the_other_waits(tmp_path: Path, cache: ArrayCache) -> None:
    processes = [start(cache.folder, tmp_path / "started", tmp_path / "log") for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "log").read_text() == "prepared\n"
    cache.verify(thorough=True)


def test_a_killed_process_leaves_nothing_prepared_and_does_not_block_the_next(
    tmp_path: Path, cache: ArrayCache
) -> None:
    process = start(cache.folder, tmp_path / "started", tmp_path / "log")
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not cache.is_prepared
    assert not list(cache.folder.glob("*.npy"))
    fill(cache)
    assert not list(cache.folder.glob(".preparing-*"))
    cache.verify(thorough=True)


def test_the_manifest_is_plain_json(cache: ArrayCache) -> None:
    fill(cache)
    entry = json.loads((cache.folder / "manifest.json").read_text())["arrays"]["train_labels"]
    assert entry["dtype"] == "int64"
    assert len(entry["sha256"]) == 64
