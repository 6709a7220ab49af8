"""CDAN: what the domain classifier sees, and how much an item counts."""

import pytest
import torch
import torch.nn.functional as F
import yaml

from paperzoo.cli import CONFIG_FOLDER
from paperzoo.nn.classifiers import LeNet, ShallowNetwork
from paperzoo.papers.cdan import ConditionalAdversary, MultilinearMap, RandomizedMultilinearMap, entropy_weight
from paperzoo.papers.cdan.conditioning import joint_map
from paperzoo.tasks.adaptation.adversary import domain_loss

AVERAGES = {
    "office31": {"none": 0.761, "cdan": 0.866, "cdan_e": 0.877},
    "image_clef": {"none": 0.807, "cdan": 0.871, "cdan_e": 0.877},
    "office_home": {"none": 0.461, "cdan": 0.638, "cdan_e": 0.658},
}


@pytest.mark.parametrize("table", AVERAGES)
def test_the_published_tables_have_the_printed_averages(table: str) -> None:
    paper = yaml.safe_load((CONFIG_FOLDER / "paper/cdan.yaml").read_text())
    for method, average in AVERAGES[table].items():
        values = paper[table][method].values()
        assert sum(values) / len(values) == pytest.approx(average, abs=1.3e-3), method


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


def released_loss(features: torch.Tensor, logits: torch.Tensor, built: ConditionalAdversary) -> torch.Tensor:
    """CDAN+E of the released code, written out, for as many items of the source as of the target, source first.

    The entropy's own gradient is reversed; what the weights are divided by carries none; the prediction carries none.
    """
    prediction = logits.softmax(1)
    entropy = -(prediction * prediction.log()).sum(1)
    certainty = 1 + torch.exp(-(2 * entropy.detach() - entropy))  # as `entropy`, with its gradient reversed
    joint = (prediction.detach()[:, :, None] * features[:, None, :]).flatten(1)
    probability = built.discriminator(2 * joint.detach() - joint).sigmoid()  # of the target; reversed too
    half = len(features) // 2
    losses = torch.cat([-(1 - probability[:half]).log(), -probability[half:].log()])
    weight = torch.cat([part / part.sum().item() for part in (certainty[:half], certainty[half:])])
    return (weight * losses).sum() / weight.sum().item()


def test_the_gradient_of_cdan_with_entropy_is_that_of_the_released_formula() -> None:
    torch.manual_seed(0)
    network = ShallowNetwork(inputs=2, hidden=6, num_classes=4)
    network.discriminator_hidden = (9, 8)
    built = ConditionalAdversary(network, "multilinear", 16, entropy=True, start="xavier").double()
    features = torch.randn(10, 6, dtype=torch.double, requires_grad=True)
    logits = torch.randn(10, 4, dtype=torch.double, requires_grad=True)
    domain = torch.arange(2).repeat_interleave(5)
    found = 0.5 * domain_loss(built(features, logits, 1.0), domain, built.weight(logits, 1.0))
    expected = released_loss(features, logits, built)
    torch.testing.assert_close(found, expected)
    wanted = (features, logits, *built.parameters())
    gradients = (torch.autograd.grad(loss, wanted) for loss in (found, expected))
    for own, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-12)


def test_what_the_weights_are_divided_by_carries_no_gradient() -> None:
    losses = torch.tensor([0.3, -1.2, 0.8, 2.0], dtype=torch.double)
    weight = torch.tensor([1.2, 1.9, 1.4, 1.7], dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(domain_loss(losses, torch.tensor([0, 0, 1, 1]), weight), weight)
    entropies = torch.cat([F.softplus(losses[:2]), F.softplus(-losses[2:])])
    sums = weight.detach().view(2, 2).sum(1).repeat_interleave(2)
    torch.testing.assert_close(gradient, entropies / sums)


def test_the_domain_classifier_starts_as_in_the_released_code() -> None:
    torch.manual_seed(0)
    network = LeNet((1, 28, 28), 10, "symmetric")
    built = ConditionalAdversary(network, "multilinear", 16, entropy=True, start="xavier")
    layers = [layer for layer in built.modules() if isinstance(layer, torch.nn.Linear)]
    assert [layer.in_features for layer in layers] == [5000, 500, 500]
    for layer in layers:
        assert float(layer.weight.std()) == pytest.approx(
            (2 / (layer.in_features + layer.out_features)) ** 0.5, rel=0.1
        )
        assert not layer.bias.any()


def test_the_gradient_of_the_entropy_weight_is_reversed() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    (reversed_gradient,) = torch.autograd.grad(entropy_weight(logits, 0.5).sum(), logits)
    entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
    (gradient,) = torch.autograd.grad((1 + (-entropy).exp()).sum(), logits)
    torch.testing.assert_close(reversed_gradient, -0.5 * gradient)
