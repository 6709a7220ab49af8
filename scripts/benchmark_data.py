"""Times the making of CIFAR-10 training batches with Glow's random translations: ours against torchvision's pipeline.

    python scripts/benchmark_data.py
    python scripts/benchmark_data.py --batch-size 64 --seconds 10

Both run in this process on one thread, in turns, and are timed by the CPU time they use, so that other work on the
machine disturbs little. Theirs is the usual per-image pipeline: a dataset with
`RandomAffine(translate=(0.1, 0.1), bilinear)` and `ToTensor`, and a DataLoader that shuffles and collates.
Ours also converts to float, so that both end with the same kind of batch. Uses CIFAR-10 from the data root if it is
prepared there, random images of the same shape otherwise.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from paperzoo.data.small_images import Cifar10

TRANSLATION = 0.1


class PerImage(Dataset[tuple[Tensor, int]]):
    """The usual pipeline: every image by itself, through PIL."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = np.ascontiguousarray(images.transpose(0, 2, 3, 1)), labels
        self.transform = transforms.Compose(
            [
                transforms.RandomAffine(
                    0, translate=(TRANSLATION, TRANSLATION), interpolation=transforms.InterpolationMode.BILINEAR
                ),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def our_batches(data: Cifar10) -> Iterator[Tensor]:
    for batch in data.train_dataloader():
        yield data.augment(batch).image.float().div_(255)


def images_per_cpu_second(batches: Iterator[Tensor], seconds: float) -> float:
    next(batches)  # the first batch opens files and fills caches
    count, start = 0, time.process_time()
    for image in batches:
        count += len(image)
        if time.process_time() - start > seconds:
            break
    return count / (time.process_time() - start)


def write_random_images(data: Cifar10) -> None:
    generator = np.random.default_rng(0)
    with data.chosen.cache(data.data_root).writing() as writer:
        for part, size in (("train", 50_000), ("test", 100)):
            writer.append(f"{part}_images", generator.integers(0, 256, (size, 3, 32, 32), dtype=np.uint8))
            writer.append(f"{part}_labels", generator.integers(0, 10, size))


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Images per second per core: whole batches against torchvision's pipeline."
    )
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5, help="how often the two take turns")
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU time of each turn")
    parser.add_argument("--data-root", default=os.environ.get("PAPERZOO_DATA", "~/.cache/paperzoo"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    def cifar10(data_root: str) -> Cifar10:
        return Cifar10(
            data_root=data_root,
            seed=0,
            download=False,
            image_shape=(3, 32, 32),
            num_classes=10,
            batch_size=arguments.batch_size,
            eval_batch_size=arguments.batch_size,
            workers=0,
            validation_images=0,
            shift=TRANSLATION,
            flip=False,
            device_resident=False,
        )

    with tempfile.TemporaryDirectory() as temporary:
        data = cifar10(arguments.data_root)
        if data.chosen.cache(data.data_root).is_prepared:
            print(f"CIFAR-10 from {arguments.data_root}")
        else:
            print(f"CIFAR-10 is not prepared in {arguments.data_root}: random images of the same shape instead")
            data = cifar10(temporary)
            (Path(temporary) / "cifar10").mkdir()
            write_random_images(data)
        data.setup()
        arrays = data.splits["train"].arrays
        theirs = DataLoader(
            PerImage(arrays["image"], arrays["label"]), arguments.batch_size, shuffle=True, drop_last=True
        )

        rates: list[tuple[float, float]] = []
        for _ in range(arguments.rounds):
            their_rate = images_per_cpu_second((image for image, _ in theirs), arguments.seconds)
            our_rate = images_per_cpu_second((b for _ in range(10_000) for b in our_batches(data)), arguments.seconds)
            rates.append((their_rate, our_rate))
            print(f"torchvision {their_rate:9,.0f}   ours {our_rate:9,.0f}   images per second per core")
    ratio = statistics.median(ours / theirs for theirs, ours in rates)
    print(f"ours is {ratio:.1f} times as fast (median of {arguments.rounds} turns)")


if __name__ == "__main__":
    main()
