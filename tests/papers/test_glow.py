"""Facts about Glow; the plain implementation below is the oracle: every layer as its formula reads, nothing folded."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paperzoo.batches import Images, LabelledImages
from paperzoo.nn.flow import ImageFlow
from paperzoo.papers.glow import Adamax, Glow, GlowModule
from paperzoo.papers.glow.flow import FlowStep, Level
from paperzoo.papers.glow.layers import ActNorm, CouplingNet, ZeroConv, conv3x3
from paperzoo.papers.glow.permutations import PERMUTATIONS, Conv1x1, Conv1x1LU, random_rotation
from paperzoo.papers.glow.priors import SplitPrior, TopPrior
from paperzoo.tasks.density import bits_per_dim, dequantize

PERMUTATION_NAMES = list(PERMUTATIONS)
COUPLING_NAMES = ["additive", "affine"]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def perturb(module, size: float = 0.05):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return module


def small_glow(**changes) -> Glow:
    """Initialised and perturbed, in float64."""
    flow = Glow(**{"image_shape": (3, 8, 8), "levels": 2, "depth": 3, "width": 16, **changes}).double()
    flow.initialize(torch.rand(16, *changes.get("image_shape", (3, 8, 8)), dtype=torch.double))
    return perturb(flow)


def module(**changes) -> GlowModule:
    arguments = {
        "image_shape": [3, 8, 8],
        "levels": 2,
        "depth": 2,
        "width": 8,
        "permutation": "conv1x1",
        "coupling": "affine",
        "edge_bias": True,
        "learn_top_prior": True,
        "class_conditional": False,
        "num_classes": 0,
        "classifier_weight": 0.01,
        "n_bits": 8,
        "initial_images": 16,
        "optimizer": lambda parameters: Adamax(parameters, lr=0.001, betas=[0.9, 0.99]),
        "warmup_steps": 10,
        "coupling_dtype": "float32",
        "checkpointing": False,
        "compile": False,
        "temperatures": [0.7],
        "samples": 4,
        "interpolation_steps": 3,
    }
    return GlowModule(**{**arguments, **changes})


def log_det_by_autograd(function, x: Tensor) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(lambda v: function(v).flatten(), x)
    return torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel())).logabsdet


# --- the oracle -------------------------------------------------------------------------------------------------------


class PlainGlow:
    """Computes a Glow's log-density layer by layer; `normalized` collects the output of every actnorm."""

    def __init__(self, flow: Glow) -> None:
        self.flow, self.normalized = flow, list[Tensor]()

    def log_prob(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        x, total = x - 0.5, torch.zeros(len(x), dtype=x.dtype)
        for index, level in enumerate(self.flow.levels):
            batch, channels, height, width = x.shape
            x = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
            x = x.reshape(batch, 4 * channels, height // 2, width // 2)
            for step in level.steps:
                x, log_det = self.step(step, x)
                total = total + log_det
            if index < len(self.flow.splits):
                x, z = x.chunk(2, dim=1)
                h = self.zero_conv(self.flow.splits[index].conv, x)
                total = total + self.gaussian(z, h[:, 0::2], h[:, 1::2])
        h = torch.zeros(len(x), 2 * x.shape[1], *x.shape[2:], dtype=x.dtype)
        if self.flow.top.conv is not None:
            h = self.zero_conv(self.flow.top.conv, h)
        if label is not None:
            embedding = self.flow.top.class_embedding
            shift = (embedding.weight.T[label] + embedding.bias) * (3 * embedding.log_scale_parameter).exp()
            h = h + shift[:, :, None, None]
        return total + self.gaussian(x, *h.chunk(2, dim=1))

    def gaussian(self, z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
        return torch.distributions.Normal(mean, log_std.exp()).log_prob(z).flatten(1).sum(1)

    def step(self, step: FlowStep, x: Tensor) -> tuple[Tensor, Tensor]:
        pixels = x.shape[2] * x.shape[3]
        x = self.actnorm(step.actnorm, x)
        log_det = pixels * 3 * step.actnorm.log_scale_parameter.sum()
        matrix = step.permutation.matrix()
        x = torch.einsum("oc,bchw->bohw", matrix, x)
        log_det = log_det + pixels * matrix.det().abs().log()
        kept, moved = x.chunk(2, dim=1)
        h = self.net(step.coupling.net, kept)
        if h.shape == moved.shape:
            return torch.cat([kept, moved + h], dim=1), log_det.expand(len(x))
        scale = torch.sigmoid(h[:, 1::2] + 2)
        moved = (moved + h[:, 0::2]) * scale
        return torch.cat([kept, moved], dim=1), log_det + scale.log().flatten(1).sum(1)

    def net(self, net: CouplingNet, x: Tensor) -> Tensor:
        h = F.relu(self.actnorm(net.norm1, F.conv2d(self.pad(x, net.weight1), net.weight1)))
        h = F.relu(self.actnorm(net.norm2, F.conv2d(h, net.weight2)))
        return self.zero_conv(net.last, h)

    def actnorm(self, norm: ActNorm, x: Tensor) -> Tensor:
        y = (x + norm.bias[:, None, None]) * torch.exp(3 * norm.log_scale_parameter[:, None, None])
        self.normalized.append(y)
        return y

    def zero_conv(self, conv: ZeroConv, x: Tensor) -> Tensor:
        y = F.conv2d(self.pad(x, conv.weight), conv.weight) + conv.bias[:, None, None]
        return y * torch.exp(3 * conv.log_scale_parameter[:, None, None])

    def pad(self, x: Tensor, weight: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1))
        if weight.shape[1] == x.shape[1]:
            return padded
        border = torch.ones(len(x), 1, *padded.shape[2:], dtype=x.dtype)
        border[:, :, 1:-1, 1:-1] = 0
        return torch.cat([padded, border], dim=1)


@pytest.mark.parametrize("edge_bias", [True, False], ids=["edge", "no_edge"])
@pytest.mark.parametrize("coupling", COUPLING_NAMES)
@pytest.mark.parametrize("permutation", PERMUTATION_NAMES)
def test_fast_and_plain_implementation_agree(permutation, coupling, edge_bias):
    flow = small_glow(permutation=permutation, coupling=coupling, edge_bias=edge_bias)
    x = torch.rand(4, 3, 8, 8, dtype=torch.double)
    torch.testing.assert_close(flow.log_prob(x), PlainGlow(flow).log_prob(x), rtol=1e-11, atol=1e-9)


def test_fast_and_plain_implementation_agree_on_gradients_and_classes():
    flow = small_glow(classes=5)
    x, label = torch.rand(4, 3, 8, 8, dtype=torch.double), torch.tensor([0, 4, 2, 2])
    parameters = [p for name, p in flow.named_parameters() if not name.startswith("classifier")]
    fast = torch.autograd.grad(flow.log_prob(x, label).sum(), parameters)
    plain = torch.autograd.grad(PlainGlow(flow).log_prob(x, label).sum(), parameters)
    torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-8)


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "changes"),
    [
        (44_603_604, {}),
        (44_135_856, {"edge_bias": False}),
        (38_395_668, {"coupling": "additive"}),
        (37_940_016, {"coupling": "additive", "edge_bias": False}),
        (44_506_836, {"permutation": "reverse"}),
        (44_506_836, {"permutation": "shuffle"}),
        (66_861_588, {"depth": 48}),
        (112_377_540, {"image_shape": (3, 64, 64), "levels": 4, "depth": 48}),
        (200_432_868, {"image_shape": (3, 128, 128), "levels": 5, "depth": 64, "coupling": "additive"}),
        (175_099_620, {"image_shape": (3, 256, 256), "levels": 6, "coupling": "additive"}),
    ],
)
def test_published_models_have_their_parameter_counts(count, changes):
    with torch.device("meta"):
        flow = Glow(**{"image_shape": (3, 32, 32), "levels": 3, "depth": 32, "width": 512, **changes})
    assert sum(parameter.numel() for parameter in flow.parameters()) == count


def test_latents_have_the_published_shapes():
    with torch.device("meta"):
        flow = Glow((3, 256, 256), 6, 1, 1)
    assert flow.latent_shapes == [
        (6, 128, 128), (12, 64, 64), (24, 32, 32), (48, 16, 16), (96, 8, 8), (384, 4, 4),
    ]  # fmt: skip
    assert sum(math.prod(shape) for shape in flow.latent_shapes) == 3 * 256 * 256


def test_latents_come_in_the_announced_shapes():
    flow = small_glow()
    assert [tuple(eps.shape[1:]) for eps in flow.encode(torch.rand(1, 3, 8, 8).double())] == flow.latent_shapes


# --- change of variables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", COUPLING_NAMES)
@pytest.mark.parametrize("permutation", PERMUTATION_NAMES)
def test_log_det_of_the_model_matches_autograd_jacobian(permutation, coupling):
    flow = small_glow(permutation=permutation, coupling=coupling)
    x = torch.rand(1, 3, 8, 8, dtype=torch.double)
    expected = log_det_by_autograd(lambda v: torch.cat([eps.flatten() for eps in flow.encode(v)]), x)
    torch.testing.assert_close(flow(x)[1][0], expected, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("coupling", COUPLING_NAMES)
@pytest.mark.parametrize("permutation", PERMUTATION_NAMES)
def test_log_det_of_a_step_matches_autograd_jacobian(permutation, coupling):
    step = FlowStep(4, 8, permutation, coupling, edge_bias=True, coupling_dtype=None)
    level = perturb(Level([step], checkpointing=False).double(), 0.2)
    x = torch.randn(1, 4, 3, 3, dtype=torch.double)
    torch.testing.assert_close(level(x)[1][0], log_det_by_autograd(lambda v: level(v)[0], x))
    torch.testing.assert_close(level.inverse(level(x)[0]), x)


def test_log_det_of_the_split_prior_matches_autograd_jacobian():
    split = perturb(SplitPrior(4, edge_bias=True).double(), 0.2)
    x = torch.randn(1, 4, 3, 3, dtype=torch.double)
    kept, eps, log_det = split(x)
    expected = log_det_by_autograd(lambda v: torch.cat([part.flatten() for part in split(v)[:2]]), x)
    torch.testing.assert_close(log_det[0], expected)
    torch.testing.assert_close(split.inverse(kept, eps), x)


def test_log_det_of_the_top_prior_matches_autograd_jacobian():
    top = perturb(TopPrior((2, 3, 3), learned=True, classes=3, edge_bias=True).double(), 0.2)
    z, label = torch.randn(1, 2, 3, 3, dtype=torch.double), torch.tensor([1])
    eps, log_det = top(z, label)
    torch.testing.assert_close(log_det[0], log_det_by_autograd(lambda v: top(v, label)[0], z))
    torch.testing.assert_close(top.inverse(eps, label), z)


@pytest.mark.parametrize("coupling", COUPLING_NAMES)
@pytest.mark.parametrize("permutation", PERMUTATION_NAMES)
def test_decode_undoes_encode_in_float32(permutation, coupling):
    flow = Glow((3, 16, 16), 3, 8, 64, permutation, coupling)
    x = torch.rand(8, 3, 16, 16)
    flow.initialize(x)
    perturb(flow, 0.01)
    with torch.no_grad():
        assert (flow.decode(flow.encode(x)) - x).abs().max() < 1e-3


# --- permutations -----------------------------------------------------------------------------------------------------


def test_random_rotation_has_determinant_one():
    rotation = random_rotation(48)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(48), rtol=0, atol=1e-5)
    assert abs(Conv1x1.total_log_abs_det([Conv1x1(48), Conv1x1(48)])) < 1e-5


def test_lu_form_gives_the_determinant_of_the_matrix_it_stands_for():
    layer = perturb(Conv1x1LU(12).double())
    expected = torch.linalg.slogdet(layer.matrix()).logabsdet
    torch.testing.assert_close(Conv1x1LU.total_log_abs_det([layer]), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(layer.inverse_matrix() @ layer.matrix(), torch.eye(12, dtype=torch.double))


def test_lu_form_starts_as_a_rotation():
    layer = Conv1x1LU(12)
    torch.testing.assert_close(layer.matrix() @ layer.matrix().T, torch.eye(12), rtol=0, atol=1e-5)


def test_reverse_flips_and_shuffle_permutes_the_channels():
    assert PERMUTATIONS["reverse"](6).matrix().argmax(1).tolist() == [5, 4, 3, 2, 1, 0]
    shuffles = [PERMUTATIONS["shuffle"](24).matrix() for _ in range(2)]
    assert all((matrix.sum(0) == 1).all() and (matrix.sum(1) == 1).all() for matrix in shuffles)
    assert not torch.equal(*shuffles)


# --- initialisation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", COUPLING_NAMES)
def test_initialisation_normalises_every_actnorm_output_on_the_same_batch(coupling):
    flow = Glow((3, 16, 16), 2, 3, 32, coupling=coupling).double()
    x = torch.rand(32, 3, 16, 16, dtype=torch.double)
    flow.initialize(x)
    plain = PlainGlow(flow)
    plain.log_prob(x)
    norms = [part for part in flow.modules() if isinstance(part, ActNorm)]
    assert len(plain.normalized) == len(norms) == 2 * 3 * 3
    assert all(norm.initialized for norm in norms)
    for y in plain.normalized:
        std, mean = torch.std_mean(y, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-9)
        torch.testing.assert_close(std, torch.ones_like(std), rtol=1e-3, atol=0)


def test_initialisation_happens_once_and_the_state_dict_knows():
    flow = Glow((3, 8, 8), 2, 2, 8)
    x, other = torch.rand(16, 3, 8, 8), torch.rand(16, 3, 8, 8) ** 3
    flow.initialize(x)
    loaded = Glow((3, 8, 8), 2, 2, 8)
    loaded.load_state_dict(flow.state_dict())
    loaded.initialize(other)
    torch.testing.assert_close(loaded.log_prob(x), flow.log_prob(x), rtol=0, atol=0)


def test_coupling_is_a_constant_contraction_at_first():
    channels, height, width = 6, 4, 5
    step = FlowStep(channels, 16, "reverse", "affine", edge_bias=True, coupling_dtype=None)
    x = torch.randn(3, channels, height, width)
    assert (step.coupling.net(x[:, : channels // 2]) == 0).all()
    _, log_det = step.coupling(x)
    expected = torch.full((3,), -(channels / 2) * height * width * 0.126928)
    torch.testing.assert_close(log_det, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("n_bits", [8, 5])
def test_uniform_noise_costs_its_bits_and_what_a_gaussian_wastes_on_it(n_bits):
    # An additive Glow is affine after initialisation, so it fits a Gaussian: 1/2 log2(2 pi e / 12) bits above uniform.
    flow = Glow((3, 16, 16), 3, 4, 16, coupling="additive")
    image = torch.randint(0, 256, (512, 3, 16, 16), dtype=torch.uint8)
    flow.initialize(dequantize(image, n_bits))
    with torch.no_grad():
        bits = bits_per_dim(flow.log_prob(dequantize(image, n_bits)), 3 * 16 * 16, n_bits).mean()
    assert bits == pytest.approx(n_bits + 0.5 * math.log2(2 * math.pi * math.e / 12), abs=0.01)


@pytest.mark.real_data
@pytest.mark.parametrize(("n_bits", "expected"), [(8, 6.72), (5, 3.75)])
def test_cifar_costs_what_it_should_after_initialisation(n_bits, expected, real_cifar10):
    flow = Glow((3, 32, 32), 3, 8, 128)
    flow.initialize(dequantize(real_cifar10[:64], n_bits))
    with torch.no_grad():
        log_prob = flow.log_prob(dequantize(real_cifar10[64:192], n_bits))
    assert bits_per_dim(log_prob, 3072, n_bits).mean() == pytest.approx(expected, abs=0.15)


@pytest.fixture
def real_cifar10(request) -> Tensor:
    import os
    from pathlib import Path

    path = Path(os.environ.get("PAPERZOO_DATA", "~/.cache/paperzoo")).expanduser() / "cifar10" / "train_images.npy"
    if not path.exists():
        pytest.skip("needs CIFAR-10 under PAPERZOO_DATA")
    return torch.from_numpy(np.array(np.load(path, mmap_mode="r", allow_pickle=False)[:192]))


# --- precision, memory, compilation -----------------------------------------------------------------------------------


def test_checkpointing_does_not_change_gradients():
    stored = small_glow()
    recomputed = Glow((3, 8, 8), 2, 3, 16, checkpointing=True).double()
    recomputed.load_state_dict(stored.state_dict())
    x = torch.rand(4, 3, 8, 8, dtype=torch.double)
    for flow in (stored, recomputed):
        flow.log_prob(x).mean().backward()
    for (name, expected), found in zip(stored.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-10, atol=1e-12, msg=name)


def test_bfloat16_networks_stay_close_and_leave_log_determinants_in_float32():
    exact = perturb(Glow((3, 8, 8), 2, 3, 32), 0.02)
    rough = Glow((3, 8, 8), 2, 3, 32, coupling_dtype=torch.bfloat16)
    rough.load_state_dict(exact.state_dict())
    x = torch.rand(4, 3, 8, 8)
    latents, log_det = rough(x)
    assert log_det.dtype == torch.float32 and all(eps.dtype == torch.float32 for eps in latents)
    assert not torch.equal(log_det, exact(x)[1])
    torch.testing.assert_close(rough.log_prob(x), exact.log_prob(x), rtol=0.01, atol=0)
    torch.testing.assert_close(rough.decode(latents), x, rtol=0, atol=1e-4)


def test_automatic_mixed_precision_does_not_touch_the_flow():
    flow = perturb(Glow((3, 8, 8), 2, 2, 8), 0.02)
    x = torch.rand(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = flow.log_prob(x)
    torch.testing.assert_close(mixed, flow.log_prob(x), rtol=0, atol=0)


@pytest.mark.parametrize("channels", [2, 9], ids=["indicator as input", "indicator as bias"])
def test_edge_bias_is_a_channel_that_is_one_on_the_padding(channels):
    x, kernel, bias = torch.randn(2, channels, 4, 5), torch.randn(6, channels + 1, 3, 3), torch.randn(6)
    padded = F.pad(x, (1, 1, 1, 1))
    border = F.pad(torch.zeros(2, 1, 4, 5), (1, 1, 1, 1), value=1.0)
    expected = F.conv2d(torch.cat([padded, border], dim=1), kernel, bias)
    torch.testing.assert_close(conv3x3(x, kernel, bias), expected, rtol=1e-4, atol=1e-4)


def test_compiling_leaves_the_names_in_the_state_dict():
    assert module(compile=True).state_dict().keys() == module().state_dict().keys()


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", COUPLING_NAMES)
@pytest.mark.parametrize("permutation", ["conv1x1", "conv1x1_lu", "shuffle"])
def test_gradient_reaches_every_parameter(permutation, coupling):
    flow = small_glow(permutation=permutation, coupling=coupling, classes=3)
    x, label = torch.rand(8, 3, 8, 8, dtype=torch.double), torch.arange(8) % 3
    latents, log_det = flow(x, label)
    loss = (
        log_det.sum()
        + sum(eps.square().sum() for eps in latents)
        + F.cross_entropy(flow.classify(latents, label), label)
    )
    loss.backward()
    dead = [name for name, parameter in flow.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert dead == []


def test_short_training_learns_what_no_model_of_single_pixels_can():
    # 2x2 blocks of one level each: a pixel alone is uniform over 16 levels, 4 bits; the entropy is 1 bit/dim.
    blocks = torch.randint(0, 16, (64, 1, 4, 4), dtype=torch.uint8) * 16
    image = blocks.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    flow = Glow((1, 8, 8), 1, 4, 16)
    flow.initialize(dequantize(image, 4))
    optimizer = Adamax(flow.parameters(), lr=0.01, betas=(0.9, 0.99))
    bits = []
    for _ in range(150):
        loss = bits_per_dim(flow.log_prob(dequantize(image, 4)), 64, 4).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bits.append(loss.item())
    assert bits[0] - bits[-1] > 0.8 and bits[-1] < 1.7


def test_adamax_takes_the_steps_of_its_formula():
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = Adamax([parameter], lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    expected, mean, peak = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for t, gradient in enumerate([(0.5, -1.0), (-2.0, 0.0), (0.1, 3.0)], start=1):
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        for i in range(2):
            mean[i] = 0.9 * mean[i] + 0.1 * gradient[i]
            peak[i] = max(0.99 * peak[i], abs(gradient[i]))
            expected[i] -= 0.1 * math.sqrt(1 - 0.99**t) / (1 - 0.9**t) * mean[i] / (peak[i] + 1e-8)
        assert parameter.tolist() == pytest.approx(expected, rel=1e-5)


def test_adamax_continues_from_its_state():
    def train(optimizer: Adamax, parameter: nn.Parameter, steps: int) -> None:
        for _ in range(steps):
            parameter.grad = parameter.detach() ** 2
            optimizer.step()

    whole, first = (nn.Parameter(torch.tensor([0.7, 3.0])) for _ in range(2))
    train(Adamax([whole], lr=0.1, betas=(0.9, 0.99)), whole, 6)
    optimizer = Adamax([first], lr=0.1, betas=(0.9, 0.99))
    train(optimizer, first, 3)
    second = nn.Parameter(first.detach().clone())
    resumed = Adamax([second], lr=0.1, betas=(0.9, 0.99))
    resumed.load_state_dict(optimizer.state_dict())
    train(resumed, second, 3)
    torch.testing.assert_close(second, whole, rtol=0, atol=0)


# --- sampling ---------------------------------------------------------------------------------------------------------


def test_samples_at_temperature_zero_are_all_the_same():
    flow = small_glow()
    x = flow.sample(3, temperature=0.0)
    torch.testing.assert_close(x, x[:1].expand_as(x), rtol=0, atol=1e-12)


def test_temperature_scales_the_deviation_from_the_mean_of_the_prior():
    top = perturb(TopPrior((2, 3, 3), learned=True, classes=0, edge_bias=True).double(), 0.2)
    eps = torch.randn(1, 2, 3, 3, dtype=torch.double)
    mean = top.inverse(0 * eps, None)
    torch.testing.assert_close(top.inverse(0.7 * eps, None) - mean, 0.7 * (top.inverse(eps, None) - mean))


# --- classes ----------------------------------------------------------------------------------------------------------


def labelled(count: int = 8, classes: int = 3) -> LabelledImages:
    return LabelledImages(torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8), torch.arange(count) % classes)


def test_label_changes_the_density_and_the_samples():
    flow = small_glow(classes=3)
    x = torch.rand(2, 3, 8, 8, dtype=torch.double)
    zero, one = (flow.log_prob(x, torch.full((2,), label)) for label in (0, 1))
    assert (zero - one).abs().min() > 1e-3
    samples = flow.sample(3, 0.0, torch.tensor([0, 1, 1]))
    assert not torch.allclose(samples[0], samples[1])
    torch.testing.assert_close(samples[1], samples[2])


def test_class_conditional_loss_adds_the_weighted_bits_of_the_label():
    conditional = module(class_conditional=True, num_classes=3, classifier_weight=0.01)
    metrics = conditional.metrics(labelled())
    assert metrics["bits_per_label"].item() == pytest.approx(math.log2(3))  # the classifier knows nothing at first
    loss = conditional.training_loss(metrics)
    assert loss.item() == pytest.approx(metrics["bits_per_dim"].item() + 0.01 * math.log2(3), rel=1e-5)
    loss.backward()
    assert conditional.flow.classifier is not None and conditional.flow.classifier.weight.grad.any()


def test_classifier_sees_the_latents_before_they_are_standardised():
    flow = small_glow(classes=3)
    label = torch.tensor([0, 2])
    latents = flow.encode(torch.rand(2, 3, 8, 8, dtype=torch.double), label)
    z = flow.top.inverse(latents[-1], label)
    torch.testing.assert_close(flow.classify(latents, label), flow.classifier(z.mean(dim=(2, 3))))


def test_unconditional_module_ignores_labels_and_conditional_one_samples_all_classes():
    assert module().label_of(labelled()) is None and module().sample_label(4) is None
    conditional = module(class_conditional=True, num_classes=3)
    assert conditional.sample_label(4).tolist() == [0, 1, 2, 0]


# --- the user's mistakes ----------------------------------------------------------------------------------------------


def test_images_without_labels_have_the_density_of_the_even_mixture_of_the_classes():
    conditional = module(class_conditional=True, num_classes=3)
    perturb(conditional)
    batch = labelled(4)
    dimensions = batch.image[0].numel()

    def nats(batch) -> Tensor:
        torch.manual_seed(0)  # the same dequantisation
        return -conditional.bits_per_dim(batch).double() * dimensions * math.log(2)

    of_class = torch.stack([nats(batch._replace(label=torch.full((4,), c))) for c in range(3)])
    best = of_class.amax(0)
    assert (best - of_class.amin(0)).min() > 0.1
    mixture = best + ((of_class - best).exp().sum(0) / 3).log()
    torch.testing.assert_close(nats(Images(batch.image)), mixture, rtol=1e-5, atol=0)


def test_image_that_cannot_be_squeezed_is_refused():
    [problem] = GlowModule.check(image_shape=[1, 28, 28], levels=3)
    assert problem.startswith("levels=3: images of 28x28") and "from 1 to 2" in problem
    assert not list(GlowModule.check(image_shape=[1, 32, 32], levels=3))


def test_classes_without_labels_are_refused():
    [problem] = GlowModule.check(image_shape=[1, 8, 8], levels=1, class_conditional=True, num_classes=0)
    assert problem.startswith("class_conditional=true")


def test_weights_depend_on_the_classes_only_if_these_are_a_condition():
    assert module().learned_names == ()
    assert module(class_conditional=True, num_classes=3).learned_names == ("classes",)


def test_module_initialises_its_flow_from_a_batch():
    glow = module()
    assert glow.initial_batch_size == 16 and isinstance(glow.flow, ImageFlow)
    glow.initialize(labelled(16))
    assert all(part.initialized for part in glow.flow.modules() if isinstance(part, ActNorm))
