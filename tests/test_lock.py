"""constraints.txt and the Dockerfile: what is locked is allowed by pyproject.toml, and the image does without root."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
REQUIRED = [
    Requirement(text)
    for texts in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in texts
]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"^#.*\n|\\\n", "", DOCKERFILE, flags=re.MULTILINE)
    return [
        (word.upper(), " ".join(rest.split()))
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def test_the_lock_is_of_exact_versions_and_of_no_place() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert len({canonicalize_name(line.split("==")[0]) for line in LINES}) == len(LINES)


@pytest.mark.parametrize("required", REQUIRED, ids=str)
def test_the_lock_has_a_version_that_the_project_allows(required: Requirement) -> None:
    locked = {canonicalize_name(name): version for name, version in (line.split("==") for line in LINES)}
    name = canonicalize_name(required.name)
    assert name in locked, "make constraints.txt anew, as CONTRIBUTING.md says"
    assert required.specifier.contains(locked[name], prereleases=True)


def test_the_image_is_of_a_named_version_of_python_that_the_project_allows() -> None:
    (base,) = [rest for word, rest in instructions() if word == "FROM"]
    found = re.fullmatch(r"python:(3\.\d+)-slim", base)
    assert found
    assert f"Programming Language :: Python :: {found[1]}" in PROJECT["classifiers"]


def test_nothing_in_the_image_runs_or_is_installed_as_root() -> None:
    words = [word for word, _ in instructions()]
    (user,) = [rest for word, rest in instructions() if word == "USER"]
    before = [rest for word, rest in instructions()[: words.index("USER")] if word == "RUN"]
    (home,) = [rest for word, rest in instructions() if word == "WORKDIR"]
    assert before == [f"useradd --create-home {user} && install -d -o {user} -g {user} {home}"]
    assert [rest for word, rest in instructions() if word == "COPY"] == [f"--chown={user}:{user} . ."]
    assert "ADD" not in words and "sudo" not in DOCKERFILE


def test_the_image_installs_with_the_lock_what_the_readme_s_commands_need() -> None:
    (home,) = [rest for word, rest in instructions() if word == "WORKDIR"]
    (environment,) = [rest for word, rest in instructions() if word == "ENV"]
    assert f"PIP_CONSTRAINT={home}/constraints.txt" in environment.split()
    installed = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    assert len(installed) == 1 and installed[0].endswith('pip install -e ".[dev]"')
    assert instructions()[-1] == ("CMD", '["python", "train.py"]')


def test_what_stays_out_of_the_image_is_nothing_that_it_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", "outputs/*", "!outputs/.gitkeep"} <= set(ignored)
    needed = (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "constraints.txt",
        "conf",
        "paperzoo",
        "scripts",
        "tests",
        "docs",
        "train.py",
    )
    assert not set(needed) & set(ignored)
