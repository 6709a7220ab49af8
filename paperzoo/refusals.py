"""What Hydra refuses, in the words of this project: the key, its value, what is allowed, and what was meant."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from paperzoo.allowed import HYDRA_CALLBACKS

Refused = HydraException | OmegaConfBaseException | ValueError | OSError  # Hydra's own command line raises these
Options = Callable[[str], Sequence[str]]


def refusal(error: Refused, arguments: Sequence[str], options: Options) -> str:
    """The sentence for what Hydra or OmegaConf raised when it composed what was typed.

    Args:
        error: what was raised.
        arguments: the command line.
        options: the names of the options of a config group.
    """
    if own := re.match(r"UserError raised while resolving interpolation: (.*)", str(error)):
        return own[1]  # what a resolver of ours said
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        return _no_option(str(error.missing_cfg_file), [option for option in error.options if option], arguments)
    if absent := re.search(r"Could not load '(.+)/([^/]+)'", str(error)):  # one of a list of options
        return _no_option(f"{absent[1]}/{absent[2]}", options(absent[1]), arguments)
    if "Config group override must be" in str(error):
        return _no_name(arguments, options)
    if "Only one of --run" in str(error):
        return "-m and --cfg do not go together: --cfg shows the config of one run, -m starts many; leave one out"
    if "--resolve flag" in str(error):
        return "--resolve: goes with --cfg: python train.py --cfg job --resolve"
    if refused := re.search(r"Target '([^']+)'.* not in the Hydra execution whitelist", str(error)):
        return f"{refused[1]}: may not be named there; callbacks of Hydra are {', '.join(HYDRA_CALLBACKS)}"
    return _no_key(error, arguments) or " ".join(str(error).split("Config search path:")[0].split())


def _unreadable(error: OverrideParseException) -> str:
    override = error.override
    key, is_given, value = override.partition("=")
    if not is_given:
        return f"{override}: should be key=value; to take a key away: '~key'"
    return f"{override}: cannot be read; put the value into quotes twice: '{key}=\"{value}\"'"


def _no_option(missing: str, options: Sequence[str], arguments: Sequence[str]) -> str:
    group, _, name = missing.rpartition("/")
    typed = next((a for a in arguments if a.lstrip("+").startswith(f"{group}=")), f"{group}={name}").lstrip("+")
    meant = difflib.get_close_matches(name, options, 2)
    hint = f"did you mean {' or '.join(meant)}? " if meant else ""
    plugin = f"; further ones come with plugins: pip install -e '.[{_EXTRAS[group]}]'" if group in _EXTRAS else ""
    return f"{typed}: there is no such option; {hint}{group} is one of {', '.join(sorted(options))}{plugin}"


def _no_name(arguments: Sequence[str], options: Options) -> str:
    for argument in arguments:
        key, is_given, value = argument.lstrip("+").partition("=")
        if is_given and (known := options(key)) and (value in ("null", "true", "false") or value[:1] in "{0123456789"):
            leave_out = f"; to have none: '~{key}'" if value == "null" else ""
            return f"{argument}: should be one of {', '.join(known)}, or a list of them{leave_out}"
    return "a config group takes the name of an option, or a list of names"


_EXTRAS = {"hydra/launcher": "sweep,slurm,ray", "hydra/sweeper": "sweep"}


def _no_key(error: Refused, arguments: Sequence[str]) -> str | None:
    found = re.search(r"(?:Could not override|Could not delete from config\.|already at) '([^']+)'", str(error))
    if found is None:
        return None
    key = found[1]
    typed = next((a for a in arguments if a.lstrip("+~").partition("=")[0] == key), key)
    if "already at" in found[0]:
        return f"{typed}: this key is there already; write it without the +: {typed.lstrip('+')}"
    causes = f"{error}\n{error.__cause__}"
    meant = re.search(r"Did you mean(?: one of)?:? (.*?)\?", causes)
    names = re.findall(r"'([\w.]+)'", meant[1]) if meant else []
    parent = key.rpartition(".")[0]
    hint = f"did you mean {' or '.join(f'{parent}.{n}' if parent else n for n in names)}? " if names else ""
    return f"{typed}: there is no such key; {hint}all keys: python train.py --cfg job"


def trainer_refusal(error: Exception, trainer: Mapping[str, Any]) -> str:
    """The sentence for what Lightning raised when it was given the arguments `trainer`, behind the key it is about."""
    said = " ".join(str(error).split())
    named = [name for name in trainer if re.search(rf"\b{re.escape(name)}\b", said)]
    valued = [
        name
        for name, value in trainer.items()
        if isinstance(value, str) and re.search(rf"\b{re.escape(value)}\b", said)
    ]
    about = next(iter(named + valued), None)
    return f"trainer.{about}={trainer[about]}: {said}" if about else f"trainer: {said}"
