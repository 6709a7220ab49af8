"""Amazon reviews, and their mSDA, from small files in the official format."""

import bz2
import itertools
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paperzoo.batches import HIDDEN, SOURCE, TARGET, DomainVectors
from paperzoo.config import instantiate
from paperzoo.data.domains import amazon, msda
from paperzoo.data.domains.amazon import AMAZON, COUNTS, Amazon, SideBySide, msda_set
from paperzoo.data.prepared import importing
from paperzoo.data.prepared.cache import checksums
from paperzoo.errors import UserError
from paperzoo.runner.check import target_problems
from tests.data.test_configs import composed

PRODUCTS = ("books", "dvd", "electronics", "kitchen")
SIZES = {"train": 20, "test": 10}


def write_reviews(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The eight files with a few reviews each; counts and labels by name."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    written = {}
    for products, (part, size) in itertools.product(PRODUCTS, SIZES.items()):
        counts = np.zeros((size, COUNTS), dtype=np.uint8)
        lines = []
        for row in counts:
            features = np.sort(generator.choice([0, 1, 2, 3, COUNTS - 1], 3, replace=False))
            row[features] = generator.integers(1, 90, 3)
            pairs = " ".join(f"{feature}:{row[feature]}" for feature in features)
            lines.append(f"{'1' if len(lines) % 2 else '-1'} {pairs}\n")
        (folder / f"{products}_{part}.svmlight").write_text("".join(lines))
        written[f"{products}_{part}"] = counts, np.arange(size) % 2
    return written


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the files in a folder the official ones."""

    def trust_files(folder: Path) -> None:
        digests = {source: checksums(folder / source.file, "sha256")["sha256"] for source in AMAZON.sources}
        sources = tuple(replace(source, checksum=f"sha256:{digest}") for source, digest in digests.items())
        trusted = replace(AMAZON, sources=sources)
        monkeypatch.setattr(amazon, "AMAZON", trusted)

    return trust_files


@pytest.fixture
def written(data_root: Path, trust: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reviews where the project looks for official files."""
    reviews = write_reviews(data_root / "amazon/raw")
    trust(data_root / "amazon/raw")
    return reviews


def node(data_root: Path, **changes: Any) -> dict[str, Any]:
    return composed("amazon", data_root) | {"download": False, "batch_size": 4, "eval_batch_size": 7} | changes


def reviews(data_root: Path, **changes: Any) -> Amazon:
    data = instantiate(node(data_root, **changes))
    data.prepare_data()
    data.setup()
    return data


def pack(folder: Path) -> None:
    for path in folder.glob("*.svmlight"):
        path.with_name(f"{path.name}.bz2").write_bytes(bz2.compress(path.read_bytes()))
        path.unlink()


def test_counts_and_labels_are_those_of_the_files(data_root: Path, written: Any) -> None:
    data = reviews(data_root, source="books", target="dvd")
    for domain, products in {SOURCE: "books", TARGET: "dvd"}.items():
        test = data.domains[domain].test
        values, labels = test[torch.arange(len(test))]
        counts, expected = written[f"{products}_test"]
        assert values.dtype == torch.float32
        np.testing.assert_array_equal(values.numpy(), counts)
        np.testing.assert_array_equal(labels.numpy(), expected)


def test_a_tenth_of_each_domain_is_held_out_of_training(data_root: Path, written: Any) -> None:
    data = reviews(data_root, source="kitchen", target="books")
    for domain, products in {SOURCE: "kitchen", TARGET: "books"}.items():
        train, val = data.domains[domain].train, data.domains[domain].val
        assert (len(train), len(val)) == (18, 2)
        assert train.rows is not None
        assert val.rows is not None
        assert sorted(torch.cat([train.rows, val.rows]).tolist()) == list(range(20))
        counts, labels = written[f"{products}_train"]
        values, held_labels = val[torch.arange(2)]
        np.testing.assert_array_equal(values.numpy(), counts[val.rows.numpy()])
        np.testing.assert_array_equal(held_labels.numpy(), labels[val.rows.numpy()])


def test_nothing_held_out_validates_on_the_test_reviews(data_root: Path, written: Any) -> None:
    domain = reviews(data_root, validation_fraction=0).domains[TARGET]
    assert len(domain.train) == 20
    assert domain.val is domain.test


def test_a_held_out_share_that_leaves_nothing_is_refused(data_root: Path, written: Any) -> None:
    with pytest.raises(UserError, match=r"validation_fraction=0\.99: it leaves none of the 20 training items of books"):
        reviews(data_root, validation_fraction=0.99)


def test_batches_are_source_then_target_and_hide_the_targets_labels(data_root: Path, written: Any) -> None:
    data = reviews(data_root)
    for batch in data.train_dataloader():
        assert isinstance(batch, DomainVectors)
        assert batch.vector.shape == (8, COUNTS)
        assert batch.domain.tolist() == [SOURCE] * 4 + [TARGET] * 4
        assert (batch.label[4:] == HIDDEN).all()
    tested = list(data.test_dataloader())
    assert torch.cat([batch.domain for batch in tested]).tolist() == [SOURCE] * 10 + [TARGET] * 10
    assert torch.cat([batch.label for batch in tested]).min() == 0


def test_files_compressed_by_bzip2_are_the_same_set(data_root: Path, written: Any) -> None:
    pack(data_root / "amazon/raw")
    assert target_problems(node(data_root), "data") == []
    values, _ = reviews(data_root).domains[SOURCE].test[torch.arange(10)]
    np.testing.assert_array_equal(values.numpy(), written["books_test"][0])


def test_a_damaged_file_is_named(data_root: Path, written: Any) -> None:
    path = data_root / "amazon/raw/dvd_test.svmlight"
    path.write_text(path.read_text().replace("-1 ", "1 ", 1))
    with pytest.raises(UserError, match=r"dvd_test\.svmlight: its sha256 checksum is"):
        reviews(data_root)


def test_a_damaged_compressed_file_is_named(data_root: Path, written: Any) -> None:
    pack(data_root / "amazon/raw")
    path = data_root / "amazon/raw/dvd_test.svmlight.bz2"
    content = path.read_bytes()
    path.write_bytes(content[:-8])
    with pytest.raises(UserError, match=r"dvd_test\.svmlight\.bz2: damaged or cut short"):
        reviews(data_root)
    path.write_bytes(bz2.compress(b"1 0:1\n"))
    with pytest.raises(UserError, match=r"bz2: holds another file than the official dvd_test\.svmlight"):
        reviews(data_root)


def test_a_file_with_features_beyond_the_last_is_refused(data_root: Path, written: Any, trust: Any) -> None:
    (data_root / "amazon/raw/dvd_test.svmlight").write_text("1 5000:1\n")
    trust(data_root / "amazon/raw")
    with pytest.raises(UserError, match=r"dvd_test\.svmlight: not an svmlight file of 5000 features"):
        reviews(data_root)


def test_files_are_imported_from_any_folder(tmp_path: Path, data_root: Path, trust: Any) -> None:
    written = write_reviews(tmp_path / "official")
    trust(tmp_path / "official")
    pack(tmp_path / "official")
    importing.import_folder("amazon", tmp_path / "official", str(data_root))
    values, _ = reviews(data_root).domains[TARGET].test[torch.arange(10)]
    np.testing.assert_array_equal(values.numpy(), written["dvd_test"][0])


def test_what_is_missing_is_said_before_anything_is_built(data_root: Path, written: Any) -> None:
    (data_root / "amazon/raw/kitchen_test.svmlight").unlink()
    (problem,) = target_problems(node(data_root), "data")
    assert "kitchen_test.svmlight is missing" in problem
    assert f"put it into {data_root / 'amazon/raw'}" in problem
    assert "import_data.py amazon FOLDER" in problem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "books"}, "data.target=books: that is the source"),
        ({"target": "toys"}, "data.target=toys: should be 'books', 'dvd', 'electronics' or 'kitchen'"),
        ({"features": "msda"}, "data.facts.vector_size=5000: it is 30000 in these data"),
        ({"facts": {"num_classes": 5}}, "data.facts.num_classes=5: it is 2 in these data"),
        ({"validation_fraction": 1}, "data.validation_fraction=1"),
    ],
)
def test_mistakes_are_named(data_root: Path, written: Any, changes: dict[str, Any], message: str) -> None:
    (problem,) = target_problems(node(data_root, **changes), "data")
    assert problem.startswith(message)


def test_workers_are_sent_the_place_of_the_reviews_instead_of_their_contents(data_root: Path, written: Any) -> None:
    values = reviews(data_root).domains[SOURCE].train.values
    assert isinstance(values, SideBySide)
    index = torch.arange(3)
    expected = values[index]
    assert len(pickle.dumps(values)) < 1000
    assert torch.equal(pickle.loads(pickle.dumps(values))[index], expected)
    assert torch.equal(values.to(torch.device("cpu"))[index], expected)


def corruptions(features: int) -> np.ndarray:
    """Every way to set some of the features to zero; the constant stays."""
    return np.array([[*kept, 1] for kept in itertools.product([0, 1], repeat=features)])


def test_expected_moments_are_the_means_over_all_corruptions() -> None:
    items = np.random.default_rng(0).normal(size=(4, 3))
    biased = np.hstack([items, np.ones((4, 1))])
    masks, corruption = corruptions(3), 0.3
    probability = np.prod(np.where(masks[:, :3] == 1, 1 - corruption, corruption), axis=1)
    corrupted = masks[:, None, :] * biased
    second, cross = msda.expected_moments(biased.T @ biased, corruption)
    np.testing.assert_allclose(second, np.einsum("m,mni,mnj->ij", probability, corrupted, corrupted))
    np.testing.assert_allclose(cross, np.einsum("m,mni,nj->ij", probability, corrupted, items))


def test_the_closed_form_is_the_least_squares_solution_over_many_corrupted_copies() -> None:
    generator = np.random.default_rng(0)
    items = generator.normal(size=(30, 4)) @ generator.normal(size=(4, 4)) + 1
    copies = np.repeat(items, 20_000, axis=0)
    corrupted = np.hstack([copies * (generator.random(copies.shape) < 0.5), np.ones((len(copies), 1))])
    expected = np.linalg.lstsq(corrupted, copies, rcond=None)[0].T
    np.testing.assert_allclose(msda.denoiser(items, 0.5, ridge=0), expected, atol=0.02)


def test_without_corruption_items_are_restored_exactly() -> None:
    items = np.random.default_rng(0).normal(size=(50, 4))
    weights = msda.denoiser(items, 0, ridge=0)
    np.testing.assert_allclose(weights, np.eye(4, 5), atol=1e-9)
    np.testing.assert_allclose(msda.hidden(items, weights), np.tanh(items))


def test_a_feature_that_never_occurs_stays_0() -> None:
    items = np.random.default_rng(0).random((20, 3))
    items[:, 1] = 0
    weights = msda.denoiser(items)
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights[1], 0, atol=1e-9)
    np.testing.assert_allclose(weights[:, 1], 0, atol=1e-9)


@pytest.fixture
def few_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reviews of 6 features: nobody wants to wait for the layers of 5,000."""
    monkeypatch.setattr(amazon, "COUNTS", 6)
    monkeypatch.setattr("tests.data.domains.test_amazon.COUNTS", 6)
    monkeypatch.setitem(amazon.VECTOR_SIZES, "msda", 36)


def test_msda_puts_five_hidden_layers_beside_the_counts(few_features: None, request: Any, data_root: Path) -> None:
    written = request.getfixturevalue("written")
    data = reviews(data_root, source="dvd", target="books", features="msda")
    hidden = {name: counts.astype(float) for name, (counts, _) in written.items()}
    expected = [hidden["books_test"]]
    for _ in range(5):
        weights = msda.denoiser(np.concatenate([hidden["dvd_train"], hidden["books_train"]]), 0.5, 1e-5)
        hidden = {name: np.tanh(items @ weights[:, :-1].T + weights[:, -1]) for name, items in hidden.items()}
        expected.append(hidden["books_test"])
    values, _ = data.domains[TARGET].test[torch.arange(10)]
    np.testing.assert_allclose(values.numpy(), np.concatenate(expected, axis=1), atol=2e-3)


def test_msda_is_made_once_for_both_directions(few_features: None, request: Any, data_root: Path) -> None:
    request.getfixturevalue("written")
    reviews(data_root, source="dvd", target="books", features="msda")
    pairs = ("dvd", "books"), ("books", "dvd")
    there, back = (msda_set(*pair, str(data_root)).cache(str(data_root)) for pair in pairs)
    assert there.folder == back.folder
    assert back.is_prepared


@pytest.mark.real_data
def test_the_real_reviews_are_balanced_and_of_the_published_number() -> None:
    root = os.environ.get("PAPERZOO_DATA")
    if root is None or not AMAZON.cache(root).is_prepared:
        pytest.skip("Amazon reviews are not prepared in PAPERZOO_DATA")
    cache = AMAZON.cache(root)
    tested = {"books": 4465, "dvd": 3586, "electronics": 5681, "kitchen": 5945}
    for products, size in tested.items():
        assert cache.shape(f"{products}_train_vectors") == (2000, 5000)
        assert cache.shape(f"{products}_test_vectors") == (size, 5000)
        assert cache.open(f"{products}_train_labels").sum() == 1000
