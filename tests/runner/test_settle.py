"""What a run is when a checkpoint meets the command line."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from paperzoo.config import missing_keys
from paperzoo.errors import UserError
from tests.conftest import CONFIG_FOLDER, RunJob

ASK = ("data=image_questions", 'data.question="How many red cubes are there?"')


def test_a_question_in_words_to_a_run_that_has_none_names_the_run_that_answers_it(
    run_job: RunJob, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(tmp_path / "photo.png")
    run = run_job("experiment=relation_network/sort_of_clevr_laptop", "trainer=smoke")
    with pytest.raises(UserError) as refused:
        run_job("mode=predict", f"checkpoint={run}", *ASK, f"data.path={tmp_path / 'photo.png'}")
    assert refused.value.problems == (
        f"checkpoint={run}: was trained with data=sort_of_clevr, and its model cannot read data=image_questions; a run "
        "of relation_network/clevr can: train one: python train.py experiment=relation_network/clevr",
    )


def test_the_presets_that_answer_for_own_items_exist() -> None:
    from paperzoo.data.questions.babi import BabiStory
    from paperzoo.data.questions.clevr import OwnImages

    for data in (BabiStory, OwnImages):
        assert (CONFIG_FOLDER / "experiment" / f"{data.answered_by}.yaml").is_file()


def test_missing_keys_are_found_whatever_cannot_be_resolved() -> None:
    config = OmegaConf.create({"a": "${nowhere}", "b": {"c": "???"}, "d": [{"e": "???"}], "f": "${b.c}"})
    assert missing_keys(config) == ["b.c", "d[0].e"]
