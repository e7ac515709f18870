"""Whole rooms, as scanners deliver them."""

import numpy as np

from pcseg.structures import Scene
from pcseg.synthetic.arrange import KINDS, furnished_room
from pcseg.synthetic.layout import Plan
from pcseg.synthetic.scanner import (
    RESOLUTION,
    add_range_noise,
    candidates,
    colors_of,
    hidden,
    map_of,
    occluders,
    stand_points,
    visibility,
)

NUM_AREAS = 6


def room_name(index: int) -> str:
    """Name of room `index` in the manner of S3DIS: area, kind, and a number within both."""
    kind = KINDS[index % len(KINDS)]
    earlier = sum(KINDS[i % len(KINDS)] == kind for i in range(index % NUM_AREAS, index, NUM_AREAS))
    return f"Area_{index % NUM_AREAS + 1}_{kind}_{earlier + 1}"


def make_room(seed: int, index: int = 0, *, num_points: int = 60_000, min_instance_points: int = 50) -> Scene:
    """A furnished room, scanned; the same arguments give the same room.

    Args:
        seed: chooses the world of rooms.
        index: which room of it; the kind of room follows from it.
        num_points: points of a room of middling size; small rooms have half as many, big ones 1.6 times.
        min_instance_points: instances of which fewer points were seen are left out.

    Returns:
        Scene with colors, classes of `pcseg.classes.S3DIS` and instances 1..K, sorted by instance.

    Raises:
        ValueError: a number that is out of range.
    """
    check_arguments(seed, index, num_points)
    rng = np.random.default_rng([seed, index])
    room = furnished_room(KINDS[index % len(KINDS)], index, rng)
    surfaces, plan = room.surfaces(), room.plan
    eyes = stand_points(plan, rng)
    blocking = occluders(surfaces, walls=plan.notch is not None)
    wanted = num_wanted(plan, num_points)
    patch, xyz, normal, density = candidates(surfaces, eyes, int(2.6 * wanted), rng)
    owner = surfaces.instance[patch]
    maps = [map_of(blocking, eye, RESOLUTION) for eye in eyes]
    weights = visibility(xyz, normal, surfaces.patches.two_sided[patch], eyes, maps)
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
    xyz = add_range_noise(xyz, eyes[scan], rng) + _origin(rng)
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


def num_wanted(plan: Plan, num_points: int) -> int:
    """Points of a room with the area of this one."""
    return round(num_points * float(np.clip(0.3 + 0.034 * plan.area, 0.5, 1.6)))


def _origin(rng: np.random.Generator) -> np.ndarray:
    """Where the room lies in its building."""
    return np.array([*rng.uniform(-25, 25, 2), rng.normal(0, 0.05)])


def check_arguments(seed: int, index: int, num_points: int) -> None:
    """Raises ValueError for arguments out of range."""
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index of a synthetic room must be 0 or more, got seed {seed} and index {index}")
    if num_points < 100:
        raise ValueError(f"a synthetic room needs at least 100 points, got {num_points}; ask for more")
