"""How a flow step mixes the channels before they are halved (Kingma & Dhariwal 2018, section 3.2, Figure 3).

All are matrices over the channels; fixed permutations too, because a small matrix product costs less than a copy.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Matrix = Float[Tensor, "channel channel"]
Scalar = Float[Tensor, ""]
PermutationName = Literal["reverse", "shuffle", "conv1x1", "conv1x1_lu"]


class Permutation(nn.Module, ABC):
    """An invertible matrix over the channels, applied to every pixel."""

    @abstractmethod
    def matrix(self) -> Matrix: ...

    @abstractmethod
    def inverse_matrix(self) -> Matrix: ...

    @staticmethod
    @abstractmethod
    def total_log_abs_det(layers: Sequence["Permutation"]) -> Scalar:
        """The sum of log |det| over several layers of this class and of one size."""


class FixedPermutation(Permutation):
    """A permutation of the channels that is not learned.

    Args:
        order: the channel that goes to each place.
    """

    fixed: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("fixed", torch.eye(len(order))[order])

    def matrix(self) -> Matrix:
        return self.fixed

    def inverse_matrix(self) -> Matrix:
        return self.fixed.T

    @staticmethod
    def total_log_abs_det(layers: Sequence[Permutation]) -> Scalar:
        return layers[0].matrix().new_zeros(())


class Conv1x1(Permutation):
    """A learned matrix, a random rotation at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_rotation(channels))

    def matrix(self) -> Matrix:
        return self.weight

    def inverse_matrix(self) -> Matrix:
        return torch.linalg.inv(self.weight.double()).to(self.weight.dtype)

    @staticmethod
    def total_log_abs_det(layers: Sequence[Permutation]) -> Scalar:
        weights = torch.stack([layer.matrix() for layer in layers])  # one batched call: one launch on a GPU
        return torch.linalg.slogdet(weights.double()).logabsdet.sum().to(weights.dtype)


class Conv1x1LU(Permutation):
    """A learned matrix kept as `P L (U + diag(s))`, whose determinant is the product of s (eq. 10 and 11).

    P and the signs of s stay as they were drawn: those of a random rotation.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        permutation, lower, upper = torch.linalg.lu(random_rotation(channels))
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", upper.diagonal().sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_abs_diagonal = nn.Parameter(upper.diagonal().abs().log())

    def matrix(self) -> Matrix:
        lower, upper = self._triangles()
        return self.permutation @ lower @ upper

    def inverse_matrix(self) -> Matrix:
        lower, upper = (triangle.double() for triangle in self._triangles())
        solved = torch.linalg.solve_triangular(lower, self.permutation.T.double(), upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, solved, upper=True).to(self.lower.dtype)

    @staticmethod
    def total_log_abs_det(layers: Sequence[Permutation]) -> Scalar:
        return torch.cat([layer.log_abs_diagonal for layer in layers if isinstance(layer, Conv1x1LU)]).sum()

    def _triangles(self) -> tuple[Matrix, Matrix]:
        one = torch.eye(len(self.sign), dtype=self.sign.dtype, device=self.sign.device)
        return self.lower.tril(-1) + one, self.upper.triu(1) + torch.diag(self.sign * self.log_abs_diagonal.exp())


def random_rotation(channels: int) -> Matrix:
    """An orthogonal matrix, so log |det| = 0."""
    return torch.linalg.qr(torch.randn(channels, channels)).Q


PERMUTATIONS: dict[PermutationName, Callable[[int], Permutation]] = {
    "reverse": lambda channels: FixedPermutation(torch.arange(channels).flip(0)),
    "shuffle": lambda channels: FixedPermutation(torch.randperm(channels)),
    "conv1x1": Conv1x1,
    "conv1x1_lu": Conv1x1LU,
}
