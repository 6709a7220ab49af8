"""Every preset: short, honest, composed, without a key that does nothing, and able to run."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from paperzoo.cli import CONFIG_FOLDER, presets, register_resolvers
from paperzoo.config import target_problems
from paperzoo.reporting import results

FOLDER = CONFIG_FOLDER / "experiment"


def text(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text()


def composed(*overrides: str, config_folder: Path = CONFIG_FOLDER) -> dict[str, Any]:
    register_resolvers()
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
