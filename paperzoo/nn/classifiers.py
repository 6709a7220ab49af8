"""Classifiers in two parts, features and a label head, between which a domain classifier listens.

The networks of domain adaptation: those of Ganin et al. 2016 (section 4.1 and Figure 4), without batch normalisation as
published, the digit networks of Long et al. 2018, and ImageNet's AlexNet and ResNet-50 with a bottleneck.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt
from jaxtyping import Float, UInt8
from pydantic import PositiveInt
from torch import Tensor, nn

from paperzoo.errors import UserError
from paperzoo.nn.torchvision_models import IMAGENET_MEAN, IMAGENET_STD, fetched

Image = UInt8[Tensor, "batch channel height width"]
Vector = Float[Tensor, "batch feature"]
Logits = Float[Tensor, "batch class"]
ImageShape = tuple[PositiveInt, PositiveInt, PositiveInt]
Rate = Annotated[float | int, Ge(0), Lt(1)]
Pixels = Literal["centred", "symmetric"]


class Classifier(nn.Module):
    """Base of the networks: `head(extractor(normalize(x)))` are the logits.

    Args:
        extractor: the feature extractor Gf; what it gives is flattened.
        head: the label predictor Gy; its last layer makes the logits.
        feature_size: features that the extractor gives.
        discriminator_hidden: widths of the hidden layers of the domain classifier Gd that goes with this network.
        discriminator_dropout: rate of the dropout after each of them.
    """

    def __init__(
        self,
        extractor: nn.Module,
        head: nn.Sequential,
        feature_size: int,
        discriminator_hidden: Sequence[int],
        discriminator_dropout: float | int,
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.head = head
        self.feature_size = feature_size
        self.discriminator_hidden = discriminator_hidden
        self.discriminator_dropout = discriminator_dropout

    @property
    def normalization_items(self) -> int:
        """How many of the source's items `fit_normalization` wants."""
        return 0

    @property
    def pretrained(self) -> nn.Module | None:
        """The part that comes with weights, and learns more slowly; None if all starts anew."""
        return None

    @property
    def num_classes(self) -> int:
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        return last.out_features

    def normalize(self, x: Tensor) -> Tensor:
        """What the data give, as the extractor wants it."""
        return x

    def fit_normalization(self, x: Tensor) -> None:
        """Sets what `normalize` has to know of the source's items; nothing unless a subclass says so."""

    def after_step(self) -> None:
        """Called after each optimiser step; nothing unless a subclass says so."""

    def features(self, x: Tensor) -> Vector:
        return self.extractor(self.normalize(x)).flatten(1)

    def forward(self, x: Tensor) -> Logits:
        return self.head(self.features(x))


class ShallowNetwork(Classifier):
    """One hidden layer of sigmoids, softmax and one logistic unit on it (section 4.1).

    Weights start uniform within +-sqrt(6 / (inputs + outputs)), everything else at zero, as in the released code.

    Args:
        inputs: features of an item.
        hidden: hidden units D.
        num_classes: classes.
    """

    def __init__(self, inputs: PositiveInt, hidden: PositiveInt, num_classes: PositiveInt) -> None:
        layers = nn.Linear(inputs, hidden), nn.Linear(hidden, num_classes)
        super().__init__(nn.Sequential(layers[0], nn.Sigmoid()), nn.Sequential(layers[1]), hidden, (), 0)
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class ImageClassifier(Classifier):
    """A classifier of uint8 images.

    The only preprocessing of Ganin et al. 2016 is "mean subtraction"; that it is the source's mean for both domains is
    our reading. Memory is laid out channels last, in which convolution and pooling take half the time on a CPU.

    Args:
        image_shape: channels, height and width.
        extractor: see `Classifier`.
        head: see `Classifier`.
        pixels: "centred": scaled to 0..1, less the mean colour of the source's images; "symmetric": scaled
            to -1..1 (released code of Long et al. 2018).
        arguments: see `Classifier`.
    """

    mean: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        extractor: nn.Module,
        head: nn.Sequential,
        pixels: Pixels = "centred",
        **arguments: Any,
    ) -> None:
        super().__init__(extractor.to(memory_format=torch.channels_last), head, **arguments)
        self.pixels = pixels
        self.register_buffer("mean", torch.zeros(image_shape[0], 1, 1))

    @property
    def normalization_items(self) -> int:
        return 1000 if self.pixels == "centred" else 0

    def normalize(self, x: Image) -> Float[Tensor, "batch channel height width"]:
        x = x.contiguous(memory_format=torch.channels_last)
        return x / 255 - self.mean if self.pixels == "centred" else x / 127.5 - 1

    def fit_normalization(self, x: Image) -> None:
        self.mean.copy_(x.float().mean((0, 2, 3), keepdim=True)[0] / 255)


class MNISTNetwork(ImageClassifier):
    """Figure 4a, for MNIST to MNIST-M: two convolutions, 100-100 units for the label, 100 for the domain.

    Args:
        image_shape: channels, height and width; the paper's 28 x 28 gives 768 features.
        num_classes: classes.
        batch_norm: normalise after every convolution and hidden layer. Not in the paper, whose numbers it changes much.
    """

    def __init__(self, image_shape: ImageShape, num_classes: PositiveInt, batch_norm: bool) -> None:
        extractor = nn.Sequential(
            *_convolution(image_shape[0], 32, 5, nn.MaxPool2d(2), batch_norm=batch_norm),
            *_convolution(32, 48, 5, nn.MaxPool2d(2), batch_norm=batch_norm),
        )
        size = _flat_size(extractor, image_shape)
        head = _head(size, (100, 100), num_classes, batch_norm=batch_norm)
        super().__init__(
            image_shape, extractor, head, feature_size=size, discriminator_hidden=(100,), discriminator_dropout=0
        )


class SVHNNetwork(ImageClassifier):
    """Figure 4b, for SVHN, SYN NUMBERS and MNIST at 32 x 32: three convolutions, 3072-2048 units for the label.

    The paper adds dropout and limits the norm of the incoming weights of each unit, after Srivastava et al. 2014,
    without saying the rates; `dropout` and `max_norm` default to those of that paper in the config, which is uncertain.

    Args:
        image_shape: channels, height and width.
        num_classes: classes.
        batch_norm: normalise after every convolution and hidden layer; not in the paper.
        dropout: rates for the image, after the first two poolings, the features and the two hidden layers.
        max_norm: greatest norm of the incoming weights of a unit; None for no limit.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: PositiveInt,
        batch_norm: bool,
        dropout: tuple[Rate, Rate, Rate, Rate, Rate, Rate],
        max_norm: Annotated[float | int, Ge(0)] | None,
    ) -> None:
        extractor = nn.Sequential(
            nn.Dropout(dropout[0]),
            *_convolution(image_shape[0], 64, 5, nn.MaxPool2d(3, 2), padding=2, batch_norm=batch_norm),
            nn.Dropout(dropout[1]),
            *_convolution(64, 64, 5, nn.MaxPool2d(3, 2), padding=2, batch_norm=batch_norm),
            nn.Dropout(dropout[2]),
            *_convolution(64, 128, 5, padding=2, batch_norm=batch_norm),
            nn.Dropout(dropout[3]),
        )
        size = _flat_size(extractor, image_shape)
        head = _head(size, (3072, 2048), num_classes, batch_norm=batch_norm, dropout=dropout[4:])
        super().__init__(
            image_shape, extractor, head, feature_size=size, discriminator_hidden=(1024, 1024), discriminator_dropout=0
        )
        self.max_norm = max_norm

    @torch.no_grad()
    def after_step(self) -> None:
        """Scales the incoming weights of every unit that exceeds `max_norm` back to it."""
        if self.max_norm is None:
            return
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.copy_(torch.renorm(layer.weight, 2, 0, self.max_norm))


class GTSRBNetwork(ImageClassifier):
    """Figure 4c, for traffic signs: three convolutions, 512 units for the label, 1024-1024 for the domain.

    Args:
        image_shape: channels, height and width; that the paper's images are 40 x 40 is uncertain.
        num_classes: classes.
        batch_norm: normalise after every convolution and hidden layer; not in the paper.
    """

    def __init__(self, image_shape: ImageShape, num_classes: PositiveInt, batch_norm: bool) -> None:
        extractor = nn.Sequential(
            *_convolution(image_shape[0], 96, 5, nn.MaxPool2d(2), batch_norm=batch_norm),
            *_convolution(96, 144, 3, nn.MaxPool2d(2), batch_norm=batch_norm),
            *_convolution(144, 256, 5, nn.MaxPool2d(2), batch_norm=batch_norm),
        )
        size = _flat_size(extractor, image_shape)
        head = _head(size, (512,), num_classes, batch_norm=batch_norm)
        super().__init__(
            image_shape, extractor, head, feature_size=size, discriminator_hidden=(1024, 1024), discriminator_dropout=0
        )


class LeNet(ImageClassifier):
    """The network of Long et al. 2018 for USPS and MNIST, 28 x 28 (released code).

    Args:
        image_shape: channels, height and width.
        num_classes: classes.
        pixels: see `ImageClassifier`.
    """

    def __init__(self, image_shape: ImageShape, num_classes: PositiveInt, pixels: Pixels) -> None:
        extractor = nn.Sequential(
            *(nn.Conv2d(image_shape[0], 20, 5), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(20, 50, 5), nn.Dropout2d(0.5), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(_flat_size_of_lenet(image_shape), 500), nn.ReLU(), nn.Dropout(0.5)),
        )
        head = nn.Sequential(nn.Linear(500, num_classes))
        super().__init__(
            image_shape,
            extractor,
            head,
            pixels,
            feature_size=500,
            discriminator_hidden=(500, 500),
            discriminator_dropout=0.5,
        )


def _flat_size_of_lenet(image_shape: ImageShape) -> int:
    height, width = (((side - 4) // 2 - 4) // 2 for side in image_shape[1:])
    return 50 * height * width


class DTN(ImageClassifier):
    """The network of Long et al. 2018 for SVHN to MNIST, 32 x 32, with batch normalisation (released code).

    Args:
        image_shape: channels, height and width.
        num_classes: classes.
        pixels: see `ImageClassifier`.
    """

    def __init__(self, image_shape: ImageShape, num_classes: PositiveInt, pixels: Pixels) -> None:
        layers: list[nn.Module] = []
        channels = image_shape[0]
        for width, dropout in ((64, 0.1), (128, 0.3), (256, 0.5)):
            layers += [
                nn.Conv2d(channels, width, 5, stride=2, padding=2),
                nn.BatchNorm2d(width),
                nn.Dropout2d(dropout),
                nn.ReLU(),
            ]
            channels = width
        size = _flat_size(nn.Sequential(*layers), image_shape)
        layers += [nn.Flatten(), nn.Linear(size, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.5)]
        head = nn.Sequential(nn.Linear(512, num_classes))
        super().__init__(
            image_shape,
            nn.Sequential(*layers),
            head,
            pixels,
            feature_size=512,
            discriminator_hidden=(500, 500),
            discriminator_dropout=0.5,
        )


class ImageNetNetwork(Classifier):
    """A torchvision network trained on ImageNet, a linear bottleneck in place of its classifier, and a new classifier.

    AlexNet through fc7 and ResNet-50 through its pooling, as for Office-31 (Ganin et al. 2016, section 5.2.4; Long et
    al. 2018). The published numbers are for weights of 2015 from Caffe; torchvision's reach about the same on ImageNet.

    Args:
        backbone: its name in torchvision.
        weights: "DEFAULT", another name of torchvision's weights, or None for random ones.
        num_classes: classes.
        bottleneck: features that it is reduced to.
        discriminator_hidden: see `Classifier`.
        discriminator_dropout: see `Classifier`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str,
        weights: str | None,
        num_classes: PositiveInt,
        bottleneck: PositiveInt,
        discriminator_hidden: Sequence[PositiveInt],
        discriminator_dropout: Rate,
    ) -> None:
        network, size = _BACKBONES[backbone](fetched(backbone, weights))
        reduction = nn.Linear(size, bottleneck)
        classifier = nn.Linear(bottleneck, num_classes)
        for layer in (reduction, classifier):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        super().__init__(
            nn.Sequential(network, reduction),
            nn.Sequential(classifier),
            bottleneck,
            discriminator_hidden,
            discriminator_dropout,
        )
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        if arguments["backbone"] not in _BACKBONES:
            yield f"backbone={arguments['backbone']}: should be one of {', '.join(_BACKBONES)}"

    @property
    def pretrained(self) -> nn.Module:
        return self.extractor[0]  # type: ignore[index]

    def normalize(self, x: Image) -> Float[Tensor, "batch channel height width"]:
        return (x.to(self.mean.dtype) / 255 - self.mean) / self.std


def _alexnet(network: Any) -> tuple[nn.Module, int]:
    fully_connected = network.classifier[:-1]
    return nn.Sequential(network.features, network.avgpool, nn.Flatten(), fully_connected), 4096


def _resnet(network: Any) -> tuple[nn.Module, int]:
    size = network.fc.in_features
    network.fc = nn.Identity()
    return network, size


_BACKBONES: dict[str, Callable[[Any], tuple[nn.Module, int]]] = {
    "alexnet": _alexnet,
    "resnet18": _resnet,
    "resnet50": _resnet,
}


def _convolution(
    channels: int, filters: int, kernel: int, pool: nn.Module | None = None, *, batch_norm: bool, padding: int = 0
) -> list[nn.Module]:
    """A convolution, pooled before its ReLU, which comes to the same and leaves less to do."""
    norm = [nn.BatchNorm2d(filters)] if batch_norm else []
    return [nn.Conv2d(channels, filters, kernel, padding=padding), *norm, *([pool] if pool else []), nn.ReLU()]


def _head(
    size: int, hidden: Sequence[int], num_classes: int, *, batch_norm: bool, dropout: Sequence[float | int] = ()
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, rate in zip(hidden, dropout or [0] * len(hidden), strict=True):
        layers += [nn.Linear(size, width), *([nn.BatchNorm1d(width)] if batch_norm else []), nn.ReLU()]
        layers += [nn.Dropout(rate)] if rate else []
        size = width
    return nn.Sequential(*layers, nn.Linear(size, num_classes))


def _flat_size(extractor: nn.Module, image_shape: ImageShape) -> int:
    """Features that the extractor makes of an image.

    Raises:
        UserError: the image is too small for it.
    """
    try:
        with torch.no_grad():
            return extractor.eval()(torch.zeros(1, *image_shape)).numel()
    except RuntimeError as error:
        raise UserError(f"image_shape={list(image_shape)}: too small for this network") from error
    finally:
        extractor.train()
