"""What surrounds the jobs of a multirun: one folder, a word about each that failed early, the table in the end."""

import json
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from paperzoo.errors import UserError
from paperzoo.files import write_text
from paperzoo.runner.folder import quoted


class Multirun(Callback):
    """Hydra calls it at every start, and in the processes of a launcher: it imports things when they are needed."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Settles the sweep's folder, which each job would name after its own choices."""
        typed = config.hydra.overrides.hydra
        if any(override.startswith("hydra.sweep.dir=") for override in typed):
            return
        with read_write(config.hydra), open_dict(config.hydra):
            typed.append(f"hydra.sweep.dir={quoted(config.hydra.sweep.dir)}")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Records why a job of a multirun came to no summary; its folder may be gone, as it never was a run."""
        folder = Path(config.hydra.runtime.output_dir)
        is_done = job_return.status is not JobStatus.FAILED or (folder / "summary.json").is_file()
        if is_done or config.hydra.mode is not RunMode.MULTIRUN:
            return
        from paperzoo.reporting.sweep_jobs import FAILURE

        error = job_return._return_value  # `return_value` raises it
        is_refused = isinstance(error, UserError)
        content = {
            "status": "refused" if is_refused else "failed",
            "message": str(error) if is_refused else f"{type(error).__name__}: {error}",
            "overrides": OmegaConf.to_container(config.hydra.overrides.task),
        }
        write_text(folder / FAILURE, json.dumps(content, indent=2) + "\n")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Leaves `sweep.html` and `sweep.csv`, and prints the table, also if jobs failed."""
        from paperzoo.reporting.sweep import report
        from paperzoo.reporting.sweep_jobs import read_jobs

        folder = Path(config.hydra.sweep.dir)
        if jobs := read_jobs(folder):
            report(jobs, folder)
