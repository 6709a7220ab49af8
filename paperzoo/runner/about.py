"""What loggers say of a run: what was varied, what it is found by, what is good."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from paperzoo.choices import SMOKE
from paperzoo.config import FACTS
from paperzoo.module import Direction, PaperModule
from paperzoo.reporting.about import About
from paperzoo.reporting.results import number
from paperzoo.reporting.summary import git_commit
from paperzoo.reporting.sweep_table import short_names
from paperzoo.runner.folder import MULTIRUN, is_volatile
from paperzoo.runner.job import Job
from paperzoo.runner.objective import judged_by

LONGEST = 120  # letters of a label
LONGEST_TAG = 64  # that W&B takes
SECTIONS = ("seed", "model", "data", "trainer")
UNTOLD = (FACTS, SMOKE, "_partial_")


def about(job: Job, module: PaperModule) -> About:
    """What W&B and TensorBoard show of a run beside its numbers."""
    model = type(module)
    objective = judged_by(job.settings, model)
    published: Mapping[str, Any] = job.settings["published"]
    directions: dict[str, Direction] = {
        **({objective.metric: objective.direction} if objective else {}),
        **{metric: row["direction"] for metric, row in published.items()},
        **dict(_measured(model)),
    }
    tested = [f"test/{objective.metric.partition('/')[2]}"] if objective else []
    parts = [*job.name.split("/"), str(job.choices.get("data")), job.settings["mode"]]
    return About(
        name=job.name,
        label=label(job.settings, varied(job)) or job.folder.name,
        mode=job.settings["mode"],
        tags=[part[:LONGEST_TAG] for part in dict.fromkeys(parts)],
        hyperparameters=dict(_hyperparameters({name: job.settings.get(name) for name in SECTIONS})),
        directions=directions,
        shown=list(dict.fromkeys([*([objective.metric] if objective else []), *tested, *published])),
        parameters=sum(p.numel() for p in module.parameters() if p.requires_grad),
        commit=git_commit(),
    )


def _measured(model: type[PaperModule]) -> Iterator[tuple[str, Direction]]:
    """What the model says of its metrics."""
    for name, direction in model.measures.items():
        if direction:
            yield from ((f"{stage}/{name}", direction) for stage in ("val", "test"))


def varied(job: Job) -> list[str]:
    """The keys of this job that differ between those of its multirun; of a run alone, the values that were typed."""
    hydra = HydraConfig.get()
    if hydra.mode is not RunMode.MULTIRUN:
        typed = map(_key, job.overrides)
        return [key for key in typed if key == "seed" or key.startswith(("model.", "data.", "trainer."))]
    path = Path(str(hydra.sweep.dir), MULTIRUN)
    arguments = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else []
    parsed = OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")])
    swept = [o.key_or_group for o in parsed if o.is_sweep_override()]
    return list(dict.fromkeys([*(_key(key) for key in hydra.sweeper.get("params") or {}), *swept]))


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def label(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The values of these keys in a line: `lr=0.003 depth=4`."""
    known = {key: value for key in keys if (value := _value(settings, key)) is not None}
    short = short_names(list(known))
    return " ".join(f"{short[key]}={_words(value)}" for key, value in known.items())[:LONGEST]


def _value(settings: Any, key: str) -> Any:
    for part in key.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return None if isinstance(settings, Mapping) else settings


def _words(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _hyperparameters(value: Any, key: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    """The values that decide what comes out; lists and nulls as text."""
    if is_volatile(key) or key.rpartition(".")[2] in UNTOLD:
        return
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield from _hyperparameters(child, f"{key}.{name}" if key else str(name))
    else:
        yield key, value if isinstance(value, bool | int | float | str) else json.dumps(value)
