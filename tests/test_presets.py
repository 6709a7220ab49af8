"""Every preset: short, honest, composed, without a key that does nothing, and able to run."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pytorch_lightning import Trainer

from paperzoo.cli import CONFIG_FOLDER, presets
from paperzoo.config import class_of
from paperzoo.module import PaperModule
from paperzoo.reporting import results
from paperzoo.reporting.figure_files import read_figures
from paperzoo.runner.check import target_problems
from paperzoo.runner.checkpoints import Checkpoints
from paperzoo.runner.smoke import settle_smoke
from tests.conftest import RunJob
from tests.small import small_version

FOLDER = CONFIG_FOLDER / "experiment"
MOST_LINES, WIDEST = 25, 120
MOST_REPEATED = 0.15


def text(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text()


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONFIG_FOLDER)):
        config = compose("train", overrides=list(overrides))
    settle_smoke(config)
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    return {**{str(key): value for key, value in resolved.items()}, "published": results.flat(resolved["published"])}


def lines(name: str) -> list[str]:
    return [line for line in text(name).splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_short_and_says_what_it_is(name: str) -> None:
    assert len(lines(name)) <= MOST_LINES
    assert max(map(len, text(name).splitlines())) <= WIDEST
    assert text(name).startswith("# @package _global_\n# ")
    assert f"experiment={name}" in text(name)


@pytest.mark.parametrize("name", presets())
def test_a_preset_composes_and_its_config_has_no_problems(name: str) -> None:
    config = composed(f"experiment={name}")
    for section in ("model", "data", "trainer"):
        found = target_problems(config[section], section)
        only_a_user_has = ("import_data.py", "cannot be downloaded")
        assert [problem for problem in found if not any(words in problem for words in only_a_user_has)] == []
    assert results.problems(config["published"], config["measured"]) == []
    assert config["paper"]["title"]


@pytest.mark.parametrize("name", [name for name in presets() if not name.endswith("_laptop")])
def test_a_published_preset_carries_its_number_or_says_why_not(name: str) -> None:
    assert composed(f"experiment={name}")["published"] or re.search(r"Figure \d|gives no", text(name))


def leaves(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for n, child in value.items() for k, v in leaves(child, f"{key}.{n}" if key else str(n)).items()}
    return {key: value}


def parents(key: str) -> Iterator[str]:
    """The keys that `key` stands below, the nearest first; one that is null or empty takes any node."""
    while "." in key:
        key = key.rpartition(".")[0]
        yield key


@pytest.mark.parametrize("name", presets())
def test_every_key_of_a_preset_changes_the_composed_config(name: str) -> None:
    own = yaml.safe_load(text(name))
    choices = [f"{key.removeprefix('override /')}={value}" for d in own.pop("defaults", []) for key, value in d.items()]
    own.pop("hydra", None)
    own.pop("measured", None)  # may be empty: nothing was run yet
    without, with_preset = leaves(composed(*choices)), leaves(composed(f"experiment={name}"))
    for key in leaves(own):
        if key.startswith(("published.", "case.", "average.")):
            continue
        known = next((k for k in (key, *parents(key)) if k in without), None)
        assert known == key or (known and not without[known]), f"{key} is no key of the config"
        assert without[known] != with_preset.get(key), f"{key}: {without[known]} is the default already"


def test_presets_repeat_little() -> None:
    total = repeated = 0
    for paper in {name.split("/")[0] for name in presets()}:
        siblings = {name: text(name).splitlines() for name in presets() if name.startswith(f"{paper}/")}
        own = {name: [line.strip() for line in all_lines if line.strip()] for name, all_lines in siblings.items()}
        counts = Counter(line for stripped in own.values() for line in set(stripped))
        for stripped in own.values():
            total += len(stripped)
            repeated += sum(len(siblings) > 1 and counts[line] >= len(siblings) / 2 for line in stripped)
    assert repeated <= MOST_REPEATED * total


EVALUATIONS = [name for name in presets() if yaml.safe_load(text(name)).get("mode") == "test"]
TRAININGS = [name for name in presets() if name not in EVALUATIONS]


MID_EPOCH = "callbacks.checkpoints.every_minutes=0.0000001"


def copying(folder: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets runs leave in `folder` what they would leave behind if they were killed after `step`."""

    def copy(keeper: Checkpoints, trainer: Any, *arguments: Any) -> None:
        save(keeper, trainer, *arguments)
        if trainer.global_step == step:
            shutil.copytree(trainer.default_root_dir, folder)

    save = Checkpoints.on_train_batch_end
    monkeypatch.setattr(Checkpoints, "on_train_batch_end", copy)


def card_figures(name: str) -> list[str]:
    """What the card of a preset's paper lists below "Figures"."""
    paper = name.split("/")[0].removeprefix("multilayer_")
    card = (CONFIG_FOLDER.parent / "paperzoo" / "papers" / paper / "README.md").read_text()
    _, _, after = card.partition("## Figures")
    return re.findall(r"^\| `(\w+)` \|", after.partition("\n## ")[0], re.MULTILINE)


def run_small(name: str, run_job: RunJob, root: Path, *overrides: str) -> tuple[Path, dict[str, Any]]:
    """A smoke run of a preset on random items; returns its folder and summary."""
    small = small_version(composed(f"experiment={name}", "trainer=smoke"))
    for prepare in small.preparations:
        prepare(root)
    folder = run_job(f"experiment={name}", "trainer=smoke", f"data_root={root}", *small.overrides, *overrides)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert np.isfinite(summary["metrics"][small.metric])
    drawn = {Path(figure.name).stem: figure.caption for figure in read_figures(folder)}
    assert small.figure in drawn
    assert list(drawn) == [figure for figure in card_figures(name) if figure in drawn]
    assert all(len(caption.split()) >= 5 for caption in drawn.values())
    assert composed(f"experiment={name}")["published"].keys() <= summary["metrics"].keys()
    return folder, summary


@pytest.mark.parametrize("name", TRAININGS)
def test_a_smoke_run_of_a_preset_goes_all_the_way_and_on_where_it_was_killed(
    name: str, run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        copying(tmp_path / "killed", 1, patch)
        folder, summary = run_small(name, run_job, tmp_path / "data", MID_EPOCH)
    assert summary["steps"] == 2
    assert any(metric.startswith("val/") for metric in summary["metrics"])
    model = class_of(summary["config"]["model"], PaperModule)
    assert model
    logged = {metric for metric in summary["metrics"] if metric.startswith("val/")}
    assert {metric for metric in logged if model.measured_as(metric) is None} == set()  # `measures` declares them
    assert model.objective is None or model.objective in logged
    keeps_best = model.objective is not None and (summary["config"]["weights"] or model.tested) == "best"
    kept = {path.name for path in (folder / "checkpoints").iterdir()}
    assert kept == ({"best.ckpt", "last.ckpt"} if keeps_best else {"last.ckpt"})

    monkeypatch.setattr(Trainer, "test", lambda *_, **__: None)  # of the same weights: they are compared
    run_job(f"resume={tmp_path / 'killed'}", "~callbacks.figures")
    assert same_training(folder, tmp_path / "killed")


def same_training(one: Path, other: Path) -> bool:
    """Whether two runs logged the same values, byte for byte, and came to the same weights; their tests aside."""
    logged = [[line for line in metrics(run) if b",test/" not in line] for run in (one, other)]
    weights = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (one, other)]
    same = weights[0].keys() == weights[1].keys() and all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())
    return bool(logged[0]) and logged[0] == logged[1] and same


def metrics(run: Path) -> list[bytes]:
    return (run / "metrics.csv").read_bytes().splitlines(keepends=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_with_a_worker_a_killed_run_goes_on_in_the_middle_of_its_second_epoch(
    name: str, run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying(tmp_path / "killed", 3, monkeypatch)
    folder, _ = run_small(name, run_job, tmp_path / "data", MID_EPOCH, "data.workers=1", "trainer.max_steps=4")
    run_job(f"resume={tmp_path / 'killed'}")
    assert metrics(folder) == metrics(tmp_path / "killed")
    assert same_training(folder, tmp_path / "killed")


@pytest.mark.parametrize("name", EVALUATIONS)
def test_a_smoke_run_of_an_evaluation_preset_measures_what_it_publishes(
    name: str, run_job: RunJob, tmp_path: Path
) -> None:
    trained = re.search(r"checkpoint=outputs/(\S+)/RUN", text(name))
    assert trained
    checkpoint, _ = run_small(trained[1], run_job, tmp_path / "data")
    _, summary = run_small(name, run_job, tmp_path / "data", f"checkpoint={checkpoint}")
    assert summary["config"]["published"] == composed(f"experiment={name}")["published"]
