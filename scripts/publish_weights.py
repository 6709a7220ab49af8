"""Makes of a run of a preset the trained weights that come with the code: `python scripts/publish_weights.py RUN ...`.

Writes `paperzoo/pretrained/<paper>/<preset>.ckpt`, which `checkpoint=pretrained/<paper>/<preset>` then means: the
weights that the run was tested with, its config, names, metrics and commit; nothing of its optimiser or of the machine.
Weights of more than 2.9 MB are rounded to 16 bits. What they measure on a part of the test data is in the file too, for
a test that compares it.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from omegaconf import open_dict
from torch import Tensor

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import paperzoo  # noqa: E402
from paperzoo.choices import WEIGHTS, presets  # noqa: E402
from paperzoo.config import plain  # noqa: E402
from paperzoo.errors import EXIT_USER_ERROR, UserError, report_user_error  # noqa: E402
from paperzoo.reporting.results import flat  # noqa: E402
from paperzoo.runner.checkpoints import AtomicCheckpointIO  # noqa: E402
from paperzoo.runner.folder import (  # noqa: E402
    PROVENANCE,
    differences,
    find_checkpoint,
    provenance_of,
    read_checkpoint,
    read_summary,
)

LARGEST, LARGEST_TOGETHER = 3_000_000, 25_000_000  # bytes
ROUNDED_FROM = 2_900_000  # bytes of weights; the rest of a file is its config and its names
DATA_ROOT = "~/.cache/paperzoo"


def publish(run: Path, few: list[str]) -> Path:
    """Writes the weights of a run; returns their file.

    Args:
        run: its folder.
        few: overrides that leave little of the test data, on which the weights are tested once more.

    Raises:
        UserError: the run is not finished, is not what a preset says, is of a changed tree, or is too large.
    """
    summary = read_summary(run)
    if summary.get("status") != "finished" or summary["config"]["mode"] != "train":
        raise UserError(f"{run}: is not the folder of a finished training")
    if not summary["commit"] or summary["commit"].endswith("-dirty"):
        raise UserError(f"{run}: was trained by a tree that is no commit ({summary['commit']}); train it again")
    path = find_checkpoint(run)
    checkpoint = read_checkpoint(path)
    provenance = provenance_of(checkpoint, path)
    preset = provenance["choices"].get("experiment")
    if preset not in presets():
        raise UserError(f"{run}: is of no preset ({preset}); whoever reads its weights' name must know what they are")
    kept = {name: provenance[name] for name in ("version", "choices", "names", "hours")}
    content: dict[str, Any] = {
        "state_dict": small(checkpoint["state_dict"]),
        PROVENANCE: {
            **kept,
            "config": of_anyone(provenance["config"], preset, run),
            "overrides": [f"experiment={preset}"],
            "metrics": {name: value for name, value in summary["metrics"].items() if value is not None},
            "objective": summary["objective"]["metric"],
            "commit": summary["commit"],
        },
    }
    target = WEIGHTS / f"{preset}.ckpt"
    target.parent.mkdir(parents=True, exist_ok=True)
    write = AtomicCheckpointIO().save_checkpoint
    unpublished = run / f"{target.stem}.ckpt"
    try:
        write(content, unpublished)
        content[PROVENANCE]["check"] = {"overrides": few, "metrics": paperzoo.load(unpublished).test(*few)}
        write(content, unpublished)
        if (size := unpublished.stat().st_size) > LARGEST:
            raise UserError(f"{run}: {size / 1e6:.1f} MB of weights; at most {LARGEST / 1e6:.0f} MB come with the code")
    finally:
        unpublished.unlink(missing_ok=True)
    write(content, target)
    return target


def small(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights; rounded to 16 bits where they would be too large in 32. A model takes them as those of its own."""
    if sum(weight.numel() * weight.element_size() for weight in weights.values()) < ROUNDED_FROM:
        return weights
    return {name: weight.half() if weight.is_floating_point() else weight for name, weight in weights.items()}


def of_anyone(trained: dict[str, Any], preset: str, run: Path) -> str:
    """The config of a run as text, as the preset composes it now: what may differ is of the machine or about numbers.

    Raises:
        UserError: the preset, as it is now, is another config.
    """
    composed = paperzoo.compose(preset, f"data_root={DATA_ROOT}")
    with open_dict(composed):
        del composed["hydra"]
    default = plain(composed)
    if changed := differences(trained, default):
        raise UserError(*(f"{run}: is not what {preset} says: {difference}" for difference in changed))
    return yaml.safe_dump({**default, "published": flat(default["published"])}, sort_keys=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished training of a preset")
    few = "an override that leaves little of the test data, for the test of the weights; may be given again"
    parser.add_argument("--few", action="append", metavar="KEY=VALUE", help=few)
    options = parser.parse_args()
    failed = False
    for run in options.runs:
        try:
            path = publish(run, options.few or ["trainer.limit_test_batches=2"])
        except UserError as error:
            report_user_error(error)
            failed = True
        else:
            print(f"wrote {path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.2f} MB")
    together = sum(path.stat().st_size for path in WEIGHTS.rglob("*.ckpt"))
    print(f"together: {together / 1e6:.1f} MB of at most {LARGEST_TOGETHER / 1e6:.0f}")
    sys.exit(EXIT_USER_ERROR if failed else 0)


if __name__ == "__main__":
    main()
