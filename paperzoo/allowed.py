"""What a config may do, whoever wrote it: the classes, the arguments for files, the environment variables; listed once.

A config comes from a colleague, a page or a checkpoint as often as from oneself. It can name classes, and nothing that
is called otherwise: no function, no method, no package as a whole. `docs/security.md` says what is promised.
"""

import inspect
import os
import re
import typing
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from paperzoo.errors import UserError

OWN = ("paperzoo.data.", "paperzoo.nn.", "paperzoo.papers.", "paperzoo.tasks.")
"""Where models, data and their parts are defined; a paper that is added needs no list."""

MACHINERY = "paperzoo.data.prepared."
"""What fetches, unpacks and writes files, to places and from addresses that it is told: the code's, not a config's."""

_OPTIMIZERS = "ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop Rprop SGD SparseAdam"
_SCHEDULES = (
    "ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR ExponentialLR LinearLR MultiStepLR OneCycleLR "
    "PolynomialLR ReduceLROnPlateau StepLR"
)
TRAINING = frozenset(
    [f"torch.optim.{name}" for name in _OPTIMIZERS.split()]
    + [f"torch.optim.lr_scheduler.{name}" for name in _SCHEDULES.split()]
)
"""Besides `OWN` all that a checkpoint may name."""

RUNNING: Mapping[str, tuple[str, ...]] = {
    "paperzoo.reporting.figures.Figures": (),
    "paperzoo.reporting.loggers.TensorBoard": (),
    "paperzoo.reporting.opening.Opening": (),
    "paperzoo.reporting.progress.PaperProgressBar": (),
    "paperzoo.reporting.wandb_run.WandbRun": (),
    "paperzoo.runner.checkpoints.Checkpoints": (),
    "paperzoo.runner.watching.GracefulStop": (),
    "paperzoo.runner.watching.StopOnNonFinite": (),
    "optuna.pruners.HyperbandPruner": (),
    "optuna.pruners.MedianPruner": (),
    "optuna.pruners.PercentilePruner": (),
    "optuna.pruners.SuccessiveHalvingPruner": (),
    "pytorch_lightning.Trainer": (),
    "pytorch_lightning.callbacks.DeviceStatsMonitor": (),
    "pytorch_lightning.callbacks.EarlyStopping": (),
    "pytorch_lightning.callbacks.GradientAccumulationScheduler": (),
    "pytorch_lightning.callbacks.LearningRateMonitor": (),
    "pytorch_lightning.callbacks.ModelCheckpoint": ("dirpath", "filename"),
    "pytorch_lightning.callbacks.ModelSummary": (),
    "pytorch_lightning.callbacks.RichModelSummary": (),
    "pytorch_lightning.callbacks.RichProgressBar": (),
    "pytorch_lightning.callbacks.StochasticWeightAveraging": (),
    "pytorch_lightning.callbacks.TQDMProgressBar": (),
    "pytorch_lightning.callbacks.Timer": (),
    "pytorch_lightning.loggers.CSVLogger": ("save_dir", "name", "version"),
    "pytorch_lightning.strategies.DDPStrategy": (),
    "pytorch_lightning.strategies.FSDPStrategy": (),
}
"""Callbacks, loggers, pruners, the trainer and its strategies, with the arguments that say where they write."""

HYDRA_CALLBACKS = ("paperzoo.runner.multirun.Multirun", "paperzoo.runner.starting.Start")

ENVIRONMENT = ("HOME", "PAPERZOO_DATA", "SCRATCH", "TMPDIR")
"""The variables that `${oc.env:NAME}` gives; what a config holds lies in reports and checkpoints, for all to read."""

MOST_VALUES = 100_000
"""Values in a checkpoint's config: aliases of YAML make a few lines many millions."""

_SPECIAL = re.compile(r"_[a-z]+_")
_KNOWN_SPECIAL = ("_target_", "_partial_")


def refused_name(name: str) -> str | None:
    """Why a config may not name a class of this name, seen before anything is imported; None if it may."""
    if name in TRAINING or name in RUNNING or name.startswith(OWN):
        return None
    close = [known for known in (*sorted(TRAINING), *RUNNING) if known.rpartition(".")[2] == name.rpartition(".")[2]]
    hint = f"; did you mean {close[0]}?" if close else ""
    return (
        "a config may only name classes of paperzoo's papers, tasks, nn and data, and those listed in "
        f"paperzoo/allowed.py{hint}"
    )


def refused_object(name: str, found: Any) -> str | None:
    """Why a config may not name what `name` turned out to be; None if it may."""
    if not inspect.isclass(found):
        return "is no class; a config names classes, not functions or methods"
    if not name.startswith(OWN):
        return None
    if not f"{found.__module__}.".startswith(OWN):
        return f"is {found.__module__}.{found.__qualname__}, which is not defined there"
    if _takes_path(found) or any(f"{base.__module__}.".startswith(MACHINERY) for base in found.__mro__):
        return "is not for configs: it fetches or writes files where it is told"
    return None


def _takes_path(found: Any) -> bool:
    """Whether it is made with a `Path`: what code hands to code. What a config may say is text, and checked."""
    try:
        hints = typing.get_type_hints(inspect.unwrap(found.__init__))
    except (NameError, TypeError):  # names that exist for type checkers only
        return False
    return any(Path in (hint, *typing.get_args(hint)) for hint in hints.values())


def refused_keys(node: Mapping[str, Any]) -> list[str]:
    """The keys of a node with a `_target_` by which Hydra would pass or build other things than named arguments."""
    return [str(key) for key in node if _SPECIAL.fullmatch(str(key)) and key not in _KNOWN_SPECIAL]


def values(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """A value and all that is in it, each with its key, the outer ones first."""
    yield key, value
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield from values(child, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, child in enumerate(value):
            yield from values(child, f"{key}[{number}]")


def is_endless(config: Any) -> bool:
    """Whether there is more in it than in any config."""
    return next(islice(values(config), MOST_VALUES, None), None) is not None


def stored_problems(config: Any) -> Iterator[str]:
    """What a checkpoint's config asks for and may not: it was resolved when it was written, and names few classes."""
    if not isinstance(config, Mapping):
        yield "its config is none"
        return
    if is_endless(config):
        yield f"its config has more than {MOST_VALUES} values"
        return
    for key, value in values(config):
        if isinstance(value, str) and "${" in value:
            yield f"{key}={value[:80]}: is a reference, and the config of a checkpoint has none"
        if not isinstance(value, Mapping) or key.partition(".")[0] not in ("model", "data"):
            continue
        target = str(value.get("_target_", OWN[0]))
        if target not in TRAINING and not target.startswith(OWN):
            yield (
                f"{key}._target_={target}: a checkpoint may only name classes of paperzoo's papers, tasks, nn and "
                "data, and torch's optimisers and schedules"
            )


def place_problems(settings: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Where a run would write and may not: only below its own folder, `output_root` and `data_root`.

    Args:
        settings: the whole resolved config, plain.
        folder: of the run.
    """
    data_root, output_root = (Path(str(settings[name])).expanduser() for name in ("data_root", "output_root"))
    for key, node in values(settings):
        if not isinstance(node, Mapping):
            continue
        if key and "data_root" in node and not _is_below(node["data_root"], [data_root]):
            yield f"{key}.data_root={node['data_root']}: data are kept below data_root; set that: data_root=FOLDER"
        for name in RUNNING.get(str(node.get("_target_")), ()):
            value = node.get(name)
            if not isinstance(value, str) or _stays(name, value, [folder, output_root, data_root]):
                continue
            yield (
                f"{key}.{name}={value}: a run writes below its own folder, output_root and data_root only; "
                "'${hydra:runtime.output_dir}' is the first"
            )


def _stays(argument: str, value: str, roots: list[Path]) -> bool:
    """Whether a folder lies below one of the roots, or a name that is joined to a folder does not lead out of it."""
    if argument.endswith(("dir", "dirpath")):
        return _is_below(value, roots)
    return not Path(value).is_absolute() and ".." not in Path(value).parts


def _is_below(path: Any, roots: list[Path]) -> bool:
    return any(Path(str(path)).expanduser().resolve().is_relative_to(root.resolve()) for root in roots)


def environment(name: str, *default: Any) -> str | None:
    """`${oc.env:NAME}` and `${oc.env:NAME,DEFAULT}`, for the variables of `ENVIRONMENT`.

    Raises:
        UserError: another variable, or one that is not set and has no default.
    """
    if name not in ENVIRONMENT:
        raise UserError(
            f"${{oc.env:{name}}}: a config may read the environment variables {', '.join(ENVIRONMENT)} only; what it "
            "holds is shown in reports and kept in checkpoints"
        )
    if name in os.environ:
        return os.environ[name]
    if not default:
        raise UserError(
            f"${{oc.env:{name}}}: the environment variable is not set; give a default, ${{oc.env:{name},...}}"
        )
    return None if default[0] is None else str(default[0])


def register_environment() -> None:
    """Lets `environment` answer for OmegaConf's own resolver, whoever composes or loads a config."""
    OmegaConf.register_resolver("oc.env", environment, replace=True)


register_environment()
