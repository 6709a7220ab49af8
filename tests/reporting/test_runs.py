"""The page of all runs."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from paperzoo.errors import UserError
from paperzoo.reporting.runs import read_runs, write_index
from tests.reporting.test_page import Page

SCRIPT = Path(__file__).parents[2] / "scripts" / "index_runs.py"
HOSTILE = '</script><script>document.title = "run"</script>'
ROW = {"metric": "test/bits_per_dim", "published": 3.35, "measured": 3.41, "direction": "min", "source": "Table 2"}


def write_run(folder: Path, **changes: Any) -> Path:
    """A run's folder as it is left behind."""
    content = {
        "name": "glow/cifar10",
        "status": "finished",
        "ended": "2026-11-25T10:15:00",
        "objective": {"metric": "val/bits_per_dim", "direction": "min"},
        "comparison": [{"metric": "val/bits_per_dim", "measured": 3.4}, ROW],
        "figures": ["samples.png", "interpolation.png"],
    }
    (folder / "figures").mkdir(parents=True)
    for name in ("interpolation.png", "samples.png"):
        (folder / "figures" / name).touch()
    (folder / "report.html").touch()
    (folder / "summary.json").write_text(json.dumps(content | changes))
    return folder


def test_a_run_is_listed_with_what_it_measured_beside_what_is_published(tmp_path: Path) -> None:
    write_run(tmp_path / "glow" / "cifar10" / "2026-11-25_10-00-00_ab")
    (row,) = read_runs(tmp_path).rows
    assert (row.paper, row.preset, row.state, row.ended) == ("glow", "cifar10", "finished", "2026-11-25 10:15")
    assert (row.metric, row.measured, row.published, row.direction) == ("test/bits_per_dim", 3.41, 3.35, "min")
    assert row.report == "./glow/cifar10/2026-11-25_10-00-00_ab/report.html"
    assert row.thumbnail == "./glow/cifar10/2026-11-25_10-00-00_ab/figures/samples.png"


def test_the_newest_run_comes_first(tmp_path: Path) -> None:
    for day in ("03", "12", "07"):
        write_run(tmp_path / "glow" / "cifar10" / day, ended=f"2026-11-{day}T10:00:00")
    assert [row.ended[8:10] for row in read_runs(tmp_path).rows] == ["12", "07", "03"]


def test_jobs_of_a_multirun_are_runs_and_lead_to_its_page(tmp_path: Path) -> None:
    sweep = tmp_path / "dann" / "moons" / "2026-11-25_11-00-00_cd"
    for number in ("0", "1"):
        write_run(sweep / number, name="dann/moons")
    (sweep / "sweep.html").touch()
    (sweep / "2" / ".hydra").mkdir(parents=True)
    (sweep / "3").mkdir()
    (sweep / "3" / "failure.json").write_text(json.dumps({"status": "refused", "message": "lr=fast"}))
    rows = {row.folder[-1]: row for row in read_runs(tmp_path).rows}
    assert {number: row.state for number, row in rows.items()} == {
        "0": "finished",
        "1": "finished",
        "2": "unfinished",
        "3": "refused",
    }
    assert {row.sweep for row in rows.values()} == {"./dann/moons/2026-11-25_11-00-00_cd/sweep.html"}
    assert (rows["2"].paper, rows["2"].preset, rows["2"].report) == ("dann", "moons", "")


def test_a_prediction_leaves_no_summary_and_is_answered_not_unfinished(tmp_path: Path) -> None:
    (tmp_path / "neurosat" / "sr" / "today" / ".hydra").mkdir(parents=True)
    (tmp_path / "neurosat" / "sr" / "today" / "predictions.csv").touch()
    (row,) = read_runs(tmp_path).rows
    assert row.state == "answered"


@pytest.mark.parametrize("content", ["{damaged", "[]", "null", '"text"', "[" * 100_000, b"\xff\xfe"])
def test_what_is_damaged_or_somebody_elses_is_counted_and_left_out(tmp_path: Path, content: str | bytes) -> None:
    write_run(tmp_path / "glow" / "cifar10" / "good")
    bad = write_run(tmp_path / "glow" / "cifar10" / "bad") / "summary.json"
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "beach.jpg").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x").touch()
    runs = read_runs(tmp_path)
    assert [row.folder for row in runs.rows] == ["glow/cifar10/good"]
    assert runs.in_words == "1 run; left out: 1 folder with a damaged summary.json, 1 folder with no run"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 7, "status": ["x"], "ended": 12, "comparison": "x", "objective": [], "figures": {"a": 1}},
        {"comparison": [7, {"metric": [], "measured": "3"}], "objective": {"metric": 3}, "figures": [["a"]]},
        {"comparison": [{"metric": "test/x", "measured": float("nan")}], "ended": "yesterday"},
        {"comparison": [{**ROW, "measured": 10**400}, {**ROW, "measured": True}], "ended": "9999-12-31T23:59:59+00:00"},
        {"figures": ["../../../secret.png", "/etc/passwd", "missing.png"]},
    ],
)
def test_a_summary_may_hold_anything(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_run(tmp_path / "glow" / "cifar10" / "run", **changes)
    page, runs = write_index(tmp_path)
    (row,) = runs.rows
    assert row.thumbnail in ("./glow/cifar10/run/figures/interpolation.png", "./glow/cifar10/run/figures/samples.png")
    assert "secret" not in page.read_text()
    assert "NaN" not in page.read_text()


def test_a_hostile_name_is_text(tmp_path: Path) -> None:
    write_run(tmp_path / "glow" / HOSTILE.replace("/", "⁄") / "run", name=HOSTILE, status=HOSTILE)
    page, _ = write_index(tmp_path)
    html = page.read_text()
    assert html.count("<script") == 2
    assert "<script>document" not in html
    assert Page(html).loads == []


def test_links_that_lead_away_are_not_followed(tmp_path: Path) -> None:
    write_run(tmp_path / "elsewhere" / "run")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "outputs" / "loop").symlink_to(tmp_path / "outputs")
    assert read_runs(tmp_path / "outputs").in_words == "0 runs"


def test_a_thousand_runs_are_read_in_seconds(tmp_path: Path) -> None:
    for number in range(1000):
        write_run(tmp_path / "glow" / "cifar10" / f"{number}", config={f"key{n}": n for n in range(300)})
    start = time.monotonic()
    assert len(read_runs(tmp_path).rows) == 1000
    assert time.monotonic() - start < 10  # half a second on an idle machine


def test_an_index_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        write_index(tmp_path / "missing")


def test_the_script_says_what_it_found_and_imports_no_torch(tmp_path: Path) -> None:
    write_run(tmp_path / "glow" / "cifar10" / "run")
    command = [sys.executable, "-X", "importtime", str(SCRIPT), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=SCRIPT.parents[1])
    assert ended.stdout == f"{tmp_path / 'index.html'}: 1 run\n"
    assert "| torch\n" not in ended.stderr
    command = [sys.executable, str(SCRIPT), str(tmp_path / "missing")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=SCRIPT.parents[1])
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"paperzoo: {tmp_path / 'missing'}: no such folder")
