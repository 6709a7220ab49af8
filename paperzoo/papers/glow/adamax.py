"""Adamax as openai/glow has it."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Adamax(torch.optim.Optimizer):
    """Adamax (Kingma & Ba 2015, section 7.1) with Adam's second bias correction, which the original does not need.

        m = beta1 m + (1 - beta1) g
        u = max(beta2 u, |g|)
        parameter -= lr sqrt(1 - beta2^t) / (1 - beta1^t) * m / (u + eps)

    The square root makes the first steps shorter: a tenth of lr at first for beta2 = 0.99.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: Iterable[float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not parameters:
            return
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {"mean": torch.zeros_like(parameter), "peak": torch.zeros_like(parameter)}
        gradients = [parameter.grad for parameter in parameters]
        means = [self.state[parameter]["mean"] for parameter in parameters]
        peaks = [self.state[parameter]["peak"] for parameter in parameters]
        beta1, beta2 = group["betas"]
        group["t"] = t = group.get("t", 0) + 1
        length = group["lr"] * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(peaks, beta2)
        torch._foreach_maximum_(peaks, torch._foreach_abs(gradients))
        torch._foreach_addcdiv_(parameters, means, torch._foreach_add(peaks, group["eps"]), -length)
