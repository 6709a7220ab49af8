"""The digits that come with scikit-learn: 1,797 grey images of 8 x 8 (Alpaydin & Kaynak 1998). No download."""

from pathlib import Path

import numpy as np

from paperzoo.batches import LabelledImages
from paperzoo.data.cache import ArrayWriter
from paperzoo.data.image_set import ImageSet
from paperzoo.data.images import ImageData
from paperzoo.data.splits import fixed_permutation

TRAIN_IMAGES = 1497


def convert(files: Path, writer: ArrayWriter) -> None:
    """Grey levels 0 ... 16 become min(16 * level, 255): with 4 bits a pixel all but the top two stay apart."""
    from sklearn.datasets import load_digits  # takes a second to import, and only the first use needs it

    digits = load_digits()
    images = np.minimum(16 * digits.images, 255).astype(np.uint8)[:, None]
    order = fixed_permutation(len(images))
    for part, rows in (("train", order[:TRAIN_IMAGES]), ("test", order[TRAIN_IMAGES:])):
        writer.append(f"{part}_images", images[rows])
        writer.append(f"{part}_labels", digits.target[rows].astype(np.int64))


class Digits(ImageData):
    """Handwritten digits, 8 x 8: 1,497 for training, 300 for testing, split once and for all."""

    yields = LabelledImages
    image_set = ImageSet("digits", (1, 8, 8), convert, num_classes=10)
