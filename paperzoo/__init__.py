"""Published experiments as Hydra presets: one LightningModule a paper, the published number beside the measured one."""

__version__ = "0.1.0"
