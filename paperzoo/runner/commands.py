"""What a message tells to type."""

import shlex
from pathlib import Path


def resume_command(folder: Path) -> str:
    """What to type to go on with the run, or the multirun, in `folder`."""
    return f"python train.py {shlex.quote(f'resume={folder}')}"
