"""Balls on a table, some joined by springs and rods that cannot be seen; simulated (Santoro et al. 2017, section 5.5).

The paper simulates with MuJoCo and gives no constants; simulator and constants are ours. All balls have one mass, 1 kg.
"""

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Bool, Float64, Int64
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.batches import PhysicalSystems
from paperzoo.data.base import stream_seed
from paperzoo.data.indexed import IndexedData

log = logging.getLogger(__name__)

Positive = Annotated[float | int, Gt(0)]
NonNegative = Annotated[float | int, Ge(0)]
Share = Annotated[float | int, Ge(0), Le(1)]
Vectors = Float64[np.ndarray, "scene ball 2"]
Index = Int64[Tensor, " batch"]

BLOCK = 500  # scenes simulated at once
CONTACTS = 50  # collisions resolved in a scene in one time step, at most
CROWDED = 0.3  # share of the table that balls may cover: beyond, there is no room to place them at random


@dataclass(frozen=True)
class Table:
    """What the balls obey; lengths in metres, times in seconds.

    Attributes:
        side: of the square table, whose centre is the origin.
        radius: of a ball.
        stiffness: of the springs, in newton per metre.
        rest_length: of the springs.
        time_step: of the simulation. Balls overlap for a moment, as far as they come in one of them.
    """

    side: float | int
    radius: float | int
    stiffness: float | int
    rest_length: float | int
    time_step: float | int


@dataclass(frozen=True, eq=False)
class Scenes:
    """Balls and their connections at one moment.

    Attributes:
        position: in metres.
        velocity: in metres per second; the balls of a rod neither approach nor part.
        springs: symmetric: whether a spring joins two balls.
        partner: the ball at the other end of a ball's rod, itself if there is none.
    """

    position: Vectors
    velocity: Vectors
    springs: Bool[np.ndarray, "scene ball ball"]
    partner: Int64[np.ndarray, "scene ball"]

    @property
    def connected(self) -> Bool[np.ndarray, "scene ball ball"]:
        """Symmetric: whether a spring or a rod joins two balls."""
        balls = np.arange(self.partner.shape[1])
        rods = (self.partner[:, :, None] == balls) & (balls[:, None] != balls)
        return self.springs | rods


def draw_scene(
    generator: np.random.Generator, table: Table, balls: int, speed: float | int, rods: float | int
) -> Scenes:
    """One scene: balls at random places with random velocities and connections.

    The connections are some branches of a random tree, as many as make 1 to `balls` systems, all numbers alike.

    Args:
        generator: where the randomness comes from; the scene is a function of its state.
        table: what the balls obey.
        balls: how many.
        speed: standard deviation of each component of a velocity.
        rods: share of the connections that become rods, as long as no ball has two.
    """
    position = _places(generator, table, balls)
    velocity = generator.normal(0, speed, (balls, 2))
    springs = np.zeros((balls, balls), dtype=bool)
    partner = np.arange(balls)
    order = generator.permutation(balls)
    branches = [(order[child], order[generator.integers(child)]) for child in range(1, balls)]
    for branch in generator.permutation(balls - 1)[: generator.integers(balls)]:
        one, other = branches[branch]
        if generator.random() < rods and partner[one] == one and partner[other] == other:
            partner[[one, other]] = other, one
        else:
            springs[[one, other], [other, one]] = True
    velocity = _along_rods(position[None], velocity[None], partner[None])
    return Scenes(position[None], velocity, springs[None], partner[None])


def _places(generator: np.random.Generator, table: Table, balls: int) -> Float64[np.ndarray, "ball 2"]:
    """Places on the table where no two balls touch."""
    reach = table.side / 2 - table.radius
    places: list[np.ndarray] = []
    while len(places) < balls:
        place = generator.uniform(-reach, reach, 2)
        if all(np.hypot(*(place - other)) > 2 * table.radius for other in places):
            places.append(place)
    return np.array(places)


def together(scenes: list[Scenes]) -> Scenes:
    return Scenes(
        *(
            np.concatenate([getattr(s, field) for s in scenes])
            for field in ("position", "velocity", "springs", "partner")
        )
    )


def energy(scenes: Scenes, table: Table) -> Float64[np.ndarray, " scene"]:
    """Kinetic and elastic energy, in joule."""
    scene, one, other = scenes.springs.nonzero()  # each spring twice
    length = np.hypot(*(scenes.position[scene, one] - scenes.position[scene, other]).T)
    elastic = table.stiffness / 4 * (length - table.rest_length) ** 2
    return (scenes.velocity**2).sum((1, 2)) / 2 + np.bincount(scene, elastic, len(scenes.position))


def advance(scenes: Scenes, table: Table) -> Scenes:
    """The scenes one time step later.

    Leapfrog for the springs, with the rods kept at their length as in RATTLE (Andersen 1983); then elastic collisions.
    A rod is alone with its two balls, so that both of its conditions are solved exactly.
    """
    step, partner = table.time_step, scenes.partner
    velocity = scenes.velocity + step / 2 * _acceleration(scenes.position, scenes.springs, table)
    position = scenes.position + step * velocity
    before, after = (at - _of_partners(at, partner) for at in (scenes.position, position))
    length, product = _dot(before, before), _dot(before, after)
    excess = _dot(after, after) - length
    pull = product - np.sqrt(product**2 - length * excess)
    shift = (pull / np.where(length > 0, 2 * length, 1))[..., None] * before
    position = position - shift
    velocity = velocity - shift / step + step / 2 * _acceleration(position, scenes.springs, table)
    velocity = _along_rods(position, velocity, partner)
    return Scenes(position, _collided(position, velocity, partner, table), scenes.springs, partner)


def trajectories(scenes: Scenes, table: Table, frames: int, steps: int) -> Float64[np.ndarray, "scene frame ball 2"]:
    """Where the balls are at each frame, the first at once, the others `steps` time steps apart."""
    seen = [scenes.position]
    for _ in range(frames - 1):
        for _ in range(steps):
            scenes = advance(scenes, table)
        seen.append(scenes.position)
    return np.stack(seen, axis=1)


def _of_partners(values: Vectors, partner: Int64[np.ndarray, "scene ball"]) -> Vectors:
    return values[np.arange(len(values))[:, None], partner]


def _dot(a: Float64[np.ndarray, "*batch 2"], b: Float64[np.ndarray, "*batch 2"]) -> Float64[np.ndarray, "*batch"]:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]


def _acceleration(position: Vectors, springs: Bool[np.ndarray, "scene ball ball"], table: Table) -> Vectors:
    scene, one, other = springs.nonzero()
    place = scene * position.shape[1] + one
    difference = position[scene, one] - position[scene, other]
    force = table.stiffness * (table.rest_length / np.hypot(*difference.T) - 1)
    components = [np.bincount(place, force * component, position[..., 0].size) for component in difference.T]
    return np.stack(components, axis=-1, dtype=np.float64).reshape(position.shape)  # without any spring they are whole


def _along_rods(position: Vectors, velocity: Vectors, partner: Int64[np.ndarray, "scene ball"]) -> Vectors:
    """The velocities without what would change the length of a rod."""
    rod = position - _of_partners(position, partner)
    parting = _dot(velocity - _of_partners(velocity, partner), rod)
    square = _dot(rod, rod)
    return velocity - (parting / np.where(square > 0, 2 * square, 1))[..., None] * rod


def _collided(position: Vectors, velocity: Vectors, partner: Int64[np.ndarray, "scene ball"], table: Table) -> Vectors:
    """The velocities after the elastic collisions of all balls that touch and approach each other or a wall.

    One collision of each scene at a time, the fastest first. Its impulse is passed on by the rods of the balls, which
    keeps the energy: with the impulse J and its part PJ that the rods allow, v becomes v - 2 (J.v / J.PJ) PJ.
    """
    x, y = np.moveaxis(position, -1, 0)
    one, other = np.triu_indices(position.shape[1], 1)
    touching = (x[:, one] - x[:, other]) ** 2 + (y[:, one] - y[:, other]) ** 2 < 4 * table.radius**2
    at_wall = np.abs(position) > table.side / 2 - table.radius
    busy = (touching.any(1) | at_wall.any((1, 2))).nonzero()[0]
    if not len(busy):
        return velocity
    velocity = velocity.copy()
    towards = position[busy][:, other] - position[busy][:, one]
    towards /= np.hypot(towards[..., 0], towards[..., 1])[..., None]
    outward = np.sign(position[busy])
    contact = np.concatenate([touching[busy], at_wall[busy].reshape(len(busy), -1)], axis=1)
    for _ in range(CONTACTS):
        now = velocity[busy]
        closing = _dot(now[:, one] - now[:, other], towards)
        speeds = np.where(contact, np.concatenate([closing, (now * outward).reshape(len(busy), -1)], axis=1), 0)
        fastest = speeds.argmax(1)
        rows = (speeds[np.arange(len(busy)), fastest] > 0).nonzero()[0]
        if not len(rows):
            break
        impulse = _impulse(fastest[rows], towards[rows], outward[rows])
        scene = busy[rows]
        allowed = _along_rods(position[scene], impulse, partner[scene])
        share = (impulse * velocity[scene]).sum((1, 2)) / (impulse * allowed).sum((1, 2))
        velocity[scene] -= 2 * share[:, None, None] * allowed
    return velocity


def _impulse(
    contact: Int64[np.ndarray, " scene"], towards: Float64[np.ndarray, "scene pair 2"], outward: Vectors
) -> Vectors:
    """The direction of the impulse of one contact in each scene.

    Args:
        contact: the pairs of balls, then the balls at the walls in x and in y, counted through.
        towards: from the first ball of a pair to the second.
        outward: to the nearest walls.
    """
    impulse = np.zeros_like(outward)
    one, other = np.triu_indices(outward.shape[1], 1)
    pairs = (contact < len(one)).nonzero()[0]
    pair = contact[pairs]
    impulse[pairs, one[pair]] = towards[pairs, pair]
    impulse[pairs, other[pair]] = -towards[pairs, pair]
    walls = (contact >= len(one)).nonzero()[0]
    ball, axis = np.divmod(contact[walls] - len(one), 2)
    impulse[walls, ball, axis] = outward[walls, ball, axis]
    return impulse


@dataclass(frozen=True)
class Recipe:
    """How scenes are drawn, and watched.

    Attributes:
        table: what the balls obey.
        balls: how many.
        speed: standard deviation of each component of a ball's first velocity, in metres per second.
        rods: share of the connections that become rods, as long as no ball has two.
        frames: how often the balls are seen.
        steps: time steps from frame to frame.
    """

    table: Table
    balls: int
    speed: float | int
    rods: float | int
    frames: int
    steps: int

    def draw(self, *stream: int | str) -> Scenes:
        """The scene of the random stream of that name."""
        return draw_scene(np.random.default_rng(stream_seed(*stream)), self.table, self.balls, self.speed, self.rods)

    def watch(self, seed: int, part: str, numbers: range) -> PhysicalSystems:
        """The scenes of these numbers: each a function of seed, part and its number alone."""
        scenes = together([self.draw(seed, part, number) for number in numbers])
        seen = trajectories(scenes, self.table, self.frames, self.steps)
        columns = seen.transpose(0, 2, 3, 1).reshape(len(numbers), self.balls, 2 * self.frames)
        colour = np.broadcast_to(np.linspace(0, 1, self.balls)[:, None], (*columns.shape[:2], 1))
        connected = scenes.connected
        # the connections are branches of a tree: each makes one system of two
        systems = self.balls - connected.sum((1, 2)) // 2
        return PhysicalSystems(
            torch.from_numpy(np.concatenate([columns, colour], axis=2, dtype=np.float32)),
            torch.from_numpy(connected),
            torch.from_numpy(systems),
        )


@dataclass(frozen=True, eq=False)
class WatchedScenes:
    """A number of scenes, simulated when one is asked for first: `scenes[index]`.

    Attributes:
        recipe: how they are made.
        seed: names the random streams.
        part: "train", "val" or "test".
        size: how many.
        workers: processes that simulate; 0 simulates in this one.
    """

    recipe: Recipe
    seed: int
    part: str
    size: int
    workers: int

    @cached_property
    def all(self) -> PhysicalSystems:
        log.info("simulating %d scenes (%s)", self.size, self.part)
        blocks = [range(start, min(start + BLOCK, self.size)) for start in range(0, self.size, BLOCK)]
        watch = partial(self.recipe.watch, self.seed, self.part)
        if self.workers:
            with ProcessPoolExecutor(self.workers) as pool:
                watched = list(pool.map(watch, blocks))
        else:
            watched = list(map(watch, blocks))
        return PhysicalSystems(*(torch.cat(column) for column in zip(*watched, strict=True)))

    def __len__(self) -> int:
        # the loader asks for this before it starts its workers, which then need not simulate on their own
        return len(self.all.systems)

    def __getitem__(self, index: Index) -> PhysicalSystems:
        return PhysicalSystems(*(column[index] for column in self.all))


class PhysicalData(IndexedData):
    """Balls on a table with walls: which are connected, and how many systems they make.

    A row of `trajectory` is a ball: its x in all frames, its y, and a code of its colour from 0 to 1. Row and colour go
    together, so that the colours name the rows and columns of `connected`. From 1 to `num_objects`, all numbers of
    systems are equally likely.

    Args:
        seed: names the random streams.
        num_objects: balls.
        object_size: numbers that describe a ball: two for each frame, and the colour.
        frames: how often the balls are seen.
        frame_interval: seconds from frame to frame.
        time_step: seconds; of the simulation. It divides the interval.
        table_side: metres.
        ball_radius: metres.
        speed: metres per second; standard deviation of each component of a ball's first velocity.
        spring_stiffness: newton per metre; balls weigh 1 kg.
        spring_length: metres; at rest.
        rod_share: share of the connections that become rods, as long as no ball has two; the others are springs.
        train_scenes: scenes to train on, again and again.
        val_scenes: validation scenes.
        test_scenes: test scenes.
        batch_size: training scenes in a batch, on each device.
        eval_batch_size: scenes a batch in validation, test and prediction, on each device.
        workers: processes that simulate, and gather batches; 0 does both in the training process.
    """

    yields = PhysicalSystems

    def __init__(
        self,
        seed: int,
        num_objects: Annotated[int, Ge(2)],
        object_size: PositiveInt,
        frames: PositiveInt,
        frame_interval: Positive,
        time_step: Positive,
        table_side: Positive,
        ball_radius: Positive,
        speed: NonNegative,
        spring_stiffness: NonNegative,
        spring_length: NonNegative,
        rod_share: Share,
        train_scenes: PositiveInt,
        val_scenes: PositiveInt,
        test_scenes: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size)
        table = Table(table_side, ball_radius, spring_stiffness, spring_length, time_step)
        self.recipe = Recipe(table, num_objects, speed, rod_share, frames, round(frame_interval / time_step))
        self.sizes = {"train": train_scenes, "val": val_scenes, "test": test_scenes}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        size = 2 * arguments["frames"] + 1
        if arguments["object_size"] != size:
            yield f"data.object_size={arguments['object_size']}: {arguments['frames']} frames make it {size}; set that"
        steps = arguments["frame_interval"] / arguments["time_step"]
        if round(steps) < 1 or abs(steps - round(steps)) > 1e-6 * steps:
            yield f"data.time_step={arguments['time_step']}: should divide frame_interval={arguments['frame_interval']}"
        radius, side, balls = arguments["ball_radius"], arguments["table_side"], arguments["num_objects"]
        if 4 * balls * radius**2 > CROWDED * (side - 2 * radius) ** 2 or 2 * radius >= side:
            yield f"data.ball_radius={radius}: {balls} such balls crowd a table of {side}; choose smaller or fewer ones"
        step = arguments["time_step"]
        if arguments["spring_stiffness"] * balls * step**2 > 0.01 or 20 * arguments["speed"] * step > radius:
            yield f"data.time_step={step}: too long for balls this fast or springs this stiff; choose a shorter one"

    def load(self) -> Mapping[str, WatchedScenes]:
        return {
            part: WatchedScenes(self.recipe, self.seed, part, size, self.workers) for part, size in self.sizes.items()
        }
