"""What the papers take for objects: cells of a feature map, rows of a table, sentences of a story, trajectories.

Each encoder gives the objects of a batch and which of them are there (None: all).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor

from paperzoo.batches import ImageQuestions, ObjectQuestions, PhysicalSystems, StoryQuestions
from paperzoo.nn.encoder import Encoder
from paperzoo.nn.pairs import Objects, Present
from paperzoo.nn.questions import WordLSTM
from paperzoo.papers.relation_network.images import ConvFeatures


class ImageCells(Encoder):
    """The cells of a convolutional feature map, each with its coordinates (section 4).

    Row and column go from -1 to 1; the paper does not give their scale.

    Args:
        image_shape: channels, height and width.
        channels: of each convolution.
    """

    def __init__(
        self, image_shape: tuple[PositiveInt, PositiveInt, PositiveInt], channels: Sequence[PositiveInt]
    ) -> None:
        super().__init__()
        self.features = ConvFeatures(channels, image_shape[0])
        self.size = channels[-1] + 2

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from ConvFeatures.check(**arguments)

    def forward(self, batch: ImageQuestions) -> tuple[Objects, Present | None]:
        features = self.features(batch.image)
        return torch.cat([features.flatten(2).mT, self._coordinates(features)], dim=2), None

    def _coordinates(self, features: Tensor) -> Float[Tensor, "batch cell 2"]:
        batch, _, *sides = features.shape
        axes = [torch.linspace(-1, 1, side, device=features.device, dtype=features.dtype) for side in sides]
        return torch.cartesian_prod(*axes).expand(batch, -1, 2)


class TableRows(Encoder):
    """Rows of a table of objects, as they are.

    Args:
        object_size: features of a row.
    """

    def __init__(self, object_size: PositiveInt) -> None:
        super().__init__()
        self.size = object_size

    def forward(self, batch: ObjectQuestions) -> tuple[Objects, Present | None]:
        return batch.objects, batch.present


class Sentences(Encoder):
    """The sentences of a story, read by one LSTM, each with its place in the story (section 3.3).

    The paper says "tagged with their relative position"; that this is a one-hot code of the place is uncertain.

    Args:
        words: size of the vocabulary.
        embedding: features of a word vector, which the paper does not give.
        hidden: units of the LSTM.
        sentences: most sentences of a story.
    """

    def __init__(self, words: PositiveInt, embedding: PositiveInt, hidden: PositiveInt, sentences: PositiveInt) -> None:
        super().__init__()
        self.reader = WordLSTM(words, embedding, hidden)
        self.sentences = sentences
        self.size = hidden + sentences

    def forward(self, batch: StoryQuestions) -> tuple[Objects, Present | None]:
        items, number, _ = batch.story.shape
        codes = self.reader(batch.story.flatten(0, 1)).view(items, number, -1)
        place = F.one_hot(torch.arange(number, device=codes.device), self.sentences).to(codes.dtype)
        return torch.cat([codes, place.expand(items, -1, -1)], dim=2), (batch.story != 0).any(2)


class Trajectories(Encoder):
    """Balls: where each was at every moment, and its colour (section 3.4).

    Args:
        object_size: numbers of a ball.
    """

    def __init__(self, object_size: PositiveInt) -> None:
        super().__init__()
        self.size = object_size

    def forward(self, batch: PhysicalSystems) -> tuple[Objects, Present | None]:
        return batch.trajectory, None
