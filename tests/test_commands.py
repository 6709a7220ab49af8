"""What a message tells to type: taken by bash and by Hydra's grammar, whatever the path."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from paperzoo.cli import CONFIG_FOLDER, complete_arguments
from paperzoo.runner.commands import resume_command

NAMES = [
    "plain-1.2_3", "lr=3", "two words", "it's", 'say "yes"', "a,b", "Bücher", "実験", "#1", "f(x)", "[1]", "{a: b}",
    "50%", "a&b; c", "x|y", "back\\slash", "$HOME", "${seed}", "a*?", "~me", "!bang", "tab\there", "null", "a:b", "-m",
    "end\\", "'quoted'", '"', "2024", "new\nline",
]  # fmt: skip
ARGUMENTS = """
import json, sys
print(json.dumps(sys.argv[1:]))
"""


def typed_into_bash(command: str, folder: Path) -> list[str]:
    """The arguments with which bash starts `python train.py` in `folder`."""
    assert command.startswith("python train.py ")
    (folder / "arguments.py").write_text(ARGUMENTS)
    command = command.replace("python train.py", f"{sys.executable} arguments.py", 1)
    result = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    arguments: list[str] = json.loads(result.stdout)
    return arguments


@pytest.mark.parametrize("name", NAMES)
def test_the_command_to_resume_names_the_folder_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(["data=digits"]))
    arguments = complete_arguments(typed_into_bash(resume_command(folder), tmp_path))
    assert "data=digits" in arguments
    with initialize_config_dir(str(CONFIG_FOLDER)):
        config = compose("train", arguments, return_hydra_config=True)
    assert config.resume == str(folder)
    assert config.hydra.run.dir == str(folder)


@pytest.mark.slow
def test_the_command_to_resume_resumes(tmp_path: Path) -> None:
    folder = tmp_path / """it's = "mine", (Käse) #1"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = CONFIG_FOLDER.parent
    first = [sys.executable, "train.py", "trainer=smoke", f"output_root={folder}"]
    subprocess.run(first, cwd=root, env=environment, capture_output=True, check=True)
    (run,) = (folder / "glow/digits_laptop").iterdir()
    command = resume_command(run).replace("python", sys.executable, 1)
    result = subprocess.run(
        ["bash", "-c", command], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "this run is finished" in result.stdout
