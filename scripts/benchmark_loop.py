"""What a run costs beside its model: training steps of a preset against a bare loop over the same batches.

    python scripts/benchmark_loop.py
    python scripts/benchmark_loop.py dann/moons glow/digits_laptop --turns 20

The bare loop is what a script would hold: the loader, augmentation, the loss, its gradient, clipping, the optimiser,
its schedule, and a printed loss every `trainer.log_every_n_steps`. The run has all that a run has: callbacks, progress
bar, `metrics.csv`, random streams for each batch. Both take turns of some steps in one process, by CPU time, on one
thread; the ratio is the median over the turns. Validation, figures and checkpoints are left out: they are the same work
for whoever wants them.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pytorch_lightning import Callback, LightningModule, Trainer

from paperzoo.cli import CONFIG_FOLDER
from paperzoo.config import plain
from paperzoo.datamodule import PaperData
from paperzoo.module import PaperModule
from paperzoo.runner.build import build
from paperzoo.runner.job import Job

PRESETS = {
    "dann/moons": (),
    "glow/digits_laptop": (),
    "recurrent_relation_network/sudoku_laptop": ("data.train_puzzles=320", "data.val_puzzles=16"),
    "neurosat/sr_u3_10_laptop": (),
}
STEPS = {"dann/moons": 100}  # of a turn; others: 10


class BareLoop:
    """Steps of a copy of a module as a script would take them."""

    def __init__(self, module: PaperModule, data: PaperData, trainer: Trainer) -> None:
        self.module = _without_trainer(module)
        self.data = copy.copy(data)
        self.data.trainer = None
        self.every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        self.stub = SimpleNamespace(global_step=0, estimated_stepping_batches=trainer.estimated_stepping_batches)
        self.module._trainer = self.stub  # type: ignore[assignment]
        self.module.log_step = self._print  # type: ignore[method-assign]
        made = self.module.configure_optimizers()
        schedule = made["lr_scheduler"]["scheduler"] if isinstance(made, dict) else None
        self.optimizer = made["optimizer"] if isinstance(made, dict) else made
        self.after_step: Callable[[], object] = schedule.step if schedule else lambda: None
        self.batches = self._forever()

    def _print(self, values: Callable[[], Mapping[str, Any]]) -> None:
        if (self.stub.global_step + 1) % self.every == 0:
            " ".join(f"{name} {float(value):.4f}" for name, value in values().items())

    def _forever(self) -> Iterator[Any]:
        while True:
            yield from self.data.train_dataloader()

    def step(self) -> None:
        """One optimiser step."""
        batch = self.data.augment(next(self.batches))
        self.optimizer.zero_grad()
        self.module.training_step(batch, 0).backward()
        if self.module.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.module.clip_norm)
        self.optimizer.step()
        self.after_step()
        self.stub.global_step += 1


def _without_trainer(module: PaperModule) -> PaperModule:
    trainer, tell, module._trainer = module._trainer, module.tell, None
    module.tell = lambda batch: []
    bare = copy.deepcopy(module)
    module._trainer, module.tell = trainer, tell
    return bare


class TakeTurns(Callback):
    """Stops the clock of the run every `steps` batches and lets the bare loop take as many.

    Attributes:
        turns: CPU seconds a step of the run and of the bare loop.
    """

    def __init__(self, steps: int, data: PaperData) -> None:
        self.steps, self.data = steps, data
        self.turns: list[tuple[float, float]] = []
        self.bare: BareLoop | None = None
        self.since = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % self.steps:
            return
        ours = time.process_time() - self.since
        if self.bare is None:
            assert isinstance(pl_module, PaperModule)
            self.bare = BareLoop(pl_module, self.data, trainer)
        start = time.process_time()
        for _ in range(self.steps):
            self.bare.step()
        end = time.process_time()
        if trainer.global_step:
            self.turns.append((ours / self.steps, (end - start) / self.steps))
        self.since = time.process_time()


def turns(preset: str, overrides: tuple[str, ...], steps: int, count: int) -> list[tuple[float, float]]:
    """CPU seconds a step of the run and of the bare loop, turn by turn; the first, which warms up, is left out."""
    with initialize_config_dir(str(CONFIG_FOLDER)), tempfile.TemporaryDirectory() as folder:
        chosen = [f"experiment={preset}", "threads=1", f"output_root={folder}", *overrides]
        chosen += [f"trainer.max_steps={steps * (count + 2)}", "trainer.max_epochs=-1", "~callbacks.figures"]
        chosen += ["trainer.limit_val_batches=0", "trainer.enable_model_summary=false"]
        config = compose("train", chosen)
        OmegaConf.set_struct(config, False)
        parts = build(Job(plain(config), {"experiment": preset}, chosen, Path(folder)))
        if parts.module.initial_batch_size:
            parts.data.prepare_data()
            parts.module.initialize(parts.data.initial_batch(parts.module.initial_batch_size))
        clock = TakeTurns(steps, parts.data)
        parts.trainer.callbacks.insert(0, clock)  # type: ignore[attr-defined]
        parts.trainer.fit(parts.module, datamodule=parts.data)
    return clock.turns[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--turns", type=int, default=12, help="how often run and bare loop take turns")
    options = parser.parse_args()
    rows = []
    for preset in options.presets:
        steps = STEPS.get(preset, 10)
        times = turns(preset, PRESETS.get(preset, ()), steps, options.turns)
        ours, bare = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
        ratios = sorted(run / loop for run, loop in times)
        rows.append(
            f"{preset:42} {ours:9.2f} {bare:9.2f} {statistics.median(ratios):6.2f}  {ratios[0]:.2f} to {ratios[-1]:.2f}"
        )
    print(f"{'preset':42} {'run ms':>9} {'bare ms':>9} {'ratio':>6}  range")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
