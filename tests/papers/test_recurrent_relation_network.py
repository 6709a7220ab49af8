"""Recurrent relational networks: facts that only the right messages, updates, graphs and boards satisfy."""

import itertools
import math
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from paperzoo.batches import Names, ObjectQuestions, StoryQuestions, Sudokus
from paperzoo.logic.sudoku import neighbours
from paperzoo.module import PaperModule
from paperzoo.nn.encoder import Encoder
from paperzoo.nn.questions import OneHots
from paperzoo.papers.recurrent_relation_network import (
    QuestionNetwork,
    RecurrentQuestionModule,
    RecurrentRelationalNetwork,
    SudokuModule,
    SudokuNetwork,
    figures,
)
from paperzoo.papers.recurrent_relation_network.graphs import FactGraphs, ObjectGraphs, others
from paperzoo.papers.recurrent_relation_network.module import NOT_SOLVED, digits
from paperzoo.papers.recurrent_relation_network.network import Graph, LSTMUpdate, Messages, MLPUpdate
from paperzoo.papers.relation_network import RelationNetwork

WIDTH = 6
HIDDEN = [7, 5]


def doubled(network: Any) -> Any:
    """The network in double precision with every parameter, biases too, away from its special first value."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.double()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def sudoku_network(size: int = 4, dimension: int = WIDTH, checkpointing: bool = False) -> SudokuNetwork:
    return SudokuNetwork(size, neighbours(size), 3, dimension, 2, checkpointing)


def plain_sums(messages: Messages, hidden: Tensor, heard: Tensor, edges: Tensor | None) -> Tensor:
    """The sums of messages as the paper writes them: an MLP of the concatenation for each pair, one by one."""
    perceptron: list[Any] = [messages.first, *messages.layers, messages.last]
    sums = torch.zeros_like(hidden)
    for item, receiver, sender in itertools.product(*map(range, heard.shape)):
        if not heard[item, receiver, sender]:
            continue
        ends = [hidden[item, sender], hidden[item, receiver]]
        value = torch.cat([*ends, *([] if edges is None else [edges.expand(*heard.shape, -1)[item, receiver, sender]])])
        for layer in perceptron[:-1]:
            value = layer(value).relu()
        sums[item, receiver] += perceptron[-1](value)
    return sums


def test_messages_on_a_complete_graph_are_those_of_a_loop_over_its_pairs() -> None:
    messages = doubled(Messages(WIDTH, 2, HIDDEN))
    hidden = torch.randn(3, 5, WIDTH).double()
    heard = torch.rand(3, 5, 5) < 0.6
    for edges in (torch.randn(3, 5, 5, 2).double(), torch.randn(3, 1, 1, 2).double()):
        graph = Graph(hidden, None, heard, edges, None)
        close(messages(hidden, graph, messages.told(edges)), plain_sums(messages, hidden, heard, edges))


def test_messages_of_all_to_all_have_every_node_as_its_own_neighbour_too() -> None:
    messages = doubled(Messages(WIDTH, 0, HIDDEN))
    hidden = torch.randn(2, 4, WIDTH).double()
    everyone = torch.ones(2, 4, 4, dtype=torch.bool)
    close(
        messages(hidden, Graph(hidden, None, None, None, None), None),
        plain_sums(messages, hidden, everyone, None),
    )


def test_messages_between_cells_are_those_of_a_loop_over_pairs_that_must_differ() -> None:
    network = doubled(sudoku_network())
    hidden = torch.randn(2, 16, WIDTH).double()
    cell = torch.arange(16)
    units = torch.stack([cell // 4, cell % 4, cell // 8 * 2 + cell % 4 // 2])
    differ = (units[:, :, None] == units[:, None]).any(0) & ~torch.eye(16, dtype=torch.bool)
    messages = network.relations.messages
    close(
        messages(hidden, Graph(hidden, network.neighbours, None, None, None), None),
        plain_sums(messages, hidden, differ.expand(2, -1, -1), None),
    )


def test_each_cell_has_twenty_neighbours() -> None:
    network = sudoku_network(9)
    assert network.neighbours.shape == (81, 20)
    assert network.neighbours.numel() == 1620
    assert all(len({cell, *own}) == 21 for cell, own in enumerate(network.neighbours.tolist()))


def test_the_lstm_is_that_of_pytorch_and_starts_with_zeros() -> None:
    update = doubled(LSTMUpdate(WIDTH, HIDDEN))
    lstm = nn.LSTMCell(WIDTH, WIDTH).double()
    with torch.no_grad():
        lstm.weight_ih.copy_(update.input_weight)
        lstm.weight_hh.copy_(update.recurrent_weight)
        lstm.bias_ih.copy_(update.bias)
        lstm.bias_hh.zero_()
    nodes, expected = torch.randn(2, 3, WIDTH).double(), None
    state = update.start(nodes)
    assert torch.equal(state[0], nodes)
    for _ in range(3):
        message = torch.randn(2, 3, WIDTH).double()
        state = update(nodes, message, state)
        expected = lstm(update.mix(torch.cat([nodes, message], dim=2)).flatten(0, 1), expected)
        close(state[0].flatten(0, 1), expected[0])


def test_the_sudoku_network_has_the_parameters_of_the_released_code() -> None:
    unused = 96  # weights of an edge feature that is always zero there
    assert count(SudokuNetwork(9, neighbours(9), 16, 96, 3, False)) == 201_194 - unused


def test_the_network_of_babi_has_the_parameters_of_the_released_code() -> None:
    second_biases = 2 * 4 * 32  # of PyTorch's two LSTMs
    graph = FactGraphs(words=176, embedding=32, hidden=32, most_facts=20)  # and a row for padding: 177
    network = QuestionNetwork(graph, 128, 3, "lstm", [128, 128], 0, 177, 5, False)
    assert count(network) == 441_681 + second_biases


def test_digits_can_be_renamed() -> None:
    network = doubled(sudoku_network())
    renamed = torch.tensor([0, 3, 1, 4, 2])
    givens = torch.randint(0, 5, (2, 16))
    before = network(givens, 4)
    with torch.no_grad():
        for layer in (network.digit, network.decode):
            layer.weight[renamed] = layer.weight.clone()
        network.decode.bias[renamed] = network.decode.bias.clone()
        close(network(renamed[givens], 4)[..., renamed], before)


def test_what_a_step_says_does_not_depend_on_how_many_follow() -> None:
    network = doubled(sudoku_network())
    givens = torch.randint(0, 5, (2, 16))
    assert torch.equal(network(givens, 8)[:4], network(givens, 4))


def test_what_a_cell_is_told_spreads_by_one_step_of_messages_at_a_time() -> None:
    network = doubled(sudoku_network(9, dimension=16))
    givens = torch.zeros(1, 81, dtype=torch.int64)
    changed = givens.clone()
    changed[0, 0] = 5
    differs = (network(givens, 2) != network(changed, 2)).any(3)[:, 0]
    reached = {0, *network.neighbours[0].tolist()}
    assert set(differs[0].nonzero().flatten().tolist()) == reached
    assert differs[1].all()


@pytest.mark.parametrize("update", [LSTMUpdate, MLPUpdate])
def test_checkpointing_leaves_states_and_gradients_as_they_are(update: Callable[..., Any]) -> None:
    own = RecurrentRelationalNetwork(Messages(WIDTH, 1, HIDDEN), update(WIDTH, HIDDEN), False).double()
    nodes, edges = torch.randn(2, 4, WIDTH).double(), torch.randn(2, 4, 4, 1).double()
    results = []
    for checkpointing in (False, True):
        own.checkpointing = checkpointing
        own.zero_grad()
        states = torch.stack(list(islice(own(Graph(nodes, None, None, edges, None)), 3)))
        states.square().mean().backward()
        results.append(
            [states.detach(), *(parameter.grad.clone() for parameter in own.parameters() if parameter.grad is not None)]
        )
    assert len(results[0]) == 1 + len(list(own.parameters()))
    for found, expected in zip(*results, strict=True):
        close(found, expected)


def objects_network(update: str = "mlp", steps: int = 3, dropout: float | int = 0) -> QuestionNetwork:
    graph = ObjectGraphs(5, OneHots([3, 2]), coordinates=2)
    return QuestionNetwork(graph, WIDTH, 2, update, [8], dropout, 4, steps, False)  # type: ignore[arg-type]


def object_questions(batch: int = 3, number: int = 5) -> ObjectQuestions:
    return ObjectQuestions(
        torch.randn(batch, number, 5),
        torch.ones(batch, number, dtype=torch.bool),
        torch.stack([torch.randint(0, 3, (batch,)), torch.randint(0, 2, (batch,))], dim=1),
        torch.randint(0, 4, (batch,)),
        torch.arange(batch) % 2,
    )


def with_absent(batch: ObjectQuestions, rows: int) -> ObjectQuestions:
    return batch._replace(
        objects=F.pad(batch.objects, (0, 0, 0, rows)),
        present=F.pad(batch.present, (0, rows)),
    )


@pytest.mark.parametrize("update", ["mlp", "lstm"])
def test_absent_objects_change_nothing(update: str) -> None:
    network = doubled(objects_network(update))
    batch = object_questions()._replace(objects=torch.randn(3, 5, 5).double())
    close(network(with_absent(batch, 3)), network(batch))


@pytest.mark.parametrize("update", ["mlp", "lstm"])
def test_the_order_of_objects_does_not_matter_but_their_distances_do(update: str) -> None:
    network: Any = doubled(objects_network(update))
    batch = object_questions()._replace(objects=torch.randn(3, 5, 5).double())
    close(network(batch._replace(objects=batch.objects[:, [3, 0, 4, 1, 2]])), network(batch))
    graph = network.graph(batch)
    close(graph.edges[1, 0, 3, 0], torch.dist(batch.objects[1, 0, :2], batch.objects[1, 3, :2]))


class MessageAlone(nn.Module):
    """In place of the perceptron of [x, h, m]: m."""

    def forward(self, known: Tensor) -> Tensor:
        return known.chunk(3, dim=2)[2]


def test_one_step_is_a_relation_network_that_leaves_out_pairs_of_an_object_with_itself() -> None:
    own = doubled(QuestionNetwork(ObjectGraphs(5, OneHots([3, 2]), 0), WIDTH, 2, "mlp", [8], 0, 4, 1, False))
    own.relations.update.mix = MessageAlone()
    batch = object_questions()._replace(objects=torch.randn(3, 5, 5).double())
    nodes = own.encode(own.graph(batch).nodes)
    relation_network: Any = RelationNetwork(Encoded(WIDTH), None, [[WIDTH, WIDTH]], [8], 0, 4, False).double()
    [relation] = relation_network.relations
    relation.load_state_dict(
        {
            "first.weight": own.relations.messages.first.weight.roll(WIDTH, 1),  # ours has the sender first
            "first.bias": own.relations.messages.first.bias,
            "layers.0.weight": own.relations.messages.layers[0].weight,
            "layers.0.bias": own.relations.messages.layers[0].bias,
        }
    )
    pairs = 5 * 4
    with torch.no_grad():
        last, first = own.relations.messages.last, own.readout[0]
        relation_network.readout[0].weight.copy_(first.weight @ last.weight)
        relation_network.readout[0].bias.copy_(first.weight @ (pairs * last.bias) + first.bias)
        relation_network.readout[-1].load_state_dict(own.readout[-1].state_dict())
    with_itself = sum(relation(nodes[:, [number]]).sum(1) for number in range(5))
    close(own(batch)[0], relation_network.readout(relation(nodes).sum(1) - with_itself))


class Encoded(Encoder):
    """Objects that are encoded already."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


def stories(batch: int = 4, sentences: int = 3) -> StoryQuestions:
    return StoryQuestions(
        torch.randint(1, 9, (batch, sentences, 4)),
        torch.randint(1, 9, (batch, 3)),
        torch.randint(0, 5, (batch,)),
        torch.zeros(batch, dtype=torch.int64),
    )


def test_facts_that_are_not_there_change_nothing() -> None:
    network = doubled(QuestionNetwork(FactGraphs(9, 4, 5, 6), WIDTH, 2, "lstm", [8], 0, 5, 3, False)).eval()
    batch = stories()
    padded = batch._replace(story=F.pad(batch.story, (0, 2, 0, 2)))
    close(network(padded), network(batch))


def test_a_fact_is_told_its_place_from_a_random_start_in_training_and_from_the_first_else() -> None:
    graphs = FactGraphs(9, 4, 5, 6)
    batch = stories(batch=400)
    places = graphs.train()(batch).nodes[..., 5 : 5 + 12].argmax(2)
    assert torch.equal(places - places[:, :1], torch.arange(3).expand(400, -1))
    assert set(places[:, 0].tolist()) == set(range(6))
    assert torch.equal(graphs.eval()(batch).nodes[..., 5 : 5 + 12].argmax(2), torch.arange(3).expand(400, -1))


def test_facts_and_question_share_word_vectors_and_every_edge_knows_the_question() -> None:
    graphs = FactGraphs(9, 4, 5, 6).eval()
    batch = stories()
    graph = graphs(batch)
    assert graphs.question.embedding is graphs.reader.embedding
    close(graph.edges.expand(-1, 3, 3, -1)[:, 2, 1], graphs.question(batch.question))
    assert graph.heard.expand(-1, 3, -1).all()  # of itself, too


def test_nobody_is_among_the_others() -> None:
    assert others(3, torch.device("cpu")).tolist() == [[False, True, True], [True, False, True], [True, True, False]]


def solutions() -> Tensor:
    """All 288 Sudokus of 4 x 4."""
    rows = list(itertools.permutations((1, 2, 3, 4)))
    boards = torch.tensor(list(itertools.product(rows, repeat=4)))
    boxes = boards.view(-1, 2, 2, 2, 2).transpose(2, 3).reshape(-1, 4, 4)
    units = torch.cat([boards.mT, boxes], dim=1)
    return boards[(units.sort(2).values == torch.arange(1, 5)).all(2).all(1)].flatten(1)


def puzzles(number: int, givens: int) -> Sudokus:
    """Puzzles of 4 x 4 with one solution."""
    known = solutions()
    found: list[tuple[Tensor, Tensor]] = []
    while len(found) < number:
        solution = known[int(torch.randint(len(known), ()))]
        puzzle = solution * (torch.rand(16).argsort() < givens)
        if ((puzzle == 0) | (known == puzzle)).all(1).sum() == 1:
            found.append((puzzle, solution))
    return Sudokus(*(torch.stack(column) for column in zip(*found, strict=True)))


def module(**changed: Any) -> SudokuModule:
    arguments: dict[str, Any] = {
        "size": 4,
        "embedding": 8,
        "dimension": 32,
        "hidden_layers": 2,
        "steps": 6,
        "test_steps": 8,
        "optimizer": lambda parameters: torch.optim.Adam(parameters, lr=3e-3),
        "l2_weight": 0,
        "clip_norm": 1,
        "scheduler": None,
        "checkpointing": False,
    }
    return SudokuModule(**(arguments | changed))


def test_there_are_288_sudokus_of_four_digits() -> None:
    assert len(solutions()) == 288


def test_many_steps_solve_puzzles_that_one_step_cannot() -> None:
    """Trained on 4 x 4 puzzles for seconds."""
    train, held_out = puzzles(2000, givens=6), puzzles(200, givens=6)
    own = module(hidden_layers=1, steps=4)
    optimizer: torch.optim.Optimizer = own.configure_optimizers()
    own.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    for _ in range(150):
        chosen = torch.randint(len(train.givens), (64,))
        optimizer.zero_grad()
        own.training_step(Sudokus(*(column[chosen] for column in train)), 0).backward()
        nn.utils.clip_grad_norm_(own.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        boards = digits(own.network(held_out.givens, 8))
    solved = (boards == held_out.solution).all(2).float().mean(1)
    assert solved[0] < 0.05
    assert solved[-1] > 0.5


class Scripted(nn.Module):
    """In place of the network: what was written down for each step."""

    def __init__(self, boards: Tensor) -> None:
        super().__init__()
        self.boards = boards

    def logits(self, givens: Tensor) -> Any:
        return iter(F.one_hot(self.boards, 5).double())

    def forward(self, givens: Tensor, steps: int) -> Tensor:
        return torch.stack(list(islice(self.logits(givens), steps)))


def scripted() -> tuple[SudokuModule, Sudokus]:
    """Three puzzles: solved at steps 2 and 4, wrong again at step 3; solved at step 3; never right in all cells."""
    right = solutions()[[0, 100, 200]]
    wrong = right.clone()
    wrong[:, 5] = right[:, 5] % 4 + 1
    is_right = torch.tensor([[False, False, False], [True, False, False], [False, True, False], [True, True, False]])
    own = module(test_steps=4, steps=2)
    own.network = Scripted(torch.where(is_right[..., None], right, wrong))  # type: ignore[assignment]
    keep = torch.arange(16) < torch.tensor([5, 4, 4])[:, None]
    return own, Sudokus(right * keep, right)


def test_a_prediction_is_the_first_board_that_keeps_all_rules_or_none() -> None:
    own, batch = scripted()
    rows = own.predict_step(batch._replace(solution=torch.zeros_like(batch.solution)), 0)
    lines = ["".join(map(str, solution.tolist())) for solution in batch.solution[:2]]
    assert rows["answer"] == [*lines, NOT_SOLVED]
    assert rows["steps"].tolist() == [2, 3, 4]  # type: ignore[union-attr]


def evaluate(own: PaperModule, batch: Any, stage: str) -> dict[str, float]:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    items: Any = [batch]
    loader: Any = DataLoader(items, batch_size=None)
    [metrics] = (trainer.test if stage == "test" else trainer.validate)(own, loader, verbose=False)
    return dict(metrics)


def test_solved_counts_boards_right_in_every_cell_at_the_last_step() -> None:
    own, batch = scripted()
    metrics = evaluate(own, batch, "test")
    assert metrics["test/solved"] == pytest.approx(2 / 3)
    assert metrics["test/accuracy"] == pytest.approx(1 - 1 / 48)
    assert metrics["test/solved_givens5"] == 1
    assert metrics["test/solved_givens4"] == 0.5
    assert {name for name in metrics if "givens" in name} == {"test/solved_givens4", "test/solved_givens5"}
    metrics = evaluate(own, batch, "val")
    assert metrics["val/solved"] == pytest.approx(1 / 3)


def test_the_board_figure_shows_the_puzzle_that_was_solved_last_up_to_that_step() -> None:
    own, batch = scripted()
    evaluate(own, batch, "test")
    drawn = own.figures(batch)
    panels = [axes for axes in drawn["board"].axes if axes.axison]
    assert [axes.get_title() for axes in panels] == ["step 1: 1 wrong", "step 2: 1 wrong", "step 3: 0 wrong"]
    assert [text.get_text() for text in panels[-1].texts] == [str(digit) for digit in batch.solution[1].tolist()]
    [curves] = drawn["solved"].axes
    by_givens = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in curves.get_lines()}
    assert by_givens == {"4 givens": [0, 0, 50, 50], "5 givens": [0, 100, 0, 100]}


def test_a_wrong_digit_is_shown_apart_from_right_and_given_ones() -> None:
    solution = solutions()[0]
    board = solution.clone()
    board[15] = solution[15] % 4 + 1
    givens = solution * (torch.arange(16) < 3)
    [axes] = figures.board_figure(board[None], [7], givens, solution).axes
    colours = [text.get_color() for text in axes.texts]
    assert colours == [figures.GIVEN] * 3 + [figures.RIGHT] * 12 + [figures.WRONG]


def test_loss_is_the_mean_over_steps_and_all_cells() -> None:
    own, batch = module().double(), puzzles(3, givens=6)
    own.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    logits = own.network(batch.givens, 6)
    expected = torch.stack([F.cross_entropy(step.flatten(0, 1), batch.solution.flatten()) for step in logits]).mean()
    close(own.training_step(batch, 0), expected)


def test_the_l2_penalty_is_of_the_weights_of_linear_layers() -> None:
    own, batch = module(l2_weight=0.1).double(), puzzles(3, givens=6)
    own.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    with_penalty = own.training_step(batch, 0)
    own.l2_weight = 0
    linear = [p for name, p in own.named_parameters() if p.ndim == 2 and "digit" not in name and "row" not in name]
    linear = [p for p in linear if p.shape not in ((4, 8), (128, 32))]  # embeddings of columns, the LSTM
    close(
        with_penalty - own.training_step(batch, 0),
        0.05 * sum((p.square().sum() for p in linear), torch.zeros(())).double(),
    )


class Answers(nn.Module):
    """In place of the network: the answers of each step."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, batch: ObjectQuestions) -> Tensor:
        return F.one_hot(self.answers, 4).float()


def test_questions_are_counted_by_kind_after_each_step() -> None:
    batch = object_questions(batch=4)
    wrong = (batch.answer + 1) % 4
    network = Answers(torch.stack([batch.answer, wrong, torch.where(batch.kind == 0, batch.answer, wrong)]))
    own = RecurrentQuestionModule(network, torch.optim.Adam, 0, None, None)
    own.names = Names(answers=("a", "b", "c", "d"), kinds=("near", "far"))
    assert evaluate(own, batch, "val")["val/accuracy"] == 0.5
    assert own.accuracy_by_step(2).tolist() == [[1, 0, 1], [1, 0, 0]]
    axes = own.figures(batch)["steps"].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["near", "far"]


def test_the_step_figure_has_a_number_for_each_kind_and_step() -> None:
    accuracy = torch.tensor([[0.25, 1.0], [0.5, math.nan]])
    axes = figures.step_figure(accuracy, ["one_jump", "two_jumps"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["25.0", "100.0", "50.0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one jump", "two jumps"]


def test_many_numbers_of_givens_are_told_by_a_bar_of_colours_and_few_by_a_legend() -> None:
    shares = {givens: torch.linspace(0, givens / 40, 8) for givens in range(17, 38)}
    axes, bar = figures.solved_figure(shares).axes
    assert len(axes.get_lines()) == 21
    assert bar.get_ylabel() == "givens"
    few = figures.solved_figure({17: shares[17], 20: shares[20]})
    assert len(few.axes) == 1
    assert [text.get_text() for text in few.legends[0].get_texts()] == ["17 givens", "20 givens"]
