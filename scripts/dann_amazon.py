"""Table 1 of Ganin et al. 2016: DANN, the same network without adaptation, and a linear SVM on pairs of Amazon reviews.

    python scripts/dann_amazon.py                               # all 12 pairs; goes on where it stopped
    python scripts/dann_amazon.py --show                        # what there is so far
    python scripts/dann_amazon.py --pairs dvd:electronics --hidden 50 --weights 3
    python scripts/dann_amazon.py --features msda
    python scripts/dann_amazon.py trainer.max_epochs=20         # overrides of experiment=dann/amazon

Everything is chosen by reverse validation, the SVM's C included: no target label has a part in it. Of equal risks the
first of the grid counts. Each trained model is a row of `OUTPUT/results.csv`; the grid is gone through for all pairs at
a time, so that there is a whole table early, which then gets better chosen. The rows do not say the overrides: other
overrides want another `--output`.
"""

import argparse
import csv
import itertools
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_matrix
from sklearn.svm import LinearSVC

from paperzoo import config as configs
from paperzoo.batches import SOURCE, TARGET
from paperzoo.checkpoints import FOLDER as CHECKPOINTS
from paperzoo.cli import CONFIG_FOLDER
from paperzoo.data.amazon import Amazon
from paperzoo.data.domains import Items
from paperzoo.errors import UserError
from paperzoo.reverse_validation import FOLDER as REVERSE
from paperzoo.reverse_validation import REVERSE_RISK
from paperzoo.run import run

PRODUCTS = ("books", "dvd", "electronics", "kitchen")
METHODS = ("dann", "none", "svm")
PENALTIES = np.logspace(-5, 0, 10)
MSDA = ("data=amazon_msda", "model.optimizer.lr=0.02")  # a tenth of the learning rate, as in the paper
QUIET = ("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false", "~callbacks.figures")


class Point(NamedTuple):
    """One model of the grid."""

    features: str
    source: str
    target: str
    method: str
    hidden: int
    """Hidden units; 0 for an SVM."""
    weight: float
    """lambda, or the SVM's C; 0 without adaptation."""


class Result(NamedTuple):
    """What became of it."""

    reverse_risk: float
    accuracy: float
    """On the target's test reviews."""
    seconds: float


def grid(options: argparse.Namespace) -> list[Point]:
    """All points in the order in which they are trained: the cheap ones first, then lambda from coarse to fine."""
    pairs = [tuple(pair.split(":")) for pair in options.pairs]
    weights = np.logspace(-2, 0, options.weights).round(6).tolist()
    settings = [("svm", 0, float(f"{penalty:.3g}")) for penalty in PENALTIES]
    settings += [("none", hidden, 0.0) for hidden in options.hidden]
    settings += [("dann", hidden, weight) for hidden in options.hidden for weight in _coarse_to_fine(weights)]
    return [
        Point(options.features, source, target, *setting)
        for setting, (source, target) in itertools.product(settings, pairs)
    ]


def _coarse_to_fine(values: list[float]) -> Iterator[float]:
    step = len(values)
    done: set[int] = set()
    while step:
        yield from (values[i] for i in range(0, len(values), step) if i not in done)
        done |= set(range(0, len(values), step))
        step //= 2


def train_network(point: Point, folder: Path, overrides: list[str]) -> Result:
    """A job of `experiment=dann/amazon`; keeps all of its files but the weights."""
    start = time.monotonic()
    arguments = [
        "experiment=dann/amazon",
        *(MSDA if point.features == "msda" else ()),
        f"data.source={point.source}",
        f"data.target={point.target}",
        f"model.adaptation={point.method}",
        f"model.network.hidden={point.hidden}",
        *([f"model.schedule.domain_weight={point.weight}"] if point.method == "dann" else []),
        "reverse_validation=true",
        *QUIET,
        *overrides,
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with initialize_config_dir(str(CONFIG_FOLDER)):
        config = compose("train", [*arguments, f"hydra.runtime.output_dir={folder}"], return_hydra_config=True)
    config.hydra.overrides.task = arguments
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config.hydra
    run(config)
    metrics = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["metrics"]
    for weights in (folder / CHECKPOINTS, folder / REVERSE):
        shutil.rmtree(weights, ignore_errors=True)
    return Result(metrics[REVERSE_RISK], metrics["test/accuracy_target"], time.monotonic() - start)


def train_svm(point: Point, data: Amazon) -> Result:
    """A linear SVM, and the one that its labels of the target teach on the way back."""
    start = time.monotonic()
    source, target = data.domains[SOURCE], data.domains[TARGET]
    classifier, way_back = (LinearSVC(C=point.weight, loss="hinge", random_state=0) for _ in range(2))
    classifier.fit(_vectors(source.train), source.train.labels)
    labels = classifier.predict(_vectors(target.train))
    if len(set(labels)) == 1:
        right = source.val.labels == labels[0]  # a classifier of one class
    else:
        right = torch.from_numpy(way_back.fit(_vectors(target.train), labels).predict(_vectors(source.val)))
        right = right == source.val.labels
    accuracy = classifier.score(_vectors(target.test), target.test.labels)
    return Result(1 - right.float().mean().item(), accuracy, time.monotonic() - start)


def _vectors(items: Items) -> csr_matrix:
    return csr_matrix(items[torch.arange(len(items))][0].numpy())


def load(point: Point, overrides: list[str]) -> Amazon:
    with initialize_config_dir(str(CONFIG_FOLDER)):
        features = MSDA if point.features == "msda" else ()
        chosen = [f"data.source={point.source}", f"data.target={point.target}"]
        config = compose("train", ["experiment=dann/amazon", *features, *chosen, *overrides])
    data = configs.instantiate(configs.plain(config)["data"])
    data.prepare_data()
    data.setup()
    return data


def read_results(path: Path) -> dict[Point, Result]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            Point(
                row["features"], row["source"], row["target"], row["method"], int(row["hidden"]), float(row["weight"])
            ): (Result(float(row["reverse_risk"]), float(row["accuracy"]), float(row["seconds"])))
            for row in csv.DictReader(file)
        }


def append(path: Path, point: Point, result: Result) -> None:
    is_new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(Point._fields + Result._fields)
        writer.writerow((*point, *(round(value, 5) for value in result)))


def chosen(results: dict[Point, Result], points: list[Point]) -> dict[tuple[str, str, str], tuple[Point, Result]]:
    """For each source, target and method the point of least reverse risk, so far."""
    best: dict[tuple[str, str, str], tuple[Point, Result]] = {}
    for point in sorted(set(points) & results.keys()):
        key = (point.source, point.target, point.method)
        if key not in best or results[point].reverse_risk < best[key][1].reverse_risk:
            best[key] = point, results[point]
    return best


def table(best: dict[tuple[str, str, str], tuple[Point, Result]], features: str) -> Table:
    """Ours, the paper's, and what was chosen, with means over the pairs that are there."""
    published = OmegaConf.load(CONFIG_FOLDER / "paper/dann.yaml").table_1[features]
    shown = Table(title=f"Accuracy on the target, {features} features: ours (the paper's)")
    for name in ("source", "target", "DANN", "NN", "SVM", "chosen: hidden units, lambda; hidden units; C"):
        shown.add_column(name)
    for source, target in dict.fromkeys(key[:2] for key in best):
        found = [best.get((source, target, method)) for method in METHODS]
        cells = [
            f"{f'{one[1].accuracy:.3f}' if one else '-'} ({published[source][target][method]:.3f})"
            for one, method in zip(found, METHODS, strict=True)
        ]
        settings = [
            {
                "dann": f"{one[0].hidden}, {one[0].weight:.3g}",
                "none": f"{one[0].hidden}",
                "svm": f"{one[0].weight:.2g}",
            }[method]
            if one
            else "-"
            for one, method in zip(found, METHODS, strict=True)
        ]
        shown.add_row(source, target, *cells, "; ".join(settings))
    means = []
    for method in METHODS:
        keys = [key for key in best if key[2] == method]
        ours = [best[key][1].accuracy for key in keys]
        theirs = [published[source][target][method] for source, target, _ in keys]
        means.append(f"{np.mean(ours):.3f} ({np.mean(theirs):.3f}), {len(keys)}" if keys else "-")
    shown.add_section()
    shown.add_row("mean, pairs", "", *means, "")
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = [f"{source}:{target}" for source, target in itertools.permutations(PRODUCTS, 2)]
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of experiment=dann/amazon")
    parser.add_argument("--features", choices=("raw", "msda"), default="raw")
    parser.add_argument("--pairs", nargs="+", choices=everything, default=everything, metavar="SOURCE:TARGET")
    parser.add_argument("--hidden", nargs="+", type=int, default=[50, 100], help="numbers of hidden units")
    parser.add_argument("--weights", type=int, default=9, help="values of lambda, evenly spaced on [0.01, 1] in logs")
    parser.add_argument("--output", type=Path, default=Path("outputs/dann_amazon"))
    parser.add_argument("--show", action="store_true", help="train nothing, print the table of what there is")
    options = parser.parse_args()
    points, path = grid(options), options.output.absolute() / "results.csv"
    results = read_results(path)
    try:
        for number, point in enumerate(points if not options.show else [], start=1):
            if point in results:
                continue
            name = f"{point.method}_{point.hidden}_{point.weight}"
            folder = path.parent / point.features / f"{point.source}_{point.target}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if point.method == "svm":
                results[point] = train_svm(point, load(point, options.overrides))
            else:
                results[point] = train_network(point, folder, options.overrides)
            append(path, point, results[point])
            print(f"{number}/{len(points)} {' '.join(map(str, point))}: {results[point]}", flush=True)
    except UserError as error:
        print("\n".join(f"paperzoo: {problem}" for problem in error.problems), file=sys.stderr)
        return 2
    except HydraException as error:  # an override of a key that there is not
        print(f"paperzoo: {error}", file=sys.stderr)
        return 2
    best = chosen(results, points)
    if not best:
        print(f"paperzoo: {path}: nothing of these pairs yet; run this without --show", file=sys.stderr)
        return 2
    Console(width=120).print(table(best, options.features))
    return 0


if __name__ == "__main__":
    sys.exit(main())
