"""What a training needs on this machine: the memory of a step, foreseen before it starts; time and disk, if asked."""

import logging
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import pytorch_lightning as pl

from paperzoo.errors import UserError
from paperzoo.machine import Memory, memory_of, shown
from paperzoo.reporting.opening import device_name
from paperzoo.reporting.page import duration
from paperzoo.runner.allocations import Allocations
from paperzoo.runner.build import Parts
from paperzoo.runner.job import Job
from paperzoo.runner.rehearsal import Rehearsal, size_of, undisturbed

log = logging.getLogger(__name__)

WORTH_MEASURING = 10**7  # parameters times items of a batch, from which on a step may need memory worth a word
UNSEEN = 1.15  # on top of what is counted: what operations need inside themselves, what allocators keep
HOPELESS = 1.1  # times all memory that there is: refused
SECONDS = 2.0  # that a step may take whose time is measured
STEPS = 3  # whose time is measured; the first one is slower than the others and does not count
PART_OF_TRAINING = 1 / 3  # the share of a training step that an evaluation without a backward pass takes


@dataclass(frozen=True)
class Costs:
    """The memory of a training, in bytes.

    Attributes:
        fixed: weights, gradients, optimiser state.
        start: what a step needs whatever its items.
        each: what it needs for every item, in the unit of `PaperData.batch_key`.
        initial: what `PaperModule.initialize` needs for every item.
        weights: the weights alone.
        checkpoint: what a checkpoint holds.
        items: of the larger step that was measured.
    """

    fixed: int
    start: float
    each: float
    initial: float
    weights: int
    checkpoint: int
    items: int

    def step(self, items: int) -> float:
        """Bytes of a training step."""
        return self.fixed + UNSEEN * (self.start + items * self.each)

    def first(self, items: int) -> float:
        """Bytes of the data-dependent initialisation on so many items."""
        return self.weights + UNSEEN * items * self.initial

    def fitting(self, memory: int) -> int:
        """The most items of a step, a power of two, that so many bytes are enough for; 0 for none."""
        items = ((memory - self.fixed) / UNSEEN - self.start) / max(self.each, 1)
        return 2 ** math.floor(math.log2(items)) if items >= 1 else 0


def foresee(job: Job, parts: Parts) -> None:
    """Says before a training what memory a step will need, unless the model and its batches are small.

    Raises:
        UserError: it is more than the machine has; or the data cannot be prepared.
    """
    size = _batch_size(job, parts)
    weights = sum(parameter.numel() for parameter in parts.module.parameters())
    if parts.trainer.world_size > 1 or weights * max(size, parts.module.initial_batch_size) < WORTH_MEASURING:
        return
    costs = measure(job, parts)
    if costs is None:
        return
    has = memory_of(parts.trainer.strategy.root_device)
    problems = list(_problems(job, parts, costs, has))
    if max(costs.step(size), costs.first(parts.module.initial_batch_size)) > HOPELESS * has.total:
        raise UserError(*problems)
    print(f"memory: {_needed(costs, size, has)}")
    for problem in problems:
        print(f"memory: it may not be enough. {problem}")


def estimate(job: Job, parts: Parts) -> None:
    """Prints what the whole training will need here: time, memory, disk.

    Raises:
        UserError: no step can be measured; or the data cannot be prepared.
    """
    costs = measure(job, parts)
    if costs is None:
        raise UserError("mode=estimate: no step of this model can be taken apart from its training")
    size = _batch_size(job, parts)
    has = memory_of(parts.trainer.strategy.root_device)
    with undisturbed():
        step, items = _time(job, parts, costs, has)
        rows = [
            ("a step", f"{step:.3g} s, of {_items(job, parts, size)}{_from(items, size)}"),
            *_times(job, parts, step),
            ("memory", _needed(costs, size, has)),
            *_spaces(job, parts, costs.checkpoint),
        ]
    print(f"estimate of {job.name} on {device_name(parts.trainer)}")
    for name, text in rows:
        print(f"  {name:<12}{text}")
    for problem in _problems(job, parts, costs, has):
        print(f"  too little memory: {problem}")


def _time(job: Job, parts: Parts, costs: Costs, has: Memory) -> tuple[float, int]:
    """The seconds of a step, and the items of the largest one that was measured: the whole batch, if that is quick."""
    size = _batch_size(job, parts)
    measured: list[tuple[int, float]] = []
    items = min(size, costs.items)
    while True:
        seconds = median(_rehearse(job, parts, [items] * STEPS, watches=False).seconds[1:])
        measured.append((items, seconds))
        more = min(size, 4 * items)
        if more == items or seconds * more / items > SECONDS or costs.step(more) > has.free / 2:
            break
        items = more
    if len(measured) == 1:
        return seconds * size / items, items
    before, less = measured[-2]
    return seconds + (size - items) * max(0.0, seconds - less) / (items - before), items


def measure(job: Job, parts: Parts) -> Costs | None:
    """The memory of a training from two small steps of a copy of its model; None if they cannot be taken.

    Raises:
        UserError: the data cannot be prepared.
    """
    few = parts.data.fewest
    with undisturbed():
        parts.data.prepare_data()
        parts.data.setup("fit")
        try:
            initial = _initial(job, parts)
            small = _rehearse(job, parts, [few, 2 * few], watches=True)
        except Exception as error:  # whatever befalls a copy: the training itself may do better, and will say more
            log.debug("no step of %s could be measured: %r", type(parts.module).__name__, error)
            return None
    gradients = sum(map(size_of, small.module.parameters()))
    weights = gradients + sum(map(size_of, small.module.buffers()))
    one, two = small.peaks
    each = float(two - one) / few if two > one else two / (2 * few)
    start = max(0.0, two - 2 * few * each)
    checkpoint = weights + small.state
    return Costs(gradients + checkpoint, start, each, initial, weights, checkpoint, 2 * few)


def _rehearse(job: Job, parts: Parts, sizes: list[int], *, watches: bool) -> Rehearsal:
    """Steps on batches of these sizes, after the initialisation that a training begins with."""
    rehearsal = Rehearsal(parts.module, job.settings["trainer"], watches=watches)
    if parts.module.initial_batch_size:
        rehearsal.module.initialize(parts.data.initial_batch(parts.data.fewest))
    rehearsal.run([parts.data.initial_batch(size) for size in sizes])
    return rehearsal


def _initial(job: Job, parts: Parts) -> float:
    """Bytes for each item of the initialisation; 0 if there is none."""
    if not parts.module.initial_batch_size:
        return 0.0
    few = 2 * parts.data.fewest
    copied = Rehearsal(parts.module, job.settings["trainer"], watches=False).module
    with Allocations(()) as watch:
        copied.initialize(parts.data.initial_batch(few))
    return watch.peak / few


def _batch_size(job: Job, parts: Parts) -> int:
    """Of a training step, in the unit of `PaperData.batch_key`."""
    return int(job.settings["data"].get(parts.data.batch_key, 0))


def _items(job: Job, parts: Parts, size: int) -> str:
    return f"data.{parts.data.batch_key}={size}"


def _from(items: int, size: int) -> str:
    return "" if items == size else f" (measured with {items})"


def _needed(costs: Costs, size: int, has: Memory) -> str:
    return f"a step needs about {shown(costs.step(size))}; {shown(has.free)} of {shown(has.total)} are free"


def _problems(job: Job, parts: Parts, costs: Costs, has: Memory) -> Iterator[str]:
    """What needs more than is free, and the keys to lower."""
    size, initial = _batch_size(job, parts), parts.module.initial_batch_size
    free = f"this machine has {shown(has.total)}, {shown(has.free)} of them free"
    if costs.step(size) > has.free:
        yield (
            f"{_items(job, parts, size)}: a step needs about {shown(costs.step(size))} of memory, {free}; "
            f"{_advice(job, parts, costs.fitting(has.free), size)}"
        )
    if costs.first(initial) > has.free and parts.trainer.strategy.root_device.type == "cpu":
        keys = [f"model.{key}" for key, value in job.settings["model"].items() if value == initial]
        yield (
            f"{' or '.join(keys) or 'the initial batch'}={initial}: to initialise on so many items needs about "
            f"{shown(costs.first(initial))} of memory, {free}; choose fewer"
        )


def _advice(job: Job, parts: Parts, fits: int, size: int) -> str:
    key = f"data.{parts.data.batch_key}"
    advice = [f"choose {key}={fits}, with trainer.accumulate_grad_batches={-(-size // fits)}"] if fits else []
    if job.settings["model"].get("checkpointing") is False:
        advice.append("set model.checkpointing=true")
    if fits < parts.data.fewest:
        advice.append("choose a smaller model")
    return ", or ".join(advice)


def _times(job: Job, parts: Parts, step: float) -> Iterator[tuple[str, str]]:
    """Of an epoch, of a validation and of the whole training."""
    data, trainer = parts.data, parts.trainer
    data.setup("test")
    train = _limited(len(data.train_dataloader()), trainer.limit_train_batches)
    held_out = data.val_dataloader()
    val = 0 if isinstance(held_out, list) else _limited(len(held_out), trainer.limit_val_batches)
    test = _limited(len(data.test_dataloader()), trainer.limit_test_batches)
    evaluated = job.settings["data"].get(data.eval_batch_key)
    batch = step * PART_OF_TRAINING * (int(evaluated) / _batch_size(job, parts) if evaluated else 1)
    every = trainer.check_val_every_n_epoch or 1
    yield "an epoch", f"{duration(step * train / 3600)}, {train} batches"
    yield "validation", f"about {duration(batch * val / 3600)}, {val} batches, every {every} epochs"
    epochs = _epochs(trainer, train)
    if epochs is None:
        yield "the whole", "has no end; give trainer.max_epochs or trainer.max_steps"
        return
    seconds = epochs * train * step + math.ceil(epochs / every) * val * batch + test * batch
    yield "the whole", f"about {duration(seconds / 3600)}, {epochs:,.5g} epochs, with validation and test"


def _limited(batches: int, limit: int | float | None) -> int:
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _epochs(trainer: pl.Trainer, batches: int) -> float | None:
    ends = [float(trainer.max_epochs)] if trainer.max_epochs not in (None, -1) else []
    if trainer.max_steps != -1:
        ends.append(trainer.max_steps * trainer.accumulate_grad_batches / max(1, batches))
    return min(ends, default=None)


def _spaces(job: Job, parts: Parts, checkpoint: int) -> Iterator[tuple[str, str]]:
    """Of the data set and of the checkpoints."""
    stored = parts.data.stored_bytes
    yield "data", f"{shown(stored)} in {job.settings['data_root']}" if stored else "nothing on the disk"
    free = shutil.disk_usage(job.folder).free
    yield "checkpoints", f"about {shown(2 * checkpoint)}, best and last; {shown(free)} are free in {job.folder.parent}"
