"""Facts about person re-identification across domains."""

import math
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor
from torch.utils.data import DataLoader

from paperzoo.batches import HIDDEN, SOURCE, TARGET, PersonImages
from paperzoo.cli import CONFIG_FOLDER
from paperzoo.config import instantiate
from paperzoo.data.base.order import BatchLoader, BatchOrder
from paperzoo.datamodule import PaperData
from paperzoo.nn.gradient_reversal import reverse_gradient
from paperzoo.papers.dann.reid import PersonNetwork, ReIdModule, Sightings, binomial_deviance, cumulative_match
from paperzoo.runner.check import target_problems
from paperzoo.tasks.adaptation import Schedule
from paperzoo.tasks.adaptation.adversary import domain_loss

CONFIG = yaml.safe_load((CONFIG_FOLDER / "model" / "reid.yaml").read_text())
del CONFIG["defaults"]  # Hydra's


def network(filters: int = 4, descriptor_size: int = 16, dropout: float | int = 0.5) -> PersonNetwork:
    torch.manual_seed(0)
    return PersonNetwork(128, 48, 3, 48, filters, dropout, descriptor_size)


def module(own: PersonNetwork | None = None, **changed: Any) -> ReIdModule:
    arguments: dict[str, Any] = {
        "network": own or network(),
        "adapts": True,
        "alpha": 2,
        "beta": 0.5,
        "negative_cost": 2,
        "domain_hidden": 8,
        "schedule": Schedule(1.0, 1.0, 10, 0, 0, None),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.001, momentum=0.9),
    }
    return ReIdModule(**(arguments | changed))


def people(persons: int, domain: int, camera: int, seed: int) -> PersonImages:
    """One image of each person: noise of the person's own under noise of the camera's."""
    own = torch.rand(persons, 3, 8, 3, generator=torch.Generator().manual_seed(domain))
    noise = torch.rand(persons, 3, 128, 48, generator=torch.Generator().manual_seed(seed))
    image = 0.8 * F.interpolate(own, size=(128, 48)) + 0.2 * noise
    return PersonImages(
        (255 * image).to(torch.uint8),
        torch.arange(persons),
        torch.full((persons,), camera),
        torch.full((persons,), domain),
    )


def joined(*batches: PersonImages) -> PersonImages:
    return PersonImages(*(torch.cat(column) for column in zip(*batches, strict=True)))


SOURCE_PAIRS = joined(people(8, SOURCE, 0, seed=1), people(8, SOURCE, 1, seed=2))
TARGET_PAIRS = joined(people(8, TARGET, 0, seed=3), people(8, TARGET, 1, seed=4))


# The network


def parameters(part: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def test_the_configured_network_has_the_layers_of_the_paper():
    config = instantiate(CONFIG)
    own = config.network
    assert own(SOURCE_PAIRS.image).shape == (16, 500)
    assert own.features(SOURCE_PAIRS.image).shape == (16, 3 * 64 * 12 * 12)
    assert parameters(own.shared) == 64 * (3 * 7 * 7 + 1)
    assert parameters(own.separate) == 3 * 64 * (64 * 5 * 5 + 1)
    assert parameters(own) == 14_141_364
    assert parameters(config.discriminator) == 500 * (27_648 + 1) + 501


def changed_parts(row: int) -> list[bool]:
    """Whether the features of each part of the body see a change of one row of pixels."""
    own = network()
    image = SOURCE_PAIRS.image[:1]
    other = image.clone()
    other[:, :, row] = 255 - other[:, :, row]
    before, after = (own.features(x).view(3, -1) for x in (image, other))
    return (before != after).any(1).tolist()


@pytest.mark.parametrize(
    ("row", "seen_by"),
    [(0, [0]), (39, [0]), (44, [0, 1]), (64, [1]), (84, [1, 2]), (100, [2]), (127, [2])],
)
def test_parts_of_the_body_overlap_by_eight_rows(row, seen_by):
    assert changed_parts(row) == [part in seen_by for part in range(3)]


def test_the_first_convolution_is_the_same_for_all_parts_and_the_second_is_not():
    own = network()
    image = SOURCE_PAIRS.image[:1, :, torch.arange(128) % 40]  # three times the same part
    seen: list[Tensor] = []
    own.shared.register_forward_hook(lambda layer, inputs, output: seen.append(output))
    features = own.features(image).view(3, -1)
    (maps,) = seen
    torch.testing.assert_close(maps, maps[:1].expand_as(maps))
    assert not torch.equal(features[0], features[1])


def test_mirror_images_have_one_appearance():
    own = network().eval()
    image = SOURCE_PAIRS.image
    torch.testing.assert_close(own.appearance(image), own.appearance(image.flip(3)))


def test_the_product_of_appearances_is_the_mean_over_the_four_mirrorings():
    own = network().eval()
    one, other = SOURCE_PAIRS.image[:8], SOURCE_PAIRS.image[8:]
    pairs = [F.cosine_similarity(own(a), own(b)) for a in (one, one.flip(3)) for b in (other, other.flip(3))]
    torch.testing.assert_close((own.appearance(one) * own.appearance(other)).sum(1), torch.stack(pairs).mean(0))


# The loss


def test_the_deviance_of_a_hand_made_pair():
    similarity = torch.tensor([0.8])
    same = binomial_deviance(similarity, torch.tensor([True]), alpha=2, beta=0.5, negative_cost=2)
    different = binomial_deviance(similarity, torch.tensor([False]), alpha=2, beta=0.5, negative_cost=2)
    assert float(same) == pytest.approx(math.log(1 + math.exp(-2 * 0.3)))
    assert float(different) == pytest.approx(math.log(1 + math.exp(2 * 2 * 0.3)))


def test_pairs_of_one_person_weigh_as_much_as_the_many_pairs_of_two():
    similarity, same = torch.tensor([0.9, 0.1, -0.2, 0.3]), torch.tensor([True, False, False, False])
    kinds = [binomial_deviance(similarity[kind], same[kind], 2, 0.5, 2) for kind in (same, ~same)]
    torch.testing.assert_close(binomial_deviance(similarity, same, 2, 0.5, 2), kinds[0] + kinds[1])
    torch.testing.assert_close(kinds[1], torch.log1p(torch.exp(4 * (similarity[1:] - 0.5))).mean())


def test_all_pairs_of_a_batch_count_once():
    descriptor, person = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 2, 1])
    pairs = [(i, j) for i in range(5) for j in range(i)]
    similarity = torch.stack([F.cosine_similarity(descriptor[i], descriptor[j], dim=0) for i, j in pairs])
    same = torch.stack([person[i] == person[j] for i, j in pairs])
    assert same.sum() == 2
    expected = binomial_deviance(similarity, same, 2, 0.5, 2)
    torch.testing.assert_close(module().deviance(descriptor, person), expected)


def test_a_batch_of_pairs_is_learned_by_heart():
    own = network(dropout=0)
    learner = module(own)
    optimizer = torch.optim.SGD(own.parameters(), lr=0.01, momentum=0.9)
    start = float(learner.deviance(own(SOURCE_PAIRS.image), SOURCE_PAIRS.person).detach())
    for _ in range(60):
        optimizer.zero_grad()
        loss = learner.deviance(own(SOURCE_PAIRS.image), SOURCE_PAIRS.person)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.6 * start
    seen = Sightings()
    seen.add(own.appearance(SOURCE_PAIRS.image).detach(), SOURCE_PAIRS)
    cmc = seen.cmc(SOURCE)
    assert cmc is not None
    assert cmc[0] == 1


def gradients(part: torch.nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in part.parameters()]


def domain_gradients(coefficient: float | None) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Of the domain loss: for the convolutions, the descriptor and the domain classifier; None: without reversal."""
    own = module()
    batch = joined(SOURCE_PAIRS, TARGET_PAIRS)
    features = own.network.features(batch.image)
    heard = features if coefficient is None else reverse_gradient(features, coefficient)
    domain_loss(own.discriminator(heard), batch.domain).backward()
    convolutions = torch.nn.ModuleList([own.network.shared, own.network.separate])
    return gradients(convolutions), gradients(own.network.descriptor), gradients(own.discriminator)


def test_the_domain_loss_reaches_the_convolutions_reversed_and_the_descriptor_not_at_all():
    plain, reversed_ = domain_gradients(None), domain_gradients(0.25)
    for one, other in zip(plain[0], reversed_[0], strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(other, -0.25 * one)
    assert not any(gradient.any() for gradient in reversed_[1])
    for one, other in zip(plain[2], reversed_[2], strict=True):
        torch.testing.assert_close(other, one)


# Matching


def test_the_curve_of_a_hand_made_distance_matrix():
    distance = torch.tensor(
        [
            [0.1, 0.5, 0.9, 0.7],  # its person is the nearest
            [0.2, 0.3, 0.6, 0.1],  # the third
            [0.9, 0.8, 0.7, 0.6],  # the second
            [0.1, 0.2, 0.3, 0.4],  # the last
        ]
    )
    curve = cumulative_match(distance, torch.arange(4), torch.arange(4), ranks=6)
    assert curve.tolist() == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_nearest_of_several_images_counts():
    distance = torch.tensor([[0.5, 0.9, 0.1, 0.2]])
    curve = cumulative_match(distance, torch.tensor([7]), torch.tensor([3, 7, 7, 3]), ranks=3)
    assert curve.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("distance", [1.0, math.nan])
def test_a_descriptor_that_tells_nobody_apart_matches_nobody(distance):
    curve = cumulative_match(torch.full((4, 4), distance), torch.arange(4), torch.arange(4), ranks=4)
    assert curve.tolist() == [0.0, 0.0, 0.0, 1.0]


def test_several_images_of_a_person_score_by_the_mean_over_their_pairs():
    unit = F.normalize(torch.randn(12, 5, generator=torch.Generator().manual_seed(0)))
    person, camera = torch.arange(12) % 3, torch.arange(12) // 6
    seen = Sightings()
    seen.add(unit, PersonImages(torch.zeros(12, 3, 128, 48).byte(), person, camera, torch.full((12,), TARGET)))
    cosine = (unit[:6] @ unit[6:].T).view(2, 3, 2, 3).mean((0, 2))
    expected = cumulative_match(1 - cosine, torch.arange(3), torch.arange(3), 50)
    torch.testing.assert_close(seen.cmc(TARGET), expected)
    assert seen.cmc(SOURCE) is None


def test_strangers_are_in_the_way_and_probes_without_a_match_do_not_count():
    looks = torch.eye(4)[[0, 1, 0, 3, 1]]
    batch = PersonImages(
        torch.zeros(5, 3, 128, 48).byte(),
        torch.tensor([0, 9, 0, 1, 8]),
        torch.tensor([0, 0, 1, 1, 1]),
        torch.full((5,), TARGET),
    )
    seen = Sightings()
    seen.add(looks, batch)
    assert seen.cmc(TARGET)[0] == 1  # type: ignore[index]
    seen.add(
        looks[:1],
        PersonImages(*(column[:1] for column in batch))._replace(person=torch.tensor([5]), camera=torch.tensor([1])),
    )
    assert seen.cmc(TARGET)[:2].tolist() == [0, 1]  # type: ignore[index]


# Whole runs


class Pairs(PaperData):
    yields = PersonImages

    def __init__(self) -> None:
        super().__init__(workers=0, seed=0)

    def _loader(self, batches: list[PersonImages], shuffle: bool = False) -> DataLoader[Any]:
        class Stored(torch.utils.data.Dataset):  # type: ignore[type-arg]
            def __getitem__(self, index: Tensor) -> PersonImages:
                return batches[int(index)]

        return BatchLoader(Stored(), sampler=BatchOrder(len(batches), 1, self, shuffle=shuffle), batch_size=None)

    def train_dataloader(self) -> DataLoader[Any]:
        hidden = TARGET_PAIRS._replace(person=torch.full((16,), HIDDEN))
        return self._loader([joined(SOURCE_PAIRS, hidden)])

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader([SOURCE_PAIRS, TARGET_PAIRS])

    test_dataloader = predict_dataloader = val_dataloader


def trainer(**settings: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_steps=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        **settings,
    )


def test_a_run_logs_the_curve_of_both_domains_and_draws_it():
    own, run = module(), trainer()
    run.fit(own, datamodule=Pairs())
    assert {
        "train/deviance",
        "train/domain_loss",
        "train/reversal",
        "val/cmc_rank1_source",
    } <= run.callback_metrics.keys()
    metrics = run.test(own, datamodule=Pairs(), verbose=False)[0]
    names = [f"test/cmc_rank{rank}{suffix}" for suffix in ("", "_source") for rank in (1, 5, 10, 20)]
    assert list(metrics) == names
    assert metrics["test/cmc_rank1"] <= metrics["test/cmc_rank5"] <= metrics["test/cmc_rank10"] == 1
    assert own.figures(TARGET_PAIRS).keys() == {"cmc", "descriptors"}
    (descriptors, _) = (page["descriptor"] for page in run.predict(own, datamodule=Pairs()))
    assert descriptors.shape == (16, 16)


def test_without_adaptation_the_domain_classifier_only_watches():
    weights = []
    for adapts, weight in ((False, 1.0), (False, 0.0), (True, 1.0)):
        torch.manual_seed(0)
        own = module(adapts=adapts, schedule=Schedule(weight, 1.0, None, 0, 0, None))
        trainer().fit(own, datamodule=Pairs())
        weights.append(torch.cat([p.detach().flatten() for p in own.network.parameters()]))
    watched, alone, adapted = weights
    torch.testing.assert_close(watched, alone, rtol=0, atol=0)
    assert not torch.equal(watched, adapted)


def test_the_config_is_right_and_parts_that_do_not_fit_are_refused():
    assert target_problems(CONFIG, "model") == []
    wrong = CONFIG | {"network": CONFIG["network"] | {"part_height": 49}}
    (problem,) = target_problems(wrong, "model")
    assert problem.startswith("model.network.part_height=49: 3 parts of this height do not lie evenly in images 128")
