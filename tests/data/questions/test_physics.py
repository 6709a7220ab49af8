"""The laws that the simulated balls obey, and the sets made of them."""

from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from paperzoo.batches import PhysicalSystems
from paperzoo.data.questions.balls import Scenes, Table, advance, energy, together
from paperzoo.data.questions.physics import PhysicalData, Recipe
from tests.data.conftest import Make

TABLE = Table(side=2, radius=0.06, stiffness=4, rest_length=0.5, time_step=0.0025)
RECIPE = Recipe(TABLE, balls=10, speed=0.5, rods=0.5, frames=16, steps=40)
SCENES = 20


def moments(scenes: Scenes, table: Table, steps: int) -> list[Scenes]:
    seen = [scenes]
    for _ in range(steps):
        seen.append(advance(seen[-1], table))
    return seen


@cache
def watched(rods: float = 0.5, stiffness: float | int = 4) -> list[Scenes]:
    """A few scenes of 10 balls, at every time step of all frames."""
    recipe = replace(RECIPE, rods=rods, table=replace(TABLE, stiffness=stiffness))
    return moments(together([recipe.draw("test", number) for number in range(SCENES)]), recipe.table, 600)


def rod_lengths(scenes: Scenes) -> np.ndarray:
    others = np.take_along_axis(scenes.position, scenes.partner[..., None], axis=1)
    return np.linalg.norm(scenes.position - others, axis=-1)


def free_balls(position: Any, velocity: Any, partner: Any = None) -> Scenes:
    """One scene without springs, far from the walls."""
    balls = len(position)
    return Scenes(
        np.array([position], dtype=float),
        np.array([velocity], dtype=float),
        np.zeros((1, balls, balls), dtype=bool),
        np.array([range(balls) if partner is None else partner]),
    )


def union_find(connected: np.ndarray) -> int:
    parents = list(range(len(connected)))

    def root(ball: int) -> int:
        while parents[ball] != ball:
            ball = parents[ball]
        return ball

    for one, other in combinations(parents, 2):
        if connected[one, other]:
            parents[root(one)] = root(other)
    return len({root(ball) for ball in range(len(connected))})


def test_without_springs_energy_is_conserved_exactly() -> None:
    start, *others = watched(stiffness=0)
    np.testing.assert_allclose(energy(others[-1], replace(TABLE, stiffness=0)), (start.velocity**2).sum((1, 2)) / 2)


def test_with_springs_energy_is_conserved_to_the_order_of_the_integrator() -> None:
    start = energy(watched()[0], TABLE)
    for scenes in watched()[::50]:
        np.testing.assert_allclose(energy(scenes, TABLE), start, rtol=1e-3)


def test_the_error_in_energy_falls_with_the_square_of_the_time_step() -> None:
    springs = np.array([[[False, True], [True, False]]])
    start = replace(free_balls([[-0.4, 0], [0.4, 0]], [[0, 0.2], [0, -0.2]]), springs=springs)
    errors = []
    for steps in (100, 200):
        table = replace(TABLE, time_step=1 / steps)
        errors.append(max(abs(energy(s, table) - energy(start, table)).item() for s in moments(start, table, steps)))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_rods_keep_their_length() -> None:
    expected = rod_lengths(watched()[0])
    assert (expected > 0).sum() > SCENES
    for scenes in watched()[::50]:
        np.testing.assert_allclose(rod_lengths(scenes), expected, atol=1e-10)


def test_balls_stay_in_the_box() -> None:
    reach = TABLE.side / 2 - TABLE.radius
    furthest = max(np.abs(scenes.position).max() for scenes in watched())
    fastest = max(np.abs(scenes.velocity).max() for scenes in watched())
    assert reach < furthest <= reach + fastest * TABLE.time_step


def test_balls_do_not_pass_through_each_other() -> None:
    one, other = np.triu_indices(10, 1)
    nearest = min(
        np.linalg.norm(scenes.position[:, one] - scenes.position[:, other], axis=-1).min() for scenes in watched()
    )
    fastest = max(np.linalg.norm(scenes.velocity, axis=-1).max() for scenes in watched())
    assert 2 * TABLE.radius - 4 * fastest * TABLE.time_step < nearest < 2 * TABLE.radius


def test_balls_that_meet_head_on_exchange_their_velocities() -> None:
    *_, end = moments(free_balls([[-0.2, 0], [0.2, 0]], [[0.5, 0], [-0.3, 0]]), TABLE, 200)
    np.testing.assert_allclose(end.velocity, [[[-0.3, 0], [0.5, 0]]], atol=1e-12)


def test_momentum_is_conserved_in_a_collision() -> None:
    start = free_balls([[-0.2, 0.05], [0.2, 0], [0, 0.1]], [[0.5, 0.1], [-0.3, 0], [0, -0.4]])
    *_, end = moments(start, TABLE, 250)
    assert np.abs(end.velocity - start.velocity).min(axis=(0, 2)).max() > 0.01
    np.testing.assert_allclose(end.velocity.sum(1), start.velocity.sum(1), atol=1e-12)


def test_a_ball_that_hits_the_end_of_a_rod_sets_it_turning() -> None:
    # the rod stands upright, the ball comes from the left against its lower end, as against a ball of its own
    start = free_balls([[-0.3, 0], [0, 0], [0, 0.4]], [[1, 0], [0, 0], [0, 0]], partner=[0, 2, 1])
    scenes = moments(start, TABLE, 75)[-1]
    assert scenes.velocity[0, 0] == pytest.approx([0, 0], abs=1e-12)
    np.testing.assert_allclose(energy(scenes, TABLE), 0.5)
    np.testing.assert_allclose(scenes.velocity.sum(1), [[1, 0]], atol=1e-12)


def test_a_ball_that_pushes_a_rod_along_it_meets_the_mass_of_both() -> None:
    start = free_balls([[-0.3, 0], [0, 0], [0.4, 0]], [[1, 0], [0, 0], [0, 0]], partner=[0, 2, 1])
    *_, end = moments(start, TABLE, 100)
    np.testing.assert_allclose(end.velocity[0, :, 0], [-1 / 3, 2 / 3, 2 / 3], atol=1e-12)


def test_the_state_is_what_the_equation_of_a_spring_says() -> None:
    springs = np.array([[[False, True], [True, False]]])
    start = replace(free_balls([[-0.35, 0], [0.35, 0]], [[0, 0], [0, 0]]), springs=springs)
    *_, end = moments(start, TABLE, 400)
    # two masses of 1 kg on 4 N/m: the distance swings with sqrt(8) rad/s
    distance = end.position[0, 1, 0] - end.position[0, 0, 0]
    assert distance == pytest.approx(0.5 + 0.2 * np.cos(np.sqrt(8) * 1.0), abs=1e-4)


def test_connections_are_symmetric_and_no_ball_is_connected_with_itself() -> None:
    connected = RECIPE.watch(0, "train", range(50)).connected
    assert torch.equal(connected, connected.mT)
    assert not connected.diagonal(dim1=1, dim2=2).any()


def test_systems_are_the_components_of_the_connections() -> None:
    batch = replace(RECIPE, frames=1).watch(0, "train", range(300))
    assert batch.systems.tolist() == [union_find(connected) for connected in batch.connected.numpy()]


def test_all_numbers_of_systems_are_equally_likely() -> None:
    systems = replace(RECIPE, frames=1).watch(0, "train", range(2000)).systems
    counts = systems.bincount(minlength=11)
    assert counts[0] == 0
    assert ((counts[1:] - 200).abs() < 60).all()  # over 4 standard deviations


def test_no_ball_has_two_rods_and_the_share_of_rods_is_obeyed() -> None:
    for share in (0, 1):
        scenes = together([replace(RECIPE, rods=share).draw("test", number) for number in range(50)])
        of_partners = np.take_along_axis(scenes.partner, scenes.partner, axis=1)
        np.testing.assert_array_equal(of_partners, np.tile(np.arange(10), (50, 1)))
        assert (scenes.partner != np.arange(10)).any() == bool(share)
    assert scenes.springs.any()  # branches at a ball that has a rod already


def test_a_scene_is_the_same_whatever_others_are_simulated_with_it() -> None:
    all_of_them, some = RECIPE.watch(0, "train", range(8)), RECIPE.watch(0, "train", range(3, 6))
    assert all(torch.equal(column[3:6], part) for column, part in zip(all_of_them, some, strict=True))


def test_scenes_of_other_seeds_and_parts_differ() -> None:
    recipe = replace(RECIPE, frames=1)
    seen = [recipe.watch(seed, part, range(1)).trajectory for seed in (0, 1) for part in ("train", "val")]
    assert all(not torch.equal(one, other) for one, other in combinations(seen, 2))


def test_a_row_is_a_ball_with_its_x_its_y_and_its_colour() -> None:
    scene = RECIPE.draw(0, "train", 0)
    trajectory = RECIPE.watch(0, "train", range(1)).trajectory
    later = moments(scene, TABLE, 80)
    assert trajectory.shape == (1, 10, 33)
    torch.testing.assert_close(trajectory[0, :, 0], torch.from_numpy(scene.position[0, :, 0]).float())
    torch.testing.assert_close(trajectory[0, :, 18], torch.from_numpy(later[-1].position[0, :, 1]).float())
    torch.testing.assert_close(trajectory[0, :, 32], torch.linspace(0, 1, 10))


SMALL = {"train_scenes": 9, "val_scenes": 4, "test_scenes": 5, "batch_size": 3, "frames": 2}


def test_the_config_fits_its_class(make: Make) -> None:
    assert make.problems(PhysicalData) == []


def test_every_part_has_its_scenes(make: Make) -> None:
    data: Any = make(PhysicalData, **SMALL)
    data.setup()
    assert len(data.train_dataloader()) == 3
    assert [len(batch.systems) for batch in data.val_dataloader()] == [4]
    (batch,) = data.test_dataloader()
    assert isinstance(batch, PhysicalSystems)
    assert batch.trajectory.shape == (5, 10, 5)
    assert batch.trajectory.dtype == torch.float32


def test_only_the_part_that_is_used_is_simulated(make: Make) -> None:
    data = make(PhysicalData, **SMALL)
    data.setup("test")
    assert list(data.parts) == ["test"]


def test_workers_simulate_the_same_scenes(make: Make) -> None:
    index = torch.arange(5)
    here, there = (make(PhysicalData, **SMALL, workers=workers).make("test")[index] for workers in (0, 1))
    assert all(map(torch.equal, here, there))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"facts": {"object_size": 33}}, "data.facts.object_size=33: it is 5"),
        ({"time_step": 0.003}, "data.time_step=0.003: should divide frame_interval=0.1"),
        ({"frame_interval": 0.001}, "data.time_step=0.0025: should divide frame_interval=0.001"),
        ({"ball_radius": 0.3}, "data.ball_radius=0.3: 10 such balls crowd a table of 2"),
        ({"ball_radius": 1}, "data.ball_radius=1"),
        ({"spring_stiffness": 1e6}, "data.time_step=0.0025: too long"),
        ({"speed": 50}, "data.time_step=0.0025: too long"),
        ({"num_objects": 1}, "data.num_objects=1"),
        ({"rod_share": 2}, "data.rod_share=2"),
    ],
)
def test_mistakes_are_named(make: Make, changes: dict[str, Any], message: str) -> None:
    (problem,) = make.problems(PhysicalData, **SMALL | {"facts": {"object_size": 5}} | changes)
    assert problem.startswith(message)
