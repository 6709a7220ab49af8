"""`trainer=smoke`: does it run here? What stands as `smoke` in a node of the config replaces the node's own values.

A model, a network, a data set says beside its numbers what they are in such a run:

    width: 512
    smoke: {width: 8}

Where `smoke` stands at the top of the config (conf/trainer/smoke.yaml), all of these win over the presets. They lose
against what was typed. No run's settings have them: a smoke run is a run with small numbers.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from paperzoo.choices import SMOKE
from paperzoo.errors import UserError


def settle_smoke(config: DictConfig, typed: Collection[str] = ()) -> None:
    """Puts the `smoke` values in their places if this is a smoke run, and takes all `smoke` nodes out of the config.

    Args:
        config: the composed config; it is changed.
        typed: the keys on the command line, those of config groups not among them.

    Raises:
        UserError: a `smoke` node names a key that its node does not have.
    """
    nodes = list(_smoke_nodes(OmegaConf.to_container(config), ""))
    if SMOKE in config:
        for key, values in nodes:
            for leaf, value in _leaves(values, key):
                if not any(_overlap(leaf, given) for given in typed):
                    _set(config, leaf, value, f"{key}.{SMOKE}".removeprefix("."))
    with open_dict(config):
        for key, _ in nodes:
            del (OmegaConf.select(config, key) if key else config)[SMOKE]


def _smoke_nodes(node: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(node, Mapping):
        return
    for name, child in node.items():
        if name == SMOKE and isinstance(child, Mapping):
            yield key, child
        else:
            yield from _smoke_nodes(child, f"{key}.{name}" if key else str(name))


def _leaves(values: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        whole = f"{key}.{name}" if key else str(name)
        if isinstance(value, Mapping) and "_target_" not in value:
            yield from _leaves(value, whole)
        else:
            yield whole, value


def _overlap(key: str, other: str) -> bool:
    return key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.")


def _set(config: DictConfig, key: str, value: Any, where: str) -> None:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if not isinstance(node, DictConfig) or name not in node:
        raise UserError(f"{where}: the config has no key {key}")
    OmegaConf.update(config, key, value, merge=False)
