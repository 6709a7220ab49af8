"""The inter-twinning moons: a source of two classes in the plane, and a target turned by an angle.

Ganin et al. 2016, section 4.1, Figure 2. The points are those of the released code, the same in every run.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from pydantic import NonNegativeInt, PositiveInt

from paperzoo.batches import DomainVectors
from paperzoo.data.domains import Domain, DomainData, Items

SOURCE_STREAM, TARGET_STREAM = 1, 2


class Moons(DomainData):
    """Two moons, twice the size of scikit-learn's and around the source's mean; those of the target are rotated.

    There are too few points to hold any out: each domain is trained, validated and tested on all of its points. Label
    0 is the upper moon and 1 the lower one.

    Args:
        seed: names the random streams of order; the points do not depend on it.
        points: points of each domain, the two moons together: 150 in the released code, 300 in the paper's text.
        rotation_degrees: the angle between the domains, counterclockwise.
        noise: standard deviation of the points, in units of a moon's radius.
        vector_size: features of a point: 2.
        num_classes: 2.
        batch_size: points of each domain in a batch.
        eval_batch_size: points a batch in validation, test and prediction.
        batches_per_epoch: batches that count as an epoch; None: one pass over the source.
        workers: processes that gather batches; 0 gathers them in the training process.
    """

    yields = DomainVectors

    def __init__(
        self,
        seed: int,
        points: Annotated[int, Ge(2)],
        rotation_degrees: float | int,
        noise: Annotated[float | int, Ge(0)],
        vector_size: PositiveInt,
        num_classes: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        batches_per_epoch: PositiveInt | None,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size, batches_per_epoch)
        self.points = points
        self.rotation_degrees = rotation_degrees
        self.noise = noise

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        for name in ("vector_size", "num_classes"):
            if arguments[name] != 2:
                yield f"data.{name}={arguments[name]}: the moons are 2 classes in the plane; choose 2"

    @property
    def class_names(self) -> list[str]:
        return ["upper", "lower"]

    def load(self) -> tuple[Domain, Domain]:
        source, source_label = self._moons(SOURCE_STREAM)
        target, target_label = self._moons(TARGET_STREAM)
        mean = source.mean(axis=0)
        sine, cosine = (f(math.radians(self.rotation_degrees)) for f in (math.sin, math.cos))
        rotated = 2 * (target - mean) @ np.array([[cosine, sine], [-sine, cosine]])
        return _domain(2 * (source - mean), source_label), _domain(rotated, target_label)

    def _moons(self, stream: int) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import make_moons  # takes a second to import

        return make_moons(self.points, noise=self.noise, random_state=stream)


def _domain(points: np.ndarray, labels: np.ndarray) -> Domain:
    items = Items(torch.from_numpy(points).float(), torch.from_numpy(labels.astype(np.int64)))
    return Domain(items, items, items)
