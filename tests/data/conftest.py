"""DataModules for tests."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import UnsupportedValueType

from paperzoo.cli import CONFIG_FOLDER
from paperzoo.config import instantiate
from paperzoo.datamodule import PaperData
from paperzoo.runner.check import target_problems
from tests.data.official_files import trusted

Data = TypeVar("Data", bound=PaperData)
TrustFiles = Callable[[Any, Path], None]

# What tests want of every data set that has such an argument.
SMALL = {"batch_size": 4, "eval_batch_size": 8, "workers": 0, "download": False, "device_resident": False}


class Make:
    """Makes DataModules as `conf/data` describes them, but small, in this process, and without the network.

    `make(Lsun, category="tower")`, `make(ImageDomains, "data/source=usps", seed=1)`: constructor arguments, which may
    be objects, and what could be typed on the command line. What is not said is the config's, or `SMALL`'s.

    Args:
        data_root: the folder for data sets.
    """

    def __init__(self, data_root: Path) -> None:
        self.data_root = data_root

    def __call__(self, data: type[Data], *overrides: str, **changes: Any) -> Data:
        """The DataModule, neither prepared nor set up."""
        live = {name: value for name, value in changes.items() if not _is_plain(value)}
        return instantiate(self.node(data, *overrides, **changes), "data", **live)

    def node(self, data: type[PaperData], *overrides: str, **changes: Any) -> dict[str, Any]:
        """The resolved node of the config, without arguments that are objects."""
        config = _composed(f"{data.__module__}.{data.__qualname__}", *overrides)
        small = {name: value for name, value in SMALL.items() if name in config.data}
        plain = {name: _listed(value) for name, value in changes.items() if _is_plain(value)}
        merged = OmegaConf.merge(config, {"data_root": str(self.data_root), "data": {**small, **plain}})
        resolved: Any = OmegaConf.to_container(merged, resolve=True)
        return resolved["data"]

    def problems(self, data: type[PaperData], *overrides: str, **changes: Any) -> list[str]:
        """What is found to be wrong with it before it is built."""
        return target_problems(self.node(data, *overrides, **changes), "data")


@cache
def _composed(target: str, *overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_FOLDER)):
        return compose(f"data/{_config_name(target)}", ["+data_root=???", "+seed=0", *overrides])


@cache
def _config_name(target: str) -> str:
    paths = (CONFIG_FOLDER / "data").glob("*.yaml")
    names = [path.stem for path in paths if f"\n_target_: {target}\n" in path.read_text(encoding="utf-8")]
    assert names, f"no file of conf/data has {target}"
    return min(names, key=lambda name: (len(name), name))


def _is_plain(value: Any) -> bool:
    try:
        OmegaConf.create({"value": value})
    except UnsupportedValueType:
        return False
    return True


def _listed(value: Any) -> Any:
    """Tuples as lists, as a config has them."""
    if isinstance(value, Mapping):
        return {name: _listed(child) for name, child in value.items()}
    return [_listed(child) for child in value] if isinstance(value, list | tuple) else value


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def make(data_root: Path) -> Make:
    return Make(data_root)


@pytest.fixture
def trust_files(monkeypatch: pytest.MonkeyPatch) -> TrustFiles:
    """Makes the files in a folder the official ones: their checksums replace those of the class."""

    def trust(data: Any, folder: Path) -> None:
        monkeypatch.setattr(data, "file_set", trusted(data.file_set, folder))

    return trust
