"""Published experiments as Hydra presets: one LightningModule a paper, the published number beside the measured one.

From Python: `paperzoo.compose("glow/cifar10", "model.depth=16")`, `paperzoo.train(config)`, `paperzoo.load(run)`.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_API = ("Run", "compose", "load", "train")


def __getattr__(name: str) -> Any:
    """What is used from Python is imported when it is asked for: whoever wants a layer does not wait for Hydra."""
    if name in _API:
        return getattr(importlib.import_module("paperzoo.api"), name)
    raise AttributeError(f"module 'paperzoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_API])
