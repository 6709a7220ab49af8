"""What a training needs, foreseen from small steps of a copy of its model."""

from pathlib import Path

import pytest
import torch
from torch import nn

from paperzoo import machine
from paperzoo.errors import UserError
from paperzoo.machine import GIB, Memory, shown
from paperzoo.runner import estimate as estimates
from paperzoo.runner.allocations import Allocations
from paperzoo.runner.estimate import Costs
from tests.conftest import RunJob

TINY = (
    *("model=glow", "data=digits", "model.levels=2", "model.depth=2", "model.width=8", "model.temperatures=[0.7]"),
    *("model.samples=1", "data.batch_size=32", "trainer.max_steps=2", "trainer.accelerator=cpu", "threads=1"),
    *("trainer.limit_val_batches=1", "trainer.limit_test_batches=1"),
)


@pytest.fixture
def measures_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "WORTH_MEASURING", 0)


def test_allocations_are_what_lives_at_the_same_time() -> None:
    layer = nn.Linear(1000, 1000)
    x = torch.randn(500, 1000)
    with Allocations(layer.parameters()) as forward:
        y = layer(x)
        z = y.relu()
        del y
        z.add_(1).view(-1)
    assert forward.peak == 2 * 4 * 500 * 1000
    with Allocations(layer.parameters()) as one_after_the_other:
        for _ in range(5):
            x.clone()
    assert one_after_the_other.peak == 4 * 500 * 1000


def test_gradients_that_have_arrived_do_not_count() -> None:
    layers = nn.Sequential(*(nn.Linear(300, 300, bias=False) for _ in range(10)))
    with Allocations(layers.parameters()) as watch:
        layers(torch.randn(1, 300)).sum().backward()
    assert watch.peak < 3 * 4 * 300 * 300
    assert all(parameter.grad is not None for parameter in layers.parameters())


def test_the_largest_batch_that_fits_is_a_power_of_two() -> None:
    costs = Costs(fixed=GIB, start=0.0, each=GIB / 16, initial=0.0, weights=0, checkpoint=0, items=4)
    fits = costs.fitting(8 * GIB)
    assert fits == 64
    assert costs.step(fits) <= 8 * GIB < costs.step(2 * fits)
    assert costs.fitting(GIB // 2) == 0


def test_a_container_may_have_less_memory_than_the_machine(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/job/step\n")
    group = tmp_path / "fs" / "job"
    group.mkdir(parents=True)
    for name, content in {"max": f"{4 * GIB}", "current": f"{3 * GIB}", "stat": f"anon 5\ninactive_file {GIB}"}.items():
        (group / f"memory.{name}").write_text(f"{content}\n")
    found = list(machine._group_limits(tmp_path / "cgroup", tmp_path / "fs"))
    assert found == [Memory(4 * GIB, 2 * GIB)]


def test_without_control_groups_nothing_is_limited(tmp_path: Path) -> None:
    assert list(machine._group_limits(tmp_path / "cgroup", tmp_path / "fs")) == []


def test_sizes_are_shown_in_words() -> None:
    assert (shown(3.21 * GIB), shown(GIB // 4)) == ("3.2 GiB", "256 MiB")


def test_a_run_is_the_same_with_and_without_the_measurement(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = run_job(*TINY)
    assert "memory:" not in capsys.readouterr().out
    monkeypatch.setattr(estimates, "WORTH_MEASURING", 0)
    measured = run_job(*TINY)
    assert "memory: a step needs about" in capsys.readouterr().out
    assert (plain / "metrics.csv").read_bytes() == (measured / "metrics.csv").read_bytes()


@pytest.mark.usefixtures("measures_everything")
def test_a_batch_for_which_there_is_never_memory_is_refused_with_what_to_lower(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(estimates, "memory_of", lambda device: Memory(2**20, 2**20))
    with pytest.raises(UserError, match=r"data\.batch_size=512: a step needs about \d+ MiB .* this machine has 1 MiB"):
        run_job(*TINY, "data.batch_size=512")
    with pytest.raises(UserError, match=r"choose data\.batch_size=\d+, with trainer\.accumulate_grad_batches=\d+"):
        run_job(*TINY, "data.batch_size=512")
    with pytest.raises(UserError, match=r"set model\.checkpointing=true"):
        run_job(*TINY, "data.batch_size=512")
    with pytest.raises(UserError, match=r"model\.initial_images=100000: to initialise"):
        run_job(*TINY, "model.initial_images=100000")
    assert [path for path in tmp_path.glob("run*/*") if path.name != ".hydra"] == []


@pytest.mark.usefixtures("measures_everything")
def test_a_batch_that_others_leave_no_memory_for_is_only_warned_of(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(estimates, "memory_of", lambda device: Memory(GIB, 2**18))
    run_job(*TINY)
    assert "memory: it may not be enough. data.batch_size=32: a step needs" in capsys.readouterr().out


def test_an_estimate_says_time_memory_and_disk_and_leaves_nothing(
    run_job: RunJob, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_job("mode=estimate", *TINY)
    printed = capsys.readouterr().out
    for row in ("a step", "an epoch", "validation", "the whole", "memory", "data", "checkpoints"):
        assert f"\n  {row}" in printed
    assert "s, of data.batch_size=32\n" in printed
    assert not folder.exists()


def test_the_memory_of_two_small_steps_foretells_that_of_a_large_one(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[float, float]] = []

    def compare(job: estimates.Job, parts: estimates.Parts) -> None:
        costs = estimates.measure(job, parts)
        assert costs
        large = estimates._rehearse(job, parts, [2, 64], watches=True)
        found.append((costs.start + 64 * costs.each, large.peaks[-1]))

    monkeypatch.setattr("paperzoo.runner.run.estimate", compare)
    run_job("mode=estimate", *TINY)
    for foretold, true in found:
        assert foretold == pytest.approx(true, rel=0.1)
