"""Gradient reversal (Ganin et al. 2016, section 4.2) and the schedule of its coefficient (section 5.2.2)."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Features = Float[Tensor, "*shape"]


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficient: float | int) -> Tensor:
        ctx.coefficient = coefficient
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * -ctx.coefficient, None


def reverse_gradient(x: Features, coefficient: float | int) -> Features:
    """`x` itself, through which gradients flow back multiplied by `-coefficient` (eq. 17 and 18).

    What comes after it is trained to do its task, what comes before it to make that task hard.
    """
    return _Reversal.apply(x, coefficient)


def reversal_ramp(progress: float | int, gamma: float | int = 10) -> float:
    """`2 / (1 + exp(-gamma p)) - 1`: from 0 towards 1 as training progresses, p from 0 to 1 (section 5.2.2)."""
    return 2 / (1 + math.exp(-gamma * progress)) - 1
