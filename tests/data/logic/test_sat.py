"""Sets of SAT problems: batches of twins, fixed sets, and files of your own."""

import gzip
import runpy
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from pysat.solvers import Solver

from paperzoo.batches import SatProblems
from paperzoo.config import find_target, instantiate
from paperzoo.data.base.order import RepeatFirstEpoch
from paperzoo.data.logic.sat import packed
from paperzoo.data.logic.twins import TwinData, TwinStream
from paperzoo.errors import UserError
from paperzoo.logic.cnf import Formula, split
from paperzoo.logic.dimacs import write_dimacs
from paperzoo.runner.check import target_problems
from tests.conftest import ROOT
from tests.data.base.test_order import BATCHES, STOPS, KilledError, Recorder, trainer
from tests.data.conftest import Make
from tests.data.test_configs import composed

SMALL = {
    "variables": (3, 8),
    "batch_nodes": 400,
    "batches_per_epoch": BATCHES,
    "validation_variables": (5,),
    "validation_pairs": 3,
    "test_variables": (4, 7),
    "test_pairs": 5,
    "eval_nodes": 400,
}


def sr(**changes: Any) -> Any:
    return Make(Path("unused"))(TwinData, **SMALL | changes)


def cores(**changes: Any) -> Any:
    sizes = {"variables": (8, 9), "validation_variables": (8,), "test_variables": (8,)}
    return sr(cores=("knuth_r", "pigeonhole_2_1"), **sizes | changes)


def clauses(batch: SatProblems) -> list[list[list[int]]]:
    return [formula.clauses() for formula in split(batch)]


def training_batches(data: TwinData, count: int = BATCHES) -> list[SatProblems]:
    data.setup("fit")
    return [batch for _, batch in zip(range(count), data.train_dataloader(), strict=False)]


def served(data: Any, loader: str = "test_dataloader") -> list[list[list[int]]]:
    """The problems that a loader gives, one after the other."""
    data.setup()
    return [problem for batch in getattr(data, loader)() for problem in clauses(batch)]


def equal(first: SatProblems, second: SatProblems) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_items_are_packed_in_order_up_to_the_limit() -> None:
    packs = list(packed([3, 4, 3, 1, 12, 2, 9], lambda size: size, limit=10))
    assert packs == [[3, 4, 3], [1], [12], [2], [9]]


@pytest.mark.parametrize("make", [sr, cores])
def test_a_training_batch_holds_whole_pairs_of_one_size_within_the_limit(make: Any) -> None:
    for batch in training_batches(make(batch_nodes=1000)):
        problems = split(batch)
        assert batch.satisfiable.tolist() == [1, 0] * (len(problems) // 2)
        assert 600 < sum(problem.nodes for problem in problems) <= 1000
        assert len({problem.variables for problem in problems}) == 1
        for satisfiable, unsatisfiable in zip(problems[::2], problems[1::2], strict=True):
            assert sum(satisfiable.literals != unsatisfiable.literals) == 1


def test_a_pair_larger_than_the_limit_is_a_batch_of_its_own() -> None:
    assert all(len(batch.satisfiable) == 2 for batch in training_batches(sr(batch_nodes=10)))


@pytest.mark.parametrize("make", [sr, cores])
def test_labels_are_true(make: Any) -> None:
    for batch in training_batches(make()):
        for problem, satisfiable in zip(clauses(batch), batch.satisfiable.tolist(), strict=True):
            with Solver("glucose4", bootstrap_with=problem) as solver:
                assert solver.solve() == (satisfiable == 1)


@pytest.mark.parametrize("nodes", [400, 12_000])
def test_pairs_have_all_numbers_of_variables_alike(nodes: int) -> None:
    stream = TwinStream(sr().training_kinds, nodes, seed=1)
    pairs: Counter[int] = Counter()
    for number in range(600_000 // nodes):
        made = stream.pairs(number)
        pairs[made[0].unsatisfiable.variables] += len(made)
    batches = {n: pairs[n] / stream.kinds[n - 3].expected_pairs(nodes) for n in range(3, 9)}
    mean = sum(pairs.values()) / len(pairs)
    for n in range(3, 9):
        assert abs(pairs[n] - mean) < 4 * mean / batches[n] ** 0.5 + 0.05 * mean


@pytest.mark.parametrize("pairs", [None, 20])
def test_training_batches_do_not_depend_on_the_number_of_workers(pairs: int | None) -> None:
    alone, helped = (training_batches(sr(training_pairs=pairs, workers=workers), 4) for workers in (0, 2))
    assert all(equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_the_seed_names_the_problems() -> None:
    first, again, other = (training_batches(sr(seed=seed), 1)[0] for seed in (1, 1, 2))
    assert equal(first, again)
    assert clauses(first) != clauses(other)


@pytest.mark.filterwarnings("error:You're resuming from a checkpoint")
@pytest.mark.parametrize(("stop_at", "save_in"), [*STOPS, (1, "batch")])
@pytest.mark.parametrize(("workers", "pairs"), [(0, None), (2, None), (0, 20)])
def test_a_resumed_run_trains_on_the_problems_that_were_next(
    tmp_path: Path, stop_at: int, save_in: str, workers: int, pairs: int | None
) -> None:
    def data() -> Any:
        return sr(workers=workers, training_pairs=pairs)

    whole = Recorder()
    trainer(tmp_path).fit(whole, data())
    assert len({tuple(batch.tolist()) for batch in whole.seen}) == 3 * BATCHES
    killed = Recorder(stop_at, save_in, tmp_path / "killed.ckpt")
    with pytest.raises(KilledError):
        trainer(tmp_path).fit(killed, data())
    torch.manual_seed(12345)
    resumed = Recorder()
    trainer(tmp_path).fit(resumed, data(), ckpt_path=str(tmp_path / "killed.ckpt"), weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(killed.seen + resumed.seen, whole.seen, strict=True))


def test_the_first_epochs_problems_can_be_repeated(tmp_path: Path) -> None:
    model = Recorder()
    trainer(tmp_path, max_epochs=2, callbacks=[RepeatFirstEpoch()]).fit(model, sr())
    without_noise = [batch[:-1].tolist() for batch in model.seen]
    assert without_noise[:BATCHES] == without_noise[BATCHES:]


def test_a_fixed_set_has_each_pair_once_an_epoch_and_its_batches_in_another_order(tmp_path: Path) -> None:
    data = sr(training_pairs=30)
    model = Recorder()
    trainer(tmp_path, max_epochs=2, limit_train_batches=1.0).fit(model, data)
    batches = len(model.seen) // 2
    packs: Any = data.parts["train"]
    assert sum(len(pack) for pack in packs.packs) == 30
    assert batches == len(packs)
    first, second = ([batch[:-1].tolist() for batch in part] for part in (model.seen[:batches], model.seen[batches:]))
    assert sorted(first) == sorted(second)
    assert first != second


def test_a_training_set_too_small_for_all_devices_is_refused() -> None:
    data = sr(training_pairs=1, validation_pairs=1)
    data.setup("fit")
    data.trainer = type("Trainer", (), {"world_size": 2, "global_rank": 0})()
    with pytest.raises(UserError, match=r"data\.batch_nodes=400: all problems fill 1 batches .* each of 2 devices"):
        data.train_dataloader()


def test_problems_that_fit_one_batch_are_evaluated_by_all_devices() -> None:
    data = sr(training_pairs=10, validation_pairs=1)
    data.trainer = type("Trainer", (), {"world_size": 2, "global_rank": 1, "testing": False, "validating": True})()
    data.setup("fit")
    assert [len(batch.satisfiable) for batch in data.val_dataloader()] == [1]


def test_the_initial_batch_is_what_training_starts_with() -> None:
    data = sr()
    assert clauses(data.initial_batch(data.batch_nodes)) == clauses(training_batches(data, 1)[0])


@pytest.mark.parametrize("pairs", [None, 12])
def test_the_initial_batch_has_as_many_nodes_as_asked(pairs: int | None) -> None:
    batches = [sr(training_pairs=pairs).initial_batch(nodes) for nodes in (1, 300, 600)]
    sizes = [len(batch.clause_length) + 2 * len(batch.variable_problem) for batch in batches]
    assert sizes[0] <= sizes[1] <= 300 < sizes[2] <= 600


def test_problems_are_made_for_the_stage_that_needs_them() -> None:
    data = sr()
    data.setup("fit")
    assert list(data.parts) == ["train", "val"]
    data.setup("test")
    assert list(data.parts) == ["train", "val", "test"]


def test_evaluation_needs_no_processes_to_put_problems_side_by_side() -> None:
    data = sr(workers=2)
    data.setup()
    assert [data.loader(part).num_workers for part in ("train", "val", "test")] == [2, 0, 0]


@pytest.mark.parametrize("workers", [0, 2])
def test_test_problems_are_the_same_in_every_run_and_in_their_order(workers: int) -> None:
    data = sr(workers=workers)
    assert served(data) == served(sr()) == served(data, "predict_dataloader")
    batches = list(data.test_dataloader())
    assert [label for batch in batches for label in batch.satisfiable.tolist()] == [1, 0] * 10
    assert [group for batch in batches for group in batch.group.tolist()] == [0] * 10 + [2] * 10
    assert all(2 * len(batch.variable_problem) + len(batch.clause_length) <= 400 for batch in batches)
    assert data.names.kinds == ("n4", "n5", "n7")
    assert data.item_names()[:3] == ["n4/0000_sat", "n4/0000_unsat", "n4/0001_sat"]
    assert len(data.item_names()) == 20


def test_training_validation_and_test_have_no_pair_in_common() -> None:
    data = sr(variables=(7, 7), validation_variables=(7,), test_variables=(7,), validation_pairs=10, test_pairs=10)
    train, val, test = (set(map(str, served(data, f"{part}_dataloader"))) for part in ("train", "val", "test"))
    assert min(len(train), len(val), len(test)) >= 20
    assert not train & val | train & test | val & test


def test_more_test_pairs_keep_those_that_there_were() -> None:
    few, many = (sr(test_variables=(6,), test_pairs=pairs) for pairs in (3, 6))
    assert served(few) == served(many)[:6]


def test_the_literals_of_the_core_are_marked_in_the_unsatisfiable_twin_alone() -> None:
    data = cores()
    data.setup("test")
    assert data.names.kinds == ("knuth_r_n8", "pigeonhole_2_1_n8")
    for batch in data.test_dataloader():
        variables = len(batch.variable_problem)
        owners = torch.cat([batch.variable_problem, batch.variable_problem])
        for problem, (label, group) in enumerate(zip(batch.satisfiable, batch.group, strict=True)):
            marked = batch.in_core.nonzero().flatten()
            first = int((batch.variable_problem < problem).sum())
            own = [int(node % variables) - first + 1 for node in marked if owners[node] == problem]
            expected = {0: [1, 2, 3, 4] * 2, 1: [1, 2] * 2}[int(group)]
            assert sorted(own) == ([] if label else sorted(expected))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small formulas with labels, one of unknown satisfiability, one damaged."""
    files = tmp_path / "problems"
    (files / "deeper").mkdir(parents=True)
    write_dimacs(files / "a.cnf", Formula.from_clauses(3, [[1, -2], [3]]))
    write_dimacs(files / "deeper/b.cnf.gz", Formula.from_clauses(2, [[1], [-1, 2], [-2]]))
    write_dimacs(files / "unknown.dimacs", Formula.from_clauses(1, [[1], [-1]]))
    (files / "broken.cnf").write_text("p cnf 2 1\n1 3 0\n")
    (files / "labels.csv").write_text("file,satisfiable\na.cnf,1\ndeeper/b.cnf.gz,0\n")
    return files


@pytest.mark.parametrize("loader", ["test_dataloader", "predict_dataloader"])
def test_files_take_the_place_of_generated_problems(folder: Path, loader: str) -> None:
    data = sr(path=str(folder))
    assert served(data, loader) == [[[1, -2], [3]], [[1], [-1, 2], [-2]], [[1], [-1]]]
    assert data.item_names() == ["a.cnf", "deeper/b.cnf.gz", "unknown.dimacs"]
    (batch,) = getattr(data, loader)()
    assert batch.satisfiable.tolist() == [1, 0, -1]
    assert data.names.kinds == ("files",)
    assert batch.group.tolist() == [0, 0, 0]


def test_a_problem_is_told_by_its_name(folder: Path) -> None:
    data = sr(path=str(folder))
    data.setup()
    (validation,), (files,) = data.val_dataloader(), data.test_dataloader()
    assert [told.question for told in data.tell(files)] == ["a.cnf", "deeper/b.cnf.gz", "unknown.dimacs"]
    assert [told.question for told in data.tell(validation)][:2] == ["n5/0000_sat", "n5/0000_unsat"]
    assert {told.question for told in data.tell(files._replace(satisfiable=1 - files.satisfiable))} == {""}


def test_validation_stays_generated_beside_files(folder: Path) -> None:
    data = sr(path=str(folder))
    data.setup("fit")
    (batch,) = data.val_dataloader()
    assert len(batch.satisfiable) == 6
    assert batch.group.tolist() == [0] * 6


def test_a_damaged_file_is_left_out_and_remembered(folder: Path) -> None:
    data = sr(path=str(folder))
    assert len(served(data)) == 3
    assert len(data.unreadable) == 1
    assert data.unreadable[0].startswith(f"{folder / 'broken.cnf'}, line 2: the literal `3`")


def test_what_a_folder_holds_beside_readable_formulas_is_told(tmp_path: Path) -> None:
    formula = "p cnf 2 2\n1 2 0\n-1 0\n"
    for name in ("a.cnf", "b.txt", "notes.txt"):
        (tmp_path / name).write_text(formula if name != "notes.txt" else "about a.cnf\n")
    (tmp_path / "gone.cnf").symlink_to(tmp_path / "nowhere.cnf")
    data = sr(path=str(tmp_path))
    assert len(served(data)) == 1
    assert [problem.removeprefix(f"{tmp_path}/").partition(",")[0] for problem in data.unreadable] == [
        "b.txt: left out",
        f"gone.cnf: a link to {tmp_path}/nowhere.cnf",
    ]


def test_an_empty_clause_is_label_enough(tmp_path: Path) -> None:
    (tmp_path / "a.cnf").write_text("p cnf 2 2\n1 2 0\n0\n")
    (tmp_path / "b.cnf").write_text("p cnf 2 0\n")
    data = sr(path=str(tmp_path), solve=True)
    data.setup("test")
    assert [label for batch in data.test_dataloader() for label in batch.satisfiable.tolist()] == [0, 1]


def test_files_none_of_which_can_be_read_are_an_error_that_tells_all(tmp_path: Path) -> None:
    for name in ("a.cnf", "b.cnf"):
        (tmp_path / name).write_text("no formula")
    with pytest.raises(UserError) as error:
        sr(path=str(tmp_path)).setup("test")
    assert [problem.split(",")[0] for problem in error.value.problems] == [
        str(tmp_path / n) for n in ("a.cnf", "b.cnf")
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_solver_labels_what_has_no_label(folder: Path, workers: int) -> None:
    data = sr(path=str(folder), solve=True, workers=workers)
    data.setup("test")
    assert [label for batch in data.test_dataloader() for label in batch.satisfiable.tolist()] == [1, 0, 0]


def test_a_single_file_can_be_named(folder: Path) -> None:
    data = sr(path=str(folder / "deeper" / "b.cnf.gz"))
    assert len(served(data)) == 1
    assert data.item_names() == ["b.cnf.gz"]


def test_a_compressed_file_larger_than_a_batch_is_a_batch_of_its_own(tmp_path: Path) -> None:
    text = b"p cnf 500 1\n1 -500 0\n"
    for name in ("large.cnf.gz", "other.cnf.gz"):
        (tmp_path / name).write_bytes(gzip.compress(text))
    data = sr(path=str(tmp_path), eval_nodes=400)
    data.setup("predict")
    assert [len(batch.satisfiable) for batch in data.predict_dataloader()] == [1, 1]


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("sr", "data.variables=[9,3]", "data.variables=[9, 3]: the least"),
        ("sr", "data.variables=[0,3]", "data.variables=[0, 3]"),
        ("sr", "data.test_variables=[]", "data.test_variables=[]: name at least one"),
        ("sr", "data.batch_nodes=0", "data.batch_nodes=0"),
        ("sr", "data.training_pairs=0", "data.training_pairs=0"),
        ("sr", "data.solve=maybe", "data.solve=maybe"),
        ("sr", "data.path=absent.cnf", "data.path=absent.cnf: there is no such file or folder"),
        ("unsat_cores", "data.cores=[knuth]", 'data.cores=["knuth"]'),
        ("unsat_cores", "data.test_variables=[5]", "data.test_variables=[5]: the cores need at least 6"),
    ],
)
def test_wrong_values_are_problems(name: str, override: str, message: str, tmp_path: Path) -> None:
    (problem,) = target_problems(composed(name, tmp_path, override), "data")
    assert problem.startswith(message)


def test_a_folder_without_formulas_and_wrong_labels_are_problems(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (problem,) = target_problems(composed("sr", tmp_path, f"data.path={tmp_path / 'empty'}"), "data")
    assert problem.startswith(f"data.path={tmp_path / 'empty'}: no DIMACS files")
    (folder / "labels.csv").write_text("file,satisfiable\na.cnf,perhaps\n")
    (problem,) = target_problems(composed("sr", tmp_path, f"data.path={folder}"), "data")
    assert problem.startswith(f"data.path={folder}: {folder / 'labels.csv'}, line 2")


@pytest.mark.parametrize("name", ["sr", "unsat_cores"])
def test_the_config_fits_its_class(name: str, tmp_path: Path) -> None:
    node = composed(name, tmp_path)
    assert target_problems(node, "data") == []
    assert isinstance(find_target(node["_target_"], "data"), type)
    data = instantiate(node | {"workers": 0, "batches_per_epoch": 1, "validation_pairs": 1})
    data.setup("fit")
    (batch,) = data.train_dataloader()
    assert 11_000 < 2 * len(batch.variable_problem) + len(batch.clause_length) <= 12_000


@pytest.fixture
def write_set(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `python scripts/write_sat_set.py ARGUMENTS` in this process."""
    main = runpy.run_path(str(ROOT / "scripts/write_sat_set.py"))["main"]

    def run(*arguments: str) -> int:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["write_sat_set.py", *arguments])
        return main()

    return run


def test_a_written_set_is_read_as_the_problems_that_were_generated(
    tmp_path: Path, write_set: Callable[..., int]
) -> None:
    overrides = ("data=unsat_cores", "data.test_variables=[6,12]", "data.test_pairs=3", "seed=5", "data.workers=0")
    assert write_set(str(tmp_path / "written"), *overrides) == 0
    generated = instantiate(composed("unsat_cores", tmp_path, *overrides[1:3], "data.seed=5", "data.workers=0"))
    written = sr(path=str(tmp_path / "written"))
    assert len(generated.problems("test")) == 36
    contents = [
        {p.name.removesuffix(".cnf"): (p.formula.clauses(), p.satisfiable) for p in data.problems("test")}
        for data in (generated, written)
    ]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data=digits",), "data: Digits makes no SAT problems; choose data=sr"),
        (("data=sr", "data.test_pairs=0"), "data.test_pairs=0"),
        (("data=none",), "In 'train': Could not find 'data/none'"),
    ],
)
def test_a_wrong_set_is_refused_in_a_sentence(
    tmp_path: Path,
    write_set: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    overrides: tuple[str, ...],
    message: str,
) -> None:
    assert write_set(str(tmp_path / "written"), *overrides) == 2
    assert capsys.readouterr().err.startswith(f"paperzoo: {message}")


def test_a_set_is_not_written_among_other_files(
    folder: Path, write_set: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert write_set(str(folder), "data=sr", "data.test_pairs=1", "data.workers=0") == 2
    assert capsys.readouterr().err == f"paperzoo: {folder}: is not an empty folder; choose another one\n"
