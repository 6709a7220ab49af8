"""Person re-identification between two cameras: VIPeR, PRID 2011, CUHK (Ganin et al. 2016, section 5.2.6)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Lt, MultipleOf
from jaxtyping import Int64
from PIL import Image
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.utils.data import Dataset

from paperzoo.batches import HIDDEN, SOURCE, TARGET, PersonImages
from paperzoo.data import augmentation
from paperzoo.data.base import BatchLoader, BatchOrder, PaperData, RunOrder, stream_seed
from paperzoo.data.cache import ArrayWriter
from paperzoo.data.decoding import Picture, append_decoded, decode, pixels, read_files
from paperzoo.data.domains import Index, PairIndex, PairOrder
from paperzoo.data.image_domains import StoredImages
from paperzoo.data.splits import hold_out
from paperzoo.data.unpacked import UnpackedSet, find_place
from paperzoo.errors import UserError

SHAPE = (3, 128, 48)
PROBE, GALLERY = 0, 1

Rows = Int64[Tensor, " _"]
Persons = Int64[Tensor, " person"]
SetName = Literal["viper", "prid", "cuhk", "cuhk_p1"]


class Shot(NamedTuple):
    """A picture of somebody."""

    person: str
    camera: int
    path: Path


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in (".bmp", ".png"))


def find_viper(cam_a: Path) -> list[Shot]:
    """`cam_a/000_45.bmp` and `cam_b/000_90.bmp`: the number of the person, then the angle."""
    return [
        Shot(path.stem.split("_")[0], camera, path)
        for camera, folder in enumerate((cam_a, cam_a.with_name("cam_b")))
        for path in _pictures(folder)
    ]


def find_prid(cam_a: Path) -> list[Shot]:
    """`cam_a/person_0001.png`, `cam_b/person_0001.png`: the same person up to 200, different ones above."""
    shots = []
    for camera, folder in enumerate((cam_a, cam_a.with_name("cam_b"))):
        for path in _pictures(folder):
            number = path.stem.removeprefix("person_")
            shots.append(Shot(number if number <= "0200" else f"{folder.name}/{number}", camera, path))
    return shots


def find_cuhk(place: Path, pairs: tuple[str, ...]) -> list[Shot]:
    """CUHK02's `P1/cam1/001_1.png`, `P1/cam2/001_1.png`, ...: persons and pictures of five pairs of cameras.

    Or CUHK01, which is the first pair: `campus/0001001.png`, the number of the person, then 1 and 2 for the pictures of
    one camera, 3 and 4 for those of the other.
    """
    if place.name == "campus":
        return [Shot(path.stem[:4], int(path.stem[4:] > "002"), path) for path in _pictures(place)]
    return [
        Shot(f"{pair}/{path.stem.split('_')[0]}", camera, path)
        for pair in pairs
        for camera, folder in enumerate(("cam1", "cam2"))
        for path in _pictures(place.parent.with_name(pair) / folder)
    ]


@dataclass(frozen=True)
class Published:
    """What is known of a published set.

    Attributes:
        title: what it is called.
        page: where it is offered.
        places: where the first camera's pictures may lie.
        find: lists all pictures from that place.
        persons: how many the first camera sees, the second one, and both.
        shots: pictures of a person by a camera.
    """

    title: str
    page: str
    places: tuple[str, ...]
    find: Callable[[Path], list[Shot]]
    persons: tuple[int, int, int]
    shots: int = 1


_CUHK_PAGE = "https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html"

PUBLISHED: dict[SetName, Published] = {
    "viper": Published(
        "VIPeR", "https://vision.soe.ucsc.edu/node/178", ("VIPeR/cam_a", "cam_a"), find_viper, (632, 632, 632)
    ),
    "prid": Published(
        "PRID 2011",
        "https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/PRID11",
        ("prid_2011/single_shot/cam_a", "single_shot/cam_a", "cam_a"),
        find_prid,
        (385, 749, 200),
    ),
    "cuhk": Published(
        "CUHK02",
        _CUHK_PAGE,
        ("Dataset/P1/cam1", "P1/cam1"),
        partial(find_cuhk, pairs=("P1", "P2", "P3", "P4", "P5")),
        (1816, 1816, 1816),
        shots=2,
    ),
    "cuhk_p1": Published(
        "The first camera pair of CUHK02, or CUHK01",
        _CUHK_PAGE,
        ("Dataset/P1/cam1", "P1/cam1", "campus"),
        partial(find_cuhk, pairs=("P1",)),
        (971, 971, 971),
        shots=2,
    ),
}


def convert(files: Path, writer: ArrayWriter, name: SetName) -> None:
    """All pictures, scaled to 128 x 48: those of the persons that both cameras see come first, person by person.

    Raises:
        UserError: it is not the whole official set, or a picture cannot be read.
    """
    whole = PUBLISHED[name]
    place = find_place(files, whole.places)
    assert place is not None
    shots = whole.find(place)
    first, second = ({shot.person for shot in shots if shot.camera == camera} for camera in (PROBE, GALLERY))
    found = (len(first), len(second), len(first & second))
    if found != whole.persons or len(shots) != whole.shots * sum(found[:2]):
        expected = "{} persons from the first camera, {} from the second, {} from both".format(*whole.persons)
        raise UserError(
            f"{place}: {len(shots)} pictures of {found[0]}, {found[1]} and {found[2]} persons; {whole.title} has "
            f"{expected}, in {whole.shots} picture(s) each; unpack the official files again, from {whole.page}"
        )
    persons = [*sorted(first & second), *sorted(first - second), *sorted(second - first)]
    number = {person: index for index, person in enumerate(persons)}
    shots = sorted(shots, key=lambda shot: (number[shot.person], shot.camera, shot.path))
    append_decoded(writer, "images", read_files(shot.path for shot in shots), _decode)
    writer.append("persons", np.array([number[shot.person] for shot in shots], dtype=np.int64))
    writer.append("cameras", np.array([shot.camera for shot in shots], dtype=np.int64))
    writer.append("names", np.array([shot.path.relative_to(files).as_posix() for shot in shots]))
    shared = found[2]
    writer.append("views", np.arange(shared * 2 * whole.shots).reshape(shared, 2, whole.shots))


def _decode(name: str, content: bytes) -> Picture:
    _, height, width = SHAPE
    return pixels(decode(content, name, channels=3).resize((width, height), Image.Resampling.BILINEAR))


def person_set(name: SetName) -> UnpackedSet:
    whole = PUBLISHED[name]
    return UnpackedSet(
        f"persons/{name}",
        SHAPE,
        partial(convert, name=name),
        title=whole.title,
        page=whole.page,
        home="cuhk" if name == "cuhk_p1" else name,
        places=whole.places,
    )


class People:
    """A prepared set.

    Args:
        name: which.
        data_root: the folder for all data sets.

    Attributes:
        views: the rows of the pictures of each person that both cameras see.
    """

    def __init__(self, name: SetName, data_root: str) -> None:
        cache = person_set(name).cache(data_root)
        self.images = StoredImages(cache, "images")
        self.person = torch.from_numpy(np.array(cache.open("persons")))
        self.camera = torch.from_numpy(np.array(cache.open("cameras")))
        self.names = cache.open("names")
        self.views: Int64[Tensor, "person camera shot"] = torch.from_numpy(np.array(cache.open("views")))

    def batch(self, rows: Index, domain: int) -> PersonImages:
        return PersonImages(
            self.images[rows], self.person[rows], self.camera[rows], torch.full((len(rows),), domain, dtype=torch.long)
        )

    def split(self, number: int) -> tuple[Int64[Tensor, " training"], Int64[Tensor, " testing"]]:
        """Persons for training and for testing: the halves of those that both cameras see, drawn for this `number`."""
        shared = len(self.views)
        generator = torch.Generator().manual_seed(stream_seed("split of persons", shared, number))
        order = torch.randperm(shared, generator=generator)
        return order[: shared // 2].sort().values, order[shared // 2 :].sort().values

    def of(self, persons: Persons) -> Rows:
        """The pictures of persons that both cameras see."""
        return self.views[persons].flatten()

    def strangers(self) -> Rows:
        """The gallery's pictures of persons that the first camera does not see."""
        return ((self.camera == GALLERY) & (self.person >= len(self.views))).nonzero().flatten()


class PersonOrder(PairOrder):
    """Yields the pictures of one training batch after the other: rows of the source, places in the target's list.

    The source's come in pairs: a person's picture by the first camera, then one by the second, drawn anew for every
    pass over the persons.

    Args:
        views: the rows of the source's pictures.
        target: training pictures of the target.
        batch_size: pictures of each domain in a batch, on each rank; an even number.
        batches: batches that count as an epoch, on each rank; None: one pass over the source's persons.
        data: the DataModule.
    """

    def __init__(
        self,
        views: Int64[Tensor, "person camera shot"],
        target: int,
        batch_size: int,
        batches: int | None,
        data: PaperData,
    ) -> None:
        super().__init__(2 * len(views), target, batch_size, batches, data)
        self.views = views

    def _draw(self, domain: int, passes: int) -> Int64[Tensor, " picture"]:
        if domain == TARGET:
            return super()._draw(domain, passes)
        generator = torch.Generator().manual_seed(stream_seed(self.data.seed, "order", domain, passes))
        persons = torch.randperm(len(self.views), generator=generator)
        shots = torch.randint(self.views.shape[2], (len(persons), 2), generator=generator)
        return self.views[persons[:, None], torch.tensor([PROBE, GALLERY]), shots].flatten()


class TrainingPictures(Dataset[PersonImages]):
    """Batches of the source's pictures, then of the target's without identities.

    Args:
        source: gives its pictures by their rows.
        target: gives those in `rows`.
        rows: the target's training pictures.
    """

    def __init__(self, source: People, target: People, rows: Rows) -> None:
        self.source, self.target, self.rows = source, target, rows

    def __getitem__(self, index: PairIndex) -> PersonImages:
        source = self.source.batch(index.source, SOURCE)
        target = self.target.batch(self.rows[index.target], TARGET)
        target = target._replace(person=torch.full_like(target.person, HIDDEN))
        return PersonImages(*map(torch.cat, zip(source, target, strict=True)))


class EvaluationPictures(Dataset[PersonImages]):
    """Pictures of the source, then of the target, with identities; each domain gives those in its `rows`."""

    def __init__(self, people: dict[int, People], rows: dict[int, Rows]) -> None:
        self.people, self.rows = people, rows

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def __getitem__(self, index: Index) -> PersonImages:
        first = len(self.rows[SOURCE])
        places = {SOURCE: index[index < first], TARGET: index[index >= first] - first}
        parts = [self.people[domain].batch(self.rows[domain][place], domain) for domain, place in places.items()]
        return PersonImages(*map(torch.cat, zip(*parts, strict=True)))


class PersonPairs(PaperData):
    """Pictures of people by two cameras: a source with identities, and a target to which a descriptor is adapted.

    Half of the target's persons that both cameras see are trained on, without identities, the others tested on: their
    pictures by the first camera are the probes; those by the second are the gallery, together with the strangers that
    only the second camera sees. PRID: 100 for training, 100 probes, a gallery of 649. VIPeR: 316 and 316. CUHK/p1: 485
    and 486, two pictures each by either camera. The source is trained on with all persons that both cameras see but for
    those held out; that the paper does not train on half of them is uncertain.

    Validation and test give persons held out of the source, then of the target: in validation those trained on, whose
    identities training does not see, in the test the others and the strangers. Prediction gives the latter alone.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        seed: names the random streams.
        source: the set whose identities are known: viper, prid, cuhk (five pairs of cameras) or cuhk_p1 (the first).
        target: the set to adapt to.
        split: which of the random splits of the target's persons.
        batch_size: training pictures of each domain in a batch, on each device; an even number.
        eval_batch_size: pictures a batch in validation, test and prediction, on each device.
        batches_per_epoch: batches that count as an epoch; None: one pass over the source's persons.
        validation_fraction: share of the source's persons that is held out, the same ones in every run; 0 validates on
            those trained on.
        flip: training pictures are mirrored, left to right, half of the time.
        workers: processes that gather batches; 0 gathers them in the training process.
    """

    yields = PersonImages

    def __init__(
        self,
        data_root: str,
        seed: int,
        source: SetName,
        target: SetName,
        split: NonNegativeInt,
        batch_size: Annotated[int, Ge(2), MultipleOf(2)],
        eval_batch_size: PositiveInt,
        batches_per_epoch: PositiveInt | None,
        validation_fraction: Annotated[float | int, Ge(0), Lt(1)],
        flip: bool,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(workers, seed)
        self.data_root = data_root
        self.names: dict[int, SetName] = {SOURCE: source, TARGET: target}
        self.split = split
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.batches_per_epoch = batches_per_epoch
        self.validation_fraction = validation_fraction
        self.flip = flip
        self.people: dict[int, People] = {}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        source, target = arguments["source"], arguments["target"]
        if person_set(source).home == person_set(target).home:
            yield f"data.target={target}: shares its persons with data.source={source}; choose two different sets"
        for name in sorted({source, target}):
            yield from person_set(name).file_problems(arguments["data_root"], download=False)

    def prepare_data(self) -> None:
        """Prepares the arrays of both sets, once for all processes of the machine.

        Raises:
            UserError: missing, damaged or wrong files, no space.
        """
        for name in self.names.values():
            person_set(name).prepare(self.data_root, download=False)

    def setup(self, stage: str | None = None) -> None:
        if self.people:
            return
        if not all(person_set(name).cache(self.data_root).is_prepared for name in self.names.values()):
            self.prepare_data()
        self.people = {domain: People(name, self.data_root) for domain, name in self.names.items()}

    def train_dataloader(self) -> BatchLoader:
        return self._loader(self._training_pictures(), self._training_order())

    def val_dataloader(self) -> BatchLoader:
        return self._evaluation(self._held_out(), self._target_training())

    def test_dataloader(self) -> BatchLoader:
        return self._evaluation(self._held_out(), self._test_rows())

    def predict_dataloader(self) -> BatchLoader:
        return self._evaluation(torch.arange(0), self._test_rows())

    def _source_persons(self) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " held"]]:
        """Those that are trained on, and those that are validated on."""
        shared = len(self.people[SOURCE].views)
        kept, held = map(torch.from_numpy, hold_out(shared, round(self.validation_fraction * shared)))
        return kept, held if len(held) else kept

    def _held_out(self) -> Rows:
        _, persons = self._source_persons()
        return self.people[SOURCE].of(persons)

    def _target_training(self) -> Rows:
        train, _ = self.people[TARGET].split(self.split)
        return self.people[TARGET].of(train)

    def _training_pictures(self) -> TrainingPictures:
        return TrainingPictures(self.people[SOURCE], self.people[TARGET], self._target_training())

    def _training_order(self) -> PersonOrder:
        persons, _ = self._source_persons()
        views, target = self.people[SOURCE].views[persons], len(self._target_training())
        return PersonOrder(views, target, self.batch_size, self.batches_per_epoch, self)

    def _test_rows(self) -> Rows:
        target = self.people[TARGET]
        _, test = target.split(self.split)
        return torch.cat([target.of(test), target.strangers()])

    def _evaluation(self, source: Rows, target: Rows) -> BatchLoader:
        pictures = EvaluationPictures(self.people, {SOURCE: source, TARGET: target})
        return self._loader(pictures, BatchOrder(len(pictures), self.eval_batch_size, self, shuffle=False))

    def _loader(self, pictures: Dataset[PersonImages], order: RunOrder[Any]) -> BatchLoader:
        return BatchLoader(
            pictures,
            sampler=order,
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def initial_batch(self, size: int) -> PersonImages:
        """The first `size` training pictures of each domain in the order of epoch 0."""
        self.setup()
        order = self._training_order()
        index = PairIndex(*(order._order(domain, 0)[:size] for domain in (SOURCE, TARGET)))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(stream_seed(self.seed, "initial"))
            return self.augment(self._training_pictures()[index])

    def item_names(self) -> list[str]:
        self.setup()
        return [str(name) for name in self.people[TARGET].names[self._test_rows().numpy()]]

    def augment(self, batch: PersonImages) -> PersonImages:
        """Mirrors training pictures at random, as configured."""
        return batch._replace(image=augmentation.random_flip(batch.image)) if self.flip else batch
