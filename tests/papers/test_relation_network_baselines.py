"""Facts about what the relation network is compared with."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from paperzoo.batches import ImageQuestions
from paperzoo.errors import UserError
from paperzoo.nn.questions import Bits, WordLSTM
from paperzoo.papers.relation_network.baselines import (
    Attention,
    Condensed,
    ConvMLP,
    QuestionLSTM,
    QuestionType,
    ResNetFeatures,
    StackedAttention,
)
from paperzoo.papers.relation_network.images import ConvFeatures
from paperzoo.papers.relation_network.objects import ImageCells

SHAPE = (3, 16, 16)


def questions(size: int = 6) -> ImageQuestions:
    draw: Any = torch.Generator().manual_seed(0)
    return ImageQuestions(
        torch.randint(0, 256, (size, *SHAPE), dtype=torch.uint8, generator=draw),
        torch.randint(1, 6, (size, 4), generator=draw),
        torch.randint(0, 3, (size,), generator=draw),
        torch.randint(0, 2, (size,), generator=draw),
    )


def features() -> ConvFeatures:
    return ConvFeatures([4, 8], 3)


def words() -> WordLSTM:
    return WordLSTM(words=5, embedding=4, hidden=6)


NETWORKS = {
    "question_lstm": lambda: QuestionLSTM(words(), [7], 0, 3),
    "cnn_lstm": lambda: ConvMLP(Condensed(features(), SHAPE, 5), SHAPE, words(), [7], 0, 3),
    "cnn_lstm_sa": lambda: StackedAttention(features(), SHAPE, words(), 2, 9, [7], 0, 3),
    "cnn_mlp": lambda: ConvMLP(features(), SHAPE, Bits(4), [7, 7], 0, 3),
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS.keys())
def network(request):
    torch.manual_seed(0)
    return request.param()


def test_every_question_is_answered_once_and_every_parameter_learns(network):
    batch = questions()
    logits = network(batch)
    assert logits.shape == (1, 6, 3)
    F.cross_entropy(logits[0], batch.answer).backward()
    still = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert still == []


def test_the_answer_depends_on_the_question(network):
    network.eval()
    batch = questions()
    assert not torch.allclose(network(batch), network(batch._replace(question=batch.question.roll(1, 0))))


def test_only_the_lstm_does_not_look(network):
    network.eval()
    batch = questions()
    same = torch.allclose(network(batch), network(batch._replace(image=255 - batch.image)))
    assert same == isinstance(network, QuestionLSTM)


def test_the_question_type_answers_what_was_most_frequent_in_training():
    network = QuestionType(kinds=2, answers=3)
    batch = questions(7)._replace(kind=torch.tensor([0, 0, 0, 1, 1, 1, 1]), answer=torch.tensor([2, 2, 1, 0, 1, 0, 2]))
    network(batch)
    network(batch)
    assert network.counts.tolist() == [[0, 2, 4], [4, 2, 2]]
    logits = network.eval()(batch)
    assert logits[0].argmax(1).tolist() == [2, 2, 2, 0, 0, 0, 0]
    torch.testing.assert_close(logits[0, 0].softmax(0), torch.tensor([1.0, 3.0, 5.0]) / 9)


def test_the_question_type_neither_counts_in_evaluation_nor_sees_the_answers_first():
    batch = questions()
    network = QuestionType(kinds=2, answers=3)
    assert network(batch).unique().numel() == 1
    counted = network.counts.clone()
    network.eval()(batch._replace(answer=torch.full((6,), -1)))
    assert torch.equal(network.counts, counted)


def test_the_question_type_can_be_trained_by_any_optimiser():
    network = QuestionType(kinds=2, answers=3)
    batch = questions()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(network(batch)[0], batch.answer).backward()
        optimizer.step()
    assert network.log_temperature.item() != 0
    for kind in range(2):
        (frequency,) = torch.stack([(batch.answer[batch.kind == kind] == a).sum() for a in range(3)])[None]
        chosen = network.eval()(batch)[0][batch.kind == kind].argmax(1)
        assert (frequency[chosen] == frequency.max()).all()


def test_the_question_type_remembers_its_counts():
    network, copy = QuestionType(2, 3), QuestionType(2, 3)
    network(questions())
    copy.load_state_dict(network.state_dict())
    assert torch.equal(copy.counts, network.counts)


def test_attention_adds_a_weighted_mean_of_the_cells():
    torch.manual_seed(0)
    attention = Attention(size=4, hidden=5)
    cells, code = torch.randn(2, 6, 4), torch.randn(2, 4)
    expected = []
    for item in range(2):
        scores = [attention.score(torch.tanh(attention.cell(c) + attention.code(code[item]))) for c in cells[item]]
        weights = torch.cat(scores).softmax(0)
        expected.append(code[item] + sum(w * c for w, c in zip(weights, cells[item], strict=True)))
    torch.testing.assert_close(attention(cells, code), torch.stack(expected))


def test_attention_does_not_depend_on_the_order_of_the_cells():
    torch.manual_seed(0)
    attention = Attention(size=4, hidden=5)
    cells, code = torch.randn(2, 6, 4), torch.randn(2, 4)
    torch.testing.assert_close(attention(cells.flip(1), code), attention(cells, code))


def test_the_perceptron_of_sort_of_clevr_has_the_layers_of_g_and_f():
    """Four layers of 2000 units, then 2000, 1000, 500 and 100, on 5 x 5 cells of 256 channels and 11 bits."""
    hidden = [2000, 2000, 2000, 2000, 2000, 1000, 500, 100]
    with torch.device("meta"):
        layers = [nn.Linear(*shape) for shape in zip([25 * 256 + 11, *hidden], [*hidden, 10], strict=True)]
    images = ConvFeatures([32, 64, 128, 256], 3)
    network = ConvMLP(images, (3, 75, 75), Bits(11), hidden, 0, 10)
    linear = [layer for layer in network.classifier if isinstance(layer, nn.Linear)]
    assert [layer.weight.shape for layer in linear] == [layer.weight.shape for layer in layers]


def test_looking_at_sizes_leaves_the_features_as_they_were():
    images = features()
    before = {name: value.clone() for name, value in images.state_dict().items()}
    ConvMLP(images, SHAPE, Bits(4), [7], 0, 3)
    assert images.training
    assert all(torch.equal(value, before[name]) for name, value in images.state_dict().items())


def test_conv4_features_are_frozen():
    torch.manual_seed(0)
    images = ResNetFeatures(weights=None).train()
    before = {name: value.clone() for name, value in images.state_dict().items()}
    assert images(questions(1).image).shape == (1, 1024, 14, 14)
    assert not any(parameter.requires_grad for parameter in images.parameters())
    assert all(torch.equal(value, before[name]) for name, value in images.state_dict().items())


def test_unknown_weights_are_named():
    with pytest.raises(UserError, match="NOPE"):
        ResNetFeatures(weights="NOPE")


@pytest.mark.parametrize("network", [QuestionLSTM, ConvMLP, StackedAttention])
def test_baselines_need_a_hidden_layer(network):
    assert list(network.check(hidden=[], answers=3)) == ["hidden=[]: should have at least one layer"]
    assert not list(network.check(hidden=[7], answers=3))


@pytest.mark.parametrize("images", [ConvFeatures, ImageCells])
def test_features_need_a_convolution(images):
    assert list(images.check(channels=[])) == ["channels=[]: should have at least one convolution"]
    assert not list(images.check(channels=[8]))
