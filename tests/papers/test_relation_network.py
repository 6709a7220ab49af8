"""Relation networks: invariances, published sizes, what pairs are for, and physical systems."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from paperzoo import config as configs
from paperzoo.batches import ImageQuestions, ObjectQuestions, PhysicalSystems, StoryQuestions
from paperzoo.cli import CONFIG_FOLDER
from paperzoo.nn.pairs import PairRelation
from paperzoo.nn.questions import OneHots
from paperzoo.papers.relation_network import PhysicsModule, RelationNetwork
from paperzoo.papers.relation_network.objects import ImageCells, Sentences, TableRows, Trajectories


def published(experiment: str, *overrides: str) -> nn.Module:
    """The network of a preset."""
    with initialize_config_dir(str(CONFIG_FOLDER)):
        config = compose("train", [f"experiment={experiment}", "data_root=/nowhere", *overrides])
    network: nn.Module = configs.instantiate(configs.plain(config)["model"]["network"])
    return network


def parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("experiment", ["relation_network/clevr", "relation_network/clevr_state"])
def test_the_rate_on_clevr_is_doubled_every_20_epochs_from_5e_6_to_5e_4(experiment: str) -> None:
    with initialize_config_dir(str(CONFIG_FOLDER)):
        node = configs.plain(compose("train", [f"experiment={experiment}", "data_root=/nowhere"]))
    network = {"_target_": "paperzoo.nn.questions.WordLSTM", "words": 1, "embedding": 1, "hidden": 1}
    model = {**node["model"], "network": network}
    module: Any = configs.instantiate(model)
    configured = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert configured["lr_scheduler"]["interval"] == "epoch"
    assert node["data"]["batch_size"] == 640
    assert module.clip_norm == 50
    assert optimizer.param_groups[0]["weight_decay"] == 1e-4
    rates = []
    for _ in range(200):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    expected = [min(5e-6 * 2 ** (epoch // 20), 5e-4) for epoch in range(200)]
    assert rates == pytest.approx(expected)
    assert rates[139] == pytest.approx(3.2e-4)
    assert rates[140] == 5e-4


def rows(batch: int = 3, number: int = 5, features: int = 4, values: int = 6) -> ObjectQuestions:
    torch.manual_seed(3)
    label = torch.zeros(batch, dtype=torch.int64)
    question = torch.randint(0, values, (batch, 1))
    return ObjectQuestions(
        torch.randn(batch, number, features), torch.ones(batch, number, dtype=torch.bool), question, label, label
    )


def network(relations: list[list[int]], features: int = 4, values: int = 6, answers: int = 7) -> RelationNetwork:
    torch.manual_seed(4)
    return RelationNetwork(TableRows(features), OneHots([values]), relations, [9, 8], 0.5, answers, False).eval()


@pytest.mark.parametrize("relations", [[[8, 7]], [[8, 7], [6, 5]]])
def test_the_order_of_the_objects_does_not_matter(relations: list[list[int]]) -> None:
    batch, model = rows(), network(relations)
    moved = batch._replace(objects=batch.objects[:, torch.tensor([4, 2, 0, 1, 3])])
    torch.testing.assert_close(model(moved), model(batch))


def test_cells_trade_places_only_with_their_coordinates() -> None:
    torch.manual_seed(0)
    cells = ImageCells((3, 32, 32), [4, 5]).eval()
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    label = torch.zeros(2, dtype=torch.int64)
    objects, present = cells(ImageQuestions(image, label[:, None], label, label))
    assert present is None
    assert objects.shape == (2, 64, 7)
    assert objects[0, [0, 7, 56, 63], -2:].tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    relation = PairRelation(7, 0, [8, 6])
    order = torch.randperm(64)
    total = relation(objects).sum(1)
    torch.testing.assert_close(relation(objects[:, order]).sum(1), total)
    elsewhere = torch.cat([objects[:, order, :5], objects[:, :, 5:]], dim=2)
    assert not torch.allclose(relation(elsewhere).sum(1), total, rtol=1e-3)


def test_the_network_is_eq_1() -> None:
    batch, model = rows(), network([[8, 7]])
    (relation,) = model.relations
    assert isinstance(relation, PairRelation)
    code = F.one_hot(batch.question[:, 0], 6).float()
    for item in range(3):
        total = torch.zeros(7)
        for first in batch.objects[item]:
            for second in batch.objects[item]:
                total += relation.layers[0](relation.first(torch.cat([first, second, code[item]])).relu()).relu()
        torch.testing.assert_close(model.readout(total), model(batch)[0, item])


def test_a_second_relation_sees_the_sums_of_the_first_ones_pairs() -> None:
    batch, model = rows(), network([[8, 7], [6, 5]])
    below, above = model.relations
    code = F.one_hot(batch.question[:, 0], 6).float()
    sums = below(batch.objects, None, code)[0]
    pairs = [
        above.layers[0](above.first(torch.cat([first, second])).relu()).relu() for first in sums for second in sums
    ]
    torch.testing.assert_close(model.readout(torch.stack(pairs).sum(0)), model(batch)[0, 0])


def test_one_relation_layer_is_the_relation_network() -> None:
    batch, single = rows(), network([[8, 7]])
    one = RelationNetwork(TableRows(4), OneHots([6]), [[8, 7]], [9, 8], 0.5, 7, False).eval()
    one.load_state_dict(single.state_dict())
    torch.testing.assert_close(one(batch), single(batch))


def test_absent_rows_and_sentences_are_as_good_as_none() -> None:
    batch, model = rows(), network([[8, 7], [6, 5]])
    padded = batch._replace(
        objects=torch.cat([batch.objects, torch.full((3, 2, 4), 9.0)], dim=1),
        present=torch.cat([batch.present, torch.zeros(3, 2, dtype=torch.bool)], dim=1),
    )
    torch.testing.assert_close(model(padded), model(batch))
    torch.manual_seed(0)
    reader = RelationNetwork(Sentences(9, 4, 4, sentences=6), None, [[8, 7]], [9], 0, 3, False)
    label = torch.zeros(2, dtype=torch.int64)
    story = torch.randint(1, 10, (2, 3, 5))
    short = StoryQuestions(story, label[:, None], label, label)
    long = short._replace(story=F.pad(story, (0, 2, 0, 3)))
    torch.testing.assert_close(reader(long), reader(short))


def test_the_place_of_a_sentence_matters() -> None:
    torch.manual_seed(0)
    reader = RelationNetwork(Sentences(9, 4, 4, sentences=6), None, [[8, 7]], [9], 0, 3, False)
    label = torch.zeros(1, dtype=torch.int64)
    story = torch.tensor([[[1, 2], [3, 4]]])
    told = reader(StoryQuestions(story, label[:, None], label, label))
    assert not torch.allclose(reader(StoryQuestions(story.flip(1), label[:, None], label, label)), told, rtol=1e-3)


def test_dropout_is_in_the_readout_and_in_training_only() -> None:
    batch, model = rows(), network([[8, 7]])
    assert [type(layer) for layer in model.readout].count(nn.Dropout) == 1
    assert isinstance(model.readout[-2], nn.Dropout)
    torch.testing.assert_close(model(batch), model(batch))
    model.train()
    assert not torch.allclose(model(batch), model(batch))


def test_clevr_network_has_484837_parameters_with_29_answers_and_83_words() -> None:
    model = published("relation_network/clevr", "data.facts.num_answers=29", "data.facts.num_words=82")
    assert parameters(model) == 484_837


def test_sort_of_clevr_network_has_20_million_parameters() -> None:
    model = published("relation_network/sort_of_clevr")
    assert isinstance(model, RelationNetwork)
    millions = {
        name: round(parameters(part) / 1e6, 2)
        for name, part in (("conv", model.objects), ("g", model.relations), ("f", model.readout))
    }
    assert millions == {"conv": 0.39, "g": 13.06, "f": 6.55}


def test_the_relation_of_physical_systems_has_2_57_million_parameters() -> None:
    model = published("relation_network/physics_connections")
    assert isinstance(model, RelationNetwork)
    assert round(parameters(model.relations) / 1e6, 2) == 2.57


def equal_pairs(count: int) -> tuple[Tensor, Tensor]:
    """Sets of five of ten colours, half of them with two of a kind."""
    generator = torch.Generator().manual_seed(0)
    colour = torch.stack([torch.randperm(10, generator=generator)[:5] for _ in range(count)])
    equal = torch.arange(count) % 2
    colour[equal == 1, 0] = colour[equal == 1, 1]
    return F.one_hot(colour, 10).float(), equal


def test_pairs_tell_whether_two_are_equal_and_single_objects_do_not() -> None:
    objects, equal = equal_pairs(1200)
    accuracies = []
    for first in (PairRelation(10, 0, [32, 32]), nn.Sequential(nn.Linear(10, 32), nn.ReLU())):
        torch.manual_seed(0)
        readout = nn.Linear(32, 2)
        optimizer = torch.optim.Adam([*first.parameters(), *readout.parameters()], 5e-3)
        for _ in range(150):
            optimizer.zero_grad()
            F.cross_entropy(readout(first(objects[:1000]).sum(1)), equal[:1000]).backward()
            optimizer.step()
        answer = readout(first(objects[1000:]).sum(1)).argmax(1)
        accuracies.append(float((answer == equal[1000:]).float().mean()))
    assert accuracies[0] == 1
    assert accuracies[1] < 0.8


def scenes() -> PhysicalSystems:
    connected = torch.zeros(2, 3, 3, dtype=torch.bool)
    connected[0, 0, 1] = connected[0, 1, 0] = True
    return PhysicalSystems(torch.randn(2, 3, 33), connected, torch.tensor([2, 3]))


class Answers(nn.Module):
    """A network that says what it was told to."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, batch: PhysicalSystems) -> Tensor:
        return self.logits[None]


def test_a_scene_is_right_if_all_its_connections_are() -> None:
    batch = scenes()
    logits = torch.where(batch.connected, 1.0, -1.0)
    logits[1, 0, 2] = 1.0
    module = PhysicsModule(Answers(logits.flatten(1)), "connections", 3, torch.optim.Adam)
    assert module.right(module.logits(batch), batch).tolist() == [True, False]
    expected = F.softplus(torch.tensor([-1.0] * 17 + [1.0])).mean()
    torch.testing.assert_close(module.loss(module.logits(batch), batch), expected)


def test_systems_are_counted_from_1() -> None:
    batch = scenes()
    module = PhysicsModule(Answers(torch.eye(3)[[1, 1]]), "systems", 3, torch.optim.Adam)
    assert module.right(module.logits(batch), batch).tolist() == [True, False]
    assert module.predict_step(batch, 0)["systems"].tolist() == [2, 2]  # type: ignore[union-attr]


def test_outputs_that_do_not_fit_the_target_are_refused() -> None:
    problems = PhysicsModule.check(balls=10, target="systems", network={"answers": 100})
    assert list(problems) == ["network.answers=100: target=systems of 10 balls needs 10"]


def test_trajectories_are_the_objects() -> None:
    objects, present = Trajectories(33)(scenes())
    assert objects.shape == (2, 3, 33)
    assert present is None
