"""Multi-adversarial domain adaptation (Pei et al. 2018)."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from paperzoo.nn.classifiers import Classifier
from paperzoo.nn.gradient_reversal import reverse_gradient
from paperzoo.tasks.adaptation.adversary import Adversary, DomainLogits, Features, Logits


class ParallelLinear(nn.Module):
    """Linear layers side by side, each with its own input and weights, as one batched product; torch's initial values.

    Args:
        count: layers.
        inputs: features of each input.
        outputs: features of each output.
    """

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(count, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "count batch inputs"]) -> Float[Tensor, "count batch outputs"]:
        return torch.baddbmm(self.bias, x, self.weight)


class ClasswiseAdversary(Adversary):
    """A domain classifier for each class, fed the features times the probability of that class (eq. 4 and 5).

    Gradients reach the label head through the probability, as in the released code.
    """

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        widths: Sequence[int] = (network.feature_size, *network.discriminator_hidden, 1)
        self.layers = nn.ModuleList(
            ParallelLinear(network.num_classes, inputs, outputs) for inputs, outputs in pairwise(widths)
        )
        self.dropout = network.discriminator_dropout

    def forward(self, features: Features, logits: Logits, coefficient: float | int) -> DomainLogits:
        weighted = torch.einsum("bc,bf->cbf", logits.softmax(1), features)
        x = reverse_gradient(weighted, coefficient)
        for layer in self.layers[:-1]:
            x = F.dropout(F.relu(layer(x)), self.dropout, self.training)
        return self.layers[-1](x).squeeze(2).T
