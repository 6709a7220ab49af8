"""paperzoo from Python and from a notebook: `compose`, `train`, `load` do what the command line does."""

import base64
import html
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from paperzoo.choices import QUIET
from paperzoo.cli import CONFIG_FOLDER, complete_arguments, options
from paperzoo.errors import UserError
from paperzoo.refusals import refusal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from paperzoo.datamodule import PaperData
    from paperzoo.module import PaperModule

Predictions = dict[str, list[Any]]


def compose(*arguments: str) -> DictConfig:
    """The config of a run, as the command line would compose it.

    >>> config = compose("glow/cifar10", "model.depth=16")
    >>> config.model.depth, config.data.image_shape
    (16, [3, 32, 32])

    Args:
        arguments: what would be typed; a preset may be named without `experiment=`.

    Raises:
        UserError: there is no such preset, option or key.
    """
    typed = [a if "=" in a or a.startswith(("~", "+")) else f"experiment={a}" for a in arguments]
    completed = complete_arguments(typed)
    try:
        with hydra.initialize_config_dir(str(CONFIG_FOLDER)):
            config = hydra.compose("train", completed, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(refusal(error, completed, options)) from error
    with open_dict(config):
        config.hydra.overrides.task = [o for o in completed if not o.startswith("hydra.")]
        config.hydra.runtime.output_dir = str(Path(config.hydra.run.dir).absolute())
    return config


def train(config: DictConfig) -> "Run":
    """Trains, tests and reports, as `python train.py` does, in a folder of its own below `output_root`.

    Args:
        config: of `compose`; its values may have been changed.

    Raises:
        UserError: what the command line would refuse.
    """
    from paperzoo.runner.run import run

    folder = Path(config.hydra.runtime.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with _as_hydras(config) as plain:
        run(plain)
    return Run(folder)


def load(name: str | Path) -> "Run":
    """A trained model with the data that it was trained for.

    Args:
        name: a run folder, a checkpoint, or `pretrained/<paper>/<preset>`: weights that come with the code.

    Raises:
        UserError: there is none, or it is damaged.
    """
    return Run(Path(name))


class Run:
    """A trained model, what it was trained on, and what it measured. A notebook shows its table and its figures.

    Args:
        path: as `load` takes it.

    Raises:
        UserError: there is none, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        from paperzoo.runner.folder import find_checkpoint, read_provenance, read_summary

        self.path = path
        self.checkpoint = find_checkpoint(path)
        self.folder = path if path.is_dir() else None
        provenance = read_provenance(self.checkpoint)
        self.config: dict[str, Any] = provenance["config"]
        self.choices: dict[str, str | None] = provenance["choices"]
        found = read_summary(self.folder) if self.folder else provenance
        self.metrics: dict[str, float] = found.get("metrics", {})

    @cached_property
    def module(self) -> "PaperModule":
        """The model with its weights, in evaluation mode."""
        from paperzoo.runner.weights import load_model

        return load_model(str(self.checkpoint))

    @cached_property
    def data(self) -> "PaperData":
        """The DataModule that it was trained on; `data.prepare_data()` and `data.setup()` make its batches ready."""
        from paperzoo.config import instantiate

        data: PaperData = instantiate(self.config["data"], "data")
        return data

    def test(self, *overrides: str) -> dict[str, float]:
        """What the model measures on its test data, as `mode=test` does; leaves no folder behind.

        Args:
            overrides: further ones, `"trainer.limit_test_batches=2"`.

        Raises:
            UserError: what the command line would refuse.
        """
        from paperzoo.runner.folder import read_summary
        from paperzoo.runner.run import run

        with tempfile.TemporaryDirectory() as folder:
            arguments = ["mode=test", f"checkpoint={self.checkpoint}", *overrides, *QUIET, f"hydra.run.dir={folder}"]
            with _as_hydras(compose(*arguments)) as plain:
                run(plain)
            metrics: dict[str, float] = read_summary(Path(folder))["metrics"]
        return metrics

    def predict(self, items: Any, *overrides: str, data: str | None = None) -> Predictions:
        """What the model answers, as columns: `{"item": [...], "answer": [...]}`.

        Args:
            items: the path of a file or a folder, as for `mode=predict`; or a batch that the model takes, or images as
                an array of uint8 values (image channel height width).
            overrides: further ones, `'data.question="Are there any cubes?"'`.
            data: the option of `data` that reads the path; None: what fits the model.

        Raises:
            UserError: what the command line would refuse.
        """
        if not isinstance(items, str | Path):
            return self._answers_to(items)
        from paperzoo.runner.build import build
        from paperzoo.runner.check import check
        from paperzoo.runner.run import answers
        from paperzoo.runner.settle import settle

        choice = data or self._own_data()
        with tempfile.TemporaryDirectory() as folder:
            arguments = ["mode=predict", f"checkpoint={self.checkpoint}", f"data={choice}", f"data.path={items}"]
            config = compose(*arguments, *overrides, *QUIET, f"hydra.run.dir={folder}")
            with _as_hydras(config) as plain:
                job = settle(plain)
                check(job)
                parts = build(job)
                table, _ = answers(parts)
        if parts.data.unreadable:
            raise UserError(*parts.data.unreadable)
        return table

    def _answers_to(self, items: Any) -> Predictions:
        import torch

        from paperzoo.batches import Images
        from paperzoo.reporting.predictions import as_table

        batch = items if isinstance(items, tuple) else Images(torch.as_tensor(items))
        with torch.inference_mode():
            columns = self.module.predict_step(batch, 0)
        return as_table([str(number) for number in range(len(batch[0]))], [columns])

    def _own_data(self) -> str:
        """The option of `data` that reads items of the user's own for this model."""
        from paperzoo.config import class_of
        from paperzoo.datamodule import PaperData

        trained = class_of(self.config["data"], PaperData)
        model = type(self.module)
        wanted = (*((trained.yields,) if trained else ()), *model.accepts, *model.predicts)
        own: dict[type, str] = {}
        for name in options("data"):
            node: Any = OmegaConf.to_container(OmegaConf.load(CONFIG_FOLDER / "data" / f"{name}.yaml"))
            found = class_of(node, PaperData)
            if found is not None and found.reads_own_items:
                own.setdefault(found.yields, name)
        choice = next((own[batch] for batch in wanted if batch in own), None)
        if choice is None:
            names = ", ".join(batch.__name__ for batch in wanted)
            raise UserError(f"predict: no data=... reads files of one's own as {names}; give a batch")
        return choice

    def figures(self) -> "dict[str, Figure]":
        """The paper's figures of the first test batch, by name."""
        self.data.prepare_data()
        self.data.setup("test")
        return self.module.figures(next(iter(self.data.test_dataloader())))

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{html.escape(n)}</td><td>{v:.4g}</td></tr>" for n, v in self.metrics.items())
        pictures = sorted((self.folder / "figures").glob("*.png")) if self.folder else []
        shown = "".join(f'<p><img alt="{html.escape(p.stem)}" src="{_inline(p)}"></p>' for p in pictures)
        return f"<p>{html.escape(str(self.path))}</p><table>{rows}</table>{shown}"

    def __repr__(self) -> str:
        return f"<paperzoo run {self.path}>"


def _inline(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


@contextmanager
def _as_hydras(config: DictConfig) -> Iterator[DictConfig]:
    """The config without Hydra's own part, which the runner finds where Hydra puts it, until the block ends."""
    singleton = HydraConfig.instance()
    before = singleton.cfg
    singleton.set_config(config)
    plain = config.copy()
    with open_dict(plain):
        del plain.hydra
    try:
        yield plain
    finally:
        singleton.cfg = before
