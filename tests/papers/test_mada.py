"""MADA: a domain classifier for each class."""

import pytest
import torch
import torch.nn.functional as F
import yaml

from paperzoo.cli import CONFIG_FOLDER
from paperzoo.nn.classifiers import ShallowNetwork
from paperzoo.papers.mada import ClasswiseAdversary

AVERAGES = {
    "office31": {"mada": 0.852},
    "image_clef": {"mada": 0.858},
    "office31_partial": {"none": 0.684, "mada": 0.737},
}


@pytest.mark.parametrize("table", AVERAGES)
def test_the_published_tables_have_the_printed_averages(table: str) -> None:
    paper = yaml.safe_load((CONFIG_FOLDER / "paper/mada.yaml").read_text())
    for method, average in AVERAGES[table].items():
        values = paper[table][method].values()
        assert sum(values) / len(values) == pytest.approx(average, abs=1.3e-3), method


def adversary() -> ClasswiseAdversary:
    torch.manual_seed(0)
    network = ShallowNetwork(inputs=2, hidden=5, num_classes=3)
    network.discriminator_hidden = (7, 6)
    return ClasswiseAdversary(network).eval()


def by_hand(built: ClasswiseAdversary, weighted: torch.Tensor, label: int) -> torch.Tensor:
    x = weighted
    for number, layer in enumerate(built.layers):
        x = F.linear(x, layer.weight[label].T, layer.bias[label, 0])  # type: ignore[index,union-attr]
        x = F.relu(x) if number < 2 else x
    return x[:, 0]


def test_each_class_has_a_discriminator_of_its_own_on_features_times_probability() -> None:
    built, features, logits = adversary(), torch.randn(4, 5), torch.randn(4, 3)
    found = built(features, logits, 1.0)
    assert found.shape == (4, 3)
    for label in range(3):
        weighted = logits.softmax(1)[:, [label]] * features
        torch.testing.assert_close(found[:, label], by_hand(built, weighted, label))


def test_a_certain_prediction_is_dann_for_its_class_alone() -> None:
    built, features = adversary(), torch.randn(4, 5)
    certain = built(features, torch.tensor([[0.0, 1000.0, 0.0]]).expand(4, 3), 1.0)
    torch.testing.assert_close(certain[:, 1], by_hand(built, features, 1))
    nothing = by_hand(built, torch.zeros(4, 5), 0)
    torch.testing.assert_close(certain[:, 0], nothing)


def test_the_gradient_to_features_and_prediction_is_reversed() -> None:
    built = adversary()
    features, logits = torch.randn(4, 5, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    reversed_ = torch.autograd.grad(built(features, logits, 0.5).sum(), (features, logits))
    straight = torch.autograd.grad(built(features, logits, -1.0).sum(), (features, logits))
    for found, expected in zip(reversed_, straight, strict=True):
        torch.testing.assert_close(found, -0.5 * expected)
