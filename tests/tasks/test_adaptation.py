"""What DANN, CDAN and MADA share: the domain loss, the schedule in a run, and that no target label is ever touched."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paperzoo.batches import HIDDEN, DomainImages, Names
from paperzoo.errors import UserError
from paperzoo.nn.classifiers import MNISTNetwork
from paperzoo.papers.cdan import ConditionalAdversary
from paperzoo.papers.dann import DomainAdversary
from paperzoo.papers.mada import ClasswiseAdversary
from paperzoo.runner.folder import PROVENANCE
from paperzoo.runner.weights import load_weights
from paperzoo.tasks.adaptation import AdaptationModule, Schedule, TenCrops
from paperzoo.tasks.adaptation.adversary import Adversary, domain_loss, share_right
from tests.conftest import RunJob

DOMAIN = torch.tensor([0, 0, 0, 1, 1])
CONSTANT = Schedule(domain_weight=1, reversal=1, ramp=None, lr_alpha=10, lr_beta=0.75, steps=100)


def test_the_domain_loss_is_the_sum_of_the_two_domains_means() -> None:
    logits = torch.randn(5)
    expected = F.softplus(logits[:3]).mean() + F.softplus(-logits[3:]).mean()
    torch.testing.assert_close(domain_loss(logits, DOMAIN), expected)


def test_the_losses_of_several_discriminators_are_added() -> None:
    logits = torch.randn(5, 4)
    torch.testing.assert_close(domain_loss(logits, DOMAIN), sum(domain_loss(column, DOMAIN) for column in logits.T))


def test_weights_are_relative_to_their_domain() -> None:
    logits = torch.randn(5)
    torch.testing.assert_close(domain_loss(logits, DOMAIN, torch.full((5,), 1.7)), domain_loss(logits, DOMAIN))
    weight = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0])
    source, target = F.softplus(logits[:3]), F.softplus(-logits[3:])
    expected = (source * weight[:3]).sum() / 4 + (target * weight[3:]).sum() / 3
    torch.testing.assert_close(domain_loss(logits, DOMAIN, weight), expected)


def test_positive_log_odds_mean_target() -> None:
    logits = torch.tensor([-1.0, 1.0, -1.0, 1.0, -1.0])
    assert share_right(logits, DOMAIN).tolist() == [1, 0, 1, 1, 0]
    assert share_right(logits[:, None].expand(-1, 3), DOMAIN).tolist() == [1, 0, 1, 1, 0]


ADVERSARIES: dict[str, Callable[..., Adversary]] = {
    "dann": DomainAdversary,
    "cdan_e": partial(
        ConditionalAdversary, conditioning="multilinear", randomized_size=16, entropy=True, start="torch"
    ),
    "mada": ClasswiseAdversary,
}


def module(
    paper: str, adapts: bool = True, schedule: Schedule = CONSTANT, batch_norm: bool = False, **arguments: Any
) -> AdaptationModule:
    torch.manual_seed(0)
    network = MNISTNetwork((3, 28, 28), 10, batch_norm)
    optimizer = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
    built = AdaptationModule(
        network=network,
        adversary=ADVERSARIES[paper],
        adapts=adapts,
        schedule=schedule,
        optimizer=optimizer,
        pretrained_lr_factor=0.1,
        before=None,
        **arguments,
    )
    built.log_step = lambda _: None  # type: ignore[method-assign]
    return built


class FakeTrainer:
    """As much of a trainer as a training step asks for."""

    global_step = 50
    estimated_stepping_batches = 100
    num_training_batches = 10
    accumulate_grad_batches = 1


def batch(target_label: int = HIDDEN, target_seed: int = 1) -> DomainImages:
    images = [
        torch.randint(0, 256, (8, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        for seed in (0, target_seed)
    ]
    label = torch.cat([torch.arange(8), torch.full((8,), target_label)])
    return DomainImages(torch.cat(images), label, torch.arange(2).repeat_interleave(8))


def gradients(built: AdaptationModule, items: DomainImages) -> dict[str, Tensor]:
    built._trainer = FakeTrainer()  # type: ignore[assignment]
    built.total_steps = 100
    torch.manual_seed(1)
    built.training_step(items, 0).backward()
    return {name: p.grad.clone() for name, p in built.named_parameters() if p.grad is not None}


def of_network(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in found.items() if name.startswith("network.")}


@pytest.mark.parametrize("paper", ADVERSARIES)
def test_with_lambda_0_the_classifier_is_that_of_the_source_alone_bit_for_bit(paper: str) -> None:
    silent = Schedule(domain_weight=1, reversal=0, ramp=None, lr_alpha=10, lr_beta=0.75, steps=100)
    without, with_0 = (
        gradients(module(paper, adapts=False), batch()),
        gradients(module(paper, schedule=silent), batch()),
    )
    adapting = gradients(module(paper), batch())
    for name, value in of_network(without).items():
        assert torch.equal(value, with_0[name]), name
    assert any(not torch.equal(value, adapting[name]) for name, value in of_network(without).items())
    for name, value in without.items():  # the watching adversary learns as well as one with influence
        torch.testing.assert_close(value, with_0[name], msg=name)


@pytest.mark.parametrize("paper", ADVERSARIES)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_trained_on_the_source_alone_the_network_does_not_see_the_target(paper: str, batch_norm: bool) -> None:
    found = [gradients(module(paper, adapts=False, batch_norm=batch_norm), batch(target_seed=seed)) for seed in (1, 2)]
    for name, value in of_network(found[0]).items():
        assert torch.equal(value, found[1][name]), name


@pytest.mark.parametrize("paper", ADVERSARIES)
def test_lambda_scales_the_reversal_alone(paper: str) -> None:
    def with_lambda(value: float) -> dict[str, Tensor]:
        return gradients(module(paper, schedule=Schedule(1, value, None, 10, 0.75, 100)), batch())

    zero, one, two = with_lambda(0), with_lambda(1), with_lambda(2)
    for name in zero:
        if name.startswith("adversary."):
            torch.testing.assert_close(two[name], one[name])
        elif "extractor" in name:
            torch.testing.assert_close(two[name] - zero[name], 2 * (one[name] - zero[name]), rtol=1e-3, atol=1e-6)


def test_the_gradient_of_eq_13_reaches_the_extractor() -> None:
    built, items = module("dann"), batch()
    found = gradients(built, items)
    features = built.network.features(items.image)
    label_loss = F.cross_entropy(built.network.head(features[:8]), items.label[:8])
    loss = domain_loss(built.adversary.discriminator(features), items.domain)  # type: ignore[operator]
    weight = built.network.extractor[0].weight  # type: ignore[index]
    (from_label,) = torch.autograd.grad(label_loss, weight, retain_graph=True)
    (from_domain,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(found["network.extractor.0.weight"], from_label - from_domain)


def test_a_hidden_label_counts_for_nothing_and_a_known_one_of_the_target_counts() -> None:
    hidden, known = gradients(module("dann"), batch()), gradients(module("dann"), batch(target_label=3))
    bias = "network.head.4.bias"
    assert not torch.allclose(hidden[bias], known[bias])


def test_pretrained_layers_learn_more_slowly() -> None:
    built = module("dann")
    type(built.network).pretrained = property(lambda self: self.extractor)  # type: ignore[method-assign,assignment]
    try:
        built._trainer = FakeTrainer()  # type: ignore[assignment]
        new, old = built.configure_optimizers()["optimizer"].param_groups
    finally:
        del type(built.network).pretrained
    assert old["lr"] == pytest.approx(0.1 * new["lr"])
    assert sum(p.numel() for p in old["params"]) == 40880
    counted = sum(p.numel() for group in (new, old) for p in group["params"])
    assert counted == sum(p.numel() for p in built.parameters())


RELEASED = replace(CONSTANT, lr_beta=0, lr_drop=0.3, lr_drop_epochs=3, first_epoch=1, anneals_adversary=False)


def test_the_rate_drops_at_the_start_of_every_third_epoch_counted_from_1() -> None:
    rates = [RELEASED.lr_factor(0, epoch) for epoch in range(9)]
    assert rates == pytest.approx([1, 1, 0.3, 0.3, 0.3, 0.09, 0.09, 0.09, 0.027])


def test_the_rate_of_the_adversary_can_be_constant() -> None:
    built = module("cdan_e", schedule=RELEASED)
    built._trainer = FakeTrainer()  # type: ignore[assignment]
    made = built.configure_optimizers()
    optimizer, annealing = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(60):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        annealing.step()
    assert [rates[step][0] for step in (0, 19, 20, 49, 50)] == pytest.approx([0.01, 0.01, 0.003, 0.003, 0.0009])
    assert {rate for _, rate in rates} == {0.01}
    assert {id(p) for p in optimizer.param_groups[1]["params"]} == {id(p) for p in built.adversary.parameters()}


def test_the_adversary_begins_with_its_epoch_and_its_ramp_with_it() -> None:
    built = module("cdan_e", schedule=replace(RELEASED, ramp=10))
    built._trainer = trainer = FakeTrainer()  # type: ignore[assignment]
    optimizer = built.configure_optimizers()["optimizer"]
    for step, progress in ((0, 0), (9, 0), (10, 0), (60, 0.5)):
        trainer.global_step = step
        assert built.progress == progress
        before = [p.clone() for p in built.adversary.parameters()]
        optimizer.zero_grad()
        built.training_step(batch(), 0).backward()
        built.on_before_optimizer_step(optimizer)
        assert all(p.grad is not None for p in built.network.parameters())
        optimizer.step()
        changed = any(not torch.equal(p, q) for p, q in zip(built.adversary.parameters(), before, strict=True))
        assert changed == (step >= 10)


def test_in_separate_passes_each_domain_has_its_own_statistics() -> None:
    def statistics(target_seed: int, separate: bool) -> Tensor:
        built = module("dann", batch_norm=True, separate_passes=separate)
        return built._forward(batch(target_seed=target_seed))[1][:8]

    assert torch.equal(statistics(1, separate=True), statistics(2, separate=True))
    assert not torch.allclose(statistics(1, separate=False), statistics(2, separate=False))


def test_ten_crops_are_the_middle_and_the_corners_and_their_mirror_images() -> None:
    image = torch.arange(8 * 8, dtype=torch.uint8).view(1, 1, 8, 8)
    views = TenCrops((1, 4, 4))(image)
    assert [int(view[0, 0, 0, 0]) for view in views[:5]] == [2 * 8 + 2, 0, 3 * 8 + 3, 3 * 8, 3]
    mirrored = TenCrops((1, 4, 4))(image.flip(-1))
    assert all(torch.equal(view, other) for view, other in zip(views[5:], mirrored[:5], strict=True))
    assert all(view.shape == (1, 1, 4, 4) for view in views)


@torch.no_grad()
def test_the_probabilities_of_the_views_are_averaged() -> None:
    built = module("dann", test_views=TenCrops((3, 28, 28))).eval()
    large = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    crops = TenCrops((3, 28, 28))(large)
    expected = torch.stack([built.network(crop).softmax(1) for crop in crops]).mean(0)
    found: dict[str, Any] = built.predict_step(DomainImages(large, torch.zeros(4).long(), torch.ones(4).long()), 0)
    torch.testing.assert_close(torch.stack([found[f"probability_{k}"] for k in range(10)], 1), expected)
    built.begin_evaluation()
    built.test_step(DomainImages(large, expected.argmax(1), torch.ones(4).long()), 0)
    assert built.tally.sums["accuracy_target"].tolist() == [4, 4]
    torch.testing.assert_close(built.gathered.get("features", 1), built.network.features(crops[0]))


def test_a_prediction_has_a_probability_for_each_named_class() -> None:
    built = module("dann")
    built.names = Names(classes=tuple("abcdefghij"))
    columns: dict[str, Any] = built.eval().predict_step(batch(), 0)
    assert list(columns) == ["class", "confidence", *(f"probability_{name}" for name in "abcdefghij")]
    probabilities = torch.stack([columns[f"probability_{name}"] for name in "abcdefghij"])
    torch.testing.assert_close(probabilities.sum(0), torch.ones(16))
    assert columns["class"] == ["abcdefghij"[k] for k in probabilities.argmax(0)]


def test_the_domain_accuracy_of_features_that_tell_the_domain_becomes_1() -> None:
    adversary = module("dann").adversary
    features = torch.cat([torch.zeros(32, 768), torch.ones(32, 768)])
    domain = torch.arange(2).repeat_interleave(32)
    optimizer = torch.optim.SGD(adversary.parameters(), 0.1)
    for _ in range(50):
        optimizer.zero_grad()
        domain_loss(adversary(features, torch.zeros(64, 10), 1.0), domain).backward()
        optimizer.step()
    assert share_right(adversary(features, torch.zeros(64, 10), 1.0), domain).mean() == 1


MOONS = ("experiment=dann/moons", "trainer=cpu", "trainer.max_epochs=1")


def test_a_run_of_another_network_is_refused_as_the_one_before_adaptation_at_the_start(run_job: RunJob) -> None:
    before = run_job(*MOONS, "~callbacks.figures", "model.adapts=false")
    run_job(*MOONS, "~callbacks.figures", f"model.before={before}")
    with pytest.raises(UserError, match="holds another network than this model's"):
        run_job(*MOONS, f"model.before={before}", "model.network.hidden=7")


def test_the_network_before_adaptation_is_named_by_its_preset_and_drawn_beside(run_job: RunJob, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    before = outputs / "dann" / "moons" / "2026-01-02_03-04-05_abcd"
    before.parent.mkdir(parents=True)
    run_job(*MOONS, "~callbacks.figures", "model.adapts=false", f"hydra.run.dir={before}")
    folder = run_job(*MOONS, f"output_root={outputs}", "model.before=${paperzoo.latest:dann/moons}")
    assert f"before: {before}" in (folder / ".hydra" / "resolved.yaml").read_text()
    assert (folder / "figures" / "features.png").is_file()


def test_a_run_that_is_not_there_is_not_one_before_adaptation(run_job: RunJob) -> None:
    with pytest.raises(UserError, match=r"model\.before=nowhere: there is no such run folder or checkpoint"):
        run_job(*MOONS, "model.before=nowhere")


def test_weights_are_refused_where_the_classes_mean_something_else(tmp_path: Path) -> None:
    path = tmp_path / "trained.ckpt"
    trained = Names(classes=("cat", "dog", "emu"))
    torch.save({"state_dict": module("dann").state_dict(), PROVENANCE: {"names": trained.to_plain()}}, path)
    built = module("dann")
    built.names = Names(classes=("a_emu", "y_dog", "z_cat"))
    with pytest.raises(UserError, match="classes cat, dog, emu; those of the data are a_emu, y_dog, z_cat"):
        load_weights(built, path)
    built.names = Names()
    load_weights(built, path)
    assert built.names == trained
