"""Where the study of a search lies: a file in its folder, or whatever database was named."""

import hashlib
import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from paperzoo.errors import UserError
from paperzoo.files import atomically
from paperzoo.runner.folder import STORAGE

SEARCH = "paperzoo.runner.searching.Search"
STUDY = "study.db"
ENVIRONMENT = "OPTUNA_STORAGE"  # Optuna's own name for it
REMEMBERED = ".studies"  # below the data root: the storages that were typed for searches, by their folders
SQLITE_PATIENCE = 60  # seconds that a process waits for another one's write


def storage_of(config: DictConfig) -> str:
    """The database: the typed one, that of the environment, the one that was typed before, `study.db` in the folder.

    A folder may not say where its database is, as it would have whoever resumes it connect to anywhere. What was typed
    for it here is remembered here.

    Raises:
        UserError: it cannot be reached; of a search that goes on, it is not known.
    """
    folder, root = Path(config.hydra.sweep.dir).resolve(), Path(str(config.data_root)).expanduser()
    own = folder / STUDY
    given = config.hydra.sweeper.storage or os.environ.get(ENVIRONMENT)
    if given:
        _remember(folder, root, given)
    elif not own.is_file():
        given = _remembered(folder, root)
    if given:
        open_storage(given)
        return str(given)
    if not own.is_file() and any(path.name.isdigit() for path in folder.glob("*")):
        raise UserError(
            f"resume={folder}: its study is in a database that is not known here; type it: {STORAGE}=URL, or set "
            f"{ENVIRONMENT}"
        )
    return f"sqlite:///{own}"


def _note(folder: Path, root: Path) -> Path:
    return root / REMEMBERED / hashlib.sha256(str(folder).encode()).hexdigest()[:16]


def _remember(folder: Path, root: Path, storage: str) -> None:
    """A URL may hold a password: nobody else may read it."""
    note = _note(folder, root)
    note.parent.mkdir(parents=True, exist_ok=True)
    with atomically(note) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(storage, encoding="utf-8")


def _remembered(folder: Path, root: Path) -> str | None:
    note = _note(folder, root)
    is_own = note.is_file() and note.stat().st_uid == os.getuid()
    return note.read_text(encoding="utf-8") if is_own else None


def open_storage(url: str) -> Any:
    """Optuna's storage at a URL of SQLAlchemy.

    Raises:
        UserError: it cannot be opened.
    """
    import optuna

    engine = {"connect_args": {"timeout": SQLITE_PATIENCE}} if url.startswith("sqlite") else {}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=engine)
    except ImportError as error:
        raise UserError(
            f"{STORAGE}: {_shown(url)} needs a driver; of PostgreSQL: pip install -e '.[postgresql]'"
        ) from error
    except Exception as error:  # drivers have each their own
        said = str(error.__cause__ or error).strip().splitlines()[0]
        raise UserError(f"{STORAGE}: {_shown(url)} cannot be opened ({type(error).__name__}: {said[:160]})") from error


def _shown(url: str) -> str:
    """Without what may be a password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def open_study(url: str, name: str, sampler: Any, pruner: Any, direction: str | None = None) -> Any:
    """Optuna's study of a search; made if a direction is given and there is none.

    Raises:
        UserError: as `open_storage`.
    """
    import optuna

    storage = open_storage(url)
    if direction is None:
        return optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)
    return optuna.create_study(
        study_name=name, storage=storage, sampler=sampler, pruner=pruner, direction=direction, load_if_exists=True
    )
