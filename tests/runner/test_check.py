from paperzoo.config import find_target
from paperzoo.runner.check import target_problems

GLOW = "paperzoo.papers.glow.GlowModule"
ADAM = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.001}


def problems_of_adam(**arguments: object) -> list[str]:
    return target_problems({**ADAM, **arguments}, "model.optimizer")


def test_a_right_node_has_no_problems() -> None:
    assert problems_of_adam() == []


def test_a_wrong_type_names_key_value_and_what_is_allowed() -> None:
    (problem,) = problems_of_adam(lr="fast")
    assert problem.startswith("model.optimizer.lr=fast: should be a valid number")


def test_an_unknown_argument_suggests_the_one_that_was_meant() -> None:
    (problem,) = problems_of_adam(weight_decy=0.1)
    assert "model.optimizer.weight_decy" in problem
    assert "did you mean model.optimizer.weight_decay?" in problem


def test_all_problems_are_told_together() -> None:
    assert len(problems_of_adam(lr="fast", weight_decy=0.1, amsgrad=3)) == 3


def test_a_config_can_only_name_what_is_meant_to_be_configured() -> None:
    for target in ("os.system", "subprocess.Popen", "torch.load", "torch.hub.load", "builtins.eval", "paperzoo2.x"):
        found = find_target(target, "model")
        assert isinstance(found, str), target
        assert "a config may only name" in found, target


def test_a_missing_class_is_named() -> None:
    found = find_target("paperzoo.papers.glow.Nope", "model")
    assert isinstance(found, str)
    assert found.startswith("model._target_=paperzoo.papers.glow.Nope: cannot be imported")


def test_a_missing_argument_is_named() -> None:
    problems = target_problems({"_target_": "paperzoo.nn.questions.Bits"}, "model.embedding")
    assert problems == ["model.embedding.symbols: missing; Bits needs it"]


def test_nested_nodes_are_checked_with_their_own_key() -> None:
    words = {"_target_": "paperzoo.nn.questions.WordLSTM", "words": 3, "embeding": 2, "embedding": 2, "hidden": 2}
    network = {"question": words, "objects": {"_target_": "paperzoo.nn.questions.Bits", "symbols": 2}}
    plain = {"relations": [[2]], "readout": [2], "dropout": 0, "answers": 2, "checkpointing": False}
    node = {"_target_": "paperzoo.papers.relation_network.RelationNetwork", **network, **plain}
    (problem,) = target_problems(node, "model")
    assert problem.startswith("model.question.embeding")
