"""Every preset: short, honest, composed, without a key that does nothing, and able to run."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from paperzoo.cli import CONFIG_FOLDER, presets
from paperzoo.config import find_target, target_problems
from paperzoo.data.importing import import_folder
from paperzoo.reporting import results
from tests.conftest import RunJob

FOLDER = CONFIG_FOLDER / "experiment"


def text(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text()


def composed(*overrides: str, config_folder: Path = CONFIG_FOLDER) -> dict[str, Any]:
    with initialize_config_dir(str(config_folder)):
        config = compose("train", overrides=list(overrides))
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    return resolved  # type: ignore[return-value]


def lines(name: str) -> list[str]:
    return [line for line in text(name).splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_short_and_says_what_it_is(name: str) -> None:
    assert len(lines(name)) <= 25
    assert text(name).startswith("# @package _global_\n# ")
    assert f"experiment={name}" in text(name)


@pytest.mark.parametrize("name", presets())
def test_a_preset_composes_and_its_config_has_no_problems(name: str) -> None:
    config = composed(f"experiment={name}", "data.download=true")
    for section in ("model", "data", "trainer"):
        found = target_problems(config[section], section)
        assert [problem for problem in found if "import_data.py" not in problem] == []  # data that only a user has
    assert results.problems(config["published"], config["measured"]) == []
    assert config["paper"]["title"]


@pytest.mark.parametrize("name", [name for name in presets() if not name.endswith("_laptop")])
def test_a_published_preset_carries_its_number_or_says_why_not(name: str) -> None:
    assert composed(f"experiment={name}")["published"] or re.search(r"Figure \d|gives no", text(name))


def leaves(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for n, child in value.items() for k, v in leaves(child, f"{key}.{n}" if key else str(n)).items()}
    return {key: value}


@pytest.mark.parametrize("name", presets())
def test_every_key_of_a_preset_changes_the_composed_config(name: str) -> None:
    own = yaml.safe_load(text(name))
    choices = [f"{key.removeprefix('override /')}={value}" for d in own.pop("defaults", []) for key, value in d.items()]
    own.pop("hydra", None)
    own.pop("measured", None)  # may be empty: nothing was run yet
    without = leaves(composed(*choices))
    for key, value in leaves(own).items():
        if key.startswith("published."):
            continue
        assert key in without, f"{key} is no key of the config"
        assert without[key] != value, f"{key}: {value} is the default already"


def test_presets_repeat_little() -> None:
    total = repeated = 0
    for paper in {name.split("/")[0] for name in presets()}:
        siblings = {name: [line.strip() for line in lines(name)] for name in presets() if name.startswith(f"{paper}/")}
        counts = Counter(line for own in siblings.values() for line in set(own))
        for own in siblings.values():
            total += len(own)
            repeated += sum(counts[line] > max(1, len(siblings) / 2) for line in own)
    assert repeated <= 0.15 * total


# The model of a preset with its structure but without its size.
SMALL = {
    "glow": ("model.depth=1", "model.width=8", "model.initial_images=2"),
    "realnvp": ("model.residual_blocks=1", "model.hidden_channels=4"),
}


def write_small_data(data: dict[str, Any], root: Path) -> None:
    """Prepares a data set of a few random images in place of the real one."""
    data_class: Any = find_target(data["_target_"], "data")
    image_set = data_class.describe(**data)
    files = root / "files"
    files.mkdir(parents=True)
    generator = np.random.default_rng(0)
    random = {
        "images": lambda count: generator.integers(0, 256, (count, *image_set.shape), dtype=np.uint8),
        "labels": lambda count: generator.integers(0, image_set.num_classes, count),
        "attributes": lambda count: generator.integers(0, 2, (count, 40)).astype(bool),
    }
    for part, count in (("train", 8), ("test", 4)):
        for column in data_class.columns(part).values():
            np.save(files / f"{column}.npy", random[column.removeprefix(f"{part}_")](count))
    import_folder(image_set.name, files, str(root))


@pytest.mark.parametrize("name", presets())
def test_every_preset_takes_two_steps_on_small_data(name: str, run_job: RunJob, tmp_path: Path) -> None:
    config = composed(f"experiment={name}")
    write_small_data(config["data"], tmp_path / "data")
    paper = config["model"]["_target_"].split(".")[2]
    small_data = ("data.batch_size=2", "data.eval_batch_size=2", "data.validation_images=0", "data.download=false")
    run = ("trainer=smoke", "model.samples=1", "model.temperatures=[0.7]", f"data_root={tmp_path / 'data'}")
    folder = run_job(f"experiment={name}", *run, *small_data, *SMALL[paper])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["steps"] == 2
    assert np.isfinite(summary["metrics"]["test/bits_per_dim"])
    assert (folder / "figures" / "samples.png").exists()
