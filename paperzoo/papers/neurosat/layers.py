"""The two layers of NeuroSAT: perceptrons, and the layer-norm LSTM of the released code.

Both are written as one autograd function each. On a CPU it takes a cacheful of rows through all its steps at a time.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

Nodes = Float[Tensor, "node feature"]
Gates = Float[Tensor, "node gate"]

EPSILON = 1e-12  # of the layer normalisation, as in TensorFlow 1
FORGET_BIAS = 1.0
_relu_backward = partial(torch.ops.aten.threshold_backward, threshold=0)
_sigmoid_backward = torch.ops.aten.sigmoid_backward
_layer_norm_backward = torch.ops.aten.native_layer_norm_backward
ROWS_IN_CACHE = 512  # rows that are taken through all the elementwise steps at a time on a CPU


class Perceptron(nn.Module):
    """Layers of rectified units, then a linear layer; Xavier weights, zero biases.

    Args:
        sizes: features of the input, of each hidden layer, and of the output.
    """

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        pairs = itertools.pairwise(sizes)
        self.weights = nn.ParameterList(nn.init.xavier_uniform_(torch.empty(out, size)) for size, out in pairs)
        self.biases = nn.ParameterList(torch.zeros(size) for size in sizes[1:])

    def forward(self, x: Nodes, projection: Float[Tensor, "output gate"] | None = None) -> Float[Tensor, "node _"]:
        """The output, times the matrix `projection` if one is given, for the price of a wider last layer."""
        weights, biases = [*self.weights], [*self.biases]
        if projection is not None:
            weights[-1], biases[-1] = projection.T @ weights[-1], biases[-1] @ projection
        return _Perceptron.apply(x, *weights, *biases)


class _Perceptron(torch.autograd.Function):
    """(x, weights, biases) -> output; keeps what the rectified units gave."""

    @staticmethod
    def forward(ctx, x, *parameters):  # type: ignore[no-untyped-def]
        dtype = _matmul_dtype(x)
        layers = len(parameters) // 2
        weights, biases = ([p.to(dtype) for p in part] for part in (parameters[:layers], parameters[layers:]))
        outputs = [x.new_empty(len(x), len(bias), dtype=dtype) for bias in biases]
        for rows in _blocks(x):
            h = x[rows].to(dtype)
            for weight, bias, output in zip(weights, biases, outputs, strict=True):
                h = torch.addmm(bias, h, weight.T, out=output[rows])
                if output is not outputs[-1]:
                    h.relu_()
        ctx.save_for_backward(x, *parameters[:layers], *outputs[:-1])
        return outputs[-1]

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        x, *saved = ctx.saved_tensors
        layers = (len(saved) + 1) // 2
        weights, inputs = saved[:layers], [x, *saved[layers:]]
        x_gradient = torch.empty_like(x, dtype=gradient.dtype, memory_format=torch.contiguous_format)
        weight_gradients = [torch.zeros_like(weight) for weight in weights]
        bias_gradients = [weight.new_zeros(len(weight)) for weight in weights]
        for rows in _blocks(x):
            g = gradient[rows]
            for k in reversed(range(layers)):
                weight_gradients[k] += g.T @ inputs[k][rows].to(g.dtype)
                bias_gradients[k] += g.sum(0)
                if k:
                    g = _relu_backward(g @ weights[k].to(g.dtype), inputs[k][rows])
            torch.mm(g, weights[0].to(g.dtype), out=x_gradient[rows])
        return x_gradient, *weight_gradients, *bias_gradients


class LstmState(NamedTuple):
    hidden: Nodes
    cell: Nodes


class LayerNormLSTM(nn.Module):
    """An LSTM cell whose four gates and new cell are layer-normalised each for itself, and the cell is stored so.

        i, j, f, o = LN([x, h] W)
        c' = LN(c sigmoid(f + 1) + sigmoid(i) relu(j))
        h' = relu(c') sigmoid(o)

    Only the pre-activations are kept for the backward pass; everything elementwise is computed again there. On a CPU a
    cacheful of rows goes through the whole cell at a time.

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

    @property
    def for_input(self) -> Float[Tensor, "input gate"]:
        """The rows of W that x is multiplied with."""
        return self.weight[: len(self.weight) - self.gain.shape[1]]

    def forward(self, projected: Gates, state: LstmState) -> LstmState:
        """The next state from `x @ for_input`: linear, so it may be done before or after x is summed up."""
        for_hidden = self.weight[len(self.for_input) :]
        return LstmState(*_Cell.apply(projected, *state, for_hidden, self.gain, self.bias))


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
    return _Steps(gates, mean, scale, normed, input_gate, candidate, forget, output, raw, cell_mean, cell_scale, new)


class _Cell(torch.autograd.Function):
    """(projected, hidden, cell, weight, gain, bias) -> (new hidden, new cell)."""

    @staticmethod
    def forward(ctx, projected, hidden, cell, weight, gain, bias):  # type: ignore[no-untyped-def]
        cell = cell.contiguous()
        dtype = projected.dtype
        gates = torch.empty_like(projected)
        new_hidden, new_cell = torch.empty_like(cell), torch.empty_like(cell)
        for rows in _blocks(cell):
            torch.addmm(projected[rows], hidden[rows].to(dtype), weight.to(dtype), out=gates[rows])
            steps = _steps(gates[rows], cell[rows], gain, bias)
            new_cell[rows] = steps.cell
            torch.mul(steps.cell.relu(), steps.output, out=new_hidden[rows])
        ctx.save_for_backward(hidden, cell, weight, gain, bias, gates)
        return new_hidden, new_cell

    @staticmethod
    def backward(ctx, new_hidden_gradient, new_cell_gradient):  # type: ignore[no-untyped-def]
        hidden, cell, weight, gain, bias, gates = ctx.saved_tensors
        gradient = torch.empty_like(gates)
        hidden_gradient, cell_gradient = torch.empty_like(cell, dtype=gates.dtype), torch.empty_like(cell)
        weight_gradient, gain_gradient, bias_gradient = map(torch.zeros_like, (weight, gain, bias))
        for rows in _blocks(cell):
            steps = _steps(gates[rows], cell[rows], gain, bias)
            gradient[rows], cell_gradient[rows] = _backward_steps(
                steps,
                cell[rows],
                (new_hidden_gradient[rows], new_cell_gradient[rows]),
                (gain, bias),
                (gain_gradient, bias_gradient),
            )
            torch.mm(gradient[rows], weight.to(gates.dtype).T, out=hidden_gradient[rows])
            weight_gradient += hidden[rows].to(gates.dtype).T @ gradient[rows]
        return gradient, hidden_gradient, cell_gradient, weight_gradient, gain_gradient, bias_gradient


def _backward_steps(  # type: ignore[no-untyped-def]
    s: _Steps, cell: Tensor, gradients, parameters, parameter_gradients
) -> tuple[Tensor, Tensor]:
    """The gradients of pre-activations and old cell; adds those of gain and bias to `parameter_gradients`."""
    hidden_gradient, cell_gradient = gradients
    gain, bias = parameters
    gain_gradient, bias_gradient = parameter_gradients
    dimension = [cell.shape[1]]
    through_hidden = _relu_backward(hidden_gradient * s.output, s.cell)
    raw, cell_gain, cell_bias = _layer_norm_backward(
        through_hidden.add_(cell_gradient),
        *(s.raw_cell, dimension, s.cell_mean, s.cell_scale, gain[4], bias[4], [True] * 3),
    )
    gain_gradient[4] += cell_gain
    bias_gradient[4] += cell_bias
    gate = torch.stack(
        [
            _sigmoid_backward(raw * s.candidate, s.input),
            _relu_backward(raw * s.input, s.candidate),
            _sigmoid_backward(raw * cell, s.forget),
            _sigmoid_backward(hidden_gradient * s.cell.relu(), s.output),
        ],
        dim=1,
    )
    bias_gradient[:4] += gate.sum(0)
    gain_gradient[:4] += (gate * s.normed).sum(0)
    gate *= gain[:4]
    through_norm, _, _ = _layer_norm_backward(
        gate, s.gates, dimension, s.mean, s.scale, None, None, [True, False, False]
    )
    return through_norm.view(len(cell), -1), raw.mul_(s.forget)


def _matmul_dtype(x: Tensor) -> torch.dtype:
    """The type of matrix products: that of autocast, where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _blocks(x: Tensor) -> Iterator[slice]:
    size = ROWS_IN_CACHE if x.device.type == "cpu" and not torch.compiler.is_compiling() else max(1, len(x))
    return (slice(start, start + size) for start in range(0, len(x), size))
