"""Facts about bits per dimension and every module that gives a likelihood; the flow here is a plain bijection."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from paperzoo.batches import (
    HAVING,
    LACKING,
    TO_EDIT,
    AttributedImages,
    ComparedImages,
    Images,
    LatentVectors,
    Names,
)
from paperzoo.nn.flow import ImageFlow
from paperzoo.reporting.images import tile
from paperzoo.tasks.density import (
    AttributeMeans,
    DensityModule,
    bits_per_dim,
    dequantize,
    noise_of,
    quantize,
    to_bytes,
)
from paperzoo.tasks.density_figures import reconstruction_figure


class Affine(ImageFlow):
    """eps = (x - mean) / scale for images of 2x4 pixels; the left and the right half are its levels."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(0.4))
        self.log_scale = nn.Parameter(torch.tensor(-1.0))

    @property
    def latent_shapes(self) -> list[tuple[int, ...]]:
        return [(1, 2, 2), (1, 2, 2)]

    def forward(self, x: Tensor, label: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        eps = (x - self.mean) * (-self.log_scale).exp()
        return [eps[..., :2], eps[..., 2:]], -8 * self.log_scale.expand(len(x))

    def decode(self, latents: Sequence[Tensor], label: Tensor | None = None) -> Tensor:
        return torch.cat(list(latents), dim=3) * self.log_scale.exp() + self.mean


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def module(**changes) -> DensityModule:
    arguments = {
        "flow": Affine(),
        "n_bits": 8,
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        "warmup_steps": 0,
        "temperatures": [0.0, 0.7],
        "samples": 4,
        "interpolation_steps": 5,
    }
    return DensityModule(**{**arguments, **changes})


def images(count: int = 6) -> Images:
    return Images(torch.randint(0, 256, (count, 1, 2, 4), dtype=torch.uint8))


# --- bits per dimension -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_bits", [1, 5, 8])
def test_uniform_density_needs_exactly_n_bits(n_bits):
    assert bits_per_dim(torch.zeros(3), 100, n_bits).tolist() == [n_bits] * 3


def test_a_density_twice_as_high_in_every_dimension_saves_a_bit():
    torch.testing.assert_close(bits_per_dim(torch.tensor([12 * math.log(2)]), 12, 8), torch.tensor([7.0]))


@pytest.mark.parametrize("n_bits", [1, 3, 5, 8])
def test_dequantised_values_stay_in_the_bin_of_their_level(n_bits):
    image = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    x = dequantize(image, n_bits)
    assert x.min() >= 0 and x.max() < 1
    torch.testing.assert_close((x * 2**n_bits).floor(), quantize(image, n_bits))
    assert quantize(image, n_bits).unique().numel() == 2**n_bits
    torch.testing.assert_close(to_bytes(x, n_bits), image // 2 ** (8 - n_bits) * 2 ** (8 - n_bits))


def test_the_noise_of_an_evaluated_image_is_its_own_whatever_stands_beside_it_and_uniform():
    image = torch.randint(256, (64, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    noise = noise_of(image)
    torch.testing.assert_close(noise_of(image.flip(0)[:5]), noise.flip(0)[:5], rtol=0, atol=0)
    assert noise.flatten(1).unique(dim=0).shape[0] == 64
    levels = noise.flatten().sort().values
    assert (levels - torch.linspace(0, 1, levels.numel())).abs().max() < 1.63 / math.sqrt(levels.numel())  # at 1 %


def test_what_an_image_is_worth_does_not_depend_on_its_batch_nor_on_what_was_drawn_before():
    density, batch = module(n_bits=5).eval(), images()
    together = density.bits_per_dim(batch)
    torch.rand(7)
    alone = [density.bits_per_dim(type(batch)(*(column[i : i + 1] for column in batch))) for i in range(2)]
    torch.testing.assert_close(torch.cat(alone), together[:2])


def test_dequantised_values_are_below_one_whatever_the_noise(monkeypatch):
    monkeypatch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 1 - 2**-24))
    assert dequantize(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), 8).item() < 1


def test_values_outside_the_cube_and_nan_become_bytes():
    x = torch.tensor([-3.0, 7.0, math.nan, math.inf, -math.inf]).view(1, 1, 1, 5)
    assert to_bytes(x, 8).flatten().tolist() == [0, 255, 0, 255, 0]


# --- training ---------------------------------------------------------------------------------------------------------


def test_bits_per_dim_of_a_batch_is_that_of_the_flows_density():
    density, batch = module(n_bits=5), images()
    torch.manual_seed(3)
    found = density.bits_per_dim(batch)
    torch.manual_seed(3)
    log_prob = density.flow.log_prob(dequantize(batch.image, 5))
    torch.testing.assert_close(found, 5 - log_prob / (8 * math.log(2)))


def test_learning_rate_grows_linearly_to_its_value():
    configured = module(warmup_steps=4).configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1, 0.1])
    assert configured["lr_scheduler"]["interval"] == "step"


def test_without_warmup_the_rate_is_constant():
    assert isinstance(module().configure_optimizers(), torch.optim.SGD)


def trainer(folder) -> Trainer:
    return Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def test_training_logs_bits_per_dim_at_every_stage_and_no_second_name_for_the_loss(tmp_path):
    density, loader = module(), DataLoader([images(4), images(4)], batch_size=None)
    fitting = trainer(tmp_path)
    fitting.fit(density, loader, loader)
    assert {"train/bits_per_dim", "val/bits_per_dim"} <= fitting.callback_metrics.keys()
    assert "train/loss" not in fitting.callback_metrics
    [result] = fitting.test(density, loader, verbose=False)
    assert result.keys() == {"test/bits_per_dim"}


def test_an_evaluation_is_the_mean_over_images_whatever_the_batches(tmp_path):
    bright = torch.full((2, 1, 2, 4), 250, dtype=torch.uint8)
    density, batches = module(), [images(6), Images(bright)]
    torch.manual_seed(3)
    of_batches = [density.bits_per_dim(batch) for batch in batches]
    torch.manual_seed(3)
    [result] = trainer(tmp_path).test(density, DataLoader(batches, batch_size=None), verbose=False)
    assert result["test/bits_per_dim"] == pytest.approx(torch.cat(of_batches).mean().item(), abs=0.02)
    assert abs(of_batches[0].mean() - of_batches[1].mean()).item() > 0.2


def test_training_loss_that_differs_is_logged_too(tmp_path):
    class Penalised(DensityModule):
        def training_loss(self, metrics: dict[str, Tensor]) -> Tensor:
            return metrics["bits_per_dim"] + 1

    penalised = Penalised(Affine(), 8, lambda p: torch.optim.SGD(p, lr=0.0), 0, [1.0], 2, 2)
    fitting = trainer(tmp_path)
    fitting.fit(penalised, DataLoader([images()], batch_size=None))
    logged = fitting.callback_metrics
    assert logged["train/loss"] == pytest.approx(logged["train/bits_per_dim"].item() + 1)


# --- predictions and figures ------------------------------------------------------------------------------------------


def test_predictions_give_the_likelihood_in_nats_and_in_bits():
    columns = module().predict_step(images(), 0)
    assert columns.keys() == {"log_likelihood_nats", "bits_per_dim"}
    torch.testing.assert_close(columns["log_likelihood_nats"], -columns["bits_per_dim"] * 8 * math.log(2))


def test_written_arrays_and_pictures_hold_the_same_images(tmp_path):
    density = module()
    written = density.write_predictions([], images(), tmp_path)
    names = {"samples_T0.00", "samples_T0.70", "interpolation"}
    assert {path.name for path in written} == {f"{name}.{kind}" for name in names for kind in ("png", "npy")}
    assert all(path.exists() for path in written)
    array = np.load(tmp_path / "samples_T0.70.npy", allow_pickle=False)
    assert array.dtype == np.uint8 and array.shape == (4, 1, 2, 4)
    picture = np.asarray(PillowImage.open(tmp_path / "samples_T0.70.png"))
    np.testing.assert_array_equal(picture, tile(torch.from_numpy(array), columns=8))


def test_a_single_image_has_no_interpolation(tmp_path):
    assert len(module().write_predictions([], images(1), tmp_path)) == 4
    assert module().figures(images(1)).keys() == {"samples", "reconstruction"}


def test_interpolation_goes_from_one_image_to_the_other():
    first, last = images(1).image, images(1).image
    way = module().interpolate(first, last)
    torch.testing.assert_close(way[:1].float(), first.float(), rtol=0, atol=1)
    torch.testing.assert_close(way[-1:].float(), last.float(), rtol=0, atol=1)
    torch.testing.assert_close(way[2:3].float(), (first.float() + last.float()) / 2, rtol=0, atol=1.5)


def test_errors_are_bars_from_zero():
    for axes in reconstruction_figure([5e-7, 4e-7, 0.0], [0.0]).axes:
        assert axes.get_yscale() == "linear"
        assert axes.get_ylim()[0] == 0


def test_samples_of_two_rounds_of_classes_stand_class_below_class(monkeypatch):
    density = module()
    density.samples = 6
    monkeypatch.setattr(density, "sample_label", lambda count: torch.arange(count) % 3)
    assert density._sample_columns() == 3
    density.samples = 4
    assert density._sample_columns() == 4


def test_figures_leave_the_training_mode_alone():
    density = module().train()
    assert density.figures(images()).keys() == {"samples", "interpolation", "reconstruction"}
    assert density.training and density.flow.training


# --- attributes -------------------------------------------------------------------------------------------------------


def test_direction_of_an_attribute_is_the_difference_of_means_over_all_batches():
    latents = [torch.randn(10, 1, 2, 2), torch.randn(10, 2, 1, 1)]
    attributes = torch.rand(10, 3) < 0.5
    attributes[0], attributes[1] = True, False
    means = AttributeMeans([(1, 2, 2), (2, 1, 1)])
    for part in (slice(0, 4), slice(4, 10)):
        means.update([eps[part] for eps in latents], attributes[part])
    for attribute in range(3):
        has = attributes[:, attribute]
        for eps, found in zip(latents, means.direction(attribute), strict=True):
            torch.testing.assert_close(found, eps[has].mean(0, keepdim=True) - eps[~has].mean(0, keepdim=True))


def test_attribute_of_every_image_has_no_direction():
    means = AttributeMeans([(1, 1, 1)])
    means.update([torch.randn(4, 1, 1, 1)], torch.ones(4, 1, dtype=torch.bool))
    assert means.direction(0)[0].item() == 0


def test_testing_on_attributed_images_gives_a_figure_that_moves_them(tmp_path):
    dark, bright = torch.full((4, 1, 2, 4), 50, dtype=torch.uint8), torch.full((4, 1, 2, 4), 150, dtype=torch.uint8)
    is_bright = torch.tensor([[False]] * 4 + [[True]] * 4)
    batch = AttributedImages(torch.cat([dark, bright]), is_bright)
    density = module()
    trainer(tmp_path).test(density, DataLoader([batch], batch_size=None), verbose=False)
    moved = density.manipulate(torch.full((1, 1, 2, 4), 100, dtype=torch.uint8), attribute=0).float().mean((1, 2, 3))
    torch.testing.assert_close(moved, torch.tensor([0.0, 50, 100, 150, 200]), rtol=0, atol=2)
    assert "attributes" in density.figures(batch)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("Bald", "Young", "Smiling"), ["Smiling", "Young"]),
        (("a", "b", "c"), ["a", "b", "c"]),
        ((), ["attribute 0", "attribute 1", "attribute 2"]),
    ],
)
def test_attributes_of_the_paper_are_shown_or_the_first_ones(names, shown):
    density = module()
    density.names = Names(attributes=names)
    density.attribute_means = AttributeMeans(density.flow.latent_shapes)
    density.attribute_means.update([torch.randn(2, 1, 2, 2)] * 2, torch.eye(2, 3).bool())
    assert list(density._shown_attributes()) == shown


# --- encode, decode, edit ---------------------------------------------------------------------------------------------


def predicted(density: DensityModule, folder: Path, *batches) -> list[Path]:
    trainer(folder).predict(density, DataLoader(batches, batch_size=None))
    names = [f"item{index}" for index in range(sum(len(batch[0]) for batch in batches))]
    return density.write_predictions(names, batches[0], folder)


def test_what_was_encoded_decodes_to_the_same_pictures(tmp_path):
    density, first, second = module(), images(3), images(2)
    assert tmp_path / "latents.npy" in predicted(density, tmp_path, first, second)
    rows = torch.from_numpy(np.load(tmp_path / "latents.npy", allow_pickle=False))
    assert rows.shape == (5, 8)
    [folder] = predicted(density, tmp_path, LatentVectors(rows[:4]), LatentVectors(rows[4:]))
    for index, image in enumerate(torch.cat([first.image, second.image])):
        np.testing.assert_array_equal(PillowImage.open(folder / f"item{index}.png"), image[0])


def test_latents_of_an_image_do_not_depend_on_chance_or_on_its_neighbours(tmp_path):
    density, batch = module(), images(3)
    predicted(density, tmp_path / "all", batch)
    predicted(density, tmp_path / "one", Images(batch.image[1:2]))
    both = [np.load(tmp_path / name / "latents.npy", allow_pickle=False) for name in ("all", "one")]
    np.testing.assert_array_equal(both[0][1:2], both[1])


@pytest.mark.parametrize("size", [1, 4, 9])
def test_an_edited_picture_moves_by_the_difference_of_those_with_and_without(size, tmp_path):
    image = torch.tensor([50] * 4 + [150] * 4 + [100]).byte().view(-1, 1, 1, 1).expand(-1, 1, 2, 4)
    role = torch.tensor([LACKING] * 4 + [HAVING] * 4 + [TO_EDIT])
    density = module()
    batches = [ComparedImages(*parts) for parts in zip(image.split(size), role.split(size), strict=True)]
    written = predicted(density, tmp_path, *batches)
    assert [path.name for path in written] == ["latents.npy", "direction.npy", "edited"]
    strip = np.asarray(PillowImage.open(tmp_path / "edited" / "item8.png"))
    columns = np.linspace(8, strip.shape[1] - 8, 5).astype(int)
    np.testing.assert_allclose(strip[4, columns, 0].astype(int), [0, 50, 100, 150, 200], atol=2)
    latents, direction = (np.load(tmp_path / f"{name}.npy", allow_pickle=False) for name in ("latents", "direction"))
    np.testing.assert_allclose(direction[0], latents[4:8].mean(0) - latents[:4].mean(0), rtol=1e-5)
