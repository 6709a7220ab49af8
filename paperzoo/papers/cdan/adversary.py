"""Conditional adversarial domain adaptation (Long et al. 2018)."""

from pydantic import PositiveInt

from paperzoo.nn.classifiers import Classifier
from paperzoo.nn.gradient_reversal import reverse_gradient
from paperzoo.papers.cdan.conditioning import Conditioning, entropy_weight, joint_map
from paperzoo.tasks.adaptation.adversary import (
    Adversary,
    DomainLogits,
    Features,
    InitialWeights,
    Logits,
    Weight,
    discriminator,
)


class ConditionalAdversary(Adversary):
    """A domain classifier of features and prediction together (eq. 4 to 8).

    The prediction is taken as it is: no gradient reaches the label head through it (released code).

    Args:
        network: the classifier.
        conditioning: what the domain classifier sees: "multilinear" (f x g), "randomized", "auto" (the paper's rule:
            randomized above 4,096 dimensions), or one of Figure 2a's weaker ones.
        randomized_size: dimensions of the randomized map.
        entropy: items with a certain prediction count more: CDAN+E.
        start: initial weights of the domain classifier, see `discriminator`; the released code's are "xavier".
    """

    def __init__(
        self,
        network: Classifier,
        conditioning: Conditioning,
        randomized_size: PositiveInt,
        entropy: bool,
        start: InitialWeights,
    ) -> None:
        super().__init__()
        self.joint = joint_map(conditioning, network.feature_size, network.num_classes, randomized_size)
        self.entropy = entropy
        self.discriminator = discriminator(
            self.joint.size, network.discriminator_hidden, network.discriminator_dropout, start
        )

    def forward(self, features: Features, logits: Logits, coefficient: float | int) -> DomainLogits:
        joint = self.joint(features, logits.softmax(1).detach())
        return self.discriminator(reverse_gradient(joint, coefficient))

    def weight(self, logits: Logits, coefficient: float | int) -> Weight | None:
        return entropy_weight(logits, coefficient) if self.entropy else None
