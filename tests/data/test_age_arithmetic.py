"""Age arithmetic: trees from Prüfer codes, and answers that follow from the facts."""

from collections import defaultdict

import pytest
import torch
import yaml

from paperzoo.batches import ObjectQuestions
from paperzoo.cli import CONFIG_FOLDER
from paperzoo.data.age_arithmetic import AgeArithmetic, AgeQuestions, codes, hold_out, trees


def batch(items: int = 400) -> ObjectQuestions:
    return AgeQuestions(0, "test", items)[torch.arange(items)]


def test_prufer_codes_are_all_16_labelled_trees_of_four_nodes() -> None:
    edges = trees(codes(torch.arange(16), nodes=4))
    found = {frozenset(frozenset(edge) for edge in tree) for tree in edges.tolist()}
    assert len(found) == 16
    for tree in found:
        together = {0}
        for _ in range(3):
            together |= {node for edge in tree for node in edge if edge & together}
        assert together == {0, 1, 2, 3}


def test_signed_sums_along_the_tree_give_the_age_and_their_number_the_kind() -> None:
    questions = batch()
    for facts, asked, answer, kind in zip(
        questions.objects,
        questions.question[:, 0].tolist(),
        questions.answer.tolist(),
        questions.kind.tolist(),
        strict=True,
    ):
        neighbours = defaultdict(list)
        for first, second, relation, years in (
            (int(part.argmax()) for part in fact.split([8, 8, 3, 100])) for fact in facts
        ):
            if relation == 2:
                assert first == second
                stack = [(first, years, 0)]
                continue
            signed = years if relation == 0 else -years
            neighbours[second].append((first, signed))
            neighbours[first].append((second, -signed))
        seen = {}
        while stack:
            person, age, steps = stack.pop()
            if person in seen:
                continue
            seen[person] = (age, steps)
            stack += [(other, age + difference, steps + 1) for other, difference in neighbours[person]]
        assert seen[asked] == (answer, kind)
        assert len(seen) == 8


def test_people_have_ages_of_their_own_from_0_to_98() -> None:
    age = AgeQuestions(0, "train", 3000).all.age
    assert (age.sort(1).values.diff(dim=1) > 0).all()
    assert (int(age.min()), int(age.max())) == (0, 98)
    assert abs(float(age[:, 0].double().mean()) - 49) < 3  # the order of the people says nothing about their ages


def test_no_tree_is_in_two_parts() -> None:
    parts = hold_out()
    everything = torch.cat(list(parts.values()))
    assert len(everything.unique()) == len(everything) == 8**6
    assert len(parts["train"]) == 235930


def test_an_item_is_the_same_whenever_it_is_asked_for() -> None:
    questions = AgeQuestions(0, "val", 50)
    again = AgeQuestions(0, "val", 80)
    for first, second in zip(questions[torch.tensor([3, 40])], again[torch.tensor([3, 40])], strict=True):
        assert torch.equal(first, second)


def settings() -> dict[str, object]:
    config = yaml.safe_load((CONFIG_FOLDER / "data" / "age_arithmetic.yaml").read_text())
    return {key: value for key, value in config.items() if key != "_target_"} | {"seed": 0}


def test_the_config_is_what_the_data_are() -> None:
    assert list(AgeArithmetic.check(**settings())) == []
    data = AgeArithmetic(**(settings() | {"train_items": 10}))  # type: ignore[arg-type]
    data.setup()
    questions = next(iter(data.train_dataloader()))
    assert questions.objects.shape == (10, 8, 119)
    assert data.question_texts(questions)[0].startswith("How old is person ")
    assert data.context_texts(questions)[0].count("\n") == 7
    assert len(data.answer_names) == 100
    assert len(data.kind_names) == 8


@pytest.mark.parametrize("key", ["num_objects", "object_size", "question_size", "num_answers", "num_kinds"])
def test_other_sizes_are_refused(key: str) -> None:
    assert f"data.{key}=3: age arithmetic has" in next(AgeArithmetic.check(**(settings() | {key: 3})))
