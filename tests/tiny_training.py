"""A training of milliseconds, for tests of what surrounds a training."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from paperzoo.batches import LabelledImages
from paperzoo.data.base.order import BatchLoader, BatchOrder
from paperzoo.datamodule import PaperData
from paperzoo.module import PaperModule
from paperzoo.reporting.metrics_csv import MetricsBookmark, MetricsCsv
from paperzoo.runner.checkpoints import AtomicCheckpointIO, Checkpoints
from paperzoo.runner.validating import EndWithValidation
from paperzoo.runner.watching import GracefulStop, StopOnNonFinite

TRAINING_BATCHES = 6


class Numbers(Dataset[LabelledImages]):
    def __init__(self, size: int) -> None:
        generator = torch.Generator().manual_seed(size)
        self.image = torch.randint(0, 256, (size, 1, 4, 4), dtype=torch.uint8, generator=generator)
        self.label = torch.randint(0, 3, (size,), generator=generator)

    def __getitem__(self, indices: Tensor) -> LabelledImages:
        return LabelledImages(self.image[indices], self.label[indices])


class TinyData(PaperData):
    yields = LabelledImages

    def __init__(self) -> None:
        super().__init__(workers=0, seed=0)

    def _loader(self, size: int, shuffle: bool) -> DataLoader[LabelledImages]:
        order = BatchOrder(size, 4, self, shuffle=shuffle)
        return BatchLoader(Numbers(size), sampler=order, batch_size=None)

    def train_dataloader(self) -> DataLoader[LabelledImages]:
        return self._loader(4 * TRAINING_BATCHES, shuffle=True)

    def val_dataloader(self) -> DataLoader[LabelledImages]:
        return self._loader(8, shuffle=False)

    test_dataloader = val_dataloader


class TinyModel(PaperModule):
    accepts = (LabelledImages,)
    objective = "val/loss"

    def __init__(self, learning_rate: float = 0.01) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))

    def _loss(self, batch: LabelledImages) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch.image / 255.0), batch.label)

    def training_step(self, batch: LabelledImages, batch_idx: int) -> Tensor:
        loss = self._loss(batch)
        self.log("train/loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: LabelledImages, batch_idx: int) -> None:
        self.log("val/loss", self._loss(batch), batch_size=len(batch.label))

    def test_step(self, batch: LabelledImages, batch_idx: int) -> None:
        self.log("test/loss", self._loss(batch), batch_size=len(batch.label))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), self.learning_rate)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def tiny_trainer(folder: Path, *more: Callback, every_minutes: float = 1e9, **settings: Any) -> Trainer:
    """A trainer as a run has it: atomic checkpoints, metrics.csv, signals."""
    logger = MetricsCsv(folder)
    checkpoints = Checkpoints(every_minutes, "val/loss", "min")
    return Trainer(
        default_root_dir=folder,
        logger=[logger],
        callbacks=[MetricsBookmark(logger), EndWithValidation(), *more, StopOnNonFinite(), checkpoints, GracefulStop()],
        plugins=[AtomicCheckpointIO()],
        **{
            "accelerator": "cpu",
            "max_epochs": 3,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,
            **settings,
        },
    )


def tiny_model(learning_rate: float = 0.01) -> TinyModel:
    torch.manual_seed(1)
    return TinyModel(learning_rate)
