"""Signals that end a run: outside of a training at once, in words; `watching.GracefulStop` has them within."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from paperzoo.runner.checkpoints import FOLDER, LAST
from paperzoo.runner.commands import resume_command

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""What ends a process whatever it does; Ctrl-C is Python's own."""

Handler = Callable[[signal.Signals], None]


class RunStoppedError(BaseException):
    """A signal asked the run to stop, and it did.

    No `Exception`, as `KeyboardInterrupt` is none: whoever goes on after whatever error does not go on after this.

    Args:
        what: what stopped, and where.
        signum: the signal.
        folder: of the run; None for one that cannot be continued.
    """

    def __init__(self, what: str, signum: signal.Signals, folder: Path | None) -> None:
        super().__init__(what, signum, folder)
        self.what, self.signum, self.folder = what, signum, folder

    def __str__(self) -> str:
        if self.folder is None:
            return self.what
        if not (self.folder / FOLDER / LAST).is_file():
            return f"{self.what}; no checkpoint was written yet"
        return f"{self.what}; continue with: {resume_command(self.folder)}"

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + self.signum


def handle(signals: Sequence[signal.Signals], handler: Handler) -> dict[signal.Signals, Any]:
    """Sets the handler of these signals in this process; returns the handlers of before, for `restore`.

    An ignored SIGHUP (that is what `nohup` does) stays so, and a forked worker does what it did before: Ctrl-C is its
    parent's business, anything else ends it. Only the main thread can set handlers; another one changes nothing.
    """
    process = os.getpid()

    def receive(signum: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            handler(signal.Signals(signum))
        elif signum != signal.SIGINT:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    if threading.current_thread() is not threading.main_thread():
        return {}
    is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heard = [signum for signum in signals if not (is_nohup and signum is signal.SIGHUP)]
    return {signum: signal.signal(signum, receive) for signum in heard}


def restore(previous: dict[signal.Signals, Any]) -> None:
    """Sets back what `handle` has set."""
    for signum, handler in previous.items():
        signal.signal(signum, handler)


@contextmanager
def ending_signals(folder: Path | None) -> Iterator[None]:
    """Makes the signals that end a process stop the run in words.

    Args:
        folder: of the run; None for one that cannot be continued.

    Raises:
        RunStoppedError: such a signal came.
    """

    def stop(signum: signal.Signals) -> None:
        raise RunStoppedError(f"stopped by {signum.name}", signum, folder)

    previous = handle(ENDING, stop)
    try:
        yield
    finally:
        restore(previous)
