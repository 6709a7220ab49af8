"""The layer-norm LSTM of the released code (TensorFlow 1's LayerNormBasicLSTMCell with ReLU in place of tanh)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

Nodes = Float[Tensor, "node feature"]

EPSILON = 1e-12  # of the layer normalisation, as in TensorFlow 1
FORGET_BIAS = 1.0
_layer_norm_backward = torch.ops.aten.native_layer_norm_backward
ROWS_IN_CACHE = 512  # rows that are taken through all the elementwise steps at a time on a CPU


class LstmState(NamedTuple):
    hidden: Nodes
    cell: Nodes


class LayerNormLSTM(nn.Module):
    """An LSTM cell whose four gates and new cell are layer-normalised each for itself, and the cell is stored so.

        i, j, f, o = LN([x, h] W)
        c' = LN(c sigmoid(f + 1) + sigmoid(i) relu(j))
        h' = relu(c') sigmoid(o)

    Only the pre-activations are kept for the backward pass; everything elementwise is computed again there.

    Args:
        inputs: features of x.
        dimension: features of h and c.
    """

    def __init__(self, inputs: int, dimension: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs + dimension, 4 * dimension))
        self.gain = nn.Parameter(torch.ones(5, dimension))
        self.bias = nn.Parameter(torch.zeros(5, dimension))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Nodes, state: LstmState) -> LstmState:
        gates = torch.cat([x, state.hidden], dim=1) @ self.weight
        hidden, cell = _Gates.apply(gates, state.cell, self.gain, self.bias)
        return LstmState(hidden, cell)


class _Steps(NamedTuple):
    """What the elementwise part of the cell computes on the way; the backward pass needs all of it."""

    gates: Tensor
    mean: Tensor
    scale: Tensor
    normed: Tensor
    input: Tensor
    candidate: Tensor
    forget: Tensor
    output: Tensor
    raw_cell: Tensor
    cell_mean: Tensor
    cell_scale: Tensor
    cell: Tensor


def _steps(gates: Tensor, cell: Tensor, gain: Tensor, bias: Tensor) -> _Steps:
    rows, dimension = cell.shape
    gates = gates.to(cell.dtype).view(rows, 4, dimension)  # bfloat16 under autocast, where the cell is float32
    normed, mean, scale = torch.native_layer_norm(gates, [dimension], None, None, EPSILON)
    i, j, f, o = torch.addcmul(bias[:4], normed, gain[:4]).unbind(1)
    input_gate, candidate, forget, output = i.sigmoid(), j.relu(), (f + FORGET_BIAS).sigmoid(), o.sigmoid()
    raw = torch.addcmul(cell * forget, input_gate, candidate)
    new, cell_mean, cell_scale = torch.native_layer_norm(raw, [dimension], gain[4], bias[4], EPSILON)
    return _Steps(
        gates, mean, scale, normed, input_gate, candidate, forget, output, raw, cell_mean, cell_scale, new
    )


class _Gates(torch.autograd.Function):
    """(gates, cell, gain, bias) -> (new hidden, new cell), a cacheful of rows at a time on a CPU."""

    @staticmethod
    def forward(ctx, gates, cell, gain, bias):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(gates, cell, gain, bias)
        hidden, new = torch.empty_like(cell), torch.empty_like(cell)
        for rows in _blocks(gates):
            steps = _steps(gates[rows], cell[rows], gain, bias)
            new[rows] = steps.cell
            torch.mul(steps.cell.relu(), steps.output, out=hidden[rows])
        return hidden, new

    @staticmethod
    def backward(ctx, hidden_gradient, cell_gradient):  # type: ignore[no-untyped-def]
        gates, cell, gain, bias = ctx.saved_tensors
        gates_gradient, old_gradient = torch.empty_like(gates), torch.empty_like(cell)
        gain_gradient, bias_gradient = torch.zeros_like(gain), torch.zeros_like(bias)
        for rows in _blocks(gates):
            steps = _steps(gates[rows], cell[rows], gain, bias)
            _backward_steps(
                steps,
                cell[rows],
                (hidden_gradient[rows], cell_gradient[rows]),
                (gain, bias),
                (gates_gradient[rows], old_gradient[rows], gain_gradient, bias_gradient),
            )
        return gates_gradient, old_gradient, gain_gradient, bias_gradient


def _backward_steps(s, cell, gradients, parameters, out) -> None:  # type: ignore[no-untyped-def]
    """Writes the gradients of some rows into `out`, and adds those of gain and bias."""
    hidden_gradient, cell_gradient = gradients
    gain, bias = parameters
    gates_gradient, old_gradient, gain_gradient, bias_gradient = out
    dimension = [cell.shape[1]]
    through_hidden = (hidden_gradient * s.output).masked_fill_(s.cell <= 0, 0)
    raw, cell_gain, cell_bias = _layer_norm_backward(
        cell_gradient + through_hidden, s.raw_cell, dimension, s.cell_mean, s.cell_scale, gain[4], bias[4], [True] * 3
    )
    gain_gradient[4] += cell_gain
    bias_gradient[4] += cell_bias
    torch.mul(raw, s.forget, out=old_gradient)
    gate = torch.empty_like(s.normed)
    torch.mul(raw * s.candidate, s.input * (1 - s.input), out=gate[:, 0])
    torch.mul(raw, s.input, out=gate[:, 1]).masked_fill_(s.candidate <= 0, 0)
    torch.mul(raw * cell, s.forget * (1 - s.forget), out=gate[:, 2])
    torch.mul(hidden_gradient * s.cell.relu(), s.output * (1 - s.output), out=gate[:, 3])
    bias_gradient[:4] += gate.sum(0)
    gain_gradient[:4] += (gate * s.normed).sum(0)
    gate *= gain[:4]
    gates_gradient.copy_(
        _layer_norm_backward(gate, s.gates, dimension, s.mean, s.scale, None, None, [True, False, False])[
            0
        ].view_as(gates_gradient)
    )


def _blocks(gates: Tensor) -> list[slice]:
    size = ROWS_IN_CACHE if gates.device.type == "cpu" and not torch.compiler.is_compiling() else max(1, len(gates))
    return [slice(start, start + size) for start in range(0, len(gates), size)]
