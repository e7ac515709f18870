"""Whole rooms, as point clouds of a scanner."""

import numpy as np

from pcseg.structures import Scene
from pcseg.synthetic.arrange import KINDS, furnished_room
from pcseg.synthetic.layout import Plan
from pcseg.synthetic.room import Surfaces
from pcseg.synthetic.scanner import add_range_noise, candidates, colors_of, hidden, occluders, stand_points, visibility
from pcseg.synthetic.shapes import Patches

NUM_AREAS = 6


def room_name(index: int) -> str:
    """Name of room `index` in the form of S3DIS: area, kind, and a number within both."""
    kind = KINDS[index % len(KINDS)]
    earlier = sum(KINDS[i % len(KINDS)] == kind for i in range(index % NUM_AREAS, index, NUM_AREAS))
    return f"Area_{index % NUM_AREAS + 1}_{kind}_{earlier + 1}"


def make_room(seed: int, index: int = 0, *, num_points: int = 60_000, min_instance_points: int = 50) -> Scene:
    """A furnished room, scanned; the same arguments give the same room.

    Args:
        seed: random seed of a series of rooms.
        index: number of the room in it, which decides the kind of room.
        num_points: number of points in a room of average size; small rooms have half as many, big ones 1.6 times.
        min_instance_points: least number of visible points; instances with fewer are left out.

    Returns:
        Scene with colors, classes of `pcseg.classes.S3DIS` and instances 1..K, sorted by instance.

    Raises:
        ValueError: a number that is out of range.

    >>> room = make_room(seed=0, index=3, num_points=1000)
    >>> room.name, room.xyz.shape == room.rgb.shape, int(room.instance.min())
    ('Area_4_lounge_1', True, 1)
    """
    rng, surfaces, plan, eyes, blocking = start_scan(seed, index, num_points)
    wanted = num_wanted(plan, num_points)
    patch, xyz, normal, density = candidates(surfaces, eyes, int(2.6 * wanted), rng)
    owner = surfaces.instance[patch]
    weights = visibility(xyz, normal, surfaces.patches.two_sided[patch], eyes, blocking)
    weights[:, hidden(surfaces, xyz, owner)] = 0
    total = weights.sum(axis=0)
    keep = np.flatnonzero(total > 0)
    if len(keep) > wanted:
        # Weighted choice without replacement (Efraimidis and Spirakis, 2006): candidates are as dense as the best
        # place of their patch deserves, other places of it deserve less.
        keys = rng.exponential(size=len(keep)) / (total / density)[keep]
        keep = np.sort(keep[np.argpartition(keys, wanted)[:wanted]])
    count = np.bincount(owner[keep], minlength=len(surfaces.labels) + 1)
    keep = keep[count[owner[keep]] >= min_instance_points]
    patch, xyz, normal, owner = patch[keep], xyz[keep], normal[keep], owner[keep]
    scan = weights[:, keep].argmax(axis=0)
    rgb = colors_of(surfaces, patch, xyz, normal, scan, blocking, rng)
    xyz = add_range_noise(xyz, eyes[scan], rng)
    xyz += [*rng.uniform(-25, 25, 2), rng.normal(0, 0.05)]  # its place in the building
    order = np.argsort(owner, kind="stable")
    ids, instance = np.unique(owner[order], return_inverse=True)
    labels = np.array(surfaces.labels, np.int32)[ids - 1]
    instance = instance.astype(np.int32)
    return Scene(
        room_name(index),
        xyz[order].astype(np.float32),
        rgb[order],
        semantic=labels[instance],
        instance=instance + np.int32(1),
    )


def start_scan(
    seed: int, index: int, num_points: int
) -> tuple[np.random.Generator, Surfaces, Plan, np.ndarray, Patches]:
    """Furnishes a room: the generator, what a scanner can see, the plan, scanner positions, and what blocks the view.

    Args:
        seed: random seed of a series of rooms.
        index: number of the room in it.
        num_points: number of points in a room of average size, only checked.
    """
    check_arguments(seed, index, num_points)
    rng = np.random.default_rng([seed, index])
    room = furnished_room(KINDS[index % len(KINDS)], index, rng)
    surfaces = room.surfaces()
    eyes = stand_points(room.plan, rng)
    return rng, surfaces, room.plan, eyes, occluders(surfaces, walls=room.plan.notch is not None)


def num_wanted(plan: Plan, num_points: int) -> int:
    """Number of points in a room of this area."""
    return round(num_points * float(np.clip(0.3 + 0.034 * plan.area, 0.5, 1.6)))


def check_arguments(seed: int, index: int, num_points: int) -> None:
    """Checks the arguments of `make_room`.

    Args:
        seed: 0 or more.
        index: 0 or more.
        num_points: 100 or more.

    Raises:
        ValueError: a number is out of range.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index of a synthetic room must be 0 or more, got seed {seed} and index {index}")
    if num_points < 100:
        raise ValueError(f"a synthetic room needs at least 100 points, got {num_points}; ask for more")
