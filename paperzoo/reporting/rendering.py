"""Pages from templates: whole, escaped, and with a policy under which a browser runs and loads nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'"


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, scripts: Sequence[str], images: str = "data:", **values: Any) -> str:
    """A page, self-contained: the style sheet and the scripts stand in it.

    Its policy names the two by their checksums. Whatever else were smuggled in as a script would not run, and the page
    asks nobody for anything.

    Args:
        template: a file in `templates/` that extends `page.html`.
        scripts: files there, run in this order when the page has been read.
        images: where pictures may come from, as the policy says it; `data:` means from the page itself.
        values: what the template shows; escaped.
    """
    style = Markup(_text("style.css"))
    script = Markup("".join(map(_text, scripts)))
    policy = f"{NOTHING}; img-src {images}; style-src {_checksum(style)}; script-src {_checksum(script)}"
    return _environment().get_template(template).render(policy=policy, style=style, script=script, **values)


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _checksum(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
