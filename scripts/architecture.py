"""Draws the house from its imports, into docs/architecture.md; `--check` only says whether the picture is stale."""

import argparse
import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "paperzoo").rglob("*.py")
}
ROOMS = {path.parent.name for path in (ROOT / "paperzoo").glob("*/__init__.py")}
BEGIN, END = "```mermaid\n", "```\n"


def imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, but for those that only a type checker sees."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in (node for node in ast.walk(tree) if id(node) not in unseen):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in inside}
    return names & MODULES.keys()


def room(module: str) -> str:
    """The folder of a module; "" for the ground."""
    own = [*module.split("."), ""][1]
    return own if own in ROOMS else ""


def arrows() -> dict[str, set[str]]:
    """What each module imports."""
    return {module: imports(path) - {module} for module, path in MODULES.items()}


def drawing() -> str:
    """The rooms and the arrows between them, in Mermaid's language."""
    between = {(room(m), room(t)) for m, targets in arrows().items() for t in targets if room(m) != room(t)}
    names = {"": 'ground["the ground: config, module, datamodule, batches, ..."]'}
    lines = [f"    {names.get(own, own)}" for own in sorted(ROOMS | {""})]
    lines += [f"    {a or 'ground'} --> {b or 'ground'}" for a, b in sorted(between) if a]
    return "\n".join(["flowchart TD", *lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the picture is stale")
    old = PAGE.read_text(encoding="utf-8")
    before, _, rest = old.partition(BEGIN)
    after = rest.partition(END)[2]
    new = f"{before}{BEGIN}{drawing()}{END}{after}"
    if parser.parse_args().check:
        sys.exit("docs/architecture.md is stale; run: python scripts/architecture.py" if new != old else 0)
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
