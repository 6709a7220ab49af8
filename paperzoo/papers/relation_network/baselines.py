"""What the relation network is compared with on images (Santoro et al. 2017, Table 1 and section 5.2).

Sizes of the first four rows of Table 1 are those of Johnson et al. 2017 (facebookresearch/clevr-iep).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from pydantic import PositiveInt
from torch import Tensor, nn

from paperzoo.batches import ImageQuestions
from paperzoo.nn.classifiers import ImageShape, Rate
from paperzoo.nn.encoder import Encoder
from paperzoo.nn.perceptron import perceptron
from paperzoo.nn.torchvision_models import IMAGENET_MEAN, IMAGENET_STD, fetched

Features = Float[Tensor, "batch channel height width"]
Cells = Float[Tensor, "batch cell feature"]
Logits = Float[Tensor, "1 batch answer"]


class QuestionType(nn.Module):
    """The most frequent training answer to each kind of question: "Q-type baseline".

    The logits are the logarithms of exact counts. What is learned is their temperature, 1 if all is well, which no
    answer depends on: optimisers want something to learn.

    Args:
        kinds: kinds of questions.
        answers: logits.
    """

    counts: Tensor

    def __init__(self, kinds: PositiveInt, answers: PositiveInt) -> None:
        super().__init__()
        self.answers = answers
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.register_buffer("counts", torch.zeros(kinds, answers, dtype=torch.long))

    def forward(self, batch: Any) -> Logits:
        """In training, the answers of the batch are counted, after its own logits were made."""
        logits = (self.counts[batch.kind] + 1).log() / self.log_temperature.exp()
        if self.training:
            cells = batch.kind * self.answers + batch.answer
            self.counts += torch.bincount(cells, minlength=self.counts.numel()).view_as(self.counts)
        return logits[None]


class QuestionLSTM(nn.Module):
    """Answers without looking: "LSTM".

    Args:
        question: encodes the question.
        hidden: units of each hidden layer between the code and the answers.
        dropout: rate of the dropout after the last of them.
        answers: logits.
    """

    def __init__(self, question: Encoder, hidden: Sequence[PositiveInt], dropout: Rate, answers: PositiveInt) -> None:
        super().__init__()
        self.question = question
        self.classifier = perceptron([question.size, *hidden, answers], dropout=dropout)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from _without_a_layer(**arguments)

    def forward(self, batch: Any) -> Logits:
        return self.classifier(self.question(batch.question))[None]


class ConvMLP(nn.Module):
    """A perceptron on all features of the image and the code of the question.

    With the bits of Sort-of-CLEVR "CNN+MLP" (section 5.2), with an LSTM "CNN+LSTM".

    Args:
        images: from images to features.
        image_shape: channels, height and width of an image.
        question: encodes the question.
        hidden: units of each hidden layer.
        dropout: rate of the dropout after the last of them.
        answers: logits.
    """

    def __init__(
        self,
        images: nn.Module,
        image_shape: ImageShape,
        question: Encoder,
        hidden: Sequence[PositiveInt],
        dropout: Rate,
        answers: PositiveInt,
    ) -> None:
        super().__init__()
        self.images = images
        self.question = question
        inputs = _feature_shape(images, image_shape).numel() + question.size
        self.classifier = perceptron([inputs, *hidden, answers], dropout=dropout)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from _without_a_layer(**arguments)

    def forward(self, batch: ImageQuestions) -> Logits:
        code = self.question(batch.question)
        return self.classifier(torch.cat([self.images(batch.image).flatten(1), code], dim=1))[None]


class StackedAttention(nn.Module):
    """The question looks at the image a few times, each time refined by what it saw: "CNN+LSTM+SA".

    Args:
        images: from images to features.
        image_shape: channels, height and width of an image.
        question: encodes the question.
        rounds: how often it looks.
        attention: hidden units that decide where.
        hidden: units of each hidden layer between the refined question and the answers.
        dropout: rate of the dropout after the last of them.
        answers: logits.
    """

    def __init__(
        self,
        images: nn.Module,
        image_shape: ImageShape,
        question: Encoder,
        rounds: PositiveInt,
        attention: PositiveInt,
        hidden: Sequence[PositiveInt],
        dropout: Rate,
        answers: PositiveInt,
    ) -> None:
        super().__init__()
        self.images = images
        self.question = question
        size = question.size
        self.projection = nn.Linear(_feature_shape(images, image_shape)[0], size)
        self.rounds = nn.ModuleList(Attention(size, attention) for _ in range(rounds))
        self.classifier = perceptron([size, *hidden, answers], dropout=dropout)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from _without_a_layer(**arguments)

    def forward(self, batch: ImageQuestions) -> Logits:
        code = self.question(batch.question)
        cells = self.projection(self.images(batch.image).flatten(2).mT)
        for look in self.rounds:
            code = look(cells, code)
        return self.classifier(code)[None]


class Attention(nn.Module):
    """Adds to the code of the question the mean of the cells, weighted by softmax(w tanh(V cell + U code)).

    Args:
        size: features of the code and of each cell.
        hidden: units of the tanh.
    """

    def __init__(self, size: PositiveInt, hidden: PositiveInt) -> None:
        super().__init__()
        self.cell = nn.Linear(size, hidden)
        self.code = nn.Linear(size, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, cells: Cells, code: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch feature"]:
        scores = self.score(torch.tanh(self.cell(cells) + self.code(code)[:, None]))
        return code + (scores.softmax(1) * cells).sum(1)


class ResNetFeatures(nn.Module):
    """The conv4 features of a ResNet-101 trained on ImageNet, which stay as they are: 1024 x 14 x 14.

    Images are resized to 224 x 224.

    Args:
        weights: "DEFAULT", another name of torchvision's weights, or None for random ones.

    Raises:
        UserError: there are no such weights, or they cannot be downloaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | None) -> None:
        super().__init__()
        network: Any = fetched("resnet101", weights)
        stem = (network.conv1, network.bn1, network.relu, network.maxpool)
        self.network = nn.Sequential(*stem, network.layer1, network.layer2, network.layer3).requires_grad_(False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "ResNetFeatures":
        super().train(mode)
        self.network.eval()
        return self

    @torch.no_grad()
    def forward(self, image: UInt8[Tensor, "batch 3 _ _"]) -> Float[Tensor, "batch 1024 14 14"]:
        resized = F.interpolate(image / 255, (224, 224), mode="bilinear", antialias=True)
        return self.network((resized - self.mean) / self.std)


class Condensed(nn.Sequential):
    """Features with fewer channels and a quarter of the cells: a 1 x 1 convolution, ReLU and max-pooling.

    Args:
        images: from images to features.
        image_shape: channels, height and width of an image.
        channels: that are left.
    """

    def __init__(self, images: nn.Module, image_shape: ImageShape, channels: PositiveInt) -> None:
        fan_in = _feature_shape(images, image_shape)[0]
        super().__init__(images, nn.Conv2d(fan_in, channels, 1), nn.ReLU(), nn.MaxPool2d(2))


def _feature_shape(images: nn.Module, image_shape: ImageShape) -> torch.Size:
    """Channels, height and width of the features."""
    training = images.training
    with torch.no_grad():
        shape = images.eval()(torch.zeros(1, *image_shape, dtype=torch.uint8)).shape[1:]
    images.train(training)
    return shape


def _without_a_layer(hidden: Sequence[int], **others: Any) -> Iterator[str]:
    if not hidden:
        yield "hidden=[]: should have at least one layer"
