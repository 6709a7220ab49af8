"""Person re-identification: official folders, pairs of one person in a batch, probes and galleries."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from paperzoo.batches import HIDDEN, SOURCE, TARGET, PersonImages
from paperzoo.data.domains.person_sets import GALLERY, PROBE, PUBLISHED
from paperzoo.data.domains.persons import PersonPairs
from paperzoo.data.images.augmentation import RandomFlip
from paperzoo.errors import UserError
from paperzoo.runner.check import target_problems
from tests.data.test_configs import composed

MakePairs = Callable[..., PersonPairs]


def shade(path: Path, value: int, size: tuple[int, int] = (48, 128)) -> None:
    """A picture of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


@pytest.fixture
def make_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MakePairs:
    """Small sets: 7 persons of VIPeR; 6 shared ones of PRID, 2 more in camera a, 5 in camera b; 3 and 2 of CUHK."""
    viper, prid, cuhk = (tmp_path / name / "raw" for name in ("viper", "prid", "cuhk"))
    for person in range(7):
        shade(viper / f"VIPeR/cam_a/{11 * person:03}_45.bmp", person)
        shade(viper / f"VIPeR/cam_b/{11 * person:03}_90.bmp", 100 + person)
    for camera, numbers, brightness in (("cam_a", range(195, 203), 0), ("cam_b", range(195, 206), 100)):
        for number in numbers:
            path = prid / f"prid_2011/single_shot/{camera}/person_{number:04}.png"
            shade(path, number - 195 + brightness, (64, 128))
    for pair, count in (("P1", 3), ("P2", 2), ("P3", 1), ("P4", 1), ("P5", 1)):
        for person, camera, shot in product(range(count), (1, 2), (1, 2)):
            path = cuhk / f"Dataset/{pair}/cam{camera}/{person + 1:03}_{shot}.png"
            shade(path, 10 * person + 100 * (camera - 1) + shot, (60, 160))
    sizes = {"viper": (7, 7, 7), "prid": (8, 11, 6), "cuhk": (8, 8, 8), "cuhk_p1": (3, 3, 3)}
    for name, size in sizes.items():
        monkeypatch.setitem(PUBLISHED, name, replace(PUBLISHED[name], persons=size))

    def make(**changes: Any) -> PersonPairs:
        arguments = {
            "data_root": str(tmp_path),
            "seed": 0,
            "source": "viper",
            "target": "prid",
            "split": 0,
            "batch_size": 4,
            "eval_batch_size": 3,
            "batches_per_epoch": None,
            "validation_fraction": 0,
            "augment": [],
            "workers": 0,
            "device_resident": False,
        } | changes
        assert list(PersonPairs.check(**arguments)) == []
        data = PersonPairs(**arguments)
        data.prepare_data()
        data.setup()
        return data

    return make


def together(batches: Any) -> PersonImages:
    return PersonImages(*map(torch.cat, zip(*batches, strict=True)))


def test_the_published_sizes_are_those_of_the_paper() -> None:
    assert PUBLISHED["prid"].persons == (385, 749, 200)
    assert PUBLISHED["viper"].persons == (632, 632, 632)
    assert PUBLISHED["cuhk_p1"].persons[2] == 971
    assert 749 - 100 == 649 == 100 + 749 - 200


def test_source_pictures_come_in_pairs_of_one_person_before_both_cameras(make_pairs: MakePairs) -> None:
    batches = list(make_pairs().train_dataloader())
    assert len(batches) == 3  # 7 persons, 2 in a batch
    for batch in batches:
        source = batch.domain == SOURCE
        assert source.tolist() == 4 * [True] + 4 * [False]
        person, camera, grey = batch.person[source], batch.camera[source], batch.image[source][:, 0, 0, 0]
        assert torch.equal(person[::2], person[1::2])
        assert person[0] != person[2]
        assert camera.tolist() == [PROBE, GALLERY, PROBE, GALLERY]
        assert torch.equal(grey.long(), person + 100 * camera)
    seen = together(batches).person
    assert len(seen[seen != HIDDEN].unique()) == 6


def test_the_target_is_trained_on_half_of_the_shared_persons_without_identities(make_pairs: MakePairs) -> None:
    data = make_pairs(batches_per_epoch=6)
    batch, test = together(data.train_dataloader()), together(data.predict_dataloader())
    target = batch.domain == TARGET
    assert (batch.person[target] == HIDDEN).all()
    trained, tested = (set(images[:, 0, 0, 0].tolist()) for images in (batch.image[target], test.image))
    assert len(trained) == 6
    assert not trained & tested
    assert {grey % 100 for grey in trained} <= set(range(6))


def test_probes_are_half_of_the_shared_persons_and_strangers_are_in_the_gallery_only(make_pairs: MakePairs) -> None:
    data = make_pairs()
    test = together(data.predict_dataloader())
    probes, gallery = test.person[test.camera == PROBE], test.person[test.camera == GALLERY]
    assert len(probes) == 3
    assert len(gallery) == 3 + 5
    assert set(probes.tolist()) < set(gallery.tolist())
    # persons 201 and up of PRID's two cameras have nothing in common but their numbers
    greys = test.image[:, 0, 0, 0][test.camera == GALLERY]
    assert set(range(106, 111)) <= set(greys.tolist())
    assert not {6, 7} & set(test.image[:, 0, 0, 0][test.camera == PROBE].tolist())
    assert len(data.item_names()) == len(test.person)
    assert data.item_names()[0].startswith("prid_2011/single_shot/cam_a/person_0")


def test_evaluation_gives_the_source_then_the_target_with_identities(make_pairs: MakePairs) -> None:
    data = make_pairs()
    for loader, probes in ((data.val_dataloader(), 3), (data.test_dataloader(), 3)):
        batch = together(loader)
        assert batch.domain.tolist() == sorted(batch.domain.tolist())
        assert (batch.person != HIDDEN).all()
        assert ((batch.domain == TARGET) & (batch.camera == PROBE)).sum() == probes
        assert (batch.domain == SOURCE).sum() == 14
    val, test = (together(loader) for loader in (data.val_dataloader(), data.test_dataloader()))
    assert not set(val.person[val.domain == TARGET].tolist()) & set(test.person[test.domain == TARGET].tolist())


def test_persons_held_out_of_the_source_are_not_trained_on(make_pairs: MakePairs) -> None:
    data = make_pairs(validation_fraction=0.3, batches_per_epoch=8)
    train, val = together(data.train_dataloader()), together(data.val_dataloader())
    trained, held = (set(batch.person[batch.domain == SOURCE].tolist()) for batch in (train, val))
    assert len(held) == 2
    assert trained | held == set(range(7))
    assert not trained & held


def test_another_split_tests_on_other_persons_and_the_seed_does_not(make_pairs: MakePairs) -> None:
    def probes(**changes: int) -> set[int]:
        test = together(make_pairs(**changes).predict_dataloader())
        return set(test.person[test.camera == PROBE].tolist())

    assert probes() == probes(seed=1)
    assert len({frozenset(probes(split=number)) for number in range(6)}) > 1


def test_every_picture_of_a_person_takes_its_turn(make_pairs: MakePairs) -> None:
    data = make_pairs(source="cuhk", target="viper", batches_per_epoch=24)
    batch = together(data.train_dataloader())
    shots = {
        (int(p), int(i[0, 0, 0]))
        for p, i, d in zip(batch.person, batch.image, batch.domain, strict=True)
        if d == SOURCE
    }
    assert len(shots) == 8 * 4
    source = batch.person[batch.domain == SOURCE]
    assert torch.equal(source[::2], source[1::2])


def test_the_first_pair_of_cuhk02_is_cuhk01(make_pairs: MakePairs, tmp_path: Path) -> None:
    def pictures() -> np.ndarray:
        data = make_pairs(target="cuhk_p1")
        return together(data.predict_dataloader()).image.numpy()

    expected = pictures()
    for path in (tmp_path / "cuhk/raw/Dataset/P1").rglob("*.png"):
        person, shot = path.stem.split("_")
        number = int(shot) + 2 * (path.parent.name == "cam2")
        shade(tmp_path / "other/cuhk/raw/campus" / f"0{person}{number:03}.png", Image.open(path).getpixel((0, 0))[0])
    (tmp_path / "other/viper").symlink_to(tmp_path / "viper")
    found = together(make_pairs(target="cuhk_p1", data_root=str(tmp_path / "other")).predict_dataloader())
    np.testing.assert_array_equal(found.image, expected)
    assert len(found.person) == 2 * 4


def test_an_incomplete_set_is_refused(make_pairs: MakePairs, tmp_path: Path) -> None:
    (tmp_path / "viper/raw/VIPeR/cam_b/011_90.bmp").unlink()
    with pytest.raises(UserError, match=r"13 pictures of 7, 6 and 6 persons; VIPeR has 7 persons"):
        make_pairs()


def test_missing_sets_are_named_with_their_place_and_page(tmp_path: Path) -> None:
    found = target_problems(composed("persons", tmp_path), "data")
    assert len(found) == 2
    viper, prid = sorted(found, reverse=True)
    assert f"{tmp_path}/viper/raw/VIPeR/cam_a is missing" in viper
    assert f"{tmp_path}/prid/raw/prid_2011/single_shot/cam_a is missing" in prid
    assert "https://www.tugraz.at" in prid


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.target=viper"], "data.target=viper: shares its persons with data.source=viper"),
        (["data.source=cuhk", "data.target=cuhk_p1"], "data.target=cuhk_p1: shares its persons"),
        (["data.source=market"], "data.source=market: should be 'viper', 'prid', 'cuhk' or 'cuhk_p1'"),
        (["data.batch_size=5"], "data.batch_size=5: should be a multiple of 2"),
        (["data.validation_fraction=1"], "data.validation_fraction=1: should be less than 1"),
    ],
)
def test_what_cannot_be_is_a_problem(make_pairs: MakePairs, tmp_path: Path, overrides: list[str], message: str) -> None:
    found = target_problems(composed("persons", tmp_path, *overrides), "data")
    assert len(found) == 1
    assert found[0].startswith(message), found


def test_the_initial_batch_is_the_same_every_time(make_pairs: MakePairs) -> None:
    first, again = (make_pairs(augment=[RandomFlip()]).initial_batch(4) for _ in range(2))
    assert torch.equal(first.image, again.image)
    assert first.domain.tolist() == 4 * [SOURCE] + 4 * [TARGET]


def test_pictures_on_the_device_are_the_same(make_pairs: MakePairs) -> None:
    device = torch.device("cpu")
    here, there = make_pairs(), make_pairs(device_resident=True)
    for part in ("train", "val", "test", "predict"):
        for batch, deferred in zip(here.loader(part), there.loader(part), strict=True):
            moved = there.transfer_batch_to_device(deferred, device, 0)
            assert all(torch.equal(a, b) for a, b in zip(batch, moved, strict=True))
