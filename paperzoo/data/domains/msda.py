"""Marginalised stacked denoising autoencoders (Chen et al. 2012), in closed form.

Each layer is the linear map that restores items, features of which were set to zero at random, with the least squared
error over all possible corruptions. These are never drawn: the solution needs only their expected moments.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

CORRUPTION = 0.5
LAYERS = 5
RIDGE = 1e-5
"""What is added to the squared length of each corrupted feature, so that those that never occur do no harm."""

Weights = Float[ndarray, "feature feature+1"]


def expected_moments(
    scatter: Float[ndarray, "biased biased"], corruption: float | int
) -> tuple[Float[ndarray, "biased biased"], Float[ndarray, "biased biased-1"]]:
    """What corruption makes of the moments of items x whose last feature is the constant 1, which is never corrupted.

    Args:
        scatter: the sum of `x x^T` over items.
        corruption: the probability that a feature of an item is set to zero.

    Returns:
        The expected sums of `c c^T` and of `c x^T` (without x's constant), for the corrupted c.
    """
    kept = np.full(len(scatter), 1 - corruption)
    kept[-1] = 1
    corrupted = scatter * kept[:, None] * kept
    np.fill_diagonal(corrupted, kept * scatter.diagonal())
    return corrupted, kept[:, None] * scatter[:, :-1]


def denoiser(
    items: Float[ndarray, "item feature"], corruption: float | int = CORRUPTION, ridge: float | int = RIDGE
) -> Weights:
    """The map from corrupted items, and a constant 1 as their last feature, to the items as they were.

    Works in double precision: of 5,000 features the moments are nearly singular.
    """
    from scipy.linalg import solve  # type: ignore[import-untyped]

    biased = np.ones((len(items), items.shape[1] + 1))
    biased[:, :-1] = items
    corrupted, cross = expected_moments(biased.T @ biased, corruption)
    del biased
    corrupted[np.arange(len(corrupted) - 1), np.arange(len(corrupted) - 1)] += ridge
    return solve(corrupted, cross, assume_a="pos", overwrite_a=True, overwrite_b=True).T


def hidden(items: Float[ndarray, "item feature"], weights: Weights) -> Float[ndarray, "item feature"]:
    """A layer's output: tanh of the restored items, in the precision of `items`."""
    weights = weights.astype(items.dtype)
    return np.tanh(items @ weights[:, :-1].T + weights[:, -1])
