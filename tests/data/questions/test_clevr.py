"""CLEVR, from small files in the official format, and own questions about own images."""

import json
import multiprocessing
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from paperzoo.batches import UNKNOWN
from paperzoo.config import instantiate
from paperzoo.data.questions import clevr_files
from paperzoo.data.questions.clevr import Clevr, ClevrState, OwnImages
from paperzoo.data.questions.clevr_files import json_items
from paperzoo.data.questions.clevr_words import ANSWERS, KIND_GROUPS, KINDS, WORDS, numbers_of, text_of
from paperzoo.errors import UserError
from tests.data.conftest import Make

COUNTS = {"train": 3, "val": 2}
GREYS = {"train": (10, 60, 110), "val": (160, 210)}
ASKED = (
    ("Are there more big green things than large purple shiny cubes?", "no", "greater_than"),
    ("There is a tiny gray matte ball; what is it made of?", "rubber", "query_material"),
    ("How many red cubes are there?", "2", "count"),
)


def thing(number: int) -> dict[str, Any]:
    return {
        "color": ("red", "cyan")[number % 2],
        "shape": ("cube", "sphere", "cylinder")[number % 3],
        "material": ("rubber", "metal")[number % 2],
        "size": ("small", "large")[number % 2],
        "3d_coords": [number + 0.25, -number, 0.7],
        "rotation": 10.5,
        "pixel_coords": [1, 2, 3.5],
    }


def write_release(folder: Path) -> Path:
    """Images of 320 x 240 in one grey each, scenes of 3, 4, ... objects, and three questions about each image."""
    home = folder / "CLEVR_v1.0"
    for name in ("questions", "scenes"):
        (home / name).mkdir(parents=True)
    for part, count in COUNTS.items():
        (home / "images" / part).mkdir(parents=True)
        names = [f"CLEVR_{part}_{number:06d}.png" for number in range(count)]
        for name, grey in zip(names, GREYS[part], strict=True):
            Image.new("RGBA", (320, 240), (grey, grey, grey, 255)).save(home / "images" / part / name)
        scenes = [
            {
                "image_index": number,
                "image_filename": name,
                "split": part,
                "objects": list(map(thing, range(3 + number))),
            }
            for number, name in enumerate(names)
        ]
        questions = [
            {
                "image_index": number,
                "image_filename": name,
                "question": text,
                "answer": answer,
                "program": [{"function": "scene", "inputs": []}, {"function": kind, "inputs": [0]}],
                "question_family_index": 0,
                "split": part,
            }
            for number, name in enumerate(names)
            for text, answer, kind in ASKED
        ]
        info = {"split": part, "version": "1.0"}
        write(home / f"scenes/CLEVR_{part}_scenes.json", {"info": info, "scenes": scenes})
        write(home / f"questions/CLEVR_{part}_questions.json", {"info": info, "questions": questions})
    return home


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))


@pytest.fixture
def release(data_root: Path) -> Path:
    """Files where the project looks for the official ones."""
    return write_release(data_root / "clevr/raw")


CLASSES = {"clevr": Clevr, "clevr_state": ClevrState}


def problems(data_root: Path, name: str = "clevr", **changes: Any) -> list[str]:
    return Make(data_root).problems(CLASSES[name], **changes)


def ready(data_root: Path, name: str = "clevr", **changes: Any) -> Any:
    data: Any = Make(data_root)(CLASSES[name], **changes)
    data.prepare_data()
    data.setup()
    return data


def everything(items: Any) -> Any:
    return items[torch.arange(len(items))]


def refusal(data_root: Path, name: str = "clevr") -> str:
    with pytest.raises(UserError) as caught:
        ready(data_root, name)
    assert not list(data_root.rglob("manifest.json"))
    return str(caught.value)


def edit(path: Path, key: str, index: int, **changes: Any) -> None:
    content = json.loads(path.read_text())
    content[key][index] |= changes
    write(path, content)


def test_the_vocabulary_has_82_symbols_and_there_are_28_answers_and_13_kinds() -> None:
    assert len(set(WORDS)) == len(WORDS) == 82
    assert len(set(ANSWERS)) == len(ANSWERS) == 28
    assert len(set(KINDS)) == len(KINDS) == 13
    assert list(WORDS) == sorted(WORDS)


def test_semicolons_and_commas_are_words_and_question_marks_and_full_stops_nothing() -> None:
    words = [WORDS[number - 1] for number in numbers_of("There is a cube; what size, is it?.")]
    assert words == ["there", "is", "a", "cube", ";", "what", "size", ",", "is", "it"]


@pytest.mark.parametrize("question", [text for text, _, _ in ASKED])
def test_a_question_is_read_back_as_it_was_written(question: str) -> None:
    assert text_of([*numbers_of(question), 0, 0]) == question


def test_unknown_words_are_named_with_those_that_are_like_them() -> None:
    with pytest.raises(UserError, match=r"'cubs' \(did you mean 'cubes' or 'cube'\?\); 'elephant'$"):
        numbers_of("How many cubs and elephant?")


@pytest.mark.parametrize("question", ["", "  ", "?", ";,"])
def test_a_question_without_words_is_refused(question: str) -> None:
    with pytest.raises(UserError, match="is no question"):
        numbers_of(question)


def test_a_batch_holds_each_question_with_its_image_answer_and_kind(data_root: Path, release: Path) -> None:
    data = ready(data_root)
    batch = everything(data.parts["train"])
    assert batch.image.shape == (9, 3, 128, 128)
    assert batch.image[:, 0, 64, 64].tolist() == [grey for grey in GREYS["train"] for _ in ASKED]
    assert [told.question for told in data.tell(batch)] == [text for text, _, _ in ASKED] * 3
    assert [data.names.answers[answer] for answer in batch.answer] == [answer for _, answer, _ in ASKED] * 3
    assert [data.names.kinds[kind] for kind in batch.kind] == [kind for _, _, kind in ASKED] * 3


def test_questions_are_as_wide_as_the_longest_of_the_batch(data_root: Path, release: Path) -> None:
    items = ready(data_root).parts["train"]
    assert items[torch.tensor([2])].question.shape == (1, 6)
    assert items[torch.tensor([0, 1, 2])].question.shape == (3, 13)


def test_the_validation_questions_are_tested_on(data_root: Path, release: Path) -> None:
    parts = ready(data_root).parts
    assert parts["test"] is parts["val"]
    assert len(parts["val"]) == 6
    assert parts["val"][torch.tensor([0])].image.unique().tolist() == [160]


def test_the_groups_are_the_columns_of_table_1_and_hold_each_kind_once(data_root: Path) -> None:
    assert list(KIND_GROUPS) == ["count", "exist", "compare_numbers", "query_attribute", "compare_attribute"]
    assert sorted(kind for kinds in KIND_GROUPS.values() for kind in kinds) == sorted(KINDS)


@pytest.mark.parametrize("name", ["clevr", "clevr_state"])
def test_the_archive_gives_what_the_folder_gives(data_root: Path, tmp_path: Path, name: str) -> None:
    home = write_release(tmp_path / "elsewhere")
    raw = tmp_path / "packed/clevr/raw"
    raw.mkdir(parents=True)
    with zipfile.ZipFile(raw / "CLEVR_v1.0.zip", "w") as archive:
        for path in home.rglob("*.*"):
            if path.is_file():
                archive.write(path, path.relative_to(home.parent))
    (data_root / "clevr").mkdir(parents=True)
    home.rename(data_root / "clevr/raw")  # the folder itself, without the one around it
    packed, unpacked = (everything(ready(root, name).parts["train"]) for root in (tmp_path / "packed", data_root))
    assert all(torch.equal(one, other) for one, other in zip(packed, unpacked, strict=True))


def test_the_prepared_arrays_are_used_when_the_files_are_gone(data_root: Path, release: Path) -> None:
    ready(data_root)
    release.rename(data_root / "gone")
    assert problems(data_root) == []
    assert len(ready(data_root).parts["train"]) == 9


def prepare(data_root: Path) -> None:
    clevr_files.FILE_SETS["images"].prepare(str(data_root), download=True)


def test_two_processes_may_prepare_at_once(data_root: Path, release: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=prepare, args=(data_root,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(ready(data_root).parts["train"]) == 9


def test_items_that_are_sent_to_a_worker_leave_the_images_behind(data_root: Path, release: Path) -> None:
    items = ready(data_root).parts["train"]
    before = everything(items)
    sent = pickle.dumps(items)
    assert len(sent) < 3 * 128 * 128
    assert torch.equal(everything(pickle.loads(sent)).image, before.image)


def test_missing_files_are_named_with_where_to_get_and_to_put_them(data_root: Path) -> None:
    (problem,) = problems(data_root)
    assert "CLEVR_v1.0.zip is missing" in problem
    assert clevr_files.ADDRESS in problem
    assert str(data_root / "clevr/raw") in problem
    assert "import_data.py clevr FOLDER" in problem


def test_the_state_needs_no_images_and_the_pixels_no_scenes(data_root: Path, release: Path) -> None:
    (release / "scenes").rename(release / "other")
    assert problems(data_root) == []
    (problem,) = problems(data_root, "clevr_state")
    assert "CLEVR_v1.0/scenes/CLEVR_train_scenes.json, " in problem
    (release / "other").rename(release / "scenes")
    (release / "images").rename(release / "pictures")
    assert problems(data_root, "clevr_state") == []
    (problem,) = problems(data_root)
    raw = data_root / "clevr/raw/CLEVR_v1.0/images"
    assert f"{raw / 'train'}, {raw / 'val'} are missing" in problem


def test_a_question_about_an_image_that_is_missing_is_named(data_root: Path, release: Path) -> None:
    (release / "images/val/CLEVR_val_000001.png").unlink()
    message = refusal(data_root)
    assert "CLEVR_val_questions.json: question 3: " in message
    assert "CLEVR_val_000001.png" in message


def test_an_image_that_cannot_be_read_is_named(data_root: Path, release: Path) -> None:
    (release / "images/train/CLEVR_train_000002.png").write_bytes(b"nothing")
    assert "CLEVR_train_000002.png: not a readable picture" in refusal(data_root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": "How many elephants are there?"}, "'elephants'"),
        ({"answer": "eleven"}, "ValueError"),
        ({"program": [{"function": "scene"}]}, "ValueError"),
        ({"program": []}, "IndexError"),
        ({"question": "How " + 64 * "many "}, "65 words"),
    ],
)
def test_a_question_that_is_not_of_clevr_is_named(
    data_root: Path, release: Path, changes: dict[str, Any], message: str
) -> None:
    edit(release / "questions/CLEVR_train_questions.json", "questions", 4, **changes)
    said = refusal(data_root)
    assert "CLEVR_train_questions.json: question 4: " in said
    assert message in said


def test_a_scene_that_is_not_of_clevr_is_named(data_root: Path, release: Path) -> None:
    edit(release / "scenes/CLEVR_train_scenes.json", "scenes", 1, objects=[thing(0) | {"color": "orange"}])
    assert "CLEVR_train_scenes.json: scene 1: KeyError 'orange'" in refusal(data_root, "clevr_state")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_file_that_was_cut_short_is_named(data_root: Path, release: Path, kept: float) -> None:
    path = release / "questions/CLEVR_train_questions.json"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "CLEVR_train_questions.json: damaged or cut short" in refusal(data_root)


def test_a_file_of_something_else_is_named(data_root: Path, release: Path) -> None:
    (release / "questions/CLEVR_train_questions.json").write_text("{}")
    assert "has no questions" in refusal(data_root)


@pytest.mark.parametrize("block", [40, 57, 1000])
def test_a_list_is_read_piece_by_piece_wherever_the_pieces_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(clevr_files, "BLOCK_BYTES", block)
    items = [{"text": f"a ], [ {{ {number} \u00e9", "numbers": [number, [1.5, -2]]} for number in range(20)]
    write(tmp_path / "a.json", {"info": {"a": [1]}, "questions": items, "more": [1, 2]})
    assert list(json_items(tmp_path / "a.json", "questions")) == items


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_a_list_is_read_whatever_wrote_it(tmp_path: Path, encoding: str) -> None:
    content = json.dumps({"questions": [{"text": "é"}, {"text": "b"}]}, indent=1, ensure_ascii=False)
    (tmp_path / "a.json").write_bytes((content.replace("\n", "\r\n") + "\r\n\x1a").encode(encoding))
    assert list(json_items(tmp_path / "a.json", "questions")) == [{"text": "é"}, {"text": "b"}]


def test_an_object_is_its_place_its_colour_and_one_hot_codes(data_root: Path, release: Path) -> None:
    batch = everything(ready(data_root, "clevr_state").parts["train"])
    assert batch.objects.shape == (9, 10, 13)
    red, blank = np.array([173, 35, 35]) / 255, [0.0] * 13
    expected = [2.25, -2, 0.7, *red, 0, 0, 1, 1, 0, 1, 0]
    np.testing.assert_allclose(batch.objects[0, 2], expected, rtol=1e-6)
    assert batch.objects[0, 3].tolist() == blank
    assert batch.present.sum(1).tolist() == [3, 3, 3, 4, 4, 4, 5, 5, 5]
    assert batch.present[0, :3].all()


def test_the_objects_of_a_scene_are_told(data_root: Path, release: Path) -> None:
    data = ready(data_root, "clevr_state")
    told = data.tell(everything(data.parts["train"]))[0]
    assert told.question == ASKED[0][0]
    assert told.context.split("\n") == [
        "small red rubber cube at (0.2, 0.0)",
        "large cyan metal sphere at (1.2, -1.0)",
        "small red rubber cylinder at (2.2, -2.0)",
    ]


def test_images_are_augmented_for_training_only_and_not_if_that_is_off(data_root: Path, release: Path) -> None:
    data = ready(data_root)
    batch = everything(data.parts["train"])
    assert not torch.equal(data.augment(batch).image, batch.image)
    plain = ready(data_root, augment=[])
    assert plain.augment(batch) is batch
    assert not torch.equal(data.initial_batch(9).image, plain.initial_batch(9).image)


def test_the_loaders_give_every_question(data_root: Path, release: Path) -> None:
    data = ready(data_root, batch_size=3)
    assert sum(len(batch.answer) for batch in data.val_dataloader()) == 6
    assert sorted(int(grey) for batch in data.train_dataloader() for grey in batch.image[:, 0, 0, 0]) == [
        grey for grey in GREYS["train"] for _ in ASKED
    ]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("clevr", {"image_shape": [3, 64, 64], "num_words": 83, "num_answers": 29, "num_kinds": 5}),
        ("clevr_state", {"object_size": 9, "num_objects": 12, "num_words": 83, "num_answers": 29, "num_kinds": 5}),
    ],
)
def test_other_sizes_are_refused(data_root: Path, release: Path, name: str, changes: dict[str, Any]) -> None:
    found = {problem.split("=")[0] for problem in problems(data_root, name, facts=changes)}
    assert found == {f"data.facts.{key}" for key in changes}


@pytest.mark.parametrize("name", ["clevr", "clevr_state"])
def test_questions_on_a_device_are_the_questions(data_root: Path, release: Path, name: str) -> None:
    items = ready(data_root, name).parts["train"]
    index = torch.tensor([4, 0, 0])
    assert all(map(torch.equal, items[index], items.to(torch.device("cpu"))[index]))


def own(path: Path, question: Any) -> dict[str, Any]:
    return Make(path).node(OwnImages, path=str(path), question=question)


def own_problems(path: Path | str, question: Any = "Are there any balls?") -> list[str]:
    return Make(Path("unused")).problems(OwnImages, path=str(path), question=question)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size, grey in (("a.png", (320, 240), 10), ("b.jpg", (50, 90), 200)):
        Image.new("RGB", size, (grey, grey, grey)).save(folder / name)
    return folder


def test_each_question_is_asked_about_each_image(pictures: Path) -> None:
    questions = ["How many cubes are there?", "What size is the red ball?"]
    data = instantiate(own(pictures, questions))
    assert data.item_names() == ["a.png", "a.png", "b.jpg", "b.jpg"]
    (batch,) = data.predict_dataloader()
    assert [told.question for told in data.tell(batch)] == questions * 2
    assert batch.image[:, 0, 0, 0].tolist() == [10, 10, 200, 200]
    assert batch.image.shape == (4, 3, 128, 128)
    assert (batch.image[:2] == 10).all()
    assert (batch.answer == UNKNOWN).all()


def test_one_image_and_one_question_are_enough(pictures: Path) -> None:
    data = instantiate(own(pictures / "a.png", "Are there any balls?"))
    assert own_problems(pictures / "a.png") == []
    assert data.item_names() == ["a.png"]


def test_an_own_image_is_scaled_as_those_of_training(data_root: Path, release: Path) -> None:
    noise = np.random.default_rng(0).integers(256, size=(240, 320, 3), dtype=np.uint8)
    path = release / "images/train/CLEVR_train_000000.png"
    Image.fromarray(noise).save(path)
    trained = ready(data_root).parts["train"][torch.tensor([0])].image
    data = instantiate(own(path, "Are there any balls?"))
    data.setup()
    assert torch.equal(next(iter(data.predict_dataloader())).image, trained)


def test_an_unreadable_image_is_left_out_and_named(pictures: Path) -> None:
    (pictures / "c.png").write_bytes(b"nothing")
    data = instantiate(own(pictures, "Are there any balls?"))
    assert data.item_names() == ["a.png", "b.jpg"]
    assert len(data.unreadable) == 1
    assert "c.png: not a readable picture" in data.unreadable[0]


def test_a_link_to_nothing_is_named_and_the_other_images_are_answered(pictures: Path) -> None:
    (pictures / "c.png").symlink_to(pictures / "gone.png")
    data = instantiate(own(pictures, "Are there any balls?"))
    assert data.item_names() == ["a.png", "b.jpg"]
    assert "c.png: a link to" in data.unreadable[0]


def test_if_no_image_can_be_read_that_is_an_error(pictures: Path) -> None:
    (pictures / "c.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"c.png: not a readable picture"):
        instantiate(own(pictures / "c.png", "Are there any balls?")).setup()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": ""}, "data.question='': is no question"),
        ({"question": []}, "data.question=[]: ask at least one"),
        ({"question": ["Are there any bals?"]}, "'bals' (did you mean 'balls' or 'ball'"),
        ({"path": "nowhere.png"}, "data.path=nowhere.png: there is no such file or folder"),
    ],
)
def test_mistakes_are_found_before_anything_is_built(pictures: Path, changes: dict[str, Any], message: str) -> None:
    (problem,) = own_problems(**{"path": pictures} | changes)
    assert message in problem


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (problem,) = own_problems(tmp_path)
    assert "no pictures" in problem


def test_own_questions_are_neither_trained_nor_tested_on(pictures: Path) -> None:
    data = instantiate(own(pictures, "Are there any balls?"))
    for loader in (data.train_dataloader, data.test_dataloader, lambda: data.initial_batch(1)):
        with pytest.raises(UserError, match="data=image_questions: has no answers"):
            loader()


def test_the_data_say_what_batches_they_give() -> None:
    assert Clevr.yields.__name__ == "ImageQuestions"
    assert ClevrState.yields.__name__ == "ObjectQuestions"
