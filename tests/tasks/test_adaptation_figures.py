"""Facts about the figures of domain adaptation."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from paperzoo.papers.dann.figures import TAGGED, cmc_figure, moons_figure
from paperzoo.reporting import style
from paperzoo.reporting.figures import to_png
from paperzoo.tasks.adaptation.figures import accuracy_figure, domain_images_figure, embedding_figure

CURVES = {
    "accuracy_target": [(100, 0.3), (200, 0.6), (300, 0.7)],
    "accuracy_source": [(100, 0.8), (200, 0.9), (300, 0.95)],
    "domain_accuracy": [(100, 0.9), (200, 0.7), (300, 0.6)],
}


@pytest.fixture(autouse=True)
def every_warning_is_an_error() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lines_of(axes: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): [float(y) for y in line.get_ydata()] for line in axes.lines}


def legend_is_outside(figure: Figure) -> bool:
    to_png(figure, "")
    (legend,) = figure.legends
    return not any(axes.get_window_extent().overlaps(legend.get_window_extent()) for axes in figure.axes)


# The moons

WEIGHT, BIAS = random(15, 2, seed=3), random(15, seed=4)
SOURCE, LABEL, TARGET = random(40, 2, seed=1), torch.arange(40) % 2, random(40, 2, seed=2)


def right_of(x: float):
    """A probability that is 0.5 on the vertical line at x."""
    return lambda points: torch.sigmoid(9 * (points[:, 0] - x))


def moons(**changed) -> Figure:
    arguments = {
        "source": SOURCE,
        "label": LABEL,
        "target": TARGET,
        "weight": WEIGHT,
        "bias": BIAS,
        "class_probability": right_of(0.5),
        "domain_probability": right_of(-1.0),
    }
    return moons_figure(**(arguments | changed))


def contours(axes: Axes) -> list[np.ndarray]:
    found = [c for c in axes.collections if hasattr(c, "levels")]
    return [path.vertices for c in found for path in c.get_paths() if len(path.vertices)]


def test_the_decision_lines_are_where_the_probability_is_a_half():
    classes, _, domains, _ = moons().axes
    for axes, x in ((classes, 0.5), (domains, -1.0)):
        (line,) = contours(axes)
        np.testing.assert_allclose(line[:, 0], x, atol=0.01)


def test_a_classifier_of_one_mind_has_no_decision_line():
    classes, *_ = moons(class_probability=lambda points: torch.full((len(points),), 0.9)).axes
    assert contours(classes) == []


def test_a_hidden_unit_is_a_half_on_its_line():
    *_, units = moons().axes
    ends = torch.tensor([[line.get_xy1(), line.get_xy2()] for line in units.lines])
    assert len(ends) == 15
    half = torch.sigmoid((ends * WEIGHT[:, None]).sum(2) + BIAS[:, None])
    torch.testing.assert_close(half, torch.full((15, 2), 0.5), atol=1e-5, rtol=0)


def test_a_unit_without_weights_has_no_line():
    *_, units = moons(weight=torch.cat([torch.zeros(1, 2), WEIGHT[1:]])).axes
    assert len(units.lines) == 14


def test_the_tags_are_at_the_points_nearest_to_those_of_the_released_code():
    classes, codes, *_ = moons().axes
    everything = torch.cat([SOURCE, TARGET])
    hidden = torch.sigmoid(everything @ WEIGHT.T + BIAS).double().numpy()
    position = PCA(2).fit_transform(hidden)
    nearest = [((everything - place) ** 2).sum(1).argmin().item() for place in TAGGED]
    for axes, points in ((classes, everything.numpy()), (codes, position)):
        tags = {tag.get_text(): tag.xy for tag in axes.texts}
        assert list(tags) == ["A", "B", "C", "D"]
        np.testing.assert_allclose(np.abs(list(tags.values())), np.abs(points[nearest]), atol=1e-4)


def test_each_panel_of_the_moons_shows_every_point():
    for axes in moons().axes:
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        groups = {str(c.get_label()): np.asarray(c.get_offsets()) for c in axes.collections if not hasattr(c, "levels")}
        assert {name: len(points) for name, points in groups.items()} == {
            "target": 40,
            "source, label 0": 20,
            "source, label 1": 20,
        }
        for points in groups.values():
            assert left < points[:, 0].min() <= points[:, 0].max() < right
            assert bottom < points[:, 1].min() <= points[:, 1].max() < top


# Embeddings


def clusters(shift: float) -> list[torch.Tensor]:
    """Thirty source and thirty target items of two classes far apart; the target is shifted along another axis."""
    is_second = (torch.arange(30) % 2 == 1).float()[:, None]
    source, target = (random(30, 8, seed=seed) + 40 * is_second for seed in (1, 2))
    target[:, :1] += shift
    return [source, target]


def positions(axes: Axes) -> np.ndarray:
    return np.asarray(axes.collections[0].get_offsets())


def test_domains_that_differ_are_apart_and_domains_that_do_not_are_mixed():
    figure = embedding_figure({"before": clusters(200.0), "after": clusters(0.0)})
    assert [axes.get_title() for axes in figure.axes] == ["before", "after"]
    share = []
    for axes in figure.axes:
        points = positions(axes)
        colours = [to_hex(colour) for colour in axes.collections[0].get_facecolors()]
        assert sorted(colours) == sorted([style.SOURCE] * 30 + [style.TARGET] * 30)
        distance = ((points[:, None] - points) ** 2).sum(2) + np.diag([np.inf] * 60)
        share.append(np.mean([colours[i] == colours[j] for i, j in enumerate(distance.argmin(1))]))
    apart, mixed = share
    assert apart == 1
    assert mixed < 0.8


def test_a_class_is_named_where_its_source_items_are():
    labels = [torch.arange(30) % 2, torch.full((30,), -1)]
    figure = embedding_figure({"": clusters(0.0)}, labels, ["cat", "dog"])
    _, classes = figure.axes
    source = positions(classes)
    for name, label in (("cat", 0), ("dog", 1)):
        (place,) = [text.get_position() for text in classes.texts if text.get_text() == name]
        middles = [source[labels[0].numpy() == value].mean(0) for value in (0, 1)]
        assert np.argmin([((place - middle) ** 2).sum() for middle in middles]) == label
    assert len(classes.texts) == 2


def test_an_embedding_is_the_same_every_time():
    first, second = (positions(embedding_figure({"": clusters(3.0)}).axes[0]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_at_most_a_thousand_items_of_a_domain_are_embedded(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "paperzoo.tasks.adaptation.figures._tsne", lambda features: seen.append(features) or random(len(features), 2)
    )
    source = torch.arange(5000.0)[:, None]
    embedding_figure({"": [source, source[:3]]}, [torch.zeros(5000).long(), torch.zeros(3).long()])
    (features,) = seen
    assert len(features) == 1003
    assert features[:1000, 0].unique().numel() == 1000
    assert (features[0], features[999]) == (0, 4999)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_few_items_and_equal_ones_can_be_embedded(count):
    labels = [torch.zeros(count).long()] * 2
    for features in (random(count, 4), torch.ones(count, 4), random(count, 1)):
        assert np.isfinite(positions(embedding_figure({"": [features, features]}, labels).axes[0])).all()


def test_features_without_their_labels_are_refused():
    with pytest.raises(ValueError, match=r"\[30, 30\] features before for \[30, 29\] labels"):
        embedding_figure({"before": clusters(0.0)}, [torch.zeros(30).long(), torch.zeros(29).long()])


# Accuracies, images, ranks


def test_accuracies_are_drawn_as_they_are_with_the_published_one_as_a_level():
    (axes,) = accuracy_figure(CURVES, published=0.7666).axes
    lines = lines_of(axes)
    assert lines["target"] == [0.3, 0.6, 0.7]
    assert lines["source"] == [0.8, 0.9, 0.95]
    assert lines["domain classifier"] == [0.9, 0.7, 0.6]
    assert set(lines["target, published"]) == {0.7666}
    assert set(lines["domain classifier, chance"]) == {0.5}
    assert all(axes.get_ylim()[0] < value < axes.get_ylim()[1] for line in lines.values() for value in line)


def test_without_a_published_value_or_domain_classifier_there_is_no_level():
    (axes,) = accuracy_figure({"accuracy_target": [(1, 0.9)], "accuracy_of_others": [(1, 0.8)]}).axes
    assert lines_of(axes).keys() == {"target", "accuracy of others"}


def images(count: int, size: int = 8) -> torch.Tensor:
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, size, size)


def test_a_right_class_is_green_a_wrong_one_stands_with_the_true_one_and_an_unknown_one_is_neither():
    labels, predicted = torch.tensor([0, 1, -1]), torch.tensor([0, 2, 1])
    names = ["cat", "dog", "cow"]
    figure = domain_images_figure(images(3), labels, predicted, images(3), labels.flip(0), predicted.flip(0), names)
    answers = [(axes.get_xlabel(), to_hex(axes.xaxis.label.get_color())) for axes in figure.axes]
    assert answers[:3] == [("cat", style.RIGHT), ("cow\n(dog)", style.WRONG), ("dog", style.GREY)]
    assert answers[3:] == answers[:3][::-1]
    assert [axes.get_ylabel() for axes in figure.axes] == ["source", "", "", "target", "", ""]


def test_ten_images_of_many_are_spread_over_all():
    labels = torch.zeros(100).long()
    figure = domain_images_figure(images(100), labels, labels, images(4), labels[:4], labels[:4], ["cat"])
    shown = [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes if axes.images]
    assert shown == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99, 0, 1, 2, 3]


def test_matching_rates_are_percentages_from_rank_one():
    rates = torch.linspace(0.2, 0.9, 50)
    (axes,) = cmc_figure({"DANN": rates, "source only": rates / 2}).axes
    line, other = axes.lines
    np.testing.assert_allclose(line.get_ydata(), 100 * rates)
    assert list(line.get_xdata()) == list(range(1, 51))
    assert (line.get_label(), other.get_label()) == ("DANN\nrank 1: 20.0 %", "source only\nrank 1: 10.0 %")


@pytest.mark.parametrize(
    "figure",
    [
        lambda: moons(title="DANN"),
        lambda: embedding_figure({"before": clusters(9.0), "after": clusters(0.0)}),
        lambda: accuracy_figure(CURVES, published=0.8),
        lambda: cmc_figure({"DANN": torch.linspace(0.2, 0.9, 50)}),
    ],
)
def test_a_legend_covers_nothing(figure):
    assert legend_is_outside(figure())


@pytest.mark.parametrize(
    "figure",
    [
        lambda: moons(source=SOURCE[:1], label=LABEL[:1], target=SOURCE[:1]),
        lambda: accuracy_figure({}),
        lambda: accuracy_figure({"accuracy_target": [(step, 0.01) for step in range(200)]}, published=0.9),
        lambda: domain_images_figure(
            *[images(1, 70)[:, :1], torch.tensor([0]), torch.tensor([0])] * 2, ["a long name"]
        ),
        lambda: cmc_figure({"one": torch.ones(1)}),
    ],
)
def test_little_data_can_be_drawn(figure):
    assert to_png(figure(), "caption").startswith(b"\x89PNG")
