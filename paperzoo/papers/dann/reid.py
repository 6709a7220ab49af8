"""Person re-identification across domains: deep metric learning against a domain classifier (Ganin et al. 2016).

The experiment of Figures 9 and 10. Descriptor and loss are those of Yi et al. 2014, "Deep Metric Learning for Practical
Person Re-Identification" (arXiv 1407.4979). What the two papers leave open to us (number of filters, padding, second
convolutions that the parts do not share, initialisation, scaling of the pixels) follows the network that one of DANN's
authors released for a later paper (madkn/HistogramLoss), so it is uncertain.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from jaxtyping import Bool, Float, Int64, UInt8
from pydantic import PositiveInt
from torch import Tensor, nn

from paperzoo.batches import HIDDEN, SOURCE, TARGET, PersonImages
from paperzoo.module import Direction, Measures, OptimizerFactory, PaperModule, Tested
from paperzoo.nn.gradient_reversal import reverse_gradient
from paperzoo.papers.dann import figures
from paperzoo.tally import of_all_ranks
from paperzoo.tasks.adaptation import Schedule
from paperzoo.tasks.adaptation.adversary import discriminator, domain_loss, share_right
from paperzoo.tasks.adaptation.figures import embedding_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Image = UInt8[Tensor, "batch 3 height width"]
Features = Float[Tensor, "batch feature"]
Descriptor = Float[Tensor, "batch descriptor"]
Person = Int64[Tensor, " batch"]
Positive = Annotated[float | int, Gt(0)]

PROBE_CAMERA = 0  # people seen by this camera are looked for among those seen by the others
MOST_RANKS = 50
LOGGED_RANKS = (1, 5, 10, 20)
SUFFIXES = {TARGET: "", SOURCE: "_source"}  # of metrics
NAMES = {TARGET: "target", SOURCE: "source"}


class PersonNetwork(nn.Module):
    """Horizontal overlapping parts of the body, two convolutions on each, and one descriptor of all.

    The first convolution is the same for all parts. At the defaults of the config 27,648 features and 14,141,364
    parameters.

    Args:
        height: of an image, in pixels.
        width: of an image, in pixels.
        parts: of the body, evenly spread from head to feet.
        part_height: of a part, in pixels.
        filters: of each convolution.
        dropout: rate, of the features that the descriptor is made of.
        descriptor_size: numbers that describe an image.
    """

    def __init__(
        self,
        height: PositiveInt,
        width: PositiveInt,
        parts: PositiveInt,
        part_height: PositiveInt,
        filters: PositiveInt,
        dropout: Annotated[float | int, Ge(0), Lt(1)],
        descriptor_size: PositiveInt,
    ) -> None:
        super().__init__()
        self.part_height = part_height
        self.part_step = (height - part_height) // (parts - 1) if parts > 1 else 1
        self.feature_size = parts * filters * (part_height // 4) * (width // 4)
        self.shared = nn.Sequential(nn.Conv2d(3, filters, 7, padding=3), nn.ReLU(), nn.MaxPool2d(2))
        every = parts * filters
        self.separate = nn.Sequential(
            nn.Conv2d(every, every, 5, padding=2, groups=parts), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.descriptor = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.feature_size, descriptor_size))
        for layer, std in ((self.shared[0], 0.01), (self.separate[0], 0.01), (self.descriptor[1], 0.001)):
            nn.init.normal_(layer.weight, std=std)  # type: ignore[arg-type]
            nn.init.normal_(layer.bias, std=std)  # type: ignore[arg-type]

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        parts, part, height = arguments["parts"], arguments["part_height"], arguments["height"]
        if part > height or (height - part) % max(parts - 1, 1) or (parts == 1 and part < height):
            yield (
                f"part_height={part}: {parts} parts of this height do not lie evenly "
                f"in images {height} pixels high; choose one for which (height - part_height) / (parts - 1) is whole"
            )

    def features(self, image: Image) -> Features:
        """The feature extractor Gf, on which the domain classifier listens."""
        pixels = image.to(self.descriptor[1].weight.dtype) / 256  # type: ignore[arg-type]
        parts = pixels.unfold(2, self.part_height, self.part_step).permute(0, 2, 1, 4, 3)
        seen = self.shared(parts.flatten(0, 1))
        return self.separate(seen.view(len(image), -1, *seen.shape[2:]))

    def forward(self, image: Image) -> Descriptor:
        return self.descriptor(self.features(image))

    def appearance(self, image: Image) -> Descriptor:
        """The mean of the normalised descriptors of an image and of its mirror image.

        The inner product of two appearances is the mean of the cosine similarities of the four pairs.
        """
        return (F.normalize(self(image)) + F.normalize(self(image.flip(3)))) / 2


def binomial_deviance(
    similarity: Float[Tensor, " pair"],
    same: Bool[Tensor, " pair"],
    alpha: float | int,
    beta: float | int,
    negative_cost: float | int,
) -> Float[Tensor, ""]:
    """The mean of the deviance over pairs of one person plus that over pairs of two (Yi et al. 2014).

    The deviance of a pair is `log(1 + exp(-alpha (similarity - beta) m))`, with m = 1 for pairs of one person and
    m = `-negative_cost` for pairs of two. Where there are no pairs of a kind, its mean counts as 0.
    """
    sign = torch.where(same, 1.0, -float(negative_cost))
    deviance = F.softplus(-alpha * (similarity - beta) * sign)
    return sum(
        ((deviance * kind).sum() / kind.sum().clamp(min=1) for kind in (same, ~same)), start=deviance.new_zeros(())
    )


def cumulative_match(
    distance: Float[Tensor, "probe gallery"],
    probe: Int64[Tensor, " probe"],
    gallery: Int64[Tensor, " gallery"],
    ranks: int,
) -> Float[Tensor, " rank"]:
    """CMC: for each k from 1 to `ranks` the share of the probes whose person is among the k nearest of the gallery.

    Other people at the same distance count as nearer, and so does everybody where a distance is NaN. Every probe's
    person is in the gallery.
    """
    same = probe[:, None] == gallery
    nearest = distance.masked_fill(~same, float("inf")).amin(1, keepdim=True)
    ahead = (~(distance > nearest) & ~same).sum(1, keepdim=True)
    return (ahead < torch.arange(1, ranks + 1, device=distance.device)).float().mean(0)


class Sightings:
    """The appearances of people that an evaluation sees, by domain."""

    def __init__(self) -> None:
        self.columns: dict[int, list[tuple[Descriptor, Person, Int64[Tensor, " batch"]]]] = {SOURCE: [], TARGET: []}

    def add(self, appearance: Descriptor, batch: PersonImages) -> None:
        for domain, seen in self.columns.items():
            member = (batch.domain == domain) & (batch.person != HIDDEN)
            if member.any():
                seen.append((appearance[member].cpu(), batch.person[member].cpu(), batch.camera[member].cpu()))

    def gather(self) -> None:
        """Puts together what all processes have seen."""
        self.columns = {domain: of_all_ranks(seen) for domain, seen in self.columns.items()}

    def appearances(self, domain: int) -> Descriptor | None:
        """All appearances in one domain, in the order in which they were seen; None without any."""
        return torch.cat([appearance for appearance, *_ in self.columns[domain]]) if self.columns[domain] else None

    def cmc(self, domain: int) -> Float[Tensor, " rank"] | None:
        """The cumulative match characteristic of one domain; None if nobody was seen by the probe's camera and another.

        Appearances of a person before a camera are averaged, so that the score of two people is the mean over all pairs
        of their images.
        """
        if not self.columns[domain]:
            return None
        appearance, person, camera = (torch.cat(column) for column in zip(*self.columns[domain], strict=True))
        is_probe = camera == PROBE_CAMERA
        (probe, looks), (gallery, other_looks) = (
            _mean_by_person(appearance[member], person[member]) for member in (is_probe, ~is_probe)
        )
        matched = torch.isin(probe, gallery)
        if not matched.any():
            return None
        return cumulative_match(1 - looks[matched] @ other_looks.T, probe[matched], gallery, MOST_RANKS)


def _mean_by_person(
    appearance: Descriptor, person: Person
) -> tuple[Int64[Tensor, " person"], Float[Tensor, "person _"]]:
    people, index, count = person.unique(return_inverse=True, return_counts=True)
    total = appearance.new_zeros(len(people), appearance.shape[1]).index_add(0, index, appearance)
    return people, total / count[:, None]


class ReIdModule(PaperModule):
    """Binomial deviance of all pairs of source images, against a domain classifier on the convolutions' features.

    `cmc_rank<k>` is the share of the target's probes whose person is among the k nearest of the gallery; that of the
    source ends in `_source`. The weights that are tested are the last ones: no person of the target is known in
    training, and those of the source do not tell how well the target is served.

    Args:
        network: makes descriptors.
        adapts: whether the domain classifier has any influence; without, it only watches.
        alpha: steepness of the deviance.
        beta: cosine similarity that parts pairs of one person from pairs of two.
        negative_cost: weight of pairs of two people, inside the exponent.
        domain_hidden: units of the hidden layer of the domain classifier.
        schedule: strength of the domain classifier and learning rate by progress.
        optimizer: makes the optimiser from the parameters.
    """

    accepts: ClassVar[tuple[type, ...]] = (PersonImages,)
    objective: ClassVar[str] = "val/cmc_rank1_source"
    objective_direction: ClassVar[Direction] = "max"
    measures: ClassVar[Measures] = {"cmc_rank*": "max"}
    tested: ClassVar[Tested] = "last"

    def __init__(
        self,
        network: PersonNetwork,
        adapts: bool,
        alpha: Positive,
        beta: float | int,
        negative_cost: Positive,
        domain_hidden: PositiveInt,
        schedule: Schedule,
        optimizer: OptimizerFactory,
    ) -> None:
        super().__init__()
        self.network = network
        self.discriminator = discriminator(network.feature_size, (domain_hidden,), 0)
        self.adapts = adapts
        self.alpha, self.beta, self.negative_cost = alpha, beta, negative_cost
        self.schedule = schedule
        self.optimizer = optimizer
        self.total_steps = 0
        self.sightings = Sightings()

    def training_step(self, batch: PersonImages, batch_idx: int) -> Tensor:
        progress = self.trainer.global_step / self.total_steps
        coefficient = self.schedule.coefficient(progress) if self.adapts else 0.0
        features = self.network.features(batch.image)
        known = batch.domain == SOURCE
        deviance = self.deviance(self.network.descriptor(features[known]), batch.person[known])
        domain_logits = self.discriminator(reverse_gradient(features, coefficient))
        adversarial = domain_loss(domain_logits, batch.domain)
        self.log_step(
            lambda: {
                "train/deviance": deviance.detach(),
                "train/domain_loss": adversarial.detach(),
                "train/domain_accuracy": share_right(domain_logits, batch.domain).mean(),
                "train/reversal": coefficient,
            }
        )
        return deviance + self.schedule.domain_weight * adversarial

    def deviance(self, descriptor: Descriptor, person: Person) -> Float[Tensor, ""]:
        """The binomial deviance of all pairs of two images."""
        first, second = torch.triu_indices(len(person), len(person), offset=1, device=person.device)
        unit = F.normalize(descriptor)
        similarity = (unit @ unit.T)[first, second]
        return binomial_deviance(similarity, person[first] == person[second], self.alpha, self.beta, self.negative_cost)

    def configure_optimizers(self) -> Any:
        self.total_steps = self.schedule.total_steps(self.trainer)
        optimizer = self.optimizer(self.parameters())
        return self.schedule.annealed(optimizer, self.total_steps)

    def begin_evaluation(self) -> None:
        super().begin_evaluation()
        self.sightings = Sightings()

    def validation_step(self, batch: PersonImages, batch_idx: int) -> None:
        self.sightings.add(self.network.appearance(batch.image).float(), batch)

    test_step = validation_step

    def report(self, stage: str, means: dict[str, float]) -> dict[str, float]:
        self.sightings.gather()
        matches = {suffix: self.sightings.cmc(domain) for domain, suffix in SUFFIXES.items()}
        return {
            f"cmc_rank{rank}{suffix}": float(cmc[rank - 1])
            for suffix, cmc in matches.items()
            if cmc is not None
            for rank in LOGGED_RANKS
        }

    def predict_step(self, batch: PersonImages, batch_idx: int) -> dict[str, Tensor | list[str]]:
        return {"descriptor": self.network.appearance(batch.image)}

    def figures(self, batch: PersonImages) -> "dict[str, Figure]":
        curves = {NAMES[domain]: cmc for domain in SUFFIXES if (cmc := self.sightings.cmc(domain)) is not None}
        drawn = {"cmc": figures.cmc_figure(curves)} if curves else {}
        source, target = (self.sightings.appearances(domain) for domain in (SOURCE, TARGET))
        if source is not None and target is not None:
            drawn["descriptors"] = embedding_figure({"": (source, target)})
        return drawn
