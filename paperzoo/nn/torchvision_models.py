"""Networks that torchvision has weights for."""

import torch
import torchvision
from torch import nn

from paperzoo.errors import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def fetched(name: str, weights: str | None) -> nn.Module:
    """A torchvision network with its weights, which are downloaded on the first use.

    Args:
        name: of the network.
        weights: "DEFAULT", another name of torchvision's weights, or None for random ones.

    Raises:
        UserError: there are no such weights, or they cannot be downloaded.
    """
    try:
        return torchvision.models.get_model(name, weights=weights)
    except (OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"weights={weights}: torchvision has or finds no such weights of {name} ({reason}); fetch them once with "
            f"network, put them into the folder {torch.hub.get_dir()}/checkpoints, or set the key to null"
        ) from error
