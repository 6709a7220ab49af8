"""Latents as rows, and the files that hold them."""

from pathlib import Path

import numpy as np
import torch

from paperzoo.tasks.latents import RowsFile, as_latents, as_rows


def test_rows_hold_the_levels_one_after_another() -> None:
    latents = [torch.randn(3, 2, 4, 4), torch.randn(3, 8, 2, 2)]
    rows = as_rows(latents)
    assert rows.shape == (3, 64)
    assert torch.equal(rows[:, :32], latents[0].flatten(1))
    again = as_latents(rows, [(2, 4, 4), (8, 2, 2)])
    assert all(map(torch.equal, again, latents))


def test_a_file_of_rows_grows_batch_by_batch_and_numpy_reads_it(tmp_path: Path) -> None:
    rows, file = torch.randn(1234, 5), RowsFile(tmp_path / "rows.npy")
    for part in rows.split(100):
        file.append(part)
        assert not (tmp_path / "rows.npy").exists()
    assert file.finish() == [tmp_path / "rows.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy", allow_pickle=False), rows.numpy())
    assert list(tmp_path.iterdir()) == [tmp_path / "rows.npy"]


def test_without_a_row_there_is_no_file(tmp_path: Path) -> None:
    assert RowsFile(tmp_path / "rows.npy").finish() == []
    assert list(tmp_path.iterdir()) == []
