"""NeuroSAT in whole runs: trained, resumed, tested on files and other problems, asked for solutions."""

import csv
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import paperzoo.runner.run
from paperzoo.batches import SatProblems
from paperzoo.data.logic.sr import CORES, core_pair, sr_pair
from paperzoo.errors import UserError
from paperzoo.logic.cnf import Formula, union
from paperzoo.logic.dimacs import write_dimacs
from paperzoo.papers.neurosat import NeuroSATModule, attempts
from paperzoo.papers.neurosat import figures as neurosat_figures
from paperzoo.reporting.metrics_csv import read_metrics
from paperzoo.runner.job import Job
from paperzoo.runner.signals import RunStoppedError
from tests.conftest import RunJob

TINY = (
    "model=neurosat",
    "data=sr",
    "trainer=cpu",
    "model.dimension=16",
    "model.rounds=4",
    "data.variables=[3,4]",
    "data.batch_nodes=300",
    "data.batches_per_epoch=3",
    "data.validation_variables=[4]",
    "data.validation_pairs=4",
    "data.test_variables=[3,4]",
    "data.test_pairs=4",
    "data.workers=0",
    "trainer.max_epochs=1",
    "trainer.log_every_n_steps=1",
)
LINEAR = (
    "{_target_: torch.optim.lr_scheduler.LinearLR, _partial_: true, start_factor: 1.0, end_factor: 0.5, total_iters: 2}"
)

# Solved by every network: an assignment or its complement satisfies each of these.
EASY = Formula.from_clauses(3, [[1], [1, -2]])
ALSO_EASY = Formula.from_clauses(2, [[-2, 1], [-2]])
# Of two literals that nothing tells apart one is true: hard for a network that sees no names.
XOR = Formula.from_clauses(2, [[1, 2], [-1, -2]])
CONTRADICTION = Formula.from_clauses(2, [[1], [-1, 2], [-2]])


@pytest.fixture
def trained(run_job: RunJob) -> Path:
    return run_job(*TINY)


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def predictions(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "predictions.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["item", "answer", "rounds", "confidence"]
    return {row["item"]: row for row in rows}


def satisfies(solution: str, dimacs: str) -> bool:
    """Whether the literals of the `v` lines are one for each variable and make every clause of the file true."""
    true = {int(word) for line in solution.splitlines() if line.startswith("v ") for word in line.split()[1:]} - {0}
    header, *lines = (line for line in dimacs.splitlines() if not line.startswith("c"))
    clauses = " ".join(lines).split(" 0")
    assert sorted(map(abs, true)) == list(range(1, int(header.split()[2]) + 1))
    return all(true & set(map(int, clause.split())) for clause in clauses if clause.strip())


# Answers to files


def test_every_readable_file_is_answered_and_every_solution_satisfies_it(
    run_job: RunJob, trained: Path, tmp_path: Path
) -> None:
    files, folder = tmp_path / "files", tmp_path / "run2"
    (files / "sub").mkdir(parents=True)
    formulas = {"easy.cnf": EASY, "sub/also_easy.cnf": ALSO_EASY, "contradiction.cnf": CONTRADICTION}
    formulas["random.cnf"] = sr_pair(20, np.random.default_rng(0)).satisfiable
    for name, formula in formulas.items():
        write_dimacs(files / name, formula, ["of a test"])
    (files / "bad.cnf").write_text("c a comment\np cnf 2 1\n1 two 0\n")
    with pytest.raises(UserError) as error:
        run_job("mode=predict", f"checkpoint={trained}", f"data.path={files}")
    (problem,) = error.value.problems
    assert problem.startswith(f"{files / 'bad.cnf'}, line 3: `two`")
    rows = predictions(folder)
    assert rows.keys() == formulas.keys()
    for name, row in rows.items():
        solution = (folder / "solutions" / f"{name}.solution").read_text()
        if row["answer"] == "satisfiable":
            assert solution.startswith("s SATISFIABLE\nv ")
            assert satisfies(solution, (files / name).read_text())
            assert 1 <= int(row["rounds"]) <= 4
        else:
            assert (row["answer"], row["rounds"], solution) == ("unknown", "4", "s UNKNOWN\n")
        assert 0 < float(row["confidence"]) < 1
    assert rows["easy.cnf"]["answer"] == rows["sub/also_easy.cnf"]["answer"] == "satisfiable"
    assert rows["contradiction.cnf"]["answer"] == "unknown"


def test_a_single_file_is_answered_in_as_many_rounds_as_one_types(
    run_job: RunJob, trained: Path, tmp_path: Path
) -> None:
    ask = ("mode=predict", f"checkpoint={trained}", "model.test_rounds=[9]")
    for formula, answer, rounds in ((EASY, "satisfiable", "1"), (CONTRADICTION, "unknown", "9")):
        write_dimacs(tmp_path / "mine.cnf.gz", formula)
        folder = run_job(*ask, f"data.path={tmp_path / 'mine.cnf.gz'}")
        (row,) = predictions(folder).values()
        assert (row["item"], row["answer"], row["rounds"]) == ("mine.cnf.gz", answer, rounds)
        assert [path.name for path in (folder / "solutions").iterdir()] == ["mine.cnf.gz.solution"]


def test_solved_counts_satisfiable_files_and_accuracy_labelled_ones(
    run_job: RunJob, trained: Path, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    labelled = {"easy_sat=1.cnf": (EASY, True), "xor.cnf": (XOR, True), "no_sat=0.cnf": (CONTRADICTION, False)}
    for name, (formula, _) in labelled.items():
        write_dimacs(files / name, formula)
    (files / "labels.csv").write_text("file,satisfiable\nxor.cnf,1\n")
    for name in ("unlabelled.cnf", "unlabelled_too.cnf"):
        write_dimacs(files / name, EASY)
    use = (f"checkpoint={trained}", f"data.path={files}")
    metrics = summary(run_job("mode=test", *use))["metrics"]
    rows = predictions(run_job("mode=predict", *use))
    solved = [rows[name]["answer"] == "satisfiable" for name, (_, satisfiable) in labelled.items() if satisfiable]
    right = [(float(rows[name]["confidence"]) > 0.5) == satisfiable for name, (_, satisfiable) in labelled.items()]
    assert metrics["test/solved"] == pytest.approx(sum(solved) / 2)
    assert metrics["test/accuracy"] == pytest.approx(sum(right) / 3)
    assert not [name for name in metrics if "files" in name or "n4" in name]


def test_a_label_that_an_assignment_refutes_is_named_and_prediction_ignores_it(
    run_job: RunJob, trained: Path, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    write_dimacs(files / "fine.cnf", EASY)
    write_dimacs(files / "mislabelled_sat=0.cnf", EASY)
    use = (f"checkpoint={trained}", f"data.path={files}")
    with pytest.raises(UserError, match=r"mislabelled_sat=0\.cnf: labelled unsatisfiable"):
        run_job("mode=test", *use)
    answers = predictions(run_job("mode=predict", *use))
    assert {row["answer"] for row in answers.values()} == {"satisfiable"}


def test_the_confidence_in_a_file_does_not_depend_on_the_others(run_job: RunJob, trained: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    write_dimacs(files / "easy.cnf", EASY)
    write_dimacs(files / "no.cnf", CONTRADICTION)
    use = ("mode=predict", f"checkpoint={trained}")
    alone = predictions(run_job(*use, f"data.path={files / 'easy.cnf'}"))["easy.cnf"]
    together = predictions(run_job(*use, f"data.path={files}"))["easy.cnf"]
    assert alone["rounds"] == together["rounds"]
    assert float(alone["confidence"]) == pytest.approx(float(together["confidence"]))


def test_files_without_labels_have_nothing_to_report(run_job: RunJob, trained: Path, tmp_path: Path) -> None:
    write_dimacs(tmp_path / "mine.cnf", EASY)
    folder = run_job("mode=test", f"checkpoint={trained}", f"data.path={tmp_path / 'mine.cnf'}")
    assert summary(folder)["metrics"] == {}
    assert {path.stem for path in (folder / "figures").iterdir()} == {"votes", "embeddings"}


# Training


def test_a_stopped_and_resumed_training_is_bit_identical(
    run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = (*TINY, "trainer.max_epochs=3", f"model.scheduler={LINEAR}", "model.optimizer.lr=1e-3")
    whole = run_job(*training)
    folder = tmp_path / "run2"

    def stop_in_the_middle(module: NeuroSATModule, batch: SatProblems, batch_idx: int) -> None:
        if (module.current_epoch, batch_idx) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as stopping:
        stopping.setattr(NeuroSATModule, "on_train_batch_start", stop_in_the_middle)
        with pytest.raises(RunStoppedError):
            run_job(*training)
    assert len(read_metrics(folder / "metrics.csv")["train/loss"]) < 9
    run_job(f"resume={folder}")
    assert (folder / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    first, second = (torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (whole, folder))
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name


class Step(NamedTuple):
    """The global norm of the gradient and the learning rate of an optimiser step."""

    unclipped: float
    norm: float
    rate: float


def steps(run_job: RunJob, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> list[Step]:
    taken: list[Step] = []
    clip = NeuroSATModule.configure_gradient_clipping

    def norm(module: NeuroSATModule) -> float:
        return float(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]).norm())

    def watched(module: NeuroSATModule, optimizer: Any, *arguments: Any, **named: Any) -> None:
        before = norm(module)
        clip(module, optimizer, *arguments, **named)
        taken.append(Step(before, norm(module), optimizer.param_groups[0]["lr"]))

    with monkeypatch.context() as watching:
        watching.setattr(NeuroSATModule, "configure_gradient_clipping", watched)
        run_job(*TINY, *overrides)
    return taken


def test_the_gradient_is_cut_to_the_papers_norm_or_the_trainers(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    for overrides, most in (
        (("model.clip_norm=1e-3",), 1e-3),
        (("model.clip_norm=1e-3", "trainer.gradient_clip_val=1e-4"), 1e-4),
        (("model.clip_norm=1000.0",), None),
    ):
        taken = steps(run_job, monkeypatch, *overrides)
        assert len(taken) == 3
        assert min(step.unclipped for step in taken) > 1e-3
        for step in taken:
            assert step.norm == pytest.approx(most or step.unclipped, rel=1e-2)


def test_the_rate_is_constant_unless_a_scheduler_changes_it_step_by_step(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [step.rate for step in steps(run_job, monkeypatch)] == [2e-5] * 3
    scheduled = steps(run_job, monkeypatch, f"model.scheduler={LINEAR}")
    assert [step.rate for step in scheduled] == pytest.approx([2e-5, 1.5e-5, 1e-5])


# A checkpoint under a preset


def settled(run_job: RunJob, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    """The settings that a `mode=test` job would run with."""
    jobs: list[Job] = []
    with monkeypatch.context() as watching:
        watching.setattr(paperzoo.runner.run, "test", lambda job, parts: jobs.append(job))
        run_job(*arguments)
    (job,) = jobs
    return job.settings


def test_an_evaluation_preset_brings_its_data_rounds_and_numbers_to_the_checkpoints_model(
    run_job: RunJob, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settled(run_job, monkeypatch, "experiment=neurosat/generalization", f"checkpoint={trained}")
    assert (settings["model"]["dimension"], settings["model"]["rounds"]) == (16, 4)
    assert settings["model"]["test_rounds"] == [16, 32, 64, 128, 256, 512, 1024]
    assert settings["data"]["test_variables"] == [40, 80, 120, 160, 200]
    assert settings["data"]["test_pairs"] == 4  # the preset leaves it to the checkpoint
    assert settings["published"]["test/solved_n40_rounds32"]["value"] == 0.76
    graphs = settled(run_job, monkeypatch, "experiment=neurosat/graph_problems", f"checkpoint={trained}")
    assert (graphs["model"]["dimension"], graphs["model"]["rounds"]) == (16, 4)
    assert graphs["data"]["_target_"] == "paperzoo.data.logic.graph_sat.GraphSat"
    assert graphs["published"].keys() == {"test/solved_rounds512"}


def test_what_is_typed_wins_over_the_preset_and_the_checkpoint(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_dimacs(tmp_path / "mine.cnf", EASY)
    trained = run_job(*TINY, f"data.path={tmp_path / 'mine.cnf'}")
    typed = ("model.test_rounds=[2,4]", "data.test_variables=[5,6]", "data.test_pairs=2", "data.path=null")
    tested = summary(run_job("experiment=neurosat/generalization", f"checkpoint={trained}", *typed))
    config, metrics = tested["config"], tested["metrics"]
    assert (config["model"]["dimension"], config["model"]["test_rounds"]) == (16, [2, 4])
    data = config["data"]
    assert (data["test_variables"], data["test_pairs"], data["path"]) == ([5, 6], 2, None)
    assert {"test/solved_rounds2", "test/solved_n5_rounds2", "test/solved_n6_rounds4"} <= metrics.keys()
    assert "test/solved_n5_rounds16" not in metrics
    assert len(config["published"]) == 35


def test_rounds_that_are_asked_for_are_reported_by_number_even_if_they_are_those_of_the_training(
    run_job: RunJob, trained: Path
) -> None:
    metrics = summary(run_job("mode=test", f"checkpoint={trained}", "model.test_rounds=[2,4]"))["metrics"]
    assert metrics["test/solved"] == metrics["test/solved_rounds4"] >= metrics["test/solved_rounds2"]
    unasked = summary(trained)["metrics"]
    assert unasked["test/solved"] == metrics["test/solved"]
    assert "test/solved_rounds4" not in unasked


# What is counted and drawn


def tiny_module(test_rounds: Sequence[int] = ()) -> NeuroSATModule:
    torch.manual_seed(0)
    return NeuroSATModule(
        dimension=8,
        hidden_layers=1,
        rounds=3,
        test_rounds=test_rounds,
        l2_weight=1e-10,
        clip_norm=0.65,
        optimizer=torch.optim.Adam,
        scheduler=None,
        checkpointing=False,
        compile=False,
    )


def recovered(batch: SatProblems, in_second: Tensor) -> list[bool]:
    """`core_recovered` of literal embeddings in two tight clusters."""
    model = tiny_module()
    attempt = next(attempts(model.network, batch))
    torch.manual_seed(0)
    hidden = torch.where(in_second[:, None], torch.ones(8), -torch.ones(8)) + 0.1 * torch.randn(len(in_second), 8)
    literals = attempt.state.literals._replace(hidden=hidden)
    return model._cores_recovered(batch, attempt._replace(state=attempt.state._replace(literals=literals))).tolist()


def test_a_core_is_recovered_if_one_cluster_holds_its_literals_and_no_others() -> None:
    pairs = [core_pair(CORES["pigeonhole_2_1"], 6, np.random.default_rng(seed)) for seed in range(3)]
    formulas = [pairs[0].unsatisfiable, pairs[1].satisfiable, pairs[2].unsatisfiable, CONTRADICTION]
    cores = [pairs[0].core, pairs[1].core, pairs[2].core, ()]
    batch = union(formulas, [0, 1, 0, 0], cores=cores)
    assert recovered(batch, batch.in_core) == [True, True]
    assert recovered(batch, ~batch.in_core) == [True, True]
    last_literal = batch.variable_problem.repeat(2).eq(2).nonzero()[-1]
    assert not batch.in_core[last_literal]
    assert recovered(batch, batch.in_core.index_fill(0, last_literal, True)) == [True, False]
    first_of_core = batch.in_core.nonzero()[0]
    assert recovered(batch, batch.in_core.index_fill(0, first_of_core, False)) == [False, True]


def labelled(formulas: Sequence[Formula], *satisfiable: int) -> SatProblems:
    return union(formulas, satisfiable)


@pytest.mark.parametrize(
    "batch",
    [
        labelled([EASY, CONTRADICTION], 1, 0),
        labelled([CONTRADICTION], 0),
        labelled([EASY, XOR], -1, -1),
        labelled([Formula.from_clauses(1, [[1]])], 1),
    ],
    ids=["twins", "unsatisfiable", "unknown", "one variable"],
)
def test_every_batch_has_votes_and_embeddings_to_draw(batch: SatProblems) -> None:
    with torch.no_grad():
        assert tiny_module().figures(batch).keys() == {"votes", "embeddings"}


def test_only_a_test_has_problems_solved_by_round_to_draw(run_job: RunJob, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[bool, bool]] = []
    draw = NeuroSATModule.figures

    def watched(module: NeuroSATModule, batch: SatProblems) -> Any:
        figures = draw(module, batch)
        drawn.append((module.trainer.testing, "solved" in figures))
        return figures

    monkeypatch.setattr(NeuroSATModule, "figures", watched)
    run_job(*TINY)
    assert drawn == [(False, False), (True, True)]


def test_the_published_shares_are_drawn_at_the_rounds_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(neurosat_figures, "solved_figure", lambda *arguments: asked.append(arguments))
    module = tiny_module(test_rounds=[16])
    module.solved_rounds = {"": [torch.tensor([1, 3])], "n20": [torch.tensor([1])], "n40": [torch.tensor([3])]}
    module.published = {"test/solved_n40_rounds16": 0.76, "test/solved_n20": 0.5}
    module._solved_figure()
    ((curves, rounds, published),) = asked
    assert curves.keys() == {"n20", "n40"}
    shares = {(group, number): v for group in published for number, v in zip(rounds, published[group], strict=True)}
    assert {place: v for place, v in shares.items() if v == v} == {("n40", 16): 76.0, ("n20", module.rounds): 50.0}


def test_a_planted_core_is_drawn_and_searched_for(run_job: RunJob) -> None:
    cores = ("data=unsat_cores", "data.variables=[6,6]", "data.validation_variables=[6]", "data.test_variables=[6]")
    own = [override for override in TINY if not override.startswith(("data=", "data.variables", "data.test_var"))]
    folder = run_job(*own, *cores)
    assert {path.stem for path in (folder / "figures").iterdir()} == {"votes", "embeddings", "core", "solved"}
    metrics = summary(folder)["metrics"]
    assert 0 <= metrics["test/core_recovered"] <= 1
    assert "test/solved_knuth_r_n6" in metrics


# What is refused


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("data.path=missing.cnf", "data.path=missing.cnf: there is no such file or folder"),
        ("model.rounds=0", "model.rounds=0: should be greater than or equal to 1"),
        ("data.variables=[10,3]", "data.variables=[10, 3]: the least number of variables comes first"),
        ("data=digits", "model 'neurosat' takes SatProblems, data 'digits' yields "),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_built(
    mistake: str, sentence: str, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paperzoo.runner.run, "build", lambda job: pytest.fail("built"))
    with pytest.raises(UserError) as error:
        run_job("model=neurosat", *([] if mistake.startswith("data=") else ["data=sr"]), mistake)
    (problem,) = error.value.problems
    assert problem.startswith(sentence)
