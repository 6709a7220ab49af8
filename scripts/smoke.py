"""Runs the presets with `trainer=smoke`, each in a process of its own, and prints what each needed.

    python scripts/smoke.py                  # all presets whose data are here
    python scripts/smoke.py --random         # those whose data are not: on a few random items
    python scripts/smoke.py glow/cifar10 dann/

A line for each preset: seconds of CPU, seconds, the most memory at a time, and the state: ok, no data, too slow (more
than a minute of CPU on each of two cores), too large (more than 4 GiB), failed (with the last line of its output), or
stopped (after `--timeout`). Ends with 1 if any preset is too slow or too large, failed or was stopped.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from paperzoo.choices import CONFIG_FOLDER, QUIET, presets  # noqa: E402
from paperzoo.errors import EXIT_USER_ERROR  # noqa: E402
from paperzoo.runner.smoke import settle_smoke  # noqa: E402

MOST_CPU_SECONDS = 120.0  # a minute of two cores
MOST_MEMORY = 4 * 2**30
ABSENT = re.compile(r"import_data\.py|cannot be downloaded|data\.download=false|download")


@dataclass(frozen=True)
class Outcome:
    """What a run needed.

    Attributes:
        cpu: seconds, of all its processes.
        wall: seconds.
        memory: the most bytes of one process.
        code: the exit code; None if it was stopped.
        output: what it printed.
    """

    cpu: float
    wall: float
    memory: int
    code: int | None
    output: str

    @property
    def state(self) -> str:
        if self.code is None:
            return "stopped"
        if self.code == EXIT_USER_ERROR and ABSENT.search(self.output):
            return "no data"
        if self.code:
            return "failed: " + (self.output.strip().splitlines() or [f"exit code {self.code}"])[-1]
        if self.cpu > MOST_CPU_SECONDS:
            return "too slow"
        return "too large" if self.memory > MOST_MEMORY else "ok"


def run(arguments: Sequence[str], timeout: float) -> Outcome:
    """Runs `python train.py ARGUMENTS` in a process of its own."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status, usage = None, None
        while not usage:
            pid, status, found = os.wait4(process.pid, os.WNOHANG)
            usage = found if pid else None
            if not pid and time.monotonic() - started > timeout:
                os.killpg(process.pid, signal.SIGKILL)
                _, status, usage = os.wait4(process.pid, 0)
            time.sleep(0.1)
        wall = time.monotonic() - started
        process.returncode = code = os.waitstatus_to_exitcode(status or 0)
        output.seek(0)
        memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return Outcome(
            usage.ru_utime + usage.ru_stime, wall, memory, None if code == -signal.SIGKILL else code, output.read()
        )


def on_random_items(name: str, root: Path) -> list[str]:
    """Writes random items in place of the official files of a preset; returns the arguments that make it use them."""
    from tests.small import small_version

    with initialize_config_dir(str(CONFIG_FOLDER)):
        config = compose("train", [f"experiment={name}", "trainer=smoke", f"data_root={root}"])
    settle_smoke(config)
    small = small_version(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    for prepare in small.preparations:
        prepare(root)
    return [f"data_root={root}", *small.overrides]


def trained_before(name: str) -> str | None:
    """The preset that gives the checkpoint which an evaluation preset needs."""
    text = (CONFIG_FOLDER / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    found = re.search(r"checkpoint=outputs/(\S+)/<run>", text)
    return found[1] if found and re.search(r"^mode: test", text, re.MULTILINE) else None


def measured(name: str, folder: Path, data: Sequence[str], timeout: float) -> Outcome:
    """A smoke run of a preset; of one that evaluates a checkpoint, after a run that leaves one."""
    common = ("trainer=smoke", *QUIET, *data)
    checkpoint: tuple[str, ...] = ()
    if before := trained_before(name):
        first = run((f"experiment={before}", *common, f"hydra.run.dir={folder / 'before'}"), timeout)
        if first.code:
            return first
        checkpoint = (f"checkpoint={folder / 'before'}",)
    return run((f"experiment={name}", *common, *checkpoint, f"hydra.run.dir={folder / 'run'}"), timeout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", help="names, or their beginnings; all without one")
    parser.add_argument("--random", action="store_true", help="random items for presets whose data are not here")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds that a run may take")
    arguments = parser.parse_args()
    chosen = [name for name in presets() if name.startswith(tuple(arguments.presets) or "")]
    outcomes: dict[str, Outcome] = {}
    print(f"{'preset':<58}{'CPU s':>7}{'s':>7}{'GiB':>6}  state", flush=True)
    for name in chosen:
        note = ""
        with tempfile.TemporaryDirectory() as place:
            outcome = measured(name, Path(place) / "own", (), arguments.timeout)
            if outcome.state == "no data" and arguments.random:
                data = on_random_items(name, Path(place) / "data")
                outcome, note = measured(name, Path(place) / "random", data, arguments.timeout), ", on random items"
        outcomes[name] = outcome
        numbers = f"{outcome.cpu:7.1f}{outcome.wall:7.1f}{outcome.memory / 2**30:6.2f}"
        print(f"{name:<58}{numbers}  {outcome.state}{note}", flush=True)
    ran = {name: outcome for name, outcome in outcomes.items() if outcome.code == 0}
    if ran:
        slowest, largest = max(ran, key=lambda n: ran[n].cpu), max(ran, key=lambda n: ran[n].memory)
        print(
            f"{len(ran)} of {len(chosen)} ran; most CPU: {slowest}, {ran[slowest].cpu:.1f} s; "
            f"most memory: {largest}, {ran[largest].memory / 2**30:.2f} GiB"
        )
    sys.exit(any(outcome.state not in ("ok", "no data") for outcome in outcomes.values()))


if __name__ == "__main__":
    main()
