"""Writes the test problems of a generated set as DIMACS files: `python scripts/write_sat_set.py FOLDER data=sr`.

    python scripts/write_sat_set.py sr40 data=sr 'data.test_variables=[40]' data.test_pairs=1000 seed=0
    python scripts/write_sat_set.py cores data=unsat_cores 'data.cores=[knuth_r]'
    python train.py mode=test checkpoint=RUN data=sr data.path=sr40

They are the problems that a run with the same overrides is tested on; `labels.csv` beside them says which are
satisfiable.
"""

import argparse
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from rich.progress import track

from paperzoo.cli import CONFIG_FOLDER
from paperzoo.config import instantiate, plain
from paperzoo.data.logic.sat import UNKNOWN, Problem, SatData
from paperzoo.errors import UserError
from paperzoo.files import write_text
from paperzoo.logic.dimacs import write_dimacs
from paperzoo.logic.sat_labels import LABELS
from paperzoo.runner.check import target_problems


def problems(overrides: list[str]) -> list[Problem]:
    """The test problems of the data that the overrides choose.

    Raises:
        UserError: the overrides are wrong, or choose other data than SAT problems.
    """
    try:
        with initialize_config_dir(str(CONFIG_FOLDER)):
            node = plain(compose("train", overrides).data)
    except HydraException as error:
        raise UserError(str(error)) from error
    if found := target_problems(node, "data"):
        raise UserError(*found)
    data = instantiate(node, "data")
    if not isinstance(data, SatData):
        raise UserError(f"data: {type(data).__name__} makes no SAT problems; choose data=sr or data=unsat_cores")
    return data.problems("test")


def write(folder: Path, made: list[Problem], comment: str) -> None:
    """Writes a file for each problem, and `labels.csv`.

    Raises:
        UserError: the folder is not empty, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is not an empty folder; choose another one")
    rows = ["file,satisfiable"]
    for problem in track(made, "writing"):
        file = f"{problem.name}.cnf"
        core = [f"literals of the unsatisfiable core: {' '.join(map(str, problem.core))}"] if problem.core else []
        write_dimacs(folder / file, problem.formula, [comment, *core])
        if problem.satisfiable != UNKNOWN:
            rows.append(f"{file},{problem.satisfiable}")
    write_text(folder / LABELS, "\n".join([*rows, ""]))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0] + ".")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where to write; must be new or empty")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="+", help="the data, as for train.py: data=sr seed=0")
    arguments = parser.parse_args()
    try:
        made = problems(arguments.overrides)
        write(arguments.folder, made, f"{arguments.folder.name}: {' '.join(arguments.overrides)}")
    except UserError as error:
        print("\n".join(f"paperzoo: {problem}" for problem in error.problems), file=sys.stderr)
        return 2
    print(f"{len(made)} problems are in {arguments.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
