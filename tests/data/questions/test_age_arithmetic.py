"""Age arithmetic: trees from Prüfer codes, and answers that follow from the facts."""

from collections import defaultdict

import pytest
import torch

from paperzoo.batches import ObjectQuestions
from paperzoo.data.questions.age_arithmetic import AgeArithmetic, asked_of, codes, draw_families, hold_out, trees
from tests.data.conftest import Make


def batch(items: int = 400) -> ObjectQuestions:
    return asked_of(*draw_families(0, "test", items))


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
    age = draw_families(0, "train", 3000).age
    assert (age.sort(1).values.diff(dim=1) > 0).all()
    assert (int(age.min()), int(age.max())) == (0, 98)
    assert abs(float(age[:, 0].double().mean()) - 49) < 3  # the order of the people says nothing about their ages


def test_no_tree_is_in_two_parts() -> None:
    parts = hold_out()
    everything = torch.cat(list(parts.values()))
    assert len(everything.unique()) == len(everything) == 8**6
    assert len(parts["train"]) == 235930


def test_an_item_is_the_same_whenever_it_is_asked_for() -> None:
    few, many = draw_families(0, "val", 50), draw_families(0, "val", 80)
    assert all(torch.equal(column, other[:50]) for column, other in zip(few, many, strict=True))


def test_the_config_is_what_the_data_are(make: Make) -> None:
    assert make.problems(AgeArithmetic) == []
    data = make(AgeArithmetic, train_items=10, batch_size=16)
    data.setup("fit")
    questions = next(iter(data.train_dataloader()))
    assert questions.objects.shape == (10, 8, 119)
    told = data.tell(questions)
    assert told[0].question.startswith("How old is person ")
    assert told[0].context.count("\n") == 7
    assert len(data.names.answers) == 100
    assert len(data.names.kinds) == 8


@pytest.mark.parametrize("fact", ["num_objects", "object_size", "question_size", "num_answers", "num_kinds"])
def test_other_sizes_are_refused(make: Make, fact: str) -> None:
    (problem,) = make.problems(AgeArithmetic, facts={fact: 3})
    assert problem.startswith(f"data.facts.{fact}=3: it is ")
