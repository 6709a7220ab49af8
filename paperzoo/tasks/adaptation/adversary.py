"""What an adversary is: it tells the domain of an item from what the classifier makes of it, and pushes back."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from paperzoo.batches import SOURCE, TARGET
from paperzoo.nn.perceptron import perceptron

Features = Float[Tensor, "batch feature"]
Logits = Float[Tensor, "batch class"]
DomainLogits = Float[Tensor, "batch *discriminator"]
Weight = Float[Tensor, " batch"]
InitialWeights = Literal["torch", "xavier"]


class Adversary(nn.Module):
    """Base of the adversaries of DANN, CDAN and MADA.

    A subclass gives the log odds that an item is of the target; the gradient that flows back through them to features
    and logits is the reversed one.
    """

    def forward(self, features: Features, logits: Logits, coefficient: float | int) -> DomainLogits:
        """The log odds of "target", of one discriminator or of several.

        Args:
            features: what the feature extractor gives.
            logits: what the label predictor makes of it.
            coefficient: what gradients are multiplied by, beside -1, on the way back from here.
        """
        raise NotImplementedError

    def weight(self, logits: Logits, coefficient: float | int) -> Weight | None:
        """How much each item counts in the loss; None if all count alike."""
        return None


def domain_loss(
    domain_logits: DomainLogits, domain: Int64[Tensor, " batch"], weight: Weight | None = None
) -> Float[Tensor, ""]:
    """Binary cross-entropy: the mean over source items plus the mean over target items (Ganin et al. 2016, eq. 10).

    What the weights of a domain are divided by, their sum, carries no gradient, as in the released code of Long et al.
    2018: else a gradient through the weights would have next to nothing left.

    Args:
        domain_logits: log odds of "target"; the losses of several discriminators are added.
        domain: `SOURCE` or `TARGET`.
        weight: how much each item counts in the mean of its domain; gradients flow through it. None: all alike.
    """
    is_target = (domain == TARGET).to(domain_logits.dtype)
    target = is_target.view(-1, *[1] * (domain_logits.dim() - 1)).expand_as(domain_logits)
    losses = F.binary_cross_entropy_with_logits(domain_logits, target, reduction="none").view(len(domain), -1).sum(1)
    weight = torch.ones_like(losses) if weight is None else weight
    return sum(
        (
            (weight * losses * member).sum() / (weight * member).sum().detach().clamp(min=1e-12)
            for member in (1 - is_target, is_target)
        ),
        start=losses.new_zeros(()),
    )


def discriminator(
    inputs: int, hidden: Sequence[int], dropout: float | int, start: InitialWeights = "torch"
) -> nn.Sequential:
    """The domain classifier Gd: hidden layers of ReLUs, each with dropout, and one logistic unit.

    Without a hidden layer it is a logistic regression, which starts at zero (released code of section 4.1).

    Args:
        inputs: features that it sees.
        hidden: widths of the hidden layers.
        dropout: rate of the dropout after each of them.
        start: initial weights: torch's own, or normal with the variance of Glorot and Bengio and biases of 0.
    """
    network = perceptron((inputs, *hidden, 1), dropout=dropout or None, dropout_after="each")
    if not hidden:
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
    elif start == "xavier":
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
    return nn.Sequential(network, nn.Flatten(0))


def share_right(domain_logits: DomainLogits, domain: Int64[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """For each item the share of the discriminators that tell its domain."""
    said = torch.where(domain_logits > 0, TARGET, SOURCE)
    right = said == domain.view(-1, *[1] * (domain_logits.dim() - 1))
    return right.float().view(len(domain), -1).mean(1)
