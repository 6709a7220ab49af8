"""The inter-twinning moons: a source of two classes in the plane, and a target turned by an angle.

Ganin et al. 2016, section 4.1, Figure 2. The points are those of the released code, the same in every run.
"""

import math
from typing import Annotated, Any, Unpack

import numpy as np
import torch
from annotated_types import Ge

from paperzoo.batches import DomainVectors, Names
from paperzoo.data.domains.module import Domain, DomainArguments, DomainData, Items

SOURCE_STREAM, TARGET_STREAM = 1, 2


class Moons(DomainData):
    """Two moons, twice the size of scikit-learn's and around the source's mean; those of the target are rotated.

    There are too few points to hold any out: each domain is trained, validated and tested on all of its points. Label
    0 is the upper moon and 1 the lower one.

    Args:
        points: points of each domain, the two moons together: 150 in the released code, 300 in the paper's text.
        rotation_degrees: the angle between the domains, counterclockwise.
        noise: standard deviation of the points, in units of a moon's radius.
        shared: see `DomainData`; the points do not depend on the seed.
    """

    yields = DomainVectors

    def __init__(
        self,
        points: Annotated[int, Ge(2)],
        rotation_degrees: float | int,
        noise: Annotated[float | int, Ge(0)],
        **shared: Unpack[DomainArguments],
    ) -> None:
        super().__init__(**shared)
        self.points = points
        self.rotation_degrees = rotation_degrees
        self.noise = noise

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"vector_size": 2, "num_classes": 2}

    @property
    def names(self) -> Names:
        return Names(classes=("upper", "lower"))

    def load_domains(self) -> tuple[Domain, Domain]:
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
    items = Items.of(torch.from_numpy(points).float(), torch.from_numpy(labels.astype(np.int64)))
    return Domain(items, items, items)
