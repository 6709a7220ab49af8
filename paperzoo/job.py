"""What a run is, settled and checked before anything is built."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from paperzoo import config as configs
from paperzoo import runs
from paperzoo.cli import run_name
from paperzoo.data.base import PaperData
from paperzoo.data.domains import DomainData
from paperzoo.errors import UserError
from paperzoo.module import PaperModule
from paperzoo.reporting import results
from paperzoo.reporting.callbacks import SUPPLIED as SUPPLIED_TO_CALLBACKS
from paperzoo.reporting.loggers import SUPPLIED as SUPPLIED_TO_LOGGERS

T = TypeVar("T")

MODES = ("train", "test", "predict")
ABSENT = object()  # null is a value


@dataclass(frozen=True)
class Job:
    """One run, settled: everything that the command line and the config files say about it.

    Attributes:
        settings: the whole resolved config, plain values.
        choices: the option chosen in each config group (`{"model": "glow", "data": "cifar10", ...}`).
        overrides: what was typed on the command line, when the run was started and when it was resumed.
        folder: where everything the run writes goes.
    """

    settings: dict[str, Any]
    choices: dict[str, str | None]
    overrides: list[str]
    folder: Path

    @property
    def arguments(self) -> list[str]:
        """What starts this very job, for the other ranks."""
        resume = self.settings["resume"]
        return [*self.overrides, f"resume={runs.quoted(str(resume))}"] if resume else self.overrides

    @property
    def name(self) -> str:
        return run_name(*(self.choices.get(group) for group in ("experiment", "model", "data")))


def settle(config: DictConfig) -> Job:
    """Resolves the config; for `checkpoint=` its model and data are those of the checkpoint but for what was typed now.

    Raises:
        UserError: values missing or not resolvable; the checkpoint is of another model.
    """
    hydra_config = HydraConfig.get()
    choices = {
        group: option for group, option in hydra_config.runtime.choices.items() if not group.startswith("hydra/")
    }
    if problems := configs.missing_or_unresolvable(config):
        unresolved: Any = OmegaConf.to_container(config)
        raise UserError(*(_pair_problems(unresolved, choices) or problems))
    own_folders = [s.path for s in hydra_config.runtime.config_sources if s.provider == "command-line"]
    typed = [o for o in hydra_config.overrides.task if not o.startswith("resume=")]
    overrides = [*(f"--config-dir={Path(folder).resolve()}" for folder in own_folders), *typed]
    settings = configs.plain(config)
    if settings["checkpoint"] and settings["mode"] != "train":
        provenance = runs.read_provenance(runs.find_checkpoint(Path(settings["checkpoint"])))
        said = {override.lstrip("+~").split("=")[0] for override in overrides}
        if choices.get("experiment") != provenance["choices"].get("experiment"):
            said |= set(_preset_keys(choices.get("experiment")))
        settings = adopt(settings, choices, said, provenance)
    return Job(settings, choices, overrides, Path(hydra_config.runtime.output_dir))


def adopt(
    settings: dict[str, Any],
    choices: Mapping[str, str | None],
    said: set[str],
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """`settings` with the model, and unless other data was chosen the data, that a checkpoint was trained with.

    The keys `said` for this run, typed or set by a preset other than the checkpoint's, stay. Other data comes in the
    shape that the model knows (`PaperData.follows_model`).

    Raises:
        UserError: another model was chosen than the checkpoint's.
    """
    saved, trained_on = provenance["config"], provenance["choices"]
    if choices["model"] != trained_on["model"]:
        raise UserError(
            f"checkpoint={settings['checkpoint']}: holds model '{trained_on['model']}', not '{choices['model']}'"
        )

    def overlay(section: str) -> dict[str, Any]:
        result = OmegaConf.create({section: saved[section]})
        now = OmegaConf.create({section: settings[section]})
        for key in sorted(said | runs.VOLATILE):
            value = OmegaConf.select(now, key, default=ABSENT)
            if key.startswith(f"{section}.") and value is not ABSENT:
                OmegaConf.update(result, key, value)
        return configs.plain(result)[section]

    adopted = {**settings, "model": overlay("model")}
    if not said & {"published", "measured"}:
        adopted |= {"published": saved["published"], "measured": saved["measured"]}
    if choices["data"] == trained_on["data"]:
        adopted["data"] = overlay("data")
    else:
        data_class = _class_of(settings["data"], PaperData)
        follows = data_class.follows_model if data_class else ()
        known = {k: saved["data"][k] for k in follows if k in saved["data"] and f"data.{k}" not in said}
        adopted["data"] = {**settings["data"], **known}
    return adopted


def _preset_keys(name: str | None) -> Iterator[str]:
    """The values that a preset sets, by their keys, and its top-level keys; none without a preset."""
    sources = HydraConfig.get().runtime.config_sources
    paths = [Path(source.path) / "experiment" / f"{name}.yaml" for source in sources if source.schema == "file"]
    # plain, because a `???` of a DictConfig cannot be read
    for preset in (OmegaConf.to_container(OmegaConf.load(path)) for path in paths if name and path.is_file()):
        assert isinstance(preset, dict)
        yield from (str(key) for key in preset)
        pending: list[tuple[str, Any]] = [(str(key), value) for key, value in preset.items() if key != "defaults"]
        while pending:
            key, value = pending.pop()
            if isinstance(value, dict):
                pending += [(f"{key}.{child!s}", node) for child, node in value.items()]
            else:
                yield key


def check(job: Job) -> None:
    """Finds everything that can be known to be wrong before anything is built.

    Raises:
        UserError: with all problems together.
    """
    settings = job.settings
    problems = [*_run_problems(settings), *results.problems(settings["published"], settings["measured"])]
    for section in ("model", "data", "trainer"):
        if not isinstance(settings.get(section), dict) or "_target_" not in settings[section]:
            problems.append(f"{section}: no {section} is configured; choose one with {section}=...")
            continue
        problems += configs.target_problems(settings[section], section)
        base = {"model": PaperModule, "data": PaperData}.get(section)
        if base and not problems and _class_of(settings[section], base) is None:
            problems.append(f"{section}._target_={settings[section]['_target_']}: is not a {base.__name__}")
    for group, supplied in (("callbacks", SUPPLIED_TO_CALLBACKS), ("logger", SUPPLIED_TO_LOGGERS)):
        for name, node in (settings.get(group) or {}).items():
            if not isinstance(node, dict) or "_target_" not in node:
                problems.append(f"{group}.{name}: has no _target_; to switch it off: '~{group}.{name}'")
                continue
            problems += configs.target_problems(node, f"{group}.{name}", supplied)
    problems += _pair_problems(settings, job.choices)
    if settings["resume"] and (saved := runs.saved_settings(job.folder)):
        changed = runs.differences(saved, settings)
        problems += [
            f"resume={settings['resume']}: this is not the run that was started; {change}" for change in changed
        ]
    if problems:
        raise UserError(*dict.fromkeys(problems))


def _run_problems(settings: dict[str, Any]) -> Iterator[str]:
    mode, seed = settings["mode"], settings["seed"]
    if mode not in MODES:
        yield f"mode={mode}: should be one of {', '.join(MODES)}"
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        yield f"seed={seed}: should be a whole number from 0 to 4294967295"
    if settings["optimize_direction"] not in (None, "min", "max"):
        yield f"optimize_direction={settings['optimize_direction']}: should be min, max or null"
    if settings["weights"] not in (None, "best", "last"):
        yield f"weights={settings['weights']}: should be best, last or null"
    if not isinstance(settings["reverse_validation"], bool):
        yield f"reverse_validation={settings['reverse_validation']}: should be true or false"
    threads = settings["threads"]
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        yield f"threads={threads}: should be a whole number from 1, or null"
    if mode in ("test", "predict") and not settings["checkpoint"]:
        yield f"mode={mode} needs a trained model: checkpoint=<run folder or .ckpt file>"
    if mode == "train" and settings["checkpoint"]:
        yield "checkpoint= goes with mode=test or mode=predict; to continue a run: resume=<run folder>"
    if settings["resume"] and mode != "train":
        yield f"resume= continues a training; with mode={mode} use checkpoint="
    known = {
        *("mode", "seed", "threads", "resume", "checkpoint", "optimize", "optimize_direction", "data_root"),
        *("output_root", "published", "measured", "model", "data", "trainer", "callbacks", "logger", "paper"),
        *("weights", "reverse_validation"),
    }
    for key in settings.keys() - known:
        yield f"{key}: not a key of a run; the keys are {', '.join(sorted(known))}"


def _pair_problems(settings: Mapping[str, Any], choices: Mapping[str, str | None]) -> list[str]:
    if not all(isinstance(settings.get(section), dict) for section in ("model", "data")):
        return []
    model = _class_of(settings["model"], PaperModule)
    data = _class_of(settings["data"], PaperData)
    if model is None or data is None:
        return []
    if settings["reverse_validation"] and not issubclass(data, DomainData):
        return ["reverse_validation=true: needs a source and a target; choose data=domains or another pair of domains"]

    def taken(model: type[PaperModule]) -> tuple[type, ...]:
        return model.accepts + (model.predicts if settings["mode"] == "predict" else ())

    if data.yields in taken(model):
        return []
    wanted = " or ".join(batch.__name__ for batch in taken(model))
    fitting = [name for name, c in _options("data", PaperData) if c.yields in taken(model)]
    takers = [name for name, c in _options("model", PaperModule) if data.yields in taken(c)]
    return [
        f"model '{choices['model']}' takes {wanted}, data '{choices['data']}' yields {data.yields.__name__}.\n"
        f"  data that fit: {', '.join(fitting) or 'none'}\n"
        f"  models that take {data.yields.__name__}: {', '.join(takers) or 'none'}"
    ]


def _class_of(node: Mapping[str, Any], base: type[T]) -> type[T] | None:
    """The class that a node names, if it is one of `base`."""
    target = configs.find_target(node.get("_target_"), "")
    return target if isinstance(target, type) and issubclass(target, base) else None


def _options(group: str, base: type[T]) -> Iterator[tuple[str, type[T]]]:
    """Name and class of every option of a config group, in all folders that Hydra searches."""
    sources = HydraConfig.get().runtime.config_sources
    folders = [Path(source.path) / group for source in sources if source.schema == "file"]
    for path in sorted(p for folder in folders for p in folder.glob("*.yaml")):
        node = OmegaConf.load(path)
        if isinstance(node, DictConfig) and (found := _class_of(node, base)):
            yield path.stem, found
