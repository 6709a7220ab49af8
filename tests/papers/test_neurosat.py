"""NeuroSAT: the network, its decoding and its training, against facts that only the right one satisfies."""

import itertools
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn

from paperzoo.batches import SatProblems
from paperzoo.data.logic.sr import sr_pair
from paperzoo.logic.cnf import Formula, split, union
from paperzoo.papers.neurosat import NeuroSAT, NeuroSATModule, attempts, layers
from paperzoo.papers.neurosat.decoding import (
    Attempt,
    by_clusters,
    by_votes,
    in_second_cluster,
    satisfied,
    two_means,
    verified_assignments,
    with_filler,
)
from paperzoo.papers.neurosat.graph import Graph, flip
from paperzoo.papers.neurosat.layers import LayerNormLSTM, LstmState, Perceptron

Clauses = Sequence[Sequence[int]]

ROUNDS = 6


def random_formula(variables: int, clauses: int, seed: int) -> Formula:
    """Clauses of two to four distinct variables."""
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(clauses):
        chosen = generator.choice(variables, min(variables, int(generator.integers(2, 5))), replace=False) + 1
        drawn.append((chosen * generator.choice([-1, 1], len(chosen))).tolist())
    return Formula.from_clauses(variables, drawn)


def planted(variables: int, clauses: int, seed: int) -> tuple[Formula, Tensor]:
    """A formula and an assignment that satisfies it."""
    generator = np.random.default_rng(seed)
    assignment = generator.integers(0, 2, variables).astype(bool)
    kept = [
        clause
        for clause in random_formula(variables, 20 * clauses, seed).clauses()
        if any(assignment[abs(literal) - 1] == (literal > 0) for literal in clause)
    ]
    return Formula.from_clauses(variables, kept[:clauses]), torch.from_numpy(assignment)


FORMULAS = [random_formula(variables, 4 * variables, seed) for seed, variables in enumerate((3, 5, 8, 5))]


def network(dimension: int = 16, **arguments: bool) -> NeuroSAT:
    """A small network in double precision with every parameter, biases too, away from its special first value."""
    torch.manual_seed(0)
    net = NeuroSAT(dimension, **arguments).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def problems(*formulas: Formula, satisfiable: Sequence[int] | None = None) -> SatProblems:
    return union(formulas, satisfiable or [1] * len(formulas))


def literals_after(net: NeuroSAT, batch: SatProblems, rounds: int = ROUNDS) -> Tensor:
    *_, state = islice(net.states(batch), rounds)
    return state.literals.hidden


close = partial(torch.testing.assert_close, rtol=1e-8, atol=1e-8)


def test_the_parameters_are_the_papers() -> None:
    net = NeuroSAT()
    count = lambda *parts: sum(p.numel() for part in parts for p in part.parameters())  # noqa: E731
    assert count(net.literal_message) == count(net.clause_message) == 66_048
    assert count(net.literal_vote) == 49_665
    assert count(net.clause_update) == 132_352
    assert count(net.literal_update) == 197_888
    assert count(net) == 512_258


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_round_gives_the_same_for_any_number_of_nodes() -> None:
    torch.manual_seed(0)
    net, compiled = (NeuroSAT(16) for _ in range(2))
    compiled.load_state_dict(net.state_dict())
    compiled.compile_round()
    for count in (4, 2, 3):
        batch = problems(*FORMULAS[:count])
        outcomes = []
        for network_ in (net, compiled):
            network_.zero_grad()
            logits = network_(batch, 3)
            logits.sum().backward()
            outcomes.append([logits.detach(), *(p.grad for p in network_.parameters() if p.grad is not None)])
        torch.testing.assert_close(*outcomes, rtol=1e-3, atol=1e-4)


def test_sums_along_edges_are_products_with_the_incidence_matrix() -> None:
    batch = problems(*FORMULAS)
    graph = Graph.of(batch)
    clauses, literals = len(batch.clause_length), len(batch.in_core)
    incidence = torch.zeros(literals, clauses, dtype=torch.double)
    incidence[batch.cell_literal, torch.arange(clauses).repeat_interleave(batch.clause_length)] = 1
    for rows, ours, matrix in (
        (literals, graph.sum_into_clauses, incidence.T),
        (clauses, graph.sum_into_literals, incidence),
    ):
        x = torch.randn(rows, 5, dtype=torch.double, requires_grad=True)
        close(ours(x), matrix @ x)
        weight = torch.randn(len(matrix), 5, dtype=torch.double)
        (gradient,) = torch.autograd.grad((ours(x) * weight).sum(), x)
        close(gradient, matrix.T @ weight)


def plain_lstm(cell: LayerNormLSTM, x: Tensor, state: LstmState) -> LstmState:
    """The released code's cell, gate by gate."""
    gates = (torch.cat([x, state.hidden], dim=1) @ cell.weight).chunk(4, dim=1)
    norm = lambda value, k: F.layer_norm(value, value.shape[1:], cell.gain[k], cell.bias[k], 1e-12)  # noqa: E731
    i, j, f, o = (norm(gate, k) for k, gate in enumerate(gates))
    new = norm(state.cell * (f + 1).sigmoid() + i.sigmoid() * j.relu(), 4)
    return LstmState(new.relu() * o.sigmoid(), new)


@pytest.mark.parametrize("rows_in_cache", [3, 512])
def test_the_lstm_and_its_gradients_are_those_of_the_plain_one(
    rows_in_cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "ROWS_IN_CACHE", rows_in_cache)
    torch.manual_seed(0)
    cell = LayerNormLSTM(4, 6).double()
    with torch.no_grad():
        cell.gain.normal_(), cell.bias.normal_()
    inputs = [torch.randn(8, size, dtype=torch.double, requires_grad=True) for size in (4, 6, 6)]
    weights = [torch.randn(8, 6, dtype=torch.double) for _ in range(2)]

    def outcome(forward: Callable[..., LstmState]) -> list[Tensor]:
        state = forward(inputs[0], LstmState(*inputs[1:]))
        total = sum((value * weight).sum() for value, weight in zip(state, weights, strict=True))
        return [*state, *torch.autograd.grad(total, [*inputs, *cell.parameters()])]

    for ours, expected in zip(
        outcome(lambda x, state: cell(x @ cell.for_input, state)), outcome(partial(plain_lstm, cell)), strict=True
    ):
        close(ours, expected)


@pytest.mark.parametrize("rows_in_cache", [3, 512])
def test_the_perceptron_and_its_gradients_are_those_of_plain_layers(
    rows_in_cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "ROWS_IN_CACHE", rows_in_cache)
    torch.manual_seed(0)
    perceptron = Perceptron(4, 6, 5, 3).double()
    with torch.no_grad():
        for bias in perceptron.biases:
            bias.normal_()
    x = torch.randn(8, 4, dtype=torch.double, requires_grad=True)
    weight = torch.randn(8, 3, dtype=torch.double)

    def plain(x: Tensor) -> Tensor:
        first, second, last = zip(perceptron.weights, perceptron.biases, strict=True)
        return F.linear(F.linear(F.linear(x, *first).relu(), *second).relu(), *last)

    close(perceptron(x), plain(x))
    gradients = (torch.autograd.grad((f(x) * weight).sum(), [x, *perceptron.parameters()]) for f in (perceptron, plain))
    for ours, expected in zip(*gradients, strict=True):
        close(ours, expected)


def test_literals_see_the_new_clauses_and_the_old_negations() -> None:
    net = network()
    batch = problems(FORMULAS[0])
    graph = Graph.of(batch)
    start = net.initial_state(graph)
    state = net.round(graph, start)
    messages = graph.sum_into_clauses(net.literal_message(start.literals.hidden))
    clauses = net.clause_update(messages @ net.clause_update.for_input, start.clauses)
    close(state.clauses.hidden, clauses.hidden)
    received = graph.sum_into_literals(net.clause_message(clauses.hidden))
    messages = torch.cat([flip(start.literals.hidden), received], dim=1)
    literals = net.literal_update(messages @ net.literal_update.for_input, start.literals)
    close(state.literals.hidden, literals.hidden)


def test_negating_a_variable_everywhere_swaps_its_two_literals() -> None:
    net = network()
    formula = FORMULAS[2]
    negated = [[-literal if abs(literal) == 3 else literal for literal in clause] for clause in formula.clauses()]
    before = problems(formula)
    after = problems(Formula.from_clauses(8, negated))
    close(net(before, ROUNDS), net(after, ROUNDS))
    order = torch.arange(16)
    order[[2, 10]] = order[[10, 2]]
    close(literals_after(net, before)[order], literals_after(net, after))
    assert not torch.allclose(literals_after(net, before), literals_after(net, after), atol=1e-4)


def test_the_order_of_clauses_literals_and_variables_does_not_matter() -> None:
    net = network()
    formula = FORMULAS[2]
    generator = np.random.default_rng(0)
    renamed = generator.permutation(8) + 1
    clauses = [[int(np.sign(lit)) * int(renamed[abs(lit) - 1]) for lit in clause] for clause in formula.clauses()]
    shuffled = [
        [clauses[c][k] for k in generator.permutation(len(clauses[c]))] for c in generator.permutation(len(clauses))
    ]
    before, after = problems(formula), problems(Formula.from_clauses(8, shuffled))
    close(net(before, ROUNDS), net(after, ROUNDS))
    order = torch.from_numpy(np.concatenate([renamed - 1, renamed + 7]))
    close(literals_after(net, before), literals_after(net, after)[order])


def test_a_batch_gives_each_problem_what_it_gets_alone() -> None:
    net = network()
    together = net(problems(*FORMULAS), ROUNDS)
    close(together, torch.cat([net(problems(formula), ROUNDS) for formula in FORMULAS]))
    assert together.std() > 1e-6


def test_a_variable_without_clauses_votes_and_changes_no_other_problem() -> None:
    net = network()
    wider = Formula.from_clauses(4, FORMULAS[0].clauses())
    both = net(problems(wider, FORMULAS[1]), ROUNDS)
    close(both[1:], net(problems(FORMULAS[1]), ROUNDS))
    assert (both[:1] - net(problems(FORMULAS[0]), ROUNDS)).abs() > 1e-8


def test_more_rounds_go_through_the_same_first_states() -> None:
    net = network()
    batch = problems(*FORMULAS)
    longer = [attempt.logits for attempt in islice(attempts(net, batch), 64)]
    assert torch.equal(longer[25], net(batch, 26))
    assert not torch.allclose(longer[25], longer[63])


def test_checkpointing_changes_no_gradient() -> None:
    batch = problems(*FORMULAS)
    gradients = []
    for checkpointing in (False, True):
        net = network(checkpointing=checkpointing)
        gradients.append(torch.autograd.grad(net(batch, ROUNDS).square().sum(), list(net.parameters())))
    for first, second in zip(*gradients, strict=True):
        close(first, second)


def test_every_parameter_gets_a_gradient() -> None:
    net = network()
    net(problems(*FORMULAS), ROUNDS).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_bfloat16_matrix_products_change_little() -> None:
    net, batch = network().float(), problems(*FORMULAS)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(batch, ROUNDS)
        logits.square().sum().backward()
    torch.testing.assert_close(logits, net(batch, ROUNDS), rtol=0.1, atol=0.05)


def embeddings(assignment: Tensor, noise: float) -> Tensor:
    """Literal embeddings around +v for true literals and -v for false ones."""
    torch.manual_seed(0)
    direction = torch.randn(32)
    is_true = torch.cat([assignment, ~assignment])[:, None]
    return torch.where(is_true, direction, -direction) + noise * torch.randn(len(is_true), 32)


def test_the_decoder_finds_an_assignment_that_the_embeddings_hold() -> None:
    formulas, assignments = zip(*(planted(n, 3 * n, n) for n in (3, 5, 10, 20, 40)), strict=True)
    batch, truth = problems(*formulas), torch.cat(assignments)
    states = embeddings(truth, noise=0.8)
    assert satisfied(by_clusters(states, two_means(states, batch), batch), batch).any(0).all()
    votes = torch.cat([truth, ~truth]).float() - 5 + 0.1 * torch.randn(2 * len(truth))
    assert satisfied(by_votes(votes, batch), batch)[0].all()
    assert satisfied(by_votes(-votes, batch), batch)[1].all()


def test_random_embeddings_solve_nothing() -> None:
    formulas, _ = zip(*(planted(20, 120, seed) for seed in range(20)), strict=True)
    batch = problems(*formulas)
    torch.manual_seed(0)
    states = torch.randn(len(batch.in_core), 32)
    candidates = torch.cat([by_votes(states[:, 0], batch), by_clusters(states, two_means(states, batch), batch)])
    assert satisfied(candidates, batch).sum() == 0


def test_two_means_is_as_good_as_scikit_learns() -> None:
    batch = problems(*(planted(n, 2 * n, n)[0] for n in (3, 5, 10, 20, 40)))
    torch.manual_seed(0)
    states = torch.randn(len(batch.in_core), 8) + 3.0 * (torch.rand(len(batch.in_core), 1) > 0.6)
    centres = two_means(states, batch)
    second = in_second_cluster(states, centres, batch)
    owner = batch.variable_problem.repeat(2)
    for problem in range(5):
        own = states[owner == problem]
        inertia = torch.cdist(own, centres[problem]).amin(1).square().sum()
        assert inertia <= 1.05 * KMeans(2, random_state=0, n_init=10).fit(own).inertia_
        nearest = torch.cdist(own, centres[problem]).argmin(1).bool()
        assert torch.equal(second[owner == problem], nearest)


def test_clusters_are_read_as_the_paper_reads_them() -> None:
    batch = problems(*FORMULAS)
    torch.manual_seed(0)
    states, centres = torch.randn(len(batch.in_core), 8), torch.randn(len(FORMULAS), 2, 8)
    a, b = centres[batch.variable_problem].unbind(1)
    positive, negative = states.chunk(2)
    distance = lambda x, y: (x - y).square().sum(1)  # noqa: E731
    is_true = distance(positive, a) + distance(negative, b) < distance(positive, b) + distance(negative, a)
    assert torch.equal(by_clusters(states, centres, batch), torch.stack([is_true, ~is_true]))


def test_the_fast_check_agrees_with_the_independent_one() -> None:
    batch = problems(*FORMULAS)
    candidates = torch.rand(200, len(batch.variable_problem)) > 0.5
    fast = satisfied(candidates, batch)
    sizes = [formula.variables for formula in FORMULAS]
    for index, (formula, own) in enumerate(zip(FORMULAS, candidates.split(sizes, dim=1), strict=True)):
        assert fast[:, index].tolist() == [formula.is_satisfied_by(values) for values in own.numpy()]
    assert 0 < fast.sum() < fast.numel()


def attempt_with(batch: SatProblems, assignment: Tensor) -> Attempt:
    *_, attempt = islice(attempts(network(), batch), 1)
    return attempt._replace(assignment=assignment, solved_round=torch.ones_like(batch.satisfiable))


def test_no_assignment_is_reported_that_was_not_verified() -> None:
    formula, truth = planted(10, 30, 0)
    (found,) = verified_assignments(problems(formula), attempt_with(problems(formula), truth))
    assert found is not None
    assert found.tolist() == truth.tolist()
    wrong = next(
        torch.tensor(values)
        for values in itertools.product((False, True), repeat=10)
        if not formula.is_satisfied_by(np.array(values))
    )
    with pytest.raises(RuntimeError, match="assignment of round 1 is wrong"):
        verified_assignments(problems(formula), attempt_with(problems(formula), wrong))


def module(**changes: object) -> NeuroSATModule:
    torch.manual_seed(0)
    arguments: dict[str, object] = {
        "dimension": 32,
        "hidden_layers": 3,
        "rounds": 8,
        "test_rounds": (),
        "l2_weight": 1e-10,
        "clip_norm": 0.65,
        "optimizer": partial(torch.optim.Adam, lr=1e-3),
        "scheduler": None,
        "checkpointing": False,
        "compile": False,
    }
    return NeuroSATModule(**arguments | changes)  # type: ignore[arg-type]


def test_two_formulas_are_told_apart_by_their_one_bit() -> None:
    net = module().network
    pair = [Formula.from_clauses(1, [[1], [-1]]), Formula.from_clauses(2, [[1, 2], [-1]])]
    batch = problems(*pair, satisfiable=[0, 1])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(300):
        loss = F.binary_cross_entropy_with_logits(net(batch, 8), batch.satisfiable.float())
        if loss < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.65)
        optimizer.step()
    assert loss < 0.01
    *_, attempt = islice(attempts(net, batch), 8)
    assert (attempt.solved_round > 0).tolist() == [False, True]


def test_the_loss_is_the_papers() -> None:
    model, batch = module(l2_weight=0.5), problems(*FORMULAS, satisfiable=[0, 1, 1, 0])
    model.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    probability = model.network(batch, 8).sigmoid()
    likelihood = torch.stack([1 - probability[0], probability[1], probability[2], 1 - probability[3]])
    penalty = 0.5 * sum(p.square().sum() / 2 for p in model.parameters())
    torch.testing.assert_close(model.training_step(batch, 0), -likelihood.log().mean() + penalty)


# Formulas whose literals nothing tells apart: all that they can do is to tie.
SYMMETRIC = [
    Formula.from_clauses(3, [[1, 2], [-1, 3], [-2, -3]]),
    Formula.from_clauses(2, [[1, 2], [-1, -2]]),
    Formula.from_clauses(3, [[1, 2, 3], [-1, -2, -3]]),
    Formula.from_clauses(4, [[1, 2], [3, 4], [-1, -3], [-2, -4]]),
]


def random_weights(dimension: int) -> NeuroSATModule:
    return module(dimension=dimension, rounds=16).eval()


def briefly_trained() -> NeuroSATModule:
    """Weights that grew in a few steps, as those of a training do."""
    model = module(dimension=32, rounds=16, l2_weight=0.0)
    generator = np.random.default_rng(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(30):
        pairs = [sr_pair(int(generator.integers(3, 6)), generator) for _ in range(8)]
        batch = union([f for p in pairs for f in (p.satisfiable, p.unsatisfiable)], [1, 0] * len(pairs))
        loss = F.binary_cross_entropy_with_logits(model.network(batch, 16), batch.satisfiable.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [partial(random_weights, 64), partial(random_weights, 20), briefly_trained], ids=["64", "20", "trained"]
)
def test_fifty_formulas_are_answered_alone_as_they_are_among_others(make: Callable[[], NeuroSATModule]) -> None:
    model, generator = make(), np.random.default_rng(0)
    pairs = [sr_pair(int(generator.integers(2, 12)), generator) for _ in range(23)]
    formulas = [*SYMMETRIC, *(f for pair in pairs for f in (pair.satisfiable, pair.unsatisfiable))]
    assert len(formulas) == 50

    def answers(size: int, order: Sequence[int]) -> tuple[dict[int, tuple[str, int, list[bool] | None]], Tensor]:
        """(answer, rounds, assignment) of each formula, and the confidence in all, in batches of `size`."""
        found: dict[int, tuple[str, int, list[bool] | None]] = {}
        confidence = torch.zeros(len(order))
        for numbers in (order[start : start + size] for start in range(0, len(order), size)):
            model.on_predict_start()
            with torch.inference_mode():
                columns = model.predict_step(union([formulas[n] for n in numbers], [-1] * len(numbers)), 0)
            rows = zip(numbers, columns["answer"], columns["rounds"], model.solutions, strict=True)
            found |= {n: (str(answer), int(at), None if a is None else a.tolist()) for n, answer, at, a in rows}
            confidence[list(numbers)] = torch.as_tensor(columns["confidence"])
        return found, confidence

    alone, confidence = answers(1, range(50))
    assert {answer for answer, *_ in alone.values()} == {"satisfiable", "unknown"}
    for size, order in ((7, range(49, -1, -1)), (50, generator.permutation(50).tolist())):
        together, confidence_together = answers(size, order)
        assert together == alone
        torch.testing.assert_close(confidence_together, confidence)


def test_a_filler_brings_literals_and_clauses_to_whole_rows_and_leaves_the_formulas_as_they_are() -> None:
    for formulas in (FORMULAS, FORMULAS[:1], [Formula.from_clauses(8, [[1]] * 16)]):
        filled = with_filler(problems(*formulas))
        assert len(filled.in_core) % 16 == len(filled.clause_length) % 16 == 0
        assert [f.clauses() for f in split(filled)[:-1]] == [f.clauses() for f in formulas]


@pytest.mark.parametrize("seed", range(5))
def test_the_last_bits_of_tied_literals_decide_nothing(seed: int) -> None:
    batch = problems(*SYMMETRIC)
    literals = len(batch.in_core)
    generator = torch.Generator().manual_seed(seed)
    size = 1 + torch.rand(8, generator=generator)
    states = size + 1e-7 * torch.randn(literals, 8, generator=generator)
    votes = 3 + 1e-6 * torch.randn(literals, generator=generator)
    candidates = torch.cat([by_votes(votes, batch), by_clusters(states, two_means(states, batch), batch)])
    assert candidates.any(1).tolist() == candidates.all(1).tolist() == [False, True, False, True]
