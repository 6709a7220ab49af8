"""Conditional adversarial domain adaptation (Long et al. 2018)."""

from typing import Literal

from pydantic import PositiveInt

from paperzoo.adaptation import AdaptationModule, NonNegative, OptimizerFactory, Schedule
from paperzoo.adaptation.adversary import Adversary, DomainLogits, Features, Logits, Weight, discriminator
from paperzoo.nn.classifiers import Classifier
from paperzoo.nn.gradient_reversal import reverse_gradient
from paperzoo.papers.cdan.conditioning import Conditioning, entropy_weight, joint_map


class ConditionalAdversary(Adversary):
    """A domain classifier of features and prediction together (eq. 4 to 8).

    The prediction is taken as it is: no gradient reaches the label head through it (released code).

    Args:
        network: the classifier.
        conditioning: how features and prediction are joined.
        randomized_size: dimensions of the randomized map.
        entropy: items with a certain prediction count more: CDAN+E.
    """

    def __init__(self, network: Classifier, conditioning: Conditioning, randomized_size: int, entropy: bool) -> None:
        super().__init__()
        self.joint = joint_map(conditioning, network.feature_size, network.num_classes, randomized_size)
        self.entropy = entropy
        self.discriminator = discriminator(self.joint.size, network.discriminator_hidden, network.discriminator_dropout)

    def forward(self, features: Features, logits: Logits, coefficient: float | int) -> DomainLogits:
        joint = self.joint(features, logits.softmax(1).detach())
        return self.discriminator(reverse_gradient(joint, coefficient))

    def weight(self, logits: Logits, coefficient: float | int) -> Weight | None:
        return entropy_weight(logits, coefficient) if self.entropy else None


class CDANModule(AdaptationModule):
    """CDAN and CDAN+E.

    Args:
        adaptation: "cdan", "cdan_e" (items weighted by the certainty of their prediction: CDAN+E), or "none", where the
            domain classifier watches without influence.
        conditioning: what the domain classifier sees: "multilinear" (f x g), "randomized", "auto" (the paper's rule:
            randomized above 4,096 dimensions), or one of Figure 2a's weaker ones.
        randomized_size: dimensions of the randomized map.
        network: this and all others: see `AdaptationModule`.
    """

    def __init__(
        self,
        adaptation: Literal["none", "cdan", "cdan_e"],
        conditioning: Conditioning,
        randomized_size: PositiveInt,
        network: Classifier,
        schedule: Schedule,
        optimizer: OptimizerFactory,
        pretrained_lr_factor: NonNegative,
        before: str | None,
    ) -> None:
        def adversary(classifier: Classifier) -> ConditionalAdversary:
            return ConditionalAdversary(classifier, conditioning, randomized_size, entropy=adaptation == "cdan_e")

        super().__init__(network, adversary, adaptation != "none", schedule, optimizer, pretrained_lr_factor, before)
