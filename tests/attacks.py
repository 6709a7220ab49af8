"""Files and folders that somebody hands you, made to run, to read or to overwrite what they should not; tried for real.

Each case makes such a thing in a folder of its own, and starts paperzoo on it as a user would, in a process. It has
survived if that process refuses in words, or answers, and what was aimed at is as it was. `CASES` is all of them, for
the tests and for whoever counts.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

ROOT = Path(__file__).parent.parent
SECRET = "planted-9f27c1"
DIARY = b"dear diary"
TRAINED = ("experiment=dann/moons", "trainer=smoke", "threads=1")
"""The run that checkpoints and folders of the cases come from."""


class Scene(NamedTuple):
    """Where a case happens.

    Attributes:
        folder: its own, empty.
        run: the folder of a finished run of `TRAINED`; not to be changed.
    """

    folder: Path
    run: Path

    @property
    def target(self) -> Path:
        """What an attack wants to write or delete: a file outside of all folders of the run."""
        return self.folder / "precious" / "diary.txt"


class Case(NamedTuple):
    """An attack.

    Attributes:
        name: what is tried.
        arguments: prepares it and gives the arguments with which a victim starts paperzoo.
        refusal: what the words that refuse it hold; "" where there is nothing to refuse.
        environment: variables of the victim.
    """

    name: str
    arguments: Callable[[Scene], list[str]]
    refusal: str
    environment: Mapping[str, str] = {}


def attempt(case: Case, folder: Path, run: Path) -> str:
    """Lets it happen; returns what went wrong, "" if it was survived.

    Args:
        case: one of `CASES`.
        folder: an empty folder.
        run: the folder of a finished run of `TRAINED`.
    """
    scene = Scene(folder, run)
    scene.target.parent.mkdir(parents=True)
    scene.target.write_bytes(DIARY)
    arguments = case.arguments(scene)
    before = files(scene.target.parent)
    result = start(arguments, folder, {"MY_SECRET": SECRET, **case.environment})
    said = result.stdout + result.stderr
    if files(scene.target.parent) != before or scene.target.read_bytes() != DIARY:
        return f"a file outside was changed: {files(scene.target.parent) ^ before or scene.target}"
    if found := [path for path in holding(SECRET, folder) if path != folder / "preset"]:
        return f"the secret is in {', '.join(map(str, found))}"
    if "Traceback" in said:
        return f"a traceback: {said[-300:]}"
    if case.refusal not in said or (case.refusal and result.returncode != 2):
        return f"exit code {result.returncode}, in these words: {said[-300:]}"
    return ""


def start(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """`python train.py ARGUMENTS` in a process, in `folder`."""
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def holding(word: str, folder: Path) -> list[Path]:
    """The files below `folder` in which `word` stands, as it is or in a checkpoint."""
    return [path for path in files(folder) if word.encode() in path.read_bytes()]


def poisoned(scene: Scene, change: Callable[[dict[str, Any]], None]) -> Path:
    """The run's checkpoint with another config in it."""
    content = torch.load(scene.run / "checkpoints" / "last.ckpt", weights_only=True)
    config = yaml.safe_load(content["paperzoo"]["config"])
    change(config)
    content["paperzoo"]["config"] = yaml.safe_dump(config)
    path = scene.folder / "poisoned.ckpt"
    torch.save(content, path)
    return path


class Pickled:
    """Overwrites the file that is aimed at when it is unpickled."""

    def __init__(self, aimed: Path) -> None:
        self.aimed = aimed

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.truncate, (str(self.aimed), 0)


def with_optimizer(**node: Any) -> Callable[[Scene], list[str]]:
    """Tests a checkpoint whose optimiser is `node`; `AIMED_AT` stands for the target, `PICKLE` for a pickle."""

    def arguments(scene: Scene) -> list[str]:
        pickled = scene.folder / "weights.pt"
        torch.save(Pickled(scene.target), pickled)
        places = {"AIMED_AT": str(scene.target), "PICKLE": str(pickled)}
        aimed = {name: places.get(value, value) if isinstance(value, str) else value for name, value in node.items()}

        def change(config: dict[str, Any]) -> None:
            config["model"]["optimizer"] = aimed

        return ["mode=test", f"checkpoint={poisoned(scene, change)}", *TRAINED[1:]]

    return arguments


def standing_on_a_poisoned_one(scene: Scene) -> list[str]:
    def change(config: dict[str, Any]) -> None:
        node = {"_target_": f"{STRATEGY}.remove_checkpoint", "self": SELF, "filepath": str(scene.target)}
        config["model"]["optimizer"] = node

    return [*TRAINED, f"model.before={poisoned(scene, change)}"]


def with_preset(text: str, *typed: str, name: str = "experiment/mine/evil") -> Callable[[Scene], list[str]]:
    """Starts a preset from a folder of configs; `AIMED_AT` stands for the target, `AIMED_IN` for its folder."""

    def arguments(scene: Scene) -> list[str]:
        path = scene.folder / "preset" / f"{name}.yaml"
        path.parent.mkdir(parents=True)
        preset = scene.folder / "preset" / "experiment" / "mine" / "evil.yaml"
        preset.parent.mkdir(parents=True, exist_ok=True)
        preset.write_text(PRESET, encoding="utf-8")
        body = text.replace("AIMED_AT", str(scene.target)).replace("AIMED_IN", str(scene.target.parent))
        path.write_text(f"{PRESET if path == preset else ''}{body}\n", encoding="utf-8")
        return [f"--config-dir={scene.folder / 'preset'}", "experiment=mine/evil", "trainer=smoke", "threads=1", *typed]

    return arguments


def with_remembered(*arguments: str, file: str = ".hydra/overrides.yaml") -> Callable[[Scene], list[str]]:
    """Resumes a folder that remembers other arguments than were typed."""

    def resumed(scene: Scene) -> list[str]:
        path = scene.folder / "theirs" / file
        path.parent.mkdir(parents=True)
        aimed = [argument.replace("AIMED_AT", str(scene.target)) for argument in (*TRAINED, *arguments)]
        path.write_text(yaml.safe_dump(aimed), encoding="utf-8")
        return [f"resume={scene.folder / 'theirs'}"]

    return resumed


def with_link(name: str, aimed: str) -> Callable[[Scene], list[str]]:
    """Resumes a copy of the run, to train it longer, in which a file or folder is a link to what is aimed at."""

    def resumed(scene: Scene) -> list[str]:
        theirs = scene.folder / "theirs"
        shutil.copytree(scene.run, theirs)
        place = theirs / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        place.symlink_to(scene.target if aimed == "AIMED_AT" else scene.target.parent)
        return [f"resume={theirs}", "trainer.max_steps=3", "trainer.max_epochs=3"]

    return resumed


def with_choice(scene: Scene) -> list[str]:
    """A checkpoint whose choice of data is a file that came with it."""
    content = torch.load(scene.run / "checkpoints" / "last.ckpt", weights_only=True)
    content["paperzoo"]["choices"]["data"] = "../../../evil"
    torch.save(content, scene.folder / "poisoned.ckpt")
    return ["mode=test", f"checkpoint={scene.folder / 'poisoned.ckpt'}"]


PRESET = """# @package _global_
defaults: [{override /model: dann}, {override /model/network: shallow}, {override /data: moons}]
"""
STRATEGY = "pytorch_lightning.strategies.Strategy"
SELF = {"_target_": "pytorch_lightning.strategies.SingleDeviceStrategy", "device": "cpu"}
OWN_IO = "paperzoo.runner.checkpoints.AtomicCheckpointIO"
CALLBACK = "hydra: {callbacks: {evil: {_target_: %s, %s}}}"
OPEN = "opened: {class: logging.FileHandler, filename: AIMED_IN/log.txt}"

CASES = (
    Case(
        "a checkpoint loads another one, with pickle",
        with_optimizer(_target_=f"{STRATEGY}.load_checkpoint", self=SELF, checkpoint_path="PICKLE", weights_only=False),
        "model.optimizer._target_",
    ),
    Case(
        "a checkpoint writes a file",
        with_optimizer(
            _target_=f"{OWN_IO}.save_checkpoint", _partial_=True, self=None, checkpoint={"a": 1}, path="AIMED_AT"
        ),
        "model.optimizer._target_",
    ),
    Case(
        "a checkpoint deletes a file",
        with_optimizer(_target_=f"{STRATEGY}.remove_checkpoint", self=SELF, filepath="AIMED_AT"),
        "model.optimizer._target_",
    ),
    Case(
        "a checkpoint names a program through a module of ours",
        with_optimizer(_target_="paperzoo.papers.neurosat.module.torch.os.remove", path="AIMED_AT"),
        "is no class",
    ),
    Case(
        "a checkpoint passes arguments by place",
        with_optimizer(_target_="torch.optim.Adam", _partial_=True, lr=0.1, _args_=[{"_target_": "os.remove"}]),
        "model.optimizer._args_",
    ),
    Case("a checkpoint reads the environment", with_optimizer(_target_="${oc.env:MY_SECRET}"), "is a reference"),
    Case("a checkpoint that another model stands on", standing_on_a_poisoned_one, "model.optimizer._target_"),
    Case("a checkpoint chooses a file outside of conf", with_choice, "data=../../../evil is none of an option"),
    Case(
        "a preset's callback of Hydra deletes a file",
        with_preset(CALLBACK % (f"{STRATEGY}.remove_checkpoint", "self: {}, filepath: AIMED_AT")),
        "sets hydra.callbacks.evil",
    ),
    Case(
        "a preset's callback of Hydra writes a file",
        with_preset(CALLBACK % (f"{OWN_IO}.save_checkpoint", "self: null, checkpoint: {a: 1}, path: AIMED_AT")),
        "sets hydra.callbacks.evil",
    ),
    Case(
        "a preset takes Hydra's callback away",
        with_preset("hydra: {callbacks: null}"),
        "sets hydra.callbacks=None",
    ),
    Case("a preset changes PATH", with_preset("hydra: {job: {env_set: {PATH: /nowhere}}}"), "sets hydra.job.env_set"),
    Case(
        "a preset logs into a file",
        with_preset(f"hydra: {{job_logging: {{handlers: {{{OPEN}}}, root: {{handlers: [opened]}}}}}}"),
        "sets hydra.job_logging",
    ),
    Case(
        "a preset brings a group of Hydra with it",
        with_preset(f"handlers: {{{OPEN}}}", "hydra/job_logging=evil", name="hydra/job_logging/evil"),
        "hydra/job_logging/evil.yaml: sets",
    ),
    Case("a preset runs in a folder of its choice", with_preset("hydra: {run: {dir: AIMED_IN}}"), "sets hydra.run.dir"),
    Case("a preset writes its runs elsewhere", with_preset("output_root: AIMED_IN"), "sets output_root"),
    Case("a preset keeps data elsewhere", with_preset("data_root: AIMED_IN"), "sets data_root"),
    Case(
        "a preset has a launcher run a command",
        with_preset("hydra: {launcher: {setup: [touch AIMED_IN/x]}}"),
        "sets hydra.launcher.setup",
    ),
    Case(
        "a sweep goes through Hydra's own keys",
        with_preset("hydra: {sweeper: {params: {hydra.run.dir: AIMED_IN}}}"),
        "sets hydra.sweeper.params.hydra.run.dir",
    ),
    Case(
        "a preset keeps checkpoints elsewhere",
        with_preset("callbacks: {c: {_target_: pytorch_lightning.callbacks.ModelCheckpoint, dirpath: AIMED_IN}}"),
        "callbacks.c.dirpath",
    ),
    Case(
        "a preset logs elsewhere",
        with_preset("logger: {l: {_target_: pytorch_lightning.loggers.CSVLogger, save_dir: AIMED_IN}}"),
        "logger.l.save_dir",
    ),
    Case(
        "a logger's name leads out of its folder",
        with_preset(
            "logger: {l: {_target_: pytorch_lightning.loggers.CSVLogger, save_dir: outputs, name: ../precious}}"
        ),
        "logger.l.name",
    ),
    Case(
        "a preset shows a secret",
        with_preset('published: {test/accuracy_target: {value: 1, source: "${oc.env:MY_SECRET}", direction: max}}'),
        "MY_SECRET",
    ),
    Case(
        "a folder that is resumed has Hydra load a pickle",
        with_remembered("--experimental-rerun=AIMED_AT"),
        "is an option of Hydra",
    ),
    Case(
        "a folder that is resumed changes PATH",
        with_remembered("+hydra.job.env_set.PATH=/nowhere"),
        "hydra.job.env_set.PATH",
    ),
    Case(
        "a folder that is resumed has a callback of Hydra",
        with_remembered(
            f"+hydra.callbacks.evil={{_target_:{STRATEGY}.remove_checkpoint,self:null,filepath:'AIMED_AT'}}"
        ),
        "hydra.callbacks.evil",
    ),
    Case("a folder that is resumed keeps its metrics elsewhere", with_link("metrics.csv", "AIMED_AT"), "is a link to"),
    Case("a folder that is resumed keeps checkpoints elsewhere", with_link("checkpoints", "AIMED_IN"), "is a link to"),
    Case(
        "a multirun that is resumed has its launcher run a command",
        with_remembered("hydra/launcher=basic", "+hydra.launcher.setup=[touch x]", file="arguments.yaml"),
        "hydra.launcher.setup",
    ),
)
