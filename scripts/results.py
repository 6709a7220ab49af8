"""Renders the results of all presets, paper by paper, into docs/results.md; `--check` only says whether it is stale."""

import argparse
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import paperzoo.cli  # noqa: F401 - its resolvers
from paperzoo.reporting.results import Preset, flat, markdown_table, problems

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
HEAD = """# Results

Published against measured, rendered from the presets by `python scripts/results.py`; nothing here is typed by hand. A
measured row under a partial budget says so. "Code measured at" names the last commit at which a laptop preset of the
paper was run to its end: there, its code is known to work.
"""


def presets() -> list[tuple[dict[str, Any], Preset]]:
    """Every preset below conf/experiment, composed, with its paper."""
    folder = ROOT / "conf" / "experiment"
    found = []
    with initialize_config_dir(str(ROOT / "conf")):
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            config = compose("train", overrides=[f"experiment={name}"])
            paper, published, measured = (
                OmegaConf.to_container(config[key], resolve=True) for key in ("paper", "published", "measured")
            )
            if wrong := problems(published, measured):
                sys.exit("\n".join(f"experiment={name}: {problem}" for problem in wrong))
            found.append((paper, Preset(name, flat(published), measured)))
    return found


def card(folder: str) -> str:
    """The card of the presets in a folder: the paper's own, or the one that describes it together with another."""
    papers = Path("paperzoo/papers")
    own = papers / folder / "README.md"
    if (ROOT / own).is_file():
        return own.as_posix()
    cards = (path.relative_to(ROOT) for path in sorted((ROOT / papers).glob("*/README.md")))
    return next(path for path in cards if f"`{folder}/" in (ROOT / path).read_text(encoding="utf-8")).as_posix()


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for folder, members in groupby(presets(), key=lambda pair: pair[1].name.split("/")[0]):
        papers, own = zip(*members, strict=True)
        paper = papers[0]
        commits = {preset.name: preset.measured[-1]["commit"] for preset in own if preset.measured}
        laptops = ", ".join(f"`{name}` {commit}" for name, commit in commits.items()) or "nothing yet"
        parts.append(
            f"\n## {paper['title']} ({paper['year']})\n\n[card](../{card(folder)}). Code measured at: {laptops}.\n"
        )
        parts.append(f"\n{markdown_table(own)}\n")
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page is stale")
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    new = page()
    if arguments.check:
        is_current = arguments.page.is_file() and arguments.page.read_text(encoding="utf-8") == new
        sys.exit(0 if is_current else f"{arguments.page} is stale; run: python scripts/results.py")
    arguments.page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
