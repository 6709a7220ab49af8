"""What a stranger hands over: checkpoints, presets and folders that attack, formulas that take the machine."""

import random
import re
from collections.abc import Callable
from pathlib import Path

from scripts.fault_kinds.trying import QUIET, Fault, trained
from tests import attacks, hostile_files

NEUROSAT = ("experiment=neurosat/sr_u3_10_laptop", "trainer=smoke")


def prepared_run(*arguments: str) -> Callable[[Path], None]:
    """Trains the run that the victims have."""
    return lambda prepared: trained(*arguments, *QUIET, f"hydra.run.dir={prepared / 'run'}", where=prepared)


def attack(case: attacks.Case) -> Fault:
    """One try is enough: nothing in it is drawn."""

    def attempt(prepared: Path, folder: Path, chance: random.Random) -> str | None:
        return attacks.attempt(case, folder, prepared / "run") or None

    name = re.sub(r"\W+", "_", case.name.replace("'s", ""))
    return Fault(name, prepared_run(*attacks.TRAINED), attempt, most=1)


def hostile_formulas(prepared: Path, folder: Path, chance: random.Random) -> str | None:
    return hostile_files.answered(folder, prepared / "run") or None


FAULTS = [
    *map(attack, attacks.CASES),
    Fault("hostile_formulas_among_good_ones", prepared_run(*NEUROSAT), hostile_formulas, most=1),
]
