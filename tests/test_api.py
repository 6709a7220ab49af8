"""paperzoo from Python: the page that tells how, run as it stands, and what it does not say."""

import re
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import paperzoo
from paperzoo.errors import UserError
from tests.conftest import ROOT, CommandLine

PAGE = ROOT / "docs/python.md"


def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    before = HydraConfig.instance().cfg
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)
    run = names["run"]
    assert isinstance(run, paperzoo.Run)
    assert run.folder is not None and (run.folder / "report.html").is_file()
    assert run.config["model"]["width"] == 16
    assert len(names["answers"]["bits_per_dim"]) == 3  # type: ignore[index]
    shown = run._repr_html_()
    assert "test/bits_per_dim" in shown and "data:image/png;base64," in shown
    assert not GlobalHydra.instance().is_initialized()
    assert HydraConfig.instance().cfg is before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("glow/cifar11",), "experiment=glow/cifar11: there is no such preset; did you mean glow/cifar10"),
        (("glow/cifar10", "model.dpeth=3"), "model.dpeth=3: there is no such key; did you mean model.depth"),
    ],
)
def test_a_mistake_is_the_sentence_of_the_command_line(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=f"^{words}"):
        paperzoo.compose(*arguments)


def test_what_there_is_not_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither a \.ckpt file nor a run folder"):
        paperzoo.load(tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = paperzoo.lode


def test_the_version_names_what_runs(command_line: CommandLine) -> None:
    lines = command_line("--version").stdout.splitlines()
    assert lines[0].startswith(f"paperzoo {paperzoo.__version__}")
    assert {line.split()[0] for line in lines} >= {"torch", "pytorch-lightning", "hydra-core", "python"}
