"""bAbI, from small files in the official format, and a user's own story."""

import io
import logging
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from paperzoo.batches import UNKNOWN, StoryQuestions
from paperzoo.data.prepared import importing
from paperzoo.data.questions.babi import FILE_SETS, TASKS, Babi, BabiStory
from paperzoo.data.questions.babi_stories import ANSWERS, WORDS, StoryItems, read_lines
from paperzoo.errors import UserError
from paperzoo.runner.check import target_problems
from tests.data.conftest import Make

ROOMS = ("kitchen", "garden", "office", "hallway")
STORIES = {"train": 10, "valid": 4, "test": 3}


def story(number: int) -> str:
    """Five lines, two of them questions; the first sentence counts the stories."""
    first, second = ROOMS[number % 4], ROOMS[number // 4 % 4]
    return (
        f"1 Mary went to the {first}.\n"
        f"2 John moved to the {second}.\n"
        f"3 Where is Mary? \t{first}\t1\n"
        f"4 Sandra took the football there.\n"
        f"5 Where is John? \t{second}\t2\n"
    )


def write_tasks(folder: Path, story_set: str = "en-10k") -> Path:
    """All files of a set, with a few stories each; the last task has a question of more words."""
    place = folder / "tasks_1-20_v1-2" / story_set
    place.mkdir(parents=True)
    for task, name in enumerate(TASKS, start=1):
        for part in ("train", "test") if story_set == "en-10k" else STORIES:
            stem = f"qa{task}_{name}" if story_set == "en-10k" else f"qa{task}"
            (place / f"{stem}_{part}.txt").write_text("".join(map(story, range(STORIES[part]))))
    return place


@pytest.fixture
def written(data_root: Path) -> Path:
    """Files where the project looks for the official ones."""
    return write_tasks(data_root / "babi/raw")


def node(data_root: Path, **changes: Any) -> dict[str, Any]:
    return Make(data_root).node(Babi, **changes)


def babi(data_root: Path, **changes: Any) -> Any:
    data = Make(data_root)(Babi, **changes)
    data.prepare_data()
    data.setup()
    return data


def everything(items: StoryItems) -> StoryQuestions:
    return items[torch.arange(len(items))]


def own_story(path: Path, text: str, **changes: Any) -> Any:
    path.write_text(text)
    data = Make(path.parent)(BabiStory, f"data.path={path}", **changes)
    data.setup()
    return data


def own_node(path: Path, **changes: Any) -> dict[str, Any]:
    return Make(path.parent).node(BabiStory, f"data.path={path}", **changes)


def words(row: torch.Tensor) -> str:
    return " ".join(WORDS[number - 1] for number in row.tolist() if number)


def test_a_question_comes_with_the_statements_before_it_and_with_no_question(data_root: Path, written: Path) -> None:
    batch = everything(babi(data_root).parts["test"])
    assert [words(row) for row in batch.story[1]] == [
        "mary went to the kitchen",
        "john moved to the kitchen",
        "sandra took the football there",
    ]
    assert words(batch.question[1]) == "where is john"
    assert ANSWERS[batch.answer[1]] == "kitchen"


def test_rows_after_the_last_statement_and_columns_after_the_last_word_are_zero(data_root: Path, written: Path) -> None:
    batch = everything(babi(data_root).parts["test"])
    assert batch.story.shape == (120, 3, 5)
    assert batch.question.shape == (120, 3)
    assert not batch.story[0, 2].any()
    assert not batch.story[:, 1, 5:].any()


def test_a_batch_is_as_wide_as_its_own_longest_sentence(data_root: Path, written: Path) -> None:
    items = babi(data_root).parts["test"]
    assert items[torch.tensor([0])].story.shape == (1, 2, 5)


def test_only_the_last_statements_are_kept(data_root: Path, written: Path) -> None:
    batch = everything(babi(data_root, statements=2).parts["test"])
    assert [words(row) for row in batch.story[1]] == ["john moved to the kitchen", "sandra took the football there"]
    assert [words(row) for row in batch.story[2]] == ["mary went to the garden", "john moved to the kitchen"]


def test_statements_of_other_stories_are_never_told(data_root: Path, written: Path) -> None:
    batch = everything(babi(data_root).parts["test"])
    told = (batch.story != 0).any(2).sum(1)
    assert told.tolist() == [2, 3] * 60


def test_kinds_are_the_tasks_whatever_tasks_are_chosen(data_root: Path, written: Path) -> None:
    data = babi(data_root, tasks=[7, 2])
    batch = everything(data.parts["test"])
    assert data.names.kinds[:2] == ("task1", "task2")
    assert len(data.names.kinds) == 20
    assert batch.kind.unique().tolist() == [1, 6]


def test_a_tenth_of_the_stories_of_each_task_is_held_out_whole(data_root: Path, written: Path) -> None:
    data = babi(data_root)
    train, validation = (everything(data.parts[part]) for part in ("train", "val"))
    assert validation.kind.bincount().tolist() == [2] * 20
    assert train.kind.bincount().tolist() == [18] * 20
    assert data.parts["train"].stories is data.parts["val"].stories
    rows = [set(data.parts[part].stories.first[data.parts[part].rows].tolist()) for part in ("train", "val")]
    assert rows[0].isdisjoint(rows[1])


def test_the_same_stories_are_held_out_whatever_the_seed(data_root: Path, written: Path) -> None:
    one, other = (babi(data_root, seed=seed).parts["val"] for seed in (0, 1))
    assert torch.equal(one.rows, other.rows)


def test_without_validation_stories_the_test_questions_validate(data_root: Path, written: Path) -> None:
    parts = babi(data_root, validation_fraction=0).parts
    assert parts["val"] is parts["test"]
    assert len(parts["train"]) == 400


def test_training_questions_are_limited_for_each_task(data_root: Path, written: Path) -> None:
    train = everything(babi(data_root, train_questions=5).parts["train"])
    assert train.kind.bincount().tolist() == [5] * 20


def test_en_valid_has_a_validation_part_of_its_own(data_root: Path) -> None:
    write_tasks(data_root / "babi/raw", "en-valid-10k")
    data = babi(data_root, story_set="en-valid-10k")
    assert {part: len(items) for part, items in data.parts.items()} == {"train": 400, "val": 160, "test": 120}


def test_the_other_set_need_not_be_there(data_root: Path, written: Path) -> None:
    assert target_problems(node(data_root), "data") == []
    (problem,) = target_problems(node(data_root, story_set="en-valid-10k"), "data")
    assert "tasks_1-20_v1-2.tar.gz is missing" in problem


def test_a_missing_file_is_named_before_anything_is_built(data_root: Path, written: Path) -> None:
    (written / "qa3_three-supporting-facts_train.txt").unlink()
    (problem,) = target_problems(node(data_root), "data")
    assert "tasks_1-20_v1-2/en-10k/qa3_three-supporting-facts_train.txt is missing" in problem
    assert "import_data.py babi FOLDER" in problem


def test_fewer_questions_than_the_official_ones_are_said(
    data_root: Path, written: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        babi(data_root, tasks=[3])
    assert "bAbI task 3: 20 train questions instead of the official 10000" in caplog.messages


def test_the_archive_gives_what_the_folder_gives(tmp_path: Path, data_root: Path, written: Path) -> None:
    expected = everything(babi(data_root).parts["train"])
    with tarfile.open(tmp_path / "tasks_1-20_v1-2.tar.gz", "w:gz") as archive:
        archive.add(written.parent, "tasks_1-20_v1-2")
    importing.import_folder("babi", tmp_path, str(tmp_path / "other"))
    assert all(map(torch.equal, everything(babi(tmp_path / "other").parts["train"]), expected))


def test_an_archive_without_one_of_the_files_is_refused(tmp_path: Path, data_root: Path) -> None:
    with tarfile.open(tmp_path / "tasks_1-20_v1-2.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("tasks_1-20_v1-2/en-10k/qa1_single-supporting-fact_train.txt")
        content = story(0).encode()
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    with pytest.raises(UserError, match=r"qa1_single-supporting-fact_test\.txt is missing"):
        importing.import_folder("babi", tmp_path, str(data_root))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("6 Mary flew to the moon.", r":6: 'flew' is not a word of bAbI"),
        ("6 Where is Mary?\tmoon\t1", r":6: 'moon' is not an answer of bAbI"),
        ("6 Where is Mary?", r":6: a question without an answer"),
        (f"6 {'a ' * 12}.", r":6: more than 11 words"),
        ("Mary went to the garden.", r":6: 'Mary went to the garden.' has no number in front"),
    ],
)
def test_what_is_not_bAbI_is_refused_by_file_and_line(  # noqa: N802
    data_root: Path, written: Path, line: str, message: str
) -> None:
    path = written / "qa7_counting_train.txt"
    path.write_text(f"{story(0)}{line}\n")
    with pytest.raises(UserError, match=f"qa7_counting_train.txt{message}"):
        babi(data_root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": []}, "data.tasks=[]: name at least one"),
        ({"tasks": [0]}, "data.tasks"),
        ({"tasks": [21]}, "data.tasks"),
        ({"story_set": "en"}, "data.story_set=en"),
        ({"facts": {"num_words": 159}}, "data.facts.num_words=159: it is 145"),
        ({"facts": {"num_answers": 159}}, "data.facts.num_answers=159: it is 60"),
        ({"facts": {"num_kinds": 2}}, "data.facts.num_kinds=2: it is 20"),
        ({"facts": {"statements": 21}}, "data.facts.statements=21: it is 20"),
        ({"statements": 0}, "data.statements=0"),
        ({"validation_fraction": 1}, "data.validation_fraction=1"),
    ],
)
def test_mistakes_are_named(data_root: Path, written: Path, changes: dict[str, Any], message: str) -> None:
    (problem,) = target_problems(node(data_root, **changes), "data")
    assert problem.startswith(message)


def test_questions_and_stories_can_be_read(data_root: Path, written: Path) -> None:
    data = babi(data_root)
    told = data.tell(everything(data.parts["test"]))[0]
    assert told.question == "Where is mary?"
    assert told.context == "Mary went to the kitchen.\nJohn moved to the kitchen."


def test_questions_on_a_device_are_the_questions(data_root: Path, written: Path) -> None:
    items = babi(data_root).parts["train"]
    moved = items.to(torch.device("cpu"))
    assert all(map(torch.equal, everything(items), everything(moved)))
    assert sum(array.nbytes for array in items.arrays) > 0


OWN = """1 John travelled to the garden.
2 Where is John?

3 Mary took the milk there.
4 What is Mary carrying?\tmilk\t3
1 Daniel is in the park.
2 Is Daniel in the office?
"""


def test_questions_about_an_own_story_need_no_answer(tmp_path: Path) -> None:
    data = own_story(tmp_path / "own.txt", OWN)
    (batch,) = data.predict_dataloader()
    told = data.tell(batch)
    assert [one.question for one in told] == ["Where is john?", "What is mary carrying?", "Is daniel in the office?"]
    assert batch.answer.tolist() == [UNKNOWN, ANSWERS.index("milk"), UNKNOWN]
    assert told[2].context == "Daniel is in the park."
    assert data.item_names() == ["line 2", "line 5", "line 7"]


SAME = "1 Mary moved to the bathroom.\n2 Where is Mary?\n1 John went to the park.\n2 Where is John?\tpark\t1\n"


@pytest.mark.parametrize(
    "content",
    [
        SAME.encode("utf-8-sig"),
        SAME.encode("utf-16"),
        SAME.replace("\n", "\r\n").encode() + b"\x1a",
        SAME.replace("\n", "\r").encode(),
        SAME.replace("1 ", "0 ").replace("2 ", "1 ").encode(),
        re.sub(r"^(\d)", r"\1.", SAME, flags=re.MULTILINE).encode(),
        re.sub(r"^(\d)", r"\1)", SAME, flags=re.MULTILINE).encode(),
        SAME.replace("?\tpark\t1", "?   park   1").encode(),
        SAME.replace("?\tpark\t1", "? \tPark").encode(),
        SAME.replace("park.\n2", "park.\n\n2").encode(),
    ],
)
def test_a_story_is_the_same_however_its_lines_are_written(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own.txt").write_bytes(content)
    data = Make(tmp_path)(BabiStory, f"data.path={tmp_path / 'own.txt'}")
    data.setup()
    (batch,) = data.predict_dataloader()
    assert [told.question for told in data.tell(batch)] == ["Where is mary?", "Where is john?"]
    assert [told.context for told in data.tell(batch)] == ["Mary moved to the bathroom.", "John went to the park."]
    assert batch.answer.tolist() == [UNKNOWN, ANSWERS.index("park")]


def test_a_sentence_longer_than_those_of_training_can_be_read(tmp_path: Path) -> None:
    long = " and ".join(["Mary is in the park"] * 5)
    (batch,) = own_story(tmp_path / "own.txt", f"1 {long}.\n2 Where is Mary?\n").predict_dataloader()
    assert batch.story.shape == (1, 1, 29)


def test_an_own_story_is_tested_on_only_if_every_question_has_an_answer(tmp_path: Path) -> None:
    data = own_story(tmp_path / "own.txt", OWN)
    with pytest.raises(UserError, match=r"own\.txt:2: has no answer to test on"):
        data.test_dataloader()
    answered = own_story(tmp_path / "own.txt", "1 John is in the park.\n2 Where is John?\tpark\n")
    assert next(iter(answered.test_dataloader())).answer.tolist() == [ANSWERS.index("park")]


def test_an_own_story_is_nothing_to_train_on(tmp_path: Path) -> None:
    data = own_story(tmp_path / "own.txt", OWN)
    for use in (data.train_dataloader, lambda: data.initial_batch(1)):
        with pytest.raises(UserError, match="train with data=babi"):
            use()


def test_own_stories_keep_as_many_statements_as_those_that_the_model_was_trained_on() -> None:
    assert Babi.follows_model == BabiStory.follows_model == ("statements",)


def test_every_unknown_word_is_named_with_its_line_and_what_comes_close(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("1 Jon went to the gardn.\n2 Where is John?\n3 Qqq is bored.\n")
    assert target_problems(own_node(path), "data") == [
        f"data.path={path}:1: 'jon' is not a word of bAbI; did you mean 'john' or 'jason'?",
        f"data.path={path}:1: 'gardn' is not a word of bAbI; did you mean 'garden' or 'green'?",
        f"data.path={path}:3: 'qqq' is not a word of bAbI, nor is one like it",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 Mary went to the park.\n", ": nothing is asked"),
        ("", ": nothing is asked"),
        ("2 Where is Mary?\n", ":1: line 2 of a story comes after line 0; a story starts with line 1"),
        ("1 Mary went to the park.\n3 Where is Mary?\n3 Where is Mary?\n", ":3: line 3 of a story comes after line 3"),
        ("1 ?\n", ":1: there is no word"),
        ("1 Mary is bored.\n7 Where is Mary?\n", ":2: line 7 of a story comes after line 1; lines 2 to 6 are missing"),
        ("0 Mary is bored.\n2 Where is Mary?\n", ":2: line 2 of a story comes after line 0; line 1 is missing"),
        ("1 Where is Mary?\n2 Mary is bored.\n3 Where is Mary?\n", ":1: asks before anything is told"),
        ("1 Mary is bored.\n2 Why?\n1 Where is Mary?\tpark\n", ":3: asks before anything is told"),
        (
            "0 Where is Mary?\n1 Mary is bored.\n1 Why?\n",
            ":3: line 1 of a story comes after line 1; a story starts with line 0",
        ),
        ("1 Where is Mary? moon 1\n", ":1: 'moon' is not an answer of bAbI"),
    ],
)
def test_other_formats_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"own.txt{message}")):
        read_lines(text, "own.txt")


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (problem,) = target_problems(own_node(tmp_path / "absent.txt"), "data")
    assert problem.startswith(f"data.path={tmp_path / 'absent.txt'}: cannot be read")
    (tmp_path / "bytes.txt").write_bytes(b"1 \xff\xfe?\n")
    (problem,) = target_problems(own_node(tmp_path / "bytes.txt"), "data")
    assert "bytes.txt, line 1: not in UTF-8, nor in UTF-16" in problem


@pytest.mark.real_data
def test_the_real_tasks_have_their_questions_and_use_every_word_and_answer() -> None:
    root = os.environ.get("PAPERZOO_DATA")
    if root is None or not FILE_SETS["en-10k"].cache(root).is_prepared:
        pytest.skip("bAbI is not prepared in PAPERZOO_DATA")
    parts = babi(Path(root), validation_fraction=0).parts
    test, train = (everything(parts[part]) for part in ("test", "train"))
    assert test.kind.bincount().tolist() == [1000] * 20
    used = torch.cat([test.story.unique(), test.question.unique(), train.story.unique(), train.question.unique()])
    assert used.unique().tolist() == list(range(1 + len(WORDS)))
    assert torch.cat([test.answer, train.answer]).unique().tolist() == list(range(len(ANSWERS)))
    assert test.story.shape == (20_000, 20, 11)
