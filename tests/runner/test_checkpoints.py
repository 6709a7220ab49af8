import errno
import logging
import os
import resource
import signal
import threading
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from paperzoo.errors import UserError
from paperzoo.runner.checkpoints import AtomicCheckpointIO
from paperzoo.runner.signals import RunStoppedError
from paperzoo.runner.watching import StopOnNonFinite
from tests.tiny_training import TRAINING_BATCHES, TinyData, tiny_model, tiny_trainer

SETTINGS = {
    "each epoch validated": {},
    "validated twice an epoch": {"val_check_interval": 3},
    "validated every second epoch": {"check_val_every_n_epoch": 2},
    "never validated": {"limit_val_batches": 0},
    "gradients accumulated": {"accumulate_grad_batches": 2},
    "logged every fourth step": {"log_every_n_steps": 4},
    "stopped by steps": {"max_epochs": -1, "max_steps": 2 * TRAINING_BATCHES},
}


class SignalAt(Callback):
    """Sends this process a signal in one hook of one batch."""

    def __init__(self, hook: str, batch: int, epoch: int, signum: signal.Signals = signal.SIGTERM) -> None:
        self.batch, self.epoch, self.signum = batch, epoch, signum
        setattr(self, hook, self._send)

    def _send(self, trainer: Any, pl_module: Any, *arguments: Any) -> None:
        batch = trainer.fit_loop.epoch_loop.batch_progress.current.ready - 1
        if (trainer.current_epoch, batch) == (self.epoch, self.batch):
            os.kill(os.getpid(), self.signum)


def train(folder: Path, *more: Callback, resume: bool = False, **settings: Any) -> dict[str, torch.Tensor]:
    model = tiny_model()
    checkpoint = folder / "checkpoints" / "last.ckpt" if resume else None
    tiny_trainer(folder, *more, **settings).fit(model, TinyData(), ckpt_path=checkpoint)
    return model.state_dict()


def metrics(folder: Path) -> str:
    return (folder / "metrics.csv").read_text()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("batch", [0, 2, 3, TRAINING_BATCHES - 1])
@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_validation_start"])
def test_a_stopped_and_resumed_run_is_bit_identical_to_an_unstopped_one(tmp_path, settings, batch, hook):
    never_stopped = train(tmp_path / "whole", **settings)
    try:
        train(tmp_path / "parts", SignalAt(hook, batch, epoch=1), **settings)
    except RunStoppedError as stopped:
        assert str(tmp_path / "parts") in str(stopped)
        resumed = train(tmp_path / "parts", resume=True, **settings)
        for name, value in never_stopped.items():
            assert torch.equal(resumed[name], value), name
        assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    else:
        assert hook == "on_validation_start"  # no validation after this batch, so no signal


def test_a_killed_run_forgets_the_lines_after_its_checkpoint_and_writes_them_again(tmp_path):
    class KilledError(Exception):
        pass

    class KillAt(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if (trainer.current_epoch, batch_idx) == (1, 4):
                raise KilledError

    train(tmp_path / "whole")
    with pytest.raises(KilledError):
        train(tmp_path / "parts", KillAt())
    assert metrics(tmp_path / "parts").count("train/loss") == TRAINING_BATCHES + 4
    train(tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_a_finished_run_continues_when_it_is_made_longer(tmp_path):
    whole = train(tmp_path / "whole", max_epochs=3)
    train(tmp_path / "parts", max_epochs=2)
    longer = train(tmp_path / "parts", resume=True, max_epochs=3)
    assert all(torch.equal(longer[name], value) for name, value in whole.items())
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_a_time_limit_stops_at_a_place_to_continue_from(tmp_path):
    class TimeIsUp(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            trainer.should_stop = trainer.should_stop or (trainer.current_epoch, batch_idx) == (1, 2)

    whole = train(tmp_path / "whole")
    train(tmp_path / "parts", TimeIsUp())
    resumed = train(tmp_path / "parts", resume=True)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_checkpoints_are_two_plain_files_without_code_in_them(tmp_path):
    train(tmp_path, every_minutes=1e-9)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    for path in (tmp_path / "checkpoints").iterdir():
        assert not path.is_symlink()
        assert "state_dict" in torch.load(path, weights_only=True)


def test_last_is_written_in_mid_epoch_when_it_is_old(tmp_path):
    class Watch(Callback):
        steps: list[int]

        def on_train_start(self, trainer, pl_module):
            self.steps = []

        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            self.steps.append(checkpoint["global_step"])

    watch = Watch()
    train(tmp_path, watch, every_minutes=1e-9, max_epochs=1)
    assert set(range(1, TRAINING_BATCHES + 1)) == set(watch.steps)


def test_best_holds_the_weights_of_the_lowest_value(tmp_path):
    values = iter([3.0, 1.0, float("nan"), 2.0])

    class Announce(Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            pl_module.log("val/loss", next(values))

    model = tiny_model()
    model.validation_step = lambda batch, batch_idx: None
    tiny_trainer(tmp_path, Announce(), max_epochs=4).fit(model, TinyData())
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 2 * TRAINING_BATCHES


def test_an_unknown_metric_to_optimise_is_a_user_error_that_lists_the_logged_ones(tmp_path):
    trainer = tiny_trainer(tmp_path)
    trainer.checkpoint_callbacks[0].monitor = "val/accuracy"
    with pytest.raises(UserError, match=r"optimize=val/accuracy.*val/loss"):
        trainer.fit(tiny_model(), TinyData())


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_stops_after_the_batch_and_handlers_are_put_back(tmp_path, signum):
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    with pytest.raises(RunStoppedError, match=f"{signum.name} after step {TRAINING_BATCHES + 3}") as stopped:
        train(tmp_path, SignalAt("on_train_batch_start", 2, epoch=1, signum=signum))
    assert stopped.value.exit_code == 128 + signum
    assert {s: signal.getsignal(s) for s in before} == before
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == TRAINING_BATCHES + 3


class Impatient(Callback):
    """Ctrl-C twice in one hook of one epoch, from a user who does not want to wait."""

    def __init__(self, hook: str, epoch: int = 1) -> None:
        self.epoch = epoch
        setattr(self, hook, self._send)

    def _send(self, trainer: Any, pl_module: Any, *arguments: Any) -> None:
        if trainer.current_epoch == self.epoch:
            for _ in range(2):  # to this thread: two to the process may arrive as one
                signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_before_zero_grad"])
def test_a_second_interrupt_stops_at_once(tmp_path, hook):
    with pytest.raises(RunStoppedError) as stopped:
        train(tmp_path, Impatient(hook))
    assert stopped.value.exit_code == 128 + signal.SIGINT
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == TRAINING_BATCHES


AT_THE_END = ["on_validation_start", "on_validation_batch_end", "on_validation_epoch_end", "on_validation_end"]
AT_THE_END += ["on_train_epoch_end"]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("hook", AT_THE_END)
def test_two_interrupts_in_validation_or_at_the_end_of_an_epoch_lose_nothing(tmp_path, settings, hook):
    never_stopped = train(tmp_path / "whole", **settings)
    try:
        train(tmp_path / "parts", Impatient(hook), **settings)
    except RunStoppedError:
        resumed = train(tmp_path / "parts", resume=True, **settings)
        assert all(torch.equal(resumed[name], value) for name, value in never_stopped.items())
        assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    else:
        assert settings == {"limit_val_batches": 0}  # no validation, so no signal


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("batch", [2, TRAINING_BATCHES - 1])
def test_a_validation_that_was_left_begins_again(tmp_path, settings, batch):
    class Counted(Callback):
        batches = 0

        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            self.batches += 1

    never_stopped = train(tmp_path / "whole", **settings)
    counted = Counted()
    try:
        train(tmp_path / "parts", SignalAt("on_validation_start", batch, epoch=1), counted, **settings)
    except RunStoppedError:
        assert counted.batches % 2 == 1  # of two
        resumed = train(tmp_path / "parts", resume=True, **settings)
        assert all(torch.equal(resumed[name], value) for name, value in never_stopped.items())
        assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_a_stop_before_the_first_checkpoint_promises_none(tmp_path):
    with pytest.raises(RunStoppedError, match=r"stopped by SIGINT after step 0; no checkpoint was written yet"):
        train(tmp_path, Impatient("on_train_batch_start", epoch=0))


def test_training_in_another_thread_leaves_signals_alone(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=train, args=(tmp_path,), kwargs={"max_epochs": 1})
    thread.start()
    thread.join()
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("log_every", [1, 4, 1000])
def test_a_nan_loss_stops_the_run_and_spares_the_last_good_checkpoint(tmp_path, log_every):
    class Poison(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if (trainer.current_epoch, batch_idx) == (1, 1):
                pl_module.net[1].weight.data.fill_(float("nan"))

    with pytest.raises(UserError, match=f"at step {TRAINING_BATCHES + 2};.*last.ckpt"):
        train(tmp_path, Poison(), log_every_n_steps=log_every)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == TRAINING_BATCHES
    assert last["state_dict"]["net.1.weight"].isfinite().all()


def test_weights_that_became_infinite_in_the_last_step_are_not_saved(tmp_path):
    class Overflow(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if (trainer.current_epoch, batch_idx) == (1, TRAINING_BATCHES - 1):
                pl_module.net[1].bias.data[0] = float("inf")

    with pytest.raises(UserError, match=r"weights net\.1\.bias"):
        train(tmp_path, Overflow())
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == TRAINING_BATCHES


def _full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)


def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (_full_disk, r"last\.ckpt: the disk is full.*about 2 MiB.*previous last\.ckpt is intact"),
        (_small_files, r"last\.ckpt: cannot be written: .*\(ulimit -f\); the previous last\.ckpt is intact"),
    ],
)
def test_a_full_disk_keeps_the_previous_checkpoint_and_says_how_much_is_needed(
    tmp_path, monkeypatch, fill: Callable[[pytest.MonkeyPatch], None], words: str
):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(3)}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    fill(monkeypatch)
    try:
        with pytest.raises(UserError, match=words):
            AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(2**19)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]
    assert torch.equal(torch.load(path, weights_only=True)["weights"], torch.zeros(3))


@pytest.mark.parametrize("kept", [0, 10, 500, -1])
def test_a_damaged_checkpoint_is_a_user_error_that_names_it(tmp_path, kept):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"last\.ckpt: damaged"):
        AtomicCheckpointIO().load_checkpoint(path)


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path):
    torch.save({"callback": logging.Formatter()}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match=r"evil\.ckpt"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "evil.ckpt")


def _save_for_ever(path: Path) -> None:
    version = 0
    while True:
        AtomicCheckpointIO().save_checkpoint({"weights": torch.full((20_000,), version)}, path)
        version += 1


@pytest.mark.parametrize("after", [0.02, 0.05, 0.11])
def test_a_process_killed_at_any_time_leaves_a_whole_checkpoint(tmp_path, after):
    path = tmp_path / "last.ckpt"
    process = get_context("fork").Process(target=_save_for_ever, args=(path,))
    process.start()
    while not path.exists():
        process.join(0.001)
    process.join(after)
    process.kill()
    process.join()
    weights = AtomicCheckpointIO().load_checkpoint(path)["weights"]
    assert len(weights.unique()) == 1


def test_a_resumed_run_knows_that_its_objective_was_finite_once(tmp_path: Path) -> None:
    train(tmp_path)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["StopOnNonFinite"]
    watching = StopOnNonFinite()
    assert saved != watching.state_dict()
    watching.load_state_dict(saved)
    assert watching.state_dict() == saved == {"was_finite": True}


def flipped(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_no_flipped_bit_of_a_checkpoint_changes_what_is_loaded(tmp_path: Path) -> None:
    path, expected = tmp_path / "last.ckpt", {"weights": torch.arange(1000.0), "step": 7}
    AtomicCheckpointIO().save_checkpoint(expected, path)
    whole, generator = path.read_bytes(), torch.Generator().manual_seed(0)
    refused = 0
    for bit in torch.randint(0, 8 * len(whole), (200,), generator=generator).tolist():
        path.write_bytes(whole)
        flipped(path, bit)
        try:
            loaded = AtomicCheckpointIO().load_checkpoint(path)
        except UserError as error:
            assert str(path) in str(error)
            refused += 1
            continue
        assert torch.equal(loaded["weights"], expected["weights"])  # the bit was of no part of the content
        assert loaded["step"] == 7
    assert refused > 100


@pytest.mark.parametrize(
    ("damaged", "words"), [("last.ckpt", "copy it to last.ckpt"), ("best.ckpt", "use it with checkpoint=")]
)
def test_a_damaged_checkpoint_names_its_member_and_the_other_one_that_is_whole(
    tmp_path: Path, damaged: str, words: str
) -> None:
    train(tmp_path, max_epochs=1)
    path = tmp_path / "checkpoints" / damaged
    content = bytearray(path.read_bytes())
    place = content.find(b"learning_rate") if b"learning_rate" in content else content.find(b"state_dict")
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"data\.pkl does not match its checksum") as refused:
        AtomicCheckpointIO().load_checkpoint(path)
    other = {"last.ckpt": "best.ckpt", "best.ckpt": "last.ckpt"}[damaged]
    assert f"{path.with_name(other)} is whole" in str(refused.value)
    assert words in str(refused.value)
    flipped(path.with_name(other), 8 * path.with_name(other).read_bytes().find(b"state_dict"))
    with pytest.raises(UserError) as refused:
        AtomicCheckpointIO().load_checkpoint(path)
    assert "is whole" not in str(refused.value)


@pytest.mark.parametrize("lost", [1, 3, 100, 10_000])
def test_a_cut_metrics_csv_is_told_and_has_whole_lines_after_a_resume(
    tmp_path: Path, lost: int, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, max_epochs=2)
    path = tmp_path / "metrics.csv"
    before = path.read_bytes()
    path.write_bytes(before[:-lost] if lost < len(before) else b"")
    train(tmp_path, resume=True)
    assert "bytes of logged values are missing" in caplog.text
    lines = path.read_text().splitlines()
    assert lines[0] == "step,epoch,metric,value"
    assert all(line.count(",") == 3 for line in lines)
    assert sum("train/loss" in line for line in lines) >= TRAINING_BATCHES


def test_values_are_on_the_disk_before_the_checkpoint_that_counts_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name.split(".")[0])
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    train(tmp_path, max_epochs=1)
    assert synced[::2] == ["metrics"] * (len(synced) // 2)
    assert synced[1::2] == [""] * (len(synced) // 2)  # checkpoints, under temporary names
