"""Forward nothing, backward the opposite; and how strong it is when."""

import pytest
import torch

from paperzoo.nn.gradient_reversal import reversal_ramp, reverse_gradient
from paperzoo.tasks.adaptation import Schedule


def test_what_goes_forward_is_the_same_bit_for_bit() -> None:
    x = torch.randn(64, 7)
    assert torch.equal(reverse_gradient(x, 0.3), x)


@pytest.mark.parametrize("coefficient", [0, 0.1, 1, 6])
def test_the_gradient_comes_back_times_minus_the_coefficient(coefficient: float | int) -> None:
    x, w = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    (w * reverse_gradient(x, coefficient)).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, -coefficient * w)


def test_a_second_branch_keeps_its_own_gradient() -> None:
    x = torch.randn(4, requires_grad=True)
    (3 * x + 2 * reverse_gradient(x, 0.5)).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((4,), 3 - 2 * 0.5))


PROGRESS = (0, 0.05, 0.1, 0.25, 0.5, 0.75, 1)


def test_lambda_follows_the_papers_schedule() -> None:
    found = [reversal_ramp(p) for p in PROGRESS]
    assert found == pytest.approx([0, 0.2449, 0.4621, 0.8483, 0.9866, 0.9989, 0.9999], abs=5e-5)


def test_the_learning_rate_follows_the_papers_schedule() -> None:
    schedule = Schedule(domain_weight=1, reversal=1, ramp=10, lr_alpha=10, lr_beta=0.75, steps=None)
    found = [0.01 * schedule.lr_factor(p) for p in PROGRESS]
    assert found == pytest.approx([0.01, 0.007378, 0.005946, 0.003908, 0.002608, 0.002009, 0.001656], abs=5e-7)


def test_without_a_ramp_lambda_is_the_same_from_the_start() -> None:
    schedule = Schedule(domain_weight=1, reversal=6, ramp=None, lr_alpha=0, lr_beta=0, steps=None)
    assert [schedule.coefficient(p) for p in PROGRESS] == [6] * len(PROGRESS)
    assert [schedule.lr_factor(p) for p in PROGRESS] == [1] * len(PROGRESS)
