"""Every preset: short, honest, composed, without a key that does nothing, and able to run."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from paperzoo.cli import CONFIG_FOLDER, presets
from paperzoo.config import find_target, instantiate, target_problems
from paperzoo.data.age_arithmetic import AgeArithmetic
from paperzoo.data.amazon import AMAZON, Amazon
from paperzoo.data.babi import FILE_SETS as BABI_SETS
from paperzoo.data.babi import Babi
from paperzoo.data.base import PaperData
from paperzoo.data.cache import ArrayCache
from paperzoo.data.clevr import FILE_SETS as CLEVR_SETS
from paperzoo.data.clevr import Clevr, ClevrState, Content
from paperzoo.data.graph_sat import GraphSat
from paperzoo.data.image_domains import ImageDomain, ImageDomains
from paperzoo.data.images import ImageData
from paperzoo.data.importing import import_folder
from paperzoo.data.moons import Moons
from paperzoo.data.persons import PersonPairs, person_set
from paperzoo.data.physics import PhysicalData
from paperzoo.data.pretty_clevr import PrettyClevr
from paperzoo.data.sat import TwinData
from paperzoo.data.sort_of_clevr import SortOfClevr
from paperzoo.data.sudoku import SUDOKU17, EasySudoku, Sudoku
from paperzoo.reporting import results
from tests.conftest import RunJob

FOLDER = CONFIG_FOLDER / "experiment"


def text(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text()


def composed(*overrides: str, config_folder: Path = CONFIG_FOLDER) -> dict[str, Any]:
    with initialize_config_dir(str(config_folder)):
        config = compose("train", overrides=list(overrides))
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    return resolved  # type: ignore[return-value]


def lines(name: str) -> list[str]:
    return [line for line in text(name).splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_short_and_says_what_it_is(name: str) -> None:
    assert len(lines(name)) <= 25
    assert text(name).startswith("# @package _global_\n# ")
    assert f"experiment={name}" in text(name)


@pytest.mark.parametrize("name", presets())
def test_a_preset_composes_and_its_config_has_no_problems(name: str) -> None:
    config = composed(f"experiment={name}")
    for section in ("model", "data", "trainer"):
        found = target_problems(config[section], section)
        assert [
            problem for problem in found if "import_data.py" not in problem and "cannot be downloaded" not in problem
        ] == []  # data that only a user has
    assert results.problems(config["published"], config["measured"]) == []
    assert config["paper"]["title"]


@pytest.mark.parametrize("name", [name for name in presets() if not name.endswith("_laptop")])
def test_a_published_preset_carries_its_number_or_says_why_not(name: str) -> None:
    assert composed(f"experiment={name}")["published"] or re.search(r"Figure \d|gives no", text(name))


def leaves(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for n, child in value.items() for k, v in leaves(child, f"{key}.{n}" if key else str(n)).items()}
    return {key: value}


def parents(key: str) -> Iterator[str]:
    """The keys that `key` stands below, the nearest first; one that is null takes any node."""
    while "." in key:
        key = key.rpartition(".")[0]
        yield key


@pytest.mark.parametrize("name", presets())
def test_every_key_of_a_preset_changes_the_composed_config(name: str) -> None:
    own = yaml.safe_load(text(name))
    choices = [f"{key.removeprefix('override /')}={value}" for d in own.pop("defaults", []) for key, value in d.items()]
    own.pop("hydra", None)
    own.pop("measured", None)  # may be empty: nothing was run yet
    without, with_preset = leaves(composed(*choices)), leaves(composed(f"experiment={name}"))
    for key in leaves(own):
        if key.startswith("published."):
            continue
        known = next((k for k in (key, *parents(key)) if k in without), None)
        assert known == key or (known and without[known] is None), f"{key} is no key of the config"
        assert without[known] != with_preset[key], f"{key}: {without[known]} is the default already"


def test_presets_repeat_little() -> None:
    total = repeated = 0
    for paper in {name.split("/")[0] for name in presets()}:
        siblings = {name: [line.strip() for line in lines(name)] for name in presets() if name.startswith(f"{paper}/")}
        counts = Counter(line for own in siblings.values() for line in set(own))
        for own in siblings.values():
            total += len(own)
            repeated += sum(counts[line] > max(1, len(siblings) / 2) for line in own)
    assert repeated <= 0.15 * total


FEW_ROUNDS = 3  # of NeuroSAT's tests

# A preset's model and data with their structure but without their size.
SMALL_MODEL = {
    "glow": ("depth=1", "width=8", "initial_images=2", "samples=1", "temperatures=[0.7]"),
    "cdan": (),
    "dann": (),
    "mada": (),
    "multilayer_relation_network": (),
    "neurosat": ("dimension=8", "rounds=2", f"test_rounds=[{FEW_ROUNDS}]"),
    "realnvp": ("residual_blocks=1", "hidden_channels=4", "samples=1", "temperatures=[0.7]"),
    "recurrent_relation_network": ("network.dimension=4", "network.readout=[4]", "network.steps=2"),
    "recurrent_relation_network_sudoku": ("embedding=2", "dimension=4", "hidden_layers=1", "steps=2", "test_steps=2"),
    "relation_network": (),
    "relation_physics": (),
    "reid": ("network.filters=2", "network.descriptor_size=8", "domain_hidden=4"),
}
# The same of networks that are chosen by `model/network`.
SMALL_NETWORK = {
    "RelationNetwork": ("relations=[[4]]", "readout=[4]"),
    "ConvMLP": ("hidden=[4]",),
    "QuestionLSTM": ("hidden=[4]",),
    "StackedAttention": ("attention=4", "hidden=[4]"),
}
SMALL_DATA: dict[type[PaperData], tuple[str, ...]] = {
    Amazon: ("batch_size=2", "batches_per_epoch=2", "eval_batch_size=16"),
    ImageDomains: ("batch_size=2", "batches_per_epoch=2", "eval_batch_size=64", "download=false"),
    Moons: (),
    PersonPairs: ("batch_size=4", "batches_per_epoch=2", "eval_batch_size=64"),
    AgeArithmetic: ("batch_size=2", "train_items=8", "eval_batch_size=8"),
    Babi: ("batch_size=2", "eval_batch_size=40", "story_set=en-10k"),
    Clevr: ("batch_size=2", "eval_batch_size=4", "workers=0"),
    ClevrState: ("batch_size=2", "eval_batch_size=4"),
    EasySudoku: ("batch_size=2", "train_puzzles=4", "val_puzzles=2", "test_puzzles=2"),
    ImageData: ("batch_size=2", "eval_batch_size=2", "validation_images=0", "download=false"),
    PhysicalData: ("batch_size=2", "train_scenes=4", "val_scenes=2", "test_scenes=2", "frames=2", "object_size=5"),
    PrettyClevr: ("batch_size=2", "train_scenes=1", "val_scenes=1", "test_scenes=1"),
    SortOfClevr: ("batch_size=2", "train_images=1", "val_images=1"),
    Sudoku: ("batch_size=2", "val_pool=2", "test_pool=2", "train_puzzles=2", "val_puzzles=1", "test_puzzles=1"),
    TwinData: ("batch_nodes=300", "validation_pairs=1", "test_pairs=1", "workers=0"),
    GraphSat: ("families=[erdos_renyi]", "test_graphs=1", "workers=0"),
}
# What a run of the paper's presets must show: a metric and a figure.
SHOWN = {
    "cdan": ("test/accuracy_target", "features"),
    "dann": ("test/accuracy_target", "features"),
    "glow": ("test/bits_per_dim", "samples"),
    "mada": ("test/accuracy_target", "features"),
    "multilayer_relation_network": ("test/accuracy", "questions"),
    "neurosat": ("test/accuracy", "votes"),
    "realnvp": ("test/bits_per_dim", "samples"),
    "recurrent_relation_network": ("test/accuracy", "questions"),
    "recurrent_relation_network_sudoku": ("test/solved", "board"),
    "relation_network": ("test/accuracy", "questions"),
    "relation_physics": ("test/accuracy", "connections"),
    "reid": ("test/cmc_rank1", "cmc"),
}
# Backbones that are large, or come with weights from the network.
SMALL_BACKBONE = (
    *("model.network.backbone=resnet18", "model.network.weights=null", "model.network.discriminator_hidden=[8]"),
    "data.image_shape=[3,64,64]",
)
EVALUATIONS = [name for name in presets() if yaml.safe_load(text(name)).get("mode") == "test"]
TRAININGS = [name for name in presets() if name not in EVALUATIONS]


def write_small_data(data: dict[str, Any], root: Path) -> None:
    """Prepares a data set of a few random items in place of the real one."""
    data_class: Any = find_target(data["_target_"], "data")
    if issubclass(data_class, ImageData):
        write_small_images(data_class, data, root)
    elif data_class is ImageDomains:
        domains: list[ImageDomain] = [instantiate(data[side]) for side in ("source", "target")]
        for domain in {domain.image_set.name: domain for domain in domains}.values():
            write_small_domain(domain, root)
    elif data_class is Amazon:
        items = {f"{products}_{part}": 12 for products in ("books", "dvd") for part in ("train", "test")}
        write_arrays(
            AMAZON.cache(str(root)),
            {
                **{f"{name}_vectors": random_bytes(count, 5000) for name, count in items.items()},
                **{f"{name}_labels": np.arange(count) % 2 for name, count in items.items()},
            },
        )
    elif data_class in (Babi, Clevr, ClevrState, Sudoku):
        write_arrays(*small_files(data_class, root))
    elif data_class is PersonPairs:
        for name in (data["source"], data["target"]):
            write_arrays(
                person_set(name).cache(str(root)),
                {
                    "images": random_bytes(40, 3, 128, 48),
                    "persons": np.arange(40) // 2,
                    "cameras": np.arange(40) % 2,
                    "names": np.array([f"{row}.png" for row in range(40)]),
                    "views": np.arange(40).reshape(20, 2, 1),
                },
            )


def small_files(data_class: type[PaperData], root: Path) -> tuple[ArrayCache, dict[str, np.ndarray]]:
    """A few questions or puzzles, as they are prepared from official files."""
    if data_class is Sudoku:
        rows = [[(3 * (row % 3) + row // 3 + column) % 9 + 1 for column in range(9)] for row in range(9)]
        solutions = np.array([rows] * 8, dtype=np.uint8).reshape(8, 81)
        givens = solutions * (np.arange(81) < 17).astype(np.uint8)
        return SUDOKU17.cache(str(root)), {"givens": givens, "solutions": solutions}
    count = 40
    if data_class is Babi:
        part = {
            "sentences": np.ones((count, 3)),
            "questions": np.ones((count, 3)),
            "first": np.arange(count),
            "last": np.arange(count) + 1,
            "answer": np.zeros(count),
            "kind": np.arange(count) % 20,
        }
        dtypes = {name: np.uint8 if name in ("sentences", "questions") else np.int64 for name in part}
        columns = {name: column.astype(dtypes[name]) for name, column in part.items()}
        return BABI_SETS["en-10k"].cache(str(root)), {
            f"{part}_{name}": column for part in ("train", "test") for name, column in columns.items()
        }
    content: Content = "images" if data_class is Clevr else "scenes"
    arrays = {
        "words": np.ones((count, 3), dtype=np.uint8),
        "row": np.arange(count, dtype=np.int32) % 4,
        "answer": np.zeros(count, dtype=np.uint8),
        "kind": (np.arange(count) % 13).astype(np.uint8),
        **(
            {"images": random_bytes(4, 3, 128, 128)}
            if content == "images"
            else {"objects": np.ones((4, 10, 13), dtype=np.float32), "object_count": np.full(4, 3, dtype=np.uint8)}
        ),
    }
    return CLEVR_SETS[content].cache(str(root)), {
        f"{part}_{name}": column for part in ("train", "val") for name, column in arrays.items()
    }


def random_bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def write_arrays(cache: ArrayCache, arrays: dict[str, np.ndarray]) -> None:
    if cache.is_prepared:
        return
    with cache.locked(), cache.writing() as writer:
        for name, array in arrays.items():
            writer.append(name, array)


def write_small_domain(domain: ImageDomain, root: Path) -> None:
    counts = {"train": domain.num_classes} | ({} if domain.transductive else {"test": 4})
    arrays = {}
    for part, count in counts.items():
        arrays[f"{part}_images"] = random_bytes(count, *domain.image_set.shape)
        arrays[f"{part}_labels"] = np.arange(count) % domain.num_classes
    write_arrays(domain.image_set.cache(str(root)), arrays)


def write_small_images(data_class: Any, data: dict[str, Any], root: Path) -> None:
    image_set = data_class.describe(**data)
    files = root / "files"
    files.mkdir(parents=True)
    generator = np.random.default_rng(0)
    random = {
        "images": lambda count: generator.integers(0, 256, (count, *image_set.shape), dtype=np.uint8),
        "labels": lambda count: generator.integers(0, image_set.num_classes, count),
        "attributes": lambda count: generator.integers(0, 2, (count, 40)).astype(bool),
    }
    for part, count in (("train", 8), ("test", 4)):
        for column in data_class.columns(part).values():
            np.save(files / f"{column}.npy", random[column.removeprefix(f"{part}_")](count))
    import_folder(image_set.name, files, str(root))


def run_small(name: str, run_job: RunJob, root: Path, *overrides: str) -> tuple[Path, dict[str, Any]]:
    """Runs two batches of everything of a preset; returns the run's folder and summary."""
    config = composed(f"experiment={name}")
    data_class: Any = find_target(config["data"]["_target_"], "data")
    write_small_data(config["data"], root)
    model = next(d["override /model"] for d in yaml.safe_load(text(name))["defaults"] if "override /model" in d)
    backbone = SMALL_BACKBONE if "backbone" in config["model"].get("network", {}) else ()
    if name == "relation_network/clevr_cnn_lstm":
        backbone = ("model.network.images.images.weights=null",)
    network = config["model"].get("network", {}).get("_target_", "").rpartition(".")[2]
    small = [*(f"model.{override}" for override in SMALL_MODEL[model]), *backbone]
    small += [f"model.network.{override}" for override in SMALL_NETWORK.get(network, ())]
    small += [f"data.{o}" for kind, own in SMALL_DATA.items() if issubclass(data_class, kind) for o in own]
    folder = run_job(f"experiment={name}", "trainer=smoke", f"data_root={root}", *small, *overrides)
    summary = json.loads((folder / "summary.json").read_text())
    metric, figure = SHOWN[model]
    assert summary["status"] == "finished"
    assert np.isfinite(summary["metrics"][metric])
    assert (folder / "figures" / f"{figure}.png").exists()
    return folder, summary


@pytest.mark.parametrize("name", TRAININGS)
def test_every_preset_takes_two_steps_on_small_data(name: str, run_job: RunJob, tmp_path: Path) -> None:
    _, summary = run_small(name, run_job, tmp_path / "data")
    assert summary["steps"] == 2


@pytest.mark.parametrize("name", EVALUATIONS)
def test_an_evaluation_preset_measures_what_it_publishes(name: str, run_job: RunJob, tmp_path: Path) -> None:
    trained = re.search(r"checkpoint=outputs/(\S+)/<run>", text(name))
    assert trained
    checkpoint, _ = run_small(trained[1], run_job, tmp_path / "data")
    _, summary = run_small(name, run_job, tmp_path / "data", f"checkpoint={checkpoint}")
    config = composed(f"experiment={name}")
    rounds = [int(number) for metric in config["published"] for number in re.findall(r"_rounds(\d+)$", metric)]
    assert set(rounds) <= set(config["model"]["test_rounds"])
    few = {re.sub(r"_rounds\d+$", f"_rounds{FEW_ROUNDS}", metric) for metric in config["published"]}
    assert few <= summary["metrics"].keys()
    assert summary["config"]["published"] == config["published"]
