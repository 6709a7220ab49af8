import math

import pytest

from paperzoo.reporting.metrics_csv import MetricsCsv, read_metrics
from tests.tiny_training import TRAINING_BATCHES, TinyData, tiny_model, tiny_trainer


@pytest.fixture
def logger(tmp_path):
    return MetricsCsv(tmp_path)


def test_what_is_written_is_read_back_to_the_last_bit(logger):
    values = [1 / 3, 1e-300, -0.0, float("inf"), 12345678901234567.0]
    for step, value in enumerate(values):
        logger.log_metrics({"val/loss": value, "epoch": 0}, step)
    assert read_metrics(logger.path) == {"val/loss": list(enumerate(values))}


def test_nan_is_kept(logger):
    logger.log_metrics({"train/loss": float("nan")}, 3)
    ((step, value),) = read_metrics(logger.path)["train/loss"]
    assert step == 3
    assert math.isnan(value)


def test_a_line_is_step_epoch_metric_value_and_epoch_is_no_metric(logger):
    logger.log_metrics({"val/loss": 0.5, "epoch": 7}, 40)
    assert logger.path.read_text() == "step,epoch,metric,value\n40,7,val/loss,0.5\n"


def test_names_with_commas_and_quotes_survive(logger):
    logger.log_metrics({'val/"a, b"': 1.0}, 0)
    assert read_metrics(logger.path) == {'val/"a, b"': [(0, 1.0)]}


def test_a_line_that_a_kill_cut_short_is_left_out(logger):
    logger.log_metrics({"val/loss": 1.0}, 1)
    with logger.path.open("a") as file:
        file.write("2,0,val/loss,3.")
    assert read_metrics(logger.path) == {"val/loss": [(1, 1.0)]}


def test_no_file_means_no_metrics(tmp_path):
    assert read_metrics(tmp_path / "metrics.csv") == {}


def test_rewinding_forgets_what_came_later_and_never_lengthens_the_file(logger):
    logger.log_metrics({"val/loss": 1.0}, 1)
    size = logger.size
    logger.log_metrics({"val/loss": 2.0}, 2)
    logger.rewind(10**6)
    assert len(read_metrics(logger.path)["val/loss"]) == 2
    logger.rewind(size)
    assert read_metrics(logger.path) == {"val/loss": [(1, 1.0)]}
    logger.path.unlink()
    logger.rewind(size)
    assert logger.size == 0


def test_testing_a_checkpoint_leaves_the_lines_of_the_training_alone(tmp_path):
    tiny_trainer(tmp_path, max_epochs=1).fit(tiny_model(), TinyData())
    trained = (tmp_path / "metrics.csv").read_text()
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    tiny_trainer(tmp_path).test(tiny_model(), TinyData(), ckpt_path=checkpoint, verbose=False)
    tested = (tmp_path / "metrics.csv").read_text()
    assert tested.startswith(trained)
    assert "test/loss" in tested.removeprefix(trained)


def test_a_second_fresh_training_in_a_folder_starts_a_new_file(tmp_path):
    for _ in range(2):
        tiny_trainer(tmp_path, max_epochs=1).fit(tiny_model(), TinyData())
    assert len(read_metrics(tmp_path / "metrics.csv")["train/loss"]) == TRAINING_BATCHES
