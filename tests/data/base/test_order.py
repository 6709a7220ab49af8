"""The order of training batches, in real runs of Lightning's Trainer: resumed, with workers, dealt to ranks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from paperzoo.batches import LabelledImages
from paperzoo.data.base.order import BatchOrder, StreamOrder
from paperzoo.data.images.augmentation import RandomShift
from paperzoo.data.images.small_images import Digits
from paperzoo.datamodule import PaperData, stream_seed
from paperzoo.errors import UserError
from paperzoo.runner.checkpoints import Checkpoints
from tests.data.conftest import Make

BATCHES = 5


class KilledError(Exception):
    """Ends a run as a killed process would, but for the process."""


class Recorder(LightningModule):
    """Remembers what it was trained on, with noise drawn as a model would; saves a checkpoint and stops where told."""

    def __init__(
        self,
        stop_at: int | None = None,
        save_in: str = "batch",
        checkpoint: Path | None = None,
        *,
        asks_for_length: bool = False,
    ) -> None:
        super().__init__()
        self.asks_for_length = asks_for_length
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []
        self.evaluated: list[Tensor] = []
        self.stop_at, self.save_in, self.checkpoint = stop_at, save_in, checkpoint

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        self.seen.append(torch.cat([*(field.flatten().float() for field in batch), torch.rand(1)]))
        return self.weight.sum()

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        self.evaluated.append(torch.cat([*(field.flatten().float() for field in batch), torch.rand(1)]))

    def predict_step(self, batch: LabelledImages, batch_idx: int) -> Tensor:
        return batch.label

    def _save_and_stop(self, place: str) -> None:
        if self.save_in == place and self.stop_at == self.trainer.global_step:
            self.trainer.save_checkpoint(self.checkpoint)
            raise KilledError

    def on_train_batch_end(self, *_: Any) -> None:
        self._save_and_stop("batch")

    def on_validation_end(self) -> None:
        self._save_and_stop("validation")

    def on_train_epoch_end(self) -> None:
        self._save_and_stop("epoch")

    def on_train_epoch_start(self) -> None:
        self._save_and_stop("epoch_start")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.asks_for_length:
            _ = self.trainer.estimated_stepping_batches  # for which Lightning makes the loader, and its iterator
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(folder: Path, **changes: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    keeper = Checkpoints(1e9, None, "min", keeps_best=False)
    lengths = {"max_epochs": 3, "limit_train_batches": BATCHES, "limit_val_batches": 2, "num_sanity_val_steps": 1}
    callbacks = [keeper, *changes.pop("callbacks", [])]
    return Trainer(accelerator="cpu", default_root_dir=folder, callbacks=callbacks, **quiet | lengths | changes)


STOPS = [(7, "batch"), (BATCHES, "batch"), (BATCHES, "validation"), (BATCHES, "epoch"), (BATCHES, "epoch_start")]


@pytest.mark.filterwarnings("error:You're resuming from a checkpoint")
@pytest.mark.parametrize(("workers", "asks_for_length"), [(0, False), (0, True), (2, True)])
@pytest.mark.parametrize(("stop_at", "save_in"), STOPS)
@pytest.mark.parametrize("length", [{}, {"max_epochs": -1, "max_steps": 3 * BATCHES}], ids=["epochs", "steps"])
def test_a_resumed_run_sees_the_batches_and_the_noise_that_were_next(
    tmp_path: Path,
    make: Make,
    workers: int,
    stop_at: int,
    save_in: str,
    length: dict[str, int],
    asks_for_length: bool,
) -> None:
    def data() -> Digits:
        return make(Digits, workers=workers, augment=[RandomShift(0.1)])

    whole = Recorder()
    trainer(tmp_path, **length).fit(whole, data())
    assert len(whole.seen) == 3 * BATCHES

    killed = Recorder(stop_at, save_in, tmp_path / "killed.ckpt", asks_for_length=asks_for_length)
    with pytest.raises(KilledError):
        trainer(tmp_path, **length).fit(killed, data())
    torch.manual_seed(12345)
    resumed = Recorder(asks_for_length=asks_for_length)
    trainer(tmp_path, **length).fit(resumed, data(), ckpt_path=str(tmp_path / "killed.ckpt"), weights_only=True)
    seen = killed.seen + resumed.seen
    assert len(seen) == len(whole.seen)
    assert all(torch.equal(a, b) for a, b in zip(seen, whole.seen, strict=True))


def test_a_whole_epoch_without_limits_is_resumed_too(tmp_path: Path, make: Make) -> None:
    def data() -> Digits:
        return make(Digits, batch_size=300)

    whole, unlimited = Recorder(), {"limit_train_batches": 1.0}
    trainer(tmp_path, **unlimited).fit(whole, data())
    assert len(whole.seen) == 3 * 4  # 1497 images: 4 whole batches of 300
    killed = Recorder(6, "batch", tmp_path / "killed.ckpt")
    with pytest.raises(KilledError):
        trainer(tmp_path, **unlimited).fit(killed, data())
    resumed = Recorder()
    trainer(tmp_path, **unlimited).fit(resumed, data(), ckpt_path=str(tmp_path / "killed.ckpt"), weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(killed.seen + resumed.seen, whole.seen, strict=True))


def test_a_set_on_the_device_trains_on_the_same_batches(tmp_path: Path, make: Make) -> None:
    runs = []
    for resident in (False, True):
        runs.append(Recorder())
        trainer(tmp_path, max_epochs=2).fit(
            runs[-1], make(Digits, device_resident=resident, augment=[RandomShift(0.1)])
        )
    assert all(torch.equal(a, b) for a, b in zip(runs[0].seen, runs[1].seen, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(runs[0].evaluated, runs[1].evaluated, strict=True))


def test_evaluation_is_the_same_in_every_epoch_whatever_happened_before(tmp_path: Path, make: Make) -> None:
    model = Recorder()
    trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0).fit(model, make(Digits))
    assert len(model.evaluated) == 4
    assert torch.equal(model.evaluated[0], model.evaluated[2])
    assert torch.equal(model.evaluated[1], model.evaluated[3])
    assert not torch.equal(model.evaluated[0], model.evaluated[1])


@pytest.mark.parametrize("resident", [False, True])
def test_prediction_gives_the_test_images_in_order(tmp_path: Path, make: Make, resident: bool) -> None:
    data = make(Digits, eval_batch_size=128, device_resident=resident)
    labels = trainer(tmp_path).predict(Recorder(), data)
    assert labels is not None
    assert torch.equal(torch.cat(labels), data.items("test")[torch.arange(300)].label)
    assert len(data.item_names()) == 300


@pytest.mark.parametrize("size", [3, 4, 5, 11, 12, 13, 14, 103])
def test_no_rank_is_without_an_item_to_evaluate_where_there_is_one_for_each(size: int) -> None:
    orders = [BatchOrder(size, 4, on_rank(rank, 3), shuffle=False) for rank in range(3)]
    dealt = [list(order) for order in orders]
    assert [len(order) for order in orders] == [len(batches) for batches in dealt]
    assert all(len(batch) for batches in dealt for batch in batches)
    assert all(batches for batches in dealt)
    assert sorted(torch.cat([batch for batches in dealt for batch in batches]).tolist()) == list(range(size))


def test_fewer_items_to_evaluate_than_devices_are_told() -> None:
    with pytest.raises(UserError, match=r"trainer\.devices=3: there are 2 items to evaluate, less than one for each"):
        len(BatchOrder(2, 4, on_rank(0, 3), shuffle=False))


def on_rank(rank: int, world: int, *, epoch: int = 0, seed: int = 0) -> PaperData:
    """A DataModule whose trainer is on `rank` of `world` at the start of `epoch`."""
    data = PaperData(workers=0, seed=seed)
    fit_loop = SimpleNamespace(
        epoch_progress=SimpleNamespace(current=SimpleNamespace(processed=epoch)),
        epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(ready=0))),
    )
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world, fit_loop=fit_loop)  # type: ignore[assignment]
    return data


def test_ranks_get_disjoint_batches_that_make_up_the_epoch() -> None:
    orders = [BatchOrder(103, 4, on_rank(rank, 3), shuffle=True) for rank in range(3)]
    assert [len(order) for order in orders] == [8, 8, 8]
    batches = [batch for order in orders for batch in order]
    assert all(len(batch) == 4 for batch in batches)
    assert len(torch.cat(batches).unique()) == 3 * 8 * 4


def test_every_rank_has_its_part_of_the_evaluation_and_nothing_is_repeated() -> None:
    orders = [BatchOrder(103, 4, on_rank(rank, 3), shuffle=False) for rank in range(3)]
    batches = [list(order) for order in orders]
    assert [len(b) for b in batches] == [len(order) for order in orders]
    assert torch.equal(torch.cat([i for b in batches for i in b]).sort().values, torch.arange(103))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def first(**place: int) -> Tensor:
        return next(iter(BatchOrder(1000, 4, on_rank(0, 1, **place), shuffle=True)))

    assert torch.equal(first(epoch=1), first(epoch=1))
    assert not torch.equal(first(epoch=0), first(epoch=1))
    assert not torch.equal(first(seed=0), first(seed=1))


def test_one_process_trains_on_a_set_smaller_than_a_batch() -> None:
    order = BatchOrder(3, 4, on_rank(0, 1), shuffle=True)
    assert len(order) == 1
    assert sorted(torch.cat(list(order)).tolist()) == [0, 1, 2]


def test_a_set_too_small_for_all_ranks_is_refused() -> None:
    order = BatchOrder(7, 4, on_rank(1, 2), shuffle=True)
    with pytest.raises(UserError, match=r"data\.batch_size=4: 7 training items .* at most 3"):
        len(order)


def test_no_number_of_a_stream_comes_twice_in_any_epoch_on_any_rank() -> None:
    orders = [StreamOrder(5, on_rank(rank, 3, epoch=epoch)) for epoch in range(4) for rank in range(3)]
    numbers = [number for order in orders for number in order]
    assert sorted(numbers) == list(range(4 * 3 * 5))
    assert all(len(order) == 5 == len(list(order)) for order in orders)


def test_a_stream_goes_on_at_the_batch_that_was_next() -> None:
    data = on_rank(1, 2, epoch=3)
    whole = list(StreamOrder(5, data))
    data.trainer.fit_loop.epoch_loop.batch_progress.current.ready = 2  # type: ignore[union-attr]
    assert list(StreamOrder(5, data)) == whole[2:]


def test_a_stream_can_repeat_its_first_epoch() -> None:
    data = on_rank(1, 2, epoch=3)
    data.reshuffles = False
    assert list(StreamOrder(5, data)) == list(StreamOrder(5, on_rank(1, 2)))


def test_streams_with_different_names_have_different_seeds() -> None:
    names = [(0, "train", epoch, position, rank) for epoch in range(5) for position in range(5) for rank in range(5)]
    assert len({stream_seed(*name) for name in names}) == len(names)
    assert stream_seed(1, 23) != stream_seed(12, 3)
