"""What files and folders may say of Hydra itself: little, as most of it starts programs or writes files.

What a person types is theirs. A config file (a colleague's preset, `--config-dir`) and the folder of a run that is
resumed may choose among the installed launchers and sweepers, and set numbers and plain words of theirs. Nothing else:
a launcher's `setup` runs commands, `hydra.job.env_set` changes the environment of programs, `hydra.job_logging` and
`hydra.run.dir` write anywhere.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import OmegaConf

from paperzoo.allowed import values

ROOTS = ("output_root", "data_root")
"""Where everything is written: a file may not choose it."""

_INSTALLED = ("hydra/launcher", "hydra/sweeper", "hydra/sweeper/sampler")
_WORDS = {
    "hydra.launcher": ("partition", "qos", "account", "constraint", "gres", "name"),
    "hydra.sweeper": ("study_name", "direction"),
}
_WORD = re.compile(r"[\w.:,+/-]*")


def problems_of(key: str, value: Any) -> list[str]:
    """The keys, with their values, that only a person may set.

    Args:
        key: `hydra.sweeper`, say, or one below it.
        value: what it is set to, not resolved.
    """
    leaves = [(at, leaf) for at, leaf in values(value, key) if not isinstance(leaf, dict | list) or not leaf]
    return [f"{at}={leaf}" for at, leaf in leaves if not _may_be_set(at, leaf)]


def _may_be_set(key: str, leaf: Any) -> bool:
    node = ".".join(key.split(".")[:2])
    if node == "hydra.help":
        return True
    if key == "hydra.verbose":
        return isinstance(leaf, bool)
    if key.startswith("hydra.sweeper.params."):
        return not _chooses_more(key.removeprefix("hydra.sweeper.params."))
    if node not in _WORDS:
        return False
    is_word = isinstance(leaf, str) and re.sub(r"\[\d+\]$", "", key.removeprefix(f"{node}.")) in _WORDS[node]
    return leaf is None or isinstance(leaf, bool | int | float) or (is_word and bool(_WORD.fullmatch(leaf)))


def _chooses_more(key: str) -> bool:
    """Whether a key that a sweep goes through is Hydra's, or one of the places where a run writes."""
    return bool(re.match(rf"(hydra|{'|'.join(ROOTS)})\b", key.lstrip("+~")))


def file_problems(name: str, config: Any) -> list[str]:
    """What a config file sets and may not.

    Args:
        name: of the file, in messages.
        config: its content, in the place of the config that it is for; not resolved.
    """
    found = [f"{key}={config[key]}" for key in ROOTS if key in config]
    found += problems_of("hydra", config["hydra"]) if "hydra" in config else []
    return [
        f"{name}: sets {problem[:200]}, which no file may (docs/security.md); leave it out there, and type it if you "
        "want it"
        for problem in found
    ]


def folder_problems(arguments: Sequence[Any], typed: Sequence[str]) -> Iterator[str]:
    """Which of the arguments that a run's folder remembers may not be taken from there.

    Args:
        arguments: from the folder.
        typed: what was typed now; who types an argument of the folder again wants it.
    """
    for argument in arguments:
        if not isinstance(argument, str):
            yield f"a {type(argument).__name__} is no argument"
        elif argument.startswith("--config-dir=") or argument in typed:
            continue
        elif argument.startswith("-"):
            yield f"{argument[:200]} is an option of Hydra"
        else:
            yield from (
                f"{problem[:200]} can start programs or write files" for problem in _problems_of_argument(argument)
            )


def _problems_of_argument(argument: str) -> list[str]:
    try:
        override = OverridesParser.create().parse_override(argument)
        key, value = override.key_or_group.lstrip("/"), override.value()
    except HydraException:
        return [argument]
    if "/" in key and key.startswith("hydra"):
        return [] if key in _INSTALLED and re.fullmatch(r"\w+", str(value)) else [argument]
    if not re.match(r"hydra\b", key) and not (override.package or "").startswith("hydra"):
        return []
    return problems_of(key, OmegaConf.to_container(OmegaConf.create({"value": value}))["value"])  # type: ignore[call-overload, index]


def guard() -> None:
    """Has every config file looked at when Hydra composes; Hydra itself has no place for that.

    The primary config, `conf/train.yaml`, and what packages bring stay as they are.
    """
    load = ConfigLoaderImpl._load_single_config

    def load_and_check(self: ConfigLoaderImpl, default: Any, repo: Any) -> Any:
        loaded = load(self, default, repo)
        is_own = default.primary and loaded.provider == "main"
        if loaded.path.startswith("file://") and not is_own and OmegaConf.is_dict(loaded.config):
            content = OmegaConf.to_container(loaded.config, resolve=False)
            if problems := file_problems(f"{default.config_path}.yaml", content):
                raise ConfigCompositionException("\n".join(problems))
        return loaded

    if not getattr(load, "is_guarded", False):
        load_and_check.is_guarded = True  # type: ignore[attr-defined]
        ConfigLoaderImpl._load_single_config = load_and_check  # type: ignore[method-assign]
