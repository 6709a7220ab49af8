"""Whole runs: what they leave, how they stop, how they go on, what they refuse."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from paperzoo.data.images.small_images import Digits
from paperzoo.errors import UserError
from paperzoo.papers.glow.module import GlowModule
from paperzoo.reporting.metrics_csv import read_metrics
from paperzoo.runner.run import forget
from paperzoo.runner.signals import RunStoppedError
from paperzoo.runner.starting import make_own
from tests.conftest import ROOT, CommandLine, RunJob

TINY = (
    "model=glow",
    "data=digits",
    "trainer=cpu",
    "model.levels=2",
    "model.depth=1",
    "model.width=8",
    "model.n_bits=4",
    "model.warmup_steps=0",
    "model.samples=2",
    "model.temperatures=[0.7]",
    "data.batch_size=128",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
)


def message(run_job: RunJob, *arguments: str) -> str:
    with pytest.raises(UserError) as error:
        run_job(*arguments)
    return str(error.value)


def test_a_run_leaves_everything_that_the_readme_promises(run_job: RunJob) -> None:
    folder = run_job(*TINY)
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "figures/samples.png", "metrics.csv", "report.html"):
        assert (folder / name).stat().st_size > 0, name
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["metrics"]["test/bits_per_dim"] < summary["metrics"]["val/bits_per_dim"] + 1
    assert summary["epochs"] == 2
    assert summary["steps"] == 2 * (1497 // 128)
    assert summary["tested"] == "best, by val/bits_per_dim"
    assert summary["data"]["train"] == "1,497"
    assert summary["figures"][0] == "samples.png"
    assert datetime.fromisoformat(summary["ended"]) <= datetime.now().astimezone()
    assert not list(folder.rglob("*.tmp"))


def test_the_test_mode_measures_what_the_training_reported(run_job: RunJob) -> None:
    trained = run_job(*TINY)
    tested = run_job("mode=test", f"checkpoint={trained}")
    first, second = (json.loads((f / "summary.json").read_text())["metrics"] for f in (trained, tested))
    assert second["test/bits_per_dim"] == first["test/bits_per_dim"]


def test_a_lone_checkpoint_says_what_it_is(run_job: RunJob, tmp_path: Path) -> None:
    trained = run_job(*TINY)
    lone = tmp_path / "lone.ckpt"
    shutil.move(trained / "checkpoints" / "best.ckpt", lone)
    expected = json.loads((trained / "summary.json").read_text())["metrics"]["test/bits_per_dim"]
    shutil.rmtree(trained)
    tested = run_job("mode=test", f"checkpoint={lone}")
    assert json.loads((tested / "summary.json").read_text())["metrics"]["test/bits_per_dim"] == expected


@pytest.mark.parametrize("conditional", ["true", "false"])
def test_predict_scores_the_users_own_images(conditional: str, run_job: RunJob, tmp_path: Path) -> None:
    trained = run_job(*TINY, f"model.class_conditional={conditional}")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    generator = np.random.default_rng(0)
    for name in ("noise.png", "another.png"):
        Image.fromarray(generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(pictures / name)
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(pictures / "black.png")
    folder = run_job("mode=predict", f"checkpoint={trained}", "data=image_folder", f"data.path={pictures}")
    rows = {row["item"]: row for row in csv.DictReader((folder / "predictions.csv").open())}
    assert set(rows) == {"another.png", "black.png", "noise.png"}
    dimensions = 8 * 8
    for row in rows.values():
        nats, bits = float(row["log_likelihood_nats"]), float(row["bits_per_dim"])
        assert bits == pytest.approx(-nats / (dimensions * np.log(2)), rel=1e-5)
    assert (folder / "samples_T0.70.npy").exists()
    assert (folder / "samples_T0.70.png").exists()
    assert (folder / "interpolation.png").exists()


def test_the_return_value_is_the_best_value_of_the_objective(run_job: RunJob, monkeypatch: pytest.MonkeyPatch) -> None:
    import paperzoo.runner.run

    returned: list[float | None] = []
    original = paperzoo.runner.run.train
    monkeypatch.setattr(paperzoo.runner.run, "train", lambda job, parts: returned.append(original(job, parts)))
    folder = run_job(*TINY)
    assert returned == [min(value for _, value in read_metrics(folder / "metrics.csv")["val/bits_per_dim"])]


def test_the_reported_validation_is_that_of_the_best_weights(run_job: RunJob) -> None:
    folder = run_job(*TINY, "model.class_conditional=true", "model.optimizer.lr=0.05", "trainer.max_epochs=4")
    logged = {name: dict(pairs) for name, pairs in read_metrics(folder / "metrics.csv").items()}
    reported = json.loads((folder / "summary.json").read_text())["metrics"]
    best = min(logged["val/bits_per_dim"], key=logged["val/bits_per_dim"].__getitem__)
    assert reported["val/bits_per_dim"] == logged["val/bits_per_dim"][best]
    assert reported["val/accuracy"] == logged["val/accuracy"][best]


def test_seed_zero_is_a_seed(run_job: RunJob) -> None:
    first, second, other = (run_job(*TINY, f"seed={seed}") for seed in (0, 0, 1))
    assert (first / "metrics.csv").read_bytes() == (second / "metrics.csv").read_bytes()
    assert (first / "metrics.csv").read_bytes() != (other / "metrics.csv").read_bytes()


def test_debug_overfit_learns_four_batches_by_heart(run_job: RunJob) -> None:
    small = (*TINY, "data.batch_size=4", "model.width=32", "model.depth=4", "model.optimizer.lr=0.01")
    folder = run_job(*(o for o in small if "max_epochs" not in o), "debug=overfit")
    metrics = read_metrics(folder / "metrics.csv")
    assert len(metrics["train/bits_per_dim"]) == 400
    last_epoch = [value for _, value in metrics["train/bits_per_dim"][-4:]]
    assert max(last_epoch) < metrics["val/bits_per_dim"][-1][1] - 1


@pytest.mark.parametrize("debug", ["limit", "profiler"])
def test_debug_configs_run_to_the_report(debug: str, run_job: RunJob) -> None:
    folder = run_job(*(o for o in TINY if "max_epochs" not in o), f"debug={debug}")
    assert json.loads((folder / "summary.json").read_text())["epochs"] == 1


# What is refused


def test_all_mistakes_are_told_together(run_job: RunJob) -> None:
    mistakes = ("mode=tset", "model.width=-3", "model.optimizer.lr=fast", "seed=-1", "data.workers=-7")
    text = message(run_job, *TINY, *mistakes)
    for key in mistakes:
        assert key in text


def test_a_size_that_cannot_be_halved_so_often_is_refused(run_job: RunJob) -> None:
    assert "model.levels=4" in message(run_job, *TINY, "model.levels=4")


class Numbers(NamedTuple):
    value: Tensor


def test_a_pair_that_does_not_fit_names_what_does(run_job: RunJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Digits, "yields", Numbers)
    text = message(run_job, *TINY)
    assert "model 'glow' takes Images or LabelledImages or AttributedImages, data 'digits' yields Numbers" in text
    fitting = text.split("data that fit: ")[1].splitlines()[0]
    assert "cifar10" in fitting
    assert "digits" not in fitting
    assert "models that take Numbers: none" in text


def test_missing_data_is_named_and_the_network_left_alone(run_job: RunJob, tmp_path: Path) -> None:
    text = message(run_job, "model=glow", "data=cifar10", "data.download=false", f"data_root={tmp_path}")
    assert str(tmp_path) in text
    assert "import_data.py cifar10" in text


def test_a_checkpoint_of_another_model_is_refused(run_job: RunJob) -> None:
    trained = run_job(*TINY)
    text = message(run_job, "mode=test", f"checkpoint={trained}", "model=realnvp")
    assert "holds model 'glow', not 'realnvp'" in text


def test_a_checkpoint_of_another_architecture_is_refused(run_job: RunJob) -> None:
    trained = run_job(*TINY)
    text = message(run_job, "mode=test", f"checkpoint={trained}", "model.width=16")
    assert "weights do not fit" in text


@pytest.mark.parametrize("data", [(), ("data=mnist",)])
def test_a_shape_that_the_weights_do_not_fit_is_refused_in_a_sentence(data: tuple[str, ...], run_job: RunJob) -> None:
    trained = run_job(*TINY)
    text = message(run_job, "mode=test", f"checkpoint={trained}", *data, "data.image_shape=[1,32,32]")
    assert text == "data.image_shape=[1, 32, 32]: the model was trained with [1, 8, 8]; leave the key out"


def test_a_folder_that_was_named_for_the_training_need_not_be_named_again(run_job: RunJob, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for domain in ("ours", "theirs"):
        for name in ("cat", "dog"):
            folder = tmp_path / domain / name
            folder.mkdir(parents=True)
            for number in range(2):
                pixels = generator.integers(0, 256, (30, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    own = (f"data.source.path={tmp_path / 'ours'}", f"data.target.path={tmp_path / 'theirs'}")
    shape = ("data.source.facts.num_classes=2", "data.validation_fraction=0", "data.image_shape=[3,28,28]")
    trained = run_job(
        "model=dann", "data=domains", "data/source=folder", "data/target=folder", *own, *shape, "data.batch_size=2",
        f"data_root={tmp_path / 'data'}", "trainer.max_steps=1", "trainer=cpu",
    )  # fmt: skip
    tested = run_job("mode=test", f"checkpoint={trained}", f"data_root={tmp_path / 'data'}")
    metrics = [json.loads((run / "summary.json").read_text())["metrics"] for run in (trained, tested)]
    assert metrics[0]["test/accuracy_target"] == metrics[1]["test/accuracy_target"]


def test_a_damaged_checkpoint_is_named(run_job: RunJob) -> None:
    trained = run_job(*TINY)
    path = trained / "checkpoints" / "best.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    assert str(path) in message(run_job, "mode=test", f"checkpoint={trained}")


def test_a_checkpoint_holds_no_code(run_job: RunJob) -> None:
    path = run_job(*TINY) / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    assert content["paperzoo"]["choices"]["model"] == "glow"
    assert "levels: 2" in content["paperzoo"]["config"]


def test_resuming_with_another_config_is_refused(run_job: RunJob) -> None:
    folder = run_job(*TINY)
    text = message(run_job, f"resume={folder}", "model.width=16")
    assert "model.width: 8 when the run was started, 16 now" in text
    longer = run_job(f"resume={folder}", "trainer.max_epochs=3")
    assert json.loads((longer / "summary.json").read_text())["epochs"] == 3
    again = json.loads((run_job(f"resume={folder}", "trainer.max_epochs=4") / "summary.json").read_text())
    assert again["epochs"] == 4
    assert "resume" not in again["command"]


def test_a_non_finite_loss_stops_the_run_and_names_the_step(run_job: RunJob) -> None:
    text = message(run_job, *TINY, "model.optimizer.lr=1e30")
    assert "NaN or infinite at step" in text


# Real processes


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=folder.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_lines(path: Path, count: int, process: "subprocess.Popen[str]") -> None:
    while not path.exists() or path.read_text().count("\n") < count:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


MID_EPOCH = "callbacks.checkpoints.every_minutes=0.0002"
LONG = (*TINY, "trainer.max_epochs=4", "trainer.enable_progress_bar=false", MID_EPOCH)


def test_a_run_that_was_killed_resumes_to_bit_identical_metrics(run_job: RunJob, tmp_path: Path) -> None:
    undisturbed = run_job(*LONG)
    folder = tmp_path / "killed"
    process = start(folder, *LONG, f"hydra.run.dir={folder}")
    wait_for_lines(folder / "metrics.csv", 18, process)  # in the middle of the second epoch
    process.kill()
    process.communicate()
    assert (folder / "metrics.csv").read_bytes() != (undisturbed / "metrics.csv").read_bytes()
    resumed = start(folder, f"resume={folder}")
    output = resumed.communicate()[0]
    assert resumed.returncode == 0, output
    assert (folder / "metrics.csv").read_bytes() == (undisturbed / "metrics.csv").read_bytes()
    last = (f / "checkpoints" / "last.ckpt" for f in (folder, undisturbed))
    resumed_weights, weights = (torch.load(path, weights_only=True)["state_dict"] for path in last)
    for name, value in weights.items():
        assert torch.equal(value, resumed_weights[name]), name


@pytest.fixture
def heard_hangup() -> Iterator[None]:
    """SIGHUP as a terminal has it, also where the tests were started with `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heard_hangup")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_first_and_says_how_to_go_on(signum: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    process = start(folder, *TINY, "trainer.max_epochs=1000", f"hydra.run.dir={folder}")
    wait_for_lines(folder / "metrics.csv", 5, process)
    process.send_signal(signum)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signum
    assert f"python train.py resume={folder}" in output
    assert "Traceback" not in output
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] > 0
    assert json.loads((folder / "summary.json").read_text())["status"] == "stopped"


SLOW_VALIDATION = """
import sys, time
import paperzoo.cli
from paperzoo.tasks.density import DensityModule

validation_step = DensityModule.validation_step

def slowly(module, batch, batch_idx):
    print("validating", flush=True)
    time.sleep(WAIT)
    validation_step(module, batch, batch_idx)

DensityModule.validation_step = slowly
paperzoo.cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("wait", "count"), [("0.3", 1), ("60", 2)])
def test_ctrl_c_in_the_first_validation_leaves_a_checkpoint(wait: str, count: int, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_VALIDATION.replace("WAIT", wait), *TINY, f"hydra.run.dir={folder}"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    while "validating" not in process.stdout.readline():
        assert process.poll() is None
    for _ in range(count):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert f"python train.py resume={folder}" in output
    assert json.loads((folder / "summary.json").read_text())["status"] == "stopped"
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 1497 // 128
    assert f"resume={folder}" in (folder / "report.html").read_text()


def test_a_mistake_ends_with_one_message_and_exit_code_two(command_line: CommandLine) -> None:
    result = command_line("model=glow", "data=digits", "model.levels=4")
    assert result.returncode == 2
    assert result.stderr.startswith("paperzoo: model.levels=4")
    assert "Traceback" not in result.stderr


def test_resuming_a_finished_run_says_so_and_does_nothing(run_job: RunJob, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_job(*TINY)
    before = contents(folder)
    capsys.readouterr()
    run_job(f"resume={folder}", "threads=1")
    assert "this run is finished, there is nothing to do" in capsys.readouterr().out
    assert contents(folder) == before


def test_a_training_shorter_than_its_validations_are_apart_has_a_best_checkpoint(run_job: RunJob) -> None:
    folder = run_job(*TINY, "trainer.check_val_every_n_epoch=44")
    assert (folder / "checkpoints" / "best.ckpt").is_file()
    assert "val/bits_per_dim" in json.loads((folder / "summary.json").read_text())["metrics"]


def test_validation_and_test_on_the_same_items_are_told(run_job: RunJob, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_job(*TINY)  # the official digits have no third set
    for text in (capsys.readouterr().out, (folder / "report.html").read_text()):
        assert "Validation and test are the same items" in " ".join(text.split())
    held_out = run_job(*TINY, "data.validation_images=300")
    assert "the same items" not in (held_out / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("optimize=val/bits_per_dm",), "did you mean val/bits_per_dim? It logs val/bits_per_dim, val/bits_per_label"),
        (("optimize=test/bits_per_dim",), "optimize=test/bits_per_dim: the model's validation logs no such metric"),
        (("optimize_direction=max",), "val/bits_per_dim is good when it is small"),
        (("optimize=val/accuracy", "optimize_direction=min"), "val/accuracy is good when it is large"),
        (("trainer.limit_train_batches=0",), "trainer.limit_train_batches=0: leaves no batch"),
        (("sweep=office31_pairs",), "sweep=office31_pairs: is for many runs"),
    ],
)
def test_what_would_fail_after_hours_is_refused_at_once(
    arguments: tuple[str, ...], words: str, run_job: RunJob, tmp_path: Path
) -> None:
    assert words in message(run_job, *TINY, *arguments)
    assert not any(tmp_path.iterdir())


def test_what_a_run_optimises_may_be_changed_when_it_is_resumed(run_job: RunJob) -> None:
    folder = run_job(*TINY, "model.class_conditional=true")
    run_job(f"resume={folder}", "optimize=val/accuracy", "trainer.max_epochs=3")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["objective"] == {"metric": "val/accuracy", "direction": "max"}
    assert torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 2


def test_a_batch_larger_than_the_set_is_told(run_job: RunJob, caplog: pytest.LogCaptureFixture) -> None:
    run_job(*TINY, "data.batch_size=5000", "trainer.max_epochs=1")
    assert "data.batch_size=5000: there are 1497 training items" in caplog.text


@pytest.mark.parametrize(
    "arguments",
    [
        ("trainer=gpu",),
        ("trainer.max_time=abc",),
        ("model.levels=4",),
        ("data=cifar10", "data.download=false", "data_root=nowhere"),
    ],
)
def test_a_refused_start_leaves_no_folder(arguments: tuple[str, ...], run_job: RunJob, tmp_path: Path) -> None:
    if arguments == ("trainer=gpu",) and torch.cuda.is_available():
        pytest.skip("there is one")
    message(run_job, *TINY, *arguments)
    assert not any(tmp_path.iterdir())


def test_a_download_that_fails_leaves_no_folder(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(data: Digits) -> None:
        raise UserError("no network")

    monkeypatch.setattr(Digits, "prepare_data", fail)
    assert message(run_job, *TINY) == "no network"
    assert not any(tmp_path.iterdir())


def test_what_a_refused_start_did_not_make_stays(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "glow" / "digits" / "now"
    (folder / ".hydra").mkdir(parents=True)
    (tmp_path / "outputs" / "glow" / "note.txt").touch()
    forget(folder, tmp_path / "outputs")
    assert [path.name for path in (tmp_path / "outputs").rglob("*")] == ["glow", "note.txt"]
    (tmp_path / "mine" / "run" / ".hydra").mkdir(parents=True)
    forget(tmp_path / "mine" / "run", tmp_path / "outputs")
    assert (tmp_path / "mine").is_dir()


@pytest.mark.usefixtures("heard_hangup")
@pytest.mark.parametrize(
    ("place", "signum"),
    [
        ("paperzoo.papers.glow.GlowModule.test_step", signal.SIGINT),
        ("paperzoo.papers.glow.GlowModule.test_step", signal.SIGHUP),
        ("paperzoo.runner.ending.write_report", signal.SIGTERM),
    ],
)
def test_a_signal_after_the_training_stops_with_what_was_trained(
    place: str, signum: signal.Signals, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        signal.raise_signal(signum)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr(place, interrupt)
        with pytest.raises(RunStoppedError) as stop:
            run_job(*TINY)
    assert str(stop.value) == f"stopped by {signum.name}; continue with: python train.py resume={stop.value.folder}"
    signal.signal(signal.SIGINT, before)  # Lightning ignores it from then on
    assert stop.value.exit_code == 128 + signum
    assert stop.value.folder is not None
    resumed = run_job(f"resume={stop.value.folder}")
    summary = json.loads((resumed / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert "test/bits_per_dim" in summary["metrics"]
    assert (resumed / "report.html").is_file()


def test_a_signal_in_mode_test_ends_with_its_exit_code(run_job: RunJob, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = run_job(*TINY)
    monkeypatch.setattr(GlowModule, "test_step", lambda *arguments: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(RunStoppedError, match=r"^stopped by SIGTERM$") as stop:
        run_job("mode=test", f"checkpoint={trained}")
    assert stop.value.exit_code == 143


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("optimize_direction=minimize",), "optimize_direction=minimize: should be min, max or null"),
        (("callbacks.figures=null",), "to switch it off: '~callbacks.figures'"),
        (("~data",), "data"),  # what is left interpolates from it
        (("resume=",), "resume=: is empty"),
    ],
)
def test_less_usual_mistakes_get_a_sentence_too(arguments: tuple[str, ...], words: str, run_job: RunJob) -> None:
    tiny = [o for o in TINY if not o.startswith("data.")]
    assert words in message(run_job, *tiny, *arguments)


def test_a_preset_of_another_model_is_refused_for_a_checkpoint(run_job: RunJob) -> None:
    trained = run_job(*TINY)
    text = message(run_job, "mode=test", f"checkpoint={trained}", "experiment=realnvp/digits_laptop")
    assert "holds model 'glow', not 'realnvp'" in text


def test_a_folder_of_the_users_own_configs_is_remembered(command_line: CommandLine, tmp_path: Path) -> None:
    own = tmp_path / "own" / "experiment" / "mine"
    own.mkdir(parents=True)
    (own / "tiny.yaml").write_text("# @package _global_\nmodel: {levels: 2, depth: 1, width: 8, samples: 1}\n")
    quiet = ("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false", "hydra.run.dir='my run'")
    first = command_line(
        "--config-dir=own", "experiment=mine/tiny", "trainer=smoke", "model.temperatures=[0.7]", *quiet
    )
    assert first.returncode == 0, first.stderr
    resumed = command_line("resume='my run'", "trainer.max_steps=3")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((tmp_path / "my run" / "summary.json").read_text())["steps"] == 3


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name}


def break_file(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_refused_resume_leaves_a_finished_run_as_it_is(name: str, run_job: RunJob) -> None:
    folder = run_job(*TINY)
    break_file(folder / "checkpoints" / name)
    before = contents(folder)
    text = message(run_job, f"resume={folder}", "trainer.max_epochs=3")
    assert f"{name}: damaged" in text
    assert "is whole" in text
    assert contents(folder) == before


def test_a_resume_that_fails_before_its_first_batch_leaves_a_finished_run_as_it_is(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_job(*TINY)
    before = contents(folder)
    assert "trainer.max_epochs=1:" in message(run_job, f"resume={folder}", "trainer.max_epochs=1")
    assert contents(folder) == before
    monkeypatch.setattr(GlowModule, "configure_optimizers", lambda _: refuse())
    assert message(run_job, f"resume={folder}", "trainer.max_epochs=3") == "refused"
    assert contents(folder) == before


def refuse() -> None:
    raise UserError("refused")


def test_a_longer_training_that_fails_leaves_the_report_of_the_finished_one(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_job(*TINY)
    reports = ("report.html", "summary.json")
    before = [(folder / name).read_bytes() for name in reports]
    with monkeypatch.context() as patch:
        patch.setattr(GlowModule, "on_train_epoch_end", lambda _: refuse())
        assert message(run_job, f"resume={folder}", "trainer.max_epochs=3") == "refused"
    assert [(folder / name).read_bytes() for name in reports] == before
    run_job(f"resume={folder}", "trainer.max_epochs=3")
    assert json.loads((folder / "summary.json").read_text())["epochs"] == 3


def test_a_run_whose_last_checkpoint_is_gone_does_not_start_over(run_job: RunJob, tmp_path: Path) -> None:
    undisturbed = run_job(*TINY, "trainer.max_epochs=3")
    folder = run_job(*TINY)
    last, best = (folder / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
    last.unlink()
    before = contents(folder)
    text = message(run_job, f"resume={folder}", "trainer.max_epochs=3")
    assert f"there is no checkpoints/last.ckpt to go on from, but {best} is there: copy it to last.ckpt" in text
    assert contents(folder) == before
    shutil.copy(best, last)
    run_job(f"resume={folder}", "trainer.max_epochs=3")
    assert (folder / "metrics.csv").read_bytes() == (undisturbed / "metrics.csv").read_bytes()
    shutil.rmtree(folder / "checkpoints")
    (folder / "summary.json").unlink()
    assert "metrics.csv tells of validations" in message(run_job, f"resume={folder}", "trainer.max_epochs=4")


def test_a_run_whose_best_checkpoint_is_gone_says_so(run_job: RunJob, caplog: pytest.LogCaptureFixture) -> None:
    folder = run_job(*TINY)
    (folder / "checkpoints" / "best.ckpt").unlink()
    run_job(f"resume={folder}", "trainer.max_epochs=3")
    assert "best.ckpt is missing" in caplog.text
    assert (folder / "checkpoints" / "best.ckpt").is_file()


def test_a_run_folder_is_one_runs_at_a_time_and_free_when_that_is_killed(
    run_job: RunJob, command_line: CommandLine, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    process = start(folder, *LONG, "trainer.max_epochs=1000", "data.workers=1", f"hydra.run.dir={folder}")
    wait_for_lines(folder / "metrics.csv", 18, process)
    in_use = f"{folder}: another process is running in this folder (process {process.pid} on "
    assert in_use in message(run_job, f"resume={folder}", "trainer.max_epochs=2")
    second = command_line(*TINY, "model.width=4", f"hydra.run.dir={folder}")
    assert second.returncode == 2
    assert in_use in second.stderr
    assert "width=4" not in (folder / ".hydra" / "overrides.yaml").read_text()
    process.kill()  # its worker has what it had, for some seconds more
    process.communicate()
    assert "holds a run already" in command_line(*TINY, f"hydra.run.dir={folder}").stderr
    text = message(run_job, f"resume={folder}", "model.width=4")
    assert "this is not the run that was started" in text
    assert "another process" not in text


def test_no_two_runs_of_one_second_get_the_same_folder(command_line: CommandLine, tmp_path: Path) -> None:
    make_own(tmp_path / "runs" / "2026-11-22_10-00-00_00000000")
    with pytest.raises(UserError, match="another run has just been given this folder"):
        make_own(tmp_path / "runs" / "2026-11-22_10-00-00_00000000")
    result = command_line(*TINY, "hydra.run.dir=runs/2026-11-22_10-00-00_${paperzoo.short_id:}", "trainer.max_steps=1")
    assert result.returncode == 0, result.stderr
    (folder,) = set((tmp_path / "runs").iterdir()) - {tmp_path / "runs" / "2026-11-22_10-00-00_00000000"}
    assert len(folder.name.rpartition("_")[2]) == 8
