"""The figures of NeuroSAT (Selsam et al. 2019) from plain tensors.

Literals are in the order of a batch of one problem: all variables, then their negations. Rounds count from 1.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter
from torch import Tensor

from paperzoo.reporting.style import (
    BLUE,
    GREY,
    VERMILION,
    WIDTH,
    legend_below,
    legend_beside,
    open_axes,
    ordered_colour,
    panels,
    picture_axes,
)

Number = float | int

VOTE_COLOURS = "RdBu_r"
MARKED, UNMARKED = VERMILION, BLUE
MOST_NAMED_ROWS = 24
MOST_NAMED_CORE_ROWS = 8  # of Knuth's R: four variables
MOST_JOINED_VARIABLES = 60
MOST_DOTTED_ROUNDS = 64
SCALED_SHARE = 0.97  # of the votes are within the colour scale
MARKERS = "os^Dv<>P"
OPEN_MARKERS: dict[str, Any] = {"linestyle": "none", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.5}
STATUS = {1: "Satisfiable", 0: "Unsatisfiable", -1: "Unknown"}


def vote_figure(votes: Float[Tensor, "round literal"], solved_round: int | None, satisfiable: int = -1) -> Figure:
    """Figure 3: the votes of one problem's literals, round by round, above their mean, which is the logit.

    The upper half of the rows holds for each variable the literal with the higher last vote, ordered by the difference
    of the two; the lower half holds the other literals in mirrored order.

    Args:
        votes: of every round, the vote bias included.
        solved_round: the first round whose decoded assignment satisfies the formula; None if there is none.
        satisfiable: 1, 0, or -1 if nobody knows.
    """
    votes = votes.detach().cpu().float()
    order = _upper_then_mirrored_lower(votes[-1])
    count = len(order) // 2
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    heat, line = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    image = _heat_map(heat, votes[:, order], _centred(votes))
    figure.colorbar(image, ax=heat, label="vote", pad=0.015, aspect=28, extend="both")
    heat.axhline(count - 0.5, color="black", linewidth=0.6)
    if len(order) <= MOST_NAMED_ROWS:
        heat.set_yticks(range(len(order)), [_name(literal, count) for literal in order.tolist()])
    else:
        _label_blocks(heat, {"literals with the higher vote": count, "their negations": count})
    _mean_votes(line, {"mean vote": (votes.mean(1), "black")})
    line.set_ylabel("mean vote\n= logit")
    if solved_round is not None:
        for axes in (heat, line):
            axes.axvline(solved_round, color="black", linestyle=(0, (4, 3)), linewidth=1.2)
        heat.plot(solved_round, 1.0, "v", color="black", transform=heat.get_xaxis_transform(), clip_on=False)
    solved = "not solved" if solved_round is None else f"solved in round {solved_round}"
    figure.suptitle(f"{_status(votes, satisfiable)}, {solved}")
    figure.set_label(
        "The votes of all literals of one problem by round, and their mean, which is the logit"
        + ("" if solved_round is None else "; dashed: the round whose assignment first satisfies the formula")
    )
    return figure


def embedding_figure(
    states: Float[Tensor, "shown literal dimension"],
    rounds: Sequence[int],
    assignment: Bool[Tensor, " variable"] | None,
) -> Figure:
    """Figure 4: the literal embeddings of one problem on their first two principal components.

    The components are those of each round by itself, pointing to the true literals; whether the paper's are is
    uncertain. So a panel shows the shape of one round, and scales differ from panel to panel. Lines join the two
    literals of a variable while there are few enough to see.

    Args:
        states: the embeddings after each of the shown rounds.
        rounds: the numbers of these rounds.
        assignment: the one that satisfies the formula; None if none was found.
    """
    states = states.detach().cpu()
    count = states.shape[1] // 2
    is_true = None if assignment is None else torch.cat([assignment, ~assignment]).cpu()
    figure, shown_axes = panels(len(rounds), WIDTH / 4, 2.45, least_width=6.5, more_height=0.9)
    for axes, state, shown in zip(shown_axes, states, rounds, strict=True):
        towards = torch.arange(2 * count) < count if is_true is None else is_true
        position, share = principal_components(state, towards)
        _scatter(axes, position, is_true, "true literals", "false literals")
        if count <= MOST_JOINED_VARIABLES:
            pairs = torch.stack([position[:count], position[count:]], dim=1).numpy()
            axes.add_collection(LineCollection(list(pairs), colors=GREY, linewidths=0.5, alpha=0.35, zorder=0))
        axes.set_title(f"round {shown}", fontsize=10)
        axes.set_xlabel(_share(share), fontsize=8)
    if is_true is not None:
        legend_below(figure, shown_axes[0])
    found = "no satisfying assignment found" if is_true is None else "coloured by the assignment that was found"
    figure.suptitle(f"Embeddings of the {2 * count} literals, {found}", fontsize=11)
    figure.set_label(
        "The literal embeddings of one problem on the first two principal components of each round; below each panel "
        "the share of the variance that the two hold"
    )
    return figure


def solved_figure(
    curves: Mapping[str, Sequence[Number]],
    rounds: Sequence[int],
    published: Mapping[str, Sequence[Number]] | None = None,
) -> Figure:
    """Figure 5: satisfiable problems solved against the rounds that the model may run.

    Args:
        curves: for each group of problems the percentage solved within each of `rounds`; NaN where nothing is known.
        rounds: ascending.
        published: the paper's percentages at the same rounds, of some or all groups.

    Raises:
        ValueError: a curve is not as long as `rounds`.
    """
    published = published or {}
    for group, values in [*curves.items(), *published.items()]:
        if len(values) != len(rounds):
            raise ValueError(f"{len(values)} values of {group} for {len(rounds)} rounds")
    groups = list(dict.fromkeys([*curves, *published]))
    figure = Figure(figsize=(WIDTH, 5.0), layout="constrained")
    axes = figure.subplots()
    for index, (group, marker) in enumerate(zip(groups, cycle(MARKERS), strict=False)):
        colour = ordered_colour(index, len(groups))
        if group in curves:
            axes.plot(rounds, curves[group], color=colour, marker=marker, markersize=6, linewidth=2, label=group)
        if group in published:
            label = None if group in curves else f"{group} (published)"
            axes.plot(rounds, published[group], color=colour, marker=marker, label=label, **OPEN_MARKERS)
    if any(group in curves for group in published):
        axes.plot([], [], color=GREY, marker="o", label="published", **OPEN_MARKERS)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    if len(rounds) <= 12:
        axes.set_xticks(rounds)
    axes.set(xlim=(rounds[0] / 1.2, rounds[-1] * 1.2), ylim=(-3, 103))
    axes.set(xlabel="rounds of message passing", ylabel="satisfiable problems solved (%)")
    open_axes(axes)
    legend_beside(figure)
    figure.set_label(
        "Percentage of the satisfiable problems solved within a number of rounds, by group"
        + ("; open markers: the paper's values" if published else "")
    )
    return figure


def core_figure(
    votes: Float[Tensor, "round literal"],
    state: Float[Tensor, "literal dimension"],
    in_core: Bool[Tensor, " literal"],
    satisfiable: int = 0,
) -> Figure:
    """NeuroUNSAT (section 8): one problem's votes with the literals of its planted core on top, and its last state.

    Args:
        votes: of every round, the vote bias included.
        state: the literal embeddings after the last round.
        in_core: the literals of the planted unsatisfiable core.
        satisfiable: 1, 0, or -1 if nobody knows.
    """
    votes, in_core = votes.detach().cpu().float(), in_core.cpu()
    by_last_vote = votes[-1].argsort(descending=True, stable=True)
    blocks = {"core": by_last_vote[in_core[by_last_vote]], "other literals": by_last_vote[~in_core[by_last_vote]]}
    blocks = {name: literals for name, literals in blocks.items() if len(literals)}
    colours = {"core": MARKED, "other literals": UNMARKED}
    heights = [max(len(literals) / len(in_core), 0.35) for literals in blocks.values()]  # a core has few literals
    figure = Figure(figsize=(WIDTH, 6.0), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.35, 1))[0]
    *heats, line = left.subplots(len(blocks) + 1, 1, sharex=True, height_ratios=[*heights, 0.4 * sum(heights)])
    count = len(in_core) // 2
    for heat, (name, literals) in zip(heats, blocks.items(), strict=True):
        image = _heat_map(heat, votes[:, literals], _centred(votes))
        if len(literals) <= MOST_NAMED_CORE_ROWS:
            heat.set_yticks(range(len(literals)), [_name(literal, count) for literal in literals.tolist()], fontsize=8)
            heat.set_ylabel(name)
        else:
            _label_blocks(heat, {name: len(literals)})
    left.colorbar(image, ax=heats, label="vote", pad=0.015, aspect=28, extend="both")
    _mean_votes(line, {name: (votes[:, literals].mean(1), colours[name]) for name, literals in blocks.items()})
    line.legend(fontsize=8, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    scatter = right.subplots()
    position, share = principal_components(state.detach().cpu(), in_core)
    _scatter(scatter, position, in_core, "literals of the core", "other literals")
    scatter.set_xlabel(_share(share))
    scatter.set_title(f"embeddings after round {len(votes)}", fontsize=10)
    legend_below(right, scatter)
    figure.suptitle(f"{_status(votes, satisfiable)}, {int(in_core.sum())} literals in the planted core")
    figure.set_label(
        "Left: votes by round, literals of the planted core on top, and the mean vote of both kinds. "
        "Right: the last embeddings on their first two principal components"
    )
    return figure


def principal_components(
    points: Float[Tensor, "point dimension"], towards: Bool[Tensor, " point"]
) -> tuple[Float[Tensor, "point 2"], Float[Tensor, "2"]]:
    """The points on the two axes of greatest variance, and the share of the variance that each of these holds.

    Args:
        points: at least two, of at least two dimensions.
        towards: the mean of these points has no negative coordinate; it settles the sign that an axis leaves open.
    """
    centred = points.double() - points.double().mean(0)
    left, scale, _ = torch.linalg.svd(centred, full_matrices=False)
    position = left[:, :2] * scale[:2]
    position = torch.where(position[towards].sum(0) < 0, -position, position)
    variance = scale.square()
    return position, variance[:2] / variance.sum().clamp(min=torch.finfo(torch.double).tiny)


def _upper_then_mirrored_lower(vote: Float[Tensor, " literal"]) -> Tensor:
    """The higher literal of each variable by falling difference to the lower one, then the lower ones back to front."""
    count = len(vote) // 2
    variable = torch.arange(count)
    difference = vote[:count] - vote[count:]
    by_difference = difference.abs().argsort(descending=True, stable=True)
    higher = torch.where(difference >= 0, variable, variable + count)[by_difference]
    return torch.cat([higher, (higher.flip(0) + count) % (2 * count)])


def _name(literal: int, variables: int) -> str:
    return f"$x_{{{literal + 1}}}$" if literal < variables else rf"$\neg x_{{{literal - variables + 1}}}$"


def _status(votes: Float[Tensor, "round literal"], satisfiable: int) -> str:
    probability = float(votes[-1].mean().sigmoid())
    return f"{STATUS[satisfiable]}, predicted probability of satisfiable {probability:.2f}"


def _centred(votes: Tensor) -> Normalize:
    """A colour scale whose middle is a vote of 0; the few largest votes are off the scale."""
    sizes = votes.abs().nan_to_num(0.0, posinf=0.0).flatten()
    most = float(sizes.quantile(SCALED_SHARE, interpolation="higher")) or float(sizes.max()) or 1.0
    return Normalize(-most, most)


def _heat_map(axes: Axes, votes: Float[Tensor, "round literal"], norm: Normalize) -> AxesImage:
    """Rounds from left to right, literals from top to bottom."""
    count, literals = votes.shape
    extent = (0.5, count + 0.5, literals - 0.5, -0.5)
    return axes.imshow(votes.T.numpy(), cmap=VOTE_COLOURS, norm=norm, aspect="auto", extent=extent)


def _label_blocks(axes: Axes, sizes: Mapping[str, int]) -> None:
    """Names blocks of rows instead of single ones."""
    ends = torch.tensor(list(sizes.values())).cumsum(0).tolist()
    middles = [end - size / 2 - 0.5 for end, size in zip(ends, sizes.values(), strict=True)]
    axes.set_yticks(middles, list(sizes), rotation=90, va="center", fontsize=9)
    axes.tick_params(axis="y", length=0)


def _mean_votes(axes: Axes, means: Mapping[str, tuple[Float[Tensor, " round"], str]]) -> None:
    for name, (mean, colour) in means.items():
        dot = "o" if len(mean) <= MOST_DOTTED_ROUNDS else None
        axes.plot(range(1, len(mean) + 1), mean, color=colour, marker=dot, markersize=3, label=name)
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    axes.set(xlabel="round", ylabel="mean vote")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    open_axes(axes, grid=None)


def _scatter(
    axes: Axes, position: Float[Tensor, "point 2"], marked: Bool[Tensor, " point"] | None, yes: str, no: str
) -> None:
    style: dict[str, Any] = {"s": min(max(1600 / len(position), 14), 42), "alpha": 0.85, "linewidths": 0}
    if marked is None:
        axes.scatter(*position.T, color=GREY, **style)
    else:
        axes.scatter(*position[~marked].T, color=UNMARKED, marker="o", label=no, **style)
        axes.scatter(*position[marked].T, color=MARKED, marker="D", label=yes, **style)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_box_aspect(1)
    picture_axes(axes)


def _share(share: Float[Tensor, "2"]) -> str:
    return "variance {:.0f} % + {:.0f} %".format(*(100 * share).tolist())
