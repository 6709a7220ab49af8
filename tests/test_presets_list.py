"""`python scripts/presets.py`: what is told of a preset, and which are found by words."""

import re
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from paperzoo.choices import presets
from paperzoo.data.prepared.importing import importable
from scripts.presets import WIDE, listing, main, text_of

SOME = (
    "cdan/visda",
    "dann/mnist_mnistm_sa",
    "glow/cifar10",
    "glow/digits_laptop",
    "glow/imagenet32",
    "neurosat/sr_u10_40",
)


def table(names: tuple[str, ...], width: int) -> str:
    GlobalHydra.instance().clear()
    return "\n".join(listing(names, width))


def named(listed: str, name: str) -> str:
    """What a table tells of a preset, in one line."""
    return " ".join(re.split(r"\n  (?=\w)|\n(?=\w)", listed.split(f"\n  {name} ")[1])[0].split())


@pytest.mark.parametrize("width", [80, 120])
def test_numbers_time_and_data_stand_beside_the_name_on_any_terminal(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAPERZOO_DATA", str(tmp_path))
    listed = table(SOME, width)
    assert max(map(len, listed.splitlines())) <= width
    row = next(line for line in listed.splitlines() if line.startswith("  cifar10 "))
    assert row.endswith("cifar10 (downloaded, 170 MB)") == (width >= WIDE)
    assert named(listed, "cifar10") == "bits_per_dim ↓ 3.35 - cifar10 (downloaded, 170 MB)"
    assert named(listed, "digits_laptop*").startswith("bits_per_dim - 2.216 digits (made here); 36 s, 1 CPU core")
    assert named(listed, "imagenet32").endswith("imagenet32 (fetched by hand)")
    assert named(listed, "sr_u10_40").endswith("sr (generated)")
    assert named(listed, "visda").endswith("VisDA-2017 (fetched by hand)")
    assert "glow (2018): Invertible 1x1 convolutions" in listed


def test_of_a_few_everything_is_told_and_a_star_is_where_weights_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "glow").mkdir()
    (tmp_path / "glow/cifar10.ckpt").touch()
    monkeypatch.setattr("paperzoo.choices.WEIGHTS", tmp_path)
    listed = table(("glow/cifar10",), 80)
    assert "A week on 8 GPUs of 2018" in " ".join(listed.split())
    assert "\n  cifar10* " in listed


def test_words_are_looked_for_in_papers_presets_data_and_claims() -> None:
    found = {
        word: {name for name in presets() if word in text_of(name).lower()}
        for word in ("selsam", "handwritten", "sudoku", "1x1 convolutions", "8 gpus")
    }
    assert found["selsam"] == {name for name in presets() if name.startswith("neurosat/")}
    assert {"glow/digits_laptop", "glow/mnist_laptop"} <= found["handwritten"]
    assert "recurrent_relation_network/sudoku_laptop" in found["sudoku"]
    assert found["1x1 convolutions"] == {name for name in presets() if name.startswith("glow/")}
    assert "glow/cifar10" in found["8 gpus"]


def test_words_that_fit_none_are_a_mistake_of_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["presets.py", "glow", "sudoku"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "paperzoo: glow sudoku: no preset speaks of that; without words all are listed\n"
    )


def test_the_terms_of_what_is_downloaded_are_told_where_they_are_known() -> None:
    terms = {name: file_set.terms for name, file_set in importable().items()}
    assert terms["svhn"] == "non-commercial use only"
    assert terms["clevr"] == terms["clevr_state"] == "CC BY 4.0"
    assert terms["cifar10"].startswith("not stated by its authors")
    assert {name for name, known in terms.items() if not known} <= {
        *("amazon", "gtsrb", "mnist_m", "sudoku17", "syn_numbers", "usps"),
        *(name for name in terms if name.startswith("lsun_")),
    }
