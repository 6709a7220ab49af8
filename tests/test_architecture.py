"""The house: which room may look into which."""

import ast

import pytest

from scripts.architecture import MODULES, PAGE, ROOMS, arrows, drawing, room

FORBIDDEN = {
    "papers": {"data"},
    "tasks": {"data", "papers"},
    "data": {"papers", "tasks", "runner", "reporting", "nn"},
    "runner": {"papers", "tasks", "data", "nn", "logic"},
    "reporting": {"papers", "tasks", "data", "runner", "nn", "logic"},
    "nn": {"papers", "tasks", "data", "runner", "reporting", "logic"},
    "logic": {"papers", "tasks", "data", "runner", "reporting", "nn"},
}
ENTRANCES = ("paperzoo.cli", "paperzoo.api")  # on the ground, but open the door to a run


ARROWS = arrows()


@pytest.mark.parametrize("name", FORBIDDEN)
def test_arrows_run_downwards(name: str) -> None:
    wrong = [f"{m} -> {t}" for m in ARROWS for t in ARROWS[m] if room(m) == name and room(t) in FORBIDDEN[name]]
    assert wrong == []


def test_the_ground_stands_on_nothing() -> None:
    ground = [module for module in ARROWS if not room(module) and module not in ENTRANCES]
    assert [f"{m} -> {t}" for m in ground for t in ARROWS[m] if room(t)] == []


def test_no_paper_knows_another() -> None:
    papers = [module for module in ARROWS if module.startswith("paperzoo.papers.")]
    wrong = [
        f"{m} -> {t}"
        for m in papers
        for t in ARROWS[m]
        if t.startswith("paperzoo.papers.") and t.split(".")[2] != m.split(".")[2]
    ]
    assert wrong == []


def test_there_is_no_circle() -> None:
    finished: set[str] = set()

    def circle(module: str, way: tuple[str, ...]) -> tuple[str, ...]:
        if module in way:
            return (*way[way.index(module) :], module)
        if module in finished:
            return ()
        found = next((c for target in sorted(ARROWS[module]) if (c := circle(target, (*way, module)))), ())
        finished.add(module)
        return found

    assert [c for module in sorted(ARROWS) if (c := circle(module, ()))] == []


def test_every_folder_and_every_module_says_what_it_is_for() -> None:
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}
    assert [module for module, tree in trees.items() if not ast.get_docstring(tree)] == []


def test_every_room_has_its_rules() -> None:
    assert set(FORBIDDEN) == ROOMS


def test_the_picture_of_the_house_is_current() -> None:
    assert drawing() in PAGE.read_text(encoding="utf-8"), "run: python scripts/architecture.py"
