"""Several processes that want one folder: one has it, the others are told whose it is."""

import random
import shutil
from pathlib import Path

from scripts.fault_kinds.trying import (
    GLOW,
    QUIET,
    USER_ERROR,
    Ended,
    Fault,
    begin,
    difference,
    ended,
    trained,
    wait_for_lines,
)

LONG = (*GLOW, *QUIET, "trainer.max_epochs=20")


def prepare(prepared: Path) -> None:
    run = prepared / "run"
    trained(*GLOW, *QUIET, "trainer.max_epochs=2", f"hydra.run.dir={run}", where=prepared)
    shutil.copytree(run, prepared / "longer")
    trained(f"resume={prepared / 'longer'}", "trainer.max_epochs=10", where=prepared)


def resumed_twice(prepared: Path, folder: Path, chance: random.Random) -> str | None:
    run = shutil.copytree(prepared / "run", folder / "run")
    both = [begin(f"resume={run}", "trainer.max_epochs=10", where=folder) for _ in range(2)]
    return _one_ran([ended(process) for process in both]) or difference(run, prepared / "longer")


def _one_ran(ends: list[Ended]) -> str | None:
    codes = sorted(end.code for end in ends)
    told = any("another process is running" in end.output or "nothing to do" in end.output for end in ends)
    return None if codes in ([0, USER_ERROR], [0, 0]) and told else f"exit codes {codes}, told: {told}"


def started_twice(prepared: Path, folder: Path, chance: random.Random) -> str | None:
    run = folder / "run"
    first = begin(*LONG, f"hydra.run.dir={run}", where=folder)
    wait_for_lines(run / "metrics.csv", chance.randrange(1, 20), first)
    second = ended(begin(*LONG, "seed=7", f"hydra.run.dir={run}", where=folder))
    first.kill()
    first.communicate()
    return second.refusal_of("another process is running", str(first.pid))


def five_at_once(prepared: Path, folder: Path, chance: random.Random) -> str | None:
    starts = [begin(*GLOW, *QUIET, "trainer.max_epochs=1", where=folder) for _ in range(5)]
    ends = [ended(process) for process in starts]
    finished = list((folder / "outputs").rglob("summary.json"))
    return None if [end.code for end in ends] == [0] * 5 and len(finished) == 5 else f"{len(finished)} runs of 5"


FAULTS = [
    Fault("resumed_twice_at_once", prepare, resumed_twice),
    Fault("started_twice_in_one_folder", lambda prepared: None, started_twice),
    Fault("five_starts_at_once", lambda prepared: None, five_at_once),
]
