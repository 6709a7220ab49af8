"""The proxy A-distance: how well a linear classifier tells two domains apart (Ganin et al. 2016, Figure 3)."""

import warnings

import numpy as np
from jaxtyping import Float
from torch import Tensor

PENALTIES = np.logspace(-5, 4, 10)
"""The values of C, "a large range"; those of the released code."""

ITEMS = 1000
"""At most so many of each domain are looked at, drawn at random, so that it takes seconds."""


def proxy_a_distance(
    source: Float[Tensor, "source_item feature"], target: Float[Tensor, "target_item feature"], seed: int = 0
) -> float:
    """`2 (1 - 2 error)` of linear SVMs that learn to tell source from target.

    Half of the items are trained on, chosen at random; the error is that on the other half, the lowest over a range of
    C, so that nobody has to choose it. An error above one half counts as one half: nothing was learned.

    Args:
        source: features of the source.
        target: features of the target.
        seed: of the random choice of items.

    Returns:
        0 for domains that cannot be told apart to 2 for domains that always can.

    Raises:
        ValueError: a domain has less than two items.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    if min(len(source), len(target)) < 2:
        raise ValueError(f"{len(source)} and {len(target)} items: each half needs one of each domain")
    generator = np.random.default_rng(seed)
    halves = zip(*(_halves(domain, generator) for domain in (source, target)), strict=True)
    (train, train_domain), (test, test_domain) = (_together(*half) for half in halves)
    errors = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a solution that is nearly the best one will do
        for penalty in PENALTIES:
            classifier = LinearSVC(C=penalty, dual="auto", random_state=seed).fit(train, train_domain)
            errors.append(float(np.mean(classifier.predict(test) != test_domain)))
    return 2 * (1 - 2 * min(0.5, *errors))


def _halves(domain: Tensor, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    chosen = generator.permutation(len(domain))[:ITEMS]
    values = domain.detach().cpu().double().numpy()[chosen]
    return values[: len(values) // 2], values[len(values) // 2 :]


def _together(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
