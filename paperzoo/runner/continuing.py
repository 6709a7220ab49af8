"""What a resumed run goes on from."""

from collections.abc import Iterator
from pathlib import Path

from paperzoo.errors import UserError
from paperzoo.reporting.metrics_csv import FILE_NAME as METRICS_FILE
from paperzoo.reporting.metrics_csv import read_metrics
from paperzoo.runner.damage import BEST, FOLDER, LAST, refuse_damaged
from paperzoo.runner.folder import read_summary


def checkpoint_to_resume(folder: Path) -> Path | None:
    """The whole `last.ckpt` of a run; None if it was killed before there was any checkpoint.

    Raises:
        UserError: it is damaged, or gone where there was one; `best.ckpt` is damaged.
    """
    last, best = (folder / FOLDER / name for name in (LAST, BEST))
    if last.is_file():
        for path in (last, best):
            if path.is_file():
                refuse_damaged(path)
        return last
    if lost := next(_traces(folder, best), None):
        raise UserError(f"resume={folder}: there is no {FOLDER}/{LAST} to go on from, but {lost}")
    return None


def _traces(folder: Path, best: Path) -> Iterator[str]:
    """What tells that a run has come to a checkpoint, and what can be done without."""
    anew = "to start over, begin a new run"
    if best.is_file():
        yield f"{best} is there: copy it to {LAST}, and the run goes on from the step of {BEST}; {anew}"
    if read_summary(folder).get("status") == "finished":
        yield f"the run is finished: put the file back; {anew}"
    if any(name.startswith("val/") for name in read_metrics(folder / METRICS_FILE)):
        yield f"{METRICS_FILE} tells of validations, after each of which it is written: put the file back; {anew}"
