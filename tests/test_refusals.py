"""What Hydra refuses, told in the form of this project; and texts that its grammar would not take."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from paperzoo.cli import CONFIG_FOLDER, complete_arguments, options, quoted_texts
from paperzoo.refusals import refusal, trainer_refusal
from tests.conftest import CommandLine


def told(*arguments: str) -> str:
    with initialize_config_dir(str(CONFIG_FOLDER)):
        try:
            compose("train", list(arguments))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            return refusal(error, arguments, options)
    raise AssertionError(f"{arguments} compose")


@pytest.mark.parametrize(
    ("argument", "start"),
    [
        ("model=glwo", "model=glwo: there is no such option; did you mean glow? model is one of cdan, "),
        ("logger=wand", "logger=wand: there is no such option; did you mean wandb? logger is one of csv, "),
        ("data/source=usbs", "data/source=usbs: there is no such option; did you mean usps? data/source is one of "),
        ("trainer=smok", "trainer=smok: there is no such option; did you mean smoke? trainer is one of cpu, "),
        ("model.dpeth=3", "model.dpeth=3: there is no such key; did you mean model.depth"),
        ("sed=3", "sed=3: there is no such key; did you mean seed"),
        ("+model.depth=3", "+model.depth=3: this key is there already; write it without the +: model.depth=3"),
        ("~model.dpeth", "~model.dpeth: there is no such key"),
        ("model.depth=a(b", "model.depth=a(b: cannot be read; put the value into quotes twice: 'model.depth=\"a(b\"'"),
        ("model.depth", "model.depth: should be key=value"),
        (
            "logger=[csv,wandbb]",
            "logger=[csv,wandbb]: there is no such option; did you mean wandb? logger is one",
        ),
        (
            "logger=null",
            "logger=null: should be one of csv, tensorboard, wandb, or a list of them; to have",
        ),
        ("data=3", "data=3: should be one of age_arithmetic, "),
    ],
)
def test_a_refusal_names_what_was_typed_and_what_was_meant(argument: str, start: str) -> None:
    choices = ("data=domains",) if argument.startswith("data/") else ()
    assert told(*choices, argument).startswith(start)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-m", "--cfg", "job"), "-m and --cfg do not go together"),
        (("--resolve",), "--resolve: goes with --cfg"),
        (("trainer.accelerator=tpuu",), "trainer.accelerator=tpuu: You selected an invalid accelerator name"),
        (("trainer.max_epochs=-5",), "trainer.max_epochs=-5: `max_epochs` must be"),
        (("trainer.devices=999", "trainer.accelerator=cpu"), "trainer.devices=999: that is as many processes"),
    ],
)
def test_what_hydra_and_lightning_refuse_is_a_sentence(
    arguments: tuple[str, ...], words: str, command_line: CommandLine
) -> None:
    result = command_line(*arguments)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"paperzoo: {words}")


def test_a_refusal_of_the_trainer_names_the_argument_by_its_name_or_its_value() -> None:
    trainer = {"max_epochs": 3, "accelerator": "gpu"}
    assert trainer_refusal(ValueError("No supported gpu  backend"), trainer) == (
        "trainer.accelerator=gpu: No supported gpu backend"
    )
    assert trainer_refusal(ValueError("no `max_epochs`"), trainer) == "trainer.max_epochs=3: no `max_epochs`"
    assert trainer_refusal(ValueError("something else"), trainer) == "trainer: something else"


def test_nobody_is_told_to_add_a_misspelt_key() -> None:
    assert "+model" not in told("model.dpeth=3")


@pytest.mark.parametrize(
    "value", ["2024", "0" * 81, "a=b", "#1", "f(x)", "Bücher/Käse", "with space", "a,b", "1e5", "x\\y"]
)
def test_a_text_reaches_the_config_as_it_was_typed(value: str, tmp_path: Path) -> None:
    arguments = complete_arguments(["data=image_folder", f"data.path={value}"])
    with initialize_config_dir(str(CONFIG_FOLDER)):
        assert compose("train", arguments).data.path == value


@pytest.mark.parametrize(
    "argument",
    ["data.path=[a,b]", "data.path='a b'", 'data.path="a"', "data.path=null", "data.path=${oc.env:HOME}", "seed=2024"],
)
def test_what_is_no_bare_text_stays(argument: str) -> None:
    assert quoted_texts([argument]) == [argument]


def test_in_a_multirun_a_comma_parts_the_jobs() -> None:
    assert quoted_texts(["-m", "data.path=a,b"]) == ["-m", "data.path=a,b"]


def test_a_refusal_is_one_line_and_exit_code_two(command_line: CommandLine) -> None:
    result = command_line("model=glwo")
    assert result.returncode == 2
    assert result.stderr.startswith("paperzoo: model=glwo: there is no such option; did you mean glow?")
    assert result.stderr.count("\n") == 1


def test_a_folder_that_looks_like_a_number_is_a_folder(command_line: CommandLine) -> None:
    result = command_line("data=image_folder", "data.path=2024")
    assert result.returncode == 2
    assert "data.path=2024: there is no such folder" in result.stderr
