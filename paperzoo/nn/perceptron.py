"""The perceptron that most papers end in, or put between two of their ideas."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import nn


def perceptron(
    sizes: Sequence[int], *, dropout: float | int | None = None, dropout_after: Literal["last", "each"] = "last"
) -> nn.Sequential:
    """Linear layers with a ReLU between each two.

    Args:
        sizes: features of the input, of each hidden layer, and of the output.
        dropout: rate, in training; None for no dropout. The names of the parameters do not depend on the rate.
        dropout_after: whether it follows the last hidden layer or each of them; without one there is no dropout.
    """
    *hidden, last = pairwise(sizes)
    layers: list[nn.Module] = []
    for number, shape in enumerate(hidden, start=1):
        layers += [nn.Linear(*shape), nn.ReLU()]
        if dropout is not None and (dropout_after == "each" or number == len(hidden)):
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(*last))
