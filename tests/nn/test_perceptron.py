import pytest
import torch
from torch import nn

from paperzoo.nn.perceptron import perceptron


def kinds(network: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in network]


@pytest.mark.parametrize(
    ("sizes", "options", "layers"),
    [
        ([3, 1], {}, ["Linear"]),
        ([3, 5, 1], {}, ["Linear", "ReLU", "Linear"]),
        ([3, 5, 4, 1], {"dropout": 0.5}, ["Linear", "ReLU", "Linear", "ReLU", "Dropout", "Linear"]),
        ([3, 5, 4, 1], {"dropout": 0}, ["Linear", "ReLU", "Linear", "ReLU", "Dropout", "Linear"]),
        (
            [3, 5, 4, 1],
            {"dropout": 0.5, "dropout_after": "each"},
            ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"],
        ),
        ([3, 1], {"dropout": 0.5}, ["Linear"]),
        ([3, 1], {"dropout": 0.5, "dropout_after": "each"}, ["Linear"]),
    ],
)
def test_dropout_follows_the_hidden_layers_that_are_named(sizes, options, layers):
    assert kinds(perceptron(sizes, **options)) == layers


def test_layers_have_the_sizes_in_order():
    shapes = [tuple(layer.weight.shape) for layer in perceptron([3, 5, 4, 1]) if isinstance(layer, nn.Linear)]
    assert shapes == [(5, 3), (4, 5), (1, 4)]


def test_layers_draw_their_weights_in_order():
    torch.manual_seed(0)
    network = perceptron([3, 5, 1], dropout=0.5)
    torch.manual_seed(0)
    first, last = nn.Linear(3, 5), nn.Linear(5, 1)
    assert torch.equal(network[0].weight, first.weight)
    assert torch.equal(network[-1].weight, last.weight)


def test_it_is_linear_where_all_units_are_on():
    network = perceptron([2, 3, 2])
    x = torch.randn(4, 2)
    with torch.no_grad():
        network[0].bias.fill_(100)
        hidden = x @ network[0].weight.T + network[0].bias
        torch.testing.assert_close(network(x), hidden @ network[2].weight.T + network[2].bias)
