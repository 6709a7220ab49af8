"""The callbacks of a run, from the config group `callbacks`."""

from collections.abc import Mapping
from typing import Any, Literal

import rich
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelSummary, ProgressBar

from paperzoo.config import instantiate
from paperzoo.reporting.metrics_csv import MetricsBookmark, MetricsCsv
from paperzoo.reporting.opening import Opening
from paperzoo.reporting.progress import PaperProgressBar, PlainProgress
from paperzoo.runner.validating import EndWithValidation

SUPPLIED_TO_TRAINER = ("callbacks", "logger", "plugins", "default_root_dir")  # filled in for every run
SUPPLIED = ("monitor", "mode", "keeps_best")  # arguments of `callbacks.checkpoints` that the program fills in


def build_callbacks(
    settings: Mapping[str, Any],
    metrics: MetricsCsv,
    monitor: str | None,
    mode: Literal["min", "max"],
    *,
    keeps_best: bool = True,
) -> list[Callback]:
    """The callbacks that the config lists, the last validation, and the bookmark that lets `metrics.csv` be resumed.

    Args:
        settings: the whole resolved config, plain; `trainer.enable_progress_bar` and `trainer.enable_model_summary`
            switch off the bar and the lines at the start; where the output is no terminal, the bar is plain lines.
        metrics: the run's `metrics.csv`.
        monitor: the metric that chooses `best.ckpt`; None if there is none.
        mode: whether a small or a large value of it is good.
        keeps_best: whether there is a `best.ckpt`.
    """
    # the bookmark first: metrics.csv goes back to it before the last validation is logged
    callbacks: list[Callback] = [MetricsBookmark(metrics), EndWithValidation()]
    for name, node in (settings.get("callbacks") or {}).items():
        supplied: dict[str, Any] = (
            {"monitor": monitor, "mode": mode, "keeps_best": keeps_best} if name == "checkpoints" else {}
        )
        callbacks.append(instantiate(node, **supplied))
    trainer = settings["trainer"]
    if not trainer.get("enable_progress_bar", True):
        callbacks = [c for c in callbacks if not isinstance(c, ProgressBar)]
    if not trainer.get("enable_model_summary", True):
        callbacks = [c for c in callbacks if not isinstance(c, ModelSummary | Opening)]
    if rich.get_console().is_terminal:
        return callbacks
    return [PlainProgress() if isinstance(c, PaperProgressBar) else c for c in callbacks]
