"""Subspace alignment: axes turned onto axes, and the judge that is made of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from paperzoo.tasks.adaptation.subspace_alignment import accuracy, aligned
from tests.conftest import RunJob


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes along an axis of large variance, in six features of falling variance."""
    generator = np.random.default_rng(seed)
    label = np.arange(300) % 3
    points = generator.normal(size=(300, 6)) * [0.3, 2, 1, 0.5, 0.1, 0.05]
    points[:, 0] += 6 * label
    return points, label


def test_with_all_components_the_source_is_left_as_it_is_seen_from_the_targets_axes() -> None:
    source, target = np.random.default_rng(0).normal(size=(2, 40, 5))
    moved, seen = aligned(source, target, 5)
    np.testing.assert_allclose(moved @ moved.T, source @ source.T, atol=1e-9)
    np.testing.assert_allclose(seen @ seen.T, target @ target.T, atol=1e-9)


def test_each_source_axis_comes_to_lie_where_it_is_in_the_target() -> None:
    points, _ = blobs(0)
    points -= points.mean(0)
    moved, seen = aligned(points, points, 3)
    np.testing.assert_allclose(moved, seen, atol=1e-9)  # nothing to align
    assert (np.diff(seen.var(0)) < 0).all()


def test_a_target_of_the_same_axes_is_classified_rightly() -> None:
    source, target = blobs(0), blobs(2)
    assert accuracy(source, target, 2, 1) > 0.99


@pytest.mark.slow
def test_a_run_is_judged_by_it(run_job: RunJob) -> None:
    folder: Path = run_job(
        "experiment=dann/moons", "trainer.max_epochs=2", "judge=subspace_alignment", "model.adapts=false"
    )
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    assert 0.5 < metrics["test/accuracy_target_subspace_alignment"] <= 1
