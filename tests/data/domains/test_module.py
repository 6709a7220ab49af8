"""Pairs of domains: which items are in which batch, with which labels, in which order."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from paperzoo.batches import HIDDEN, SOURCE, TARGET, DomainVectors
from paperzoo.data.domains.module import Domain, DomainData, Items, PairOrder
from paperzoo.datamodule import PaperData
from paperzoo.errors import UserError
from tests.data.base.test_order import KilledError, Recorder, trainer

SIZES = {SOURCE: 11, TARGET: 30}


def items(first: float, count: int) -> Items:
    """Vectors `first`, `first` + 1, ... whose labels are 0, 1, 2, 0, 1, 2, ..."""
    return Items.of((first + torch.arange(count, dtype=torch.float))[:, None], torch.arange(count) % 3)


class NumberedVectors(DomainData):
    """Training items from 0, held-out ones from 100, test ones from 200; those of the target 1000 higher."""

    yields = DomainVectors

    def load_domains(self) -> tuple[Domain, Domain]:
        source, target = (
            Domain(items(1000 * domain, SIZES[domain]), items(1000 * domain + 100, 7), items(1000 * domain + 200, 5))
            for domain in (SOURCE, TARGET)
        )
        return source, target


def numbered(**changes: Any) -> NumberedVectors:
    sizes = {"batch_size": 4, "eval_batch_size": 3, "batches_per_epoch": 10}
    data = NumberedVectors(**{"seed": 0, "workers": 0, "device_resident": False, **sizes, **changes})
    data.setup()
    return data


def joined(batches: Any) -> DomainVectors:
    return DomainVectors(*(torch.cat(fields) for fields in zip(*batches, strict=True)))


def values(vector: Tensor) -> list[int]:
    return vector[:, 0].int().tolist()


def test_a_batch_holds_the_source_with_its_labels_then_the_target_without() -> None:
    for batch in numbered().train_dataloader():
        assert batch.domain.tolist() == [SOURCE] * 4 + [TARGET] * 4
        assert all(number < 100 for number in values(batch.vector[:4]))
        assert all(1000 <= number < 1100 for number in values(batch.vector[4:]))
        assert batch.label[:4].tolist() == [number % 3 for number in values(batch.vector[:4])]
        assert batch.label[4:].tolist() == [HIDDEN] * 4


def test_training_never_sees_a_label_of_the_target() -> None:
    data = numbered()
    batches = [*data.train_dataloader(), data.initial_batch(5)]
    assert all((batch.label[batch.domain == TARGET] == HIDDEN).all() for batch in batches)
    assert all((batch.label[batch.domain == SOURCE] != HIDDEN).all() for batch in batches)


def test_each_pass_over_a_domain_takes_each_item_once() -> None:
    seen = joined(numbered(batches_per_epoch=14).train_dataloader())
    source, target = (values(seen.vector[seen.domain == domain]) for domain in (SOURCE, TARGET))
    passes = [source[start : start + 8] for start in range(0, len(source), 8)]  # 11 items: two whole batches of 4
    assert [len(set(numbers)) for numbers in passes] == [8] * 7
    assert len({tuple(numbers) for numbers in passes}) == 7
    passes = [target[start : start + 28] for start in range(0, len(target), 28)]
    assert [len(set(numbers)) for numbers in passes] == [28] * 2
    assert passes[0] != passes[1]


def test_an_epoch_is_one_pass_over_the_source_if_nothing_is_said() -> None:
    assert len(list(numbered(batches_per_epoch=None).train_dataloader())) == 2


def test_a_domain_smaller_than_a_batch_gives_all_it_has() -> None:
    batch = next(iter(numbered(batch_size=20).train_dataloader()))
    assert sorted(values(batch.vector[:11])) == list(range(11))
    assert batch.domain.bincount().tolist() == [11, 20]


def order_on_rank(rank: int, world: int, epoch: int = 0, position: int = 0, seed: int = 0) -> list[tuple[Tensor, ...]]:
    """The batches of a PairOrder whose trainer is at that place of a run."""
    data = PaperData(workers=0, seed=seed)
    batches = SimpleNamespace(current=SimpleNamespace(ready=position))
    epochs = SimpleNamespace(current=SimpleNamespace(processed=epoch))
    loop = SimpleNamespace(epoch_progress=epochs, epoch_loop=SimpleNamespace(batch_progress=batches))
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world, fit_loop=loop)  # type: ignore[assignment]
    return list(PairOrder(11, 30, 4, 10, data))


def same(a: list[Any], b: list[Any]) -> bool:
    return all(torch.equal(x, y) for pair in zip(a, b, strict=True) for x, y in zip(*pair, strict=True))


def test_the_order_is_a_function_of_the_seed_and_the_place_in_the_run() -> None:
    assert same(order_on_rank(0, 1), order_on_rank(0, 1))
    assert same(order_on_rank(0, 1, position=3), order_on_rank(0, 1)[3:])
    assert not same(order_on_rank(0, 1, epoch=1), order_on_rank(0, 1))
    assert not same(order_on_rank(0, 1, seed=1), order_on_rank(0, 1))


def test_the_order_goes_on_from_epoch_to_epoch_in_the_middle_of_a_pass() -> None:
    target = torch.cat([pair.target for epoch in range(7) for pair in order_on_rank(0, 1, epoch)])
    assert [len(set(part.tolist())) for part in target.split(28)] == [28] * 10


def test_ranks_are_dealt_the_batches_of_one_process_in_turn() -> None:
    alone = order_on_rank(0, 1) + order_on_rank(0, 1, epoch=1)
    ranks = [order_on_rank(rank, 2) for rank in (0, 1)]
    assert same([pair for turn in zip(*ranks, strict=True) for pair in turn], alone)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_the_batches_that_were_next(tmp_path: Path, workers: int) -> None:
    whole = Recorder()
    trainer(tmp_path).fit(whole, numbered(workers=workers, batches_per_epoch=5))
    killed = Recorder(7, "batch", tmp_path / "killed.ckpt")
    with pytest.raises(KilledError):
        trainer(tmp_path).fit(killed, numbered(workers=workers, batches_per_epoch=5))
    resumed = Recorder()
    again = numbered(workers=workers, batches_per_epoch=5)
    trainer(tmp_path).fit(resumed, again, ckpt_path=str(tmp_path / "killed.ckpt"), weights_only=True)
    assert len(whole.seen) == 15
    assert all(torch.equal(a, b) for a, b in zip(killed.seen + resumed.seen, whole.seen, strict=True))


def test_evaluation_gives_all_items_once_the_source_first_with_all_labels() -> None:
    data = numbered()
    for loader, first, count in ((data.val_dataloader(), 100, 7), (data.test_dataloader(), 200, 5)):
        seen = joined(loader)
        assert values(seen.vector) == [*range(first, first + count), *range(first + 1000, first + 1000 + count)]
        assert seen.domain.tolist() == [SOURCE] * count + [TARGET] * count
        assert seen.label.tolist() == [number % 3 for number in range(count)] * 2


def test_prediction_gives_the_test_items_of_the_target() -> None:
    data = numbered()
    seen = joined(data.predict_dataloader())
    assert values(seen.vector) == list(range(1200, 1205))
    assert seen.domain.tolist() == [TARGET] * 5
    assert len(data.item_names()) == 5


def test_the_way_back_trains_on_the_target_with_the_given_labels_and_is_tested_on_the_sources_held_out_items() -> None:
    data = numbered(labels_per_class=2, batches_per_epoch=14)
    seen = [joined(loader) for loader in data.target_dataloaders()]
    assert [values(part.vector) for part in seen] == [list(range(1000, 1030)), list(range(1100, 1107))]
    assert all((part.label == HIDDEN).all() for part in seen)

    way_back = data.reversed(torch.full((30,), 7), torch.full((7,), 8))
    training = joined(way_back.train_dataloader())
    source, target = (training.domain == domain for domain in (SOURCE, TARGET))
    assert set(values(training.vector[source])) <= set(range(1000, 1030))
    assert set(training.label[source].tolist()) == {7}
    assert set(values(training.vector[target])) == set(range(11))
    assert set(training.label[target].tolist()) == {HIDDEN}
    validation, test = joined(way_back.val_dataloader()), joined(way_back.test_dataloader())
    assert values(validation.vector[validation.domain == SOURCE]) == list(range(1100, 1107))
    assert set(validation.label[validation.domain == SOURCE].tolist()) == {8}
    assert values(test.vector[test.domain == TARGET]) == list(range(100, 107))
    assert test.label[test.domain == TARGET].tolist() == [number % 3 for number in range(7)]


def test_the_way_back_leaves_the_domains_and_begins_at_the_start(tmp_path: Path) -> None:
    data = numbered(batches_per_epoch=5)
    trainer(tmp_path).fit(Recorder(), data)
    way_back = data.reversed(torch.zeros(30, dtype=torch.long), torch.zeros(7, dtype=torch.long))
    assert len(list(way_back.train_dataloader())) == 5
    assert values(joined(data.test_dataloader()).vector)[:5] == list(range(200, 205))


def test_items_on_the_device_give_the_same_batches_also_on_the_way_back(tmp_path: Path) -> None:
    runs = []
    for resident in (False, True):
        data = numbered(device_resident=resident, batches_per_epoch=5)
        there, back = Recorder(), Recorder()
        trainer(tmp_path).fit(there, data)
        trainer(tmp_path).fit(back, data.reversed(torch.arange(30), torch.arange(7)))
        runs.append([*there.seen, *there.evaluated, *back.seen, *back.evaluated])
    assert len(runs[0]) > 30
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_as_many_labels_of_the_target_are_seen_as_asked_for_the_same_for_every_seed() -> None:
    seen = []
    for seed in (0, 1):
        batch = numbered(labels_per_class=4, batch_size=30, seed=seed).train_dataloader()
        number = joined(batch)
        known = {
            (value, label)
            for value, label, domain in zip(values(number.vector), number.label.tolist(), number.domain, strict=True)
            if domain == TARGET and label != HIDDEN
        }
        assert [sum(label == wanted for _, label in known) for wanted in range(3)] == [4, 4, 4]
        assert all((value - 1000) % 3 == label for value, label in known)
        seen.append(known)
    assert seen[0] == seen[1]


def test_more_labels_than_a_class_has_are_refused() -> None:
    with pytest.raises(UserError, match=r"data.labels_per_class=11: .*only 10 training items of class 0"):
        numbered(labels_per_class=11)


def test_selected_items_keep_their_values_and_take_their_new_labels() -> None:
    chosen = items(50, 10).select(torch.tensor([7, 2, 5])).select(torch.tensor([2, 0]))
    vector, label = chosen[torch.tensor([0, 1])]
    assert values(vector) == [55, 57]
    assert label.tolist() == [2, 1]
    assert chosen.labelled(torch.tensor([8, 9]))[torch.tensor([1])][1].tolist() == [9]
