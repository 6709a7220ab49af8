"""Tab completion in bash: groups, options, nested presets, keys, run folders, trained weights.

Hydra's own looks for `@hydra.main` in `train.py`, and completes one level of a group; so bash asks here instead.
Nothing is imported that takes longer than a second.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from paperzoo.choices import CONFIG_FOLDER, MODES, groups, options, presets, with_weights
from paperzoo.errors import UserError

Container = DictConfig | ListConfig
Complete = Callable[[list[str]], list[str]]

ACTIONS = ("install=bash", "uninstall=bash", "query=bash")
FLAGS = ("--cfg", "--config-dir", "--help", "--hydra-help", "--info", "--multirun", "--package", "--resolve")
AFTER_FLAG = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
PROGRAMS = ("paperzoo", "python", "python3")
PLAIN = re.compile(r"[\w./=@%:,+~\[\]-]*")  # what a shell takes as it stands; other names of files bash completes
OPEN_ENDS = ("=", ".", "/")  # after which more of the same word is to come

BASH = """\
_paperzoo() {
    local line="${COMP_LINE:0:COMP_POINT}" program=() typed kept choice
    case "${COMP_WORDS[0]##*/}" in
        paperzoo) program=("${COMP_WORDS[0]}") ;;
        python*)
            if [ "${COMP_WORDS[1]} ${COMP_WORDS[2]}" = "-m paperzoo" ]; then
                program=("${COMP_WORDS[@]:0:3}")
            elif grep -qs "paperzoo.cli" -- "${COMP_WORDS[1]}"; then
                program=("${COMP_WORDS[@]:0:2}")
            fi ;;
    esac
    COMPREPLY=()
    if [ "${#program[@]}" = 0 ] || [ "$COMP_CWORD" -lt "${#program[@]}" ]; then
        [ -z "$_PAPERZOO_BEFORE" ] || "$_PAPERZOO_BEFORE" "$@"
        return
    fi
    typed="${line##*[[:space:]]}"
    kept="${typed%"${typed##*["$COMP_WORDBREAKS"]}"}"  # bash replaces what is after it only
    while IFS= read -r choice; do
        [ -z "$choice" ] || COMPREPLY+=("${choice#"$kept"}")
    done < <(COMP_LINE="$line" PAPERZOO_WORDS="${#program[@]}" "${program[@]}" -sc query=bash 2>/dev/null)
}
_PAPERZOO_BEFORE=$(complete -p python 2>/dev/null | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p')
[ "$_PAPERZOO_BEFORE" != _paperzoo ] || _PAPERZOO_BEFORE=
"""


def answer(action: str, complete: Complete) -> str:
    """What `-sc ACTION` prints: code for bash to `eval`, or a candidate in each line.

    Args:
        action: one of `ACTIONS`.
        complete: adds to arguments what the command line leaves unsaid.
    """
    programs = " ".join(PROGRAMS)
    if action == "install=bash":
        return f"{BASH}complete -o nospace -o bashdefault -o default -F _paperzoo {programs}"
    if action == "uninstall=bash":
        return f"complete -r {programs}; unset -f _paperzoo; unset _PAPERZOO_BEFORE"
    found = query(os.environ.get("COMP_LINE", ""), int(os.environ.get("PAPERZOO_WORDS", 0)), complete)
    return "\n".join(found)


def query(line: str, program_words: int, complete: Complete) -> list[str]:
    """What the last word of a command line could become; a blank behind those that are whole."""
    try:
        words = shlex.split(line)[program_words:]
    except ValueError:  # a quotation mark is open
        return []
    word = "" if line[-1:].isspace() or not words else words.pop()
    found = candidates(word, words, lambda: composed(words, complete))
    matches = sorted({match for match in found if match.startswith(word) and PLAIN.fullmatch(match)})
    return [match if match.endswith(OPEN_ENDS) else f"{match} " for match in matches]


def candidates(word: str, before: list[str], config: Callable[[], Container]) -> Iterator[str]:
    """What may stand in the place of `word`, behind the words `before`, which compose `config`."""
    if before and before[-1] in AFTER_FLAG:
        yield from AFTER_FLAG[before[-1]]
    elif word.startswith("-"):
        yield from FLAGS
    elif "=" in word:
        key, value = word.split("=", 1)
        yield from (f"{key}={match}" for match in values(key.lstrip("+"), value, config))
    else:
        prefix = word[: len(word) - len(word.lstrip("+~"))]
        found = [*(f"{group}=" for group in groups()), *keys(config(), word[len(prefix) :])]
        yield from _to_next(word, (prefix + match for match in found))


def values(key: str, value: str, config: Callable[[], Container]) -> Iterator[str]:
    """What may stand behind `key=`; of a list, `a,b` or `[a,b`, its last member."""
    if key in ("resume", "checkpoint"):
        yield from run_folders(value, with_files=key == "checkpoint")
        if key == "checkpoint":
            yield from _to_next(value, (f"pretrained/{name}" for name in with_weights()))
    elif key == "mode":
        yield from MODES
    elif key in groups():
        member = re.split(r"[,\[]", value)[-1]
        done = value.removesuffix(member)
        names = presets() if key == "experiment" else options(key)
        yield from (done + match for match in _to_next(member, names))
    else:
        yield from current(OmegaConf.select(config(), key, throw_on_resolution_failure=False))


def current(value: Any) -> Iterator[str]:
    """The value that a key has now, and the other one of a yes or no."""
    if isinstance(value, bool):
        yield from ("true", "false")
    elif isinstance(value, int | float | str):
        yield str(value)


def keys(config: Container, word: str) -> Iterator[str]:
    """The keys at the level of `word`: `model.depth=`, or `model.optimizer.` where more are below."""
    above = word.rpartition(".")[0]
    node = OmegaConf.select(config, above, throw_on_resolution_failure=False) if above else config
    if isinstance(node, DictConfig):
        for name, value in node.items_ex(resolve=False):
            has_more = isinstance(value, DictConfig) and not (value._is_none() or value._is_interpolation())
            yield f"{above}{'.' if above else ''}{name!s}{'.' if has_more else '='}"


def composed(before: list[str], complete: Complete) -> Container:
    """The config of what was typed so far, or of the run that is named there; empty if it makes none."""
    typed = [re.sub(r"=([^,\[{'\"]*),.*", r"=\1", word) for word in before if not word.startswith("-")]
    typed = [re.sub(r"^checkpoint=pretrained/", "experiment=", word) for word in typed]
    typed = [re.sub(r"^checkpoint=", "resume=", word) for word in typed]  # the run's choices; reads no weights
    try:
        with hydra.initialize_config_dir(str(CONFIG_FOLDER)):
            return hydra.compose("train", [word for word in complete(typed) if not word.startswith("hydra.")])
    except (UserError, HydraException, OmegaConfBaseException, ValueError, OSError):
        return OmegaConf.create()


def run_folders(value: str, *, with_files: bool) -> Iterator[str]:
    """The folders below the one that was typed, a slash behind those that are no run; checkpoints too if wanted."""
    above = value.rpartition("/")[0] + "/" if "/" in value else ""
    for path in Path(above or ".").expanduser().glob("*"):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield f"{above}{path.name}" if (path / ".hydra").is_dir() else f"{above}{path.name}/"
        elif with_files and path.suffix == ".ckpt":
            yield f"{above}{path.name}"


def _to_next(word: str, matches: Iterable[str]) -> Iterator[str]:
    """The matches of `word`, each as far as its next slash, as folders are completed."""
    for match in matches:
        if match.startswith(word):
            further = match.find("/", len(word))
            yield match if further < 0 else match[: further + 1]
