"""Raw rooms to processed ones, many at a time; what the preprocessing tools share."""

import argparse
import hashlib
import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from inspect import signature
from pathlib import Path

import joblib
import numpy as np

from pcseg.classes import CLASS_SETS, ClassSet, class_set
from pcseg.data.reader_options import as_flags
from pcseg.data.store import (
    RawRoom,
    is_current,
    read_manifest,
    remove_leftovers,
    rooms_without_source,
    source_of,
    write_room,
)
from pcseg.files import first_of, write_json
from pcseg.ops.superpoints import SuperpointOptions, over_segment, over_segment_mesh
from pcseg.parallel import map_rooms, progress_bar
from pcseg.prediction import counted
from pcseg.structures import Scene

REPORT = "report.json"
# Amount of raw data that justifies one more worker process.
_BYTES_PER_WORKER = 16 * 2**20


@dataclass(frozen=True)
class RoomReader:
    """How to read the rooms of a dataset. Its functions go to worker processes, so they must pickle."""

    class_set: str  # name or YAML file of the class set of the labels
    name_of: Callable[[Path], str]  # name of the room of a raw path
    files_of: Callable[[Path], list[Path]]  # every raw file that a room is made from
    read: Callable[[Path], RawRoom]
    settings: str = ""  # other settings that decide what `read` gives; a change makes rooms out of date
    group_of: Callable[[str], str] | None = None  # part of the dataset to which the report counts a room name


def superpoints_of(rooms: Sequence[Path]) -> SuperpointOptions | None:
    """The superpoint settings in the manifests of rooms, to use for new scans; None if one has none or they differ.

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
    superpoints: SuperpointOptions | None = None,
    workers: int | None = 1,
    cluster: str | None = None,
    force: bool = False,
    shard: tuple[int, int] = (1, 1),
    command: str = "",
) -> dict:
    """Processes raw rooms into a store and writes report.json there; a room that fails does not stop the others.

    Args:
        paths: raw files or folders, one per room.
        reader: how to read them.
        out: folder of the processed rooms.
        superpoints: how to make superpoints; None for the defaults.
        workers: number of processes; None chooses a number by the amount of data, at most one per core.
        cluster: address of a Dask scheduler, whose workers replace `workers`; see `map_rooms`.
        force: process rooms again that are up to date.
        shard: (i, n) takes every n-th room from the i-th on, counted from 1, so that n machines share the work; the
            report is then report_i_of_n.json.
        command: command that makes the rooms, for their manifests.

    Returns:
        The report: rooms, points, instances of each class, repairs and notes, checksums, failed rooms, and rooms in
        the store whose raw files are gone.

    Raises:
        ValueError: no rooms, two rooms of one name, or arguments out of range.
    """
    part, num_parts = shard
    if not 1 <= part <= num_parts:
        raise ValueError(f"expected a shard i/n with 1 <= i <= n, got {part}/{num_parts}")
    owner = _by_name(paths, reader)
    chosen = list(owner)[part - 1 :: num_parts]
    size = {owner[name]: _num_bytes(owner[name], reader) for name in chosen}
    if workers is None:
        workers = max(1, min(joblib.cpu_count(), sum(size.values()) // _BYTES_PER_WORKER))
    out.mkdir(parents=True, exist_ok=True)
    superpoints = superpoints or SuperpointOptions()
    work = partial(_process, reader=reader, out=out, superpoints=superpoints, force=force, command=command)
    results: dict[str, dict | Exception] = {}
    # Rooms of an earlier run first, since checking them takes little time. Then large ones, so that none of them runs
    # alone at the end.
    order = sorted(size, key=lambda path: (not (out / reader.name_of(path)).exists(), -size[path]))
    done = map_rooms(work, order, workers=workers, cluster=cluster)
    bar = progress_bar(done, total=len(chosen), unit="room")
    for path, result in bar:
        name = reader.name_of(path)
        results[name] = result
        bar.set_postfix_str(name)
        if isinstance(result, Exception):
            bar.write(as_flags(f"{name}: {result}"), file=sys.stderr)
    report = _report({name: results[name] for name in chosen}, reader.group_of)
    report["gone"] = {name: path for name, path in rooms_without_source(out).items() if name not in owner}
    name = REPORT if num_parts == 1 else f"report_{part}_of_{num_parts}.json"
    write_json(out / name, report)
    return report


def _by_name(paths: Sequence[Path], reader: RoomReader) -> dict[str, Path]:
    """The paths by the names of their rooms."""
    owner: dict[str, Path] = {}
    for path in paths:
        name = reader.name_of(path)
        if name in owner:
            raise ValueError(f"{path}: room {name} would be written twice, {owner[name]} has the same name; rename one")
        owner[name] = path
    if not owner:
        raise ValueError("no rooms to process")
    return owner


def _process(
    path: Path, *, reader: RoomReader, out: Path, superpoints: SuperpointOptions, force: bool, command: str
) -> dict:
    """Reads a raw room, over-segments it and stores it, unless the store has it already.

    Returns its manifest, with the status "written" or "up to date" and the seconds that it took.
    """
    start, name = time.perf_counter(), reader.name_of(path)
    remove_leftovers(out, name)
    classes = class_set(reader.class_set)
    custom = "" if classes.name in CLASS_SETS else json.dumps(classes.to_dict())
    # When the defaults of the over-segmentation change, processed rooms are out of date.
    functions = (over_segment, over_segment_mesh)
    defaults = [(p.name, p.default) for f in functions for p in signature(f).parameters.values()]
    source = source_of(path, reader.files_of(path), f"{reader.settings} {defaults} {superpoints} {custom}")
    status = "up to date"
    if force or not is_current(out, name, classes.name, source):
        status, room = "written", reader.read(path)
        notes = room.notes + [f"{path.name}: {note}" for note in _notes_on_labels(room.scene, classes)]
        write_room(
            out,
            superpoints.apply(room.scene),
            reader.class_set,
            source,
            notes,
            advice=room.advice,
            instance_sources=room.instance_sources,
            superpoints=asdict(superpoints),
            command=command,
        )
    manifest = read_manifest(out / name)
    if found := manifest.get("instances_per_class"):  # the report has those that AP counts
        found = {key: count for key, count in found.items() if key in classes.instance_names}
        manifest |= {"instances_per_class": found, "num_instances": sum(found.values())}
    return {**manifest, "status": status, "seconds": time.perf_counter() - start}


def _notes_on_labels(scene: Scene, classes: ClassSet) -> list[str]:
    """A note on points of object classes that belong to no instance, if there are any."""
    if scene.semantic is None or scene.instance is None:
        return []
    labels = scene.semantic[(scene.instance == 0) & (scene.semantic >= 0)]
    counts = np.bincount(labels, minlength=len(classes))
    objects = [index for index in classes.instance_classes if counts[index] and not classes.is_stuff[index]]
    found = ", ".join(f"{counts[index]:,} of {classes.names[index]}" for index in objects)
    return [f"Some points of objects have no instance: {found}."] if found else []


def run(paths: Sequence[Path], reader: RoomReader, args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Preprocesses as a command line says, reports, and raises where a room failed.

    Args:
        paths: raw files or folders, one per room.
        reader: how to read them.
        args: `out`, `command_line`, and the options of `add_prepare_options`.
        say: called with the report as a table.

    Raises:
        ValueError: an option is out of range, or a room failed.
    """
    report = preprocess(
        paths,
        reader,
        args.out,
        superpoints=SuperpointOptions(args.superpoints, args.voxel_size, args.max_superpoints, args.coarse_voxel_size),
        workers=args.workers,
        cluster=args.cluster,
        force=args.force,
        shard=args.shard,
        command=_command(args.command_line),
    )
    say(_table(report, args.out))
    if args.json:
        write_json(args.json, report)
    if failed := report["failed"]:
        num_rooms = report["rooms"] + len(failed)
        raise ValueError(f"{len(failed)} of {num_rooms} rooms failed, reasons above: {first_of([*failed])}")


def _command(line: Sequence[str]) -> str:
    """A command line without the options that do not change the rooms."""
    kept, words = [], iter(line)
    for word in words:
        if word in ("--shard", "--workers", "--cluster", "--json"):
            next(words, None)  # its value
        elif word != "--force":
            kept.append(word)
    return shlex.join(kept)


def _num_bytes(path: Path, reader: RoomReader) -> int:
    """Size of a raw room; 0 if it is unknown, as processing it will say why."""
    try:
        return sum(file.stat().st_size for file in reader.files_of(path))
    except (ValueError, OSError):
        return 0


def _report(results: dict[str, dict | Exception], group_of: Callable[[str], str] | None) -> dict:
    """Counts and checksums over all rooms, over each group of rooms, and for each room; JSON types only."""
    manifests = {room: result for room, result in results.items() if isinstance(result, dict)}
    per_class: dict[str, Counter[str]] = {}
    groups: dict[str, dict[str, dict]] = {}
    for room, manifest in manifests.items():
        for kind in ("points", "instances"):
            for name, count in manifest.get(f"{kind}_per_class", {}).items():
                per_class.setdefault(name, Counter())[kind] += count
        if group_of is not None:
            groups.setdefault(group_of(room), {})[room] = manifest
    return {
        **_totals(manifests),
        "written": sum(manifest["status"] == "written" for manifest in manifests.values()),
        "up_to_date": sum(manifest["status"] == "up to date" for manifest in manifests.values()),
        "classes": per_class,
        "groups": {group: _totals(members) for group, members in groups.items()},
        "repairs": {room: manifest["notes"] for room, manifest in manifests.items() if manifest["notes"]},
        "advice": {room: advice for room, manifest in manifests.items() if (advice := manifest.get("advice"))},
        "failed": {room: str(result) for room, result in results.items() if isinstance(result, Exception)},
        "per_room": {
            room: {
                "status": manifest["status"],
                "points": manifest["num_points"],
                "superpoints": manifest["num_superpoints"],
                "instances": manifest.get("num_instances"),
                "repairs": len(manifest["notes"]),
                "sha256": manifest["sha256"],
                "seconds": round(manifest["seconds"], 3),
            }
            for room, manifest in manifests.items()
        },
    }


def _totals(manifests: dict[str, dict]) -> dict:
    """Counts, and a checksum over names and arrays that does not depend on the order."""
    lines = "".join(f"{name} {manifests[name]['sha256']}\n" for name in sorted(manifests))
    return {
        "rooms": len(manifests),
        "points": sum(manifest["num_points"] for manifest in manifests.values()),
        "superpoints": sum(manifest["num_superpoints"] for manifest in manifests.values()),
        "instances": sum(manifest.get("num_instances", 0) for manifest in manifests.values()),
        "num_repairs": sum(len(manifest["notes"]) for manifest in manifests.values()),
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
    }


def _table(report: dict, out: Path) -> str:
    """The report as short tables."""
    lines = [
        f"{counted(report['rooms'], 'room')} ({report['written']} written, {report['up_to_date']} up to date, "
        f"{len(report['failed'])} failed), {report['points']:,} points, "
        f"{report['superpoints']:,} superpoints, {counted(report['instances'], 'instance')}"
    ]
    if report["classes"]:
        lines.append(f"{'class':<16}{'instances':>10}{'points':>14}")
        for name, counts in report["classes"].items():
            if counts["points"]:
                instances = f"{counts['instances']:,}" if "instances" in counts else "-"
                lines.append(f"{name:<16}{instances:>10}{counts['points']:>14,}")
        if rest := report["points"] - sum(counts["points"] for counts in report["classes"].values()):
            lines.append(f"{'no class':<16}{'-':>10}{rest:>14,}")
        if absent := [name for name, counts in report["classes"].items() if not counts["points"]]:
            lines.append(f"warning: no point has these classes of the class set: {', '.join(absent)}")
    keys = ("rooms", "points", "superpoints", "instances", "num_repairs")
    lines.append(f"{'':<16}" + "".join(f"{key.removeprefix('num_'):>14}" for key in keys) + "  sha256")
    for group, totals in {**report["groups"], "all": report}.items():
        lines.append(f"{group:<16}" + "".join(f"{totals[key]:>14,}" for key in keys) + f"  {totals['sha256'][:16]}")
    lines.append(f"{report['num_repairs']} repairs and notes{':' if report['num_repairs'] else ''}")
    lines += [f"  {note}" for notes in report["repairs"].values() for note in notes][:20]
    if report["num_repairs"] > 20:
        lines.append(f"  ... the others are in {REPORT}")
    if report["advice"]:
        lines += ["what looks wrong and was left as it is:"]
        lines += [f"  {text}" for texts in report["advice"].values() for text in texts][:20]
    if gone := report["gone"]:
        found = f"{counted(len(gone), 'room')} in {out} whose scan is gone"
        names = first_of([f"{name} ({path})" for name, path in gone.items()])
        lines.append(f"warning: {found}: {names}; training uses such rooms until you delete their folders")
    return "\n".join(lines)
