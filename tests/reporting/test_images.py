import numpy as np
import pytest
import torch
from PIL import Image

from paperzoo.reporting.images import image_grid, save_png, tile


def numbered(count: int, channels: int = 1, size: int = 64) -> torch.Tensor:
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, channels, size, size)


def test_images_run_along_rows_with_white_between_and_after_them():
    picture = tile(numbered(5), columns=3)
    assert picture.shape == (2 * 64 + 2, 3 * 64 + 4, 3)
    tops = [[picture[row * 66, column * 66, 0] for column in range(3)] for row in range(2)]
    assert tops == [[0, 1, 2], [3, 4, 255]]
    assert (picture[:, 64:66] == 255).all()


def test_tiny_images_are_enlarged_by_a_whole_factor_pixel_by_pixel():
    image = torch.randint(0, 256, (1, 3, 28, 28), dtype=torch.uint8)
    picture = tile(image, columns=1)
    assert np.array_equal(picture[::2, ::2], image[0].permute(1, 2, 0).numpy())
    assert np.array_equal(picture[1::2, 1::2], picture[::2, ::2])


@pytest.mark.parametrize(("count", "channels", "columns"), [(0, 1, 4), (3, 2, 4), (3, 3, 0)])
def test_what_cannot_be_laid_out_is_refused(count, channels, columns):
    with pytest.raises(ValueError, match="cannot lay out"):
        tile(torch.zeros(count, channels, 4, 4, dtype=torch.uint8), columns)


def test_a_saved_png_holds_the_very_pixels(tmp_path):
    images = torch.randint(0, 256, (4, 3, 80, 80), dtype=torch.uint8)
    path = save_png(images, tmp_path / "new folder" / "samples.png", columns=2)
    assert np.array_equal(np.asarray(Image.open(path)), tile(images, 2))


def test_a_figure_without_labels_shows_the_very_pixels(tmp_path):
    images = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8)
    image_grid(images, columns=3).savefig(tmp_path / "figure.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "figure.png").convert("RGB")), tile(images, 3))


def test_labels_stand_beside_rows_and_above_columns():
    figure = image_grid(numbered(6), 3, row_labels=["real", "model"], column_labels=["a", "b", "c"], title="Samples")
    texts = {t.get_text() for t in [*figure.axes[0].texts, *figure.texts]}
    assert texts == {"real", "model", "a", "b", "c", "Samples"}


def test_more_labels_than_rows_are_refused():
    with pytest.raises(ValueError, match="3 row"):
        image_grid(numbered(4), 2, row_labels=["a", "b", "c"])
