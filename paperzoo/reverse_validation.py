"""Reverse validation: judges the hyper-parameters of domain adaptation without a target label.

Ganin et al. 2016, section 5.1.2, after Zhong et al. 2010: the trained classifier labels the target, a second one is
trained the other way round, from the target with these labels to the unlabelled source, starting from the weights of
the first; its error on the source's held-out items, whose labels are known, is the risk.
"""

import shutil
from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Int64
from torch import Tensor

from paperzoo import checkpoints
from paperzoo import config as configs
from paperzoo.data.base import BatchLoader
from paperzoo.data.domains import DomainData
from paperzoo.job import Job
from paperzoo.module import PaperModule
from paperzoo.reporting.callbacks import build_callbacks
from paperzoo.reporting.metrics_csv import MetricsCsv

REVERSE_RISK = "val/reverse_risk"
FOLDER = "reverse"
DISTURBING = ("figures", "progress", "summary", "graceful_stop")  # callbacks that are for the first training alone


def reverse_risk(job: Job, module: PaperModule, data: Any, monitor: str, direction: Any, *, keeps_best: bool) -> float:
    """The share of the source's held-out items that the way back classifies wrongly.

    Args:
        job: the run; the way back is trained with the same settings, in the folder `reverse` of the run.
        module: with the weights to be judged.
        data: the domains, set up.
        monitor: the metric that chooses the best weights of the way back.
        direction: whether a small or a large value of it is good.
        keeps_best: test the best weights of the way back instead of the last.
    """
    assert isinstance(data, DomainData)
    way_back = data.reversed(*(_labels(module, data, loader) for loader in data.target_dataloaders()))
    folder = job.folder / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped on the way back
    folder.mkdir()
    student: PaperModule = configs.instantiate(job.settings["model"])
    student.load_state_dict(module.state_dict())
    metrics = MetricsCsv(folder)
    watching = {name: node for name, node in job.settings["callbacks"].items() if name not in DISTURBING}
    trainer: pl.Trainer = configs.instantiate(
        {**job.settings["trainer"], "enable_progress_bar": False, "enable_model_summary": False},
        callbacks=build_callbacks(
            {**job.settings, "callbacks": watching}, metrics, monitor, direction, keeps_best=keeps_best
        ),
        logger=metrics,
        plugins=[checkpoints.AtomicCheckpointIO()],
        default_root_dir=str(folder),
    )
    trainer.fit(student, datamodule=way_back)
    best = folder / checkpoints.FOLDER / checkpoints.BEST
    if best.is_file():
        student.load_state_dict(torch.load(best, weights_only=True, map_location="cpu")["state_dict"])
    (tested,) = trainer.test(student, datamodule=way_back, verbose=False)
    return 1 - tested["test/accuracy_target"]


def _labels(module: PaperModule, data: DomainData, loader: BatchLoader) -> Int64[Tensor, " item"]:
    """What the classifier says of all items of a loader, in their order."""
    module.eval()
    with torch.inference_mode():
        labels = [module.classify(data.transfer_batch_to_device(batch, module.device, 0)).cpu() for batch in loader]
    return torch.cat(labels)
