"""Sudoku puzzles: solved once, made easier, generated, and one's own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paperzoo.batches import Sudokus
from paperzoo.data.logic import puzzles as making
from paperzoo.data.logic.augmentation import RenameDigits
from paperzoo.data.logic.puzzles import easy_puzzles, generated, random_boards, relabelled_by_place, solutions
from paperzoo.data.logic.sudoku import EasySudoku, Sudoku, SudokuFiles
from paperzoo.data.prepared.cache import ArrayCache
from paperzoo.data.prepared.importing import import_folder
from paperzoo.errors import UserError
from paperzoo.logic.sudoku import is_solved
from tests.conftest import RunJob
from tests.data.conftest import Make

BOARDS = random_boards(40, np.random.default_rng(0))
SEVENTEEN = [
    "000000010400000000020000000000050407008000300001090000300400200050100000000806000",
    "000000010400000000020000000000050604008000300001090000300400200050100000000807000",
]
SOLUTION = "693784512487512936125963874932651487568247391741398625319475268856129743274836159"


def import_list(tmp_path: Path, text: str, name: str = "sudoku17") -> Path:
    """The data folder into which a list of puzzles was imported."""
    folder = tmp_path / "list"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    import_folder("sudoku17", folder, str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A cache in which 40 easy puzzles stand for those with 17 givens."""
    cache = ArrayCache(tmp_path / "sudoku17")
    with cache.locked(), cache.writing() as writer:
        writer.append("givens", easy_puzzles(BOARDS, np.random.default_rng(1)))
        writer.append("solutions", BOARDS)
    return tmp_path


def levels(root: Path, test_pool: int = 10) -> Sudoku:
    pools = {"val_pool": 5, "test_pool": test_pool}
    return Make(root)(Sudoku, **pools, train_puzzles=20, val_puzzles=10, test_puzzles=10)


def everything(items: Any) -> Sudokus:
    return items[torch.arange(len(items))]


def own(path: Path | None, puzzle: str | None = None) -> SudokuFiles:
    return Make(Path("unused"))(SudokuFiles, path=None if path is None else str(path), puzzle=puzzle)


def test_generated_puzzles_have_one_solution_and_it_is_theirs() -> None:
    puzzles = easy_puzzles(BOARDS, np.random.default_rng(1))
    for board, (solution, unique) in zip(BOARDS, solutions(puzzles), strict=True):
        assert unique
        assert (solution[0] == board).all()


@pytest.mark.parametrize("name", ["sudoku17", "sudoku17.txt", "puzzles.csv"])
def test_a_list_is_solved_once_and_puzzles_in_other_digits_are_the_same(tmp_path: Path, name: str) -> None:
    renamed = SEVENTEEN[0].translate(str.maketrans("123456789", "987654321"))
    lines = [*SEVENTEEN, renamed]
    text = "\n".join(["quizzes,solutions", *(f"{line},0" for line in lines)] if name.endswith("csv") else lines)
    cache = ArrayCache(import_list(tmp_path, text + "\n", name) / "sudoku17")
    givens, solved = np.array(cache.open("givens")), np.array(cache.open("solutions"))
    assert len(givens) == 2
    expected = np.array([list(map(int, SOLUTION))], dtype=np.uint8)
    assert relabelled_by_place(expected).tobytes() in {row.tobytes() for row in relabelled_by_place(solved)}
    assert is_solved(torch.from_numpy(solved).long(), torch.from_numpy(givens).long()).all()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SEVENTEEN[0] + "\n" + SEVENTEEN[0][:-1], "line 2: 80 characters"),
        (SEVENTEEN[0][:-1] + "9", "line 1: 18 givens"),
        ("", "holds no puzzles"),
        ("1" + SEVENTEEN[0][1:].replace("1", "0", 1), "not one solution"),
    ],
)
def test_a_list_with_a_mistake_is_refused_and_nothing_is_left(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        import_list(tmp_path, text)
    assert not list((tmp_path / "data").rglob("manifest.json"))


def test_several_solutions_and_none_are_told_from_one() -> None:
    empty = np.zeros((1, 81), dtype=np.uint8)
    impossible = empty.copy()
    impossible[0, [0, 1]] = 1
    (some, unique), (none, _) = solutions(np.concatenate([empty, impossible]))
    assert len(some) == 1 and not unique
    assert len(none) == 0


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_levels_hold_solved_puzzles_with_more_and_more_givens(prepared: Path, part: str) -> None:
    data = levels(prepared)
    data.setup()
    puzzles = everything(data.parts[part])
    assert is_solved(puzzles.solution, puzzles.givens).all()
    means = (puzzles.givens != 0).sum(1).view(18, -1).double().mean(1)
    assert 12 < means[-1] - means[0] < 22


def test_no_puzzle_is_shared_between_parts_under_other_names_of_the_digits(prepared: Path) -> None:
    data = levels(prepared)
    data.setup()
    boards = {
        part: {row.tobytes() for row in relabelled_by_place(everything(items).solution.numpy().astype(np.uint8))}
        for part, items in data.parts.items()
    }
    assert boards["train"] and not boards["train"] & boards["test"] and not boards["train"] & boards["val"]
    assert not boards["val"] & boards["test"]


def test_pools_that_leave_nothing_to_train_on_are_refused(prepared: Path) -> None:
    with pytest.raises(UserError, match="nothing is left of 40 puzzles"):
        levels(prepared, test_pool=35).setup()


def test_generated_sets_are_functions_of_the_seed_and_differ_between_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "BLOCK", 20)
    index = torch.arange(20)
    val, again, other, test = (
        generated(seed, part, 20, (30, 50))[index] for seed, part in ((0, "val"), (0, "val"), (1, "val"), (0, "test"))
    )
    assert is_solved(val.solution, val.givens).all()
    assert (val.givens != 0).sum(1).min() >= 30
    assert torch.equal(val.givens, again.givens)
    assert not torch.equal(val.givens, other.givens)
    assert not torch.equal(val.givens, test.givens)


def test_renaming_the_digits_keeps_puzzles_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "BLOCK", 20)
    puzzles = generated(0, "val", 20, (30, 50))[torch.arange(20)]
    renamed = RenameDigits()(puzzles)
    assert is_solved(renamed.solution, renamed.givens).all()
    assert torch.equal(renamed.givens == 0, puzzles.givens == 0)
    assert not torch.equal(renamed.givens, puzzles.givens)


def test_the_config_of_generated_puzzles_fits_and_renames_the_digits(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "BLOCK", 20)
    assert make.problems(EasySudoku) == []
    small = {"train_puzzles": 9, "val_puzzles": 9}
    plain, renamed = make(EasySudoku, **small, augment=[]).initial_batch(9), make(EasySudoku, **small).initial_batch(9)
    assert torch.equal(plain.givens == 0, renamed.givens == 0)
    assert not torch.equal(plain.givens, renamed.givens)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"givens": [50, 30]}, "data.givens=[50, 30]: the least number of givens comes first"),
        ({"givens": [16, 30]}, "data.givens=[16, 30]"),
        ({"facts": {"size": 4}}, "data.facts.size=4: it is 9"),
    ],
)
def test_mistakes_are_named(make: Make, changes: dict[str, Any], message: str) -> None:
    (problem,) = make.problems(EasySudoku, **changes)
    assert problem.startswith(message)


def test_wrong_lines_are_named_and_the_others_are_answered(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("." * 81 + "\n123\n\n" + "11" + "0" * 79 + "\n" + "1" + "." * 80 + "\n")
    data = own(path)
    assert data.item_names() == ["1", "5"]
    assert [problem.split(": ")[0] for problem in data.unreadable] == [f"{path}, line {line}" for line in (2, 4)]
    assert everything(data.parts["predict"]).givens[1, 0] == 1


def test_one_puzzle_comes_from_the_command_line() -> None:
    assert own(None, "1" + "." * 80).item_names() == ["1"]
    with pytest.raises(UserError, match=r"data\.puzzle, line 1: 2 characters"):
        own(None, "12").setup()
    with pytest.raises(UserError, match=r"data\.puzzle: holds no puzzles"):
        own(None, "x").setup()


def test_one_puzzle_or_one_file_is_wanted(make: Make) -> None:
    assert (
        make.problems(SudokuFiles)
        == ["data.path: name a file of puzzles or a folder of them, or give one puzzle as data.puzzle=LINE"]
        == make.problems(SudokuFiles, path=".", puzzle="1" + "." * 80)
    )
    assert make.problems(SudokuFiles, path="nowhere.txt") == ["data.path=nowhere.txt: there is no such file or folder"]
    assert make.problems(SudokuFiles, path=".", test_path="nowhere") == [
        "data.test_path=nowhere: there is no such file or folder"
    ]


def table(path: Path, boards: np.ndarray, solved: int) -> Path:
    """A table of easy puzzles, the first of them with solutions."""
    givens = easy_puzzles(boards, np.random.default_rng(1))
    pairs = [["".join(map(str, cells)) for cells in pair] for pair in zip(givens, boards, strict=True)]
    rows = [f"{puzzle},{solution if n < solved else ''}" for n, (puzzle, solution) in enumerate(pairs)]
    path.write_text("\n".join(["puzzle,solution", *rows]))
    return path


def boards_of(items: Any) -> set[bytes]:
    return {row.numpy().tobytes() for row in everything(items).givens}


def test_a_folder_is_read_and_what_is_no_file_of_puzzles_is_told(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    table(tmp_path / "sub" / "table.csv", BOARDS[:2], solved=2)
    (tmp_path / "one.sdk").write_text("\n".join("1" + "." * 8 if row == 0 else "." * 9 for row in range(9)))
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    data = own(tmp_path)
    assert data.item_names() == ["one.sdk:1", "sub/table.csv:2", "sub/table.csv:3"]
    assert sorted(Path(problem.split(":")[0]).name for problem in data.unreadable) == ["gone.txt", "notes.md"]


def test_puzzles_with_solutions_are_trained_on_and_the_same_ones_are_held_out_in_every_run(tmp_path: Path) -> None:
    path = str(table(tmp_path / "mine.csv", BOARDS, solved=30))
    make = Make(tmp_path)
    runs = [make(SudokuFiles, path=path, trained_path=path, validation_fraction=0.2, seed=seed) for seed in (0, 1)]
    for data in runs:
        data.setup("fit")
    train, val = (boards_of(runs[0].parts[part]) for part in ("train", "val"))
    assert (len(train), len(val), len(train & val)) == (24, 6, 0)
    assert val == boards_of(runs[0].parts["test"]) == boards_of(runs[1].parts["val"])
    assert len(runs[0].parts["predict"]) == 40
    solved = everything(runs[0].parts["train"])
    assert is_solved(solved.solution, solved.givens).all()
    assert next(iter(runs[0].train_dataloader())).givens.shape == (4, 81)


def test_a_test_takes_all_puzzles_of_a_file_that_was_not_trained_on(tmp_path: Path) -> None:
    path = str(table(tmp_path / "mine.csv", BOARDS[:9], solved=9))
    other = str(table(tmp_path / "other.csv", BOARDS[9:], solved=5))
    make = Make(tmp_path)
    for arguments, size in (
        ({"path": path}, 9),
        ({"path": path, "trained_path": other}, 9),
        ({"path": path, "trained_path": path}, 1),
        ({"path": path, "trained_path": path, "test_path": other}, 31),
    ):
        data = make(SudokuFiles, **arguments)
        data.setup("test")
        assert len(data.parts["test"]) == size


def test_puzzles_without_solutions_are_nothing_to_train_on(tmp_path: Path) -> None:
    path = str(table(tmp_path / "mine.csv", BOARDS, solved=0))
    data = Make(tmp_path)(SudokuFiles, path=path, trained_path=path)
    data.setup("fit")
    for use in (data.train_dataloader, lambda: data.initial_batch(2)):
        with pytest.raises(UserError, match=r"mine\.csv: has not two puzzles with solutions"):
            use()


def test_a_run_trains_on_own_puzzles_and_later_tests_what_it_held_out(run_job: RunJob, tmp_path: Path) -> None:
    path = table(tmp_path / "mine.csv", BOARDS, solved=40)
    tiny = ("dimension=8", "embedding=4", "hidden_layers=1", "steps=2", "test_steps=2")
    model = ("model=recurrent_relation_network_sudoku", *(f"model.{change}" for change in tiny))
    quick = ("trainer=cpu", "trainer.max_epochs=1", "data.batch_size=8", "data.validation_fraction=0.25")
    trained = run_job(*model, "data=sudoku_files", f"data.path={path}", *quick)
    again = run_job("mode=test", f"checkpoint={trained}")
    elsewhere = run_job("mode=test", f"checkpoint={trained}", f"data.path={table(tmp_path / 'b.csv', BOARDS[:7], 7)}")
    metrics = [json.loads((run / "summary.json").read_text())["metrics"] for run in (trained, again, elsewhere)]
    assert metrics[0]["test/loss"] == metrics[1]["test/loss"] == metrics[0]["val/loss"] != metrics[2]["test/loss"]
