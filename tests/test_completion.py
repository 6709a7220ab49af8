"""Tab in a real bash: the function that `-sc install=bash` defines, asked as readline asks it, and a key pressed."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paperzoo.choices import presets
from paperzoo.cli import complete_arguments
from paperzoo.completion import query
from tests.conftest import ROOT

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")

ASK = """
eval "$(python train.py -sc install=bash)"
while IFS= read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE}
    COMP_WORDS=($COMP_LINE)
    case "$COMP_LINE" in *" ") COMP_WORDS+=("") ;; esac
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    $(complete -p "${COMP_WORDS[0]}" | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
    printf '%s\\1' "${COMPREPLY[@]}"
    printf '\\n'
done
"""
OFFERED = {
    "python train.py experiment=glow/ci": ["glow/cifar10 ", "glow/cifar10_conditional ", "glow/cifar10_laptop "],
    "python train.py experiment=neu": ["neurosat/"],
    "python train.py exper": ["experiment="],
    "python train.py model/n": ["model/network="],
    "python train.py data/so": ["data/source="],
    "python train.py data/source=mn": ["mnist ", "mnist_m ", "mnist_m_blended "],
    "python train.py -m experiment=glow/cifar10,realnvp/im": [
        "glow/cifar10,realnvp/imagenet32 ",
        "glow/cifar10,realnvp/imagenet64 ",
    ],
    "python train.py logger=[csv,te": ["[csv,tensorboard "],
    "python train.py experiment=realnvp/cifar10 model.resid": ["model.residual_blocks="],
    "python train.py experiment=glow/cifar10 model.depth=": ["32 "],
    "python train.py model=neurosat data=sr model.optimizer.l": ["model.optimizer.lr="],
    "python train.py model.compile=": ["false ", "true "],
    "python train.py mode=pre": ["predict ", "prepare "],
    "python train.py --cfg ": ["all ", "hydra ", "job "],
    "python train.py resume=": ["outputs/"],
    "python train.py resume=outputs/glow/": ["outputs/glow/mnist_laptop/"],
    "python train.py resume=outputs/glow/mnist_laptop/": ["outputs/glow/mnist_laptop/2026-11-25_10-00-00_ab "],
    "python train.py checkpoint=outputs/glow/mnist_laptop/2026-11-25_10-00-00_ab/checkpoints/": [
        "outputs/glow/mnist_laptop/2026-11-25_10-00-00_ab/checkpoints/best.ckpt "
    ],
    "python train.py checkpoint=outputs/glow/mnist_laptop/2026-11-25_10-00-00_ab model.wid": ["model.width="],
    "python train.py checkpoint=pretrained/neurosat/": ["pretrained/neurosat/sr_u3_10_laptop "],
    "python -m paperzoo trainer=sm": ["smoke "],
    "python train.py experiment=glow/nobody model.": [],
    "python other.py exper": [],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a run in it, and a stranger's folder with a name that a shell would execute."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "train.py").write_text((ROOT / "train.py").read_text())
    (folder / "other.py").write_text("print('not ours')")
    run = folder / "outputs/glow/mnist_laptop/2026-11-25_10-00-00_ab"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra/overrides.yaml").write_text("[experiment=glow/mnist_laptop]")
    (run / "checkpoints").mkdir()
    (run / "checkpoints/best.ckpt").touch()
    (folder / "outputs/glow/$(touch executed)").mkdir()
    return folder


def environment() -> dict[str, str]:
    python = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{python}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PS1": "> ",
        "TERM": "dumb",
    }


def test_bash_offers_what_can_be_chosen(place: Path) -> None:
    lines = "".join(f"{line}\n" for line in OFFERED)
    asked = subprocess.run(
        [str(BASH), "--norc", "-c", ASK],
        input=lines,
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert asked.stderr == ""
    offered = [[choice for choice in line.split("\1") if choice] for line in asked.stdout.splitlines()]
    # bash replaces what stands behind the last `=` of a word
    assert dict(zip(OFFERED, offered, strict=True)) == OFFERED


def test_every_preset_is_reached_from_its_paper() -> None:
    papers = query("train experiment=", 1, complete_arguments)
    assert papers == sorted({f"experiment={name.split('/')[0]}/" for name in presets()})
    reached = [preset for paper in papers for preset in query(f"train {paper}", 1, complete_arguments)]
    assert reached == [f"experiment={name} " for name in presets()]


def test_the_key_completes_a_preset_on_the_line(place: Path) -> None:
    """In an interactive shell: where bash divides a word is its own affair, and what is typed comes out whole."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(place)
        os.execvpe(str(BASH), ["bash", "--norc", "--noprofile", "-i"], environment())
    try:
        os.write(terminal, b"""eval "$(python train.py -sc install=bash)"; echo rea''dy\n""")
        until(terminal, b"ready")
        os.write(terminal, b"python train.py experiment=glow/mnist\t")
        assert b"experiment=glow/mnist_laptop " in until(terminal, b"mnist_laptop ")
    finally:
        os.close(terminal)
        os.waitpid(process, 0)


def until(terminal: int, wanted: bytes, seconds: float = 60) -> bytes:
    """What the terminal shows until `wanted` is there."""
    shown, end = b"", time.monotonic() + seconds
    while wanted not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 1 << 12)
    return shown
