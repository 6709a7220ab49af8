import base64
import hashlib
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from paperzoo.files import write_bytes
from paperzoo.reporting.charts import Curve, chart
from paperzoo.reporting.figures import to_png
from paperzoo.reporting.images import image_grid
from paperzoo.reporting.metrics_csv import MetricsCsv
from paperzoo.reporting.page import duration, result_tables, write_report
from paperzoo.reporting.results import comparison
from paperzoo.reporting.run_charts import run_charts
from paperzoo.reporting.summary import Summary

NASTY = '<script>alert("1")</script>'
VOID = {"meta", "img", "path", "circle", "polyline", "input"}


class Page(HTMLParser):
    """Checks that every tag is closed in its order, and collects text and whatever a browser would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text, self.loads, self.tags = "", [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "srcset", "data", "poster")]
        self.loads += [value for name, value in attributes if tag == "link" and name == "href"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def summary(**changes) -> Summary:
    published = {"test/loss": {"value": 3.35, "source": NASTY, "direction": "min"}}
    measured = {
        "metric": "test/loss",
        "value": 3.4,
        "budget": NASTY,
        "commit": "abc",
        "note": NASTY,
        "curve": [[0, 5], [9, 3.4]],
    }
    paper = {"title": NASTY, "authors": [NASTY], "year": 2018, "arxiv": "1807.03039", "claim": NASTY}
    values = {
        "name": NASTY,
        "status": "stopped",
        "command": f"python train.py '{NASTY}'",
        "metrics": {"test/loss": 3.5},
        "rows": comparison(published, {"test/loss": 3.5}),
        "config": {"paper": paper, "published": published, "measured": [measured], "x": NASTY},
        "steps": 10,
        "epochs": 2,
        "parameters": 44_235_264,
        "hours": 0.5,
        "device": NASTY,
        "identity": "0123456789ab",
        "message": NASTY,
    }
    return Summary(**{**values, **changes})


def fill(folder: Path) -> None:
    logger = MetricsCsv(folder)
    for step in range(1000):
        logger.log_metrics({"train/loss": 100 / (step + 1)}, step)
    logger.log_metrics({f"val/{NASTY}": 1.0, "val/loss": 2.0}, 999)
    figure = image_grid(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), 2)
    write_bytes(folder / "figures" / "samples.png", to_png(figure, caption=NASTY))
    (folder / "figures" / "notes.png").write_text("not an image")


def test_the_page_is_sound_and_self_contained_and_runs_its_own_script_alone(tmp_path):
    fill(tmp_path)
    html = write_report(tmp_path, summary()).read_text()
    page = Page(html)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src &#39;none&#39;" in html
    assert f"script-src &#39;sha256-{checksum}&#39;" in html
    assert page.tags.count("script") == 1
    assert page.loads
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)


def test_everything_from_outside_is_shown_as_text(tmp_path):
    fill(tmp_path)
    page = Page(write_report(tmp_path, summary()).read_text())
    assert page.text.count(NASTY) >= 11


def test_the_page_shows_both_numbers_the_difference_and_how_to_go_on(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    page = Page(write_report(tmp_path, summary()).read_text())
    for part in (
        "3.35",
        "3.5",
        "+0.15 (worse)",
        "44,235,264",
        f"resume={tmp_path}",
        f"mode=predict checkpoint={tmp_path}",
    ):
        assert part in page.text


def test_what_a_trivial_predictor_reaches_stands_beside_and_is_explained(tmp_path):
    metrics = {"test/accuracy": 0.7}
    rows = comparison({}, metrics, {"test/accuracy": 0.765})
    page = write_report(tmp_path, summary(rows=rows, bound="sees everything but <the question>")).read_text()
    assert '<th class="n">bound</th>' in page
    assert '<td class="n">0.765</td>' in page
    assert "sees everything but &lt;the question&gt;" in page
    plain = write_report(tmp_path, summary(rows=comparison({}, metrics))).read_text()
    assert "bound" not in plain.partition("<details>")[0].lower().partition("<body>")[2]


def test_the_page_offers_only_what_the_run_has(tmp_path):
    assert "checkpoint=" not in write_report(tmp_path, summary(status="stopped")).read_text()
    assert "resume=" not in write_report(tmp_path, summary(status="stopped")).read_text()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    with_best = write_report(tmp_path, summary(status="stopped")).read_text()
    assert f"mode=test checkpoint={tmp_path}" in with_best
    assert "resume=" not in with_best


def test_a_note_on_the_results_stands_below_them(tmp_path):
    assert "the same items &lt;" in write_report(tmp_path, summary(notes=["the same items <"])).read_text()


def test_a_run_without_metrics_and_figures_has_a_page(tmp_path):
    page = Page(write_report(tmp_path, summary(rows=[], metrics={}, config={}, status="failed")).read_text())
    assert "Nothing was measured" in page.text
    assert "svg" not in page.tags


def test_the_earlier_curve_and_the_published_level_are_drawn_over_the_new_curve(tmp_path):
    fill(tmp_path)
    page = Page(write_report(tmp_path, summary()).read_text())
    assert "test/loss earlier" in page.text
    assert "test/loss published, 3.35" in page.text


def test_figures_come_first_and_in_the_order_in_which_they_were_drawn(tmp_path):
    picture = image_grid(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), 2)
    for place, name in enumerate(("votes", "embeddings", "core"), start=1):
        write_bytes(tmp_path / "figures" / f"{name}.png", to_png(picture, caption=f"the {name}", place=place))
    text = Page(write_report(tmp_path, summary()).read_text()).text
    places = [text.index(part) for part in ("the votes", "the embeddings", "the core", "Published and measured")]
    assert places == sorted(places)


def test_the_page_says_which_weights_were_tested_on_what_and_when(tmp_path):
    told = {
        "tested": "best, by val/loss",
        "data": {"train": "1,438", "test": "359"},
        "ended": "2026-11-25T10:15:00+01:00",
    }
    page = Page(write_report(tmp_path, summary(config={"seed": 7}, **told)).read_text())
    facts = page.text[page.text.index("weights tested") : page.text.index("steps")].split("\n")
    assert [fact for fact in facts if fact] == [
        "weights testedbest, by val/loss",
        "seed7",
        "ended2026-11-25 10:15",
        "datatrain 1,438, test 359",
    ]


def test_a_quantity_has_a_chart_only_if_it_is_a_curve():
    metrics = {"train/loss": [(0, 3.0), (9, 2.0)], "test/loss": [(9, 2.5)], "test/accuracy": [(9, 0.5)]}
    (only,) = run_charts(metrics, summary(rows=[], config={}))
    assert [(line.curve.label, line.curve.colour, len(line.points)) for line in only.lines] == [
        ("train", "train", 2),
        ("test", "test", 1),
    ]


def test_a_family_of_metrics_is_one_chart():
    numbered = {f"val/solved_givens{n}": [(0, 0.0), (9, n / 100)] for n in (20, 9, 17, 18, 19, 21, 22)}
    worded = {f"val/accuracy_{kind}": [(0, 0.0), (9, 0.5)] for kind in ("colour", "shape", "size", "number")}
    solved, accuracy = run_charts({**numbered, **worded, "val/loss_a": [(0, 1)]}, summary(rows=[]))
    assert (solved.title, accuracy.title) == ("val/solved_givens", "val/accuracy")
    assert [line.curve.label for line in solved.lines] == ["9", "17", "18", "19", "20", "21", "22"]
    assert solved.ends == ("9", "22")
    assert accuracy.ends is None


def test_what_only_the_test_measured_of_a_numbered_family_is_drawn_over_the_number():
    metrics = {f"test/solved_givens{n}": [(100, n / 40)] for n in (17, 18, 30)}
    published = {"test/solved_givens17": {"value": 0.96, "source": "Figure 2", "direction": "max"}}
    rows = comparison(published, {name: points[-1][1] for name, points in metrics.items()})
    (drawn,) = run_charts(metrics, summary(rows=rows))
    assert (drawn.x_title, [line.values for line in drawn.lines]) == ("givens", ["17 0.425;18 0.45;30 0.75", "17 0.96"])


def test_families_that_differ_in_a_number_share_a_chart():
    metrics = {f"test/solved_n{n}_rounds{r}": [(9, r / 100)] for n in (10, 9, 8) for r in (16, 32, 64)}
    (drawn,) = run_charts(metrics, summary(rows=[]))
    assert (drawn.title, drawn.x_title) == ("test/solved_n#", "rounds")
    assert [line.curve.label for line in drawn.lines] == ["solved_n8", "solved_n9", "solved_n10"]


def test_many_metrics_of_a_family_do_not_hide_the_others():
    rows = comparison({}, {"test/loss": 1.0} | {f"test/solved_givens{n}": 0.5 for n in range(17, 35)})
    (_, first), (name, members) = result_tables(rows)
    assert [row.metric for row in first] == ["test/loss"]
    assert (name, len(members)) == ("test/solved_givens", 18)
    nested = comparison({}, {f"test/solved_n{n}_rounds{r}": 0.5 for n in (8, 9, 10) for r in range(16, 21)})
    assert [(name, len(members)) for name, members in result_tables(nested)] == [("", 0), ("test/solved_n#_rounds", 15)]


@pytest.mark.parametrize(
    ("hours", "words"), [(0, "0 s"), (0.01, "36 s"), (0.05, "3 min 00 s"), (1.37, "1 h 22 min"), (200, "200 h 00 min")]
)
def test_durations_are_put_in_words(hours, words):
    assert duration(hours) == words


@pytest.mark.parametrize(
    "points",
    [[(0, 1.0)], [(0, 1.0), (1, 1.0)], [(0, 0.0), (1, 0.0)], [(5, -1e30), (6, 1e30)], [(0, float("nan")), (1, 2.0)]],
)
def test_any_finite_curve_can_be_drawn(points):
    drawn = chart("x", [Curve("x", points)])
    assert drawn.lines
    for line in drawn.lines:
        assert all(math.isfinite(float(number)) for place in line.points for number in place.split(","))


def test_the_axis_of_steps_begins_at_zero():
    drawn = chart("x", [Curve("x", [(5, 1.0), (10, 2.0)])])
    assert drawn.x_ticks[0] == (drawn.left, "0")
    middle = (drawn.left + drawn.right) / 2
    assert drawn.lines[0].points[0].startswith(f"{middle:.1f},")


def test_a_curve_without_a_finite_value_is_said_to_be_empty():
    assert "No finite value" in chart("x", [Curve("x", [(0, float("inf"))])]).note


def test_a_first_value_that_dwarfs_all_others_does_not_flatten_the_curve():
    flat = [(step, 3 + 1 / (step + 1)) for step in range(1, 100)]
    assert chart("x", [Curve("x", [(0, 1e6), *flat])]).is_cut
    assert not chart("x", [Curve("x", flat)]).is_cut
