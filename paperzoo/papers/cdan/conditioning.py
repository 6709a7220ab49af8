"""How features and predictions are joined, and how much an item counts (Long et al. 2018, sections 3.2 and 3.3)."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperzoo.nn.gradient_reversal import reverse_gradient

Features = Float[Tensor, "batch feature"]
Prediction = Float[Tensor, "batch class"]
Joint = Float[Tensor, "batch joint"]

Conditioning = Literal["auto", "multilinear", "randomized", "feature", "prediction", "concatenation"]

LARGEST_EXACT_MAP = 4096


class MultilinearMap(nn.Module):
    """The outer product f x g, flattened class after class (eq. 5).

    Args:
        feature_size: features f.
        num_classes: classes of the prediction g.
    """

    def __init__(self, feature_size: int, num_classes: int) -> None:
        super().__init__()
        self.size = feature_size * num_classes

    def forward(self, features: Features, prediction: Prediction) -> Joint:
        return torch.einsum("bc,bf->bcf", prediction, features).flatten(1)


class RandomizedMultilinearMap(nn.Module):
    """`(R_f f) * (R_g g) / sqrt(d)`: its inner products are on average those of the outer product (eq. 6).

    The matrices are fixed, with entries uniform of variance 1, which vary less than normal ones (Theorem 1).

    Args:
        feature_size: features f.
        num_classes: classes of the prediction g.
        size: dimensions d of the map.
    """

    feature_matrix: Tensor
    class_matrix: Tensor

    def __init__(self, feature_size: int, num_classes: int, size: int) -> None:
        super().__init__()
        self.size = size
        for name, inputs in (("feature_matrix", feature_size), ("class_matrix", num_classes)):
            self.register_buffer(name, (2 * torch.rand(inputs, size) - 1) * math.sqrt(3))

    def forward(self, features: Features, prediction: Prediction) -> Joint:
        return (features @ self.feature_matrix) * (prediction @ self.class_matrix) / math.sqrt(self.size)


class FeatureAlone(nn.Module):
    """The features: DANN's choice, "DANN-f" of Figure 2a."""

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.size = feature_size

    def forward(self, features: Features, prediction: Prediction) -> Joint:
        return features


class PredictionAlone(nn.Module):
    """The prediction: "DANN-g" of Figure 2a."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.size = num_classes

    def forward(self, features: Features, prediction: Prediction) -> Joint:
        return prediction


class Concatenation(nn.Module):
    """Features and prediction side by side, which cannot see how they go together: "DANN-[f,g]" of Figure 2a."""

    def __init__(self, feature_size: int, num_classes: int) -> None:
        super().__init__()
        self.size = feature_size + num_classes

    def forward(self, features: Features, prediction: Prediction) -> Joint:
        return torch.cat([features, prediction], dim=1)


JointMap = MultilinearMap | RandomizedMultilinearMap | FeatureAlone | PredictionAlone | Concatenation
EXACT_MAPS: dict[Conditioning, Callable[[int, int], JointMap]] = {
    "multilinear": MultilinearMap,
    "feature": lambda feature_size, num_classes: FeatureAlone(feature_size),
    "prediction": lambda feature_size, num_classes: PredictionAlone(num_classes),
    "concatenation": Concatenation,
}


def joint_map(conditioning: Conditioning, feature_size: int, num_classes: int, randomized_size: int) -> JointMap:
    """The map of that name; "auto" is the outer product up to 4,096 dimensions, else randomized (section 3.2)."""
    if conditioning == "auto":
        conditioning = "multilinear" if feature_size * num_classes <= LARGEST_EXACT_MAP else "randomized"
    if conditioning == "randomized":
        return RandomizedMultilinearMap(feature_size, num_classes, randomized_size)
    return EXACT_MAPS[conditioning](feature_size, num_classes)


def entropy_weight(logits: Float[Tensor, "batch class"], coefficient: float | int) -> Float[Tensor, " batch"]:
    """`1 + exp(-H(g))`: 2 for a certain prediction, 1 + 1 / classes for one that says nothing (eq. 8).

    The gradient that flows back to the logits is reversed too, as in the released code; the paper does not say.

    Args:
        logits: of the prediction g.
        coefficient: of the gradient reversal.
    """
    log_prediction = logits.log_softmax(1)
    entropy = -(log_prediction.exp() * log_prediction).sum(1)
    return 1 + (-reverse_gradient(entropy, coefficient)).exp()
