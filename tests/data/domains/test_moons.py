"""The inter-twinning moons."""

import math
from typing import Any

import pytest
import torch
from sklearn.datasets import make_moons
from torch import Tensor

from paperzoo.batches import HIDDEN, SOURCE, TARGET, DomainVectors
from paperzoo.config import instantiate
from paperzoo.data.domains.moons import Moons
from paperzoo.runner.check import target_problems
from tests.data.test_configs import composed


@pytest.fixture
def node(data_root: Any) -> dict[str, Any]:
    """What conf/data/moons.yaml says."""
    return composed("moons", data_root)


def moons(node: dict[str, Any], **changes: Any) -> Moons:
    data = instantiate(node | changes)
    data.setup()
    return data


def all_points(data: Moons, domain: int) -> tuple[Tensor, Tensor]:
    items = data.domains[domain].train
    return items[torch.arange(len(items))]


def test_each_domain_has_150_points_half_of_them_of_each_moon(node: dict[str, Any]) -> None:
    for domain in (SOURCE, TARGET):
        points, labels = all_points(moons(node), domain)
        assert points.shape == (150, 2)
        assert points.dtype == torch.float32
        assert labels.bincount().tolist() == [75, 75]


def test_the_source_is_twice_as_large_and_around_0(node: dict[str, Any]) -> None:
    points, labels = all_points(moons(node), SOURCE)
    expected, expected_labels = make_moons(150, noise=0.05, random_state=1)
    torch.testing.assert_close(points, torch.tensor(2 * (expected - expected.mean(0))).float())
    assert labels.tolist() == expected_labels.tolist()


def test_the_target_is_a_fresh_sample_around_the_sources_mean_turned_counterclockwise(node: dict[str, Any]) -> None:
    points, labels = all_points(moons(node), TARGET)
    fresh, expected_labels = make_moons(150, noise=0.05, random_state=2)
    expected = torch.tensor(2 * (fresh - make_moons(150, noise=0.05, random_state=1)[0].mean(0)))
    expected = torch.view_as_complex(expected) * complex(math.cos(math.radians(35)), math.sin(math.radians(35)))
    torch.testing.assert_close(points, torch.view_as_real(expected).float())
    assert labels.tolist() == expected_labels.tolist()


def test_the_angle_is_that_between_the_domains(node: dict[str, Any]) -> None:
    still, turned = (all_points(moons(node, rotation_degrees=angle), TARGET)[0] for angle in (0, 90))
    torch.testing.assert_close(turned, torch.stack([-still[:, 1], still[:, 0]], dim=1))


def test_without_noise_the_source_lies_on_two_half_circles_of_radius_2(node: dict[str, Any]) -> None:
    points, labels = all_points(moons(node, noise=0), SOURCE)
    for label in (0, 1):
        moon = points[labels == label]
        ends = moon[(torch.cdist(moon, moon).amax(1)).topk(2).indices]
        distance = (moon - ends.mean(0)).norm(dim=1)
        torch.testing.assert_close(distance, torch.full_like(distance, 2))


def test_everything_is_trained_validated_and_tested_on(node: dict[str, Any]) -> None:
    data = moons(node, points=20, eval_batch_size=40)
    for loader in (data.val_dataloader(), data.test_dataloader()):
        (batch,) = list(loader)
        assert isinstance(batch, DomainVectors)
        torch.testing.assert_close(batch.vector[:20], all_points(data, SOURCE)[0])
        torch.testing.assert_close(batch.vector[20:], all_points(data, TARGET)[0])
        assert batch.label.bincount().tolist() == [20, 20]


def test_training_does_not_see_the_targets_labels(node: dict[str, Any]) -> None:
    data = moons(node, points=20, batch_size=5)
    batches = list(data.train_dataloader())
    assert len(batches) == 4
    for batch in batches:
        assert batch.domain.tolist() == [SOURCE] * 5 + [TARGET] * 5
        assert (batch.label[5:] == HIDDEN).all()
        assert (batch.label[:5] != HIDDEN).all()


def test_the_points_do_not_depend_on_the_seed(node: dict[str, Any]) -> None:
    one, other = (all_points(moons(node, seed=seed), TARGET)[0] for seed in (0, 1))
    assert torch.equal(one, other)


@pytest.mark.parametrize(("key", "value"), [("points", 1), ("noise", -0.1), ("batch_size", 0)])
def test_values_out_of_range_are_problems(node: dict[str, Any], key: str, value: Any) -> None:
    assert target_problems(node, "data") == []
    (problem,) = target_problems(node | {key: value}, "data")
    assert problem.startswith(f"data.{key}={value}")


def test_a_wrong_fact_is_answered_with_the_right_one(node: dict[str, Any]) -> None:
    problems = target_problems(node | {"facts": {"vector_size": 3, "num_classes": 3}}, "data")
    assert problems == [
        f"data.facts.{fact}=3: it is 2 in these data; set that" for fact in ("vector_size", "num_classes")
    ]


def test_the_moons_have_names(node: dict[str, Any]) -> None:
    assert moons(node).names.classes == ("upper", "lower")
