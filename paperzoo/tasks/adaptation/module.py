"""Adversarial training of a classifier on a labelled source and an unlabelled target: what the papers share."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from jaxtyping import Float, Int64
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from paperzoo.batches import HIDDEN, SOURCE, TARGET, DomainImages, DomainVectors, Images, LabelledImages
from paperzoo.errors import UserError
from paperzoo.module import Direction, Measures, PaperModule, Tested
from paperzoo.nn.classifiers import Classifier
from paperzoo.nn.gradient_reversal import reversal_ramp
from paperzoo.reporting.metrics_csv import FILE_NAME, read_metrics
from paperzoo.runner.weights import load_model
from paperzoo.tally import of_all_ranks
from paperzoo.tasks.adaptation import figures
from paperzoo.tasks.adaptation.adversary import Adversary, domain_loss, share_right
from paperzoo.tasks.adaptation.proxy_a_distance import proxy_a_distance
from paperzoo.tasks.adaptation.views import TenCrops

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batch = DomainImages | DomainVectors
NonNegative = Annotated[float | int, Ge(0)]
AdversaryFactory = Callable[[Classifier], Adversary]
OptimizerFactory = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]

DOMAINS = {SOURCE: "source", TARGET: "target"}
MEASURED_FEATURES = 2000  # of each domain, for the proxy A-distance
SHOWN_ITEMS = 500  # of each domain, in figures


@dataclass(frozen=True)
class Schedule:
    """How the strength of the adversary and the learning rate follow progress p, 0 to 1 (Ganin et al. 2016, 5.2.2).

    Attributes:
        domain_weight: of the domain loss in the sum of the losses, so also of the discriminator's own learning.
        reversal: lambda, the coefficient of the gradient reversal, at its largest.
        ramp: gamma of `reversal_ramp`, by which lambda grows from 0; None: it is the same from the start.
        lr_alpha: alpha in the learning rate's factor `(1 + alpha p)^-beta`.
        lr_beta: beta in it; 0 for a constant rate.
        steps: optimiser steps in which p goes from 0 to 1, and on beyond it; None: those of the whole training.
        first_epoch: the epoch, counted from 0, with which the adversary begins to learn and to have influence, and p of
            lambda begins; before it the classifier learns from the source alone.
        lr_drop: the learning rate is multiplied by it at the start of every `lr_drop_epochs`th epoch, counted from 1
            (released code of Long et al. 2018, digits).
        lr_drop_epochs: see `lr_drop`; None: never.
        anneals_adversary: whether the adversary's rate follows that of the rest; else it is constant.
    """

    domain_weight: NonNegative
    reversal: NonNegative
    ramp: Annotated[float | int, Gt(0)] | None
    lr_alpha: NonNegative
    lr_beta: NonNegative
    steps: PositiveInt | None
    first_epoch: NonNegativeInt = 0
    lr_drop: Annotated[float | int, Gt(0)] = 1
    lr_drop_epochs: PositiveInt | None = None
    anneals_adversary: bool = True

    def coefficient(self, progress: float | int) -> float:
        """lambda_p."""
        return self.reversal * (1.0 if self.ramp is None else reversal_ramp(progress, self.ramp))

    def lr_factor(self, progress: float | int, epoch: int = 0) -> float:
        """mu_p / mu_0, in an epoch counted from 0."""
        drops = 0 if self.lr_drop_epochs is None else (epoch + 1) // self.lr_drop_epochs
        return float((1 + self.lr_alpha * progress) ** -self.lr_beta * self.lr_drop**drops)

    def total_steps(self, trainer: Any) -> int:
        """Optimiser steps from p = 0 to p = 1 in the training of `trainer`.

        Raises:
            UserError: they are those of the whole training, which has no end.
        """
        steps = self.steps or trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise UserError(
                "model.schedule.steps=null: the schedule is as long as the training, which has no end; "
                "give trainer.max_epochs, trainer.max_steps or model.schedule.steps"
            )
        return max(1, int(steps))

    def steps_per_epoch(self, trainer: Any) -> int:
        """Optimiser steps of an epoch in the training of `trainer`, for what is counted in epochs; 1 if nothing is."""
        if not self.first_epoch and self.lr_drop_epochs is None:
            return 1
        _ = trainer.estimated_stepping_batches  # makes the loaders, if need be
        return max(1, math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches))

    def annealed(
        self, optimizer: torch.optim.Optimizer, total_steps: int, steps_per_epoch: int = 1, constant: int = 0
    ) -> dict[str, Any]:
        """The optimiser with its learning rate by progress, as Lightning wants them.

        Args:
            optimizer: the optimiser.
            total_steps: see `total_steps`.
            steps_per_epoch: see `steps_per_epoch`.
            constant: so many of its last groups of parameters keep their rate.
        """

        def factor(step: int) -> float:
            return self.lr_factor(step / total_steps, step // steps_per_epoch)

        changing = len(optimizer.param_groups) - constant
        factors = [*[factor] * changing, *[lambda step: 1.0] * constant]
        annealing = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": annealing, "interval": "step"}}


class Gathered:
    """The first items of each domain that an evaluation sees, for figures and for the proxy A-distance."""

    def __init__(self) -> None:
        self.columns: dict[str, dict[int, list[Tensor]]] = {}
        self.limits: dict[str, int] = {}

    def add(self, name: str, values: Tensor, domain: Tensor, limit: int) -> None:
        """Adds rows of `values`, until there are `limit` of a domain."""
        self.limits[name] = limit
        for which in DOMAINS:
            rows = self.columns.setdefault(name, {SOURCE: [], TARGET: []})[which]
            if room := max(0, limit - sum(map(len, rows))):
                rows.append(values[domain == which][:room].detach().cpu())

    def gather(self) -> None:
        """Puts together what all processes have seen."""
        for name, columns in self.columns.items():
            self.columns[name] = {
                domain: [torch.cat(of_all_ranks(rows))[: self.limits[name]]] for domain, rows in columns.items()
            }

    def get(self, name: str, domain: int) -> Tensor:
        """The rows of one domain."""
        return torch.cat(self.columns[name][domain])

    def __bool__(self) -> bool:
        return bool(self.columns) and all(len(self.get("label", domain)) for domain in DOMAINS)


class AdaptationModule(PaperModule):
    """Cross-entropy of the source's labels, against an adversary that tells the domains apart.

    Metrics of one domain end in `_source` or `_target`;
    `domain_accuracy` is the mean of the adversary's accuracies on the two. No target label has any part in training;
    `weights` are the last ones, because no validation metric on the source tells how well the target is served.

    Args:
        network: extractor and label head.
        adversary: makes the adversary from the network.
        adapts: whether the adversary has any influence. Without, it only watches, and a network with batch
            normalisation sees the source alone: the target's statistics would be a kind of adaptation.
        schedule: strength of the adversary and learning rate by progress.
        optimizer: makes the optimiser from groups of parameters; its rate is that of layers without pretrained weights.
        pretrained_lr_factor: what the rate is multiplied by for layers with pretrained weights.
        before: a run of the same network without adaptation, whose features are shown beside; None for none.
        separate_passes: each domain goes through the network by itself, so that each has its own statistics where
            batches are normalised; else both in one pass.
        test_views: what makes several pictures of one in test and prediction, whose probabilities are averaged; the
            first of them is the one whose features count. None: each picture as it comes.
    """

    accepts: ClassVar[tuple[type, ...]] = (DomainImages, DomainVectors)
    predicts: ClassVar[tuple[type, ...]] = (Images, LabelledImages)
    objective: ClassVar[str] = "val/accuracy_source"
    objective_direction: ClassVar[Direction] = "max"
    measures: ClassVar[Measures] = {
        "accuracy_source": "max",
        "accuracy_target": "max",
        "label_loss_source": "min",
        "domain_accuracy": None,
    }
    tested: ClassVar[Tested] = "last"
    learned_names = ("classes",)

    def __init__(
        self,
        network: Classifier,
        adversary: AdversaryFactory,
        adapts: bool,
        schedule: Schedule,
        optimizer: OptimizerFactory,
        pretrained_lr_factor: NonNegative,
        before: str | None,
        separate_passes: bool = False,
        test_views: TenCrops | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.adversary = adversary(network)
        self.adapts = adapts
        self.schedule = schedule
        self.optimizer = optimizer
        self.pretrained_lr_factor = pretrained_lr_factor
        self.before = before
        self.separate_passes = separate_passes
        self.test_views = test_views
        self.total_steps = 0
        self.adversary_start = 0
        self.gathered = Gathered()

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        before = arguments.get("before")
        if before is not None and not Path(before).exists():
            yield f"before={before}: there is no such run folder or checkpoint"

    @property
    def initial_batch_size(self) -> int:
        return self.network.normalization_items

    def initialize(self, batch: Batch) -> None:
        self.network.fit_normalization(batch[0][batch.domain == SOURCE].to(self.device))

    def setup(self, stage: str) -> None:
        if self.before is not None:
            self._network_before(self.before)  # refuses another network now, not after the training

    @property
    def progress(self) -> float:
        """p of lambda: optimiser steps since the adversary began, as a share of those that the schedule is for."""
        return max(0, self.trainer.global_step - self.adversary_start) / self.total_steps

    @property
    def adversary_waits(self) -> bool:
        """Whether the adversary has not begun yet."""
        return self.trainer.global_step < self.adversary_start

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        coefficient = self.schedule.coefficient(self.progress) if self.adapts and not self.adversary_waits else 0.0
        features, logits = self._forward(batch)
        label_loss = F.cross_entropy(logits, batch.label, ignore_index=HIDDEN)
        domain_logits = self.adversary(features, logits, coefficient)
        weight = self.adversary.weight(logits, coefficient)
        adversarial = domain_loss(domain_logits, batch.domain, weight)
        self.log_step(
            lambda: {
                "train/label_loss": label_loss.detach(),
                "train/domain_loss": adversarial.detach(),
                "train/accuracy": (logits.argmax(1) == batch.label)[batch.label != HIDDEN].float().mean(),
                "train/domain_accuracy": share_right(domain_logits, batch.domain).mean(),
                "train/reversal": coefficient,
            }
        )
        return label_loss + self.schedule.domain_weight * adversarial

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.adversary_waits:
            for parameter in self.adversary.parameters():
                parameter.grad = None

    def _forward(self, batch: Batch) -> tuple[Float[Tensor, "batch feature"], Float[Tensor, "batch class"]]:
        """Features and logits of both domains."""
        watching = not self.adapts and _has_batch_norm(self.network)
        if not watching and not self.separate_passes:
            return self._classified(batch[0])
        source = self._classified(batch[0][batch.domain == SOURCE])
        if watching:
            with torch.no_grad():
                self.network.eval()
                target = self._classified(batch[0][batch.domain == TARGET])
                self.network.train()
        else:
            target = self._classified(batch[0][batch.domain == TARGET])
        features, logits = (torch.cat(pair) for pair in zip(source, target, strict=True))
        return features, logits

    def _classified(self, x: Tensor) -> tuple[Float[Tensor, "batch feature"], Float[Tensor, "batch class"]]:
        features = self.network.features(x)
        return features, self.network.head(features)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx)
        self.network.after_step()

    def configure_optimizers(self) -> Any:
        self.total_steps = self.schedule.total_steps(self.trainer)
        steps_per_epoch = self.schedule.steps_per_epoch(self.trainer)
        self.adversary_start = self.schedule.first_epoch * steps_per_epoch
        pretrained = list(self.network.pretrained.parameters()) if self.network.pretrained else []
        constant = [] if self.schedule.anneals_adversary else list(self.adversary.parameters())
        apart = set(map(id, [*pretrained, *constant]))
        new = [p for p in self.parameters() if id(p) not in apart]
        optimizer = self.optimizer([{"params": group} for group in (new, pretrained, constant) if group])
        if pretrained:
            optimizer.param_groups[1]["lr"] *= self.pretrained_lr_factor
        return self.schedule.annealed(optimizer, self.total_steps, steps_per_epoch, constant=bool(constant))

    def begin_evaluation(self) -> None:
        super().begin_evaluation()
        self.gathered = Gathered()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, [batch[0]])

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, self._views(batch[0]))

    def _views(self, x: Tensor) -> list[Tensor]:
        """What stands for the items in test and prediction: of each of them one view, or several."""
        return [x] if self.test_views is None else self.test_views(x)

    def on_test_epoch_end(self) -> None:
        self.gathered.gather()
        if self.gathered and self.trainer.is_global_zero:
            source, target = (self.gathered.get("features", domain) for domain in DOMAINS)
            self.tally.add("proxy_a_distance", torch.tensor([proxy_a_distance(source, target)]))
        super().on_test_epoch_end()

    def _evaluate(self, batch: Batch, views: list[Tensor]) -> None:
        features, logits = self._classified(views[0])
        told = share_right(self.adversary(features, logits, 0.0), batch.domain)
        if len(views) > 1:
            logits = _mean_logits([logits, *(self._classified(view)[1] for view in views[1:])])
        right = (logits.argmax(1) == batch.label).float()
        losses = F.cross_entropy(logits, batch.label, ignore_index=HIDDEN, reduction="none")
        for domain, name in DOMAINS.items():
            member = (batch.domain == domain) & (batch.label != HIDDEN)
            self.tally.add(f"accuracy_{name}", right[member])
            self.tally.add(f"domain_accuracy_{name}", told[batch.domain == domain])
            if domain == SOURCE:
                self.tally.add("label_loss_source", losses[member])
            for label in batch.label[member].unique().tolist() if domain == TARGET else ():
                self.tally.add(f"class_{label}", right[member & (batch.label == label)])
        inputs = {"input": views[0], "label": batch.label, "predicted": logits.argmax(1)}
        for name, values in inputs.items():
            self.gathered.add(name, values, batch.domain, SHOWN_ITEMS)
        self.gathered.add("features", features.float(), batch.domain, MEASURED_FEATURES)

    def report(self, stage: str, means: dict[str, float]) -> dict[str, float]:
        derived = {"domain_accuracy": _mean_of(means, "domain_accuracy_")}
        if stage == "test":
            derived["accuracy_target_per_class"] = _mean_of(means, "class_")
            derived["proxy_a_distance"] = means.get("proxy_a_distance")
        own = {name: value for name, value in means.items() if not name.startswith(("domain_", "class_", "proxy_"))}
        return own | {name: value for name, value in derived.items() if value is not None}

    def classify(self, batch: Any) -> Int64[Tensor, " batch"]:
        return self._answers(batch[0]).argmax(1)

    def _answers(self, x: Tensor) -> Float[Tensor, "batch class"]:
        return _mean_logits([self.network(view) for view in self._views(x)])

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor | list[str]]:
        probabilities = self._answers(batch[0]).softmax(1)
        names = self._names(probabilities.shape[1])
        return {
            "class": [names[label] for label in probabilities.argmax(1).tolist()],
            "confidence": probabilities.amax(1),
            **{f"probability_{name}": probabilities[:, label] for label, name in enumerate(names)},
        }

    def _names(self, count: int) -> Sequence[str]:
        classes = self.names.classes
        return classes if len(classes) == count else [str(label) for label in range(count)]

    def figures(self, batch: Any) -> "dict[str, Figure]":
        drawn = {}
        if self.gathered:
            drawn["features"] = self._embedding_figure()
        if self.gathered and isinstance(batch, DomainImages):
            shown = ("input", "label", "predicted")
            source, target = ([self.gathered.get(name, domain) for name in shown] for domain in DOMAINS)
            drawn["domains"] = figures.domain_images_figure(*source, *target, self._names(self.network.num_classes))  # type: ignore[call-arg,arg-type]
        curves = self._curves()
        if any(len(curve) > 1 for curve in curves.values()):
            drawn["accuracies"] = figures.accuracy_figure(curves, self.published.get("test/accuracy_target"))
        return drawn

    def _curves(self) -> Mapping[str, Sequence[tuple[int, float]]]:
        path = Path(self.trainer.default_root_dir) / FILE_NAME
        logged = read_metrics(path) if path.is_file() else {}
        names = ("val/accuracy_target", "val/accuracy_source", "val/domain_accuracy")
        return {name.removeprefix("val/"): logged[name] for name in names if name in logged}

    def _embedding_figure(self) -> "Figure":
        labels = [self.gathered.get("label", domain) for domain in DOMAINS]
        after = [self.gathered.get("features", domain)[:SHOWN_ITEMS] for domain in DOMAINS]
        embedded = {"": after}
        if self.before is not None:
            unadapted = self._network_before(self.before).to(self.device)
            inputs = (self.gathered.get("input", domain).to(self.device) for domain in DOMAINS)
            embedded = {"before": [unadapted.features(values).float().cpu() for values in inputs], "after": after}
        return figures.embedding_figure(embedded, labels, self._names(self.network.num_classes))

    def _network_before(self, name: str) -> Classifier:
        network = getattr(load_model(name), "network", None)
        if not isinstance(network, Classifier) or _shapes(network) != _shapes(self.network):
            raise UserError(
                f"model.before={name}: holds another network than this model's; give a run of the same network with "
                "model.adapts=false"
            )
        return network


def _mean_of(means: Mapping[str, float], prefix: str) -> float | None:
    values = [value for name, value in means.items() if name.startswith(prefix)]
    return sum(values) / len(values) if values else None


def _mean_logits(views: list[Float[Tensor, "batch class"]]) -> Float[Tensor, "batch class"]:
    """Logits of the mean of the probabilities."""
    return (
        views[0] if len(views) == 1 else torch.stack([view.softmax(1) for view in views]).mean(0).clamp(min=1e-30).log()
    )


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


def _has_batch_norm(network: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in network.modules())
