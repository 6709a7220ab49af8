"""Domain-adversarial training of neural networks (Ganin et al. 2016)."""

from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor, nn

from paperzoo.batches import SOURCE, TARGET
from paperzoo.nn.classifiers import Classifier, ShallowNetwork
from paperzoo.nn.gradient_reversal import reverse_gradient
from paperzoo.papers.dann.figures import moons_figure
from paperzoo.tasks.adaptation import AdaptationModule
from paperzoo.tasks.adaptation.adversary import Adversary, DomainLogits, Features, Logits, discriminator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Float[Tensor, "point 2"]
Probability = Float[Tensor, " point"]


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
    """An `AdaptationModule` that also draws Figure 2, of a shallow network in the plane."""

    def figures(self, batch: Any) -> "dict[str, Figure]":
        drawn = super().figures(batch)
        hidden = self.network.extractor[0] if isinstance(self.network, ShallowNetwork) else None  # type: ignore[index]
        if isinstance(hidden, nn.Linear) and hidden.in_features == 2 and self.gathered:
            return {"moons": self._moons_figure(hidden), **drawn}
        return drawn

    def _moons_figure(self, hidden: nn.Linear) -> "Figure":
        def class_probability(points: Points) -> Probability:
            return self.network(points.to(self.device)).softmax(1)[:, 1].cpu()

        def domain_probability(points: Points) -> Probability:
            features = self.network.features(points.to(self.device))
            return self.adversary(features, self.network.head(features), 0.0).sigmoid().cpu()

        return moons_figure(
            self.gathered.get("input", SOURCE),
            self.gathered.get("label", SOURCE),
            self.gathered.get("input", TARGET),
            hidden.weight,
            hidden.bias,
            class_probability,
            domain_probability,
            self.names.classes or ("label 0", "label 1"),
            "DANN" if self.adapts else "trained on the source alone",
        )
