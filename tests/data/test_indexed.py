"""Sets whose batches are gathered by index: order, parts and names."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from paperzoo.data.indexed import IndexedData, QuestionData


class Numbers:
    """The batch of some items is their numbers, counted from `start`."""

    def __init__(self, size: int, start: int) -> None:
        self.size, self.start = size, start

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Tensor) -> Tensor:
        return index + self.start


class NumberData(IndexedData):
    sets: ClassVar[Mapping[str, Numbers]] = {"train": Numbers(10, 0), "val": Numbers(5, 100), "test": Numbers(7, 200)}
    loaded = 0

    def load(self) -> Mapping[str, Numbers]:
        self.loaded += 1
        return self.sets


class WithOwnItems(NumberData):
    sets: ClassVar[Mapping[str, Numbers]] = {**NumberData.sets, "predict": Numbers(2, 300)}


class NoisyData(NumberData):
    def augment(self, batch: Tensor) -> Tensor:
        return batch + torch.rand(len(batch))


def data(of: type[NumberData] = NumberData, seed: int = 0, workers: int = 0) -> NumberData:
    result = of(seed=seed, workers=workers, batch_size=4, eval_batch_size=3)
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


def test_the_initial_batch_is_the_first_that_is_trained_on() -> None:
    assert torch.equal(data().initial_batch(4), next(iter(data().train_dataloader())))


def test_the_initial_batch_is_augmented_the_same_way_whatever_was_drawn_before() -> None:
    first = data(NoisyData).initial_batch(3)
    torch.rand(5)
    state = torch.random.get_rng_state()
    assert torch.equal(data(NoisyData).initial_batch(3), first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_sets_are_loaded_once() -> None:
    numbers = data()
    numbers.setup("test")
    numbers.initial_batch(2)
    assert numbers.loaded == 1


def test_questions_about_an_image_have_no_text_beside_it() -> None:
    questions = QuestionData(seed=0, workers=0, batch_size=1, eval_batch_size=1)
    assert questions.context_texts(SimpleNamespace(answer=torch.zeros(3))) == ["", "", ""]


def test_what_a_set_of_questions_must_say_is_named() -> None:
    questions = QuestionData(seed=0, workers=0, batch_size=1, eval_batch_size=1)
    with pytest.raises(NotImplementedError, match="QuestionData has no answer_names"):
        _ = questions.answer_names
