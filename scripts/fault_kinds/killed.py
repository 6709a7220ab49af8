"""SIGKILL in training, between any two lines of metrics.csv: the resumed run is the one that was never stopped."""

import random
import time
from pathlib import Path

from scripts.fault_kinds.trying import EACH_BATCH, GLOW, QUIET, Fault, begin, difference, train, trained, wait_for_lines

SMOKE = ("trainer=smoke", "trainer.max_steps=30", "trainer.max_epochs=10", "trainer.limit_train_batches=5")
RUNS = {
    "glow": (*GLOW, "trainer.max_epochs=3"),
    "dann": ("experiment=dann/moons", *SMOKE),
    "neurosat_workers": ("experiment=neurosat/sr_u3_10_laptop", *SMOKE, "data.workers=1"),
    "sudoku": ("experiment=recurrent_relation_network/sudoku_laptop", *SMOKE),
    "sort_of_clevr": ("experiment=relation_network/sort_of_clevr_laptop", *SMOKE),
}


def fault(name: str) -> Fault:
    """The kills of one kind of run."""
    arguments = (*RUNS[name], *QUIET, EACH_BATCH)

    def prepare(prepared: Path) -> None:
        trained(*arguments, f"hydra.run.dir={prepared / 'whole'}", where=prepared)

    def attempt(prepared: Path, folder: Path, chance: random.Random) -> str | None:
        run, whole = folder / "run", prepared / "whole"
        lines = (whole / "metrics.csv").read_bytes().count(b"\n")
        process = begin(*arguments, f"hydra.run.dir={run}", where=folder)
        wait_for_lines(run / "metrics.csv", chance.randrange(1, lines), process)
        time.sleep(0.05 * chance.random())
        process.kill()
        process.communicate()
        end = train(f"resume={run}", where=folder)
        return end.output.strip()[-300:] if end.code else difference(run, whole)

    return Fault(f"killed_{name}", prepare, attempt)


FAULTS = [fault(name) for name in RUNS]
