"""Times our models against plain PyTorch versions of the same mathematics: one training step, forward and backward.

    python scripts/benchmark_models.py glow
    python scripts/benchmark_models.py glow --batch-size 64 --device cuda

Plain and ours take turns, so that a busy machine slows both; the ratio is the median over the pairs. Before timing, the
two are checked to compute the same outputs and gradients.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.papers.glow.flow import FlowStep, Level
from paperzoo.papers.glow.layers import CouplingNet, ZeroConv


class Contest(NamedTuple):
    """A plain module and variants of ours with the same parameters; each maps the input to a tuple of tensors."""

    name: str
    plain: nn.Module
    ours: dict[str, nn.Module]
    x: Tensor


class PlainGlowLevel(nn.Module):
    """Glow's flow steps the straightforward way: layer after layer, each as its formula reads."""

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
        h = F.conv2d(self.with_border(x), net.weight1)
        h = F.relu((h + net.norm1.bias.view(1, -1, 1, 1)) * net.norm1.log_scale.exp().view(1, -1, 1, 1))
        h = F.conv2d(h, net.weight2)
        h = F.relu((h + net.norm2.bias.view(1, -1, 1, 1)) * net.norm2.log_scale.exp().view(1, -1, 1, 1))
        last: ZeroConv = net.last
        return F.conv2d(self.with_border(h), last.weight, last.bias) * (3 * last.log_scale_parameter).exp().view(
            1, -1, 1, 1
        )

    def with_border(self, x: Tensor) -> Tensor:
        border = F.pad(x.new_zeros(len(x), 1, *x.shape[2:]), (1, 1, 1, 1), value=1.0)
        return torch.cat([F.pad(x, (1, 1, 1, 1)), border], dim=1)


def glow(options: argparse.Namespace) -> Iterator[Contest]:
    """One flow step of each level of the paper's CIFAR-10 model (width 512, 1x1 convolution, affine coupling)."""
    for channels, size in ((12, 16), (24, 8), (48, 4)):
        step = FlowStep(channels, 512, "conv1x1", "affine", edge_bias=True, coupling_dtype=None)
        x = torch.randn(options.batch_size, channels, size, size)
        step.initialize(x)
        _perturb(step)
        level = Level([step], checkpointing=False).to(options.device)
        ours: dict[str, nn.Module] = {"float32": level}
        if options.device == "cuda":
            ours["float32, compiled"] = _variant(level, compiled=True)
        if options.bfloat16:
            ours["bfloat16"] = _variant(level, dtype=torch.bfloat16)
            if options.device == "cuda":
                ours["bfloat16, compiled"] = _variant(level, compiled=True, dtype=torch.bfloat16)
        yield Contest(f"flow step {channels}x{size}x{size}", PlainGlowLevel(level), ours, x.to(options.device))


BENCHMARKS: dict[str, Callable[[argparse.Namespace], Iterator[Contest]]] = {"glow": glow}


def _variant(level: Level, compiled: bool = False, dtype: torch.dtype | None = None) -> Level:
    step = FlowStep(len(level.steps[0].actnorm.bias), 512, "conv1x1", "affine", edge_bias=True, coupling_dtype=dtype)
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
    _finish(x)
    start = time.perf_counter()
    run(module, x)
    _finish(x)
    return time.perf_counter() - start


def _finish(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()


def largest_difference(expected: list[Tensor], found: list[Tensor]) -> float:
    """The largest relative error of a tensor."""
    return max(float((a - b).norm() / a.norm().clamp(min=1e-12)) for a, b in zip(expected, found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=9, help="times that plain and ours take turns")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{options.benchmark}, batch {options.batch_size}, {options.device}, {options.threads} threads")
    print(f"{'what':28} {'variant':20} {'plain ms':>9} {'ours ms':>9} {'ratio':>6}  relative error")
    totals: dict[str, tuple[float, float]] = {}
    for name, plain, ours, x in BENCHMARKS[options.benchmark](options):
        expected = run(plain, x)
        for variant, module in ours.items():
            found = run(module, x)
            error = largest_difference(expected[:2], found[:2])
            # A hidden value at 0 may fall on either side of a ReLU, and changes the gradient at its pixel.
            gradient_error = largest_difference(expected[2:], found[2:])
            if error > (0.1 if "bfloat16" in variant else 1e-5) or gradient_error > (
                0.1 if "bfloat16" in variant else 1e-2
            ):
                raise SystemExit(
                    f"{name}, {variant}: not what the plain version computes ({error:.1e}, {gradient_error:.1e})"
                )
            times = [(seconds(plain, x), seconds(module, x)) for _ in range(options.pairs)]
            slow, fast = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
            ratio = statistics.median(a / b for a, b in times)
            print(f"{name:28} {variant:20} {slow:9.1f} {fast:9.1f} {ratio:6.2f}  {error:.1e}", flush=True)
            before = totals.get(variant, (0.0, 0.0))
            totals[variant] = (before[0] + slow, before[1] + fast)
    for variant, (slow, fast) in totals.items():
        print(f"{'all of them':28} {variant:20} {slow:9.1f} {fast:9.1f} {slow / fast:6.2f}")


if __name__ == "__main__":
    main()
