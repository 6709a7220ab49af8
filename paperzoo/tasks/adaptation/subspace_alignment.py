"""Subspace alignment, the baseline "SA" of Ganin et al. 2016, Table 2 (Fernando et al. 2013, algorithm 1).

The principal axes of the source's features are turned onto those of the target's; a linear classifier that learns from
the source there is tested on the target.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from annotated_types import Gt, MinLen
from jaxtyping import Float, Int64
from pydantic import PositiveInt
from torch import Tensor

from paperzoo.batches import HIDDEN, DomainImages, DomainVectors
from paperzoo.errors import UserError
from paperzoo.module import Direction
from paperzoo.nn.classifiers import Classifier
from paperzoo.runner.build import Parts
from paperzoo.runner.job import Job
from paperzoo.runner.judge import Judge


def aligned(
    source: Float[np.ndarray, "item feature"], target: Float[np.ndarray, "other feature"], components: int
) -> tuple[Float[np.ndarray, "item component"], Float[np.ndarray, "other component"]]:
    """Both domains in the target's first principal axes, after the source's were turned onto them.

    Args:
        source: features, each of mean 0.
        target: features, each of mean 0.
        components: axes of each domain.
    """
    own, other = (_axes(domain, components) for domain in (source, target))
    return source @ own @ (own.T @ other), target @ other


def _axes(features: Float[np.ndarray, "item feature"], components: int) -> Float[np.ndarray, "feature component"]:
    """The principal axes of most variance."""
    _, vectors = np.linalg.eigh(features.T @ features)
    return vectors[:, ::-1][:, :components]


def accuracy(
    source: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray], components: int, penalty: float | int
) -> float:
    """The share of the target that a linear SVM, trained on the aligned source, classifies rightly.

    Args:
        source: features and labels.
        target: features and labels.
        components: see `aligned`.
        penalty: C of the SVM.
    """
    from sklearn.svm import LinearSVC

    train, test = aligned(source[0] - source[0].mean(0), target[0] - target[0].mean(0), components)
    classifier = LinearSVC(C=penalty, dual="auto", random_state=0).fit(train, source[1])
    return float(np.mean(classifier.predict(test) == target[1]))


@runtime_checkable
class LabelledDomains(Protocol):
    """Data of a source and a target whose labels can be looked at."""

    def labelled_dataloaders(self) -> tuple[Iterable[Any], Iterable[Any]]:
        """Batches of the source's training items and of the target's test items, with the labels that are known."""
        ...


class SubspaceAlignment(Judge):
    """The target's accuracy by subspace alignment of the last hidden layer, of a network trained on the source alone.

    The number of components is that with the best accuracy on the target's test items, as in the paper: a baseline that
    is given what nobody would have.

    Args:
        components: numbers of components to try.
        items: at most so many of each domain are looked at; ours.
        penalty: C of the SVM; ours.
    """

    accepts: ClassVar[tuple[type, ...]] = (DomainImages, DomainVectors)
    metric: ClassVar[str] = "test/accuracy_target_subspace_alignment"
    direction: ClassVar[Direction] = "max"

    def __init__(
        self,
        components: Annotated[Sequence[PositiveInt], MinLen(1)],
        items: PositiveInt,
        penalty: Annotated[float | int, Gt(0)],
    ) -> None:
        self.components = components
        self.items = items
        self.penalty = penalty

    def __call__(self, job: Job, parts: Parts) -> float:
        module, data = parts.module, parts.data
        assert isinstance(data, LabelledDomains)
        network = module.network
        assert isinstance(network, Classifier)
        module.eval()
        gathered = []
        for batches in data.labelled_dataloaders():
            moved = (data.transfer_batch_to_device(batch, module.device, 0) for batch in batches)
            gathered.append(_hidden(network, moved, self.items))
        source, target = gathered
        if not len(target[1]):
            raise UserError("judge=subspace_alignment: the target has no labels, by which it would be measured")
        most = min(source[0].shape[1], len(source[0]), len(target[0]))
        tried = sorted({min(count, most) for count in self.components})
        return max(accuracy(source, target, count, self.penalty) for count in tried)


@torch.inference_mode()
def _hidden(network: Classifier, batches: Iterable[Any], most: int) -> tuple[np.ndarray, np.ndarray]:
    """What the last layer is given, and the label, of the first `most` items whose label is known."""
    hidden: list[Float[Tensor, "_ feature"]] = []
    labels: list[Int64[Tensor, " _"]] = []
    for batch in batches:
        if sum(map(len, labels)) >= most:
            break
        known = batch.label != HIDDEN
        hidden.append(network.head[:-1](network.features(batch[0][known])).double().cpu())
        labels.append(batch.label[known].cpu())
    return torch.cat(hidden)[:most].numpy(), torch.cat(labels)[:most].numpy()
