"""Times training steps of DANN, MNIST to MNIST-M, against the usual public port, data included.

    python scripts/benchmark_adaptation.py --threads 1
    python scripts/benchmark_adaptation.py --threads 1 --tensors --bf16     # both as with trainer.precision=bf16-mixed

The port: torchvision's transforms on one image after the other (MNIST from memory, MNIST-M from PNG files), or with
`--tensors` images made ready before; a forward pass for each domain through the layers in the order of the paper's
figure, and gradient reversal. Ours: whole batches, one forward pass. Network, batch size, optimiser and precision are
the same. Both take turns, by CPU time; the ratio is the median over the pairs. The images are random, of the real
sizes: what they show costs no time.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms

from paperzoo.batches import DomainImages
from paperzoo.data.domains.module import Items, PairOrder, TrainingPairs
from paperzoo.data.images.fitting import FittedImages
from paperzoo.nn.classifiers import MNISTNetwork
from paperzoo.nn.gradient_reversal import reverse_gradient
from paperzoo.papers.dann import DANNModule, DomainAdversary
from paperzoo.runner.memory import keep_freed_memory
from paperzoo.tasks.adaptation import Schedule

BATCH = 64
COEFFICIENT = 0.5


class Digits(Dataset[tuple[Tensor, int]]):
    """MNIST as torchvision gives it: an array in memory, an image and its transforms at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [transforms.Grayscale(3), transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


class PngFiles(Dataset[Tensor]):
    """MNIST-M as the ports read it: a file at a time, scaled to 28 x 28."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.transform = transforms.Compose(
            [transforms.Resize(28), transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


class PlainNetwork(nn.Module):
    """Figure 4a, layer after layer."""

    def __init__(self) -> None:
        super().__init__()
        self.feature = nn.Sequential(
            *(nn.Conv2d(3, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 48, 5), nn.ReLU(), nn.MaxPool2d(2))
        )
        self.label = nn.Sequential(
            *(nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
        )
        self.domain = nn.Sequential(nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.feature(x).flatten(1)
        return self.label(feature), self.domain(reverse_gradient(feature, COEFFICIENT))[:, 0]


def forever(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def tensors(images: np.ndarray, labels: np.ndarray, colour: np.ndarray) -> tuple[Dataset[Any], Dataset[Any]]:
    """Both domains as a user holds them who has the memory: made ready once, floats in TensorDatasets."""
    grey = F.interpolate(torch.from_numpy(images[:, None]).float(), 28).expand(-1, 3, -1, -1)
    target = F.interpolate(torch.from_numpy(np.moveaxis(colour, 3, 1).copy()).float(), 28)
    source, target = (x.contiguous() / 127.5 - 1 for x in (grey, target))
    return TensorDataset(source, torch.from_numpy(labels)), TensorDataset(target)


def plain_steps(source_set: Dataset[Any], target_set: Dataset[Any], bf16: bool) -> Callable[[], float]:
    network = PlainNetwork()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    sources = forever(DataLoader(source_set, BATCH, shuffle=True, drop_last=True))
    targets = forever(DataLoader(target_set, BATCH, shuffle=True, drop_last=True))

    def step() -> float:
        (source, label), target = next(sources), next(targets)
        target = target[0] if isinstance(target, list) else target
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits, source_domain = network(source)
            _, target_domain = network(target)
            loss = (
                F.cross_entropy(logits, label)
                + F.binary_cross_entropy_with_logits(source_domain, torch.zeros(BATCH))
                + F.binary_cross_entropy_with_logits(target_domain, torch.ones(BATCH))
            )
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def our_steps(source: Items, target: Items, bf16: bool) -> Callable[[], float]:
    module = DANNModule(
        network=MNISTNetwork((3, 28, 28), 10, batch_norm=False),
        adversary=DomainAdversary,
        adapts=True,
        schedule=Schedule(1, COEFFICIENT, None, 10, 0.75, 100_000),
        optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9),
        pretrained_lr_factor=0.1,
        before=None,
    )
    module._trainer = SimpleNamespace(global_step=0)  # type: ignore[assignment]
    module.total_steps = 1
    module.log_step = lambda _: None  # type: ignore[method-assign]
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)
    data: Any = SimpleNamespace(seed=0, trainer=None, reshuffles=True)
    pairs: Any = TrainingPairs(source, target.hide(), DomainImages)
    batches = forever(
        DataLoader(pairs, sampler=PairOrder(len(source), len(target), BATCH, None, data), batch_size=None)
    )

    def step() -> float:
        batch = next(batches)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = module.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def seconds(step: Callable[[], float], steps: int) -> float:
    start = time.process_time()
    for _ in range(steps):
        step()
    return (time.process_time() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15, help="turns of each")
    parser.add_argument("--steps", type=int, default=10, help="steps a turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="both in mixed precision; wants a CPU that has bfloat16")
    parser.add_argument(
        "--tensors", action="store_true", help="the port's images are ready in memory, in TensorDatasets"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    grey = generator.integers(0, 256, (4096, 28, 28), dtype=np.uint8)
    colour = generator.integers(0, 256, (4096, 32, 32, 3), dtype=np.uint8)
    labels = generator.integers(0, 10, 4096)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{index}.png" for index in range(len(colour))]
        for path, image in zip(files, colour, strict=True):
            Image.fromarray(image).save(path)
        label = torch.from_numpy(labels)
        source = Items.of(FittedImages(torch.from_numpy(grey[:, None]), (3, 28, 28), "pad"), label)
        target = Items.of(FittedImages(torch.from_numpy(np.moveaxis(colour, 3, 1).copy()), (3, 28, 28), "pad"), label)
        theirs = tensors(grey, labels, colour) if options.tensors else (Digits(grey, labels), PngFiles(files))
        keep_freed_memory()  # for both sides, as in a run
        contestants = plain_steps(*theirs, options.bf16), our_steps(source, target, options.bf16)
        for step in contestants:
            seconds(step, 3)
        times = [[seconds(step, options.steps) for step in contestants] for _ in range(options.pairs)]
    plain, ours = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(plain / ours for plain, ours in times)
    print(f"port {1 / plain:.1f} steps/s, ours {1 / ours:.1f} steps/s, ratio {ratio:.2f} (threads: {options.threads})")


if __name__ == "__main__":
    main()
