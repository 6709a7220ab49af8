"""What a run is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paperzoo.runner.folder import quoted, run_name


@dataclass(frozen=True)
class Job:
    """One run, settled: everything that the command line and the config files say about it.

    Attributes:
        settings: the whole resolved config, plain values.
        choices: the option chosen in each config group (`{"model": "glow", "data": "cifar10", ...}`).
        overrides: what was typed on the command line, when the run was started and when it was resumed.
        folder: where everything the run writes goes.
    """

    settings: dict[str, Any]
    choices: dict[str, str | None]
    overrides: list[str]
    folder: Path

    @property
    def arguments(self) -> list[str]:
        """What starts this very job, for the other ranks."""
        resume = self.settings["resume"]
        return [*self.overrides, f"resume={quoted(str(resume))}"] if resume else self.overrides

    @property
    def name(self) -> str:
        return run_name(*(self.choices.get(group) for group in ("experiment", "model", "data")))
