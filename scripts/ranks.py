"""Tests short trainings with one process and with several, and prints whether both measure the same.

    python scripts/ranks.py                        # one preset of each family whose data need no download
    python scripts/ranks.py --ranks 3 dann/moons

The batch of evaluation is divided among the processes. A line for each preset: metrics, the largest difference, and its
metric. Ends with 1 if any differ by more than 1e-6, or a run fails.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
MOST = 1e-6
QUIET = ("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false")
FAMILIES = (
    "glow/digits_laptop",
    "realnvp/digits_laptop",
    "dann/moons",
    "neurosat/sr_u3_10_laptop",
    "relation_network/sort_of_clevr_laptop",
    "relation_network/physics_count",
    "recurrent_relation_network/pretty_clevr",
    "recurrent_relation_network/sudoku_laptop",
)


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    """The summary of a run.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, str(ROOT / "train.py"), f"hydra.run.dir={folder}", *QUIET, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr.strip().splitlines()[-1])
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def measured(preset: str, ranks: Sequence[int], folder: Path) -> list[dict[str, float]]:
    """The test metrics of one short training, with each of these numbers of processes."""
    data = run(folder / "training", f"experiment={preset}", "trainer=smoke")["config"]["data"]
    found = []
    for count in ranks:
        sizes = [f"data.{key}={max(1, data[key] // count)}" for key in ("eval_batch_size", "eval_nodes") if key in data]
        strategy = "ddp" if count > 1 else "auto"
        devices = (f"trainer.devices={count}", "trainer.accelerator=cpu", f"trainer.strategy={strategy}")
        checkpoint = f"checkpoint={folder / 'training'}"
        summary = run(folder / f"test{count}", "mode=test", checkpoint, *sizes, *devices)
        found.append(summary["metrics"])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=FAMILIES)
    parser.add_argument("--ranks", type=int, default=2)
    arguments = parser.parse_args()
    is_bad = False
    for preset in arguments.presets:
        with tempfile.TemporaryDirectory() as folder:
            try:
                one, several = measured(preset, (1, arguments.ranks), Path(folder))
            except RuntimeError as error:
                print(f"{preset:50} failed: {error}", flush=True)
                is_bad = True
                continue
        differences = {name: abs(one[name] - several.get(name, float("inf"))) for name in one}
        worst = max(differences, key=lambda name: differences[name])
        is_bad |= differences[worst] > MOST
        print(f"{preset:50} {len(one):3} metrics, at most {differences[worst]:.1e} ({worst})", flush=True)
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
