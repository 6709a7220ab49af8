"""A model that stands on another run: a prior on the codes of a frozen autoencoder."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from paperzoo.batches import Images, LabelledImages
from paperzoo.module import PaperModule
from paperzoo.runner.weights import load_model


class ToyAutoencoder(PaperModule):
    accepts: ClassVar[tuple[type, ...]] = (Images, LabelledImages)
    objective: ClassVar[str] = "val/error"

    def __init__(self, image_shape: tuple[int, int, int], code_size: int) -> None:
        super().__init__()
        size = image_shape[0] * image_shape[1] * image_shape[2]
        self.encoder, self.decoder = nn.Linear(size, code_size), nn.Linear(code_size, size)

    def encode(self, batch: Images | LabelledImages) -> Tensor:
        return self.encoder(batch.image.flatten(1) / 255)

    def errors(self, batch: Images | LabelledImages) -> Tensor:
        return (self.decoder(self.encode(batch)) - batch.image.flatten(1) / 255).square().mean(1)

    def training_step(self, batch: Images | LabelledImages, batch_idx: int) -> Tensor:
        loss = self.errors(batch).mean()
        self.log("train/error", loss.detach(), on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Images | LabelledImages, batch_idx: int) -> None:
        self.tally.add("error", self.errors(batch))

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-2)


class ToyPrior(PaperModule):
    accepts: ClassVar[tuple[type, ...]] = (Images, LabelledImages)
    objective: ClassVar[str] = "val/nats"

    def __init__(self, autoencoder: str) -> None:
        super().__init__()
        first: Any = load_model(autoencoder)
        self.autoencoder = first.requires_grad_(False)
        self.mean = nn.Parameter(torch.zeros(first.encoder.out_features))

    def train(self, mode: bool = True) -> "ToyPrior":
        super().train(mode)
        self.autoencoder.eval()
        return self

    def nats(self, batch: Images | LabelledImages) -> Tensor:
        return 0.5 * (self.autoencoder.encode(batch) - self.mean).square().sum(1)

    def training_step(self, batch: Images | LabelledImages, batch_idx: int) -> Tensor:
        loss = self.nats(batch).mean()
        self.log("train/nats", loss.detach(), on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Images | LabelledImages, batch_idx: int) -> None:
        self.tally.add("nats", self.nats(batch))

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([self.mean], 1e-2)
