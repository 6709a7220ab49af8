"""CDAN: what the domain classifier sees, and how much an item counts."""

import pytest
import torch

from paperzoo.papers.cdan import MultilinearMap, RandomizedMultilinearMap, entropy_weight
from paperzoo.papers.cdan.conditioning import joint_map


def test_a_certain_prediction_puts_the_features_into_the_block_of_its_class() -> None:
    features, prediction = torch.randn(1, 5), torch.eye(3)[[1]]
    blocks = MultilinearMap(5, 3)(features, prediction).view(3, 5)
    assert torch.equal(blocks[1], features[0])
    assert not blocks[[0, 2]].any()


def test_the_blocks_of_all_classes_add_up_to_the_features() -> None:
    features, prediction = torch.randn(4, 5), torch.randn(4, 3).softmax(1)
    torch.testing.assert_close(MultilinearMap(5, 3)(features, prediction).view(4, 3, 5).sum(1), features)


def test_inner_products_of_the_randomized_map_are_on_average_those_of_the_exact_one() -> None:
    torch.manual_seed(0)
    features, prediction = torch.randn(2, 5), torch.randn(2, 3).softmax(1)
    exact = MultilinearMap(5, 3)(features, prediction)
    inner = []
    for _ in range(400):
        joint = RandomizedMultilinearMap(5, 3, 256)(features, prediction)
        inner.append(joint @ joint.T)
    found, spread = torch.stack(inner).mean(0), torch.stack(inner).std(0) / 20
    assert torch.all((found - exact @ exact.T).abs() < 4 * spread)


def test_the_random_matrices_have_variance_1_and_are_saved_with_the_weights() -> None:
    torch.manual_seed(0)
    joint = RandomizedMultilinearMap(256, 31, 1024)
    for matrix in (joint.feature_matrix, joint.class_matrix):
        assert matrix.var() == pytest.approx(1, abs=0.02)
        assert matrix.abs().max() <= 3**0.5
    assert not list(joint.parameters())
    assert set(joint.state_dict()) == {"feature_matrix", "class_matrix"}


@pytest.mark.parametrize("features, kind", [(409, MultilinearMap), (410, RandomizedMultilinearMap)])
def test_above_4096_dimensions_the_paper_takes_the_randomized_map(features: int, kind: type) -> None:
    assert isinstance(joint_map("auto", features, 10, 1024), kind)


@pytest.mark.parametrize(
    "conditioning, size",
    [("multilinear", 15), ("randomized", 7), ("feature", 5), ("prediction", 3), ("concatenation", 8)],
)
def test_each_conditioning_has_the_size_it_says(conditioning: str, size: int) -> None:
    joint = joint_map(conditioning, 5, 3, 7)  # type: ignore[arg-type]
    assert joint.size == size
    assert joint(torch.randn(2, 5), torch.randn(2, 3).softmax(1)).shape == (2, size)


def test_an_item_counts_by_the_certainty_of_its_prediction() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1000.0, 0.0, 0.0, 0.0]])
    assert entropy_weight(logits, 1).tolist() == pytest.approx([1 + 1 / 4, 2])


def test_the_gradient_of_the_entropy_weight_is_reversed() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    (reversed_gradient,) = torch.autograd.grad(entropy_weight(logits, 0.5).sum(), logits)
    entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
    (gradient,) = torch.autograd.grad((1 + (-entropy).exp()).sum(), logits)
    torch.testing.assert_close(reversed_gradient, -0.5 * gradient)
