"""Runs on disk: which overrides a run was started with, what its checkpoints say about it, whether it may be continued.

A run folder holds `.hydra/overrides.yaml` (what was typed), `.hydra/resolved.yaml` (the whole resolved config: the
run's identity) and `checkpoints/{best,last}.ckpt`. A checkpoint carries the same two as text, so that a lone file says
what it is.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Quote, QuotedString

from paperzoo.allowed import is_endless, stored_problems
from paperzoo.choices import SMOKE, WEIGHTS, weights, with_weights
from paperzoo.errors import UserError
from paperzoo.files import write_text
from paperzoo.runner.damage import BEST, FOLDER, LAST
from paperzoo.runner.hydra_nodes import folder_problems

PROVENANCE = "paperzoo"  # the key of the provenance in a checkpoint
MULTIRUN = "arguments.yaml"  # of a multirun: what was typed
STORAGE = "hydra.sweeper.storage"  # of a search: not kept in a folder, see `runner.study`

LENGTHS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")

# Two configs that differ only in these keys, or below them, describe the same run.
VOLATILE = frozenset(
    {
        *("mode", "resume", "checkpoint", "data_root", "output_root", "logger", "callbacks", "published", "measured"),
        *("case", "average"),  # the one acts through the keys that follow it, the other after the run
        *("paper", "threads", "pruner", *LENGTHS),
        *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
        *("trainer.enable_progress_bar", "trainer.enable_model_summary"),
        *("trainer.log_every_n_steps", "trainer.limit_test_batches", "trainer.limit_predict_batches"),
        *("trainer.profiler", "trainer.detect_anomaly", "trainer.benchmark"),
    }
)
MACHINE = frozenset({"workers", "data_root", "download", "device_resident"})
"""Names of arguments of data, and of their parts, that say how and where from, not what."""
CHANGEABLE = frozenset({"optimize", "optimize_direction"})
"""What a run may be resumed with that it was not started with, though it decides what comes out."""


def is_volatile(key: str) -> bool:
    """Whether a key of the config is no part of a run's identity."""
    name = key.rpartition(".")[2]
    return key in VOLATILE or name == SMOKE or (key.startswith("data.") and name in MACHINE)


def volatile_keys(settings: Any, key: str = "") -> Iterator[str]:
    """The keys of a config that are no part of a run's identity."""
    if key and is_volatile(key):
        yield key
    elif isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from volatile_keys(value, f"{key}.{name}" if key else str(name))


def overrides_to_resume(folder: Path, typed: Sequence[str] = ()) -> list[str]:
    """The arguments that compose the config of the run in `folder` again, and send Hydra back to that folder.

    Of a multirun, those of all its jobs: each finds what it left.

    Args:
        folder: of the run.
        typed: the arguments that were typed now.

    Raises:
        UserError: there is no run in `folder`, what it remembers may not be taken from a folder, or a link leads out.
    """
    multirun = folder / MULTIRUN
    _refuse_links(folder)
    if multirun.is_file():
        return ["--multirun", *_remembered(multirun, folder, typed), *into_sweep_folder(folder.resolve())]
    overrides = folder / ".hydra" / "overrides.yaml"
    if not overrides.is_file():
        hint = "give the folder that holds .hydra/ and checkpoints/"
        raise UserError(f"resume={folder}: no run was started in this folder ({overrides} is missing); {hint}")
    return [*_remembered(overrides, folder, typed), *into_folder(folder.resolve())]


def _refuse_links(folder: Path) -> None:
    """Refuses links that lead out of a run's folder: going on, the run would write where they lead."""
    root = folder.resolve()
    links = (path for path in folder.rglob("*") if path.is_symlink())
    if outside := sorted(path for path in links if not path.resolve().is_relative_to(root)):
        hint = "a resumed run writes into its own folder only; put what it leads to in its place"
        raise UserError(*(f"resume={folder}: {path} is a link to {path.readlink()}; {hint}" for path in outside))


def _remembered(path: Path, folder: Path, typed: Sequence[str]) -> list[str]:
    try:
        arguments = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"resume={folder}: {path} cannot be read ({' '.join(str(error).split())[:160]})") from error
    if not isinstance(arguments, list):
        raise UserError(f"resume={folder}: {path} is no list of arguments; restore it")
    if problems := list(folder_problems(arguments, typed)):
        hint = "a folder may not ask for that (docs/security.md); type it too if you want it"
        raise UserError(*(f"resume={folder}: {path.name}: {problem}; {hint}" for problem in problems))
    return arguments


def into_sweep_folder(folder: Path) -> list[str]:
    """The override that makes the jobs of a multirun run in `folder`."""
    return [f"hydra.sweep.dir={quoted_path(folder)}"]


def into_folder(folder: Path) -> list[str]:
    """The overrides that make Hydra run in `folder` and leave the config that is recorded there as it is."""
    return [f"hydra.run.dir={quoted_path(folder)}", "hydra.output_subdir=null"]


def quoted(value: str) -> str:
    """`value` as a string of Hydra's override grammar, whatever characters it has; interpolations stay some."""
    return QuotedString(value, Quote.double).with_quotes()


def quoted_path(path: Path) -> str:
    """A path that is there as a string of Hydra's override grammar: nothing in its name is an interpolation."""
    return quoted(str(path).replace("${", "\\${"))


def overrides_to_reuse(checkpoint: Path, given: dict[str, str]) -> list[str]:
    """Chooses the model and the data of `checkpoint` with their parts (`model/network`), but for what `given` chooses.

    Raises:
        UserError: no checkpoint of paperzoo there.
    """
    if given.get("experiment", "null") != "null":
        return []  # the preset chooses; a model other than the checkpoint's is refused later
    choices = read_provenance(find_checkpoint(checkpoint))["choices"]
    reused = tuple(group for group in ("model", "data") if group not in given)
    return [
        f"{group}={option}"
        for group, option in choices.items()
        if group in reused or (group.startswith(tuple(f"{whole}/" for whole in reused)) and group not in given)
    ]


def latest_run(preset: str, output_root: Path) -> Path:
    """The folder of the newest finished training of a preset, or of `<model>/<data>` without one.

    Raises:
        UserError: there is none.
    """
    folders = sorted((output_root / preset).glob("*"), key=lambda folder: folder.name, reverse=True)
    for folder in folders:
        if _is_finished_training(folder):
            return folder.resolve()
    raise UserError(
        f"there is no finished run in {output_root / preset}; train one: python train.py experiment={preset}, "
        "or name a run folder or a checkpoint"
    )


def _is_finished_training(folder: Path) -> bool:
    summary = read_summary(folder)
    return summary.get("status") == "finished" and (summary.get("config") or {}).get("mode") == "train"


def read_summary(folder: Path) -> dict[str, Any]:
    """The `summary.json` of a run; empty if it is missing or damaged."""
    try:
        content = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def has_begun(folder: Path) -> bool:
    """Whether a run in this folder left anything to go on from, or to be content with."""
    checkpoints = (folder / FOLDER / name for name in (LAST, BEST))
    return any(path.is_file() for path in checkpoints) or read_summary(folder).get("status") == "finished"


def nothing_to_do(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a run that is resumed though it is finished, and is to be no longer; empty if there is work."""
    summary = read_summary(folder)
    trained, wanted = ((config or {}).get("trainer") or {} for config in (summary.get("config"), settings))
    is_as_long = all(trained.get(name) == wanted.get(name) for _, _, name in (key.partition(".") for key in LENGTHS))
    return summary if summary.get("status") == "finished" and is_as_long else {}


def objective_value(summary: Mapping[str, Any]) -> float | None:
    """What a finished run came to: the metric that a sweep optimises."""
    objective = summary.get("objective")
    return summary["metrics"].get(objective["metric"]) if objective else None


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that `checkpoint=path` means: the file itself, the best (else the last) of a run folder, or the
    weights that come with the code under that name.

    Raises:
        UserError: there is none.
    """
    for file in (path, path / FOLDER / BEST, path / FOLDER / LAST, weights(path)):
        if file is not None and file.is_file():
            return file
    if path.parts[:1] == (WEIGHTS.name,):
        raise UserError(f"checkpoint={path}: no such weights come with paperzoo; there are {_names_of_weights()}")
    raise UserError(f"checkpoint={path}: neither a .ckpt file nor a run folder with checkpoints/best.ckpt or last.ckpt")


def _names_of_weights() -> str:
    return ", ".join(f"{WEIGHTS.name}/{name}" for name in with_weights()) or "none"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint: tensors and plain values, never code.

    Raises:
        UserError: the file is damaged, or was not written by paperzoo.
    """
    from paperzoo.runner.checkpoints import AtomicCheckpointIO

    content = AtomicCheckpointIO().load_checkpoint(path, map_location="cpu")
    if not isinstance(content, dict) or PROVENANCE not in content:
        raise UserError(f"checkpoint {path}: not written by paperzoo (it carries no config)")
    return content


def read_provenance(path: Path) -> dict[str, Any]:
    """What a checkpoint says about its run: `config` (resolved), `choices` (of the groups), `overrides`, `version`.

    Raises:
        UserError: as `read_checkpoint` and `provenance_of`.
    """
    return provenance_of(read_checkpoint(path), path)


def provenance_of(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What `read_provenance` gives, of a checkpoint that was read from `path`.

    Raises:
        UserError: it asks for what a checkpoint may not (`allowed.stored_problems`); whoever sends one could run
            anything here else.
    """
    try:
        provenance = dict(checkpoint[PROVENANCE])
        provenance["config"] = yaml.safe_load(provenance["config"])
        problems = [*stored_problems(provenance["config"]), *_choice_problems(provenance["choices"])]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise UserError(
            f"checkpoint {path}: what it says of its run cannot be read ({type(error).__name__})"
        ) from error
    if problems:
        raise UserError(*(f"checkpoint {path}: refused, {problem}" for problem in problems))
    return provenance


def _choice_problems(choices: Mapping[str, Any]) -> Iterator[str]:
    """Choices become arguments, and their options files of `conf/`."""
    for group, option in choices.items():
        name = r"[\w-]+(/[\w-]+)*"
        if not re.fullmatch(name, group) or not (option is None or re.fullmatch(rf"{name}|\[[\w/,-]*\]", str(option))):
            yield f"its choice {group}={option} is none of an option"


def saved_settings(folder: Path) -> dict[str, Any] | None:
    """The resolved config with which the run in `folder` was started; None if it never came that far.

    Raises:
        UserError: it is none, or so large that no run wrote it.
    """
    path = folder / ".hydra" / "resolved.yaml"
    if not path.is_file():
        return None
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())[:160]}); restore it") from error
    if not isinstance(settings, dict) or is_endless(settings):
        raise UserError(f"{path}: is not the config of a run; restore it")
    return settings


def save_settings(folder: Path, settings: dict[str, Any], overrides: list[str]) -> None:
    """Records in `folder` what the run is and how to compose it again.

    Raises:
        UserError: as `write_text`.
    """
    write_text(folder / ".hydra" / "resolved.yaml", yaml.safe_dump(settings, sort_keys=False))
    write_text(folder / ".hydra" / "overrides.yaml", yaml.safe_dump(overrides))


def differences(saved: Any, now: Any, key: str = "") -> list[str]:
    """The keys, but for those that a resumed run may change, in which two resolved configs differ, with both values."""
    if is_volatile(key) or key in CHANGEABLE:
        return []
    if isinstance(saved, dict) and isinstance(now, dict):
        names = sorted(saved.keys() | now.keys())
        return [d for n in names for d in differences(saved.get(n), now.get(n), f"{key}.{n}" if key else n)]
    return [] if saved == now else [f"{key}: {saved!r} when the run was started, {now!r} now"]


def run_name(experiment: str | None, model: str | None, data: str | None) -> str:
    """The name of a run, and its folder below the output root: `<paper>/<preset>`, or `<model>/<data>` without one."""
    return experiment or f"{model}/{data}"


def identity(config: Any) -> str:
    """A short name for everything in a resolved config that decides a run's numbers."""

    def kept(value: Any, key: str) -> Any:
        if not isinstance(value, Mapping):
            return value
        inner = {name: f"{key}.{name}" if key else str(name) for name in value}
        return {name: kept(child, inner[name]) for name, child in value.items() if not is_volatile(inner[name])}

    text = json.dumps(kept(config, ""), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
