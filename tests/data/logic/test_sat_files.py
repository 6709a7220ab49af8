"""One's own formulas: trained on, tested on, answered."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paperzoo.data.logic.sat_files import SatFiles
from paperzoo.data.logic.sr import sr_pair
from paperzoo.errors import UserError
from paperzoo.logic.cnf import split
from paperzoo.logic.dimacs import write_dimacs
from tests.conftest import RunJob
from tests.data.conftest import Make

PAIRS = 10


def write(folder: Path, pairs: int = PAIRS, name: str = "{:03}_sat={}.cnf") -> Path:
    """A folder of twins of 3 to 7 variables."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(pairs):
        pair = sr_pair(3 + number % 5, generator)
        write_dimacs(folder / name.format(number, 1), pair.satisfiable)
        write_dimacs(folder / name.format(number, 0), pair.unsatisfiable)
    return folder


def own(path: Path, **changes: Any) -> SatFiles:
    """The files as a training has them."""
    arguments = {"path": str(path), "trained_path": str(path), "validation_fraction": 0.3, **changes}
    return Make(path)(SatFiles, **arguments)


def names(data: SatFiles, part: str) -> set[str]:
    return {problem.name for problem in data.problems(part)}


def test_labelled_files_are_trained_on_in_batches_of_nodes_and_twins_stay_together(tmp_path: Path) -> None:
    data = own(write(tmp_path / "mine"), batch_nodes=300)
    data.setup("fit")
    batches = [split(batch) for batch in data.train_dataloader()]
    assert sum(map(len, batches)) == 14
    assert all(sum(formula.nodes for formula in batch) <= 300 or len(batch) == 1 for batch in batches)
    held = names(data, "val")
    assert len(held) == 6 and len({name[:3] for name in held}) == 3
    kept = {problem.name for problem in data._parted()[0]}
    assert not kept & held and len(kept | held) == 20
    assert names(own(tmp_path / "mine", seed=1), "val") == held


def test_labels_are_those_of_names_and_tables(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", 2, "{:03}_{}.cnf")
    write(folder / "more", 2)
    table = ["file,satisfiable", *(f"{number:03}_{label}.cnf,{label}" for number in range(2) for label in (0, 1))]
    (folder / "labels.csv").write_text("\n".join(table))
    labels = {problem.name: problem.satisfiable for problem in own(folder).problems("predict")}
    assert labels == {name: int(name.endswith("1.cnf")) for name in labels}
    assert len(labels) == 8


def test_files_without_labels_are_refused_for_training_unless_a_solver_labels_them(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", name="{:03}_{}.cnf")
    with pytest.raises(UserError, match=r"0 of 20 formulas have a label.*labels\.csv.*data\.solve=true"):
        own(folder).setup("fit")
    data = own(folder, solve=True)
    data.setup("fit")
    assert {problem.satisfiable for problem in data.problems("val")} <= {0, 1}
    assert len(data.item_names()) == 20


def test_a_test_takes_what_was_held_out_of_the_path_trained_on_and_all_of_another(tmp_path: Path) -> None:
    mine, other = write(tmp_path / "mine"), write(tmp_path / "other", 2)
    data = own(mine)
    assert names(data, "test") == names(data, "val")
    assert names(own(mine, trained_path=None), "test") == names(data, "predict")
    assert len(names(own(other, trained_path=str(mine)), "test")) == 4
    assert len(names(own(mine, test_path=str(other)), "test")) == 4


def test_a_path_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    make, mine = Make(tmp_path), str(write(tmp_path / "mine", 1))
    assert make.problems(SatFiles) == ["data.path: name a DIMACS file or a folder of them"]
    (problem,) = make.problems(SatFiles, path="gone")
    assert problem == "data.path=gone: there is no such file or folder"
    (problem,) = make.problems(SatFiles, path=mine, test_path="gone")
    assert problem == "data.test_path=gone: there is no such file or folder"


def test_neurosat_trains_on_ones_own_formulas_and_answers_others(run_job: RunJob, tmp_path: Path) -> None:
    tiny = ("model.dimension=8", "model.rounds=2", "trainer=cpu", "trainer.max_epochs=1", "data.batch_nodes=300")
    trained = run_job("model=neurosat", "data=sat_files", f"data.path={write(tmp_path / 'mine')}", *tiny)
    again = run_job("mode=test", f"checkpoint={trained}")
    metrics = [json.loads((run / "summary.json").read_text())["metrics"] for run in (trained, again)]
    assert metrics[0]["test/loss"] == metrics[0]["val/loss"] == metrics[1]["test/loss"]
    answered = run_job("mode=predict", f"checkpoint={trained}", f"data.path={write(tmp_path / 'other', 2)}")
    assert len((answered / "predictions.csv").read_text().splitlines()) == 5
