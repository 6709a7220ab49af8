"""A generator against a discriminator: two optimisers in one module, no objective, weights kept as they are last."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paperzoo.batches import Images, LabelledImages
from paperzoo.module import PaperModule
from paperzoo.reporting.images import image_grid

LATENTS = 4


class ToyGAN(PaperModule):
    accepts: ClassVar[tuple[type, ...]] = (Images, LabelledImages)
    objective: ClassVar[None] = None

    def __init__(self, image_shape: tuple[int, int, int], lr: float) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.lr = lr
        self.shape = image_shape
        size = image_shape[0] * image_shape[1] * image_shape[2]
        self.generator = nn.Sequential(nn.Linear(LATENTS, 16), nn.ReLU(), nn.Linear(16, size), nn.Sigmoid())
        self.critic = nn.Sequential(nn.Linear(size, 16), nn.ReLU(), nn.Linear(16, 1))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(part.parameters(), self.lr) for part in (self.critic, self.generator)]

    def training_step(self, batch: Images | LabelledImages, batch_idx: int) -> None:
        critic, generator = self.optimizers()
        real = batch.image.flatten(1) / 255
        fake = self.generator(torch.randn(len(real), LATENTS, device=self.device))
        critic_loss = F.softplus(-self.critic(real)).mean() + F.softplus(self.critic(fake.detach())).mean()
        self.descend(critic, critic_loss)
        generator_loss = F.softplus(-self.critic(fake)).mean()
        self.descend(generator, generator_loss)
        losses = {"train/critic_loss": critic_loss.detach(), "train/generator_loss": generator_loss.detach()}
        self.log_dict(losses, on_step=True, on_epoch=False)

    def _count(self, batch: Images | LabelledImages) -> None:
        self.tally.add("told_real", (self.critic(batch.image.flatten(1) / 255) > 0).float())

    def validation_step(self, batch: Images | LabelledImages, batch_idx: int) -> None:
        self._count(batch)

    def test_step(self, batch: Images | LabelledImages, batch_idx: int) -> None:
        self._count(batch)

    def figures(self, batch: Images | LabelledImages) -> dict:
        made: Tensor = self.generator(torch.randn(4, LATENTS, device=self.device))
        return {"samples": image_grid((255 * made).byte().view(-1, *self.shape), 4)}
