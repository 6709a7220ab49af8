"""The networks: to the layer, to the parameter."""

import pytest
import torch
from torch import nn

from paperzoo.errors import UserError
from paperzoo.nn.classifiers import (
    DTN,
    Classifier,
    GTSRBNetwork,
    ImageNetNetwork,
    LeNet,
    MNISTNetwork,
    ShallowNetwork,
    SVHNNetwork,
)
from paperzoo.tasks.adaptation.adversary import discriminator

DROPOUT = (0.1, 0.25, 0.25, 0.5, 0.5, 0.5)
NO_DROPOUT = (0, 0, 0, 0, 0, 0)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_mnist_network_has_the_parameters_of_figure_4a() -> None:
    network = MNISTNetwork((3, 28, 28), 10, batch_norm=False)
    gd = discriminator(network.feature_size, network.discriminator_hidden, network.discriminator_dropout)
    assert network.feature_size == 768
    assert [parameters(part) for part in (network.extractor, network.head, gd)] == [40880, 88010, 77001]


def layers(network: Classifier) -> list[tuple[int, ...]]:
    return [tuple(m.weight.shape) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def test_the_svhn_network_is_figure_4b() -> None:
    network = SVHNNetwork((3, 32, 32), 10, False, DROPOUT, 4)
    size = network.feature_size
    convolutions = [(64, 3, 5, 5), (64, 64, 5, 5), (128, 64, 5, 5)]
    assert layers(network) == [*convolutions, (3072, size), (2048, 3072), (10, 2048)]
    assert [(m.kernel_size, m.stride) for m in network.modules() if isinstance(m, nn.MaxPool2d)] == [(3, 2)] * 2
    assert tuple(network.discriminator_hidden) == (1024, 1024)


def test_the_sign_network_is_figure_4c() -> None:
    network = GTSRBNetwork((3, 40, 40), 43, batch_norm=False)
    size = network.feature_size
    assert layers(network) == [(96, 3, 5, 5), (144, 96, 3, 3), (256, 144, 5, 5), (512, size), (43, 512)]
    assert tuple(network.discriminator_hidden) == (1024, 1024)


SMALL = {
    "mnist": lambda norm: MNISTNetwork((3, 28, 28), 10, norm),
    "svhn": lambda norm: SVHNNetwork((3, 32, 32), 10, norm, NO_DROPOUT, None),
    "gtsrb": lambda norm: GTSRBNetwork((3, 40, 40), 43, norm),
}


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL.keys())
def test_only_the_modern_variant_normalises_batches(make) -> None:  # type: ignore[no-untyped-def]
    norms = [
        sum(isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d) for m in make(norm).modules()) for norm in (False, True)
    ]
    hidden = len(layers(make(False))) - 1
    assert norms == [0, hidden]
    published, modern = (layers(make(norm)) for norm in (False, True))
    assert published == modern


def test_the_limit_of_the_norms_holds_after_a_step() -> None:
    network = SVHNNetwork((3, 32, 32), 10, False, NO_DROPOUT, 0.5)
    small = network.head[0].weight[0].detach().clone() / 100  # type: ignore[union-attr,operator,index]
    with torch.no_grad():
        network.head[0].weight.mul_(50)  # type: ignore[union-attr,operator]
        network.head[0].weight[0] = small  # type: ignore[union-attr,operator,index]
    network.after_step()
    norms = network.head[0].weight.norm(dim=1)  # type: ignore[union-attr,operator]
    assert torch.all(norms <= 0.5 + 1e-5)
    assert torch.equal(network.head[0].weight[0], small)  # type: ignore[union-attr,operator,index]


def test_the_shallow_network_starts_as_in_the_released_code() -> None:
    network = ShallowNetwork(inputs=30, hidden=15, num_classes=2)
    hidden, labels = network.extractor[0], network.head[0]  # type: ignore[index]
    for layer in (hidden, labels):
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5  # type: ignore[operator]
        assert bound * 0.8 < layer.weight.abs().max() <= bound  # type: ignore[operator,union-attr]
        assert not layer.bias.any()  # type: ignore[union-attr,operator]
    gd = discriminator(network.feature_size, network.discriminator_hidden, network.discriminator_dropout)
    assert not any(p.any() for p in gd.parameters())


def test_the_digit_networks_of_cdan_have_its_sizes() -> None:
    assert layers(LeNet((1, 28, 28), 10, "symmetric")) == [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)]
    convolutions = [(64, 3, 5, 5), (128, 64, 5, 5), (256, 128, 5, 5)]
    assert layers(DTN((3, 32, 32), 10, "symmetric")) == [*convolutions, (512, 4096), (10, 512)]


@pytest.mark.parametrize("backbone, size", [("resnet18", 512), ("alexnet", 4096)])
def test_a_backbone_is_followed_by_a_bottleneck_of_256_and_a_new_classifier(backbone: str, size: int) -> None:
    network = ImageNetNetwork(backbone, None, 31, 256, (1024, 1024), 0.5)
    assert layers(network)[-2:] == [(256, size), (31, 256)]
    learnt_slowly = {id(p) for p in network.pretrained.parameters()}
    new = [p.shape for p in network.parameters() if id(p) not in learnt_slowly]
    assert new == [(256, size), (256,), (31, 256), (31,)]
    assert network.eval()(torch.zeros(2, 3, 224, 224, dtype=torch.uint8)).shape == (2, 31)


def test_the_mean_colour_of_the_source_is_subtracted() -> None:
    network = MNISTNetwork((3, 28, 28), 10, batch_norm=False)
    images = torch.randint(0, 256, (50, 3, 28, 28), dtype=torch.uint8)
    network.fit_normalization(images)
    normalized = network.normalize(images)
    torch.testing.assert_close(normalized.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalized.std(), images.float().std() / 255, atol=1e-3, rtol=0)


def test_an_image_that_is_too_small_is_named() -> None:
    with pytest.raises(UserError, match=r"image_shape=\[3, 8, 8\]: too small"):
        MNISTNetwork((3, 8, 8), 10, batch_norm=False)
