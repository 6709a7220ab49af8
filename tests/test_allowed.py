import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

import paperzoo.data
import paperzoo.nn
import paperzoo.papers
import paperzoo.tasks
from paperzoo.allowed import ENVIRONMENT, MOST_VALUES, RUNNING, TRAINING, place_problems, stored_problems
from paperzoo.config import find_target, instantiate, signature
from paperzoo.errors import UserError
from paperzoo.reporting.loggers import SUPPLIED
from paperzoo.runner.callbacks import SUPPLIED_TO_TRAINER
from paperzoo.runner.hydra_nodes import file_problems, folder_problems
from tests.attacks import CASES, SECRET, TRAINED, attempt, files, start

READ = ("path", "test_path", "trained_path", "before")
"""Arguments of our classes that say which file or folder is read; what is prepared of it lies below the data root."""

CHOSEN = {
    *("backbone", "domain", "name", "weights"),  # among some that `check` knows
    *("having", "lacking", "puzzle", "question", "kinds", "core_name"),  # words about the data
    *("device", "devices", "duration", "interval", "max_time", "mode", "monitor", "notes", "optimizer", "prefix"),
    *("accelerator", "strategy", "profiler", "gradient_clip_algorithm", "val_check_interval", "process_group_backend"),
    *("adjust_lr_fn", "line_search_fn", "params", "console_kwargs", "project", "entity", "tags"),
    *("augment", "batch_type", "columns", "answer", "classes", "own", "source", "parts"),
    *("title", "page", "find", "places"),  # of what is known of published sets
    *("min_resource", "max_resource"),  # of a pruner: a number, or auto
    "model_registry",  # of Lightning's own service, for checkpoints that its ModelCheckpoint writes; needs litmodels
}
"""Arguments that take a text, or whatever, and are neither a path nor an address."""


def own_classes() -> list[type]:
    found = set()
    for package in (paperzoo.data, paperzoo.nn, paperzoo.papers, paperzoo.tasks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            values = vars(importlib.import_module(module.name)).values()
            found |= {v for v in values if inspect.isclass(v) and v.__module__ == module.name}
    return [c for c in found if isinstance(find_target(f"{c.__module__}.{c.__qualname__}", ""), type)]


def listed_classes() -> list[tuple[str, Any]]:
    return [(name, find_target(name, "")) for name in (*sorted(TRAINING), *RUNNING)]


@pytest.fixture(scope="module")
def nameable() -> list[tuple[str, type]]:
    """Every class that a config may name."""
    return [*listed_classes(), *((f"{c.__module__}.{c.__qualname__}", c) for c in own_classes())]


def takes_text(annotation: Any) -> bool:
    """Whether an argument may be given any text, be it a path, an address or a name."""
    text = str(annotation)
    return annotation is not inspect.Parameter.empty and any(word in text for word in ("Path", "str", "Any"))


def test_all_that_is_listed_is_a_class() -> None:
    assert [name for name, found in listed_classes() if not inspect.isclass(found)] == []


def test_every_argument_that_takes_a_path_or_an_address_is_known(nameable: list[tuple[str, type]]) -> None:
    unknown = []
    for name, found in nameable:
        if dict in found.__mro__ or tuple in found.__mro__:  # types of arguments, batches: values are no constructors
            continue
        known = {*READ, *CHOSEN, "data_root", *RUNNING.get(name, ())}
        known |= set(SUPPLIED) if name.startswith("paperzoo.reporting.") else set()
        known |= set(SUPPLIED_TO_TRAINER) if name == "pytorch_lightning.Trainer" else set()
        arguments, _ = signature(found)
        unknown += [
            f"{name}({argument}: {a.annotation})"
            for argument, a in arguments.items()
            if argument not in known and takes_text(a.annotation) and "Literal" not in str(a.annotation)
        ]
    assert unknown == [], "is it a path or an address? see paperzoo/allowed.py"


def test_what_writes_files_where_it_is_told_has_no_name_in_a_config() -> None:
    for name in (
        *("data.prepared.file_set.FileSet", "data.prepared.downloads.Source", "data.logic.sudoku.PuzzleFile"),
        *("data.questions.clevr_files.Unpacked", "tasks.latents.RowsFile"),
    ):
        found = find_target(f"paperzoo.{name}", "data.source")
        assert isinstance(found, str)
        assert "not for configs" in found


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_lightning.strategies.Strategy.load_checkpoint",
        "pytorch_lightning.strategies.SingleDeviceStrategy",
        "pytorch_lightning.plugins.io.TorchCheckpointIO",
        "pytorch_lightning.Trainer.save_checkpoint",
        "paperzoo.papers.glow.GlowModule.load_from_checkpoint",
        "paperzoo.papers.glow.GlowModule.__class__",
        "paperzoo.papers.neurosat.module.torch.load",
        "paperzoo.papers.neurosat.module.np.load",
        "paperzoo.papers.neurosat.module.math.nan",
        "paperzoo.runner.checkpoints.AtomicCheckpointIO",
        "paperzoo.files.write_text",
        "torchvision.models.resnet50",
        "torch.optim.Optimizer.load_state_dict",
    ],
)
def test_no_function_no_method_and_nothing_of_elsewhere_has_a_name_in_a_config(name: str) -> None:
    assert isinstance(find_target(name, "model"), str)
    with pytest.raises(UserError, match="model"):
        instantiate(
            {"_target_": "torch.optim.Adam", "_partial_": True, "params": {"deep": [{"_target_": name}]}}, "model"
        )


def test_no_argument_has_a_place_instead_of_a_name() -> None:
    with pytest.raises(UserError, match=r"model\._args_"):
        instantiate({"_target_": "paperzoo.nn.questions.Bits", "_args_": [3]}, "model")


# ---------------------------------------------------------------------- where a run writes


@pytest.mark.parametrize(("target", "argument"), [(name, a) for name, written in RUNNING.items() for a in written])
def test_nothing_is_written_beside_the_folders_of_a_run(target: str, argument: str, tmp_path: Path) -> None:
    roots = {"output_root": str(tmp_path / "out"), "data_root": str(tmp_path / "data")}
    folder = tmp_path / "out" / "run"

    def problems(value: Any) -> list[str]:
        node = {"_target_": target, argument: value}
        return list(place_problems({**roots, "callbacks": {"mine": node}}, folder))

    for outside in ("/etc", str(tmp_path), "../../x", str(folder / ".." / ".." / "x")):
        (problem,) = problems(outside)
        assert problem.startswith(f"callbacks.mine.{argument}={outside}: ")
    inside = str(folder / "mine") if argument in ("dirpath", "save_dir") else "mine"
    assert problems(inside) == problems(None) == []


def test_data_are_kept_below_the_data_root(tmp_path: Path) -> None:
    settings = {"output_root": "out", "data_root": str(tmp_path), "data": {"source": {"data_root": "/etc"}}}
    assert "data.source.data_root=/etc" in next(place_problems(settings, tmp_path))
    settings["data"] = {"source": {"data_root": f"{tmp_path}/below"}}
    assert list(place_problems(settings, tmp_path)) == []


# ---------------------------------------------------------------------- checkpoints, files and folders of others


def test_a_checkpoint_names_classes_of_ours_and_of_torchs_training_alone() -> None:
    def problems(target: str) -> list[str]:
        return list(stored_problems({"model": {"optimizer": [{"_target_": target}]}}))

    assert problems("torch.optim.Adam") == problems("paperzoo.papers.glow.GlowModule") == []
    for target in (*RUNNING, "torch.nn.Linear", "os.system"):
        (problem,) = problems(target)
        assert problem.startswith(f"model.optimizer[0]._target_={target}: ")


def test_a_checkpoints_config_has_no_references_and_is_not_endless() -> None:
    assert "is a reference" in next(stored_problems({"published": {"a": ["${oc.env:HOME}"]}}))
    laughs = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert list(stored_problems(yaml.safe_load(laughs))) == [f"its config has more than {MOST_VALUES} values"]


@pytest.mark.parametrize(
    "text",
    [
        "hydra: {sweeper: {params: {model.lr: 'choice(1, 2)', case.pair: '[a,b],[c,d]'}, n_trials: 20, storage: null}}",
        "hydra: {sweeper: {direction: [minimize, maximize], study_name: mine, sampler: {seed: 1}}}",
        "hydra: {launcher: {partition: gpu, gpus_per_node: 1, timeout_min: 60, ray: {remote: {num_gpus: 0.5}}}}",
    ],
)
def test_a_file_may_say_what_a_sweep_goes_through_and_how_large_its_jobs_are(text: str) -> None:
    assert file_problems("mine.yaml", yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "hydra: {launcher: {_target_: x}}",
        'hydra: {launcher: {partition: "gpu\\n#SBATCH --wrap=x"}}',
        "hydra: {launcher: {setup: []}}",
        "hydra: {sweeper: {_target_: x}}",
        "hydra: {sweeper: {custom_search_space: os.system}}",
        "hydra: {sweeper: {storage: 'sqlite:////tmp/x'}}",
        "hydra: {sweeper: {params: {+hydra.job.chdir: true}}}",
        "hydra: {sweeper: {params: {output_root: /etc}}}",
        "hydra: {sweep: {dir: /etc}}",
        "hydra: {output_subdir: ../x}",
        "hydra: {job: {chdir: true}}",
    ],
)
def test_a_file_may_say_nothing_else_of_hydra(text: str) -> None:
    assert len(file_problems("mine.yaml", yaml.safe_load(text))) == 1


def test_what_was_typed_for_a_run_is_taken_from_its_folder_but_for_what_starts_programs() -> None:
    harmless = [
        *("experiment=glow/ablation", "+a.b=[1,2]", "~callbacks.figures", "seed=0,1", "--config-dir=mine"),
        *("hydra/launcher=joblib", "hydra.launcher.n_jobs=4", "+hydra.launcher.ray.remote.num_gpus=1"),
        *("hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", '+hydra.sweeper.params={a.b:"choice(4, 6)"}'),
    ]
    assert list(folder_problems(harmless, [])) == []
    for argument in (
        *("--multirun", "-cd", "--experimental-rerun=x", "hydra/job_logging=x", "hydra.run.dir=/etc", "+a@hydra.job=b"),
        *("hydra.launcher.setup=[x]", "hydra.callbacks={}", "+hydra={callbacks:{}}", "hydra.sweeper.storage=x", "a b"),
    ):
        assert len(list(folder_problems([argument], []))) == 1, argument
        assert list(folder_problems([argument], [argument])) == [], argument  # typed now, too


# ---------------------------------------------------------------------- the environment


def test_the_environment_is_read_for_a_few_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", SECRET)
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.delenv("PAPERZOO_DATA", raising=False)
    config = OmegaConf.create(
        {"a": "${oc.env:SCRATCH}/x", "b": "${oc.env:PAPERZOO_DATA,'~/y'}", "c": "${oc.env:MY_SECRET}"}
    )
    assert (config.a, config.b) == ("/scratch/x", "~/y")
    with pytest.raises(Exception, match=f"may read the environment variables {', '.join(ENVIRONMENT)} only"):
        _ = config.c


# ---------------------------------------------------------------------- for real


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that finished."""
    folder = tmp_path_factory.mktemp("finished")
    result = start([*TRAINED, "hydra.run.dir=run"], folder, {})
    assert result.returncode == 0, result.stderr
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_somebody_hands_you_runs_nothing_and_writes_nothing(case: Any, finished: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in files(finished)}
    assert attempt(case, tmp_path, finished) == ""
    assert {path: path.read_bytes() for path in files(finished)} == before


@pytest.mark.slow
def test_no_variable_of_the_environment_lies_in_a_run(tmp_path: Path) -> None:
    """Whatever its name: tokens of clusters and services are in many."""
    planted = {name: f"{SECRET}-{name}" for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MY_SECRET")}
    result = start(
        [*TRAINED, "logger=[tensorboard,wandb]", "hydra.run.dir=run"], tmp_path, {**planted, "WANDB_MODE": "offline"}
    )
    assert result.returncode == 0, result.stderr
    found = [str(path) for path in files(tmp_path) if SECRET.encode() in path.read_bytes()]
    assert found == []
    assert SECRET not in result.stdout + result.stderr
