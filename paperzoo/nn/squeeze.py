"""Trading space for channels (Dinh et al. 2017, section 3.6; Kingma & Dhariwal 2018, section 3)."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def squeeze(x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel*4 height//2 width//2"]:
    """Turns every 2x2 square of pixels into one pixel with four times the channels.

    The new channel is `4 * channel + 2 * row + column`, row and column counted within the square.
    """
    return F.pixel_unshuffle(x, 2)


def unsqueeze(x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel//4 height*2 width*2"]:
    """The inverse of `squeeze`."""
    return F.pixel_shuffle(x, 2)
