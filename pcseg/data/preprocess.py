"""Raw rooms to processed ones, in several processes, with a report; what the preprocessing tools share."""

import functools
import inspect
import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pcseg.classes import CLASS_SETS, class_set
from pcseg.data.preprocess_report import REPORT, RoomResult, format_report, make_report, raise_failures, write_report
from pcseg.data.store import is_current, read_manifest, remove_leftovers, source_of, write_room
from pcseg.data.worker_pool import default_workers, in_processes
from pcseg.ops.superpoints import over_segment, over_segment_mesh, over_segment_voxels
from pcseg.structures import Scene

__all__ = [
    "REPORT",
    "RoomReader",
    "SuperpointOptions",
    "format_report",
    "make_report",
    "preprocess",
    "process_room",
    "raise_failures",
    "superpoints_of",
]


@dataclass(frozen=True)
class RoomReader:
    """How the rooms of one dataset are read; its functions go to worker processes, so they stand at top level.

    Args:
        class_set: name or YAML file of the class set of the labels.
        name_of: name of the room of a raw path.
        files_of: every raw file that a room is made from.
        read: the room, one line of text per repair and, where there are any, the files of its instances.
        settings: whatever else decides what `read` gives; a change of it makes rooms out of date.
        group_of: the part of the dataset that a room of this name is counted under; None counts the whole alone.
        command: that makes the rooms, kept in their manifests.
    """

    class_set: str
    name_of: Callable[[Path], str]
    files_of: Callable[[Path], list[Path]]
    read: Callable[[Path], tuple[Scene, list[str]] | tuple[Scene, list[str], list[str]]]
    settings: str = ""
    group_of: Callable[[str], str] | None = None
    command: str = ""


@dataclass(frozen=True)
class SuperpointOptions:
    """How superpoints are made.

    Args:
        method: "graph" keeps those that a scan brings, otherwise merges its mesh or its points; "voxel" takes coarse
            voxels for every scan.
        voxel_size: of the merging of points, in meters.
        max_superpoints: of a room of a cloud, see `over_segment`.
        coarse_voxel_size: edge of the coarse voxels in meters.
    """

    method: str = "graph"
    voxel_size: float = 0.02
    max_superpoints: int = 2000
    coarse_voxel_size: float = 0.2

    def __post_init__(self) -> None:
        if self.method not in ("graph", "voxel"):
            raise ValueError(f"expected superpoints graph or voxel, got {self.method!r}")
        for size in (self.voxel_size, self.coarse_voxel_size):
            if not size > 0:
                raise ValueError(f"expected a voxel size above 0, got {size}")
        if self.max_superpoints < 1:
            raise ValueError(f"expected at least 1 superpoint, got {self.max_superpoints}")

    def apply(self, scene: Scene) -> Scene:
        """The scene with superpoints."""
        if self.method == "voxel":
            return scene.with_(superpoint=over_segment_voxels(scene.xyz, self.coarse_voxel_size))
        if scene.superpoint is not None:
            return scene
        if scene.faces is not None and len(scene.faces):
            return scene.with_(superpoint=over_segment_mesh(scene.xyz, scene.faces))
        superpoint = over_segment(
            scene.xyz, scene.rgb, voxel_size=self.voxel_size, max_superpoints=self.max_superpoints
        )
        return scene.with_(superpoint=superpoint)

    @staticmethod
    def from_dict(content: Any, where: str) -> "SuperpointOptions":
        """The settings that `dataclasses.asdict` gave, as manifests and checkpoints hold them.

        Args:
            content: the mapping.
            where: what the message calls it, e.g. the file.

        Raises:
            ValueError: a setting that this version does not know, or one out of range.
        """
        if not isinstance(content, dict) or not set(content) <= {f.name for f in fields(SuperpointOptions)}:
            raise ValueError(f"{where}: superpoint settings {content!r} are not of this version of pcseg; update it")
        return SuperpointOptions(**content)


def superpoints_of(rooms: Sequence[Path]) -> SuperpointOptions | None:
    """How the superpoints of processed rooms were made, so that those of new scans are made likewise.

    Args:
        rooms: their folders.

    Returns:
        The settings that stand in their manifests; None where one has none, or where they differ.

    Raises:
        ValueError: a damaged room, or settings that this version does not know.
    """
    found = [read_manifest(folder).get("superpoints") for folder in rooms]
    if not found or found[0] is None or any(settings != found[0] for settings in found):
        return None
    return SuperpointOptions.from_dict(found[0], str(rooms[0]))


def preprocess(
    paths: Sequence[Path],
    reader: RoomReader,
    out: Path,
    *,
    num_workers: int | None = 1,
    force: bool = False,
    voxel_size: float = 0.02,
    progress: bool = True,
    superpoints: SuperpointOptions | None = None,
    shard: tuple[int, int] = (1, 1),
) -> dict:
    """Process raw rooms into a store and write report.json there; a room that fails does not stop the others.

    Args:
        paths: raw files or folders, one per room.
        reader: how to read them.
        out: folder of the processed rooms.
        num_workers: processes, among which the cores are shared out; None for as many as pay, at most one a core.
        force: process rooms again that are up to date.
        voxel_size: of the over-segmentation, in meters; `superpoints` says it where both are given.
        progress: show a bar.
        superpoints: how they are made.
        shard: (i, n): take every n-th room from the i-th on, counted from 1, so that n machines share the work; the
            report is then report_i_of_n.json.

    Returns:
        The report: rooms, points, instances of each class, repairs and notes, checksums, and what failed.

    Raises:
        ValueError: no rooms, two rooms of one name, or parameters out of range.
    """
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"expected at least 1 worker, got {num_workers}")
    part, num_parts = shard
    if not 1 <= part <= num_parts:
        raise ValueError(f"expected a shard i/n with 1 <= i <= n, got {part}/{num_parts}")
    options = SuperpointOptions(voxel_size=voxel_size) if superpoints is None else superpoints
    owner: dict[str, Path] = {}
    for path in paths:
        name = reader.name_of(path)
        if name in owner:
            raise ValueError(f"{path}: room {name} would be written twice, {owner[name]} has the same name; rename one")
        owner[name] = path
    if not owner:
        raise ValueError("no rooms to process")
    chosen = list(owner)[part - 1 :: num_parts]
    if num_workers is None:
        num_workers = default_workers(sum(_num_bytes(owner[name], reader) for name in chosen))
    out.mkdir(parents=True, exist_ok=True)
    results = []
    done = _results([owner[name] for name in chosen], reader, out, num_workers, force, options)
    with tqdm(total=len(chosen), unit="room", disable=not progress) as bar:
        for result in done:
            results.append(result)
            bar.set_postfix_str(result.name)
            bar.update()
            if result.error:
                bar.write(f"{result.name}: {result.error}")
    order = {name: rank for rank, name in enumerate(chosen)}
    report = make_report(sorted(results, key=lambda result: order[result.name]), reader.group_of)
    write_report(report, out, shard)
    return report


def process_room(path: Path, reader: RoomReader, out: Path, force: bool, superpoints: SuperpointOptions) -> RoomResult:
    """Read one raw room, over-segment it and store it, unless the store has it already.

    Args:
        path: raw file or folder.
        reader: how to read it.
        out: folder of the processed rooms.
        force: process it even if it is up to date.
        superpoints: how they are made.

    Returns:
        What became of it; errors are told, not raised.
    """
    start = time.perf_counter()
    name = reader.name_of(path)
    try:
        remove_leftovers(out, name)
        classes = class_set(reader.class_set)
        own = "" if classes.name in CLASS_SETS else json.dumps(classes.to_dict())
        source = source_of(path, reader.files_of(path), f"{reader.settings} {_defaults()} {superpoints} {own}")
        if not force and is_current(out, name, classes.name, source):
            return RoomResult(name, "up to date", read_manifest(out / name), "", time.perf_counter() - start)
        scene, notes, *sources = reader.read(path)
        scene = superpoints.apply(scene)
        folder = write_room(
            out,
            scene,
            reader.class_set,
            source,
            notes,
            instance_sources=sources[0] if sources else None,
            superpoints=asdict(superpoints),
            command=reader.command,
        )
        return RoomResult(name, "written", read_manifest(folder), "", time.perf_counter() - start)
    except (ValueError, OSError) as error:
        return RoomResult(name, "failed", {}, str(error), time.perf_counter() - start)
    except Exception:
        return RoomResult(name, "fault", {}, traceback.format_exc(), time.perf_counter() - start)


def parse_shard(text: str) -> tuple[int, int]:
    """The shard that ``i/n`` names.

    Raises:
        ValueError: it is not of that form, or i is not in 1..n.
    """
    part, slash, whole = text.partition("/")
    if not slash or not part.isdigit() or not whole.isdigit() or not 1 <= int(part) <= int(whole):
        raise ValueError(f"expected a shard i/n with 1 <= i <= n, as in 2/4, got {text!r}")
    return int(part), int(whole)


def _results(
    paths: list[Path], reader: RoomReader, out: Path, num_workers: int, force: bool, superpoints: SuperpointOptions
) -> Iterator[RoomResult]:
    work = functools.partial(process_room, reader=reader, out=out, force=force, superpoints=superpoints)
    if num_workers == 1 or len(paths) == 1:
        return map(work, paths)
    # Large rooms first: none of them is left to run alone at the end.
    paths = sorted(paths, key=lambda path: -_num_bytes(path, reader))
    message = "a worker process was killed, perhaps for want of memory; run with fewer --workers"
    return (
        result or RoomResult(reader.name_of(path), "failed", {}, message, 0.0)
        for path, result in in_processes(work, paths, num_workers, preload=[__name__, reader.files_of.__module__])
    )


def _num_bytes(path: Path, reader: RoomReader) -> int:
    """Size of a raw room; 0 where it cannot be told, as processing it will say why."""
    try:
        return sum(file.stat().st_size for file in reader.files_of(path))
    except (ValueError, OSError):
        return 0


def _defaults() -> str:
    """Defaults of the over-segmentation: when they change, processed rooms are out of date."""
    functions = (over_segment, over_segment_mesh)
    return str([(p.name, p.default) for f in functions for p in inspect.signature(f).parameters.values()])
