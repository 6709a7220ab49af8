"""Facts about NeuroSAT's figures."""

import math

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paperzoo.papers.neurosat.figures import (
    core_figure,
    embedding_figure,
    principal_components,
    solved_figure,
    vote_figure,
)
from paperzoo.reporting.figures import to_png

ROUNDS = [16, 64, 256]


def votes_of(variables: int, rounds: int = 26) -> torch.Tensor:
    return torch.randn(rounds, 2 * variables, generator=torch.Generator().manual_seed(variables))


def heat_maps(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def lines_of(axes: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): [float(y) for y in line.get_ydata()] for line in axes.lines}


def title(figure: Figure) -> str:
    return figure.get_suptitle()


def groups_of_points(axes: Axes) -> dict[str, np.ndarray]:
    return {str(points.get_label()): np.asarray(points.get_offsets()) for points in axes.collections}


@pytest.mark.parametrize(("variables", "rounds"), [(1, 1), (3, 26), (200, 26), (5, 300)])
def test_every_vote_is_a_cell_of_the_heat_map(variables, rounds):
    votes = votes_of(variables, rounds)
    (drawn,) = heat_maps(vote_figure(votes, None))
    assert drawn.shape == (2 * variables, rounds)
    np.testing.assert_array_equal(np.sort(drawn, axis=0), np.sort(votes.T.numpy(), axis=0))


def test_literals_with_the_higher_vote_stand_above_their_mirrored_negations():
    votes = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [2.0, -5.0, 1.0, 1.0, 4.0, -7.0]])
    figure = vote_figure(votes, None)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [r"$\neg x_{2}$", "$x_{3}$", "$x_{1}$", r"$\neg x_{1}$", r"$\neg x_{3}$", "$x_{2}$"]
    assert heat_maps(figure)[0][:, -1].tolist() == [4.0, 1.0, 2.0, 1.0, -7.0, -5.0]


def test_a_vote_of_zero_has_the_middle_colour():
    norm = vote_figure(torch.tensor([[-3.0, 1.0]]), None).axes[0].images[0].norm
    assert float(norm(0.0)) == 0.5
    assert (norm.vmin, norm.vmax) == (-3.0, 3.0)


def test_the_line_below_is_the_logit_of_every_round():
    votes = votes_of(4)
    line = lines_of(vote_figure(votes, None).axes[1])["mean vote"]
    assert line == pytest.approx(votes.mean(1).tolist(), abs=1e-6)


def test_the_mark_is_at_the_round_that_solved():
    figure = vote_figure(votes_of(4), 17)
    for axes in figure.axes[:2]:
        assert any(set(line.get_xdata()) == {17} for line in axes.lines)
    assert "solved in round 17" in title(figure)


def test_without_a_solution_there_is_no_mark():
    figure = vote_figure(votes_of(40), None)
    assert all(line.get_linestyle() != "--" for axes in figure.axes[:2] for line in axes.lines)
    assert not figure.axes[0].lines[1:]  # the line between the halves alone
    assert "not solved" in title(figure)


@pytest.mark.parametrize(("satisfiable", "word"), [(1, "Satisfiable"), (0, "Unsatisfiable"), (-1, "Unknown")])
def test_the_title_tells_truth_and_predicted_probability(satisfiable, word):
    votes = torch.tensor([[9.0, 9.0], [math.log(3.0) - 1.0, math.log(3.0) + 1.0]])
    assert title(vote_figure(votes, None, satisfiable)).startswith(f"{word}, predicted probability of satisfiable 0.75")


def test_principal_components_are_the_axes_of_greatest_variance():
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).double())
    corners = torch.tensor([[3.0, 1.0], [3.0, -1.0], [-3.0, 1.0], [-3.0, -1.0]]).double()
    points = corners @ rotation[:2] + 7.0
    position, share = principal_components(points, torch.tensor([True, False, False, False]))
    torch.testing.assert_close(position, corners)
    torch.testing.assert_close(share, torch.tensor([0.9, 0.1]).double())


def test_equal_points_have_no_variance_to_share():
    position, share = principal_components(torch.ones(6, 4), torch.arange(6) < 3)
    assert not position.any()
    assert not share.any()


def clustered(assignment: torch.Tensor) -> torch.Tensor:
    is_true = torch.cat([assignment, ~assignment]).float()
    noise = 0.1 * torch.randn(len(is_true), 8, generator=torch.Generator().manual_seed(1))
    return noise + (2 * is_true - 1)[:, None]


def test_true_and_false_literals_are_two_groups_with_the_true_ones_on_the_right():
    assignment = torch.tensor([True, False, True])
    states = torch.stack([clustered(assignment), clustered(assignment)])
    figure = embedding_figure(states, [12, 26], assignment)
    assert [axes.get_title() for axes in figure.axes] == ["round 12", "round 26"]
    for axes in figure.axes:
        points = groups_of_points(axes)
        assert len(points["true literals"]) == len(points["false literals"]) == 3
        assert points["true literals"][:, 0].min() > 0 > points["false literals"][:, 0].max()


def test_lines_join_the_two_literals_of_each_variable():
    assignment = torch.tensor([True, False, True, True])
    axes = embedding_figure(clustered(assignment)[None], [26], assignment).axes[0]
    points = groups_of_points(axes)
    (joins,) = [drawn for drawn in axes.collections if hasattr(drawn, "get_segments")]
    ends = np.array(joins.get_segments())
    assert ends.shape == (4, 2, 2)
    is_true_end_first = ends[:, 0, 0] > 0
    assert is_true_end_first.tolist() == assignment.tolist()
    literals = np.concatenate([points["true literals"], points["false literals"]])
    assert {tuple(end) for end in ends.reshape(-1, 2)} == {tuple(literal) for literal in literals}


def test_literals_are_grey_without_an_assignment():
    axes = embedding_figure(torch.randn(1, 6, 4), [26], None).axes[0]
    assert not {"true literals", "false literals"} & set(groups_of_points(axes))
    red, green, blue, _ = axes.collections[0].get_facecolors()[0]
    assert red == green == blue


def test_every_group_has_a_line_and_its_published_values_in_one_colour():
    curves = {"n40": [30.0, 80.0, 95.0], "n80": [8.0, 55.0, math.nan]}
    published = {"n40": [36, 87, 97], "n80": [9, 61, 83]}
    axes = solved_figure(curves, ROUNDS, published).axes[0]
    for group in curves:
        (line,) = [line for line in axes.lines if line.get_label() == group]
        np.testing.assert_array_equal(line.get_ydata(), curves[group])
        (dots,) = [dots for dots in axes.lines if list(dots.get_ydata()) == published[group]]
        assert list(line.get_xdata()) == list(dots.get_xdata()) == ROUNDS
        assert line.get_color() == dots.get_color()
        assert (dots.get_markerfacecolor(), dots.get_linestyle()) == ("none", "None")


def test_groups_differ_in_colour_and_marker():
    curves = {f"n{n}": [float(n)] * 3 for n in (40, 80, 120, 160, 200)}
    lines = solved_figure(curves, ROUNDS).axes[0].lines
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 5


def test_rounds_are_ticks_of_a_logarithmic_axis():
    axes = solved_figure({"n40": [1.0, 2.0, 3.0]}, ROUNDS).axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["16", "64", "256"]


def test_a_published_group_that_was_not_measured_is_named():
    assert "n200 (published)" in lines_of(solved_figure({}, ROUNDS, {"n200": [0, 20, 29]}).axes[0])


@pytest.mark.parametrize("published", [None, {"n40": [36]}])
def test_a_curve_must_have_a_value_for_every_round(published):
    curves = {"n40": [1.0, 2.0, 3.0]} if published else {"n40": [1.0]}
    with pytest.raises(ValueError, match="1 values of n40 for 3 rounds"):
        solved_figure(curves, ROUNDS, published)


def test_the_literals_of_the_core_have_a_heat_map_of_their_own():
    votes, in_core = votes_of(20), torch.zeros(40, dtype=torch.bool)
    in_core[[2, 7, 22]] = True
    figure = core_figure(votes, torch.randn(40, 8), in_core)
    core, others = heat_maps(figure)
    assert set(core[:, -1].tolist()) == set(votes[-1, in_core].tolist())
    assert set(others[:, -1].tolist()) == set(votes[-1, ~in_core].tolist())
    lines = [lines_of(axes) for axes in figure.axes if "core" in lines_of(axes)]
    assert lines[0]["core"] == pytest.approx(votes[:, in_core].mean(1).tolist(), abs=1e-6)
    assert lines[0]["other literals"] == pytest.approx(votes[:, ~in_core].mean(1).tolist(), abs=1e-6)


def test_the_literals_of_the_core_are_marked_among_the_embeddings():
    in_core = torch.zeros(40, dtype=torch.bool)
    in_core[[2, 7, 22]] = True
    state = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)) + 20.0 * in_core[:, None]
    figure = core_figure(votes_of(20), state, in_core)
    (points,) = [groups_of_points(axes) for axes in figure.axes if "literals of the core" in groups_of_points(axes)]
    assert len(points["literals of the core"]) == 3
    assert points["literals of the core"][:, 0].min() > points["other literals"][:, 0].max()


FIGURES = {
    "votes of one variable and round": lambda: vote_figure(votes_of(1, 1), 1, 1),
    "votes of 200 variables in 1024 rounds": lambda: vote_figure(votes_of(200, 1024), 900, 1),
    "votes that are all zero": lambda: vote_figure(torch.zeros(2, 6), None),
    "votes with gradient": lambda: vote_figure(votes_of(3).requires_grad_(), None),
    "embeddings of one variable": lambda: embedding_figure(torch.randn(1, 2, 4), [1], torch.tensor([False])),
    "embeddings of nine rounds": lambda: embedding_figure(torch.randn(9, 400, 8), list(range(9)), None),
    "one round": lambda: solved_figure({"n40": [70.0]}, [26]),
    "every round": lambda: solved_figure({"n40": [70.0] * 26}, list(range(1, 27))),
    "no core": lambda: core_figure(votes_of(3, 1), torch.randn(6, 4), torch.zeros(6, dtype=torch.bool)),
    "nothing but a core": lambda: core_figure(votes_of(3), torch.randn(6, 4), torch.ones(6, dtype=torch.bool)),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES.keys())
@pytest.mark.filterwarnings("error")
def test_figures_of_every_size_become_captioned_pictures(draw):
    figure = draw()
    assert figure.get_label()
    assert to_png(figure, figure.get_label()).startswith(b"\x89PNG")
