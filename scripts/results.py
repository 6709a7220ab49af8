"""Renders the results of all presets, paper by paper, into docs/results.md; `--check` only says whether it is stale."""

import argparse
import sys
from itertools import groupby
from pathlib import Path

import paperzoo.cli  # noqa: F401 - its resolvers
from paperzoo.choices import presets
from paperzoo.errors import UserError
from paperzoo.reporting.presets import composed
from paperzoo.reporting.results import markdown_table

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
HEAD = """# Results

Published against measured, rendered from the presets by `python scripts/results.py`; nothing here is typed by hand. A
measured row under a partial budget says so. "Code measured at" names the last commit at which a laptop preset of the
paper was run to its end: there, its code is known to work.
"""


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
    for folder, members in groupby(composed(presets()), key=lambda one: one.results.name.split("/")[0]):
        papers, own = zip(*((one.paper, one.results) for one in members), strict=True)
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
    try:
        new = page()
    except UserError as error:
        sys.exit(str(error))
    if arguments.check:
        is_current = arguments.page.is_file() and arguments.page.read_text(encoding="utf-8") == new
        sys.exit(0 if is_current else f"{arguments.page} is stale; run: python scripts/results.py")
    arguments.page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
