"""Person re-identification between two cameras (Ganin et al. 2016, section 5.2.6)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Int64, UInt8
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.batches import HIDDEN, SOURCE, TARGET, PersonImages
from paperzoo.data.base.items import ArrayItems, Gather, ItemSet, Rows
from paperzoo.data.base.module import PREDICT, TEST, TRAIN, VAL, ItemData, Loading
from paperzoo.data.base.order import RunOrder, hold_out
from paperzoo.data.domains.module import EvaluationItems, PairOrder, Share, TrainingPairs
from paperzoo.data.domains.person_sets import GALLERY, PROBE, SetName, person_set
from paperzoo.data.images.augmentation import ImageAugmentation
from paperzoo.data.prepared.cache import ArrayCache
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.data.prepared.stored import StoredArray
from paperzoo.datamodule import PaperData, stream_seed

Persons = Int64[Tensor, " person"]


class Shots(NamedTuple):
    """Some pictures of one domain; see `PersonImages`."""

    image: UInt8[Tensor, "batch 3 128 48"]
    person: Int64[Tensor, " batch"]
    camera: Int64[Tensor, " batch"]


class People:
    """A prepared set.

    Args:
        cache: where it is.

    Attributes:
        shots: all pictures.
        names: of the files of all pictures.
        views: the rows of the pictures of each person that both cameras see.
    """

    def __init__(self, cache: ArrayCache) -> None:
        self.person, self.camera = (StoredArray(cache, name).read() for name in ("persons", "cameras"))
        images: Gather = StoredArray(cache, "images")
        self.shots = ArrayItems(Shots, {"image": images, "person": self.person, "camera": self.camera})
        self.names = cache.open("names")
        self.views: Int64[Tensor, "person camera shot"] = StoredArray(cache, "views").read()

    @property
    def unidentified(self) -> ArrayItems:
        """All pictures, without identities."""
        hidden = torch.full_like(self.person, HIDDEN)
        return replace(self.shots, columns={**self.shots.columns, "person": hidden})

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


class PersonPairs(ItemData):
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
        source: the set whose identities are known: viper, prid, cuhk (five pairs of cameras) or cuhk_p1 (the first).
        target: the set to adapt to.
        split: which of the random splits of the target's persons.
        batches_per_epoch: batches that count as an epoch; None: one pass over the source's persons.
        validation_fraction: share of the source's persons that is held out, the same ones in every run; 0 validates on
            those trained on.
        augment: random changes of training batches, in this order.
        loading: see `ItemData`; `batch_size` is of each domain, an even number.
    """

    download = False  # they are offered on request only
    yields = PersonImages

    def __init__(
        self,
        data_root: str,
        source: SetName,
        target: SetName,
        split: NonNegativeInt,
        batches_per_epoch: PositiveInt | None,
        validation_fraction: Share,
        augment: Sequence[ImageAugmentation],
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(augment=augment, **loading)
        self.data_root = data_root
        self.sets: dict[int, SetName] = {SOURCE: source, TARGET: target}
        self.split = split
        self.batches_per_epoch = batches_per_epoch
        self.validation_fraction = validation_fraction
        self.people: dict[int, People] = {}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        source, target, size = (arguments[name] for name in ("source", "target", "batch_size"))
        if size % 2:
            yield f"batch_size={size}: should be a multiple of 2"
        if person_set(source).home == person_set(target).home:
            yield f"target={target}: shares its persons with data.source={source}; choose two different sets"
        for name in sorted({source, target}):
            yield from person_set(name).file_problems(arguments["data_root"], download=False)

    @property
    def file_sets(self) -> Sequence[FileSet]:
        return [person_set(name) for name in self.sets.values()]

    def load(self) -> Mapping[str, ItemSet]:
        self.people = {
            domain: People(person_set(name).prepared(self.data_root, download=False))
            for domain, name in self.sets.items()
        }
        source, target = self.people[SOURCE], self.people[TARGET]
        train, _ = target.split(self.split)
        held_out = source.shots.select(source.of(self._source_persons()[1]))
        test = target.shots.select(self._test_rows())
        return {
            TRAIN: TrainingPairs(source.shots, target.unidentified.select(target.of(train)), PersonImages),
            VAL: EvaluationItems(held_out, target.shots.select(target.of(train)), PersonImages),
            TEST: EvaluationItems(held_out, test, PersonImages),
            PREDICT: EvaluationItems(source.shots.select(torch.arange(0)), test, PersonImages),
        }

    def _source_persons(self) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " held"]]:
        """Those that are trained on, and those that are validated on."""
        shared = len(self.people[SOURCE].views)
        kept, held = map(torch.from_numpy, hold_out(shared, round(self.validation_fraction * shared)))
        return kept, held if len(held) else kept

    def _test_rows(self) -> Rows:
        target = self.people[TARGET]
        _, test = target.split(self.split)
        return torch.cat([target.of(test), target.strangers()])

    def order(self, part: str) -> RunOrder[Any]:
        if part != TRAIN:
            return super().order(part)
        pairs: Any = self.parts[TRAIN]
        persons, _ = self._source_persons()
        views = self.people[SOURCE].views[persons]
        return PersonOrder(views, len(pairs.target), self.batch_size, self.batches_per_epoch, self)

    def item_names(self) -> list[str]:
        self.setup("predict")
        return [str(name) for name in self.people[TARGET].names[self._test_rows().numpy()]]
