"""Files of a run that a disk has damaged or lost: refused by name, and a finished run stays as it is."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from scripts.fault_kinds.trying import GLOW, QUIET, Fault, clear_block, contents, cut, flip, train, trained

Damage = Callable[[Path, random.Random], None]


def prepare(prepared: Path) -> None:
    trained(*GLOW, *QUIET, "trainer.max_epochs=2", f"hydra.run.dir={prepared / 'run'}", where=prepared)


def tested(damage: Damage) -> Callable[[Path, Path, random.Random], str | None]:
    """Tests a damaged best.ckpt: it is refused, or the damage was to no part of the content."""

    def attempt(prepared: Path, folder: Path, chance: random.Random) -> str | None:
        run = shutil.copytree(prepared / "run", folder / "run")
        damage(run / "checkpoints" / "best.ckpt", chance)
        end = train("mode=test", f"checkpoint={run}", f"hydra.run.dir={folder / 'test'}", *QUIET, where=folder)
        if end.code:
            return end.refusal_of("best.ckpt")
        values = [json.loads((place / "summary.json").read_text())["metrics"] for place in (run, folder / "test")]
        same = values[0]["test/bits_per_dim"] == values[1]["test/bits_per_dim"]
        return None if same else "a damaged checkpoint was used"

    return attempt


def resumed(damage: Damage, *words: str) -> Callable[[Path, Path, random.Random], str | None]:
    """Resumes a finished run, to be longer, after damage: refused, and nothing else of it is touched."""

    def attempt(prepared: Path, folder: Path, chance: random.Random) -> str | None:
        run = shutil.copytree(prepared / "run", folder / "run")
        damage(run, chance)
        before = contents(run)
        end = train(f"resume={run}", "trainer.max_epochs=3", where=folder)
        if not end.code and not words:
            return None  # the damage was to no part of the content
        return end.refusal_of(*(words or ("last.ckpt",))) or (None if contents(run) == before else "it was touched")

    return attempt


def last(damage: Damage) -> Damage:
    return lambda run, chance: damage(run / "checkpoints" / "last.ckpt", chance)


def lose_last(run: Path, chance: random.Random) -> None:
    (run / "checkpoints" / "last.ckpt").unlink()


def cut_metrics(prepared: Path, folder: Path, chance: random.Random) -> str | None:
    """A cut metrics.csv is told, and has whole lines only when the run goes on."""
    run = shutil.copytree(prepared / "run", folder / "run")
    cut(run / "metrics.csv", chance)
    end = train(f"resume={run}", "trainer.max_epochs=3", where=folder)
    if end.code:
        return end.output.strip()[-300:]
    expected = (prepared / "run" / "metrics.csv").read_text().splitlines()
    told = [line for line in (run / "metrics.csv").read_text().splitlines() if ",test/" not in line]
    false = [line for line in told if line not in expected and int(line.split(",")[0]) < 2 * 11]
    return f"a false line: {false[0]}" if false else None


FAULTS = [
    Fault("checkpoint_flipped_tested", prepare, tested(flip)),
    Fault("checkpoint_zeroed_tested", prepare, tested(clear_block)),
    Fault("checkpoint_cut_tested", prepare, tested(cut)),
    Fault("checkpoint_flipped_resumed", prepare, resumed(last(flip))),
    Fault("checkpoint_lost", prepare, resumed(lose_last, "best.ckpt is there")),
    Fault("metrics_cut", prepare, cut_metrics),
]
