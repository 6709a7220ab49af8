import socket
from multiprocessing import get_context
from multiprocessing.queues import Queue
from typing import Any

import torch
from torch import Tensor

from paperzoo.tally import Tally, of_all_ranks

CPU = torch.device("cpu")


def alone(sums: Tensor, **_: Any) -> Tensor:
    return sums


def test_a_tally_gives_the_mean_over_all_items_and_leaves_out_what_has_none() -> None:
    tally = Tally()
    tally.add("solved", torch.tensor([True, False]))
    tally.add("solved", torch.tensor([True]))
    tally.add("loss", torch.tensor([]))
    assert tally.means(alone, CPU) == {"solved": 2 / 3}


def test_a_mean_counts_for_so_many_items() -> None:
    tally = Tally()
    tally.add_mean("bits", torch.tensor(2.0), 3)
    tally.add_mean("bits", torch.tensor(6.0), 1)
    assert tally.means(alone, CPU) == {"bits": 3.0}


def test_the_processes_sum() -> None:
    tally = Tally()
    tally.add("core_recovered", torch.tensor([1.0, 0.0]))
    assert tally.means(lambda sums, **_: sums + torch.tensor([2.0, 2.0]), CPU) == {"core_recovered": 0.75}


def test_many_small_values_keep_their_digits() -> None:
    tally = Tally()
    for _ in range(1000):
        tally.add("bits", torch.full((100,), 3.1))
    assert abs(tally.means(alone, CPU)["bits"] - torch.tensor(3.1).item()) < 1e-9


def test_names_keep_the_order_in_which_they_came() -> None:
    tally = Tally()
    for name in ("loss", "accuracy", "core"):
        tally.add(name, torch.ones(1))
    assert list(tally.means(alone, CPU)) == ["loss", "accuracy", "core"]


def count_classes(rank: int, port: int, answers: "Queue[dict[str, float]]") -> None:
    """Rank 0 sees classes 0 and 1, all right; rank 1 sees classes 2 and 3, all wrong."""
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    tally = Tally()
    for label in (2 * rank, 2 * rank + 1):
        tally.add(f"class_{label}", torch.full((5,), float(rank == 0)))
    tally.add("all", torch.full((10,), float(rank == 0)))

    def reduce(sums: Tensor, reduce_op: str) -> Tensor:
        torch.distributed.all_reduce(sums)
        return sums

    kept = of_all_ranks([f"{round}{rank}" for round in "abc"[: 3 - rank]])  # the last round was too small for both
    assert kept == ["a0", "a1", "b0", "b1", "c0"]
    answers.put(tally.means(reduce, CPU))
    torch.distributed.destroy_process_group()


def test_processes_that_saw_different_classes_do_not_mix_them_up() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("spawn")
    answers = context.Queue()
    processes = [context.Process(target=count_classes, args=(rank, port, answers)) for rank in range(2)]
    for process in processes:
        process.start()
    means = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
    expected = {"all": 0.5, "class_0": 1.0, "class_1": 1.0, "class_2": 0.0, "class_3": 0.0}
    assert means == [expected, expected]
