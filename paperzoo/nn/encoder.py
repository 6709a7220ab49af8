"""What questions, objects and sentences have in common once they are vectors."""

from torch import nn


class Encoder(nn.Module):
    """Turns a part of a batch into vectors, whose length the network behind it must know.

    Attributes:
        size: features of a vector.
    """

    size: int
