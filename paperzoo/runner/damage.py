"""Whether the checkpoints of a run are what was written, and what can be done where they are not."""

import zipfile
import zlib
from pathlib import Path

from paperzoo.errors import UserError

FOLDER, BEST, LAST = "checkpoints", "best.ckpt", "last.ckpt"


def refuse_damaged(path: Path) -> None:
    """Compares what a checkpoint holds with the checksums in it, which `torch.load` does not.

    Raises:
        UserError: they differ, or it is cut short or none; names the other checkpoint of its run if that is whole.
    """
    if problem := damage(path):
        raise UserError(f"checkpoint {path}: damaged, cut short, or not a checkpoint ({problem}){_instead(path)}")


def damage(path: Path) -> str | None:
    """What is wrong with the file, by the name of its damaged member; None: it is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
        return member and f"its member {member} does not match its checksum"
    except FileNotFoundError:
        return "there is no such file"
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]


def _instead(path: Path) -> str:
    """What can be done with the other checkpoint of the run."""
    other = {BEST: LAST, LAST: BEST}.get(path.name)
    if other is None or path.parent.name != FOLDER or damage(path.with_name(other)):
        return ""
    if other == LAST:
        return (
            f"; {path.with_name(other)} is whole: use it with checkpoint=. To resume the run, delete {BEST}: the best "
            "weights are then those of the validations still to come"
        )
    return f"; {path.with_name(other)} is whole: copy it to {LAST}, and the run goes on from there"
