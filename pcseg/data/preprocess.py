"""Raw rooms to processed ones, in several processes, with a report; what the preprocessing tools share."""

import contextlib
import inspect
import json
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pcseg.data.store import is_current, read_manifest, source_of, write_room
from pcseg.ops.superpoints import over_segment, over_segment_mesh
from pcseg.structures import Scene

REPORT = "report.json"


@dataclass(frozen=True)
class RoomReader:
    """How the rooms of one dataset are read; its functions go to worker processes, so they stand at top level.

    Args:
        class_set: name of the class set of the labels.
        name_of: name of the room of a raw path.
        files_of: every raw file that a room is made from.
        read: the room and one line of text per repair.
        settings: whatever else decides what `read` gives; a change of it makes rooms out of date.
    """

    class_set: str
    name_of: Callable[[Path], str]
    files_of: Callable[[Path], list[Path]]
    read: Callable[[Path], tuple[Scene, list[str]]]
    settings: str = ""


@dataclass(frozen=True)
class RoomResult:
    """What became of one room.

    Args:
        name: of the room.
        status: "written", "up to date", "failed" (bad input) or "fault" (ours).
        manifest: of the processed room; empty where it failed.
        error: one sentence for "failed", a traceback for "fault", otherwise empty.
        seconds: wall time.
    """

    name: str
    status: str
    manifest: dict
    error: str
    seconds: float


def preprocess(
    paths: Sequence[Path],
    reader: RoomReader,
    out: Path,
    *,
    num_workers: int = 1,
    force: bool = False,
    voxel_size: float = 0.02,
    progress: bool = True,
) -> dict:
    """Process raw rooms into a store and write report.json there; a room that fails does not stop the others.

    Args:
        paths: raw files or folders, one per room.
        reader: how to read them.
        out: folder of the processed rooms.
        num_workers: processes.
        force: process rooms again that are up to date.
        voxel_size: of the over-segmentation, in metres.
        progress: show a bar.

    Returns:
        The report: rooms, points, instances of each class, repairs and notes, and what failed.

    Raises:
        ValueError: no rooms, two rooms of one name, or parameters out of range.
    """
    if num_workers < 1:
        raise ValueError(f"expected at least 1 worker, got {num_workers}")
    if not voxel_size > 0:
        raise ValueError(f"expected a voxel size above 0, got {voxel_size}")
    owner: dict[str, Path] = {}
    for path in paths:
        name = reader.name_of(path)
        if name in owner:
            raise ValueError(f"{path}: room {name} would be written twice, {owner[name]} has the same name; rename one")
        owner[name] = path
    if not owner:
        raise ValueError("no rooms to process")
    out.mkdir(parents=True, exist_ok=True)
    results = []
    with tqdm(total=len(owner), unit="room", disable=not progress) as bar:
        for result in _results(list(paths), reader, out, num_workers, force, voxel_size):
            results.append(result)
            bar.set_postfix_str(result.name)
            bar.update()
            if result.error:
                bar.write(f"{result.name}: {result.error}")
    order = {name: rank for rank, name in enumerate(owner)}
    report = make_report(sorted(results, key=lambda result: order[result.name]))
    temporary = out / f".{REPORT}.{os.getpid()}"
    temporary.write_text(json.dumps(report, indent=1) + "\n")
    temporary.replace(out / REPORT)
    return report


def process_room(path: Path, reader: RoomReader, out: Path, force: bool, voxel_size: float) -> RoomResult:
    """Read one raw room, over-segment it and store it, unless the store has it already.

    Args:
        path: raw file or folder.
        reader: how to read it.
        out: folder of the processed rooms.
        force: process it even if it is up to date.
        voxel_size: of the over-segmentation, in metres.

    Returns:
        What became of it; errors are told, not raised.
    """
    start = time.perf_counter()
    name = reader.name_of(path)
    try:
        settings = f"{reader.settings} {_superpoint_settings()} voxel_size={voxel_size}"
        source = source_of(path, reader.files_of(path), settings)
        if not force and is_current(out, name, reader.class_set, source):
            return RoomResult(name, "up to date", read_manifest(out / name), "", time.perf_counter() - start)
        scene, notes = reader.read(path)
        if scene.superpoint is None:
            if scene.faces is not None and len(scene.faces):
                superpoint = over_segment_mesh(scene.xyz, scene.faces)
            else:
                superpoint = over_segment(scene.xyz, scene.rgb, voxel_size=voxel_size)
            scene = scene.with_(superpoint=superpoint)
        folder = write_room(out, scene, reader.class_set, source, notes)
        return RoomResult(name, "written", read_manifest(folder), "", time.perf_counter() - start)
    except (ValueError, OSError) as error:
        return RoomResult(name, "failed", {}, str(error), time.perf_counter() - start)
    except Exception:
        return RoomResult(name, "fault", {}, traceback.format_exc(), time.perf_counter() - start)


def make_report(results: Sequence[RoomResult]) -> dict:
    """Counts over all rooms, and each room's own; JSON types only."""
    done = [result for result in results if result.manifest]
    per_class: dict[str, dict[str, int]] = {}
    for result in done:
        for kind in ("points", "instances"):
            for name, count in result.manifest.get(f"{kind}_per_class", {}).items():
                counts = per_class.setdefault(name, {"points": 0, "instances": 0})
                counts[kind] += count
    return {
        "rooms": len(done),
        "written": sum(result.status == "written" for result in results),
        "up_to_date": sum(result.status == "up to date" for result in results),
        "points": sum(result.manifest["num_points"] for result in done),
        "superpoints": sum(result.manifest["num_superpoints"] for result in done),
        "instances": sum(result.manifest.get("num_instances", 0) for result in done),
        "classes": per_class,
        "num_repairs": sum(len(result.manifest["notes"]) for result in done),
        "repairs": {result.name: result.manifest["notes"] for result in done if result.manifest["notes"]},
        "failed": {result.name: result.error for result in results if result.status == "failed"},
        "faults": {result.name: result.error for result in results if result.status == "fault"},
        "per_room": {
            result.name: {
                "status": result.status,
                "points": result.manifest["num_points"],
                "superpoints": result.manifest["num_superpoints"],
                "instances": result.manifest.get("num_instances"),
                "seconds": round(result.seconds, 3),
            }
            for result in done
        },
    }


def format_report(report: dict) -> str:
    """The report as a short table."""
    lines = [
        f"{report['rooms']} rooms ({report['written']} written, {report['up_to_date']} up to date, "
        f"{len(report['failed']) + len(report['faults'])} failed), {report['points']:,} points, "
        f"{report['superpoints']:,} superpoints, {report['instances']:,} instances"
    ]
    if report["classes"]:
        lines.append(f"{'class':<16}{'instances':>10}{'points':>14}")
        for name, counts in report["classes"].items():
            lines.append(f"{name:<16}{counts['instances']:>10,}{counts['points']:>14,}")
    lines.append(f"{report['num_repairs']} repairs and notes{':' if report['num_repairs'] else ''}")
    lines += [f"  {note}" for notes in report["repairs"].values() for note in notes][:20]
    if report["num_repairs"] > 20:
        lines.append(f"  ... all of them in {REPORT}")
    return "\n".join(lines)


def raise_failures(report: dict) -> None:
    """Raise where a report has rooms that failed.

    Raises:
        ValueError: rooms with bad input, all named.
        RuntimeError: rooms that failed by a fault of ours.
    """
    if report["faults"]:
        name, error = next(iter(report["faults"].items()))
        raise RuntimeError(f"{len(report['faults'])} rooms failed by a fault of pcseg, the first is {name}:\n{error}")
    failed = report["failed"]
    if len(failed) == 1:
        name, error = next(iter(failed.items()))
        raise ValueError(f"room {name} failed: {error}")
    if failed:
        total = report["rooms"] + len(failed)
        listed = "".join(f"\n  {name}: {error}" for name, error in failed.items())
        raise ValueError(f"{len(failed)} of {total} rooms failed:{listed}")


def _results(
    paths: list[Path], reader: RoomReader, out: Path, num_workers: int, force: bool, voxel_size: float
) -> Iterator[RoomResult]:
    if num_workers == 1 or len(paths) == 1:
        for path in paths:
            yield process_room(path, reader, out, force, voxel_size)
        return
    threads = max(1, (os.cpu_count() or 1) // num_workers)
    pool = ProcessPoolExecutor(
        min(num_workers, len(paths)), multiprocessing.get_context("spawn"), _limit_threads, (threads,)
    )
    with contextlib.ExitStack() as stack:
        # On Ctrl-C and errors rooms that have not begun are not begun.
        stack.callback(pool.shutdown, cancel_futures=True)
        futures: dict[Future[RoomResult], Path] = {
            pool.submit(process_room, path, reader, out, force, voxel_size): path for path in paths
        }
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                message = "a worker process was killed, perhaps for want of memory; run with fewer --workers"
                yield RoomResult(reader.name_of(futures[future]), "failed", {}, message, 0.0)


def _superpoint_settings() -> str:
    """Defaults of the over-segmentation: when they change, processed rooms are out of date."""
    functions = (over_segment, over_segment_mesh)
    return str([(p.name, p.default) for f in functions for p in inspect.signature(f).parameters.values()])


def _limit_threads(num_threads: int) -> None:
    # Not at the top: the shape checks of the tests leave out modules that import numba there.
    import numba

    numba.set_num_threads(min(num_threads, numba.get_num_threads()))
