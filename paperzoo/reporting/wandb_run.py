"""Weights & Biases: one W&B run for each run folder, also after a resume, and also without an account or a network."""

import fnmatch
import logging
import netrc
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import requests
from pydantic import PositiveFloat
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from paperzoo.errors import UserError
from paperzoo.reporting.about import About
from paperzoo.reporting.results import Row

log = logging.getLogger(__name__)

DEFAULT_SERVER = "https://api.wandb.ai"
STEP = "trainer/global_step"  # what Lightning logs all metrics by
OFFLINE_MODES = ("offline", "dryrun")
CHECKPOINTS = ("best.ckpt", "last.ckpt")


class WandbRun(WandbLogger):
    """Lightning's logger for the W&B run that belongs to `folder`; whatever happens to W&B, the training goes on.

    The run's id is the folder's name, so a resumed training continues the same W&B run. Without an account on this
    machine (WANDB_API_KEY or `wandb login`) it records offline and never asks for one; WANDB_MODE decides otherwise.
    Runs are grouped by what ran, `<paper>/<preset>`, those of a sweep too, and called after what was varied.

    Args:
        folder: the run's folder.
        settings: the resolved config.
        about: what is shown of the run beside its numbers.
        project: W&B project.
        entity: W&B user or team; None for the account's default.
        tags: further ones than paper, preset, data and mode.
        notes: as shown in W&B.
        checkpoints: upload `best.ckpt` and `last.ckpt` as artifacts when the run has ended.
        init_timeout: seconds that the server has to answer when the run begins; recorded offline if it does not.
        finish_timeout: seconds for the last uploads; what they do not suffice for stays on the disk.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        about: About,
        project: str,
        entity: str | None,
        tags: Sequence[str],
        notes: str | None,
        checkpoints: bool,
        init_timeout: PositiveFloat,
        finish_timeout: PositiveFloat,
    ) -> None:
        offline = is_offline()
        super().__init__(
            name=about.label,
            id=run_id(folder),
            save_dir=str(folder),
            project=project,
            entity=entity,
            group=about.name,
            job_type=about.mode,
            tags=list(dict.fromkeys([*about.tags, *tags])),
            notes=notes,
            config={**settings, "parameters": about.parameters, "commit": about.commit},
            settings={  # the last lines on the terminal are the run's own table
                "quiet": True,
                "init_timeout": init_timeout,
                "finish_timeout": finish_timeout,
                "finish_timeout_raises": True,
            },
        )
        self._wandb_init.pop("anonymous", None)  # Lightning passes it always, and W&B warns about it always
        self._folder, self._about, self._uploads = folder, about, checkpoints
        self._defined: set[str] = set()
        self._timeout = init_timeout
        self._is_lost = False
        if offline:
            self._record_offline()

    def _record_offline(self) -> None:
        self._wandb_init |= {"mode": "offline", "resume": None}

    @rank_zero_only
    def open(self) -> None:
        """Begins the W&B run: on the server, or offline where that cannot be reached.

        Raises:
            UserError: it cannot be reached, and WANDB_MODE=online insists on it.
        """
        if self._wandb_init.get("mode") != "offline" and (problem := self._begin_online()):
            if os.environ.get("WANDB_MODE") == "online":
                raise UserError(
                    f"logger=wandb: {problem}, and WANDB_MODE=online insists on it; unset WANDB_MODE to record offline "
                    "then, or choose logger=csv"
                )
            log.warning("W&B: %s; this run is recorded offline", problem)
            self._record_offline()
        self._safely(lambda: self.experiment)

    def _begin_online(self) -> str | None:
        """What keeps the run from beginning on the server; None if nothing does."""
        address = os.environ.get("WANDB_BASE_URL") or DEFAULT_SERVER
        if os.environ.get("WANDB_MODE") != "disabled":
            if not has_account():
                return f"there is no account for {address} on this machine (wandb login, or WANDB_API_KEY)"
            try:
                requests.head(address, timeout=self._timeout)
            except requests.RequestException as error:
                return f"{address} cannot be reached ({type(error).__name__})"
        import wandb  # takes half a second, and only those who use it need it

        try:
            _ = self.experiment
        except wandb.errors.Error as error:
            return f"{address} does not begin the run ({str(error).splitlines()[0]})"
        return None

    def log_hyperparams(self, params: Any) -> None:
        self._safely(lambda: super(WandbRun, self).log_hyperparams(params))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._safely(lambda: self._define(metrics))
        self._safely(lambda: super(WandbRun, self).log_metrics(metrics, step))

    @rank_zero_only
    def _define(self, metrics: Iterable[str]) -> None:
        """Has W&B's tables show the best value of a validation metric, by its direction, not the last one."""
        for metric in sorted(name for name in set(metrics) - self._defined if name.startswith("val/")):
            self._defined.add(metric)
            patterns = (pattern for pattern in self._about.directions if fnmatch.fnmatchcase(metric, pattern))
            if pattern := next(patterns, None):
                best = self._about.directions[pattern]
                self.experiment.define_metric(metric, summary=best, step_metric=STEP, step_sync=True)

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        self._safely(lambda: super(WandbRun, self).log_image(key, images, step, **kwargs))

    def _safely(self, action: Callable[[], Any]) -> None:
        """Does something that needs W&B; the first time that it fails is told, and the last that it is tried."""
        if self._is_lost:
            return
        try:
            action()
        except Exception as error:  # of whatever kind: the training matters more than who watches it
            self._is_lost = True
            log.warning("W&B is lost (%s): the run goes on without it; metrics.csv has all", _first_line(error))

    @rank_zero_only
    def summarize(self, rows: Sequence[Row], status: str) -> None:
        """Puts the published numbers and the differences beside the measured ones in the run's summary.

        And how it ended, and what was measured when nothing was logged any more: what a sweep of W&B optimises.
        """
        if self._experiment is None:
            return
        self._safely(lambda: self._say_how_it_ended(rows, status))
        for row in rows:
            values = {f"published/{row.metric}": row.published, f"difference/{row.metric}": row.difference}
            said = {name: value for name, value in values.items() if value is not None}
            self._safely(lambda said=said: self.experiment.summary.update(said))  # type: ignore[misc]

    def _say_how_it_ended(self, rows: Sequence[Row], status: str) -> None:
        logged = set(self.experiment.summary.keys())
        late = {row.metric: row.measured for row in rows if row.metric not in logged and row.measured is not None}
        self.experiment.summary.update({"status": status, **late})

    def _upload_checkpoints(self) -> None:
        import wandb

        paths = [path for name in CHECKPOINTS if (path := self._folder / "checkpoints" / name).is_file()]
        if not paths:
            return
        metadata = {"name": self._about.name, "parameters": self._about.parameters, "commit": self._about.commit}
        artifact = wandb.Artifact(self.experiment.id, type="model", metadata=metadata)
        for path in paths:
            artifact.add_file(str(path))
        self.experiment.log_artifact(artifact)

    @rank_zero_only
    def close(self, exit_code: int) -> None:
        """Ends the W&B run as finished or failed, and says how to upload what is on the disk only."""
        if self._experiment is None:
            return
        run = self.experiment
        if self._uploads:
            self._safely(self._upload_checkpoints)
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:  # the numbers are in the run's folder, whatever W&B says
            log.warning("W&B: not everything was uploaded (%s); later: wandb sync %s", _first_line(error), _parts(run))
            import wandb

            with suppress(Exception):  # what is lost cannot be told so; the next run of this process begins afresh
                wandb.teardown(exit_code=exit_code)
            wandb.run = None
        else:
            if run.offline:
                log.warning("W&B recorded offline; upload with: wandb sync %s", _parts(run))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _parts(run: Any) -> str:
    """What `wandb sync` needs for a run; one that was resumed offline was recorded in several parts."""
    recorded = sorted(Path(run.dir).parent.parent.glob("*run-*"))
    together = f"--id {run.id} " if len(recorded) > 1 else ""
    return together + " ".join(shlex.quote(str(part)) for part in recorded)


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
