"""The figures of domain adaptation (Ganin et al. 2016) from plain tensors. Source is blue, target is vermilion."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy import ndarray
from torch import Tensor

from paperzoo.reporting.style import (
    GREY,
    RIGHT,
    SOURCE,
    TARGET,
    WIDTH,
    WRONG,
    legend_below,
    legend_beside,
    open_axes,
    picture_axes,
)

Number = float | int
Points = Float[Tensor, "point 2"]
Features = Float[Tensor, "_ feature"]
Images = UInt8[Tensor, "image channel height width"]
Labels = Int64[Tensor, " image"]

# Paul Tol's muted colours and three more; sand and cyan darker than his, to be seen on white
CLASS_COLOURS = (
    *("#332288", "#b3942b", "#44aa99", "#cc6677", "#4fa6d3", "#882255"),
    *("#117733", "#aa4499", "#999933", "#444444", "#6699cc", "#661100"),
)
MOST_EMBEDDED = 1000  # items of a domain: t-SNE takes some ten seconds for two thousand
MOST_IMAGES = 10  # a row
MOST_DOTTED_STEPS = 40


def embedding_figure(
    features: Mapping[str, Sequence[Features]],
    labels: Sequence[Int64[Tensor, " _"]] | None = None,
    class_names: Sequence[str] = (),
) -> Figure:
    """Figures 5 and 10: t-SNE of source and target features, coloured by domain and once more by class.

    Every column embeds its own features, at most 1000 of each domain, evenly spread over those that are given.

    Args:
        features: by title of the column ("before" and "after"; "" for no title) those of the source and of the target.
        labels: the classes of the same items in both domains; negative where nobody knows. None: by domain only.
        class_names: written where the source's items of a class are.

    Raises:
        ValueError: features and labels differ in number.
    """
    rows, columns = 1 if labels is None else 2, len(features)
    if columns == 1:  # by domain and by class side by side
        figure = Figure(figsize=(max(WIDTH / 2 * rows, 6.0), 4.9), layout="constrained")
        panels = figure.subplots(1, rows, squeeze=False).T
    else:
        figure = Figure(figsize=(WIDTH / 2 * columns, 4.2 * rows + 0.6), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False)
    for column, (name, domains) in enumerate(features.items()):
        if labels is not None and [len(values) for values in domains] != [len(values) for values in labels]:
            raise ValueError(f"{[*map(len, domains)]} features {name} for {[*map(len, labels)]} labels")
        shown = [_evenly(len(values), MOST_EMBEDDED) for values in domains]
        source, target = domains[0][shown[0]], domains[1][shown[1]]
        position = _tsne(torch.cat([source, target]).detach().cpu().float())
        parts = position[: len(source)], position[len(source) :]
        _domains(panels[0, column], *parts)
        panels[0, column].set_title(name, fontsize=12)
        if labels is not None:
            kept = [values.cpu()[index] for values, index in zip(labels, shown, strict=True)]
            _classes(panels[1, column], parts, kept, class_names)
    for axes, kind in zip(panels[:, 0], ("by domain", "by class (triangles: target)"), strict=False):
        write = axes.set_title if columns == 1 else axes.set_ylabel
        write(kind, fontsize=11)
    for axes in panels.flatten():
        picture_axes(axes)
        axes.set_aspect("equal", adjustable="datalim")
    legend_below(figure, panels[0, 0], markerscale=2.5)
    figure.set_label(
        "t-SNE of the features of source and target"
        + ("" if labels is None else ", coloured by domain and by true class")
    )
    return figure


def accuracy_figure(curves: Mapping[str, Sequence[tuple[int, Number]]], published: Number | None = None) -> Figure:
    """Accuracies while training goes on: the target's, the source's and the domain classifier's.

    Args:
        curves: (step, value) pairs by name; `accuracy_target`, `accuracy_source` and `domain_accuracy` have their own
            colours.
        published: the paper's accuracy on the target.
    """
    styles: dict[str, dict[str, Any]] = {
        "accuracy_target": {"color": TARGET, "marker": "o", "linewidth": 2.2, "zorder": 3},
        "accuracy_source": {"color": SOURCE, "marker": "s", "linewidth": 1.6},
        "domain_accuracy": {"color": GREY, "marker": "^", "linewidth": 1.6},
    }
    texts = {"accuracy_target": "target", "accuracy_source": "source", "domain_accuracy": "domain classifier"}
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        style = {"markersize": 4.5, **styles.get(name, {"marker": "D"})}
        if len(points) > MOST_DOTTED_STEPS:
            style["marker"] = None
        axes.plot(*zip(*points, strict=True), label=texts.get(name, name.replace("_", " ")), **style)
    if published is not None:
        axes.axhline(published, color=TARGET, linestyle=(0, (5, 3)), linewidth=1.4, label="target, published")
    if "domain_accuracy" in curves:
        axes.axhline(0.5, color=GREY, linestyle=(0, (1, 2)), linewidth=1.4, label="domain classifier, chance")
    axes.set(xlabel="training step", ylabel="accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))
    shown = [value for points in curves.values() for _, value in points]
    low = min(shown if published is None else [*shown, published], default=0.0)
    axes.set_ylim(min(0.45, low - 0.05) if low > 0.1 else -0.02, 1.02)
    open_axes(axes)
    if curves:
        legend_beside(figure)
    figure.set_label(
        "Accuracy on source and target, and that of the domain classifier, while training goes on"
        + ("" if published is None else "; dashed: the paper's accuracy on the target")
    )
    return figure


def domain_images_figure(
    source: Images,
    source_label: Labels,
    source_predicted: Labels,
    target: UInt8[Tensor, "other channel height width"],
    target_label: Int64[Tensor, " other"],
    target_predicted: Int64[Tensor, " other"],
    class_names: Sequence[str],
) -> Figure:
    """A row of source images above a row of target images, with the predicted class under each.

    A right class is green; a wrong one is vermilion, with the true one below it; one that nobody can check is grey.

    Args:
        source: images; at most ten, evenly spread over those that are given, are shown.
        source_label: true classes; negative where nobody knows.
        source_predicted: the classes that the network says.
        target: images of the target, and so on.
        target_label: see `source_label`.
        target_predicted: see `source_predicted`.
        class_names: what the classes are called.
    """
    rows = {
        "source": (source, source_label, source_predicted),
        "target": (target, target_label, target_predicted),
    }
    names = [_wrapped(name) for name in class_names]
    lines = 2 * max(name.count("\n") + 1 for name in names)
    columns = max(1, min(MOST_IMAGES, max(len(source), len(target))))
    height = WIDTH / MOST_IMAGES + 0.16 * lines
    figure = Figure(figsize=(WIDTH * max(columns, 4) / MOST_IMAGES, 2 * height), layout="constrained")
    panels = figure.subplots(2, columns, squeeze=False)
    for axes in panels.flatten():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for own, (domain, (images, labels, predicted)) in zip(panels, rows.items(), strict=True):
        own[0].set_ylabel(domain, fontsize=11)
        for axes, index in zip(own, _evenly(len(images), columns).tolist(), strict=False):
            _show_image(axes, images[index])
            _show_answer(axes, int(labels[index]), int(predicted[index]), names)
    figure.set_label(
        "Images of the source and of the target with the predicted class; in brackets the true one where it differs"
    )
    return figure


def _evenly(count: int, most: int) -> Int64[Tensor, " chosen"]:
    """At most `most` of `count` places, evenly spread: data may be in the order of their classes."""
    return torch.arange(count) if count <= most else torch.linspace(0, count - 1, most).round().long()


def _tsne(features: Features) -> Points:
    from sklearn.manifold import TSNE  # takes a second to import, and only this figure needs it

    if len(features) < 3 or not (features != features[0]).any():
        return features.new_zeros(len(features), 2)  # nothing to tell apart
    init = "pca" if features.shape[1] > 1 else "random"
    perplexity = min(30.0, (len(features) - 1) / 3)
    embedded = TSNE(perplexity=perplexity, init=init, random_state=0).fit_transform(features.numpy())
    return torch.from_numpy(embedded)


def _domains(axes: Axes, source: Points, target: Float[Tensor, "other 2"]) -> None:
    # in one call and a random order, so that neither domain hides the other
    style: dict[str, Any] = {"s": _point_size(len(source) + len(target)), "linewidths": 0, "alpha": 0.75}
    order = torch.randperm(len(source) + len(target), generator=torch.Generator().manual_seed(0))
    colours = np.array([SOURCE] * len(source) + [TARGET] * len(target))
    x, y = torch.cat([source, target])[order].T
    axes.scatter(x, y, c=colours[order], **style)
    axes.scatter([], [], color=SOURCE, label="source", **style)
    axes.scatter([], [], color=TARGET, label="target", **style)


def _classes(
    axes: Axes, parts: Sequence[Float[Tensor, "_ 2"]], labels: Sequence[Int64[Tensor, " _"]], class_names: Sequence[str]
) -> None:
    style: dict[str, Any] = {"s": _point_size(sum(map(len, parts))), "linewidths": 0, "alpha": 0.75}
    for position, label, marker in zip(parts, labels, "o^", strict=True):
        colours = [CLASS_COLOURS[value % len(CLASS_COLOURS)] if value >= 0 else "#cccccc" for value in label.tolist()]
        x, y = position.T
        axes.scatter(x, y, c=colours, marker=marker, **style)
    outline = [patheffects.withStroke(linewidth=3, foreground="white")]
    position, label = parts[0], labels[0]
    for value in label[label >= 0].unique().tolist():
        members = position[label == value]
        x, y = members[torch.cdist(members, members).sum(1).argmin()].tolist()
        name = class_names[value] if value < len(class_names) else str(value)
        axes.text(x, y, name, ha="center", va="center", fontweight="bold", path_effects=outline, zorder=5)


def _point_size(count: int) -> float:
    return min(max(12_000 / max(count, 1), 8.0), 40.0)


def _show_image(axes: Axes, image: UInt8[Tensor, "channel height width"]) -> None:
    pixels: UInt8[ndarray, "height width 3"] = image.detach().cpu().permute(1, 2, 0).expand(-1, -1, 3).numpy()
    axes.imshow(pixels, interpolation="nearest" if max(image.shape) < 64 else "antialiased")


def _show_answer(axes: Axes, label: int, predicted: int, names: Sequence[str]) -> None:
    style: dict[str, Any] = {"fontsize": 10 if max(map(len, names)) <= 3 else 8, "labelpad": 2}
    if label < 0:
        axes.set_xlabel(names[predicted], color=GREY, **style)
    elif label == predicted:
        axes.set_xlabel(names[predicted], color=RIGHT, **style)
    else:
        axes.set_xlabel(f"{names[predicted]}\n({names[label]})", color=WRONG, fontweight="bold", **style)


def _wrapped(name: str) -> str:
    """A class name in lines as wide as an image."""
    return "\n".join(textwrap.wrap(name.replace("_", " "), 12)) or name
