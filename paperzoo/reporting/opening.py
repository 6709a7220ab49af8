"""The first lines of a run: where it lies, on what it runs, with how much data and how many parameters."""

import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.accelerators import CUDAAccelerator

from paperzoo.datamodule import AS_VALIDATED

PARTS = {
    "fit": {"train": "to train", "val": "to validate", "test": "to test"},
    "test": {"test": "to test"},
    "predict": {"predict": "to answer", "test": "to answer"},
}
"""The parts of the data that a stage uses, the first of those that answer."""


class Opening(Callback):
    """Prints four lines when the data are set up."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fit_loop.epoch_progress.current.ready == 0:  # else it is the test after a training
            self._print(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer, pl_module)

    def _print(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero:
            for name, what in opening_lines(trainer, module):
                print(f"{name:7}{what}", flush=True)


def opening_lines(trainer: Trainer, module: LightningModule) -> Iterator[tuple[str, str]]:
    """Name and content of each line."""
    stage = "fit" if trainer.state.fn is None else trainer.state.fn.value
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    weights = [p for p in module.parameters() if p.requires_grad]
    yield "run", _shortest(Path(trainer.default_root_dir))
    yield "device", f"{device_name(trainer)}, precision {trainer.precision}"
    yield "data", f"{type(data).__name__}: {_amounts(data.amounts(), stage)}"
    yield "model", f"{type(module).__name__}, {sum(p.numel() for p in weights):,} parameters"


def _amounts(amounts: Mapping[str, str], stage: str) -> str:
    if stage == "predict" and amounts.get("test") == AS_VALIDATED:
        amounts = {**amounts, "test": amounts["val"]}
    said = [f"{amounts[part]} {what}" for part, what in PARTS[stage].items() if part in amounts]
    return ", ".join(said[:1] if stage == "predict" else said) or "not counted"


def device_name(trainer: Trainer) -> str:
    """What a run runs on, in words: `2 CPU threads (x86_64)`, `8 x NVIDIA H100`."""
    if isinstance(trainer.accelerator, CUDAAccelerator):
        return f"{trainer.world_size} x {torch.cuda.get_device_name()}"
    kind = platform.machine() or platform.processor()
    return f"{trainer.world_size} x {torch.get_num_threads()} CPU threads ({kind})"


def _shortest(folder: Path) -> str:
    inside = folder.is_relative_to(Path.cwd())
    return str(folder.relative_to(Path.cwd()) if inside else folder)
