"""The README, the pages of docs/, the cards and the heads of the configs: what they say works as it stands."""

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from PIL import Image

import paperzoo.data.images
from paperzoo.cli import CONFIG_FOLDER, complete_arguments, presets
from paperzoo.config import instantiate, missing_or_unresolvable, plain
from paperzoo.errors import UserError
from paperzoo.runner.check import target_problems
from tests.conftest import ROOT, RunJob

README = ROOT / "README.md"
CARDS = sorted((ROOT / "paperzoo" / "papers").glob("*/README.md"))
DOCS = sorted((ROOT / "docs").glob("*.md"))
NEW_PAPER = ROOT / "docs" / "adding_a_paper.md"  # of files that it makes itself; has tests of its own
PAGES = [README, ROOT / "CONTRIBUTING.md", *(page for page in DOCS if page != NEW_PAPER), *CARDS]
CONFIGS = sorted((ROOT / "conf").rglob("*.yaml"))
MISTAKES = ROOT / "docs" / "composing.md"
OWN_DATA = ROOT / "docs" / "own_data.md"
HOUSE = ROOT / "docs" / "architecture.md"

README_LINES = 120
OPTIONS_WITH_A_VALUE = ("--cfg", "--package", "--config-dir")
PLACEHOLDER = "RUN"
LAUNCHERS = ("hydra-joblib-launcher", "hydra-ray-launcher", "hydra-submitit-launcher")
SEARCHES = tuple(
    f"sweep={path.stem}" for path in CONFIGS if "hydra/sweeper: optuna" in path.read_text(encoding="utf-8")
)
OF_PLUGINS = {
    LAUNCHERS: ("hydra/launcher=", "hydra.launcher."),
    ("hydra-optuna-sweeper",): ("hydra.sweeper.", "pruner.", "~pruner", *SEARCHES),
}


class Command(NamedTuple):
    """What is typed after `python train.py`, and where it stands."""

    place: str
    line: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line)[2:]


def shown(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def files(page: Path) -> dict[str, str]:
    """What it shows of files, by the names above them."""
    block = r"^\*\*`(\S+)`\*\*\n\n```\w+\n(.*?)^```"
    return dict(re.findall(block, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))


def lines_of_page(page: Path) -> Iterator[str]:
    """The lines of its code, and the code in its text; of fenced blocks the ones for a shell alone."""
    text = re.sub(r"^```(?!bash|sh\n).*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = text.replace("\\\n", " ")
    yield from (line.strip() for line in text.splitlines() if line.startswith("    "))
    yield from re.findall(r"`(python train\.py[^`]*)`", text)


def lines_of_config(path: Path) -> Iterator[str]:
    """The commands in its comments, and in the examples of the help, whose explanations stand behind two blanks."""
    text = re.sub(r"\\\n#", " ", path.read_text(encoding="utf-8"))
    for line in text.splitlines():
        if found := re.search(r"(?<!\$\()python train\.py [^`]*", line):
            yield found[0] if line.startswith("#") else re.split(r"\s{2,}", found[0])[0]


def commands() -> list[Command]:
    """Every command of a page or a head, once."""
    pages = [(page, line) for page in PAGES for line in lines_of_page(page)]
    heads = [(path, line) for path in CONFIGS for line in lines_of_config(path)]
    parts = [(place, part.strip()) for place, line in [*pages, *heads] for part in line.split("&&")]
    typed = [(place, re.split(r"\s+# ", part)[0]) for place, part in parts if re.match(r"python train\.py( |$)", part)]
    found = {line: place for place, line in typed if "<" not in line}
    return [Command(shown(place), line) for line, place in found.items()]


COMMANDS = commands()
PRESETS = [["experiment=" + name] for name in presets()]  # which are composed elsewhere


def without_options(words: Sequence[str]) -> list[str]:
    """The overrides alone."""
    values = [i + 1 for i, word in enumerate(words) if word in OPTIONS_WITH_A_VALUE]
    return [word for i, word in enumerate(words) if i not in values and (not word.startswith("-") or "=" in word)]


def jobs(overrides: Sequence[str], *, is_multirun: bool) -> list[list[str]]:
    """The overrides of as many jobs as show every value of a sweep."""
    parsed = OverridesParser.create().parse_overrides([o for o in overrides if "tag(" not in o and "choice(" not in o])
    assert is_multirun or not any(o.is_sweep_override() for o in parsed), "values of a sweep need -m"
    values = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [str(o.input_line)]
        for o in parsed
    ]
    return [[value[job % len(value)] for value in values] for job in range(max(map(len, values), default=1))]


def of_an_absent_plugin(override: str) -> bool:
    return any(
        override.lstrip("+").startswith(own) and not all(any(metadata.Distribution.discover(name=p)) for p in plugins)
        for plugins, own in OF_PLUGINS.items()
    )


def what_it_stands_on(overrides: Sequence[str]) -> list[list[str]]:
    """The choices one of which the run that is continued or used may have been started with; none: there is no run."""
    uses = [o.split("=", 1)[1] for o in overrides if re.match(rf"(resume|checkpoint)=.*{PLACEHOLDER}$", o)]
    if not uses:
        return []
    if not (named := re.fullmatch(rf"outputs/(.*)/{PLACEHOLDER}", uses[0])):
        return PRESETS
    model, _, data = named[1].partition("/")
    return [[f"experiment={named[1]}"] if named[1] in presets() else [f"model={model}", f"data={data}"]]


def problems(overrides: Sequence[str]) -> list[str]:
    """Why these overrides make no run."""
    try:
        config = compose("train", complete_arguments(list(overrides)))
    except (HydraException, UserError) as error:
        return [str(error)]
    return missing_or_unresolvable(config)


@pytest.fixture
def search_path(tmp_path: Path) -> Iterator[str]:
    """Hydra, ready to compose, and the override with which it finds the configs that pages write."""
    for page in PAGES:
        for name, content in files(page).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_FOLDER)):
        yield f"hydra.searchpath=[file://{tmp_path}/my_conf,file://{tmp_path}/conf]"
    GlobalHydra.instance().clear()


def test_there_are_commands() -> None:
    assert len({command.place for command in COMMANDS}) > 50
    assert {f"python train.py experiment={name}" for name in ("glow/cifar10", "dann/moons")} <= {
        c.line for c in COMMANDS
    }


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c.words not in PRESETS], ids=lambda command: f"{command.place}: {command.line}"
)
def test_commands_compose(command: Command, search_path: str) -> None:
    overrides = [re.sub(r"\$\{paperzoo\.latest:.*?\}", PLACEHOLDER, word) for word in without_options(command.words)]
    overrides = [override for override in overrides if not of_an_absent_plugin(override)]
    others = what_it_stands_on(overrides)
    if others:
        overrides = [o for o in overrides if not o.startswith(("resume=", "checkpoint="))]
    for job in jobs(overrides, is_multirun="-m" in command.words):
        if not others or any(o.startswith("experiment=") for o in job):
            assert problems([*job, search_path]) == []
            continue
        groups = {override.split("=")[0] for override in job}
        chosen = ([choice for choice in other if choice.split("=")[0] not in groups] for other in others)
        tried = (problems([*choices, *job, search_path]) for choices in chosen)
        assert [] in tried, "no trained run of a preset could be used in this way"


def test_bash_and_we_read_commands_alike(tmp_path: Path) -> None:
    say = "python() { printf '%s\\0' \"$@\"; printf '\\1'; }"
    script = "\n".join([say, *(command.line for command in COMMANDS)])
    read = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert read.stderr == ""
    told = [said.split("\0")[1:-1] for said in read.stdout.split("\1")[:-1]]
    assert told == [command.words for command in COMMANDS]


def test_presets_say_how_they_are_run() -> None:
    heads = {name: " ".join(lines_of_config(ROOT / "conf" / "experiment" / f"{name}.yaml")) for name in presets()}
    assert [name for name, said in heads.items() if f"experiment={name}" not in said.split()] == []


@pytest.mark.parametrize("page", [*PAGES, NEW_PAPER], ids=shown)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_files_that_are_named_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    top = "|".join(("conf", "docs", "examples", "paperzoo", "scripts", "tests"))
    named = re.findall(rf"(?<![\w/.-])((?:{top})/[\w/]+\.\w+)", text)
    beside = re.findall(r"`([\w/]+\.py)`", text) if page in (*CARDS, HOUSE) else []
    missing = [name for name in named if not (ROOT / name).exists() and name not in files(page)]
    places = (page.parent, ROOT, ROOT / "paperzoo")
    assert [*missing, *(name for name in beside if not any((place / name).is_file() for place in places))] == []


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_modules_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"python -m ([\w.]+)", page.read_text(encoding="utf-8"))
    assert [name for name in named if importlib.util.find_spec(name) is None] == []


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= README_LINES
    assert [shown(page) for page in [*DOCS, *CARDS] if f"]({shown(page)})" not in text] == []


def mistakes() -> list[tuple[str, list[str]]]:
    """The commands that a page shows with what they answer."""
    sessions = chain.from_iterable(block.split("$ python train.py ")[1:] for block in blocks(MISTAKES, "text"))
    pairs = (session.strip().partition("\n") for session in sessions)
    return [(command, said.splitlines()) for command, _, said in pairs]


@pytest.mark.parametrize(("command", "said"), mistakes(), ids=[command for command, _ in mistakes()])
def test_mistakes_are_answered_as_the_page_shows(
    command: str, said: list[str], run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_images").mkdir()
    Image.new("RGB", (64, 64)).save("my_images/one.png")
    with pytest.raises(UserError) as caught:
        run_job(*shlex.split(command), f"data_root={tmp_path}")
    answer = "\n".join(f"paperzoo: {problem}" for problem in caught.value.problems).splitlines()
    for line, shown_line in zip(answer, said, strict=False):
        assert line.startswith(shown_line.removesuffix("...")) if shown_line.endswith("...") else line == shown_line


def test_the_data_set_of_the_page_is_one(search_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("paperzoo.data.images.grains")
    code = files(OWN_DATA)["paperzoo/data/images/grains.py"]
    exec(compile(code, "grains.py", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(paperzoo.data.images, "grains", module, raising=False)
    raw = tmp_path / "grains" / "raw"
    raw.mkdir(parents=True)
    draw = np.random.default_rng(0).integers
    photos, kinds = draw(256, size=(12, 64, 64)), draw(5, size=12)
    np.savez(raw / "grains.npz", train_photos=photos, train_kinds=kinds, test_photos=photos, test_kinds=kinds)
    node = plain(compose("train", ["model=glow", "data=grains", f"data_root={tmp_path}", search_path]).data)
    assert target_problems(node, "data") == []
    data = instantiate(node, "data")
    data.prepare_data()
    assert data.initial_batch(7).image.shape == (7, 1, 64, 64)
    assert data.names.classes[3] == "lava"
