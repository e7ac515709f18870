"""Folders full of synthetic rooms."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from pcseg.choices import RAW_FORMATS as FORMATS
from pcseg.files import atomic_write
from pcseg.parallel import map_rooms
from pcseg.synthetic.meshes import make_mesh_room
from pcseg.synthetic.rooms import check_arguments, make_room, room_name
from pcseg.synthetic.writers import s3dis_folder, write_s3dis, write_scannet, write_scannet_lists

MARKER = "synthetic.json"
# Goes up if the same seed gives other rooms than before.
VERSION = 1


def write_rooms(
    out: Path | str,
    *,
    format: str,
    num_rooms: int,
    seed: int,
    num_points: int = 60_000,
    num_workers: int = 1,
    cluster: str | None = None,
) -> Iterator[str]:
    """Makes rooms 0..num_rooms-1 and writes them in a dataset's raw layout; existing rooms stay.

    Args:
        out: a new or empty folder, or one with rooms of the same arguments.
        format: s3dis, scannet, or coco, which has images of the rooms and needs pycocotools.
        num_rooms: number of rooms.
        seed: random seed; room i depends on (seed, i) alone.
        num_points: number of points (of the mesh, vertices) in a room of average size.
        num_workers: number of processes.
        cluster: address of a Dask scheduler, whose workers replace `num_workers`; see `map_rooms`.

    Yields:
        Name of each room after it is written.

    Raises:
        ValueError: an argument is out of range, or the folder has other content.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if num_rooms < 1 or num_workers < 1:
        raise ValueError(f"rooms and workers must be 1 or more, got {num_rooms} rooms and {num_workers} workers")
    check_arguments(seed, 0, num_points)
    out = Path(out)
    claim_folder(out, {"format": format, "seed": seed, "points": num_points, "version": VERSION})
    write_one = {"s3dis": _write_room, "scannet": _write_scan, "coco": _write_views}[format]
    make_room(0, 0, num_points=100, min_instance_points=1)  # compiles once, before several processes would
    work = partial(write_one, out, seed, num_points)
    for _, name in map_rooms(work, range(num_rooms), workers=num_workers, cluster=cluster):
        if isinstance(name, Exception):
            raise name
        yield name
    if format == "scannet":
        write_scannet_lists(out, num_rooms)
    if format == "coco":
        from pcseg.synthetic.images import join_rooms

        join_rooms(out, num_rooms)


def claim_folder(out: Path, settings: dict[str, object]) -> None:
    """Makes sure that rooms of other settings, or real ones, are never mixed with the new ones."""
    marker = out / MARKER
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder to write rooms to")
    if marker.is_file():
        found = json.loads(marker.read_text(encoding="utf-8"))
        if found != settings:
            raise ValueError(f"{out} holds rooms made with {found}, not {settings}; remove it or name another folder")
        return
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and holds no synthetic rooms; name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(marker, json.dumps(settings))


def _write_room(out: Path, seed: int, num_points: int, index: int) -> str:
    name = room_name(index)
    if not s3dis_folder(name, out).exists():
        write_s3dis(make_room(seed, index, num_points=num_points), out)
    return name


def _write_scan(out: Path, seed: int, num_points: int, index: int) -> str:
    name = f"scene{index:04d}_00"
    if not (out / "scans" / name).exists():
        scene, categories = make_mesh_room(seed, index, num_points=num_points)
        write_scannet(scene, out, categories, alignment=_alignment(np.random.default_rng([seed, index, 1])))
    return name


def _write_views(out: Path, seed: int, num_points: int, index: int) -> str:
    try:
        from pcseg.synthetic.images import room_file, write_views
    except ModuleNotFoundError:
        raise ValueError("the format coco needs pycocotools; run: pip install 'pcseg[images]'") from None
    name = room_name(index)
    if not room_file(out, index).exists():
        write_views(make_room(seed, index, num_points=num_points), out, index, np.random.default_rng([seed, index, 2]))
    return name


def _alignment(rng: np.random.Generator) -> Float64[np.ndarray, "4 4"]:
    """A rotation about z and a shift from the raw scan to its aligned frame, with the six decimals of the file."""
    angle = rng.uniform(-np.pi, np.pi)
    alignment = np.eye(4)
    alignment[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    alignment[:3, 3] = *rng.uniform(-4, 4, 2), rng.normal(0, 0.1)
    return np.round(alignment, 6)
