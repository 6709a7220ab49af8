"""Balls on a table, some joined by springs and rods: a simulation in the plane. All balls have one mass, 1 kg."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

Vectors = Float64[np.ndarray, "scene ball 2"]

CONTACTS = 50  # collisions resolved in a scene in one time step, at most


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
