"""What can be chosen: the options of the config groups, and the presets. Imports nothing heavy."""

from pathlib import Path

_packaged = Path(__file__).parent / "conf"
CONFIG_FOLDER = _packaged if _packaged.is_dir() else Path(__file__).parent.parent / "conf"
MODES = ("train", "test", "predict", "estimate", "prepare")
SMOKE = "smoke"
"""The trainer that makes anything small, and the key of what a node's values are then; no constructor takes it."""
QUIET = ("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false")
"""What is typed so that a run draws nothing."""
WEIGHTS = Path(__file__).parent / "pretrained"
"""Trained weights that come with the code: `<paper>/<preset>.ckpt`, named `pretrained/<paper>/<preset>`."""


def groups() -> list[str]:
    """The config groups: "data", "data/source", ...; `experiment` is one, its papers are not."""
    folders = {path.parent.relative_to(CONFIG_FOLDER).as_posix() for path in CONFIG_FOLDER.rglob("*.yaml")}
    own = {folder for folder in folders if folder != "." and not folder.startswith(("experiment/", "hydra"))}
    return sorted({*own, "experiment"})


def options(group: str) -> list[str]:
    """The names of the options of a config group; none of what is no group."""
    return sorted(path.stem for path in (CONFIG_FOLDER / group).glob("*.yaml")) if group else []


def presets() -> list[str]:
    """The names of all presets: `<paper>/<name>`."""
    return _names(CONFIG_FOLDER / "experiment", ".yaml")


def with_weights() -> list[str]:
    """The names of the presets whose trained weights come with the code."""
    return _names(WEIGHTS, ".ckpt")


def weights(name: Path) -> Path | None:
    """The file that `checkpoint=pretrained/<paper>/<preset>` means; None if the name is none of those."""
    folder, _, preset = name.as_posix().removesuffix(".ckpt").partition("/")
    return WEIGHTS / f"{preset}.ckpt" if folder == WEIGHTS.name and preset in with_weights() else None


def _names(folder: Path, suffix: str) -> list[str]:
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(f"*{suffix}"))
