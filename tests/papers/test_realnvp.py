"""Facts about Real NVP (Dinh et al. 2017)."""

import math
from functools import partial

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from paperzoo.batches import Images
from paperzoo.nn.squeeze import squeeze
from paperzoo.papers.realnvp import RealNVP, RealNVPModule
from paperzoo.papers.realnvp.flow import factor_out, put_back
from paperzoo.papers.realnvp.layers import (
    Chain,
    ChannelCoupling,
    CheckerboardCoupling,
    FlowBatchNorm,
    Logit,
    checkerboard,
)
from paperzoo.papers.realnvp.networks import EPSILON, ResidualNetwork, ShiftAndLogScale, WeightNormConv2d
from paperzoo.tasks.density import bits_per_dim, dequantize

SHAPE = (2, 4, 4)


def conditioner(in_channels: int, out_channels: int) -> ShiftAndLogScale:
    return ShiftAndLogScale(in_channels, out_channels, hidden_channels=4, blocks=1)


LAYERS = {
    "logit": lambda: Logit(0.05, 1.0),
    "logit of the released code": lambda: Logit(0.05, 0.95),
    "batch norm": lambda: FlowBatchNorm(2, momentum=0.9),
    "checkerboard, even kept": lambda: CheckerboardCoupling(0, conditioner(3, 2)),
    "checkerboard, odd kept": lambda: CheckerboardCoupling(1, conditioner(3, 2)),
    "channels, first kept": lambda: ChannelCoupling(keep_first=True, conditioner=conditioner(1, 1)),
    "channels, second kept": lambda: ChannelCoupling(keep_first=False, conditioner=conditioner(1, 1)),
    "chain": lambda: Chain([FlowBatchNorm(2, 0.9), CheckerboardCoupling(0, conditioner(3, 2)), FlowBatchNorm(2, 0.9)]),
}


def perturbed(module: nn.Module) -> nn.Module:
    """In float64 and evaluation mode, far from its initial weights and statistics."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    for name, buffer in module.named_buffers():
        if name.endswith("mean"):
            buffer.copy_(torch.randn_like(buffer))
        elif name.endswith(("variance", "running_var")):
            buffer.copy_(0.5 + torch.rand_like(buffer))
    return module.double().eval()


def small_flow(scales: int = 2, image_shape: tuple[int, int, int] = SHAPE, **changes: object) -> RealNVP:
    torch.manual_seed(0)
    arguments = {"couplings": 3, "residual_blocks": 1, "hidden_channels": 4, **changes}
    return RealNVP(image_shape, scales, **arguments)


@pytest.fixture(params=LAYERS.values(), ids=LAYERS.keys())
def layer(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return perturbed(request.param())


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(3, *SHAPE, dtype=torch.double)


def digits(count: int) -> Images:
    image = torch.from_numpy(load_digits().images[:count, None]) * 16
    return Images(image.clamp(max=255).to(torch.uint8))


def module_for_digits(**changes: object) -> RealNVPModule:
    torch.manual_seed(0)
    arguments = {
        "image_shape": (1, 8, 8),
        "scales": 2,
        "couplings": 2,
        "residual_blocks": 1,
        "hidden_channels": 8,
        "logit_range": (0.05, 1.0),
        "batch_norm_momentum": 0.9,
        "gain_penalty": 5e-5,
        "n_bits": 4,
        "optimizer": partial(torch.optim.Adam, lr=2e-3),
        "warmup_steps": 0,
        "temperatures": (0.7, 1.0),
        "samples": 4,
        "interpolation_steps": 3,
    }
    return RealNVPModule(**(arguments | changes))


# the layers


def test_inverse_of_a_layer_undoes_forward(layer: nn.Module, x: Tensor) -> None:
    y, _ = layer(x)
    assert not torch.allclose(y, x)
    torch.testing.assert_close(layer.inverse(y), x)


def test_log_det_of_a_layer_matches_autograd_jacobian(layer: nn.Module, x: Tensor) -> None:
    for image in x.split(1):
        jacobian = torch.autograd.functional.jacobian(lambda v: layer(v)[0], image).reshape(32, 32)
        log_det = layer(image)[1].squeeze()
        assert log_det.abs() > 1e-3
        torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian).logabsdet)


def test_checkerboard_moves_exactly_the_other_colour(x: Tensor) -> None:
    for parity in (0, 1):
        y, _ = perturbed(CheckerboardCoupling(parity, conditioner(3, 2)))(x)
        kept = checkerboard(x, parity).bool().expand_as(x)
        assert (y == x)[kept].all()
        assert (y != x)[~kept].all()


def test_checkerboard_starts_with_its_parity_in_the_corner() -> None:
    even = checkerboard(torch.zeros(1, 3, 2, 3), 0)
    assert even.tolist() == [[[[1, 0, 1], [0, 1, 0]]]]
    assert torch.equal(checkerboard(torch.zeros(1, 3, 2, 3), 1), 1 - even)


def test_channel_coupling_moves_exactly_the_other_half(x: Tensor) -> None:
    for keep_first, kept in ((True, 0), (False, 1)):
        y, _ = perturbed(ChannelCoupling(keep_first=keep_first, conditioner=conditioner(1, 1)))(x)
        assert (y == x)[:, kept].all()
        assert (y != x)[:, 1 - kept].all()


def test_shift_and_scale_see_only_what_is_kept(x: Tensor) -> None:
    coupling = perturbed(CheckerboardCoupling(0, conditioner(3, 2)))
    kept = checkerboard(x, 0)
    other = x + (1 - kept) * torch.randn_like(x)
    torch.testing.assert_close(coupling(x)[1], coupling(other)[1])


def test_logit_is_the_papers_formula(x: Tensor) -> None:
    torch.testing.assert_close(Logit(0.05, 1.0)(x)[0], torch.logit(0.05 + 0.95 * x))
    torch.testing.assert_close(Logit(0.05, 0.95)(x)[0], torch.logit(0.05 + 0.9 * x))


def test_logit_is_finite_for_white_pixels_that_noise_rounds_to_one() -> None:
    white = torch.full((1, 1, 1, 1), (255 + (1 - 2**-24)) / 256)
    assert white.item() == 1
    y, log_det = Logit(0.05, 1.0)(white)
    assert y.isfinite().all()
    assert log_det.isfinite().all()


# batch normalisation


def test_the_first_training_batch_is_normalised_exactly(x: Tensor) -> None:
    y, _ = FlowBatchNorm(2, momentum=0.9).double().train()(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(2).double())
    torch.testing.assert_close(y.var((0, 2, 3), correction=0), torch.ones(2).double(), rtol=5e-3, atol=0)


def test_statistics_are_a_plain_mean_first_and_an_exponential_average_later() -> None:
    norm = FlowBatchNorm(1, momentum=0.75).train()
    batches = torch.randn(6, 8, 1, 2, 2)
    for batch in batches:
        norm(batch)
    means = batches.mean((1, 2, 3, 4))
    expected = means[:4].mean()
    for mean in means[4:]:
        expected = 0.75 * expected + 0.25 * mean
    torch.testing.assert_close(norm.mean, expected[None])


def test_training_uses_the_average_that_includes_the_batch() -> None:
    norm = FlowBatchNorm(1, momentum=0.75).train()
    batches = torch.randn(5, 8, 1, 2, 2)
    for batch in batches[:-1]:
        norm(batch)
    y, log_det = norm(batches[-1])
    evaluated, log_det_evaluated = norm.eval()(batches[-1])
    torch.testing.assert_close(y, evaluated)
    torch.testing.assert_close(log_det, log_det_evaluated)


def test_without_momentum_training_is_ordinary_batch_normalisation(x: Tensor) -> None:
    norm, ordinary = FlowBatchNorm(2, momentum=0.0).double().train(), nn.BatchNorm2d(2, 1e-4, affine=False).double()
    for batch in (x, 2 * x + 1):
        torch.testing.assert_close(norm(batch)[0], ordinary(batch))


def test_gradients_flow_through_the_share_of_the_current_batch_only(x: Tensor) -> None:
    norm = FlowBatchNorm(2, momentum=0.75).double().train()
    for _ in range(4):
        norm(torch.randn_like(x))
    offset = torch.zeros(2, 1, 1, dtype=torch.double, requires_grad=True)
    y, _ = norm(x + offset)
    # the mean follows a shift of the whole batch by a quarter, the variance not at all
    (gradient,) = torch.autograd.grad(y.sum(), offset)
    torch.testing.assert_close(gradient.flatten() / y[:, 0].numel(), 0.75 / (norm.variance + EPSILON).sqrt())


def test_in_evaluation_a_density_does_not_depend_on_the_rest_of_the_batch(x: Tensor) -> None:
    flow = perturbed(small_flow())
    together = flow.log_prob(x)
    torch.testing.assert_close(torch.cat([flow.log_prob(image) for image in x.split(1)]), together)


def test_in_training_a_density_depends_on_the_rest_of_the_batch(x: Tensor) -> None:
    flow = perturbed(small_flow(batch_norm_momentum=0.0)).train()
    assert not torch.allclose(flow.log_prob(x)[:1], flow.log_prob(torch.cat([x[:1], 0.1 * x[1:]]))[:1], rtol=1e-2)


def test_evaluation_changes_no_statistics(x: Tensor) -> None:
    flow = perturbed(small_flow())
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    flow.decode(flow.encode(x))
    torch.testing.assert_close(dict(flow.state_dict()), before, rtol=0, atol=0)


# the networks


def test_filters_have_unit_norm_times_gain() -> None:
    conv = WeightNormConv2d(3, 5, 3, gain=True, bias=False).double()
    conv.gain.data = torch.arange(1.0, 6.0).double()
    # the centre of the response to each unit image is one weight of each filter
    weights = conv(torch.eye(27).double().view(27, 3, 3, 3))[:, :, 1, 1]
    torch.testing.assert_close(weights.norm(dim=0), conv.gain.data)


def network_parameters(in_channels: int, out_channels: int, hidden: int, blocks: int) -> int:
    """By hand: 2 a channel for a batch normalisation, weights (and gain, and bias, if any) for a convolution."""
    entrance = 2 * in_channels + 9 * (2 * in_channels) * hidden
    block = 2 * hidden + 9 * hidden**2 + 2 * hidden + 9 * hidden**2 + hidden
    skip = hidden**2 + hidden
    exit_ = 2 * hidden + hidden * out_channels + 2 * out_channels
    return entrance + blocks * block + (blocks + 1) * skip + exit_


def flow_parameters(channels: int, scales: int, couplings: int, blocks: int, hidden: int) -> int:
    """Every coupling has a network with two outputs for each moved channel, and one factor of the log-scale."""
    total = 0
    for _ in range(scales - 1):
        # the checkerboard sees the mask as one channel more; half of the 4 c channels move after the squeeze
        total += couplings * (network_parameters(channels + 1, 2 * channels, hidden, blocks) + 1)
        total += couplings * (network_parameters(2 * channels, 4 * channels, 2 * hidden, blocks) + 1)
        channels, hidden = 2 * channels, 2 * hidden
    return total + (couplings + 1) * (network_parameters(channels + 1, 2 * channels, hidden, blocks) + 1)


def parameters_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("blocks", [0, 3])
def test_network_has_the_parameters_of_the_closed_form(blocks: int) -> None:
    assert parameters_of(ResidualNetwork(3, 10, 4, blocks)) == network_parameters(3, 10, 4, blocks)


@pytest.mark.parametrize(
    ("size", "scales", "blocks", "hidden", "count"),
    [(32, 2, 8, 64, 19_614_858), (32, 4, 4, 32, 46_232_894), (64, 5, 2, 32, 96_388_890)],
    ids=["cifar10", "imagenet32", "imagenet64"],
)
def test_published_models_have_the_parameters_of_the_closed_form(
    size: int, scales: int, blocks: int, hidden: int, count: int
) -> None:
    with torch.device("meta"):
        flow = RealNVP((3, size, size), scales, 3, blocks, hidden)
    assert parameters_of(flow) == flow_parameters(3, scales, 3, blocks, hidden) == count
    # "until the input of the last recursion is a 4x4xc tensor", but for 19_614_858-10: downscaled once
    assert flow.latent_shapes[-1][1:] == ((16, 16) if scales == 2 else (4, 4))


# the flow


def test_masks_alternate() -> None:
    flow = small_flow(scales=2)
    checkerboards = [layer for layer in flow.scales[0].checkerboard.layers if isinstance(layer, CheckerboardCoupling)]
    channels = [layer for layer in flow.scales[0].channelwise.layers if isinstance(layer, ChannelCoupling)]
    last = [layer for layer in flow.last_scale.layers if isinstance(layer, CheckerboardCoupling)]
    assert [layer.parity for layer in checkerboards] == [0, 1, 0]
    assert [layer.keep_first for layer in channels] == [True, False, True]
    assert [layer.parity for layer in last] == [0, 1, 0, 1]


def test_couplings_preserve_volume_at_first(x: Tensor) -> None:
    flow = small_flow().double().eval()
    couplings = [layer for layer in flow.modules() if isinstance(layer, CheckerboardCoupling)]
    assert len(couplings) == 7
    assert all((layer(x)[1] == 0).all() for layer in couplings[:3])


def test_half_of_the_pixels_of_every_channel_leaves() -> None:
    image = torch.tensor([[1.0, 2.0, 1.0, 2.0], [3.0, 4.0, 3.0, 4.0]]).expand(1, 2, 2, 4) + torch.tensor(
        [0.0, 10.0]
    ).view(2, 1, 1)
    kept, factored = factor_out(squeeze(image))
    assert kept[0, :, 0, 0].tolist() == [1, 11, 4, 14]
    assert factored[0, :, 0, 0].tolist() == [2, 12, 3, 13]
    torch.testing.assert_close(put_back(kept, factored), squeeze(image))


@pytest.mark.parametrize("scales", [1, 2])
def test_log_det_of_the_flow_matches_autograd_jacobian(scales: int, x: Tensor) -> None:
    flow = perturbed(small_flow(scales))
    image = x[:1]
    jacobian = torch.autograd.functional.jacobian(lambda v: torch.cat([e.flatten() for e in flow.encode(v)]), image)
    latents, log_det = flow(image)
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian.reshape(32, 32)).logabsdet)
    prior = sum(torch.distributions.Normal(0, 1).log_prob(eps).sum() for eps in latents)
    torch.testing.assert_close(flow.log_prob(image)[0], prior + log_det[0])


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_decode_undoes_encode(scales: int) -> None:
    flow = perturbed(small_flow(scales, image_shape=(3, 8, 8)))
    x = torch.rand(2, 3, 8, 8, dtype=torch.double)
    latents = flow.encode(x)
    torch.testing.assert_close(flow.decode(latents), x)
    assert [tuple(eps.shape[1:]) for eps in latents] == flow.latent_shapes
    assert sum(math.prod(shape) for shape in flow.latent_shapes) == x[0].numel()


def test_decode_undoes_encode_in_single_precision() -> None:
    flow = perturbed(small_flow(3, image_shape=(3, 8, 8))).float()
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(flow.decode(flow.encode(x)), x, rtol=0, atol=1e-4)


def test_density_integrates_to_one() -> None:
    """Of images of 1x2 pixels, one channel, by a fine grid over the square."""
    # a range narrower than (0, 1), as the paper's, leaves mass outside the square
    flow = perturbed(small_flow(scales=1, image_shape=(1, 1, 2), logit_range=(1e-6, 1 - 1e-6)))
    points = (torch.arange(250, dtype=torch.double) + 0.5) / 250
    x = torch.cartesian_prod(points, points).view(-1, 1, 1, 2)
    torch.testing.assert_close(flow.log_prob(x).exp().mean().item(), 1.0, rtol=0.01, atol=0)


def test_gradient_reaches_every_parameter() -> None:
    flow = perturbed(small_flow(batch_norm_momentum=0.9)).train()
    for _ in range(4):
        flow.log_prob(torch.rand(8, *SHAPE, dtype=torch.double))
    flow.log_prob(torch.rand(8, *SHAPE, dtype=torch.double)).sum().backward()
    silent = [name for name, p in flow.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-6]
    assert silent == []


def test_saved_statistics_and_weights_give_the_same_density(x: Tensor) -> None:
    flow, other = perturbed(small_flow()), small_flow().double().eval()
    other.load_state_dict(flow.state_dict())
    torch.testing.assert_close(other.log_prob(x), flow.log_prob(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["checkerboard, even kept", "channels, first kept"])
def test_half_precision_networks_leave_the_flow_in_single_precision(name: str, x: Tensor) -> None:
    coupling = perturbed(LAYERS[name]()).float()
    with torch.autocast("cpu", torch.bfloat16):
        y, log_det = coupling(x.float())
    assert y.dtype == log_det.dtype == torch.float32


def test_samples_at_temperature_zero_are_all_the_same() -> None:
    flow = perturbed(small_flow())
    assert flow.sample(3, temperature=0.0).unique(dim=0).shape[0] == 1
    assert flow.sample(3, temperature=1.0).unique(dim=0).shape[0] == 3


# training


def test_the_loss_times_dimensions_ln2_is_the_papers_objective() -> None:
    module = module_for_digits(gain_penalty=0.5)
    gains = torch.cat([p for name, p in module.named_parameters() if name.endswith("gain")])
    loss = module.training_loss({"bits_per_dim": torch.tensor(3.0)})
    dimensions = 64
    torch.testing.assert_close((loss - 3) * dimensions * math.log(2), 0.5 * gains.square().sum())


def test_training_lowers_bits_per_dim_of_held_out_digits() -> None:
    module = module_for_digits()
    image = digits(600).image
    train, held_out = image[:500], image[500:]
    (optimizer,) = [module.configure_optimizers()]
    for _ in range(60):
        batch = Images(train[torch.randint(500, (64,))])
        loss = module.training_loss(module.metrics(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.eval()
    with torch.no_grad():
        bits = module.bits_per_dim(Images(held_out))
    # a density that knows nothing needs 4 bits
    assert bits.mean() < 3.3


def test_module_predicts_and_draws() -> None:
    module = module_for_digits()
    batch = digits(6)
    module.metrics(batch)
    module.eval()
    assert set(module.figures(batch)) >= {"samples", "interpolation", "reconstruction"}
    with torch.no_grad():
        columns = module.predict_step(batch, 0)
    assert columns["bits_per_dim"].shape == (6,)
    x = dequantize(batch.image, 4)
    torch.testing.assert_close(
        columns["bits_per_dim"].mean(), bits_per_dim(module.flow.log_prob(x), 64, 4).mean(), rtol=0.05, atol=0
    )


# the arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (3, 30, 30), "scales": 3}, "scales=3: the image size 30x30 is not divisible by 2^2"),
        ({"image_shape": (1, 8, 8), "scales": 4}, "scales=4: the image size 8x8 leaves a single row"),
        ({"logit_range": (0.5, 0.2)}, "logit_range=[0.5, 0.2]: allowed is"),
        ({"logit_range": (0.05, 1.2)}, "logit_range=[0.05, 1.2]: allowed is"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, object], message: str) -> None:
    (problem,) = RealNVPModule.check(**arguments)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    "arguments", [{}, {"image_shape": [3, 32, 32], "scales": 4, "logit_range": [0.05, 1.0]}, {"scales": 3}]
)
def test_arguments_that_fit_give_no_problem(arguments: dict[str, object]) -> None:
    assert list(RealNVPModule.check(**arguments)) == []


def test_the_suggested_number_of_scales_is_accepted() -> None:
    for size in (2, 6, 8, 30, 32, 48, 64):
        (problem,) = RealNVPModule.check(image_shape=(3, size, size), scales=9)
        most = int(problem.rsplit(" ", 1)[1])
        assert list(RealNVPModule.check(image_shape=(3, size, size), scales=most)) == []
