import json
import math

import pytest
from rich.console import Console

from paperzoo.errors import UserError
from paperzoo.reporting.results import (
    Objective,
    Preset,
    Row,
    comparison,
    flat,
    markdown_table,
    problems,
    terminal_table,
)
from paperzoo.reporting.summary import Summary, write_summary
from paperzoo.runner.folder import identity

PUBLISHED = {
    "test/bits_per_dim": {"value": 3.35, "source": "Table 2", "direction": "min"},
    "test/accuracy": {"value": 0.9, "source": "section 5", "direction": "max"},
}
CURVE = [[1, 5], [9, 3.5]]
MEASURED = [
    {
        "metric": "test/bits_per_dim",
        "value": 3.5,
        "budget": "2 h, 1 GPU",
        "commit": "abc1234",
        "curve": [[1, 5], [9, 3.5]],
    },
    {
        "metric": "test/bits_per_dim",
        "value": 3.4,
        "hardware": "8 GPUs",
        "hours": 30,
        "commit": "abc1234",
        "note": "a|b",
    },
]


def summary(**changes) -> Summary:
    values = {
        "name": "glow/cifar10",
        "status": "finished",
        "command": "python train.py experiment=glow/cifar10",
        "metrics": {"test/bits_per_dim": 3.5, "train/loss": math.nan},
        "rows": comparison(PUBLISHED, {"test/bits_per_dim": 3.5}),
        "config": {"model": {"levels": 3}, "trainer": {"devices": 1}},
        "steps": 10,
        "epochs": 2,
        "parameters": 1234,
        "hours": 0.5,
        "device": "cpu",
        "identity": "0123456789ab",
    }
    return Summary(**{**values, **changes})


def test_sound_results_have_no_problems():
    assert problems(PUBLISHED, MEASURED) == []
    assert problems({}, []) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"direction": "down"}, "published.test/accuracy.direction='down': should be min or max"),
        ({"value": "0.9"}, "published.test/accuracy.value='0.9': should be a number"),
        ({"value": float("nan")}, "should be a number"),
        ({"value": True}, "should be a number"),
        ({"source": ""}, "published.test/accuracy.source='': should say where"),
        ({"sauce": "Table 1"}, "published.test/accuracy.sauce: unknown"),
    ],
)
def test_a_wrong_published_entry_is_named(change, complaint):
    (problem,) = problems({"test/accuracy": {**PUBLISHED["test/accuracy"], **change}}, [])
    assert complaint in problem


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"metric": "accuracy"}, "measured[0].metric='accuracy': a metric is named <stage>/<quantity>"),
        ({"value": None}, "measured[0].value=None: should be a number"),
        ({"budget": None}, "measured[0]: should say what it took"),
        ({"commit": 1234567}, "measured[0].commit=1234567: should be the commit"),
        ({"curve": [1, 2]}, "measured[0].curve=[1, 2]: should be a list of [step, value]"),
        ({"curve": [[5, 1.0], [5, 2.0]]}, "steps should increase"),
        ({"seed": 1}, "measured[0].seed: unknown"),
    ],
)
def test_a_wrong_measured_row_is_named(change, complaint):
    (problem,) = problems({}, [{**MEASURED[0], **change}])
    assert complaint in problem


@pytest.mark.parametrize(("published", "measured"), [(None, []), ({"test/loss": 3.0}, []), ({}, None), ({}, [3.0])])
def test_results_of_a_wrong_shape_are_a_problem_and_no_crash(published, measured):
    assert len(problems(published, measured)) == 1


def test_all_problems_are_found_at_once():
    assert len(problems({"test/loss": {}}, [{}])) == 7


@pytest.mark.parametrize(
    ("direction", "measured", "verdict"),
    [
        ("min", 3.0, "better"),
        ("min", 4.0, "worse"),
        ("max", 3.0, "worse"),
        ("max", 4.0, "better"),
        ("min", 3.35, "same"),
    ],
)
def test_the_direction_decides_what_is_better(direction, measured, verdict):
    row = Row("test/x", 3.35, "Table 2", direction, measured)
    assert row.verdict == verdict
    assert row.difference == pytest.approx(measured - 3.35)


def test_nan_is_neither_better_nor_worse():
    assert Row("test/x", 3.35, "Table 2", "min", math.nan).verdict == ""


def test_published_metrics_come_first_and_are_shown_even_if_not_measured():
    rows = comparison(PUBLISHED, {"val/loss": 2.0, "test/loss": 1.0, "train/loss": 0.0, "test/accuracy": 0.95})
    assert [row.metric for row in rows] == ["test/bits_per_dim", "test/accuracy", "test/loss", "val/loss"]
    assert rows[0].measured is None
    assert rows[1].verdict == "better"
    assert rows[2].published is None


def test_the_terminal_table_shows_both_numbers_and_the_difference():
    console = Console(record=True, width=120)
    console.print(terminal_table(summary().rows))
    text = console.export_text()
    assert all(part in text for part in ("3.35", "3.5", "+0.15 (worse)", "Table 2"))


def test_what_a_run_was_judged_by_comes_first_then_what_can_be_compared() -> None:
    metrics = {"test/loss": 1.0, "test/accuracy": 0.5, "test/bits_per_dim": 3.5, "val/accuracy": 0.6, "test/n": 2.0}
    before = [{"metric": "test/n", "value": 1.0}, {"metric": "test/n", "value": 3.0}]
    rows = comparison({}, metrics, before=before, objective=Objective("val/accuracy", "max"))
    assert [row.metric for row in rows] == ["test/accuracy", "val/accuracy", "test/n", "test/loss", "test/bits_per_dim"]
    assert rows[2].before == 3.0
    console = Console(record=True, width=80)
    console.print(terminal_table(rows))
    text = console.export_text()
    assert "test/accuracy ↑" in text and "measured before" in text
    assert not any(word in text for word in ("published", "source", "difference", "bound", " - "))


def test_bounds_have_a_column_where_there_are_some():
    console = Console(record=True, width=120)
    rows = comparison(PUBLISHED, {"test/accuracy": 0.7, "test/loss": 1.0}, {"test/accuracy": 0.765})
    assert [row.bound for row in rows] == [None, 0.765, None]
    console.print(terminal_table(rows))
    text = console.export_text()
    assert "bound" in text and "0.765" in text
    console.print(terminal_table(comparison(PUBLISHED, {"test/accuracy": 0.7})))
    assert "bound" not in console.export_text()


def test_what_a_run_measured_is_not_crowded_out_by_what_only_the_paper_has():
    published = {f"test/solved_rounds{rounds}": {**PUBLISHED["test/bits_per_dim"]} for rounds in range(60)}
    console = Console(record=True, width=120)
    console.print(terminal_table(comparison(published, {"test/accuracy": 0.5, "test/solved_rounds59": 3.0})))
    shown = console.export_text()
    assert shown.index("test/solved_rounds59 ") < shown.index("test/accuracy") < shown.index("test/solved_rounds0 ")
    assert "... and 21 more in the report" in shown


def test_a_long_metric_can_be_read_whole_in_80_columns():
    source = "Section 5.2.3, about, with and without adaptation"
    names = ("test/accuracy_target_per_class", "test/solved_dominating_set_of_small_graphs_rounds1024")
    console = Console(record=True, width=80)
    console.print(terminal_table([Row(name, 0.25, source, "max", 0.1) for name in names]))
    lines = console.export_text().splitlines()
    shown = "".join(line.split("│")[0] for line in lines if "│" in line)
    assert shown.translate({ord(" "): None, ord("↑"): None}) == "".join(names)
    assert not any("…" in line for line in lines)


def test_a_published_table_says_source_and_direction_once():
    table = {
        "source": "Figure 5",
        "direction": "max",
        "values": {"test/accuracy": 0.9, "test/solved_rounds": {16: 0.36, 32: 0.76}},
    }
    assert flat(table) == {
        "test/accuracy": {"value": 0.9, "source": "Figure 5", "direction": "max"},
        "test/solved_rounds16": {"value": 0.36, "source": "Figure 5", "direction": "max"},
        "test/solved_rounds32": {"value": 0.76, "source": "Figure 5", "direction": "max"},
    }
    assert flat(PUBLISHED) == PUBLISHED
    assert problems(table, []) == []
    (problem,) = problems({**table, "direction": "up"}, [])[:1]
    assert problem.startswith("published.test/accuracy.direction='up'")


def test_the_markdown_table_has_a_line_for_each_measurement_and_each_published_metric():
    lines = markdown_table([Preset("b/x", PUBLISHED, MEASURED), Preset("a/y_laptop", {}, MEASURED[:1])]).splitlines()
    assert lines[2:] == [
        "| `y_laptop` | `test/bits_per_dim` | - | 3.5 | 2 h, 1 GPU | `abc1234` |",
        "| `x` | `test/bits_per_dim` | 3.35 (Table 2) | 3.5 | 2 h, 1 GPU | `abc1234` |",
        "| `x` | `test/bits_per_dim` | 3.35 (Table 2) | 3.4 | 30 h, 8 GPUs; a\\|b | `abc1234` |",
        "| `x` | `test/accuracy` | 0.9 (section 5) | - | - | - |",
    ]


def test_the_summary_is_strict_json_that_says_everything(tmp_path):
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    path = write_summary(tmp_path, summary())
    content = json.loads(path.read_text(), parse_constant=refuse)
    assert content["metrics"] == {"test/bits_per_dim": 3.5, "train/loss": None}
    assert content["comparison"][0]["verdict"] == "worse"
    assert content["status"] == "finished"
    assert {"python", "torch", "pytorch-lightning", "paperzoo"} <= content["versions"].keys()
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_the_identity_is_blind_to_devices_and_sees_everything_else():
    config = {"model": {"levels": 3}, "trainer": {"devices": 1, "precision": "32-true"}, "seed": 0}
    assert identity({**config, "trainer": {"devices": 8, "precision": "32-true"}}) == identity(config)
    assert identity({**config, "seed": 1}) != identity(config)
    assert identity({**config, "model": {"levels": 2}}) != identity(config)


def test_a_summary_that_cannot_be_written_is_a_user_error(tmp_path):
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(UserError, match=r"summary\.json: cannot be written"):
        write_summary(tmp_path, summary())
