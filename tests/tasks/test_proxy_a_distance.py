"""How well a linear classifier tells domains apart."""

import pytest
import torch

from paperzoo.tasks.adaptation.proxy_a_distance import ITEMS, proxy_a_distance


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_two_halves_of_one_domain_are_nearly_0_apart() -> None:
    domain = torch.randn(2000, 5)
    assert proxy_a_distance(domain[::2], domain[1::2]) < 0.2


def test_separated_domains_are_2_apart() -> None:
    source = torch.rand(50, 3)
    assert proxy_a_distance(source, source + torch.tensor([2.0, 0, 0])) == 2


def test_half_overlapping_domains_are_1_apart() -> None:
    # the best threshold is wrong for half of one domain, or for a share of both that adds up to that: a quarter of all
    source, target = torch.rand(2000, 1), torch.rand(2000, 1) + 0.5
    assert proxy_a_distance(source, target) == pytest.approx(1, abs=0.15)


def test_a_domain_around_the_other_cannot_be_told_by_a_line() -> None:
    angle = 6.3 * torch.rand(1000)
    ring = 3 * torch.stack([angle.cos(), angle.sin()], dim=1)
    assert proxy_a_distance(0.1 * torch.randn(1000, 2), ring) < 1


def test_what_was_learned_on_one_half_is_measured_on_the_other() -> None:
    # more features than items: the half that is trained on can be told apart perfectly
    assert proxy_a_distance(torch.randn(100, 400), torch.randn(100, 400)) < 1


def test_the_same_seed_chooses_the_same_items() -> None:
    source, target = torch.randn(ITEMS + 500, 2), torch.randn(ITEMS + 500, 2) + 0.5
    assert proxy_a_distance(source, target, seed=1) == proxy_a_distance(source, target, seed=1)
    assert len({proxy_a_distance(source, target, seed=seed) for seed in range(4)}) > 1


def test_domains_without_two_halves_are_refused() -> None:
    with pytest.raises(ValueError, match="1 and 5 items"):
        proxy_a_distance(torch.zeros(1, 2), torch.ones(5, 2))
