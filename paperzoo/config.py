"""Configs: instantiated in one place, and checked whole before anything is built.

Types and ranges come from the annotations of the constructors (`levels: Annotated[int, Ge(1)]`), so a class says once
what it takes; what annotations cannot say, it says in its classmethod `check`.
"""

import difflib
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import hydra.utils
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

# What a config may run. A config that somebody hands you cannot name anything else.
EXECUTION_WHITELIST = (
    "paperzoo.*",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.*",
    "pytorch_lightning.loggers.*",
    "pytorch_lightning.plugins.*",
    "pytorch_lightning.profilers.*",
    "pytorch_lightning.strategies.*",
    "torch.nn.*",
    "torch.optim.*",
    "torchmetrics.*",
    "torchvision.models.*",
    "torchvision.transforms.*",
)


def instantiate(node: dict[str, Any], **arguments: Any) -> Any:
    """Builds what a resolved `node` describes with `_target_`, nested nodes first.

    Lists arrive as tuples where the annotation says tuple; `arguments` are those that the program adds.
    """
    nested = {
        name: instantiate(value) for name, value in node.items() if isinstance(value, dict) and "_target_" in value
    }
    node = {name: value for name, value in node.items() if name not in nested}
    annotations = _annotations(hydra.utils.get_object(node["_target_"]))
    tuples = {
        name: _adapter(annotations[name]).validate_json(json.dumps(value))
        for name, value in node.items()
        if isinstance(value, list) and typing.get_origin(annotations.get(name)) is tuple
    }
    whitelist = list(EXECUTION_WHITELIST)
    return hydra.utils.instantiate(
        node, _convert_="all", _execution_whitelist_=whitelist, **nested, **tuples, **arguments
    )


def plain(config: Any) -> Any:
    """The config resolved to plain dicts, lists and values."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config


def missing_or_unresolvable(config: DictConfig) -> list[str]:
    """Problems that keep the config from being resolved: `???` values and interpolations to nowhere."""
    try:
        if missing := sorted(OmegaConf.missing_keys(config)):
            return [f"{key} has no value; give one: {key}=..." for key in missing]
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key, message = error.full_key or "config", str(error).splitlines()[0]
        if absent := re.search(r"Interpolation key '(data\.\w+)' not found", message):
            return [
                f"{key}: needs {absent[1]}, which the chosen data do not have; choose other data, or another model or "
                "model/network"
            ]
        return [f"{key}: {message}"]
    return []


def find_target(name: Any, key: str) -> Callable[..., Any] | str:
    """The class or function called `name`, or the sentence that says why there is none."""
    if not isinstance(name, str):
        return f"{key}._target_={name!r}: should be the dotted name of a class"
    if not any(
        name == allowed or (allowed.endswith(".*") and name.startswith(allowed[:-1])) for allowed in EXECUTION_WHITELIST
    ):
        return f"{key}._target_={name}: a config may only name what is in {', '.join(EXECUTION_WHITELIST)}"
    try:
        found = hydra.utils.get_object(name)
    except Exception as error:
        return f"{key}._target_={name}: cannot be imported ({str(error).splitlines()[-1].strip()})"
    return found if callable(found) else f"{key}._target_={name}: is not a class or function"


def target_problems(node: dict[str, Any], key: str, supplied: tuple[str, ...] = ()) -> list[str]:
    """What is wrong with a resolved node that has a `_target_`: arguments, types, ranges, nested nodes.

    Args:
        node: the resolved node.
        key: where it stands in the config, for the messages.
        supplied: arguments that the program adds itself when it builds the node.
    """
    target = find_target(node["_target_"], key)
    if isinstance(target, str):
        return [target]
    arguments = {k: v for k, v in node.items() if not re.fullmatch(r"_[a-z]+_", k)}
    parameters = inspect.signature(target).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    annotations = _annotations(target)
    problems = []
    for name, value in arguments.items():
        if name not in parameters and not takes_any:
            close = difflib.get_close_matches(name, parameters, 1)
            hint = f"did you mean {key}.{close[0]}?" if close else f"it takes {', '.join(parameters)}"
            problems.append(f"{key}.{name}: {_name(target)} has no argument '{name}'; {hint}")
        elif nested := list(_nested_targets(value, f"{key}.{name}")):
            problems += [problem for where, child in nested for problem in target_problems(child, where)]
        elif name in annotations:
            problems += [f"{key}.{name}={_shown(value)}: {what}" for what in _type_problems(annotations[name], value)]
    if not node.get("_partial_"):
        needed = [
            p.name
            for p in parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]
        missing = [name for name in needed if name not in arguments and name not in supplied]
        problems += [f"{key}.{name}: missing; {_name(target)} needs it" for name in missing]
    if not problems and hasattr(target, "check"):
        problems += list(target.check(**arguments))
    return problems


def _nested_targets(value: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        if "_target_" in value:
            yield key, value
        else:
            for name, child in value.items():
                yield from _nested_targets(child, f"{key}.{name}")
    elif isinstance(value, list):
        for i, child in enumerate(value):
            yield from _nested_targets(child, f"{key}[{i}]")


@cache
def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except (NameError, TypeError):  # names that exist for type checkers only
        return {}


@cache
def _adapter(annotation: Any) -> TypeAdapter:
    return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True, strict=True))


def _type_problems(annotation: Any, value: Any) -> list[str]:
    try:
        adapter = _adapter(annotation)
    except (PydanticUserError, TypeError):
        return []  # an annotation that only a type checker understands
    try:
        adapter.validate_json(json.dumps(value))  # JSON, so that a YAML list counts as a tuple
    except ValidationError as error:
        messages = (e["msg"].replace("Input should be", "should be") for e in error.errors())
        found = {message for message in messages if "instance" not in message}  # a config holds values, not instances
        return [" or ".join(sorted(found)) or "has the wrong type"]
    return []


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _name(target: Callable[..., Any]) -> str:
    return getattr(target, "__name__", str(target))
