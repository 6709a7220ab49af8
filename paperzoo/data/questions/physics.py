"""Balls on a table, some joined by springs and rods that cannot be seen; simulated (Santoro et al. 2017, section 5.5).

The paper simulates with MuJoCo and gives no constants; simulator (`balls`) and constants are ours.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Unpack

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from pydantic import PositiveInt

from paperzoo.batches import PhysicalSystems
from paperzoo.data.base.generated import GeneratedData
from paperzoo.data.base.items import ArrayItems
from paperzoo.data.base.module import TEST, TRAIN, VAL, Loading
from paperzoo.data.questions.balls import Scenes, Table, draw_scene, together, trajectories
from paperzoo.datamodule import stream_seed

log = logging.getLogger(__name__)

Positive = Annotated[float | int, Gt(0)]
NonNegative = Annotated[float | int, Ge(0)]
Share = Annotated[float | int, Ge(0), Le(1)]

BLOCK = 500  # scenes simulated at once
CROWDED = 0.3  # share of the table that balls may cover: beyond, there is no room to place them at random


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


class PhysicalData(GeneratedData):
    """Balls on a table with walls: which are connected, and how many systems they make.

    A row of `trajectory` is a ball: its x in all frames, its y, and a code of its colour from 0 to 1. Row and colour go
    together, so that the colours name the rows and columns of `connected`. From 1 to `num_objects`, all numbers of
    systems are equally likely.

    Args:
        num_objects: balls.
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
        loading: see `ItemData`; the workers simulate, too.
    """

    yields = PhysicalSystems

    def __init__(
        self,
        num_objects: Annotated[int, Ge(2)],
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
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(**loading)
        table = Table(table_side, ball_radius, spring_stiffness, spring_length, time_step)
        self.recipe = Recipe(table, num_objects, speed, rod_share, frames, round(frame_interval / time_step))
        self.sizes = {TRAIN: train_scenes, VAL: val_scenes, TEST: test_scenes}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        steps = arguments["frame_interval"] / arguments["time_step"]
        if round(steps) < 1 or abs(steps - round(steps)) > 1e-6 * steps:
            yield f"time_step={arguments['time_step']}: should divide frame_interval={arguments['frame_interval']}"
        radius, side, balls = arguments["ball_radius"], arguments["table_side"], arguments["num_objects"]
        if 4 * balls * radius**2 > CROWDED * (side - 2 * radius) ** 2 or 2 * radius >= side:
            yield f"ball_radius={radius}: {balls} such balls crowd a table of {side}; choose smaller or fewer ones"
        step = arguments["time_step"]
        if arguments["spring_stiffness"] * balls * step**2 > 0.01 or 20 * arguments["speed"] * step > radius:
            yield f"time_step={step}: too long for balls this fast or springs this stiff; choose a shorter one"

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"num_objects": arguments["num_objects"], "object_size": 2 * arguments["frames"] + 1}

    def make(self, part: str) -> ArrayItems:
        size = self.sizes[part]
        log.info("simulating %d scenes (%s)", size, part)
        blocks = [range(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
        watch = partial(self.recipe.watch, self.seed, part)
        if self.workers:
            with ProcessPoolExecutor(self.workers) as pool:
                watched = list(pool.map(watch, blocks))
        else:
            watched = list(map(watch, blocks))
        scenes = PhysicalSystems(*(torch.cat(column) for column in zip(*watched, strict=True)))
        return ArrayItems(PhysicalSystems, scenes._asdict())
