"""The folder of a run belongs to one process at a time, and to one run for ever."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from paperzoo.errors import EXIT_USER_ERROR, UserError, report_user_error
from paperzoo.files import REFUSALS, atomically
from paperzoo.runner.folder import has_begun, quoted

LOCK, HOLDER = ".lock", ".lock_holder"
ORPHANS_LIVE = 20  # seconds: workers of a killed process hold what it held until they notice

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""The variables from which Lightning knows the rank of a process."""

_held: dict[Path, FileLock] = {}


class Start(Callback):
    """Hydra's callback before a run: the folder is its own before anything is written there."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Makes the folder of a run that was not named, or takes the one that was; a resumed run does so later.

        Ends the process if another run has it.
        """
        if config.get("resume") or not _is_first_rank():
            return
        raw: Any = OmegaConf.to_container(config.hydra.run, resolve=False)
        folder = Path(config.hydra.run.dir)
        try:
            if "paperzoo.short_id" in raw["dir"]:
                make_own(folder)
            take(folder)
            if has_begun(folder):
                raise UserError(
                    f"hydra.run.dir={folder}: holds a run already; continue it with resume={quoted(str(folder))}, or "
                    "choose another folder"
                )
        except UserError as error:
            report_user_error(error)
            sys.exit(EXIT_USER_ERROR)


def make_own(folder: Path) -> None:
    """Makes a folder that no other run has, whenever that was started.

    Raises:
        UserError: there is such a folder, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(f"{folder}: another run has just been given this folder; start again") from error
    except OSError as error:
        raise UserError(_no_folder(folder, error)) from error


def _no_folder(folder: Path, error: OSError) -> str:
    why = REFUSALS.get(error.errno or 0, error.strerror or str(error))
    return f"{error.filename or folder}: {why}; choose another folder: output_root=FOLDER"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder of a run, while this process alone writes there; see `take`.

    Raises:
        UserError: as `take`.
    """
    take(folder)
    try:
        yield
    finally:
        if lock := _held.pop(folder.resolve(), None):
            lock.release()


def take(folder: Path) -> None:
    """Takes the folder for this process, in its first rank, until it ends, however it ends.

    The lock is the operating system's: of a process that was killed nothing is left, as soon as its workers are gone.

    Raises:
        UserError: another process has it; says which.
    """
    place = folder.resolve()
    if place in _held or not _is_first_rank():
        return
    lock = FileLock(place / LOCK, thread_local=False)
    try:
        place.mkdir(parents=True, exist_ok=True)
        _acquire(lock, place)
        with atomically(place / HOLDER) as temporary:
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
            temporary.write_text(json.dumps(holder), encoding="utf-8")
    except NotImplementedError:
        return  # a file system without locks
    except OSError as error:
        raise UserError(_no_folder(folder, error)) from error
    _held[place] = lock


def _acquire(lock: FileLock, folder: Path) -> None:
    deadline = time.monotonic() + ORPHANS_LIVE
    while True:
        try:
            lock.acquire(blocking=False)
            return
        except Timeout:
            holder = _holder(folder)
            if not _is_dead(holder) or time.monotonic() > deadline:
                raise UserError(_in_use(folder, holder)) from None
        time.sleep(0.1)


def _holder(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _in_use(folder: Path, holder: dict[str, Any]) -> str:
    who = "process {pid} on {host}, since {since}".format_map(holder) if holder else "it has just begun"
    return f"{folder}: another process is running in this folder ({who}); wait until it ends, or stop it"


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether it is a process of this machine that is no more."""
    if holder.get("host") != socket.gethostname():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _is_first_rank() -> bool:
    return not any(int(os.environ[name]) for name in RANKS if os.environ.get(name, "").isdigit())
