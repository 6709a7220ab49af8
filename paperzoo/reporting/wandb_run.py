"""Weights & Biases: one W&B run for each run folder, also after a resume, and also without an account or a network."""

import logging
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pytorch_lightning.loggers import WandbLogger

from paperzoo.reporting.results import Row

log = logging.getLogger(__name__)

DEFAULT_SERVER = "https://api.wandb.ai"
OFFLINE_MODES = ("offline", "dryrun")


def wandb_logger(
    folder: Path,
    settings: Mapping[str, Any],
    project: str,
    entity: str | None = None,
    tags: Sequence[str] = (),
    notes: str | None = None,
) -> WandbLogger:
    """Lightning's logger for the W&B run that belongs to `folder`.

    The run's id is the folder's name, so a resumed training continues the same W&B run. Without an account on this
    machine (WANDB_API_KEY or `wandb login`) it records offline and never asks for one; WANDB_MODE decides otherwise.
    Runs are grouped by the two folders above theirs: `<paper>/<preset>`, or the sweep that they are jobs of.

    Args:
        folder: the run's folder.
        settings: the resolved config.
        project: W&B project.
        entity: W&B user or team; None for the account's default.
        tags: as shown in W&B.
        notes: as shown in W&B.
    """
    offline = is_offline()
    group = "/".join(folder.parts[-3:-1]) or None
    logger = WandbLogger(
        name=folder.name,
        id=run_id(folder),
        resume=None if offline else "allow",
        offline=offline,
        save_dir=str(folder),
        project=project,
        entity=entity,
        group=group,
        tags=list(tags),
        notes=notes,
        config=dict(settings),
        settings={"quiet": True},  # the last lines on the terminal are the run's own table
    )
    logger._wandb_init.pop("anonymous", None)  # Lightning passes it always, and W&B warns about it always
    return logger


def run_id(folder: Path) -> str:
    """The W&B id of the run in `folder`: the last three parts of its path, in the characters that W&B takes."""
    name = "-".join(folder.parts[-3:])
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[-128:]


def is_offline() -> bool:
    """Whether W&B records to the disk only: WANDB_MODE says so, or there is no account to record to."""
    mode = os.environ.get("WANDB_MODE")
    return mode in OFFLINE_MODES if mode else not has_account()


def has_account() -> bool:
    """Whether this machine has credentials for the W&B server: WANDB_API_KEY, or an entry in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or DEFAULT_SERVER).hostname or ""
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        return netrc.netrc(str(path)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def summarize(logger: WandbLogger, rows: Sequence[Row]) -> None:
    """Puts the published numbers and the differences beside the measured ones in the run's summary."""
    if logger._experiment is None:
        return
    for row in rows:
        if row.published is not None:
            logger.experiment.summary[f"published/{row.metric}"] = row.published
        if row.difference is not None:
            logger.experiment.summary[f"difference/{row.metric}"] = row.difference


def finish(logger: WandbLogger, exit_code: int) -> None:
    """Ends the W&B run as finished or failed, and says how to upload what was recorded offline."""
    if logger._experiment is None:
        return
    run = logger.experiment
    run.finish(exit_code=exit_code)
    if run.offline:
        sessions = sorted(Path(run.dir).parent.parent.glob(f"offline-run-*-{run.id}"))
        together = f"--id {run.id} " if len(sessions) > 1 else ""  # a resumed run was recorded in several parts
        log.warning("W&B recorded offline; upload with: wandb sync %s%s", together, " ".join(map(str, sessions)))
