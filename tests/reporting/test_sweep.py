import csv
import io
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from paperzoo.cli import CONFIG_FOLDER
from paperzoo.reporting.metrics_csv import MetricsCsv
from paperzoo.reporting.results import average_problems
from paperzoo.reporting.scales import scale
from paperzoo.reporting.sweep import csv_text, report, terminal_parts
from paperzoo.reporting.sweep_jobs import Sweep, read_jobs, sweep_of
from paperzoo.reporting.sweep_page import STUDY, curves, importance, page, settings
from paperzoo.reporting.sweep_table import short_names
from tests.reporting.test_page import NASTY, Page

LOSS = {"metric": "val/loss", "direction": "min"}
ACCURACY = {"metric": "val/accuracy", "direction": "max"}
PUBLISHED = {"value": 0.8, "source": "Table 1", "direction": "max"}


def write_job(
    folder: Path,
    number: int,
    overrides: Mapping[str, str],
    metrics: Mapping[str, float | None] | None,
    config: Mapping[str, Any] | None = None,
    **changes: Any,
) -> None:
    """A job's folder as a run leaves it; without `summary.json` if `metrics` is None."""
    job = folder / str(number)
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"{k}={v}" for k, v in overrides.items()]))
    if metrics is None:
        return
    summary = {
        "name": "glow/ablation",
        "status": "finished",
        "message": "",
        "metrics": metrics,
        "objective": LOSS,
        "hours": 0.5,
        "config": config or {},
    }
    (job / "summary.json").write_text(json.dumps(summary | changes))


def sweep_in(folder: Path) -> Sweep:
    return sweep_of(read_jobs(folder), folder)


def places(sweep: Sweep) -> list[str]:
    return [job.folder.name for job in sweep.jobs]


def terminal(sweep: Sweep) -> list[str]:
    file = io.StringIO()
    for part in terminal_parts(sweep):
        Console(width=80, file=file).print(part, markup=False, highlight=False)
    return file.getvalue().splitlines()


def rows(sweep: Sweep) -> list[dict[str, str]]:
    return list(csv.DictReader(csv_text(sweep).splitlines()))


# Which jobs there are, and which is best


@pytest.mark.parametrize(("objective", "order"), [(LOSS, ["1", "2", "10"]), (ACCURACY, ["10", "2", "1"])])
def test_the_best_job_comes_first(tmp_path: Path, objective: dict[str, str], order: list[str]) -> None:
    for number, value in ((2, 0.5), (10, 0.9), (1, 0.1)):
        write_job(tmp_path, number, {"seed": str(number)}, {objective["metric"]: value}, objective=objective)
    assert places(sweep_in(tmp_path)) == order
    assert [row["job"] for row in rows(sweep_in(tmp_path))] == order


def test_jobs_that_optimised_different_things_stay_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_job(tmp_path, 0, {"model": "a"}, {"val/loss": 2})
    write_job(tmp_path, 10, {"model": "b"}, {"val/accuracy": 0.5}, objective=ACCURACY)
    write_job(tmp_path, 9, {"model": "c"}, {"val/loss": 1})
    assert places(sweep_in(tmp_path)) == ["0", "9", "10"]


def test_a_run_without_validation_is_judged_by_its_test(tmp_path: Path) -> None:
    for number, value in enumerate((2.0, 1.0)):
        write_job(tmp_path, number, {"seed": str(number)}, {"test/loss": value})
    assert places(sweep_in(tmp_path)) == ["1", "0"]


def test_of_a_search_that_looks_at_something_else_the_test_is_shown_too(tmp_path: Path) -> None:
    metrics = {"train/loss": 3.0, "val/loss": 2.0, "test/accuracy": 0.5, "test/x": 1.0}
    write_job(tmp_path, 0, {"seed": "0"}, metrics)
    assert sweep_in(tmp_path).metrics == ["val/loss", "test/accuracy", "test/x"]


def test_a_job_that_came_to_nothing_stands_last_and_says_why(tmp_path: Path) -> None:
    write_job(tmp_path, 0, {"lr": "1"}, {"val/loss": 0.1}, status="failed", message="ValueError: a\nb")
    write_job(tmp_path, 1, {"lr": "2"}, None)
    write_job(tmp_path, 2, {"lr": "3"}, None)
    refusal = {"status": "refused", "message": "lr=3: too large", "overrides": ["lr=3"]}
    (tmp_path / "2" / "failure.json").write_text(json.dumps(refusal))
    write_job(tmp_path, 3, {"lr": "4"}, {"val/loss": None})
    write_job(tmp_path, 4, {"lr": "5"}, {"val/loss": 0.5})
    write_job(tmp_path, 5, {"lr": "6"}, {"val/loss": 0.2}, status="stopped")
    (tmp_path / "1" / "summary.json").write_text("{damaged")
    sweep = sweep_in(tmp_path)
    assert places(sweep) == ["4", "3", "0", "1", "2", "5"]
    assert [(row["state"], row["lr"]) for row in rows(sweep)[1:5]] == [
        ("finished", "4"),
        ("failed", "1"),
        ("unfinished", "2"),
        ("refused", "3"),
    ]
    assert sweep.title == "glow/ablation: 6 jobs, 2 finished, 1 stopped, 1 failed, 1 refused, 1 unfinished"
    assert terminal(sweep)[-2:] == ["failed: 0: ValueError: a", "refused: 2: lr=3: too large"]


def test_columns_are_what_was_typed_and_differs(tmp_path: Path) -> None:
    for number, lr in enumerate(("1e-3", "0.001", "1e-2")):
        typed = {"experiment": "glow/ablation", "model.optimizer.lr": lr, "case.pair": "[a, b]"}
        write_job(tmp_path, number, typed, {"val/loss": number}, {"model": {"optimizer": {"lr": float(lr)}}})
    write_job(tmp_path, 3, {"case.pair": "[a,b]"}, {"val/loss": 9}, {"case": {"pair": ["a", "b"]}})
    sweep = sweep_in(tmp_path)
    assert sweep.varied == ["experiment", "model.optimizer.lr"]
    assert [row["model.optimizer.lr"] for row in rows(sweep)] == ["0.001", "0.001", "0.01", "-"]


def test_a_key_is_shortened_as_far_as_it_is_clear() -> None:
    assert short_names(["model.lr", "prior.lr", "a.b.width", "seed", "test/loss", "val/loss"]) == {
        "model.lr": "model.lr",
        "prior.lr": "prior.lr",
        "a.b.width": "width",
        "seed": "seed",
        "test/loss": "test/loss",
        "val/loss": "val/loss",
    }


# Means


def test_the_mean_over_seeds_stands_beside_the_published_number(tmp_path: Path) -> None:
    number = 0
    for width, values in (("8", (0.5, 0.7)), ("16", (0.8, 0.9))):
        for seed, value in enumerate(values):
            typed = {"model.width": width, "seed": str(seed)}
            config = {"seed": seed, "published": {"test/accuracy": PUBLISHED}}
            write_job(tmp_path, number, typed, {"test/accuracy": value, "val/loss": -value}, config)
            number += 1
    write_job(tmp_path, 4, {"model.width": "16", "seed": "2"}, {"test/accuracy": 0.1}, status="failed")
    best, other = sweep_in(tmp_path).averages
    assert best.settings == {"model.width": "16"}
    assert best.row.measured == pytest.approx(0.85)
    assert best.deviation == pytest.approx(0.05 * 2**0.5)
    assert (best.count, best.planned) == (2, 3)
    assert (best.row.published, best.row.source, best.row.verdict) == (0.8, "Table 1", "better")
    assert other.row.measured == pytest.approx(0.6)
    lines = [line.split() for line in terminal(sweep_in(tmp_path))]
    assert ["16", "accuracy", "2", "of", "3", "0.85", "0.07071", "0.8", "+0.05", "(better)"] in lines


def test_jobs_without_seeds_have_no_mean(tmp_path: Path) -> None:
    for number in range(2):
        write_job(tmp_path, number, {"model.width": str(number)}, {"val/loss": number})
    assert sweep_in(tmp_path).averages == []


def write_pairs(folder: Path, **average: Any) -> None:
    """Two pairs, each with two weights: of the first pair the second weight has the smaller risk, and conversely."""
    node = {"over": ["case.pair"], "choose": "val/risk", "direction": "min"} | average
    outcomes = {"a,b": ((0.3, 0.9, 0.1), (0.2, 0.6, 1)), "b,a": ((0.1, 0.5, 0.1), (0.4, 0.7, 1))}
    number = 0
    for pair, runs in outcomes.items():
        for risk, accuracy, weight in runs:
            published = {"test/accuracy": PUBLISHED | {"value": 0.4 if pair == "a,b" else 0.6}}
            config = {"case": {"pair": pair.split(",")}, "average": node, "published": published}
            metrics = {"val/risk": risk, "test/accuracy": accuracy, "val/loss": accuracy}
            write_job(folder, number, {"case.pair": f"[{pair}]", "model.weight": str(weight)}, metrics, config)
            number += 1


def test_of_each_case_the_job_of_the_best_choice_is_averaged(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    sweep = sweep_in(tmp_path)
    assert [job.folder.name for job in sweep.chosen] == ["1", "2"]
    (average,) = sweep.averages
    assert average.row.measured == pytest.approx(0.55)
    assert average.deviation == pytest.approx(0.1 / 2**0.5)
    assert average.row.published == pytest.approx(0.5)
    assert average.row.source == "Table 1, mean of 2"
    assert places(sweep) == ["2", "1", "0", "3"]  # by the risk, not by what the preset optimises
    assert [row["chosen"] for row in rows(sweep)] == ["yes", "yes", "no", "no"]
    assert not any(line.startswith(("0 ", "3 ")) for line in terminal(sweep))


def test_a_published_mean_goes_before_that_of_the_jobs(tmp_path: Path) -> None:
    write_pairs(tmp_path, published={"test/accuracy": PUBLISHED})
    (average,) = sweep_in(tmp_path).averages
    assert (average.row.published, average.row.source) == (0.8, "Table 1")


def test_without_a_choice_all_jobs_of_a_case_are_averaged(tmp_path: Path) -> None:
    write_pairs(tmp_path, choose=None)
    assert [(a.settings, a.row.measured) for a in sweep_in(tmp_path).averages] == [
        ({"model.weight": "0.1"}, pytest.approx(0.7)),
        ({"model.weight": "1"}, pytest.approx(0.65)),
    ]


@pytest.mark.parametrize(
    ("average", "complaint"),
    [
        ([], r"average=\[\]: should be"),
        ({"over": "seed"}, "average.over='seed': should be a list of config keys"),
        ({"over": []}, r"average.over=\[\]: should be"),
        ({"over": ["seed"], "choose": "risk"}, "average.choose='risk': a metric is named"),
        ({"over": ["seed"], "choose": "val/risk"}, "average.direction=None: should say"),
        ({"over": ["seed"], "chose": "val/risk"}, "average.chose: unknown"),
        ({"over": ["seed"], "published": {"test/x": {}}}, "average.published.test/x.value=None: should be a number"),
    ],
)
def test_a_malformed_average_is_named(average: Any, complaint: str) -> None:
    assert re.match(complaint, average_problems(average)[0])


def test_sound_averages_have_no_problems() -> None:
    for average in (None, {"over": ["seed"]}, {"over": ["a.b"], "choose": "val/x", "direction": "max"}):
        assert average_problems(average) == []


# What is written


def test_the_page_is_whole_and_what_jobs_say_is_text_in_it(tmp_path: Path) -> None:
    for number in range(2):
        typed = {"model.name": NASTY, "seed": str(number), NASTY: str(number)}
        metrics = {"val/loss": 0.5, f"test/{NASTY}": 1.0}
        published = {f"test/{NASTY}": {"value": number, "source": NASTY, "direction": "min"}}
        config = {"seed": number, "published": published}
        write_job(tmp_path, number, typed, metrics, config, name=NASTY, message=NASTY, status="stopped")
    write_job(tmp_path, 2, {"seed": "2"}, {"val/loss": 0.5})
    (tmp_path / "2" / "report.html").touch()
    html = page(sweep_in(tmp_path))
    shown = Page(html)
    assert NASTY not in html
    assert NASTY in shown.text
    assert shown.loads == []
    assert re.findall(r'href="([^"]*)"', html) == ["2/report.html"]


def test_a_sweep_leaves_a_page_a_table_and_its_last_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs(tmp_path)
    report(read_jobs(tmp_path), tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"sweep.html", "sweep.csv"}
    printed = capsys.readouterr().out
    assert "glow/ablation: 4 jobs, 4 finished" in printed
    assert "Table 1, mean of 2" in printed
    assert printed.splitlines()[-1] == f"sweep: {tmp_path / 'sweep.html'}"


def test_the_terminal_table_fits_80_columns(tmp_path: Path) -> None:
    for number in range(60):
        typed = {"model.network.hidden": "50", "model.schedule.domain_weight": f"{number / 7}"}
        typed |= {"case.pair": f"[electronics,kitchen{number}]"}
        metrics = dict.fromkeys(("val/loss", "test/accuracy_target", "test/accuracy_source"), 0.123456789)
        config = {"published": {"test/accuracy_target": PUBLISHED | {"value": number}}}
        write_job(tmp_path, number, typed, metrics, config)
    lines = terminal(sweep_in(tmp_path))
    assert max(map(len, lines)) <= 80
    assert "0.1235" in lines[5]
    assert "... and 20 more in sweep.html" in "\n".join(lines)


# What the page draws


def write_searched(folder: Path) -> None:
    """Six jobs that differ in a rate over three decades, a word and the seed, with curves; and one that failed."""
    for number, (lr, kind, seed) in enumerate(itertools.product((1e-4, 1e-2), ("affine", "additive"), (0, 1))):
        typed = {"model.lr": f"{lr:g}", "model.coupling": kind, "seed": str(seed)}
        value = 4 - number / 10
        write_job(folder, number, typed, {"val/loss": value, "test/loss": value + 0.1})
        logger = MetricsCsv(folder / str(number))
        for step in range(0, 100, 10):
            logger.log_metrics({"val/loss": value + 10 / (step + 1)}, step)
    write_job(folder, 8, {"model.lr": "1", "model.coupling": "affine", "seed": "0"}, {}, status="failed", message=NASTY)


def test_each_job_is_a_line_through_its_settings_to_what_it_came_to(tmp_path: Path) -> None:
    write_searched(tmp_path)
    drawn = settings(sweep_in(tmp_path))
    assert drawn is not None
    assert [axis.name for axis in drawn.axes] == ["model.lr", "model.coupling", "seed", "val/loss"]
    assert [text for _, text in drawn.axes[0].scale.marks] == ["0.0001", "0.01"]
    assert [text for _, text in drawn.axes[1].scale.marks] == ["additive", "affine"]
    best, worst = drawn.tracks[-1], drawn.tracks[0]
    assert (best.job, best.colour, best.label) == (0, "o0", "7: val/loss 3.3")
    assert (worst.job, worst.colour, worst.label) == (7, "o7", "0: val/loss 4")
    assert best.places[0] > worst.places[0]
    assert best.places[-1] < worst.places[-1]


def test_the_mean_over_the_jobs_of_a_value_is_marked(tmp_path: Path) -> None:
    write_searched(tmp_path)
    drawn = settings(sweep_in(tmp_path))
    assert drawn is not None
    (low, mean_of_low), (high, mean_of_high) = drawn.means[0]
    assert low < high
    assert mean_of_low > mean_of_high
    ends = [place for track in drawn.tracks for place in track.places[-1:]]
    assert mean_of_low == pytest.approx(sum(sorted(ends)[4:]) / 4)


def test_the_curves_of_all_jobs_lie_on_one_chart_the_best_above(tmp_path: Path) -> None:
    write_searched(tmp_path)
    drawn = curves(sweep_in(tmp_path))
    assert drawn is not None
    assert drawn.title == "val/loss"
    assert [line.curve.job for line in drawn.lines] == [7, 6, 5, 4, 3, 2, 1, 0]
    best, worst = "job 7 (lr 0.01, coupling additive, seed 1)", "job 0 (lr 0.0001, coupling affine, seed 0)"
    assert drawn.lines[-1].curve.label == best
    assert drawn.ends == (best, worst)


def test_a_sweep_in_which_nothing_varied_or_nothing_came_out_draws_nothing(tmp_path: Path) -> None:
    write_job(tmp_path, 0, {"seed": "0"}, {"val/loss": 1.0})
    write_job(tmp_path, 1, {"seed": "1"}, None)
    sweep = sweep_in(tmp_path)
    assert settings(sweep) is None
    assert curves(sweep) is None
    assert "<svg" not in page(sweep)


def test_numbers_over_decades_are_on_a_logarithmic_axis_and_words_side_by_side() -> None:
    rates = scale(["1e-4", "1e-3", "1e-2"])
    assert rates.places["1e-3"] == pytest.approx((rates.places["1e-4"] + rates.places["1e-2"]) / 2)
    depths = scale(["8", "16", "24"])
    assert depths.places["16"] == pytest.approx((depths.places["8"] + depths.places["24"]) / 2)
    assert [text for _, text in scale([str(n) for n in range(11)]).marks] == ["0", "2", "4", "6", "8", "10"]
    assert scale(["b", "a"]).places == {"a": 0.25, "b": 0.75}
    assert scale(["nan", "1"]).places == {"1": 0.25, "nan": 0.75}
    assert scale(["3", "3"]).places == {"3": 0.5}
    assert len(scale([f"word{n}" for n in range(40)]).marks) <= 12


def test_optuna_says_how_much_each_setting_decides(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = f"sqlite:///{tmp_path / STUDY}"
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(study_name="glow", storage=storage, sampler=sampler)
    study.optimize(
        lambda trial: trial.suggest_float("lr", 0, 1) ** 2 + 0 * trial.suggest_int("width", 1, 9), n_trials=20
    )
    shares = importance(tmp_path)
    assert shares["lr"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("content", [None, b"", b"no database"])
def test_a_folder_without_a_study_has_no_importance(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / STUDY).write_bytes(content)
    assert importance(tmp_path) == {}


def test_the_page_is_made_from_the_folders_of_the_jobs_alone(tmp_path: Path) -> None:
    write_searched(tmp_path)
    (tmp_path / ".submitit" / "1").mkdir(parents=True)
    (tmp_path / ".submitit" / "1" / "1_0_submitted.pkl").touch()
    ended = subprocess.run(
        [sys.executable, "-m", "paperzoo.reporting.sweep", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=CONFIG_FOLDER.parent,
    )
    assert ended.stdout.endswith(f"sweep: {tmp_path / 'sweep.html'}\n")
    html = (tmp_path / "sweep.html").read_text()
    assert html.count('<tr data-job="') == 9
    assert html.count("<polyline") == 16


def sweeps() -> Iterator[tuple[str, str]]:
    """Each option of `sweep` that declares an average, with each preset that its head names."""
    for path in sorted((CONFIG_FOLDER / "sweep").glob("*.yaml")):
        if "average:" in path.read_text():
            presets = re.findall(rf"train\.py -m experiment=(\S+) sweep={path.stem}", path.read_text())
            assert presets
            yield from ((path.stem, preset) for preset in presets)


@pytest.mark.parametrize(("name", "preset"), sweeps())
def test_a_sweep_composes_with_the_presets_that_it_names(name: str, preset: str) -> None:
    with initialize_config_dir(str(CONFIG_FOLDER)):
        config = compose("train", [f"experiment={preset}", f"sweep={name}"], return_hydra_config=True)
    resolved: Any = OmegaConf.to_container(config.average, resolve=True)
    assert average_problems(resolved) == []
    assert set(resolved["over"]) <= config.hydra.sweeper.params.keys()
    for key in config.hydra.sweeper.params:
        assert OmegaConf.select(config, key) is not None
    published: Any = OmegaConf.to_container(config.published, resolve=True)
    assert all(entry["value"] for entry in published.values())


def test_what_a_preset_was_measured_by_is_shown_though_nothing_is_published_and_nothing_chose_by_it(
    tmp_path: Path,
) -> None:
    values = {"val/accuracy": 0.99, "test/accuracy": 0.98, "test/accuracy_target": 0.8, "test/loss": 0.3}
    measured = [{"metric": "test/accuracy_target", "value": 0.97, "commit": "abc"}]
    for number in range(2):
        write_job(
            tmp_path, number, {"seed": str(number)}, values, {"measured": measured, "seed": number}, objective=ACCURACY
        )
    sweep = sweep_in(tmp_path)
    assert sweep.metrics == ["val/accuracy", "test/accuracy_target", "test/accuracy"]
    assert {average.row.metric for average in sweep.averages} == set(sweep.metrics)
