"""What a run is, settled from the command line, the config files and, with `checkpoint=`, the run that it stands on."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from paperzoo.config import class_of, missing_keys, missing_or_unresolvable, plain
from paperzoo.datamodule import PaperData
from paperzoo.errors import UserError
from paperzoo.reporting.results import flat
from paperzoo.runner.check import pair_problems
from paperzoo.runner.folder import find_checkpoint, latest_run, read_provenance, saved_settings, volatile_keys
from paperzoo.runner.job import Job
from paperzoo.runner.smoke import settle_smoke

ABSENT = object()  # null is a value


def settle(config: DictConfig) -> Job:
    """Resolves the config; for `checkpoint=` its model and data are those of the checkpoint but for what was typed now.

    Raises:
        UserError: values missing or not resolvable; the checkpoint is of another model.
    """
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    choices = {
        group: option for group, option in hydra_config.runtime.choices.items() if not group.startswith("hydra/")
    }
    if config.resume:
        _keep_what_it_stood_on(config, saved_settings(folder))
    given: Any = OmegaConf.to_container(hydra_config.overrides.task)  # a run that they name may not be there
    keys = {override.lstrip("+~").partition("=")[0] for override in given}
    settle_smoke(config, keys - choices.keys())
    if config.mode == "prepare":  # of the data; whatever model would go with them
        OmegaConf.update(config, "model", {}, merge=False)
    provenance: dict[str, Any] | None = None
    if config.checkpoint and config.mode != "train":
        provenance = read_provenance(find_checkpoint(Path(config.checkpoint)))
        _fill_in(config, choices, provenance)
    if problems := missing_or_unresolvable(config):
        unresolved: Any = OmegaConf.to_container(config)
        problems = pair_problems(unresolved, choices) or problems
        other = _other_run(config, choices, provenance) if provenance else ()
        raise UserError(*([*other] or problems))
    own_folders = [s.path for s in hydra_config.runtime.config_sources if s.provider == "command-line"]
    typed = [o for o in hydra_config.overrides.task if not o.startswith("resume=")]
    overrides = [*(f"--config-dir={Path(folder).resolve()}" for folder in own_folders), *typed]
    settings = plain(config)
    settings["published"] = flat(settings["published"])
    if provenance is not None:
        said = {override.lstrip("+~").split("=")[0] for override in overrides}
        if choices.get("experiment") != provenance["choices"].get("experiment"):
            said |= set(_preset_keys(choices.get("experiment")))
        settings = adopt(settings, choices, said, provenance)
    return Job(settings, choices, overrides, folder)


def _fill_in(config: DictConfig, choices: Mapping[str, str | None], provenance: Mapping[str, Any]) -> None:
    """Gives keys without a value the one that the checkpoint was trained with, of the same model and data."""
    saved = OmegaConf.create(provenance["config"])
    for key in missing_keys(config):
        section = key.partition(".")[0]
        value = OmegaConf.select(saved, key, default=ABSENT)
        if value is not ABSENT and choices.get(section) == provenance["choices"].get(section):
            OmegaConf.update(config, key, value)


def _keep_what_it_stood_on(config: DictConfig, saved: Mapping[str, Any] | None) -> None:
    """Gives a resumed run the runs that it was started with, whatever the latest ones are by now."""
    before = OmegaConf.create(dict(saved or {}))
    pending: list[tuple[str, Any]] = [("", OmegaConf.to_container(config))]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            pending += [(f"{key}.{name}" if key else str(name), child) for name, child in value.items()]
        elif isinstance(value, str) and "${paperzoo.latest:" in value:
            known = OmegaConf.select(before, key, default=ABSENT)
            if known is not ABSENT:
                OmegaConf.update(config, key, known)


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
        UserError: another model was chosen than the checkpoint's, or data in a shape that it does not know.
    """
    saved, trained_on = provenance["config"], provenance["choices"]
    if choices["model"] != trained_on["model"]:
        raise UserError(
            f"checkpoint={settings['checkpoint']}: holds model '{trained_on['model']}', not '{choices['model']}'"
        )

    def overlay(section: str) -> dict[str, Any]:
        result = OmegaConf.create({section: saved[section]})
        now = OmegaConf.create({section: settings[section]})
        for key in sorted(said | set(volatile_keys(settings))):
            value = OmegaConf.select(now, key, default=ABSENT)
            if key.startswith(f"{section}.") and value is not ABSENT:
                OmegaConf.update(result, key, value)
        return plain(result)[section]

    adopted = {**settings, "model": overlay("model")}
    if not said & {"published", "measured"}:
        adopted |= {"published": saved["published"], "measured": saved["measured"]}
    if choices["data"] == trained_on["data"]:
        adopted["data"] = overlay("data")
    else:
        data_class = class_of(settings["data"], PaperData)
        follows = data_class.follows_model if data_class else ()
        known = {k: saved["data"][k] for k in follows if k in saved["data"] and f"data.{k}" not in said}
        adopted["data"] = {**settings["data"], **known}
        facts = settings["data"].get("facts", {})
        adopted["data"]["facts"] = {**facts, **{name: value for name, value in known.items() if name in facts}}
    if problems := list(_shape_problems(adopted["data"], saved["data"])):
        raise UserError(*problems)
    return adopted


def _other_run(config: DictConfig, choices: Mapping[str, str | None], provenance: Mapping[str, Any]) -> Iterator[str]:
    """Which run can answer for data that the model of a checkpoint cannot read."""
    data: Any = OmegaConf.to_container(config.data)
    data_class = class_of(data, PaperData)
    preset = data_class.answered_by if data_class else None
    if preset is None:
        return
    try:
        way = f"checkpoint={latest_run(preset, Path(config.output_root))}"
    except UserError:
        way = f"train one: python train.py experiment={preset}"
    yield (
        f"checkpoint={config.checkpoint}: was trained with data={provenance['choices']['data']}, and its model cannot "
        f"read data={choices['data']}; a run of {preset} can: {way}"
    )


def _shape_problems(data: Mapping[str, Any], trained_on: Mapping[str, Any]) -> Iterator[str]:
    """What was said of the data that the weights do not fit."""
    data_class = class_of(data, PaperData)
    for name in data_class.follows_model if data_class else ():
        if name in trained_on and data.get(name) != trained_on[name]:
            yield f"data.{name}={data.get(name)}: the model was trained with {trained_on[name]}; leave the key out"


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
