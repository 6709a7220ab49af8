"""What surrounds the jobs of a multirun: all checked before the first, each that fails recorded, the table in the end.

Hydra calls `Multirun` at every start, and in the processes of a launcher: things are imported when they are needed.
"""

import json
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write

from paperzoo.errors import EXIT_USER_ERROR, UserError, report_user_error
from paperzoo.files import write_text
from paperzoo.runner.commands import resume_command
from paperzoo.runner.folder import MULTIRUN, STORAGE, into_sweep_folder
from paperzoo.runner.starting import make_own

EXIT_JOBS_FAILED = 1
TRACEBACK = "traceback.txt"  # of a job that failed for a reason that is not the user's


class Multirun(Callback):
    """Hydra's callback around a multirun."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Settles the sweep's folder, which each job would name after its own choices; checks all jobs; names a study.

        Ends the process if a job cannot run: none has started then, and there is no folder.
        """
        typed = config.hydra.overrides.hydra
        is_new = not any(override.startswith("hydra.sweep.dir=") for override in typed)
        if is_new:
            with read_write(config.hydra), open_dict(config.hydra):
                typed += into_sweep_folder(Path(config.hydra.sweep.dir))
        from paperzoo.runner.planned import settle_multirun

        arguments = _typed(config)
        try:
            settle_multirun(config)
            if is_new:
                make_own(Path(config.hydra.sweep.dir))
            write_text(Path(config.hydra.sweep.dir) / MULTIRUN, OmegaConf.to_yaml(arguments))
        except UserError as error:
            report_user_error(error)
            print("paperzoo: no job was started", file=sys.stderr)
            sys.exit(EXIT_USER_ERROR)
        except Exception:  # of which Hydra would make a warning, and start the jobs
            traceback.print_exc()
            sys.exit(EXIT_JOBS_FAILED)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Leaves `sweep.html` and `sweep.csv`, and prints the table, also if jobs failed: then the exit code is 1."""
        stop = sys.exc_info()[1]
        if isinstance(stop, SystemExit) and stop.code == EXIT_USER_ERROR:
            return
        from paperzoo.reporting.sweep import report
        from paperzoo.reporting.sweep_jobs import ENDED, read_jobs

        folder = Path(config.hydra.sweep.dir)
        jobs = read_jobs(folder)
        if not jobs:
            return
        report(jobs, folder)
        is_stopped = isinstance(stop, SystemExit | KeyboardInterrupt)
        if is_stopped or any(job.state not in ENDED for job in jobs):
            print(f"what is missing: {resume_command(folder)}")
        if not is_stopped and any(job.state in ("failed", "refused") for job in jobs):
            sys.exit(EXIT_JOBS_FAILED)


def _typed(config: DictConfig) -> ListConfig:
    """What was typed, so that `resume=` can start the same jobs again."""
    hydra = config.hydra
    own = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    remembered_elsewhere = ("hydra.sweep.", "hydra.mode=", f"{STORAGE}=")
    typed = [o for o in hydra.overrides.hydra if not o.startswith(remembered_elsewhere)]
    return OmegaConf.create([*(f"--config-dir={Path(path).resolve()}" for path in own), *typed, *hydra.overrides.task])


def run_job(config: DictConfig) -> float | str | None:
    """Runs a job of a multirun; one that fails is recorded and told in a line, and the others go on.

    Returns:
        What the job came to; `PRUNED` if its trial was, None if it failed.

    Raises:
        RunStoppedError: a signal, which ends the multirun.
    """
    from paperzoo.runner.pruned import PRUNED, PrunedError
    from paperzoo.runner.run import run

    hydra: Any = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    try:
        value = run(config)
    except PrunedError as stop:
        if not (folder / "summary.json").is_file():
            record_failure(hydra, PRUNED, str(stop))
        print(f"job {hydra.sweep.subdir}: {stop}")
        return PRUNED
    except UserError as error:
        record_failure(hydra, "refused", str(error))
        report_user_error(UserError(*(f"job {hydra.sweep.subdir}: {problem}" for problem in error.problems)))
        return None
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        record_failure(hydra, "failed", message)
        where = write_text(folder / TRACEBACK, traceback.format_exc())
        report_user_error(UserError(f"job {hydra.sweep.subdir}: {message} (the traceback is in {where})"))
        return None
    _forget_failure(folder)
    return value


def record_failure(hydra: DictConfig, status: str, message: str) -> None:
    """Writes why a job failed; its folder may be gone, as it never was a run."""
    from paperzoo.reporting.sweep_jobs import FAILURE

    content = {"status": status, "message": message, "overrides": OmegaConf.to_container(hydra.overrides.task)}
    write_text(Path(hydra.runtime.output_dir) / FAILURE, json.dumps(content, indent=2) + "\n")


def _forget_failure(folder: Path) -> None:
    from paperzoo.reporting.sweep_jobs import FAILURE

    for name in (FAILURE, TRACEBACK):
        (folder / name).unlink(missing_ok=True)
