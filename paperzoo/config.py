"""Configs: resolved, and instantiated in one place. `paperzoo.runner.check` finds what is wrong with them before."""

import inspect
import json
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter

from paperzoo.allowed import refused_keys, refused_name, refused_object, values
from paperzoo.choices import SMOKE
from paperzoo.errors import UserError

T = TypeVar("T")

FACTS = "facts"  # what a node of the data states for the models, and no constructor takes


def instantiate(node: dict[str, Any], key: str = "", **arguments: Any) -> Any:
    """Builds what a resolved `node` describes with `_target_`, nested nodes first.

    Lists arrive as tuples where the annotation says tuple; `facts` and `smoke`, which are not for it, do not arrive.

    Args:
        node: the resolved node.
        key: where it stands in the config, for the messages.
        arguments: those that the program adds.

    Raises:
        UserError: the node names what a config may not; a constructor refuses its arguments. `key` stands in front.
    """
    targets = _targets(node, key)
    node = {name: value for name, value in node.items() if name != SMOKE}
    built = {name: _built(value, f"{key}.{name}" if key else name) for name, value in node.items()}
    nested = {name: value for name, value in built.items() if value is not node[name]}
    node = {name: value for name, value in node.items() if name not in nested and name != FACTS}
    known, _ = signature(hydra.utils.get_object(node["_target_"]))
    tuples = {
        name: adapter(known[name].annotation).validate_json(json.dumps(value))
        for name, value in node.items()
        if isinstance(value, list) and name in known and typing.get_origin(known[name].annotation) is tuple
    }
    try:
        return hydra.utils.instantiate(
            node, _convert_="all", _execution_whitelist_=targets, **nested, **tuples, **arguments
        )
    except InstantiationException as error:
        if not isinstance(error.__cause__, UserError):
            raise
        raise UserError(*(placed(problem, key, node) for problem in error.__cause__.problems)) from error.__cause__


def _targets(node: Mapping[str, Any], key: str) -> list[str]:
    """The names of all classes in a node, as they stand there and as they are defined.

    Raises:
        UserError: a config may not name one of them.
    """
    names: set[str] = set()
    for where, value in values(node, key):
        if not isinstance(value, Mapping) or "_target_" not in value:
            continue
        found = find_target(value["_target_"], where)
        if isinstance(found, str):
            raise UserError(found)
        if problems := special_key_problems(value, where):
            raise UserError(*problems)
        names |= {value["_target_"], f"{found.__module__}.{found.__qualname__}"}
    return sorted(names)


def _built(value: Any, key: str) -> Any:
    """What `instantiate` makes of a value of a node: the value itself if there is nothing to build in it."""
    if isinstance(value, dict) and "_target_" in value:
        return instantiate(value, key)
    if isinstance(value, list):
        built = [_built(child, f"{key}[{number}]") for number, child in enumerate(value)]
        return built if any(new is not old for new, old in zip(built, value, strict=True)) else value
    return value


def placed(problem: str, key: str, arguments: Iterable[str]) -> str:
    """A problem of a node with its place in the config in front.

    Args:
        problem: "levels=3: ..." if it is about an argument, else a sentence.
        key: where the node stands.
        arguments: of the node.
    """
    about = re.match(r"\w+(?=[=.:\[])", problem)
    if not key:
        return problem
    return f"{key}.{problem}" if about and about[0] in {*arguments, FACTS} else f"{key}: {problem}"


def plain(config: Any) -> Any:
    """The config resolved to plain dicts, lists and values."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config


def missing_or_unresolvable(config: DictConfig) -> list[str]:
    """Problems that keep the config from being resolved: `???` values and interpolations to nowhere."""
    try:
        if missing := missing_keys(config):
            return [f"{key} has no value; give one: {key}=..." for key in missing]
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key, message = error.full_key or "config", str(error).splitlines()[0]
        if absent := re.search(r"Interpolation key '(data\.[\w.]+)' not found", message):
            return [
                f"{key}: needs {absent[1]}, which the chosen data do not have; choose other data, or another model or "
                "model/network"
            ]
        return [f"{key}: {message.removeprefix('UserError raised while resolving interpolation: ')}"]
    return []


def missing_keys(config: DictConfig) -> list[str]:
    """The keys that are `???`; not those that follow another one. (`OmegaConf.missing_keys` resolves on its way.)"""
    found: list[str] = []
    pending: list[tuple[str, Any]] = [("", OmegaConf.to_container(config))]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            pending += [(f"{key}.{name}" if key else str(name), child) for name, child in value.items()]
        elif isinstance(value, list):
            pending += [(f"{key}[{number}]", child) for number, child in enumerate(value)]
        elif value == "???":
            found.append(key)
    return sorted(found)


def find_target(name: Any, key: str) -> type | str:
    """The class called `name`, or the sentence that says why a config may not name it, or why there is none."""
    if not isinstance(name, str):
        return f"{key}._target_={name!r}: should be the dotted name of a class"
    if reason := refused_name(name):
        return f"{key}._target_={name}: {reason}"
    try:
        found = hydra.utils.get_object(name)
    except Exception as error:
        return f"{key}._target_={name}: cannot be imported ({str(error).splitlines()[-1].strip()})"
    reason = refused_object(name, found)
    return f"{key}._target_={name}: {reason}" if reason else found


def special_key_problems(node: Mapping[str, Any], key: str) -> list[str]:
    """What is wrong with the names of the keys of a node."""
    return [f"{key}.{name}: arguments are given by their names; leave it out" for name in refused_keys(node)]


class Argument(NamedTuple):
    """An argument of a constructor or function."""

    annotation: Any
    """`inspect.Parameter.empty` if it cannot be known."""
    is_needed: bool


@cache
def signature(target: Callable[..., Any]) -> tuple[dict[str, Argument], bool]:
    """The arguments that a class or function takes, those of a `TypedDict` too, and whether it takes any others."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except (NameError, TypeError):  # names that exist for type checkers only
        hints = {}
    arguments: dict[str, Argument] = {}
    takes_any = False
    for name, parameter in inspect.signature(target).parameters.items():
        hint = hints.get(name, parameter.empty)
        if parameter.kind is parameter.VAR_KEYWORD:
            if typing.get_origin(hint) is not typing.Unpack:
                takes_any = True
                continue
            unpacked = typing.get_args(hint)[0]
            fields = typing.get_type_hints(unpacked, include_extras=True)
            arguments |= {name: Argument(fields[name], name in unpacked.__required_keys__) for name in fields}
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            arguments[name] = Argument(hint, parameter.default is parameter.empty)
    return arguments, takes_any


@cache
def adapter(annotation: Any) -> TypeAdapter:
    """Checks values against an annotation."""
    return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True, strict=True))


def class_of(node: Mapping[str, Any], base: type[T]) -> type[T] | None:
    """The class that a node names, if it is one of `base`."""
    target = find_target(node.get("_target_"), "")
    return target if isinstance(target, type) and issubclass(target, base) else None
