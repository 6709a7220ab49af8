"""Kills, damages and crowds real runs, and prints what survived: `python scripts/faults.py`.

    python scripts/faults.py                        # every fault: 20 tries of each, two minutes for each at most
    python scripts/faults.py --only killed_dann     # or several: --only killed_dann --only cache_flipped
    python scripts/faults.py --tries 5 --minutes 1 --seed 3

A line for each fault: how often it was tried, how often the run survived, and what went wrong the first time that it
did not. Each try is a process of its own, and draws from a seed of its own: the fault's name, `--seed` and the number
of the try. Ends with 1 if not all survived. A file of `scripts/fault_kinds/` with a list `FAULTS` is another kind.
"""

import argparse
import importlib
import pkgutil
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import scripts.fault_kinds  # noqa: E402
from scripts.fault_kinds.trying import Fault  # noqa: E402


def known() -> dict[str, Fault]:
    """All faults by name."""
    names = [
        f"{scripts.fault_kinds.__name__}.{found.name}" for found in pkgutil.iter_modules(scripts.fault_kinds.__path__)
    ]
    modules = [importlib.import_module(name) for name in names]
    return {fault.name: fault for module in modules for fault in getattr(module, "FAULTS", ())}


def tried(fault: Fault, tries: int, seconds: float, seed: int) -> list[str | None]:
    """What went wrong in each try; as many of them as there is time for, one at least."""
    results: list[str | None] = []
    with tempfile.TemporaryDirectory() as temporary:
        prepared = Path(temporary, "prepared")
        prepared.mkdir()
        fault.prepare(prepared)
        began = time.monotonic()
        while len(results) < min(tries, fault.most) and (not results or time.monotonic() - began < seconds):
            number = len(results)
            folder = Path(temporary, f"try{number}")
            folder.mkdir()
            try:
                results.append(fault.attempt(prepared, folder, random.Random(f"{fault.name} {seed} {number}")))
            except subprocess.TimeoutExpired as error:
                results.append(f"did not end within {error.timeout:.0f} s")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="this fault; may be given again")
    parser.add_argument("--tries", type=int, default=20, help="of each fault at most")
    parser.add_argument("--minutes", type=float, default=2, help="for each fault at most, but for its first try")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    faults = known()
    if unknown := set(options.only or ()) - faults.keys():
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(faults)}")
    has_lost = False
    print(f"{'fault':60} {'tries':>5} {'survived':>8}")
    for name in options.only or faults:
        results = tried(faults[name], options.tries, 60 * options.minutes, options.seed)
        lost = [(number, what) for number, what in enumerate(results) if what is not None]
        told = f"  try {lost[0][0]}: {' '.join(lost[0][1].split())}" if lost else ""
        print(f"{name:60} {len(results):5} {len(results) - len(lost):8}{told}", flush=True)
        has_lost |= bool(lost)
    sys.exit(int(has_lost))


if __name__ == "__main__":
    main()
