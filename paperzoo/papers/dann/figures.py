"""Figures of DANN's own experiments (Ganin et al. 2016): the moons, and the matching of people."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from paperzoo.reporting.style import (
    BLUE,
    GREEN,
    SOURCE,
    TARGET,
    VERMILION,
    WIDTH,
    legend_beside,
    open_axes,
    picture_axes,
)
from paperzoo.tasks.adaptation.figures import Points

Probability = Float[Tensor, " point"]

MOONS = (("+", VERMILION), ("_", BLUE))  # marks and colours of the labels 0 and 1, as in the released code
TAGGED = torch.tensor([[-2.4, -1.6], [-1.2, 0.4], [0.8, -0.5], [2.5, 1.5]])  # the released code's points A to D
TAG_DISTANCE, TAG_TURN = 28, 0.6  # in points of 1/72 inch, and in radians
VIOLET = "#7b5ea7"
GRID = 200  # points a side on which probabilities are evaluated
MARKED_RANKS = (1, 5, 10, 20)
LINE_STYLES = ("-", (0, (6, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
LABEL_0_TO_1 = LinearSegmentedColormap.from_list("labels", ["#f6c3a8", "#ffffff", "#a9cdea"])
SOURCE_TO_TARGET = LinearSegmentedColormap.from_list("domains", ["#ffffff", "#b4b4b4"])


def moons_figure(
    source: Points,
    label: Int64[Tensor, " point"],
    target: Float[Tensor, "other 2"],
    weight: Float[Tensor, "hidden 2"],
    bias: Float[Tensor, " hidden"],
    class_probability: Callable[[Points], Probability],
    domain_probability: Callable[[Points], Probability],
    class_names: Sequence[str] = ("label 0", "label 1"),
    title: str = "",
) -> Figure:
    """Figure 2: what one network with a hidden layer of sigmoids makes of the inter-twinning moons.

    Four panels: the label predictor; the hidden codes of both domains on their first two principal components, with
    the points A to D of the first panel; the domain classifier; the lines on which a hidden unit is 0.5.

    Args:
        source: labelled points.
        label: 0 or 1.
        target: points without labels.
        weight: of the hidden layer.
        bias: of the hidden layer.
        class_probability: the probability of label 1 at points of the plane.
        domain_probability: the probability of the target at points of the plane.
        class_names: what the labels are called.
        title: names the network.
    """
    source, target, weight, bias = (tensor.detach().cpu().float() for tensor in (source, target, weight, bias))
    label = label.cpu()
    everything = torch.cat([source, target])
    tagged = torch.cdist(TAGGED, everything).argmin(1)
    figure = Figure(figsize=(WIDTH, 7.4), layout="constrained")
    classes, codes, domains, units = figure.subplots(2, 2).flatten()
    for axes, probability, colours in (
        (classes, class_probability, LABEL_0_TO_1),
        (domains, domain_probability, SOURCE_TO_TARGET),
    ):
        _frame(axes, everything)
        _shade(axes, probability, colours)
    _frame(units, everything)
    for normal, offset in zip(weight, bias, strict=True):
        if (length := float(normal.square().sum())) > 0:
            x, y = (-offset * normal / length).tolist()
            units.axline((x, y), (x - float(normal[1]), y + float(normal[0])), color=VIOLET, linewidth=1.1)
    for axes in (classes, domains, units):
        _moons(axes, source, label, target, class_names)
    code = _principal_components(torch.sigmoid(everything @ weight.T + bias))
    _frame(codes, code)
    _moons(codes, code[: len(source)], label, code[len(source) :], class_names)
    for axes, points in ((classes, everything), (codes, code)):
        _tag(axes, points[tagged], points.mean(0))
    for axes, text in zip(
        (classes, codes, domains, units),
        (
            "Label classification",
            "Hidden codes on two principal components",
            "Domain classification (darker: target)",
            "Hidden units",
        ),
        strict=True,
    ):
        axes.set_title(text, fontsize=11)
    handles, names = classes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=10, markerscale=1.4)
    if title:
        figure.suptitle(title)
    figure.set_label(
        "Where the label predictor and the domain classifier change their mind (black lines: probability 0.5), the "
        "hidden codes of all points, and the lines on which a hidden unit is 0.5"
    )
    return figure


def cmc_figure(curves: Mapping[str, Float[Tensor, " rank"]]) -> Figure:
    """Figure 9: the share of probes whose true match is among the first k of the gallery, by rank k from 1.

    Args:
        curves: matching rates by name; the legend gives the one of rank 1.
    """
    figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
    axes = figure.subplots()
    colours = (TARGET, SOURCE, GREEN, VIOLET, "black")
    for (name, rates), colour, style in zip(curves.items(), cycle(colours), cycle(LINE_STYLES), strict=False):
        rates = rates.detach().cpu()
        marked = [rank - 1 for rank in MARKED_RANKS if rank <= len(rates)]
        label = f"{name}\nrank 1: {100 * float(rates[0]):.1f} %"
        axes.plot(
            range(1, len(rates) + 1),
            100 * rates,
            color=colour,
            linestyle=style,
            linewidth=2,
            marker="o",
            markersize=6,
            markevery=marked,
            label=label,
        )
    longest = max(map(len, curves.values()))
    axes.set_xticks([rank for rank in (1, 5, *range(10, longest + 1, 10)) if rank <= longest])
    axes.set(xlabel="rank", ylabel="probes matched (%)", xlim=(0, longest + 0.5), ylim=(-2, 102))
    open_axes(axes)
    legend_beside(figure, labelspacing=1.0, handlelength=3.5)
    figure.set_label(
        "Cumulative match characteristic: probes whose true match is among the first images of the gallery"
    )
    return figure


def _frame(axes: Axes, points: Points) -> None:
    """Limits that show all points with a margin for the tags."""
    low, high = points.amin(0), points.amax(0)
    margin = 0.13 * (high - low).clamp(min=1e-3)
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    axes.set(xlim=(left, right), ylim=(bottom, top))
    picture_axes(axes)


def _shade(axes: Axes, probability: Callable[[Points], Probability], colours: LinearSegmentedColormap) -> None:
    """The probability as colour, and the line on which it is 0.5."""
    x, y = (torch.linspace(*limits, GRID) for limits in (axes.get_xlim(), axes.get_ylim()))
    grid = torch.cartesian_prod(x, y)
    values = probability(grid).detach().cpu().float().view(GRID, GRID).T.numpy()
    extent = (*axes.get_xlim(), *axes.get_ylim())
    axes.imshow(values, cmap=colours, vmin=0, vmax=1, origin="lower", extent=extent, aspect="auto")
    if values.min() < 0.5 < values.max():
        axes.contour(x.numpy(), y.numpy(), values, levels=[0.5], colors="black", linewidths=2.2)


def _moons(
    axes: Axes,
    source: Points,
    label: Int64[Tensor, " point"],
    target: Float[Tensor, "other 2"],
    class_names: Sequence[str],
) -> None:
    axes.scatter(target[:, 0], target[:, 1], s=9, color="black", linewidths=0, label="target", zorder=3)
    for value, (name, (marker, colour)) in enumerate(zip(class_names, MOONS, strict=True)):
        style: dict[str, Any] = {"s": 42, "marker": marker, "color": colour, "linewidths": 1.6, "zorder": 4}
        axes.scatter(*source[label == value].T, label=f"source, {name}", **style)


def _tag(axes: Axes, points: Points, middle: Float[Tensor, "2"]) -> None:
    """Letters A, B, C, ... outwards of the points, each with an arrow."""
    # turned a little, neighbours in opposite ways, since A and B, C and D fall together in codes that do not adapt
    turn = math.cos(TAG_TURN), math.sin(TAG_TURN)
    for letter, point, way, sign in zip("ABCD", points, points - middle, (1, -1, 1, -1), strict=True):
        x, y = (TAG_DISTANCE * way / way.norm().clamp(min=1e-6)).tolist()
        axes.annotate(
            letter,
            point.tolist(),
            xytext=(turn[0] * x - sign * turn[1] * y, turn[0] * y + sign * turn[1] * x),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=12,
            fontweight="bold",
            zorder=6,
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": "black"},
            arrowprops={"arrowstyle": "-|>", "color": "black", "shrinkB": 2},
        )


def _principal_components(points: Float[Tensor, "point dimension"]) -> Points:
    """Points on their two axes of greatest variance; the first point has no negative coordinate."""
    centred = points.double() - points.double().mean(0)
    left, scale, _ = torch.linalg.svd(centred, full_matrices=False)
    position = left[:, :2] * scale[:2]
    return torch.where(position[0] < 0, -position, position).float()
