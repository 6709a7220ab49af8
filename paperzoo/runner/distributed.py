"""Several processes for one run, in a single job or in a job of a multirun."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from paperzoo.runner.folder import into_folder

_LAUNCH_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK")


@contextmanager
def relaunchable(folder: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Makes the processes that Lightning starts for the other ranks do this job, here, and cleans up.

    Lightning starts rank 1, 2, ... by running `sys.argv` again. In a multirun that would be the whole multirun, and
    with a search every rank would draw hyper-parameters of its own; so here `sys.argv` is this job alone.
    Afterwards the process group and the launcher's variables are gone, so that the next job of a multirun does not wait
    for the ranks of this one.
    """
    arguments, environment = sys.argv, dict(os.environ)
    sys.argv = [arguments[0], *overrides, *into_folder(folder)]
    try:
        yield
    finally:
        sys.argv = arguments
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in _LAUNCH_VARIABLES:
            if name not in environment:
                os.environ.pop(name, None)
