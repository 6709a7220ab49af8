"""A fresh network fitted to one image: a step is an iteration, and nothing is held out."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from paperzoo.batches import Images
from paperzoo.module import PaperModule
from paperzoo.reporting.images import image_grid


class ToyFit(PaperModule):
    accepts: ClassVar[tuple[type, ...]] = (Images,)
    objective: ClassVar[None] = None

    def __init__(self, image_shape: tuple[int, int, int], lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.shape = image_shape
        self.register_buffer("code", torch.randn(1, 8))
        size = image_shape[0] * image_shape[1] * image_shape[2]
        self.network = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, size))

    def image(self) -> Tensor:
        noise = 0.01 * torch.randn_like(self.code) if self.training else 0
        return self.network(self.code + noise).view(1, *self.shape)

    def error(self, batch: Images) -> Tensor:
        return (self.image() - batch.image / 255).square().mean()

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        loss = self.error(batch)
        self.log("train/loss", loss.detach(), on_step=True, on_epoch=False)
        return loss

    def test_step(self, batch: Images, batch_idx: int) -> None:
        self.tally.add("squared_error", self.error(batch)[None])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.lr)

    def figures(self, batch: Images) -> dict:
        fitted = (255 * self.image().clamp(0, 1)).byte()
        return {"restored": image_grid(torch.cat([batch.image, fitted]), 2)}
