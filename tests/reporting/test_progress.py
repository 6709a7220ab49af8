"""What a run prints: four lines at the start, a bar of one line or plain lines."""

import io
from pathlib import Path
from typing import Any

import pytest
import rich
import torch
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console

from paperzoo.batches import LabelledImages
from paperzoo.datamodule import AS_VALIDATED
from paperzoo.reporting.metrics_csv import MetricsCsv
from paperzoo.reporting.opening import Opening
from paperzoo.reporting.predictions import as_table, terminal_rows, told_files
from paperzoo.reporting.progress import PaperProgressBar, PlainProgress
from paperzoo.runner.callbacks import build_callbacks
from tests.tiny_training import TinyData, TinyModel, tiny_model, tiny_trainer

TARGETS = {"progress": {"_target_": "paperzoo.reporting.progress.PaperProgressBar"}}


def test_a_log_file_gets_a_line_for_each_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_trainer(tmp_path, PlainProgress(), max_epochs=3, enable_progress_bar=True).fit(tiny_model(), TinyData())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(" val " in line and line.endswith(" left") for line in lines)


def test_a_log_file_gets_a_line_a_minute_between_validations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = tiny_trainer(tmp_path, PlainProgress(every=0.0), max_epochs=1, enable_progress_bar=True)
    trainer.fit(tiny_model(), TinyData())
    assert len(capsys.readouterr().out.splitlines()) == trainer.num_training_batches + 1


@pytest.mark.parametrize(("is_terminal", "kind"), [(True, PaperProgressBar), (False, PlainProgress)])
def test_the_bar_is_for_terminals(
    is_terminal: bool, kind: type[ProgressBar], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rich, "get_console", lambda: Console(force_terminal=is_terminal))
    settings = {"trainer": {}, "callbacks": TARGETS}
    callbacks = build_callbacks(settings, MetricsCsv(tmp_path), None, "min")
    assert [type(callback) for callback in callbacks if isinstance(callback, ProgressBar)] == [kind]


def test_the_start_says_where_on_what_and_how_much(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_trainer(tmp_path, Opening(), max_epochs=1).fit(tiny_model(), TinyData())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "device", "data", "model"]
    assert str(tmp_path) in lines[0]
    assert lines[3].endswith(" parameters")
    assert all(len(line) <= 80 for line in lines[1:])


def test_a_prediction_shows_its_first_rows_and_says_what_more_there_is() -> None:
    names = [f"[{number}].png" for number in range(30)]
    table = as_table(names, [{"answer": ["yes"] * 30, "confidence": torch.rand(30)}])
    console = Console(file=io.StringIO(), width=80)
    console.print(terminal_rows(table, 80))
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "[9].png" in shown and "[10].png" not in shown
    assert "... and 20 more items in predictions.csv" in shown


@pytest.mark.parametrize(("width", "columns"), [(30, 3), (80, 8), (200, 12)])
def test_columns_that_do_not_fit_are_counted_not_squeezed(width: int, columns: int) -> None:
    table = as_table(["a.png", "b.png"], [{"class": ["6", "8"], "chance": torch.full((2, 10), 0.123456)}])
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal_rows(table, width))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].count("┃") == columns - 1
    assert len([line for line in lines if ".png" in line]) == 2
    assert all(len(line) <= width for line in lines)
    assert (f"{len(table) - columns} more columns" in " ".join(lines)) == (columns < len(table))


@pytest.mark.parametrize(("tested", "said"), [("7", "7"), (AS_VALIDATED, "8")])
def test_a_prediction_says_how_many_items_it_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tested: str, said: str
) -> None:
    class Items(TinyData):
        predict_dataloader = TinyData.val_dataloader

        def amounts(self) -> dict[str, str]:
            return {"train": "24", "val": "8", "test": tested}

    class Answers(TinyModel):
        def predict_step(self, batch: LabelledImages, batch_idx: int) -> dict[str, torch.Tensor | list[str]]:
            return {"class": self.net(batch.image / 255.0).argmax(1)}

    tiny_trainer(tmp_path, Opening()).predict(Answers(), datamodule=Items())
    assert f"data   Items: {said} to answer" in capsys.readouterr().out.splitlines()


def test_files_that_were_written_are_listed_below_their_folder(tmp_path: Path) -> None:
    assert told_files([tmp_path / "a.csv"], tmp_path) == f"wrote {tmp_path / 'a.csv'}"
    first, *rest = told_files([tmp_path / "drawn" / f"{number}.png" for number in range(12)], tmp_path).splitlines()
    assert first == f"wrote into {tmp_path}"
    assert " ".join(rest).split(", ")[-1].strip() == "drawn/11.png" and max(map(len, rest)) <= 79


def test_drawing_computes_no_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread draws the bar while a validation goes on: what it computed then would be remembered as the metric."""
    drawn = []

    class DrawInValidation(PaperProgressBar):
        def on_validation_batch_end(self, trainer: Any, pl_module: Any, *rest: Any, **more: Any) -> None:
            super().on_validation_batch_end(trainer, pl_module, *rest, **more)
            with monkeypatch.context() as patch:
                patch.setattr(type(trainer), "callback_metrics", property(lambda _: pytest.fail("was computed")))
                drawn.append(self.values())

    tiny_trainer(tmp_path, DrawInValidation(), max_epochs=2, enable_progress_bar=True).fit(tiny_model(), TinyData())
    assert "val" not in drawn[0] and "val 1" in drawn[-1]
