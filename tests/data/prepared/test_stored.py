"""Prepared arrays, gathered from the disk."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from paperzoo.data.base.items import Gather
from paperzoo.data.prepared.cache import ArrayCache
from paperzoo.data.prepared.stored import StoredArray

VALUES = np.arange(30_000, dtype=np.int32).reshape(10_000, 3)


@pytest.fixture
def stored(tmp_path: Path) -> StoredArray:
    cache = ArrayCache(tmp_path / "set")
    with cache.locked(), cache.writing() as writer:
        writer.append("numbers", VALUES)
    return StoredArray(cache, "numbers")


def test_rows_are_gathered_in_the_order_of_their_index(stored: StoredArray) -> None:
    index = torch.tensor([7, 0, 7, 9_999])
    np.testing.assert_array_equal(stored[index], VALUES[index.numpy()])
    assert len(stored) == 10_000
    assert stored.nbytes == VALUES.nbytes
    assert isinstance(stored, Gather)


def test_a_batch_is_a_copy(stored: StoredArray) -> None:
    stored[torch.tensor([0])].zero_()
    assert stored[torch.tensor([0])].tolist() == [[0, 1, 2]]


def test_a_worker_process_maps_the_file_itself(stored: StoredArray) -> None:
    index = torch.tensor([3, 1])
    expected = stored[index]
    stored.to(torch.device("cpu"))
    sent = pickle.dumps(stored)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent)[index], expected)


def test_there_is_one_copy_on_a_device_whoever_asks(stored: StoredArray) -> None:
    device = torch.device("cpu")
    assert stored.to(device) is stored.to(device)
    np.testing.assert_array_equal(stored.to(device), VALUES)
