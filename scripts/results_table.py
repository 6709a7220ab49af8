"""Writes the results of all presets into README.md; `--check` only says whether it is stale."""

import argparse
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import paperzoo.cli  # noqa: F401 - its resolvers
from paperzoo.reporting.results import Preset, markdown_table, problems

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def presets() -> list[Preset]:
    """Every preset below conf/experiment, composed."""
    folder = ROOT / "conf" / "experiment"
    found = []
    with initialize_config_dir(str(ROOT / "conf")):
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            config = compose("train", overrides=[f"experiment={name}"])
            published, measured = (
                OmegaConf.to_container(config[key], resolve=True) for key in ("published", "measured")
            )
            if wrong := problems(published, measured):
                sys.exit("\n".join(f"experiment={name}: {problem}" for problem in wrong))
            found.append(Preset(name, published, measured))
    return found


def with_table(readme: str, table: str) -> str:
    """`readme` with `table` between the two markers.

    Raises:
        ValueError: the markers are missing, or not in their order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md: the lines {BEGIN} and {END} are missing; the table goes between them")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> None:
    """Updates README.md; with `--check` exits with 1 if it is stale and leaves it alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the README is stale")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    arguments = parser.parse_args()
    old = arguments.readme.read_text(encoding="utf-8")
    try:
        new = with_table(old, markdown_table(presets()))
    except ValueError as error:
        sys.exit(str(error))
    if arguments.check:
        sys.exit("the results in README.md are stale; run: python scripts/results_table.py" if new != old else 0)
    arguments.readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
