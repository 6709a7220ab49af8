"""A perceptron on every pair of objects, summed: the relation of Santoro et al. 2017, eq. 1.

The first layer is linear in its concatenated inputs, so it is applied to the objects before they are paired,
W [o_i; o_j; q] = W_1 o_i + W_2 o_j + W_3 q, and the (N^2, 2d + q) tensor never exists. The other layers go through the
pairs in blocks that stay in the cache, and keep no more for the backward pass than it needs.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Objects = Float[Tensor, "batch object feature"]
Present = Bool[Tensor, "batch object"]
Codes = Float[Tensor, "batch code"]

CPU_BLOCK_PAIRS = 4096  # of 256 features in float32 they take 4 MiB a layer
BLOCK_PAIRS = 2**19


class PairRelation(nn.Module):
    """sum_j g(o_i, o_j, q) for every object i: a perceptron with a ReLU after each layer, over all N^2 ordered pairs.

    Objects that are not present take part in no pair, and their sums are zero; a set costs what its own objects cost.

    Args:
        object_size: features of an object.
        code_size: features of what all pairs of a set are told beside their objects, as the question; may be 0.
        widths: units of each layer.
        checkpointing: compute the layers again in the backward pass, so that next to nothing is kept.
    """

    def __init__(
        self, object_size: PositiveInt, code_size: int, widths: Sequence[PositiveInt], checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.first = nn.Linear(2 * object_size + code_size, widths[0])
        self.layers = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise(widths))
        self.object_size = object_size
        self.size = widths[-1]
        self.checkpointing = checkpointing

    def forward(
        self, objects: Objects, present: Present | None = None, code: Codes | None = None
    ) -> Float[Tensor, "batch object unit"]:
        """The sums of each object's pairs, in which it is the first; their sum over the objects is that over all pairs.

        Args:
            objects: the sets, padded to the size of the largest.
            present: which objects are there; None for all.
            code: what all pairs of a set are told.
        """
        batch, number, _ = objects.shape
        first, second, rest = self.first.weight.split(
            [self.object_size, self.object_size, self.first.in_features - 2 * self.object_size], dim=1
        )
        shared = self.first.bias if code is None else nn.functional.linear(code, rest, self.first.bias)[:, None]
        left = nn.functional.linear(objects, first) + shared
        right = nn.functional.linear(objects, second)
        if present is None:
            place, counts = None, [number] * batch
        else:
            # sets of a size lie side by side, so that they are a dense block
            sizes = present.sum(1)
            order = sizes.argsort()
            row, column = present[order].nonzero(as_tuple=True)
            place, counts = order[row] * number + column, sizes[order].tolist()
        left, right = (side.flatten(0, 1) if place is None else side.flatten(0, 1)[place] for side in (left, right))
        dtype = left.dtype
        parameters = [p.to(dtype) for layer in self.layers for p in (layer.weight, layer.bias)]
        sums: Tensor = _PairSum.apply(
            left, right.to(dtype), _blocks(counts, left.device), self.checkpointing, *parameters
        )
        if place is not None:
            sums = sums.new_zeros(batch * number, self.size).index_copy(0, place, sums)
        return sums.view(batch, number, self.size)


class _Block(NamedTuple):
    """Sets of one size that are computed at once."""

    first_object: int
    sets: int
    number: int
    """Objects of each set."""
    first_pair: int

    @property
    def objects(self) -> slice:
        return slice(self.first_object, self.first_object + self.sets * self.number)

    @property
    def pairs(self) -> slice:
        return slice(self.first_pair, self.first_pair + self.sets * self.number**2)


def _blocks(counts: Sequence[int], device: torch.device) -> list[_Block]:
    """The sets, of which those with as many objects lie side by side, in blocks."""
    most = CPU_BLOCK_PAIRS if device.type == "cpu" else BLOCK_PAIRS
    blocks: list[_Block] = []
    first_object = first_pair = 0
    for number, members in groupby(counts):
        left = len(list(members))
        while number and left:
            sets = min(left, max(1, most // number**2))
            blocks.append(_Block(first_object, sets, number, first_pair))
            first_object, first_pair, left = blocks[-1].objects.stop, blocks[-1].pairs.stop, left - sets
    return blocks


class _PairSum(torch.autograd.Function):
    """relu(left_i + right_j) through the layers, summed over j.

    The first layer's output is made again from the objects in the backward pass, of the last one only the sign is kept.
    Sums are float32 at least.
    """

    @staticmethod
    def forward(
        ctx: Any, left: Tensor, right: Tensor, blocks: list[_Block], recompute: bool, *parameters: Tensor
    ) -> Tensor:
        weights, biases = parameters[::2], parameters[1::2]
        pairs = blocks[-1].pairs.stop if blocks else 0
        widths = [left.shape[1], *(len(weight) for weight in weights)]
        sums = left.new_zeros(len(left), widths[-1], dtype=torch.promote_types(left.dtype, torch.float32))
        kept = [] if recompute else [left.new_empty(pairs, width) for width in widths[1:-1]]
        active = None if recompute or not weights else left.new_empty(pairs, widths[-1], dtype=torch.bool)
        for block in blocks:
            *_, last = _activations(left, right, block, weights, biases, [h[block.pairs] for h in kept])
            if active is not None:
                torch.gt(last, 0, out=active[block.pairs])
            sums[block.objects] = last.view(-1, block.number, widths[-1]).sum(1, dtype=sums.dtype)
        ctx.save_for_backward(left, right, *parameters, *kept, *([] if active is None else [active]))
        ctx.blocks, ctx.layers, ctx.recompute = blocks, len(weights), recompute
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, sums_gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right, *saved = ctx.saved_tensors
        parameters, saved = saved[: 2 * ctx.layers], saved[2 * ctx.layers :]
        weights, biases = parameters[::2], parameters[1::2]
        gradients = [torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32)) for p in parameters]
        left_gradient, right_gradient = torch.zeros_like(left), torch.zeros_like(right)
        sums_gradient = sums_gradient.to(left.dtype)
        for block in ctx.blocks:
            if ctx.recompute or not weights:
                activations = list(_activations(left, right, block, weights, biases, []))
                active = activations.pop() > 0
            else:
                *kept, active = (tensor[block.pairs] for tensor in saved)
                activations = [_paired(left, right, block), *kept]
            active = active.view(-1, block.number, active.shape[-1])
            gradient = (sums_gradient[block.objects, None] * active).flatten(0, 1)
            for layer in reversed(range(ctx.layers)):
                inputs = activations.pop()
                _accumulate(gradients[2 * layer], gradient, inputs)
                gradients[2 * layer + 1] += gradient.sum(0, dtype=gradients[0].dtype)
                gradient = gradient @ weights[layer]
                torch.ops.aten.threshold_backward.grad_input(gradient, inputs, 0, grad_input=gradient)
            gradient = gradient.view(block.sets, block.number, block.number, -1)
            left_gradient[block.objects] = gradient.sum(2).flatten(0, 1)
            right_gradient[block.objects] = gradient.sum(1).flatten(0, 1)
        dtypes = zip(gradients, parameters, strict=True)
        return left_gradient, right_gradient, None, None, *(g.to(p.dtype) for g, p in dtypes)


def _accumulate(total: Tensor, gradient: Tensor, inputs: Tensor) -> None:
    if gradient.dtype == total.dtype:
        total.addmm_(gradient.T, inputs)
    else:
        total += gradient.T @ inputs


def _paired(left: Tensor, right: Tensor, block: _Block) -> Tensor:
    """The first layer's output for every pair of the block's sets."""
    first = left[block.objects].view(block.sets, block.number, 1, -1)
    second = right[block.objects].view(block.sets, 1, block.number, -1)
    return (first + second).relu_().view(-1, left.shape[1])


def _activations(
    left: Tensor,
    right: Tensor,
    block: _Block,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    kept: Sequence[Tensor],
) -> Iterator[Tensor]:
    """The output of each layer, written to `kept` where that has a place for it."""
    hidden = _paired(left, right, block)
    yield hidden
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        out = kept[layer] if layer < len(kept) else None
        hidden = torch.addmm(bias, hidden, weight.T, out=out).relu_()
        yield hidden
