"""Random changes of whole batches of objects, on the device they are on, from torch's global generators."""

from math import tau
from typing import Annotated

import torch
from annotated_types import Ge

from paperzoo.batches import ObjectQuestions


class TurnAndScale:
    """Turns the places of all objects of a question about the origin, by any angle, and scales them.

    A place is the first two features of an object. The logarithm of the scale is evenly distributed.

    Args:
        scale: the largest scale; the smallest is its inverse.
    """

    def __init__(self, scale: Annotated[float | int, Ge(1)]) -> None:
        self.scale = scale

    def __call__(self, batch: ObjectQuestions) -> ObjectQuestions:
        count, device = len(batch.answer), batch.objects.device
        angle = tau * torch.rand(count, device=device)
        scale = self.scale ** (2 * torch.rand(count, device=device) - 1)
        cosine, sine = scale * angle.cos(), scale * angle.sin()
        turn = torch.stack([cosine, sine, -sine, cosine], dim=1).view(-1, 2, 2)
        moved = torch.cat([batch.objects[..., :2] @ turn, batch.objects[..., 2:]], dim=2)
        return batch._replace(objects=moved)
