"""Reverse validation: judges the hyper-parameters of domain adaptation without a target label.

Ganin et al. 2016, section 5.1.2, after Zhong et al. 2010: the trained classifier labels the target, a second one is
trained the other way round, from the target with these labels to the unlabelled source, starting from the weights of
the first; its error on the source's held-out items, whose labels are known, is the risk.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from paperzoo.batches import DomainImages, DomainVectors
from paperzoo.config import instantiate
from paperzoo.datamodule import PaperData
from paperzoo.module import Direction, PaperModule
from paperzoo.reporting.metrics_csv import MetricsCsv
from paperzoo.runner.build import Parts, build_trainer
from paperzoo.runner.checkpoints import BEST, AtomicCheckpointIO
from paperzoo.runner.checkpoints import FOLDER as CHECKPOINTS
from paperzoo.runner.job import Job
from paperzoo.runner.judge import Judge
from paperzoo.runner.objective import objective, tested

FOLDER = "reverse"
DISTURBING = ("figures", "progress", "summary", "graceful_stop")  # callbacks that are for the first training alone

Labels = Int64[Tensor, " item"]


@runtime_checkable
class ReversibleData(Protocol):
    """Data of two domains that can change places."""

    def target_dataloaders(self) -> tuple[Iterable[Any], Iterable[Any]]:
        """Batches of the target's training items and of its held-out items, in order."""
        ...

    def reversed(self, train_labels: Labels, val_labels: Labels) -> PaperData:
        """The target, with these labels, as the source; tested on the source's held-out items."""
        ...


class ReverseValidation(Judge):
    """The share of the source's held-out items that the way back classifies wrongly.

    The way back is trained with the settings of the run, in the folder `reverse` of the run.
    """

    accepts: ClassVar[tuple[type, ...]] = (DomainImages, DomainVectors)
    metric: ClassVar[str] = "val/reverse_risk"
    direction: ClassVar[Direction] = "min"

    def __call__(self, job: Job, parts: Parts) -> float:
        module, data = parts.module, parts.data
        assert isinstance(data, ReversibleData)
        way_back = data.reversed(*(_labels(module, data, batches) for batches in data.target_dataloaders()))
        folder = job.folder / FOLDER
        if parts.trainer.is_global_zero:
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped on the way back
        parts.trainer.strategy.barrier()
        folder.mkdir(exist_ok=True)
        student = _student(job, module)
        trainer = build_trainer(
            _undisturbed(job.settings),
            MetricsCsv(folder),
            *objective(job.settings, type(module)),
            keeps_best=tested(job, module) == "best",
        )
        trainer.fit(student, datamodule=way_back)
        _take_best_weights(student, folder)
        (metrics,) = trainer.test(student, datamodule=way_back, verbose=False)
        return 1 - metrics["test/accuracy_target"]


def _labels(module: PaperModule, data: PaperData, batches: Iterable[Any]) -> Labels:
    """What the classifier says of all items, in their order."""
    module.eval()
    with torch.inference_mode():
        labels = [module.classify(data.transfer_batch_to_device(batch, module.device, 0)).cpu() for batch in batches]
    return torch.cat(labels)


def _student(job: Job, module: PaperModule) -> PaperModule:
    student: PaperModule = instantiate(job.settings["model"], "model")
    student.load_state_dict(module.state_dict())
    student.names, student.tell = module.names, module.tell
    return student


def _undisturbed(settings: Mapping[str, Any]) -> dict[str, Any]:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    watching = {name: node for name, node in settings["callbacks"].items() if name not in DISTURBING}
    return {**settings, "callbacks": watching, "trainer": {**settings["trainer"], **quiet}}


def _take_best_weights(student: PaperModule, folder: Path) -> None:
    best = folder / CHECKPOINTS / BEST
    if best.is_file():
        student.load_state_dict(AtomicCheckpointIO().load_checkpoint(best, map_location="cpu")["state_dict"])
