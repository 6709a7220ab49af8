"""conf/data: every set can be chosen, and what it says fits its class."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from paperzoo.config import find_target, plain
from paperzoo.data.images.module import ImageData
from paperzoo.runner.check import target_problems
from tests.conftest import ROOT

CONFIGS = sorted(path.stem for path in (ROOT / "conf/data").glob("*.yaml"))


def composed(name: str, data_root: Path, *overrides: str) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf")):
        config = compose(f"data/{name}", [f"+data_root={data_root}", "+seed=3", *overrides])
    return plain(config)["data"]


def image_configs() -> list[str]:
    wanted = [ROOT / f"conf/data/{name}.yaml" for name in CONFIGS]
    return [path.stem for path in wanted if "base/images" in path.read_text()]


@pytest.mark.parametrize("name", image_configs())
def test_the_config_fits_its_class(name: str, data_root: Path) -> None:
    node = composed(name, data_root)
    problems = target_problems(node, "data")
    needs = {"image_folder": ["data.path"], "celeba_hq": ["data: celeba_hq cannot be downloaded"]}.get(name, [])
    assert [problem for problem, start in zip(problems, needs, strict=True) if not problem.startswith(start)] == []
    data = find_target(node["_target_"], "data")
    assert isinstance(data, type)
    assert issubclass(data, ImageData)
    assert node["seed"] == 3


def test_every_image_set_of_the_paper_on_glow_can_be_chosen() -> None:
    assert {"cifar10", "imagenet32", "imagenet64", "lsun", "celeba", "celeba_hq"} <= set(image_configs())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.augment=[{_target_:paperzoo.data.images.augmentation.RandomShift,fraction:1.5}]",
            "data.augment[0].fraction=1.5",
        ),
        ("data.batch_size=0", "data.batch_size=0"),
        ("data.workers=-1", "data.workers=-1"),
        ("data.validation_images=-1", "data.validation_images=-1"),
        ("data.device_resident=sometimes", "data.device_resident=sometimes"),
        ("data.image_shape=[8,8]", "data.image_shape=[8, 8]"),
        ("data.augment=flip", "data.augment=flip"),
        ("data.facts.num_classes=9", "data.facts.num_classes=9"),
        ("+data.facts.num_words=9", "data.facts.num_words"),
    ],
)
def test_values_out_of_range_are_problems(data_root: Path, override: str, message: str) -> None:
    problems = target_problems(composed("digits", data_root, override), "data")
    assert len(problems) == 1
    assert problems[0].startswith(message)
