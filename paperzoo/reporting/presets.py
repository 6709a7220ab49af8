"""The presets as they compose: what each publishes and measured, its paper, its data. Needs the resolvers of `cli`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from paperzoo.choices import CONFIG_FOLDER
from paperzoo.errors import UserError
from paperzoo.reporting.results import Preset, flat, problems


@dataclass(frozen=True)
class Composed:
    """A preset with what it is made of."""

    results: Preset
    paper: dict[str, Any]
    data: dict[str, Any]
    data_option: str


def composed(names: Iterable[str]) -> Iterator[Composed]:
    """The presets of these names, one after another.

    Raises:
        UserError: the results of one are not as they should be.
    """
    with initialize_config_dir(str(CONFIG_FOLDER)):
        for name in names:
            config = compose("train", overrides=[f"experiment={name}"], return_hydra_config=True)
            nodes = (config[key] for key in ("paper", "published", "measured", "data"))
            paper, published, measured, data = (OmegaConf.to_container(node, resolve=True) for node in nodes)
            if wrong := problems(published, measured):
                raise UserError(*(f"experiment={name}: {problem}" for problem in wrong))
            results = Preset(name, flat(published), measured)  # type: ignore[arg-type]
            yield Composed(results, paper, data, config.hydra.runtime.choices.data)  # type: ignore[arg-type]


def head(config: str) -> str:
    """What the head of a config says, without its commands: `experiment/glow/cifar10`, `data/mnist`."""
    lines = (CONFIG_FOLDER / f"{config}.yaml").read_text(encoding="utf-8").splitlines()
    comment = [line.lstrip("# ") for line in lines[: next(i for i, line in enumerate(lines) if line[:1] != "#")]]
    return " ".join(line for line in comment if not line.startswith(("@package", "python train.py")))
