"""Small files that would take a whole machine: each is named, and the others are answered."""

import io
import os
import resource
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from paperzoo import machine
from paperzoo.data.domains.class_folders import FolderDomain, in_tree
from paperzoo.data.images.latents import LatentFiles
from paperzoo.data.prepared import decoding, downloads
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.data.prepared.importing import import_folder
from paperzoo.data.prepared.plain_arrays import map_array
from paperzoo.data.questions.babi_stories import own_lines
from paperzoo.data.questions.clevr import OwnImages
from paperzoo.errors import UserError
from paperzoo.logic.dimacs import read_dimacs
from paperzoo.logic.sudoku_text import read_puzzles
from paperzoo.machine import GIB, Memory
from paperzoo.reporting.predictions import as_table, write_predictions
from paperzoo.text import read_bytes, read_text
from tests.attacks import start
from tests.hostile_files import ARRAYS, FORMULAS, NOT_TEXT, answered, npy, png, sparse

PUZZLE = "530070000600195000098000060800060003400803001700020006060000280000419005000080079"


def peak() -> int:
    """MiB that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.parametrize("name", FORMULAS)
def test_a_small_file_that_unpacks_to_or_claims_much_takes_little_and_is_named(name: str, tmp_path: Path) -> None:
    make, words = FORMULAS[name]
    make(tmp_path / name)
    before = peak()
    with pytest.raises(UserError) as caught:
        read_dimacs(tmp_path / name)
    (problem,) = caught.value.problems
    assert problem.startswith(str(tmp_path / name))
    assert words in problem
    assert peak() - before < 300


def test_a_formula_in_one_long_line_is_read(tmp_path: Path) -> None:
    count = 2_000_000
    (tmp_path / "line.cnf").write_bytes(b"p cnf 3 %d\n" % count + b"1 -2 0 " * count)
    formula = read_dimacs(tmp_path / "line.cnf")
    assert len(formula.lengths) == count
    assert (formula.lengths == 2).all()


def test_a_long_comment_is_none_of_the_formula(tmp_path: Path) -> None:
    (tmp_path / "comment.cnf").write_bytes(b"p cnf 3 2\n1 -2 0\nc " + b"1 0 " * 3_000_000 + b"\n3 0\n")
    assert read_dimacs(tmp_path / "comment.cnf").clauses() == [[1, -2], [3]]


def test_a_clause_that_repeats_its_literals_without_end_stays_small(tmp_path: Path) -> None:
    (tmp_path / "clause.cnf").write_bytes(b"p cnf 3 1\n" + b"1 -2 3 " * 3_000_000 + b"0\n")
    assert read_dimacs(tmp_path / "clause.cnf").clauses() == [[1, -2, 3]]


def test_what_is_larger_than_memory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse(tmp_path / "huge.txt")
    for read in (read_text, read_bytes, read_puzzles):
        with pytest.raises(UserError, match=r"huge\.txt: has 1024\.0 GiB or more, and this machine has memory for"):
            read(tmp_path / "huge.txt")
    (tmp_path / "small.txt").write_text(f"{PUZZLE}\n")
    assert len(read_puzzles(tmp_path / "small.txt").givens) == 1
    monkeypatch.setattr(machine, "memory_of", lambda _: Memory(GIB, 100))
    with pytest.raises(UserError, match="memory for 0 MiB of text"):
        read_text(tmp_path / "small.txt")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_a_device_without_end_is_not_read_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_of", lambda _: Memory(GIB, GIB))
    with pytest.raises(UserError, match=r"/dev/zero: has (64|80) MiB or more"):
        read_bytes(Path("/dev/zero"))


def test_a_line_without_end_among_puzzles_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(f"{PUZZLE}\n{'0' * (40 << 20)}\n{PUZZLE}\n")
    found = read_puzzles(tmp_path / "long.txt")
    assert found.lines.tolist() == [1, 3]
    (problem,) = found.problems
    assert "long.txt, line 2: " in problem


def test_one_long_sentence_does_not_make_all_others_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = tmp_path / "story.txt"
    story.write_text("1 Mary is bored.\n2 Why?\n" * 1000 + f"1 {'Mary ' * 500_000}.\n2 Why?\n")
    with pytest.raises(UserError, match=r"story\.txt:2001: 500000 words in a sentence; 1000 are read at most"):
        own_lines(story)
    story.write_text("1 Mary is bored.\n2 Why?\n" * 1000 + f"1 {'Mary ' * 1000}.\n2 Why?\n")
    assert len(own_lines(story)) == 2002
    monkeypatch.setattr(machine, "memory_of", lambda _: Memory(GIB, 1 << 24))
    with pytest.raises(UserError, match=r"story\.txt:2001: has 1000 words, and 2002 lines as long have no room"):
        own_lines(story)


# ---------------------------------------------------------------------- arrays and pictures


@pytest.mark.parametrize("content", ARRAYS.values(), ids=ARRAYS)
def test_an_array_is_what_its_header_claims_or_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "latents.npy"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"latents\.npy: not a readable \.npy file"):
        map_array(file)
    (problem,) = LatentFiles.check(path=str(file), image_shape=[1, 8, 8])
    assert "latents.npy" in problem


def test_arrays_that_are_right_are_read(tmp_path: Path) -> None:
    (tmp_path / "latents.npy").write_bytes(npy("(4, 4)"))
    assert np.array_equal(map_array(tmp_path / "latents.npy"), np.zeros((4, 4), dtype=np.float32))


def test_latents_that_do_not_fit_into_memory_are_named(tmp_path: Path) -> None:
    sparse(tmp_path / "latents.npy", 128 + 256 * (1 << 31), head=npy(f"({1 << 31}, 64)", b""))
    (problem,) = LatentFiles.check(path=str(tmp_path / "latents.npy"), image_shape=[1, 8, 8])
    assert "2147483648 rows take 1024.0 GiB of memory" in problem


def test_a_picture_without_room_in_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = png(5000)
    assert len(content) < 100_000
    assert decoding.decode(content, "large.png", 1).size == (5000, 5000)
    monkeypatch.setattr(decoding, "memory_of", lambda _: Memory(GIB, GIB))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(UserError, match=r"large\.png: .*5000 x 5000 pixels take 1\.0 GiB of memory, .* has 512 MiB"):
        decoding.decode(content, "large.png", 1)


# ---------------------------------------------------------------------- archives and names


def test_a_member_of_an_archive_that_does_not_fit_into_memory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "memory_of", lambda _: Memory(GIB, 1 << 24))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small.txt", b"small")
        archive.writestr("large.txt", bytes(1 << 25))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for name in ("small.txt", "large.txt"):
            member = tarfile.TarInfo(name)
            member.size = 5 if name == "small.txt" else 1 << 25
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    words = "refused, its member 'large.txt' has 32 MiB unpacked, and 16 MiB are free"
    with downloads.SafeZip(tmp_path / "a.zip") as safe:
        assert safe.read("small.txt") == b"small"
        with pytest.raises(UserError, match=words):
            safe.read("large.txt")
    with pytest.raises(UserError, match=words):
        list(downloads.tar_files(tmp_path / "a.tar.gz"))


@pytest.mark.parametrize("name", ["../mnist", "/etc/mnist", "a/../../mnist"])
def test_no_name_of_data_leads_out_of_the_data_root(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such data set"):
        import_folder(name, tmp_path, str(tmp_path / "data"))
    for names in ({"name": name}, {"name": "mine", "home": name}):
        with pytest.raises(ValueError, match="below the data root"):
            FileSet(convert=lambda *_: None, **names)
    result = start([f"data={name}"], tmp_path, {})
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- for real


@pytest.mark.slow
def test_each_such_formula_is_named_and_the_others_are_answered(tmp_path: Path) -> None:
    run = ["experiment=neurosat/sr_u3_10_laptop", "trainer=smoke", "threads=1", "hydra.run.dir=run"]
    assert start(run, tmp_path, {}).returncode == 0
    assert answered(tmp_path, tmp_path / "run") == ""


def test_names_that_are_no_text_are_shown_as_text(tmp_path: Path) -> None:
    garbled = os.fsdecode(b"caf\xe9")
    (tmp_path / garbled).mkdir()
    (tmp_path / garbled / f"{garbled}.png").write_bytes(png(8))
    assert in_tree(tmp_path)[0] == ("caf\\udce9",)
    (problem,) = FolderDomain.check(path=str(tmp_path))
    assert "caf\\udce9: the name of a class that is not UTF-8" in problem
    images = OwnImages(str(tmp_path), "Are there any cubes?", 0, 0, 1)
    assert images.item_names() == ["caf\\udce9/caf\\udce9.png"]
    (tmp_path / f"{garbled}.txt").write_text(f"{PUZZLE}\n")
    assert (
        write_predictions(tmp_path / "p.csv", as_table([garbled], [{"a": ["b"]}])).read_text()
        == "item,a\ncaf\\udce9,b\n"
    )


def test_an_argument_that_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    result = start(["data=image_folder", f"data.path={tmp_path}/{NOT_TEXT}"], tmp_path, {})
    assert result.returncode == 2
    assert "caf\\udce9.cnf: its name holds bytes that are not UTF-8" in result.stderr
    assert "Traceback" not in result.stderr
