"""What the kinds of faults share: a fault, and `python train.py` in a process of its own."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]

GLOW = (
    "model=glow", "data=digits", "trainer=cpu", "model.levels=2", "model.depth=1", "model.width=8", "model.n_bits=4",
    "model.samples=2", "model.temperatures=[0.7]", "data.batch_size=128", "trainer.log_every_n_steps=1",
)  # fmt: skip
"""A training of a second."""
QUIET = ("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false", "threads=1")
EACH_BATCH = "callbacks.checkpoints.every_minutes=0.0000001"
USER_ERROR = 2
LONGEST = 300  # seconds of one process


@dataclass(frozen=True)
class Fault:
    """Something that happens to a run.

    Attributes:
        name: of one word.
        prepare: makes in an empty folder what all tries start from.
        attempt: one try, in an empty folder, on what was prepared; says what went wrong, None if nothing did.
        most: tries beyond which there is nothing new.
    """

    name: str
    prepare: Callable[[Path], None]
    attempt: Callable[[Path, Path, random.Random], str | None]
    most: int = 1000


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    output: str

    def refusal_of(self, *words: str) -> str | None:
        """What is wrong with it as a refusal that has these words; None if nothing is."""
        if "Traceback" in self.output or self.code != USER_ERROR:
            return f"exit code {self.code}: {self.output.strip()[-300:]}"
        missing = [word for word in words if word not in self.output]
        return f"says nothing of {missing[0]}: {self.output.strip()[-300:]}" if missing else None


def begin(*arguments: str, where: Path, through: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    """Starts `python train.py ARGUMENTS` in the folder `where`, as what the program `through` starts."""
    return subprocess.Popen(
        [*through, sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=where,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Ended:
    """Waits for it."""
    output = process.communicate(timeout=LONGEST)[0]
    return Ended(process.returncode, output)


def train(*arguments: str, where: Path, through: tuple[str, ...] = ()) -> Ended:
    """Runs `python train.py ARGUMENTS`."""
    return ended(begin(*arguments, where=where, through=through))


def trained(*arguments: str, where: Path) -> None:
    """As `train`.

    Raises:
        RuntimeError: it failed, though nothing was done to it.
    """
    if (end := train(*arguments, where=where)).code:
        raise RuntimeError(end.output[-2000:])


def wait_for_lines(path: Path, count: int, process: "subprocess.Popen[str]") -> None:
    """Waits until a file has so many lines, or the process has ended."""
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < count):
        time.sleep(0.002)


def difference(run: Path, other: Path) -> str | None:
    """What differs between two runs: logged values, byte for byte, or weights; None if nothing does."""
    if (run / "metrics.csv").read_bytes() != (other / "metrics.csv").read_bytes():
        return "metrics.csv differs"
    weights = [torch.load(f / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for f in (run, other)]
    same = weights[0].keys() == weights[1].keys() and all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())
    return None if same else "the weights differ"


def contents(folder: Path) -> dict[Path, bytes]:
    """All files of a run but its lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name)
    return {path.relative_to(folder): path.read_bytes() for path in files}


def flip(path: Path, chance: random.Random) -> None:
    """Flips a bit and leaves the times as they were."""
    _write(path, lambda content: content.__setitem__(place := chance.randrange(len(content)), content[place] ^ 1))


def clear_block(path: Path, chance: random.Random) -> None:
    """Puts zeros into half a KiB, as a bad disk does."""

    def clear(content: bytearray) -> None:
        start = chance.randrange(max(1, len(content) - 512))
        content[start : start + 512] = bytes(len(content[start : start + 512]))

    _write(path, clear)


def cut(path: Path, chance: random.Random) -> None:
    """Takes away the end."""
    _write(path, lambda content: content.__delitem__(slice(chance.randrange(len(content)), None)))


def _write(path: Path, change: Callable[[bytearray], object]) -> None:
    times, content = path.stat(), bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
