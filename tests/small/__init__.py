"""What tests of the presets need beside `trainer=smoke`: a file for each class, found by its name, or a child's.

`<Class>.yaml` says of the nodes of that class:

    shows: {metric: what a run must measure, figure: what it must draw}   (of models)
    overrides: of the node's own keys, for so few items   (of data)

`<Class>.py` has `prepare(node, root)`, which writes a few random items in place of a data set's official ones; data
that are generated, or come with the packages, need none.
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
    """How a smoke run of a config gets along without official files, and what comes of it.

    Attributes:
        overrides: as they are typed.
        preparations: each writes random items into a data root, in place of official ones.
        metric: what a run must measure.
        figure: what it must draw.
    """

    overrides: list[str]
    preparations: list[Callable[[Path], None]]
    metric: str
    figure: str


def small_version(config: dict[str, Any]) -> Small:
    """The small version of a config, settled with `trainer=smoke`.

    Raises:
        LookupError: nobody says what a run of its model shows.
    """
    overrides: list[str] = []
    preparations: list[Callable[[Path], None]] = []
    shows: dict[str, str] = {}
    for section in ("model", "data"):
        for key, node in nodes(config[section], section):
            name = small_name(node["_target_"])
            content = _read(name)
            overrides += [f"{key}.{name}={_typed(value)}" for name, value in content.get("overrides", {}).items()]
            shows |= content.get("shows", {})
            if name and (HERE / f"{name}.py").exists():
                module = importlib.import_module(f"tests.small.{name}")
                preparations.append(lambda root, module=module, node=node: module.prepare(node, root))
    if not shows:
        raise LookupError(f"{config['model']['_target_']}: add `shows` in tests/small/<its class>.yaml")
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


def _read(name: str | None) -> dict[str, Any]:
    path = HERE / f"{name}.yaml"
    return yaml.safe_load(path.read_text()) or {} if name and path.exists() else {}


def _typed(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
