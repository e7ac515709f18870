"""Folders full of simulated scans of homes, as labeled .npz files."""

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import get_args

import numpy as np

from pcseg.data.scan_fields import keep_points
from pcseg.files import atomic_write, npz_bytes
from pcseg.parallel import map_rooms
from pcseg.structures import Scene
from pcseg.synthetic.dataset import claim_folder
from pcseg.synthetic.homes.assets import load_models
from pcseg.synthetic.homes.furnish import furnish_home
from pcseg.synthetic.homes.models import Model
from pcseg.synthetic.homes.procedural import add_procedural
from pcseg.synthetic.homes.sensors import Sensor, scan_home
from pcseg.viz.display import import_open3d

SENSORS = get_args(Sensor)
# Counts up whenever the same seed gives other homes than before.
VERSION = 9
PER_KIND = 2  # procedural models of each kind that join a home's assets
POINTS_ONLY = 0.5  # share of meshes that lose their faces and some points
COLORLESS = 1 / 3  # share of scans without color


def write_homes(
    out: Path,
    *,
    num_homes: int,
    seed: int,
    sensor: Sensor = "rgbd",
    assets: Path | None = None,
    num_workers: int = 1,
    cluster: str | None = None,
) -> Iterator[str]:
    """Makes homes 0..num_homes-1 and writes each scan to one .npz file; scans that exist already stay.

    As among the scans that people share, a third has no color, and half of the meshes are points without faces.

    Args:
        out: folder to write to: a new or empty one, or one that holds homes of the same arguments.
        num_homes: number of homes.
        seed: chooses the world of homes; home i depends on (seed, i), the sensor and the assets alone.
        sensor: see `scan_home`.
        assets: folder of `fetch_assets`; without it all furniture is procedural.
        num_workers: number of processes.
        cluster: address of a Dask scheduler, whose workers replace `num_workers`; see `map_rooms`.

    Yields:
        Name of each home, when it is written.

    Raises:
        ValueError: an argument is out of range, the assets are incomplete, or the folder holds something else.
    """
    if sensor not in SENSORS:
        raise ValueError(f"sensor must be one of {', '.join(SENSORS)}, got {sensor!r}")
    if num_homes < 1 or seed < 0:
        raise ValueError(f"expected at least 1 home and a seed of 0 or more, got {num_homes} homes and seed {seed}")
    import_open3d("a simulated sensor", "homes")  # complains before any work, as the next line does
    _models(assets)
    settings = {"kind": "homes", "sensor": sensor, "seed": seed, "assets": assets is not None, "version": VERSION}
    claim_folder(out, settings)
    work = partial(_write_home, out, seed, sensor, assets)
    for _, name in map_rooms(work, range(num_homes), workers=num_workers, cluster=cluster):
        if isinstance(name, Exception):
            raise name
        yield name


def make_home(seed: int, index: int, *, sensor: Sensor = "rgbd", assets: Path | None = None) -> Scene:
    """A furnished home, scanned; the same arguments give the same scene.

    Args:
        seed: chooses the world of homes.
        index: which home of it; the kind of room follows from it.
        sensor: see `scan_home`.
        assets: folder of `fetch_assets`; without it all furniture is procedural.

    Returns:
        Scene with classes of the set `indoor`; its name says sensor, index and kind.
    """
    models = _models(assets)
    design = np.random.default_rng([seed, index, 2])
    models = add_procedural(models, design, PER_KIND if models else 2 * PER_KIND)
    surfaces, rooms, kind = furnish_home(models, seed, index)
    name = f"{sensor}_{index:04d}_{kind}"
    return scan_home(surfaces, rooms, name, sensor, np.random.default_rng([seed, index, 1]))


def _as_shared(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scan as people store it: some drop the faces and thin the points, some have no color."""
    if scene.faces is not None and rng.random() < POINTS_ONLY:
        scene = keep_points(scene, rng.random(len(scene)) < rng.uniform(0.3, 1.0))
    return scene.with_(rgb=None) if rng.random() < COLORLESS else scene


@cache
def _models(assets: Path | None) -> dict[str, list[Model]]:
    return {} if assets is None else load_models(assets)


def _write_home(out: Path, seed: int, sensor: Sensor, assets: Path | None, index: int) -> str:
    found = sorted(out.glob(f"{sensor}_{index:04d}_*.npz"))
    if found:
        return found[0].stem
    scene = _as_shared(make_home(seed, index, sensor=sensor, assets=assets), np.random.default_rng([seed, index, 3]))
    arrays = {key: getattr(scene, key) for key in ("xyz", "rgb", "semantic", "instance", "faces")}
    atomic_write(out / f"{scene.name}.npz", npz_bytes({key: a for key, a in arrays.items() if a is not None}))
    return scene.name
