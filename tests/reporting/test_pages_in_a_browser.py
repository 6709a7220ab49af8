"""What a browser makes of the pages: no complaint, no request, nothing that sticks out, dark where it is dark."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from paperzoo.files import write_bytes
from paperzoo.reporting.figures import to_png
from paperzoo.reporting.images import image_grid
from paperzoo.reporting.metrics_csv import MetricsCsv
from paperzoo.reporting.page import write_report
from paperzoo.reporting.runs import write_index
from paperzoo.reporting.sweep import report
from paperzoo.reporting.sweep_jobs import read_jobs
from tests.reporting.browser import CHROMIUM, Browser
from tests.reporting.test_page import fill, summary
from tests.reporting.test_runs import HOSTILE, write_run
from tests.reporting.test_sweep import write_searched

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium (apt-get install chromium)")

STICKS_OUT = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BACKGROUND = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
MANY = 10_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A page of each kind, with hostile names in them."""
    root = tmp_path_factory.mktemp("outputs")
    run = root / "glow" / "cifar10" / "run"
    fill(run)
    logger = MetricsCsv(run)
    for step in range(1000, 1010):
        logger.log_metrics({f"val/solved_givens{n}": n / 40 for n in range(17, 38)}, step)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").touch()
    sweep = root / "dann" / "moons" / "sweep"
    sweep.mkdir(parents=True)
    write_searched(sweep)
    report(read_jobs(sweep), sweep)
    write_run(root / HOSTILE.replace("/", "⁄") / "x" / "run", name=HOSTILE, status=HOSTILE)
    picture = to_png(image_grid(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), 2), caption="")
    write_bytes(root / "thumbs" / "x" / "run" / "figures" / "samples.png", picture)
    (root / "thumbs" / "x" / "run" / "summary.json").write_text(json.dumps({"figures": ["samples.png"]}))
    write_report(run, summary())
    index, _ = write_index(root)
    return {"report": run / "report.html", "sweep": sweep / "sweep.html", "index": index}


@pytest.mark.parametrize("kind", ["report", "sweep", "index"])
@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_is_readable_in_every_light_and_asks_nobody(
    kind: str, width: int, browser: Browser, pages: Mapping[str, Path]
) -> None:
    root = pages["index"].parent.as_uri()
    for dark in (False, True):
        browser.open(pages[kind], width=width, dark=dark)
        assert browser.complaints == []
        assert [url for url in browser.requests if not (kind == "index" and url.startswith(f"{root}/"))] == []
        assert browser.value(STICKS_OUT) == 0
        assert all((channel < 60) if dark else (channel > 240) for channel in browser.value(BACKGROUND))


def test_a_script_that_was_smuggled_in_does_not_run(browser: Browser, pages: Mapping[str, Path]) -> None:
    browser.open(pages["index"])
    assert browser.value("document.title") != "run"
    assert HOSTILE.split("/")[0] in browser.value("document.querySelector('#runs').textContent")
    browser.value("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')")
    browser.value(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title=2'}))"
    )
    assert browser.value("document.title") not in ("1", "2", "run")
    assert any("Content Security Policy" in complaint for complaint in browser.complaints)


def test_pointing_at_a_curve_tells_its_values(browser: Browser, pages: Mapping[str, Path]) -> None:
    browser.open(pages["report"])
    chart = "[...document.querySelectorAll('figure.chart')].find(f => f.querySelector('h3').textContent === 'loss')"
    shown = f"({chart}).querySelector('.legend b').textContent"
    last = browser.value(shown)
    x, y = browser.value(
        f"(() => {{ ({chart}).scrollIntoView(); const box = ({chart}).querySelector('svg').getBoundingClientRect();"
        "return [box.x + box.width * 0.12, box.y + box.height / 2] })()"
    )
    browser.move_to(x, y)
    assert float(browser.value(shown)) > float(last)
    assert browser.value(f"({chart}).querySelector('.told').textContent").startswith("step ")
    browser.move_to(x, y - 2000)
    assert browser.value(shown) == last


def test_of_many_curves_the_nearest_one_is_told(browser: Browser, pages: Mapping[str, Path]) -> None:
    browser.open(pages["report"])
    chart = "document.querySelector('figure[data-nearest]')"
    assert "17" in browser.value(f"{chart}.querySelector('.legend').textContent")
    x, y = browser.value(
        f"(() => {{ {chart}.scrollIntoView(); const box = {chart}.querySelector('svg').getBoundingClientRect();"
        "return [box.x + box.width * 0.95, box.y + 5] })()"
    )
    browser.move_to(x, y)
    assert browser.value(f"{chart}.querySelector('.told').textContent").startswith("37: 0.925 at step 100")


def test_a_button_copies_its_command(browser: Browser, pages: Mapping[str, Path]) -> None:
    browser.open(pages["report"])
    assert browser.value("document.querySelectorAll('.command button').length") >= 2
    browser.value("document.querySelector('.command button').click()")
    assert "python train.py" in browser.value("getSelection().toString()")


def test_the_jobs_of_a_sweep_are_sorted_and_filtered_in_table_and_charts(
    browser: Browser, pages: Mapping[str, Path]
) -> None:
    browser.open(pages["sweep"])
    first = "document.querySelector('#jobs tbody tr td').textContent"
    lines = "document.querySelectorAll('svg [data-job]:not(.off)').length"
    assert browser.value(first) == "7"
    assert browser.value(lines) == 8 * (1 + 3 + 1)
    browser.value("document.querySelector('#jobs th').click()")
    assert browser.value(first) == "0"
    browser.value("words.value = 'additive'; words.dispatchEvent(new Event('input', {bubbles: true}))")
    assert browser.value("document.querySelector('#count').textContent") == "4 of 9 jobs"
    assert browser.value(lines) == 4 * (1 + 3 + 1)


def test_ten_thousand_runs_are_there_in_about_a_second(browser: Browser, tmp_path: Path) -> None:
    from paperzoo.reporting.rendering import render
    from paperzoo.reporting.runs import BESIDE_THE_PAGE, RunRow, Runs

    papers = ("glow", "dann", "neurosat")
    rows = [
        RunRow(f"a/b/{i}", papers[i % 3], f"preset{i % 7}", "finished", f"2026-11-25 {i:05}", "test/loss", "min", i / 7,
               None, f"./a/b/{i}/report.html", "", "")
        for i in range(MANY)
    ]  # fmt: skip
    html = render("index.html", scripts=("index.js",), images=BESIDE_THE_PAGE, title="outputs", runs=Runs(rows))
    (tmp_path / "index.html").write_text(html)
    seconds = browser.open(tmp_path / "index.html")
    assert seconds < 5  # 0.2 on an idle machine
    assert 0 < browser.value("document.querySelectorAll('#runs tbody tr').length") < 500
    browser.value("filters.paper.value = 'dann'; document.querySelector('#filters').oninput({target: filters.paper})")
    assert browser.value("document.querySelector('#count').textContent") == "3333 of 10000 runs"
    browser.value("document.querySelector('[data-sort=measured]').click()")
    assert browser.value("document.querySelector('#runs tbody .dim').textContent") == "a/b/1"
