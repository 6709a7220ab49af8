"""The weights that come with the code: each loads, measures what it carries, and holds nothing else."""

import os
from pathlib import Path

import pytest
import torch

import paperzoo
from paperzoo.choices import WEIGHTS, presets, with_weights
from paperzoo.errors import UserError
from paperzoo.runner.folder import PROVENANCE, read_provenance
from scripts.publish_weights import LARGEST, LARGEST_TOGETHER
from tests.conftest import ROOT, CommandLine

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("preset", with_weights())
def test_weights_measure_what_they_carry(preset: str, tmp_path: Path) -> None:
    run = paperzoo.load(f"pretrained/{preset}")
    carried = read_provenance(run.checkpoint)["check"]
    data_root = os.environ.get("PAPERZOO_DATA") or str(tmp_path)
    offline = ["data.download=false"] if "download" in run.config["data"] else []
    try:
        measured = run.test(*carried["overrides"], "threads=1", f"data_root={data_root}", *offline)
    except UserError as error:
        if "missing" not in str(error):
            raise
        pytest.skip(f"{preset}: {error}")
    assert measured == pytest.approx(carried["metrics"], rel=0.02, abs=0.005)


@pytest.mark.parametrize("preset", with_weights())
def test_weights_hold_what_a_stranger_needs_and_nothing_else(preset: str) -> None:
    path = WEIGHTS / f"{preset}.ckpt"
    content = torch.load(path, weights_only=True)
    assert content.keys() == {"state_dict", PROVENANCE}
    provenance = read_provenance(path)
    assert provenance["choices"]["experiment"] == preset
    assert provenance["config"]["data_root"] == "~/.cache/paperzoo"
    assert "/tmp" not in str(provenance) and str(Path.home()) not in str(provenance)
    assert provenance["metrics"][f"test/{provenance['objective'].split('/')[1]}"] > 0
    assert len(provenance["commit"]) == 12


def test_every_preset_for_a_laptop_comes_with_weights() -> None:
    laptop = {name for name in presets() if name.endswith("_laptop")}
    assert laptop <= set(with_weights()) <= set(presets())


def test_weights_are_small() -> None:
    sizes = [path.stat().st_size for path in WEIGHTS.rglob("*.ckpt")]
    assert max(sizes) <= LARGEST and sum(sizes) <= LARGEST_TOGETHER


@pytest.mark.parametrize(
    ("preset", "arguments", "words"),
    [
        ("neurosat/sr_u3_10_laptop", ("data.path={}/formula.cnf",), "s SATISFIABLE"),
        ("recurrent_relation_network/sudoku_laptop", ("data=sudoku_files", "data.path={}/sudokus.txt"), "534678912"),
        ("glow/digits_laptop", ("data=image_folder", "data.path={}/digits"), "bits_per_dim"),
        ("relation_network/babi_laptop", ("data=babi_story", "data.path={}/story.txt"), "kitchen"),
        ("dann/digits_usps_laptop", ("data=image_folder", "data.path={}/digits"), "confidence"),
    ],
    ids=lambda value: value.partition("/")[0] if isinstance(value, str) else "",
)
def test_a_newcomer_s_first_answers(
    command_line: CommandLine, preset: str, arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    own = [argument.format(EXAMPLES) for argument in arguments]
    ended = command_line("mode=predict", f"checkpoint=pretrained/{preset}", *own, f"data_root={tmp_path}", "threads=1")
    assert ended.returncode == 0, ended.stderr
    assert words in ended.stdout


def test_weights_that_there_are_not_are_answered_with_those_that_there_are(command_line: CommandLine) -> None:
    ended = command_line("mode=test", "checkpoint=pretrained/glow/cifar11")
    assert ended.returncode == 2
    assert "checkpoint=pretrained/glow/cifar11: no such weights come with paperzoo; there are" in ended.stderr
    assert "pretrained/glow/digits_laptop" in ended.stderr


def test_a_file_of_one_s_own_goes_before_weights_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = Path("pretrained/glow/digits_laptop")
    own.mkdir(parents=True)
    (own / "checkpoints").mkdir()
    (own / "checkpoints" / "last.ckpt").write_bytes((WEIGHTS / "realnvp" / "digits_laptop.ckpt").read_bytes())
    assert paperzoo.load(own).config["model"]["_target_"].endswith("RealNVPModule")
    assert paperzoo.load("pretrained/realnvp/digits_laptop").metrics["test/bits_per_dim"] < 2.1
