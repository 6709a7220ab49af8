"""The small version of each model and data set, for runs of seconds: a file for each class, found by its name.

`<Class>.yaml` says how a node of that class, or of a child of it, is made small:

    overrides: of the node's own keys
    elsewhere: of other keys of the config, whole
    shows: {metric: what a run must measure, figure: what it must draw}   (of models)

`<Class>.py` has `prepare(node, root)`, which writes a few random items in place of a data set's official ones.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from paperzoo.config import find_target

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Small:
    """How a config is made small.

    Attributes:
        overrides: as they are typed.
        preparations: what has to be written before.
        metric: what a run must measure.
        figure: what it must draw.
    """

    overrides: list[str]
    preparations: list[Callable[[Path], None]]
    metric: str
    figure: str


def small_version(config: dict[str, Any]) -> Small:
    """The small version of a composed config.

    Raises:
        LookupError: its model or its data set has none.
    """
    overrides: list[str] = []
    preparations: list[Callable[[Path], None]] = []
    shows: dict[str, str] = {}
    for section in ("model", "data"):
        for key, node in nodes(config[section], section):
            name = small_name(node["_target_"])
            if name is None and key == section:
                raise LookupError(f"{node['_target_']}: has no small version; add tests/small/<its class>.yaml")
            content = _read(name)
            overrides += [f"{key}.{name}={_typed(value)}" for name, value in leaves(content.get("overrides", {}))]
            overrides += [f"{name}={_typed(value)}" for name, value in content.get("elsewhere", {}).items()]
            shows |= content.get("shows", {})
            if name and (HERE / f"{name}.py").exists():
                module = importlib.import_module(f"tests.small.{name}")
                preparations.append(lambda root, module=module, node=node: module.prepare(node, root))
    return Small(overrides, preparations, **shows)


def nodes(value: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with a `_target_`, the outer ones first."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield key, value
        for name, child in value.items():
            yield from nodes(child, f"{key}.{name}")


def small_name(target: str) -> str | None:
    """The class, or the nearest one above it, that has a small version."""
    found: Any = find_target(target, "")
    classes = getattr(found, "__mro__", ())
    return next((c.__name__ for c in classes if any(HERE.glob(f"{c.__name__}.*"))), None)


def leaves(value: dict[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    """The values by their whole keys."""
    for name, child in value.items():
        whole = f"{key}.{name}" if key else name
        if isinstance(child, dict):
            yield from leaves(child, whole)
        else:
            yield whole, child


def _read(name: str | None) -> dict[str, Any]:
    path = HERE / f"{name}.yaml"
    return yaml.safe_load(path.read_text()) or {} if name and path.exists() else {}


def _typed(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
