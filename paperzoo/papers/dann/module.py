"""Domain-adversarial training of neural networks (Ganin et al. 2016)."""

from typing import Literal

from paperzoo.adaptation import AdaptationModule, NonNegative, OptimizerFactory, Schedule
from paperzoo.adaptation.adversary import Adversary, DomainLogits, Features, Logits, discriminator
from paperzoo.nn.classifiers import Classifier
from paperzoo.nn.gradient_reversal import reverse_gradient


class DomainAdversary(Adversary):
    """One domain classifier on the features, behind a gradient reversal (section 4.2)."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.discriminator = discriminator(
            network.feature_size, network.discriminator_hidden, network.discriminator_dropout
        )

    def forward(self, features: Features, logits: Logits, coefficient: float | int) -> DomainLogits:
        return self.discriminator(reverse_gradient(features, coefficient))


class DANNModule(AdaptationModule):
    """DANN, and its baseline that is trained on the source alone.

    Args:
        adaptation: "dann", or "none", where the domain classifier watches without influence.
        network: this and all others: see `AdaptationModule`.
    """

    def __init__(
        self,
        adaptation: Literal["none", "dann"],
        network: Classifier,
        schedule: Schedule,
        optimizer: OptimizerFactory,
        pretrained_lr_factor: NonNegative,
        before: str | None,
    ) -> None:
        super().__init__(
            network, DomainAdversary, adaptation != "none", schedule, optimizer, pretrained_lr_factor, before
        )
