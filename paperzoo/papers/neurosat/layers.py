"""The two layers of NeuroSAT: perceptrons, and the layer-norm LSTM of the released code.

Both are written as one autograd function each. On a CPU it takes a cacheful of rows through all its steps at a time.
"""

import itertools
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
ROWS_IN_CACHE = 2048  # rows that are taken through all the elementwise steps at a time on a CPU


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

    @property
    def last(self) -> tuple[Float[Tensor, "output hidden"], Float[Tensor, " output"]]:
        """Weight and bias of the linear layer."""
        return self.weights[-1], self.biases[-1]

    def forward(self, x: Nodes, projection: Float[Tensor, "output gate"] | None = None) -> Float[Tensor, "node _"]:
        """The output, times the matrix `projection` if one is given, for the price of a wider last layer."""
        weights, biases = [*self.weights], [*self.biases]
        if projection is not None:
            weights[-1], biases[-1] = projection.T @ weights[-1], biases[-1] @ projection
        return _Perceptron.apply(False, x, *weights, *biases)

    def hidden(self, x: Nodes) -> Float[Tensor, "node hidden"]:
        """What the last hidden layer gives."""
        return _Perceptron.apply(True, x, *self.weights[:-1], *self.biases[:-1])


class _Perceptron(torch.autograd.Function):
    """(whether the last layer is rectified too, x, weights, biases) -> output; keeps what the rectified units gave."""

    @staticmethod
    def forward(ctx, rectified, x, *parameters):  # type: ignore[no-untyped-def]
        dtype = _matmul_dtype(x)
        layers = len(parameters) // 2
        weights, biases = ([p.to(dtype) for p in part] for part in (parameters[:layers], parameters[layers:]))
        outputs = [x.new_empty(len(x), len(bias), dtype=dtype) for bias in biases]
        for rows in _blocks(x):
            h = x[rows].to(dtype)
            for weight, bias, output in zip(weights, biases, outputs, strict=True):
                h = torch.addmm(bias, h, weight.T, out=output[rows])
                if rectified or output is not outputs[-1]:
                    h.relu_()
        ctx.rectified, ctx.layers = rectified, layers
        ctx.save_for_backward(x, *parameters[:layers], *(outputs if rectified else outputs[:-1]))
        return outputs[-1]

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        x, *saved = ctx.saved_tensors
        layers = ctx.layers
        weights, inputs = [weight.to(gradient.dtype) for weight in saved[:layers]], [x, *saved[layers:]]
        x_gradient = torch.empty_like(x, dtype=gradient.dtype, memory_format=torch.contiguous_format)
        weight_gradients = [torch.zeros_like(weight) for weight in saved[:layers]]
        bias_gradients = [weight.new_zeros(len(weight)) for weight in saved[:layers]]
        for rows in _blocks(x):
            g = gradient[rows]
            for k in reversed(range(layers)):
                if k < layers - 1 or ctx.rectified:
                    g = _relu_backward(g, inputs[k + 1][rows])
                weight_gradients[k] += g.T @ inputs[k][rows].to(g.dtype)
                bias_gradients[k] += g.sum(0)
                g = torch.mm(g, weights[k], out=x_gradient[rows] if k == 0 else None)
        return None, x_gradient, *weight_gradients, *bias_gradients


class LstmState(NamedTuple):
    hidden: Nodes
    """In the type of matrix products: bfloat16 under autocast."""
    cell: Nodes

    @property
    def embedding(self) -> Nodes:
        """What the nodes hold, in full precision."""
        return self.hidden.to(self.cell.dtype)


class LayerNormLSTM(nn.Module):
    """An LSTM cell whose four gates and new cell are layer-normalised each for itself, and the cell is stored so.

        i, j, f, o = LN([x, h] W)
        c' = LN(c sigmoid(f + 1) + sigmoid(i) relu(j))
        h' = relu(c') sigmoid(o)

    The mean that the normalisation takes from a gate is linear in W, so it is taken from W's columns instead. Only the
    pre-activations and what they are scaled by are kept for the backward pass; the gates are computed again there. On a
    CPU a cacheful of rows goes through the whole cell at a time.

    Args:
        inputs: features of x.
        dimension: features of h and c.
    """

    def __init__(self, inputs: int, dimension: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.weight = nn.Parameter(torch.empty(inputs + dimension, 4 * dimension))
        self.gain = nn.Parameter(torch.ones(5, dimension))
        self.bias = nn.Parameter(torch.zeros(5, dimension))
        nn.init.xavier_uniform_(self.weight)

    @property
    def for_input(self) -> Float[Tensor, "input gate"]:
        """What x is multiplied with: the rows of W, less their mean over each gate."""
        return self._centred(self.weight[: self.inputs])

    def forward(self, projected: Gates, state: LstmState) -> LstmState:
        """The next state from `x @ for_input`: linear, so it may be done before or after x is summed up."""
        for_hidden = self._centred(self.weight[self.inputs :])
        return LstmState(*_Cell.apply(projected, *state, for_hidden, self.gain, self.bias))

    def _centred(self, weight: Float[Tensor, "row gate"]) -> Float[Tensor, "row gate"]:
        """The gradients that the cell gives have no mean over a gate, so that nothing comes through the mean here."""
        gates = weight.unflatten(1, (4, -1))
        return (gates - gates.detach().mean(2, keepdim=True)).flatten(1)


class _Scales(NamedTuple):
    """What the normalisations divide by, inverted, and the mean that is taken from the cell."""

    gates: Float[Tensor, "node 4 1"]
    cell_mean: Float[Tensor, "node 1"]
    cell: Float[Tensor, "node 1"]


class _Activations(NamedTuple):
    """The gates of a cell, on the way from its pre-activations to its new value before that is normalised."""

    normed: Float[Tensor, "node 4 feature"]
    input: Nodes
    candidate: Nodes
    forget: Nodes
    output: Nodes
    raw_cell: Nodes


def _activations(
    gates: Float[Tensor, "node 4 feature"], scale: Float[Tensor, "node 4 1"], cell: Nodes, gain: Tensor, bias: Tensor
) -> _Activations:
    normed = gates * scale
    i, j, f, o = torch.addcmul(bias[:4], normed, gain[:4]).unbind(1)
    f += FORGET_BIAS
    for gate in (i, f, o):
        gate.sigmoid_()
    j.relu_()
    return _Activations(normed, i, j, f, o, torch.addcmul(cell * f, i, j))


class _Cell(torch.autograd.Function):
    """(projected, hidden, cell, weight, gain, bias) -> (new hidden, new cell)."""

    @staticmethod
    def forward(ctx, projected, hidden, cell, weight, gain, bias):  # type: ignore[no-untyped-def]
        cell = cell.contiguous()
        dimension = gain.shape[1]
        weight = weight.to(projected.dtype)
        gates = torch.empty_like(projected)
        new_hidden, new_cell = torch.empty_like(cell, dtype=projected.dtype), torch.empty_like(cell)
        scales = _Scales(*(cell.new_empty(len(cell), *shape) for shape in ((4, 1), (1,), (1,))))
        for rows in _blocks(cell):
            torch.addmm(projected[rows], hidden[rows].to(weight.dtype), weight, out=gates[rows])
            own = _as_gates(gates[rows], cell.dtype)
            scale = (own.square().mean(2, keepdim=True) + EPSILON).rsqrt()
            a = _activations(own, scale, cell[rows], gain, bias)
            new, mean, cell_scale = torch.native_layer_norm(a.raw_cell, [dimension], gain[4], bias[4], EPSILON)
            new_cell[rows] = new
            torch.mul(new.relu_(), a.output, out=new_hidden[rows])
            for kept, value in zip(scales, (scale, mean, cell_scale), strict=True):
                kept[rows] = value
        ctx.save_for_backward(hidden, cell, weight, gain, bias, gates, new_cell, *scales)
        return new_hidden, new_cell

    @staticmethod
    def backward(ctx, new_hidden_gradient, new_cell_gradient):  # type: ignore[no-untyped-def]
        hidden, cell, weight, gain, bias, gates, new_cell, *scales = ctx.saved_tensors
        gradient = torch.empty_like(gates)
        hidden_gradient, cell_gradient = torch.empty_like(hidden, dtype=gates.dtype), torch.empty_like(cell)
        weight_gradient = gain.new_zeros(weight.shape)
        gain_gradient, bias_gradient = torch.zeros_like(gain), torch.zeros_like(bias)
        for rows in _blocks(cell):
            gradient[rows], cell_gradient[rows] = _backward_steps(
                _as_gates(gates[rows], cell.dtype),
                _Scales(*(scale[rows] for scale in scales)),
                (cell[rows], new_cell[rows]),
                (new_hidden_gradient[rows], new_cell_gradient[rows]),
                (gain, bias),
                (gain_gradient, bias_gradient),
            )
            torch.mm(gradient[rows], weight.T, out=hidden_gradient[rows])
            weight_gradient += hidden[rows].to(gates.dtype).T @ gradient[rows]
        return gradient, hidden_gradient, cell_gradient, weight_gradient, gain_gradient, bias_gradient


def _as_gates(gates: Gates, dtype: torch.dtype) -> Float[Tensor, "node 4 feature"]:
    """Gate by gate, in the cell's type: under autocast the gates are bfloat16 and the cell is float32."""
    return gates.to(dtype).unflatten(1, (4, -1))


def _backward_steps(  # type: ignore[no-untyped-def]
    gates: Tensor, scales: _Scales, cells, gradients, parameters, parameter_gradients
) -> tuple[Tensor, Tensor]:
    """The gradients of pre-activations and old cell; adds those of gain and bias to `parameter_gradients`."""
    cell, new_cell = cells
    hidden_gradient, cell_gradient = (gradient.to(cell.dtype) for gradient in gradients)
    gain, bias = parameters
    gain_gradient, bias_gradient = parameter_gradients
    dimension = [gain.shape[1]]
    a = _activations(gates, scales.gates, cell, gain, bias)
    through_hidden = _relu_backward(hidden_gradient * a.output, new_cell)
    raw, cell_gain, cell_bias = _layer_norm_backward(
        through_hidden.add_(cell_gradient),
        *(a.raw_cell, dimension, scales.cell_mean, scales.cell, gain[4], bias[4], [True] * 3),
    )
    gain_gradient[4] += cell_gain
    bias_gradient[4] += cell_bias
    gate = torch.stack(
        [
            _sigmoid_backward(raw * a.candidate, a.input),
            _relu_backward(raw * a.input, a.candidate),
            _sigmoid_backward(raw * cell, a.forget),
            _sigmoid_backward(hidden_gradient * new_cell.relu(), a.output),
        ],
        dim=1,
    )
    bias_gradient[:4] += gate.sum(0)
    gain_gradient[:4] += (gate * a.normed).sum(0)
    through_norm, _, _ = _layer_norm_backward(
        gate.mul_(gain[:4]),
        *(gates, dimension, torch.zeros_like(scales.gates), scales.gates, None, None, [True, False, False]),
    )
    return through_norm.flatten(1), raw.mul_(a.forget)


def _matmul_dtype(x: Tensor) -> torch.dtype:
    """The type of matrix products: that of autocast, where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _blocks(x: Tensor) -> list[slice]:
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return [slice(None)]
    return [slice(start, start + ROWS_IN_CACHE) for start in range(0, len(x), ROWS_IN_CACHE)]
