"""How a run ends: `summary.json`, `report.html`, the table on the terminal, closed loggers."""

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Literal

import rich.console

from paperzoo.errors import UserError
from paperzoo.reporting.loggers import close_loggers
from paperzoo.reporting.opening import device_name
from paperzoo.reporting.page import duration, write_report
from paperzoo.reporting.results import Row, comparison, terminal_table
from paperzoo.reporting.summary import Summary, write_summary
from paperzoo.runner.build import Parts
from paperzoo.runner.folder import identity, read_summary
from paperzoo.runner.job import Job
from paperzoo.runner.objective import judged_by, objective, tested
from paperzoo.runner.pruned import PrunedError
from paperzoo.runner.signals import RunStoppedError

log = logging.getLogger(__name__)


SAME_ITEMS = "Validation and test are the same items here"
CHOSEN_BY_THEM = "the weights were chosen by the items that they are tested on"

Status = Literal["finished", "pruned", "stopped", "failed"]


def validation_at_best(
    logged: Mapping[str, Sequence[tuple[int, float]]], monitor: str | None, best: float
) -> dict[str, float]:
    """The validation metrics at the step whose weights are in `best.ckpt`."""
    step = next((step for step, value in logged.get(monitor or "", ()) if value == best), None)
    validation = {name: dict(pairs) for name, pairs in logged.items() if name.startswith("val/")}
    return {name: pairs[step] for name, pairs in validation.items() if step in pairs}


@contextmanager
def reporting(job: Job, parts: Parts, metrics: Mapping[str, float]) -> Iterator[None]:
    """Writes `summary.json` and `report.html`, prints the table and closes the loggers, however the block ends.

    A session that was refused, or stopped, before its first batch leaves neither, and one that does not finish leaves
    what a finished one has written.
    """
    is_refused = False
    status: Status = "failed"
    message = ""
    try:
        yield
        status = "finished"
    except RunStoppedError as error:
        status, message, is_refused = "stopped", str(error), not parts.provenance.has_worked(parts.trainer)
        raise
    except PrunedError as error:
        status, message = "pruned", str(error)
        raise
    except UserError as error:
        message, is_refused = str(error), not parts.provenance.has_worked(parts.trainer)
        raise
    except BaseException as error:
        message = f"{type(error).__name__}: {error}"
        raise
    finally:
        is_refused = is_refused or (status != "finished" and read_summary(job.folder).get("status") == "finished")
        rows = comparison(
            job.settings["published"],
            metrics,
            parts.data.bounds().values,
            job.settings["measured"],
            judged_by(job.settings, type(parts.module)),
        )
        if parts.trainer.is_global_zero and not is_refused:
            _write_report(job, parts, metrics, rows, status, message)
        close_loggers(parts.trainer.loggers, status, rows)


def _notes(job: Job, parts: Parts) -> Iterator[str]:
    """What a reader of the numbers must know."""
    if parts.data.tests_on_validation:
        is_chosen = tested(job, parts.module) == "best"
        yield f"{SAME_ITEMS}: {CHOSEN_BY_THEM}." if is_chosen else f"{SAME_ITEMS}."


def _tested_weights(job: Job, parts: Parts) -> str:
    """Which weights the results of the test are of, in words."""
    if job.settings["mode"] == "test":
        return str(job.settings["checkpoint"])
    metric, _ = objective(job.settings, type(parts.module))
    return f"best, by {metric}" if tested(job, parts.module) == "best" else "last"


def _write_report(
    job: Job,
    parts: Parts,
    metrics: Mapping[str, float],
    rows: Sequence[Row],
    status: Status,
    message: str,
) -> None:
    trainer = parts.trainer
    summary = Summary(
        name=job.name,
        status=status,
        command=shlex.join(["python", "train.py", *job.overrides]),
        metrics=metrics,
        rows=rows,
        config=job.settings,
        steps=trainer.global_step,
        epochs=trainer.current_epoch,
        parameters=sum(p.numel() for p in parts.module.parameters() if p.requires_grad),
        hours=parts.provenance.hours,
        device=device_name(trainer),
        identity=identity(job.settings),
        message=message,
        objective=judged_by(job.settings, type(parts.module)),
        notes=list(_notes(job, parts)),
        bound=parts.data.bounds().predictor,
        tested=_tested_weights(job, parts) if any(name.startswith("test/") for name in metrics) else "",
        data=parts.data.amounts(),
        ended=datetime.now().astimezone().isoformat(timespec="seconds"),
    )
    try:
        report = write_report(job.folder, summary)
        write_summary(job.folder, summary)  # last: it says that nothing is missing
    except UserError as error:
        log.warning("%s", error)  # the run's own end, good or bad, is what the user must see
        return
    if status == "finished":
        console = rich.console.Console()
        console.print(f"{job.name}, {duration(parts.provenance.hours)}", style="italic", highlight=False)
        console.print(terminal_table(rows))
        for note in summary.notes:
            console.print(note)
        if summary.bound:
            console.print(f"bound: a predictor that {summary.bound}")
        console.print(f"report: {report}", soft_wrap=True)
