"""`trainer=smoke`: small numbers in the places of the large ones, whatever a preset says, but not what was typed."""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from paperzoo.cli import CONFIG_FOLDER
from paperzoo.config import SMOKE
from paperzoo.data.base.order import BatchOrder
from paperzoo.datamodule import PaperData
from paperzoo.errors import UserError
from paperzoo.runner.smoke import settle_smoke
from tests.conftest import CommandLine


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_FOLDER)):
        return compose("train", list(overrides))


def settled(*overrides: str, typed: tuple[str, ...] = ()) -> dict[str, Any]:
    config = composed(*overrides)
    settle_smoke(config, typed)
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def has_smoke(node: Any) -> bool:
    return isinstance(node, dict) and (SMOKE in node or any(map(has_smoke, node.values())))


def test_it_wins_over_the_preset() -> None:
    full, small = settled("experiment=glow/cifar10"), settled("experiment=glow/cifar10", "trainer=smoke")
    assert (full["data"]["batch_size"], full["model"]["depth"], full["trainer"]["max_epochs"]) == (512, 32, 1500)
    assert small["data"]["batch_size"] <= 8
    assert small["model"]["initial_images"] <= 8
    assert small["trainer"]["max_steps"] == 2
    assert small["trainer"]["check_val_every_n_epoch"] == 1


def test_what_was_typed_wins_over_it() -> None:
    typed = {"data.batch_size": 6, "model.network.filters": 3, "trainer.max_steps": 4}
    overrides = [f"{key}={value}" for key, value in typed.items()]
    small = settled("experiment=dann/reid", "trainer=smoke", *overrides, typed=tuple(typed))
    assert small["data"]["batch_size"] == 6
    assert small["trainer"]["max_steps"] == 4
    assert small["model"]["network"]["filters"] == 3
    assert small["model"]["network"]["descriptor_size"] == 8


def test_a_value_of_which_a_part_was_typed_stays() -> None:
    small = settled("experiment=dann/reid", "trainer=smoke", typed=("model.network",))
    assert small["model"]["network"]["filters"] == 64
    assert small["model"]["domain_hidden"] == 8


@pytest.mark.parametrize("trainer", ["default", "smoke"])
def test_no_run_has_smoke_nodes_in_its_settings(trainer: str) -> None:
    overrides = ("experiment=cdan/office31", f"trainer={trainer}")
    assert has_smoke(OmegaConf.to_container(composed(*overrides)))
    assert not has_smoke(settled(*overrides))


def test_a_key_that_a_node_does_not_have_is_refused() -> None:
    config = OmegaConf.create({"smoke": {}, "model": {"depth": 3, "smoke": {"dpeth": 1}}})
    with pytest.raises(UserError, match=r"model\.smoke: the config has no key model\.dpeth"):
        settle_smoke(config)


class _Trainer:
    """As much of a trainer as an evaluation order asks for."""

    training, testing, validating = False, False, True
    global_rank, world_size = 0, 1
    limit_val_batches: int | float = 2
    limit_test_batches: int | float = 2

    def __init__(self, rank: int = 0, ranks: int = 1) -> None:
        self.global_rank, self.world_size = rank, ranks


def evaluated(size: int, *, spread: bool, rank: int = 0, ranks: int = 1) -> list[list[int]]:
    data: Any = PaperData(workers=0, seed=0)
    data.trainer, data.spreads_evaluation = _Trainer(rank, ranks), spread
    return [batch.tolist() for batch in BatchOrder(size, 3, data, shuffle=False)]


def test_few_batches_of_an_evaluation_come_from_all_over_the_set() -> None:
    assert evaluated(60, spread=False)[:2] == [[0, 1, 2], [3, 4, 5]]
    assert evaluated(60, spread=True) == [[0, 20, 40], [10, 30, 50]]


def test_ranks_share_a_spread_evaluation() -> None:
    batches = [evaluated(60, spread=True, rank=rank, ranks=2) for rank in (0, 1)]
    assert sorted(item for rank in batches for batch in rank for item in batch) == list(range(0, 60, 5))


def test_a_set_of_no_more_batches_than_the_limit_is_evaluated_in_its_order() -> None:
    assert evaluated(5, spread=True) == [[0, 1, 2], [3, 4]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["glow/digits_laptop", "neurosat/sr_u3_10_laptop", "recurrent_relation_network/sudoku_laptop"],
)
def test_a_smoke_run_takes_less_than_a_minute_of_two_cores_and_4_gib(
    name: str, command_line: CommandLine, tmp_path: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    result = command_line(f"experiment={name}", "trainer=smoke", "hydra.run.dir=run")
    assert result.returncode == 0, result.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert cpu < 2 * 60, f"{cpu:.0f} s of CPU, {time.monotonic() - started:.0f} s"
    assert after.ru_maxrss * (1 if sys.platform == "darwin" else 1024) < 4 * 2**30
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list((tmp_path / "run" / "figures").glob("*.png"))
