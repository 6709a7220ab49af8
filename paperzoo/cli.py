"""The command line. Imports nothing heavier than Hydra, so that help, `--cfg job` and a wrong name answer at once."""

import difflib
import os
import re
import secrets
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from paperzoo import completion
from paperzoo import help as lists
from paperzoo.allowed import HYDRA_CALLBACKS
from paperzoo.choices import CONFIG_FOLDER, options, presets
from paperzoo.errors import EXIT_USER_ERROR, UserError, report_user_error
from paperzoo.files import REFUSALS, is_text, printable
from paperzoo.refusals import refusal
from paperzoo.runner import hydra_nodes
from paperzoo.runner.folder import latest_run, quoted, quoted_path, run_name

DEFAULT_EXPERIMENT = "glow/digits_laptop"
EXIT_INTERRUPTED = 130
PROCESS_ID = secrets.token_hex(4)  # tells apart runs that were started in the same second

# The last part of keys whose values are texts or paths, whatever they look like: data.path=2024 is a folder.
TEXTS = {
    *("path", "test_path", "puzzle", "question", "before"),
    *("resume", "checkpoint", "output_root", "data_root", "dir", "notes"),
}


def register_resolvers() -> None:
    """What configs need to name a run's folder, and the run that another one stands on: `${paperzoo.latest:PRESET}`."""
    OmegaConf.register_resolver("paperzoo.run_name", lambda *, _root_: _run_name(_root_.hydra), replace=True)
    OmegaConf.register_resolver(
        "paperzoo.latest",
        lambda preset, *, _root_: str(latest_run(preset, Path(_root_.output_root))),
        use_cache=False,
        replace=True,
    )
    OmegaConf.register_resolver("paperzoo.sum", lambda *numbers: sum(map(int, numbers)), replace=True)
    OmegaConf.register_resolver(
        "paperzoo.training", lambda value, *, _root_: value if _root_.get("mode") == "train" else None, replace=True
    )
    for name, text in {"groups": lists.groups_in_short, "presets": lists.presets_by_paper}.items():
        OmegaConf.register_resolver(f"paperzoo.{name}", text, replace=True)
    OmegaConf.register_resolver("paperzoo.short_id", lambda: PROCESS_ID, use_cache=True, replace=True)


def _run_name(hydra_config: DictConfig) -> str:
    """Of a run, or of a multirun over several presets, models or data, which is no run of any."""
    # not resolved: `${paperzoo.latest:...}` may be typed, of a run that there is not
    typed = cast(list[str], OmegaConf.to_container(hydra_config.overrides.task))
    if any(re.match(r"(experiment|model|data)=.*[,(]", override) for override in typed):
        return "multirun"
    return run_name(*(hydra_config.runtime.choices.get(group) for group in ("experiment", "model", "data")))


hydra_nodes.guard()
register_resolvers()  # here, because a launcher's processes import this module and never see main()


def complete_arguments(arguments: list[str]) -> list[str]:
    """Adds what the command line leaves unsaid.

    Nothing chosen: the default experiment. `resume=`: the overrides the run was started with, and its own folder.
    `checkpoint=`: the model and data it was trained with, unless the command line chooses others.

    Raises:
        UserError: the run folder or checkpoint is missing or not one of ours; an argument is no text.
    """
    if problems := [a for a in (*arguments, str(Path.cwd())) if not is_text(a)]:
        hint = "its name holds bytes that are not UTF-8, which no config can; rename it, or make a link to it"
        raise UserError(*(f"{printable(problem)}: {hint}" for problem in problems))
    given = {
        key: _unquoted(value)
        for key, value in (a.split("=", 1) for a in arguments if "=" in a and not a.startswith("-"))
    }
    arguments = quoted_texts(arguments)
    for key in ("resume", "checkpoint"):
        if key in given and not given[key]:
            raise UserError(f"{key}=: is empty; give a run folder")
    if (resume := given.get("resume", "null")) != "null":
        from paperzoo.runner.folder import overrides_to_resume

        before = overrides_to_resume(Path(resume), arguments)
        if "--multirun" in before:
            return before + [a for a in arguments if not a.startswith("resume=")]
        return before + [a for a in arguments if not (a.startswith(("~", "+")) and a in before)]
    if (checkpoint := given.get("checkpoint", "null")) != "null":
        from paperzoo.runner.folder import overrides_to_reuse

        return overrides_to_reuse(Path(checkpoint), given) + arguments
    if (experiment := given.get("experiment")) and not any(
        a.startswith(("--config", "-c", "hydra.searchpath=")) for a in arguments
    ):
        _find_presets(experiment.split(","))
    if not {"experiment", "model", "data"} & given.keys():
        return [f"experiment={DEFAULT_EXPERIMENT}", *arguments]
    return arguments


def quoted_texts(arguments: list[str]) -> list[str]:
    """The arguments with the texts among them in quotes, so that Hydra's grammar takes them as they are.

    That is what `TEXTS` names, and what has other letters than ASCII's. Lists, interpolations, null, what is in quotes
    already, and in a multirun what has a comma, stay.
    """
    is_sweep = bool({"-m", "--multirun"} & set(arguments))

    def text(argument: str) -> str:
        key, is_given, value = argument.partition("=")
        is_text = key.rpartition(".")[2] in TEXTS or not value.isascii()
        is_plain = value and value != "null" and value[0] not in "'\"[{$?"
        if argument.startswith("-") or not (is_given and is_text and is_plain) or (is_sweep and "," in value):
            return argument
        return f"{key}={quoted_path(Path(value)) if Path(value).exists() else quoted(value)}"

    return [text(argument) for argument in arguments]


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def _find_presets(names: list[str]) -> None:
    known = presets()
    for name in names:
        if re.fullmatch(r"[\w/-]+", name) and name not in known and name != "null":
            close = difflib.get_close_matches(name, known, 3)
            hint = f"did you mean {' or '.join(close)}?\n" if close else ""
            raise UserError(f"experiment={name}: there is no such preset; {hint}  presets: {', '.join(known)}")


_began = False


@hydra.main(config_path=str(CONFIG_FOLDER), config_name="train", execution_whitelist=list(HYDRA_CALLBACKS))
def _task(config: DictConfig) -> float | str | None:
    from paperzoo.runner.multirun import run_job

    global _began
    _began = True  # what is raised from now on is not Hydra's refusal of what was typed
    from paperzoo.runner.pruned import PrunedError
    from paperzoo.runner.run import run
    from paperzoo.runner.signals import RunStoppedError

    try:
        return run_job(config) if HydraConfig.get().mode is RunMode.MULTIRUN else run(config)
    except UserError as error:
        report_user_error(error)
        sys.exit(EXIT_USER_ERROR)
    except PrunedError:
        return None  # one of several processes of a job; the first one says so
    except RunStoppedError as stop:
        print(f"paperzoo: {stop}", file=sys.stderr)
        sys.exit(stop.exit_code)


def main() -> None:
    """Runs what the command line says."""
    if "--version" in sys.argv[1:]:
        print(versions())
        return
    if {"-sc", "--shell-completion"} & set(sys.argv[1:]) and sys.argv[-1] in completion.ACTIONS:
        print(completion.answer(sys.argv[-1], complete_arguments))
        return
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may hold bytes that are no text
    try:
        sys.argv[1:] = complete_arguments(sys.argv[1:])
    except UserError as error:
        report_user_error(error)
        sys.exit(EXIT_USER_ERROR)
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra lets go of its refusals, to be told in our words
    try:
        _task()
    except KeyboardInterrupt:
        print("paperzoo: interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        if _began:
            raise
        report_user_error(UserError(_no_folder(error) or refusal(error, sys.argv[1:], options)))
        sys.exit(EXIT_USER_ERROR)


def versions() -> str:
    """What runs: paperzoo with its commit, and what decides a run's numbers; a line for each."""
    from paperzoo.reporting.summary import environment, git_commit

    found = environment()
    commit = git_commit()
    own = f"paperzoo {found.pop('paperzoo')}" + (f" ({commit})" if commit else "")
    return "\n".join([own, *(f"{name} {version}" for name, version in found.items())])


def _no_folder(error: Exception) -> str | None:
    """The sentence for what the machine refused when Hydra made the folder of a run; None if it was something else."""
    for cause in (error.__cause__, error):
        if isinstance(cause, OSError) and cause.errno:
            why = REFUSALS.get(cause.errno, cause.strerror)
            return f"{cause.filename}: {why}; choose another folder: output_root=FOLDER"
    return None


if __name__ == "__main__":
    main()
