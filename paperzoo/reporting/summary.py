"""A run in numbers: `summary.json`."""

import json
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from paperzoo.files import write_text
from paperzoo.reporting.figure_files import read_figures
from paperzoo.reporting.results import Number, Objective, Row

PACKAGES = ("paperzoo", "torch", "pytorch-lightning", "hydra-core", "numpy")


@dataclass(frozen=True)
class Summary:
    """A run in numbers: the content of `summary.json`.

    Args:
        name: what ran: the preset, or model/data.
        status: how it ended.
        command: the command line that does it again.
        metrics: the final value of each metric.
        rows: published against measured.
        config: the resolved config, plain.
        steps: optimizer steps taken.
        epochs: epochs finished.
        parameters: trainable parameters of the model.
        hours: time spent in training and testing, all sessions of a resumed run together.
        device: what it ran on, in words.
        identity: twelve hexadecimal digits that two runs share if they are the same experiment.
        message: why it stopped or failed; empty when finished.
        objective: what says how good it is beside others, if anything does.
        notes: what one must know to read the results, a sentence each.
        bound: the trivial predictor whose results the rows' bounds are, as a sentence; empty if there is none.
        tested: which weights were tested, in words; empty if none were.
        data: how much there is of each part of the data, in words.
        ended: when it came to this, as ISO 8601 writes it.
    """

    name: str
    status: Literal["finished", "pruned", "stopped", "failed"]
    command: str
    metrics: Mapping[str, Number]
    rows: Sequence[Row]
    config: Mapping[str, Any]
    steps: int
    epochs: int
    parameters: int
    hours: Number
    device: str
    identity: str
    message: str = ""
    objective: Objective | None = None
    notes: Sequence[str] = ()
    bound: str = ""
    tested: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    ended: str = ""


def environment() -> dict[str, str]:
    """Versions of Python and of what decides a run's numbers."""
    versions = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # run from a source tree
            versions[package] = "not installed"
    if versions["paperzoo"] == "not installed":
        from paperzoo import __version__

        versions["paperzoo"] = __version__
    return versions


@cache
def git_commit() -> str | None:
    """The commit of the source tree when first asked, `-dirty` if files differ from it; None without a repository."""
    source = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ("git", "-C", source, *arguments), capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # an installed copy may lie in somebody else's repository
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def write_summary(folder: Path, summary: Summary) -> Path:
    """Writes `summary.json`, whole or not at all; NaN and infinities become null, as JSON has none.

    Raises:
        UserError: the disk is full or the folder is not writable.
    """
    rows = [{**asdict(row), "difference": row.difference, "verdict": row.verdict} for row in summary.rows]
    content = {
        "name": summary.name,
        "status": summary.status,
        "message": summary.message,
        "command": summary.command,
        "metrics": dict(summary.metrics),
        "objective": summary.objective._asdict() if summary.objective else None,
        "comparison": rows,
        "bound": summary.bound,
        "notes": list(summary.notes),
        "steps": summary.steps,
        "epochs": summary.epochs,
        "parameters": summary.parameters,
        "hours": summary.hours,
        "ended": summary.ended,
        "tested": summary.tested,
        "data": dict(summary.data),
        "device": summary.device,
        "figures": [figure.name for figure in read_figures(folder)],
        "commit": git_commit(),
        "versions": environment(),
        "identity": summary.identity,
        "config": summary.config,
    }
    return write_text(folder / "summary.json", json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(child) for child in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
