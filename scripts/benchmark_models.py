"""Times our models against plain PyTorch versions of the same mathematics: one training step, forward and backward.

    python scripts/benchmark_models.py glow
    python scripts/benchmark_models.py glow --batch-size 64 --device cuda
    python scripts/benchmark_models.py neurosat --rounds 26 --pairs 3 --threads 1
    python scripts/benchmark_models.py neurosat --rounds 4 --threads 1 --bfloat16 --compile    # needs a C++ compiler
    python scripts/benchmark_models.py relation --batch-size 8 --threads 1

Plain is what a port would hold, in the same precision as ours and with the same allocator. The two take turns and are
timed by CPU time (on a GPU by wall time); the ratio is the median over the pairs. Before timing they are checked to
compute the same outputs and gradients. "of peak" is the rate at which ours does the matrix products of the plain
version, against that of a product of two 1024 x 1024 matrices on this machine. Peak memory is what a step adds, each
measured in a process of its own on a CPU.
"""

import argparse
import ctypes
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from paperzoo.batches import SatProblems
from paperzoo.data.logic.twins import Kind, TwinStream
from paperzoo.nn.pairs import PairRelation
from paperzoo.nn.perceptron import perceptron
from paperzoo.papers.glow.flow import FlowStep, Level
from paperzoo.papers.glow.layers import CouplingNet, ZeroConv
from paperzoo.papers.neurosat.graph import Graph
from paperzoo.papers.neurosat.layers import EPSILON, FORGET_BIAS, LayerNormLSTM, LstmState, Perceptron
from paperzoo.papers.neurosat.network import NeuroSAT
from paperzoo.runner.memory import keep_freed_memory


class Contest(NamedTuple):
    """A plain module and variants of ours with the same parameters; each maps the input to a tuple of tensors.

    A variant whose name says bfloat16 meets the plain module under bfloat16 autocast.
    """

    name: str
    plain: nn.Module
    ours: dict[str, nn.Module]
    x: Tensor
    tolerance: float = 1e-5


class PlainGlowLevel(nn.Module):
    """Glow's flow steps as public ports write them: layer after layer, without the channel that shows the border."""

    def __init__(self, level: Level) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(len(x))
        for step in self.level.steps:
            x, of_step = self.step(step, x)
            log_det = log_det + of_step
        return x, log_det

    def step(self, step: FlowStep, x: Tensor) -> tuple[Tensor, Tensor]:
        pixels = x[0, 0].numel()
        x = (x + step.actnorm.bias.view(1, -1, 1, 1)) * step.actnorm.log_scale.exp().view(1, -1, 1, 1)
        log_det = pixels * step.actnorm.log_scale.sum()
        weight = step.permutation.matrix()
        x = F.conv2d(x, weight[:, :, None, None])
        log_det = log_det + pixels * torch.linalg.slogdet(weight.double()).logabsdet.float()
        kept, moved = x.chunk(2, dim=1)
        h = self.net(step.coupling.net, kept)
        shift, scale = h[:, 0::2], torch.sigmoid(h[:, 1::2] + 2)
        return torch.cat([kept, (moved + shift) * scale], dim=1), log_det + scale.log().flatten(1).sum(1)

    def net(self, net: CouplingNet, x: Tensor) -> Tensor:
        h = F.conv2d(x, net.weight1, padding=1)
        h = F.relu((h + net.norm1.bias.view(1, -1, 1, 1)) * net.norm1.log_scale.exp().view(1, -1, 1, 1))
        h = F.conv2d(h, net.weight2)
        h = F.relu((h + net.norm2.bias.view(1, -1, 1, 1)) * net.norm2.log_scale.exp().view(1, -1, 1, 1))
        last: ZeroConv = net.last
        scale = (3 * last.log_scale_parameter).exp().view(1, -1, 1, 1)
        return F.conv2d(h, last.weight, last.bias, padding=1) * scale


def glow(options: argparse.Namespace) -> Iterator[Contest]:
    """One flow step of each level of the paper's CIFAR-10 model (width 512, 1x1 convolution, affine coupling)."""
    for channels, size in ((12, 16), (24, 8), (48, 4)):
        step = FlowStep(channels, 512, "conv1x1", "affine", edge_bias=False, coupling_dtype=None)
        x = torch.randn(options.batch_size, channels, size, size)
        step.initialize(x)
        _perturb(step)
        level = Level([step], checkpointing=False).to(options.device)
        ours: dict[str, nn.Module] = {"float32": level}
        if options.compile:
            ours["float32, compiled"] = _variant(level, compiled=True)
        if options.bfloat16:
            ours["bfloat16"] = _variant(level, dtype=torch.bfloat16)
            if options.compile:
                ours["bfloat16, compiled"] = _variant(level, compiled=True, dtype=torch.bfloat16)
        yield Contest(f"flow step {channels}x{size}x{size}", PlainGlowLevel(level), ours, x.to(options.device))


class SatRounds(nn.Module):
    """NeuroSAT on a batch of problems; the input is the first embedding of every literal."""

    def __init__(self, network: NeuroSAT, problems: SatProblems, rounds: int) -> None:
        super().__init__()
        self.network, self.problems, self.rounds = network, problems, rounds

    def forward(self, x: Tensor) -> tuple[Tensor]:
        graph = Graph.of(self.problems)
        start = self.network.initial_state(graph)
        state = start._replace(literals=start.literals._replace(hidden=x.expand(len(self.problems.in_core), -1)))
        for _ in range(self.rounds):
            state = self.network.round(graph, state)
        return (self.network.logits(self.network.votes(state.literals.hidden), self.problems),)


class PlainSatRounds(SatRounds):
    """A port for message passing: gathered along the edges and added up with `index_add`, the LSTM gate by gate."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        net, problems = self.network, self.problems
        literal_count, clause_count = len(problems.in_core), len(problems.clause_length)
        literal = problems.cell_literal
        clause = torch.repeat_interleave(problems.clause_length)
        literals = LstmState(x.expand(literal_count, -1), x.new_zeros(literal_count, len(x)))
        start = net.clause_init / net.dimension**0.5
        clauses = LstmState(start.expand(clause_count, -1), x.new_zeros(clause_count, len(x)))
        for _ in range(self.rounds):
            sent = self.perceptron(net.literal_message, literals.hidden)
            received = sent.new_zeros(clause_count, sent.shape[1]).index_add(0, clause, sent[literal])
            clauses = self.update(net.clause_update, [received], clauses)
            positive, negative = literals.hidden.chunk(2)
            sent = self.perceptron(net.clause_message, clauses.hidden)
            received = sent.new_zeros(literal_count, sent.shape[1]).index_add(0, literal, sent[clause])
            literals = self.update(net.literal_update, [torch.cat([negative, positive]), received], literals)
        votes = self.perceptron(net.literal_vote, literals.hidden).squeeze(1).float()
        owner = problems.variable_problem.repeat(2)
        problem_count = len(problems.satisfiable)
        sums = votes.new_zeros(problem_count).index_add(0, owner, votes)
        return (sums / torch.bincount(owner, minlength=problem_count) + net.vote_bias,)

    def update(self, lstm: LayerNormLSTM, messages: list[Tensor], state: LstmState) -> LstmState:
        gates = (torch.cat([*messages, state.hidden], dim=1) @ lstm.weight).chunk(4, dim=1)
        i, j, f, o = (self.norm(lstm, gate, k) for k, gate in enumerate(gates))
        new = state.cell * torch.sigmoid(f + FORGET_BIAS) + torch.sigmoid(i) * torch.relu(j)
        new = self.norm(lstm, new, 4)
        return LstmState(torch.relu(new) * torch.sigmoid(o), new)

    def perceptron(self, perceptron: Perceptron, x: Tensor) -> Tensor:
        *hidden, last = zip(perceptron.weights, perceptron.biases, strict=True)
        for weight, bias in hidden:
            x = torch.relu(F.linear(x, weight, bias))
        return F.linear(x, *last)

    def norm(self, lstm: LayerNormLSTM, x: Tensor, k: int) -> Tensor:
        return F.layer_norm(x, x.shape[1:], lstm.gain[k], lstm.bias[k], EPSILON)


def neurosat(options: argparse.Namespace) -> Iterator[Contest]:
    """The paper's network on a batch of SR(40) of 12,000 nodes."""
    problems = TwinStream([Kind(40)], 12_000, seed=0)[0]
    problems = SatProblems(*(column.to(options.device) for column in problems))
    network = NeuroSAT().to(options.device)
    plain = PlainSatRounds(network, problems, options.rounds)
    ours: dict[str, nn.Module] = {"float32": SatRounds(network, problems, options.rounds)}
    checkpointed = NeuroSAT(checkpointing=True).to(options.device)
    checkpointed.load_state_dict(network.state_dict())
    ours["float32, checkpointing"] = SatRounds(checkpointed, problems, options.rounds)
    if options.bfloat16:
        ours["bfloat16"] = Autocast(ours["float32"])
    if options.compile:
        compiled = NeuroSAT().to(options.device)
        compiled.load_state_dict(network.state_dict())
        compiled.compile_round()
        ours["float32, compiled"] = SatRounds(compiled, problems, options.rounds)
        if options.bfloat16:
            ours["bfloat16, compiled"] = Autocast(SatRounds(compiled, problems, options.rounds))
    nodes = len(problems.in_core) + len(problems.clause_length)
    x = (network.literal_init / network.dimension**0.5).detach()
    tolerance = 1e-5 if options.rounds <= 4 else 1e-2  # what float32 rounds off grows from round to round
    yield Contest(f"{options.rounds} rounds, {nodes} nodes", plain, ours, x, tolerance)


class Relation(nn.Module):
    """A relation and what is read from its sum, for one question a set."""

    def __init__(self, relation: PairRelation, readout: nn.Module, code: Tensor) -> None:
        super().__init__()
        self.relation, self.readout, self.code = relation, readout, code

    def sums(self, x: Tensor) -> Tensor:
        return self.relation(x, None, self.code)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = self.sums(x).sum(1)
        return total, self.readout(total)


class PlainRelation(Relation):
    """The usual form: objects and question tiled to all pairs, concatenated, and one perceptron on that."""

    def sums(self, x: Tensor) -> Tensor:
        shape = (len(x), x.shape[1], x.shape[1], -1)
        pair = torch.cat(
            [x[:, :, None].expand(shape), x[:, None].expand(shape), self.code[:, None, None].expand(shape)], 3
        )
        for layer in (self.relation.first, *self.relation.layers):
            pair = F.relu(layer(pair))
        return pair.sum(2)


def relation(options: argparse.Namespace) -> Iterator[Contest]:
    """The relation of CLEVR's network: 64 cells of 26 features, a question of 128, four layers of 256."""
    readout = perceptron([256, 256, 256, 28], dropout=0).to(options.device)
    x = torch.randn(options.batch_size, 64, 26, device=options.device)
    code = torch.randn(options.batch_size, 128, device=options.device)
    relation = PairRelation(26, 128, (256, 256, 256, 256)).to(options.device)
    checkpointed = PairRelation(26, 128, (256, 256, 256, 256), checkpointing=True).to(options.device)
    checkpointed.load_state_dict(relation.state_dict())
    ours: dict[str, nn.Module] = {
        "float32": Relation(relation, readout, code),
        "float32, checkpointing": Relation(checkpointed, readout, code),
    }
    if options.bfloat16:
        ours["bfloat16"] = Autocast(ours["float32"])
    yield Contest("relation of 64 objects", PlainRelation(relation, readout, code), ours, x)


class Autocast(nn.Module):
    """A module under bfloat16 autocast."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.module(x)


BENCHMARKS: dict[str, Callable[[argparse.Namespace], Iterator[Contest]]] = {
    "glow": glow,
    "neurosat": neurosat,
    "relation": relation,
}


def _variant(level: Level, compiled: bool = False, dtype: torch.dtype | None = None) -> Level:
    step = FlowStep(len(level.steps[0].actnorm.bias), 512, "conv1x1", "affine", edge_bias=False, coupling_dtype=dtype)
    variant = Level([step], checkpointing=False).to(level.steps[0].actnorm.bias.device)
    variant.load_state_dict(level.state_dict())
    if compiled:
        step.compile()
    return variant


def _perturb(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))


def run(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs and gradients of one training step."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    outputs = module(x)
    sum(output.square().mean() for output in outputs).backward()
    assert x.grad is not None
    return [
        *(output.detach() for output in outputs),
        x.grad,
        *(p.grad for p in module.parameters() if p.grad is not None),
    ]


def seconds(module: nn.Module, x: Tensor) -> float:
    """CPU time of a step on a CPU, which other work on the machine disturbs little; wall time on a GPU."""
    clock = time.perf_counter if x.is_cuda else time.process_time
    _finish(x)
    start = clock()
    run(module, x)
    _finish(x)
    return clock() - start


def matmul_flops(module: nn.Module, x: Tensor) -> int:
    """Floating-point operations of the matrix products and convolutions of a step, as the plain module writes them."""
    with FlopCounterMode(display=False) as counter:
        run(module, x)
    return counter.get_total_flops()


def peak_rate(x: Tensor, dtype: torch.dtype) -> float:
    """The machine's own rate for a product of two large matrices, operations a second, as `seconds` counts them."""
    a, b = (torch.randn(1024, 1024, device=x.device, dtype=dtype) for _ in range(2))
    clock = time.perf_counter if x.is_cuda else time.process_time
    times = []
    for _ in range(6):
        _finish(x)
        start = clock()
        for _ in range(4):
            a @ b
        _finish(x)
        times.append(clock() - start)
    return 4 * 2 * 1024**3 / min(times)


def _finish(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()


def peak_memory(module: nn.Module, x: Tensor) -> float:
    """MiB that a step needs beyond what was there before it."""
    if x.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(module, x)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    context = multiprocessing.get_context("fork")
    result = context.SimpleQueue()
    process = context.Process(target=lambda: result.put(_growth(module, x)))
    process.start()
    growth = result.get()
    process.join()
    return growth


def _growth(module: nn.Module, x: Tensor) -> float:
    def resident(field: str) -> float:
        found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found[1]) / 1024

    ctypes.CDLL(None).malloc_trim(0)  # what the heap keeps would hide what a step needs
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = resident("VmRSS")
    run(module, x)
    return resident("VmHWM") - before


def largest_difference(expected: list[Tensor], found: list[Tensor]) -> float:
    """The largest relative error of a tensor."""
    return max(float((a - b).norm() / a.norm().clamp(min=1e-12)) for a, b in zip(expected, found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=26, help="rounds of messages of NeuroSAT")
    parser.add_argument("--pairs", type=int, default=9, help="times that plain and ours take turns")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    options = parser.parse_args()
    keep_freed_memory()  # for both sides, as in a run
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{options.benchmark}, batch {options.batch_size}, {options.device}, {options.threads} threads")
    print(
        f"{'what':28} {'variant':22} {'plain ms':>9} {'ours ms':>9} {'ratio':>6} {'of peak':>7} {'plain MiB':>9} "
        f"{'ours MiB':>9}  relative error"
    )
    totals: dict[str, tuple[float, float]] = {}
    for name, exact, ours, x, tolerance in BENCHMARKS[options.benchmark](options):
        expected, work = run(exact, x), matmul_flops(exact, x)
        for variant, module in ours.items():
            low = "bfloat16" in variant
            plain = Autocast(exact) if low else exact
            found = run(module, x)
            error = largest_difference(expected[:2], found[:2])
            # A hidden value at 0 may fall on either side of a ReLU, and changes the gradient at its pixel.
            gradient_error = largest_difference(expected[2:], found[2:])
            if error > (0.1 if low else tolerance) or gradient_error > (0.2 if low else 1e-2):
                raise SystemExit(
                    f"{name}, {variant}: not what the plain version computes ({error:.1e}, {gradient_error:.1e})"
                )
            memory = [peak_memory(contestant, x) for contestant in (plain, module)]
            seconds(plain, x)
            times = [(seconds(plain, x), seconds(module, x)) for _ in range(options.pairs)]
            slow, fast = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
            ratio = statistics.median(a / b for a, b in times)
            share = 1e3 * work / fast / peak_rate(x, torch.bfloat16 if low else torch.float32)
            print(
                f"{name:28} {variant:22} {slow:9.1f} {fast:9.1f} {ratio:6.2f} {share:7.0%} {memory[0]:9.0f} "
                f"{memory[1]:9.0f}  {error:.1e}",
                flush=True,
            )
            before = totals.get(variant, (0.0, 0.0))
            totals[variant] = (before[0] + slow, before[1] + fast)
    for variant, (slow, fast) in totals.items():
        print(f"{'all of them':28} {variant:22} {slow:9.1f} {fast:9.1f} {slow / fast:6.2f}")


if __name__ == "__main__":
    main()
