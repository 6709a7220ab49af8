"""The lists of `python train.py --help`: the groups in short, and the presets by paper with what the paper claims."""

import textwrap
from itertools import groupby
from typing import Any

import yaml

from paperzoo.choices import CONFIG_FOLDER, groups, options, presets, with_weights

COLUMNS = 79  # of the narrowest terminal, less the one that some keep free
FEW = 16  # options that are worth two lines
NOT_CHOSEN = ("callbacks", "data/base", "experiment", "paper")  # by hand, or listed apart


def groups_in_short() -> str:
    """A line for each group; parts of models and data, of which there are many, are counted."""
    merged: dict[str, list[str]] = {}
    for group in groups():
        if group not in NOT_CHOSEN:
            names = options(group)
            is_long_part = "/" in group and len(names) > FEW
            shown = f"{len(names)} parts; Tab lists them" if is_long_part else ", ".join(names)
            merged.setdefault(shown, []).append(group)
    return "\n".join(_entry(f"{', '.join(same)}: {shown}") for shown, same in merged.items())


def presets_by_paper() -> str:
    """Every preset, below its paper and the paper's claim; a star for those whose weights are here."""
    starred = with_weights()
    parts = []
    for folder, names in groupby(presets(), key=lambda name: name.split("/")[0]):
        about = paper(folder)
        marked = [name.split("/", 1)[1] + ("*" if name in starred else "") for name in names]
        parts.append(_entry(f"experiment/{folder}: {about['claim']}"))
        parts.append(_entry(", ".join(marked), "    "))
    return "\n".join(parts)


def paper(name: str) -> dict[str, Any]:
    """Title, authors, year, claim, ... of a paper."""
    text = (CONFIG_FOLDER / "paper" / f"{name}.yaml").read_text(encoding="utf-8")
    about: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return about


def _entry(text: str, first: str = "  ") -> str:
    return textwrap.fill(
        text, COLUMNS, initial_indent=first, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
