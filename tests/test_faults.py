"""The faults of `scripts/faults.py` that take seconds; the script tries all of them, and more often."""

import random
import subprocess
from pathlib import Path

import pytest

from scripts import faults
from scripts.fault_kinds.trying import Fault


def test_every_kind_of_fault_is_found_under_a_name_of_its_own() -> None:
    names = list(faults.known())
    assert {
        "killed_dann",
        "checkpoint_flipped_tested",
        "cache_flipped",
        "resumed_twice_at_once",
        "a_checkpoint_deletes_a_file",
    } <= set(names)
    assert all(name.isidentifier() for name in names)


@pytest.mark.parametrize("wrong", [None, "the run was lost"])
def test_a_try_that_went_wrong_is_counted_and_ends_the_script_with_one(
    wrong: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = Fault(
        "rain", lambda prepared: None, lambda prepared, folder, chance: wrong if chance.random() > 0 else None
    )
    monkeypatch.setattr(faults, "known", lambda: {"rain": fault})
    monkeypatch.setattr("sys.argv", ["faults.py", "--tries", "3"])
    with pytest.raises(SystemExit) as ended:
        faults.main()
    assert ended.value.code == (0 if wrong is None else 1)
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["rain", "3", "3" if wrong is None else "0"]


def test_a_try_without_an_end_is_one_that_went_wrong() -> None:
    def attempt(prepared: Path, folder: Path, chance: random.Random) -> str | None:
        raise subprocess.TimeoutExpired("python", 300)

    endless = Fault("endless", lambda prepared: None, attempt)
    assert faults.tried(endless, tries=2, seconds=9, seed=0) == ["did not end within 300 s"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, fault in faults.known().items() if fault.most > 1])
def test_a_run_survives_every_fault_once(name: str) -> None:
    assert faults.tried(faults.known()[name], tries=1, seconds=0, seed=0) == [None]
