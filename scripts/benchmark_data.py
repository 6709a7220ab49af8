"""Times the making of training data: ours against the usual way, in turns, by CPU time and on one thread.

    python scripts/benchmark_data.py cifar10
    python scripts/benchmark_data.py cifar10 --batch-size 64 --seconds 10
    python scripts/benchmark_data.py sat

CPU time, so that other work on the machine disturbs little; both sides run in this process.

`cifar10`: training batches with Glow's random translations. Theirs is the usual per-image pipeline: a dataset with
`RandomAffine(translate=(0.1, 0.1), bilinear)` and `ToTensor`, and a DataLoader that shuffles and collates.
Ours also converts to float, so that both end with the same kind of batch. Uses CIFAR-10 from the data root if it is
prepared there, random images of the same shape otherwise.

`sat`: twins of SR(n). Theirs is the definition written down, as in the authors' generator: a loop that draws one clause
at a time, adds it to one solver, the same one that ours uses, and asks it again.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pysat.solvers import Solver
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from paperzoo.data.images.augmentation import RandomShift
from paperzoo.data.images.small_images import Cifar10
from paperzoo.data.logic.sr import BERNOULLI, GEOMETRIC, SOLVER, Pair, sr_pair
from paperzoo.logic.cnf import Formula

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
    images, start = 0, time.process_time()
    for image in batches:
        images += len(image)
        if time.process_time() - start > seconds:
            break
    return images / (time.process_time() - start)


def write_random_images(data: Cifar10) -> None:
    generator = np.random.default_rng(0)
    with data.chosen.cache(data.data_root).writing() as writer:
        for part, size in (("train", 50_000), ("test", 100)):
            writer.append(f"{part}_images", generator.integers(0, 256, (size, 3, 32, 32), dtype=np.uint8))
            writer.append(f"{part}_labels", generator.integers(0, 10, size))


def benchmark_cifar10(options: argparse.Namespace) -> None:
    def cifar10(data_root: str) -> Cifar10:
        return Cifar10(
            data_root=data_root,
            seed=0,
            download=False,
            image_shape=(3, 32, 32),
            batch_size=options.batch_size,
            eval_batch_size=options.batch_size,
            workers=0,
            validation_images=0,
            augment=[RandomShift(TRANSLATION)],
            device_resident=False,
        )

    with tempfile.TemporaryDirectory() as temporary:
        data = cifar10(options.data_root)
        if data.chosen.cache(data.data_root).is_prepared:
            print(f"CIFAR-10 from {options.data_root}")
        else:
            print(f"CIFAR-10 is not prepared in {options.data_root}: random images of the same shape instead")
            data = cifar10(temporary)
            (Path(temporary) / "cifar10").mkdir()
            write_random_images(data)
        data.setup()
        cache = data.chosen.cache(data.data_root)
        images = PerImage(cache.open("train_images"), cache.open("train_labels"))
        theirs = DataLoader(images, options.batch_size, shuffle=True, drop_last=True)
        compare(
            "torchvision",
            lambda: images_per_cpu_second((image for image, _ in theirs), options.seconds),
            lambda: images_per_cpu_second((b for _ in range(10_000) for b in our_batches(data)), options.seconds),
            "images",
            options.rounds,
        )


def plain_pair(variables: int, generator: np.random.Generator) -> Pair:
    """SR(n) as it is defined, clause by clause into one solver, as the authors' generator does it."""
    clauses: list[list[int]] = []
    with Solver(SOLVER) as solver:
        while True:
            length = 1 + int(generator.random() < BERNOULLI) + int(generator.geometric(GEOMETRIC))
            chosen = 1 + generator.choice(variables, min(length, variables), replace=False)
            negated = generator.random(len(chosen)) < 0.5
            clauses.append(np.where(negated, -chosen, chosen).tolist())
            solver.add_clause(clauses[-1])
            if not solver.solve():
                break
    formula = Formula.from_clauses(variables, clauses)
    return Pair(formula, flipped=len(formula.literals) - len(clauses[-1]))


def pairs_per_cpu_second(
    make: Callable[[int, np.random.Generator], Pair], variables: int, seeds: Iterator[int], seconds: float
) -> float:
    pairs, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        pair = make(variables, np.random.default_rng(next(seeds)))
        assert pair.satisfiable.nodes == pair.unsatisfiable.nodes  # both twins are made
        pairs += 1
    return pairs / (time.process_time() - start)


def benchmark_sat(options: argparse.Namespace) -> None:
    for variables in (10, 40):
        print(f"SR({variables})")
        theirs, ours = count(), count()
        compare(
            "clause by clause",
            partial(pairs_per_cpu_second, plain_pair, variables, theirs, options.seconds),
            partial(pairs_per_cpu_second, sr_pair, variables, ours, options.seconds),
            "pairs",
            options.rounds,
        )
    for variables in (100, 200):
        rate = pairs_per_cpu_second(sr_pair, variables, count(), options.rounds * options.seconds)
        print(f"SR({variables}): ours {rate:,.0f} pairs per second per core")


def compare(name: str, their_rate: Callable[[], float], our_rate: Callable[[], float], items: str, rounds: int) -> None:
    """Measures both in turns and prints every turn and the median ratio."""
    ratios = []
    for _ in range(rounds):
        theirs, ours = their_rate(), our_rate()
        ratios.append(ours / theirs)
        print(f"{name} {theirs:9,.0f}   ours {ours:9,.0f}   {items} per second per core")
    print(f"ours is {statistics.median(ratios):.1f} times as fast (median of {rounds} turns)")


BENCHMARKS = {"cifar10": benchmark_cifar10, "sat": benchmark_sat}


def main() -> None:
    parser = argparse.ArgumentParser(description="Items per second per core: ours against the usual way.")
    parser.add_argument("benchmark", nargs="?", choices=BENCHMARKS, default="cifar10")
    parser.add_argument("--batch-size", type=int, default=512, help="images a batch")
    parser.add_argument("--rounds", type=int, default=5, help="how often the two take turns")
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU time of each turn")
    parser.add_argument("--data-root", default=os.environ.get("PAPERZOO_DATA", "~/.cache/paperzoo"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    BENCHMARKS[options.benchmark](options)


if __name__ == "__main__":
    main()
