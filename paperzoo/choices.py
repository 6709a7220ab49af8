"""What can be chosen: the options of the config groups, and the presets. Imports nothing heavy."""

from pathlib import Path

_packaged = Path(__file__).parent / "conf"
CONFIG_FOLDER = _packaged if _packaged.is_dir() else Path(__file__).parent.parent / "conf"
MODES = ("train", "test", "predict", "estimate", "prepare")
WEIGHTS = Path(__file__).parent / "pretrained"
"""Trained weights that come with the code: `<paper>/<preset>.ckpt`."""


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


def _names(folder: Path, suffix: str) -> list[str]:
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(f"*{suffix}"))
