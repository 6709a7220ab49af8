"""Data whose batches are gathered from items: order, parts, augmentation, and where the items lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor

from paperzoo.batches import Names, Told
from paperzoo.data.base.items import ArrayItems, DeferredBatch, Gather, ItemSet, Movable, Stream
from paperzoo.data.base.module import TRAIN, ItemData
from paperzoo.data.base.order import RunOrder, StreamOrder

CPU = torch.device("cpu")


class Numbers:
    """The batch of some items is their numbers, counted from `start`."""

    def __init__(self, size: int, start: int) -> None:
        self.size, self.start = size, start

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Tensor) -> Tensor:
        return index + self.start


class NumberData(ItemData):
    sets: ClassVar[Mapping[str, Numbers]] = {"train": Numbers(10, 0), "val": Numbers(5, 100), "test": Numbers(7, 200)}
    loaded = 0

    def load(self) -> Mapping[str, ItemSet | Stream]:
        self.loaded += 1
        return self.sets


class WithOwnItems(NumberData):
    sets: ClassVar[Mapping[str, Numbers]] = {**NumberData.sets, "predict": Numbers(2, 300)}


def data(of: type[ItemData] = NumberData, **changes: Any) -> Any:
    defaults = {"seed": 0, "workers": 0, "batch_size": 4, "eval_batch_size": 3, "device_resident": False}
    result = of(**defaults | changes)
    result.setup()
    return result


def test_a_training_epoch_is_whole_batches_of_different_items() -> None:
    batches = list(data().train_dataloader())
    assert [len(batch) for batch in batches] == [4, 4]
    assert len(torch.cat(batches).unique()) == 8
    assert torch.cat(batches).max() < 10


def test_evaluation_takes_every_item_once_in_order() -> None:
    assert torch.cat(list(data().val_dataloader())).tolist() == [100, 101, 102, 103, 104]
    assert [len(batch) for batch in data().test_dataloader()] == [3, 3, 1]


def test_the_test_items_are_predicted_unless_there_are_others() -> None:
    assert torch.equal(torch.cat(list(data().predict_dataloader())), torch.arange(200, 207))
    assert torch.cat(list(data(WithOwnItems).predict_dataloader())).tolist() == [300, 301]
    assert data().item_names() == ["0", "1", "2", "3", "4", "5", "6"]
    assert data(WithOwnItems).item_names() == ["0", "1"]


def test_workers_give_the_same_batches_in_the_same_order() -> None:
    here, there = (torch.cat(list(data(workers=workers).train_dataloader())) for workers in (0, 2))
    assert torch.equal(here, there)


def test_the_order_is_a_function_of_the_seed() -> None:
    one, again, other = (torch.cat(list(data(seed=seed).train_dataloader())) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def add_noise(batch: Tensor) -> Tensor:
    return batch + torch.rand(len(batch))


def double(batch: Tensor) -> Tensor:
    return 2 * batch


def add_one(batch: Tensor) -> Tensor:
    return batch + 1


def test_augmentations_come_one_after_the_other_and_in_training_alone() -> None:
    numbers = data(augment=[add_one, double])
    assert numbers.augment(torch.tensor([1, 2])).tolist() == [4, 6]
    for is_training, expected in ((True, [4, 6]), (False, [1, 2])):
        numbers.trainer = SimpleNamespace(training=is_training)
        assert numbers.on_after_batch_transfer(torch.tensor([1, 2]), 0).tolist() == expected


def test_the_initial_batch_is_the_first_that_is_trained_on() -> None:
    assert torch.equal(data().initial_batch(4), next(iter(data().train_dataloader())))


def test_the_initial_batch_is_augmented_the_same_way_whatever_was_drawn_before() -> None:
    first = data(augment=[add_noise]).initial_batch(3)
    torch.rand(5)
    state = torch.random.get_rng_state()
    assert torch.equal(data(augment=[add_noise]).initial_batch(3), first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_sets_are_loaded_once() -> None:
    numbers = data()
    numbers.setup("test")
    numbers.initial_batch(2)
    assert numbers.loaded == 1


class Squares:
    """Batch number n is n * n, three times."""

    def __getitem__(self, number: int) -> Tensor:
        return torch.full((3,), number**2)


class StreamData(ItemData):
    def load(self) -> Mapping[str, ItemSet | Stream]:
        return {"train": Squares(), "test": Numbers(2, 0)}

    def order(self, part: str) -> RunOrder[Any]:
        return StreamOrder(4, self) if part == TRAIN else super().order(part)


def test_a_stream_gives_batches_by_their_numbers() -> None:
    stream = data(StreamData)
    assert [batch.tolist() for batch in stream.train_dataloader()] == [[0] * 3, [1] * 3, [4] * 3, [9] * 3]
    assert stream.initial_batch(2).tolist() == [0] * 3


def test_what_cannot_be_moved_is_gathered_where_it_is() -> None:
    assert isinstance(next(iter(data(device_resident=True).train_dataloader())), Tensor)
    assert isinstance(next(iter(data(StreamData, device_resident=True).train_dataloader())), Tensor)


class Pair(NamedTuple):
    value: Tensor
    label: Tensor


def pairs() -> ArrayItems:
    return ArrayItems(Pair, {"value": torch.arange(10) ** 2, "label": torch.arange(10)})


def test_a_selection_of_a_selection_is_in_the_order_that_was_asked_for() -> None:
    some = pairs().select(torch.tensor([7, 1, 4, 2])).select(torch.tensor([3, 0]))
    assert len(some) == 2
    assert some[torch.arange(2)].label.tolist() == [2, 7]
    assert some[torch.arange(2)].value.tolist() == [4, 49]


def test_a_selection_gives_the_same_batches_wherever_it_lies() -> None:
    some = pairs().select(torch.tensor([7, 1, 4]))
    moved = some.to(CPU)
    assert torch.equal(moved[torch.tensor([2, 0])].value, some[torch.tensor([2, 0])].value)


class PairData(ItemData):
    """Trained on seven of ten pairs; the other three are for validation and testing."""

    def load(self) -> Mapping[str, ItemSet | Stream]:
        train, held = torch.arange(7), torch.arange(7, 10)
        return {"train": pairs().select(train), "val": pairs().select(held), "test": pairs().select(held)}


def test_items_on_the_device_give_the_same_batches() -> None:
    here, there = (data(PairData, device_resident=resident) for resident in (False, True))
    for part in ("train", "val", "test"):
        for batch, stand_in in zip(here.loader(part), there.loader(part), strict=True):
            assert isinstance(stand_in, DeferredBatch)
            resident = there.transfer_batch_to_device(stand_in, CPU, 0)
            assert isinstance(resident, Pair)
            assert torch.equal(batch.value, resident.value)
            assert torch.equal(batch.label, resident.label)


def test_items_are_gathered_on_the_device_that_they_were_brought_to() -> None:
    there = data(PairData, device_resident=True)
    stand_in = next(iter(there.train_dataloader()))
    batch = there.transfer_batch_to_device(stand_in, torch.device("meta"), 0)
    assert batch.value.device.type == batch.label.device.type == "meta"
    assert batch.value.shape == (4,)


def test_items_are_brought_to_a_device_once() -> None:
    there = data(PairData, device_resident=True)
    first, second = there.test_dataloader(), there.test_dataloader()
    for loader in (first, second):
        for stand_in in loader:
            there.transfer_batch_to_device(stand_in, torch.device("meta"), 0)
    assert len(there._resident) == 1


@dataclass(frozen=True, eq=False)
class Doubled:
    """Twice the values of an array."""

    stored: Gather

    @property
    def nbytes(self) -> int:
        return self.stored.nbytes

    @property
    def arrays(self) -> tuple[Gather]:
        return (self.stored,)

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, index: Tensor) -> Tensor:
        return 2 * self.stored[index]

    def to(self, device: torch.device) -> "Doubled":
        return Doubled(self.stored.to(device))


class SharedData(ItemData):
    """800 bytes, in two forms."""

    def load(self) -> Mapping[str, ItemSet | Stream]:
        numbers = torch.arange(100)
        train = ArrayItems(Pair, {"value": numbers, "label": numbers})
        return {"train": train, "test": ArrayItems(Pair, {"value": Doubled(numbers), "label": numbers})}


@pytest.mark.parametrize(("memory", "is_resident"), [(3199, False), (3200, True)])
def test_items_go_onto_the_accelerator_by_themselves_if_they_fit_a_quarter_of_it(
    monkeypatch: pytest.MonkeyPatch, memory: int, is_resident: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=memory))
    shared = data(SharedData, device_resident="auto")
    assert not shared._is_resident()  # without a trainer it is a CPU
    for device, expected in (("cuda", is_resident), ("cpu", False)):
        shared.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))
        assert shared._is_resident() == expected


def test_items_from_arrays_can_be_moved_and_others_cannot() -> None:
    assert isinstance(pairs(), Movable)
    assert not isinstance(Numbers(3, 0), Movable)
    assert isinstance(torch.arange(3), Gather)


def test_data_that_say_nothing_have_no_names_and_nothing_to_tell() -> None:
    assert data().names == Names()
    assert data().tell(Pair(torch.zeros(3), torch.zeros(3))) == [Told()] * 3


def test_what_a_class_must_say_is_named() -> None:
    with pytest.raises(NotImplementedError, match="ItemData has no load"):
        data(ItemData)
