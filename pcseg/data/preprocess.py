"""Raw rooms to processed ones, many at a time; what the preprocessing tools share."""

import argparse
import inspect
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib
from tqdm import tqdm

from pcseg.classes import CLASS_SETS, class_set
from pcseg.data.preprocess_report import (
    REPORT,
    RoomResult,
    format_report,
    make_report,
    raise_failures,
    report_text,
)
from pcseg.data.store import RawRoom, is_current, read_manifest, remove_leftovers, source_of, write_room
from pcseg.files import atomic_write
from pcseg.ops.superpoints import SuperpointOptions, over_segment, over_segment_mesh
from pcseg.parallel import add_parallel_options, map_rooms

# Amount of raw data that justifies one more worker process.
_BYTES_PER_WORKER = 16 * 2**20


@dataclass(frozen=True)
class RoomReader:
    """How to read the rooms of a dataset.

    Its functions go to worker processes, so they must pickle.

    Args:
        class_set: name or YAML file of the class set of the labels.
        name_of: gives the name of the room of a raw path.
        files_of: gives every raw file that a room is made from.
        read: reads a room.
        settings: other settings that decide what `read` gives; a change makes rooms out of date.
        group_of: gives the part of the dataset to which the report counts a room name; None for no parts.
    """

    class_set: str
    name_of: Callable[[Path], str]
    files_of: Callable[[Path], list[Path]]
    read: Callable[[Path], RawRoom]
    settings: str = ""
    group_of: Callable[[str], str] | None = None


def superpoints_of(rooms: Sequence[Path]) -> SuperpointOptions | None:
    """The superpoint settings of processed rooms, to use for new scans too.

    Args:
        rooms: folders of processed rooms.

    Returns:
        The settings in their manifests; None if one has none, or if they differ.

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
    progress: bool = True,
) -> dict:
    """Processes raw rooms into a store and writes report.json there; a room that fails does not stop the others.

    Args:
        paths: raw files or folders, one per room.
        reader: how to read them.
        out: folder of the processed rooms.
        superpoints: how to make superpoints.
        workers: number of processes; None chooses a number by the amount of data, at most one per core.
        cluster: address of a Dask scheduler, whose workers replace `workers`; see `map_rooms`.
        force: process rooms again that are up to date.
        shard: (i, n) takes every n-th room from the i-th on, counted from 1, so that n machines share the work; the
            report is then report_i_of_n.json.
        command: command that makes the rooms, for their manifests.
        progress: show a progress bar.

    Returns:
        The report: rooms, points, instances of each class, repairs and notes, checksums, and failed rooms.

    Raises:
        ValueError: no rooms, two rooms of one name, or arguments out of range.
    """
    part, num_parts = shard
    if not 1 <= part <= num_parts:
        raise ValueError(f"expected a shard i/n with 1 <= i <= n, got {part}/{num_parts}")
    owner: dict[str, Path] = {}
    for path in paths:
        name = reader.name_of(path)
        if name in owner:
            raise ValueError(f"{path}: room {name} would be written twice, {owner[name]} has the same name; rename one")
        owner[name] = path
    if not owner:
        raise ValueError("no rooms to process")
    chosen = list(owner)[part - 1 :: num_parts]
    size = {owner[name]: _num_bytes(owner[name], reader) for name in chosen}
    if workers is None:
        workers = max(1, min(joblib.cpu_count(), sum(size.values()) // _BYTES_PER_WORKER))
    out.mkdir(parents=True, exist_ok=True)
    work = _Work(reader, out, superpoints or SuperpointOptions(), force, command)
    results = {}
    # Large rooms first, so that none of them runs alone at the end.
    done = map_rooms(work, sorted(size, key=lambda path: -size[path]), workers=workers, cluster=cluster)
    with tqdm(total=len(chosen), unit="room", disable=not progress) as bar:
        for path, result in done:
            name = reader.name_of(path)
            results[name] = result if isinstance(result, RoomResult) else RoomResult(name, error=str(result))
            bar.set_postfix_str(name)
            bar.update()
            if results[name].error:
                bar.write(f"{name}: {results[name].error}")
    report = make_report([results[name] for name in chosen], reader.group_of)
    atomic_write(out / (REPORT if num_parts == 1 else f"report_{part}_of_{num_parts}.json"), report_text(report))
    return report


@dataclass(frozen=True)
class _Work:
    """Reads a raw room, over-segments it and stores it, unless the store has it already."""

    reader: RoomReader
    out: Path
    superpoints: SuperpointOptions
    force: bool
    command: str

    def __call__(self, path: Path) -> RoomResult:
        start = time.perf_counter()
        reader, out, name = self.reader, self.out, self.reader.name_of(path)
        remove_leftovers(out, name)
        classes = class_set(reader.class_set)
        own = "" if classes.name in CLASS_SETS else json.dumps(classes.to_dict())
        source = source_of(path, reader.files_of(path), f"{reader.settings} {_defaults()} {self.superpoints} {own}")
        if not self.force and is_current(out, name, classes.name, source):
            return RoomResult(name, "up to date", read_manifest(out / name), seconds=time.perf_counter() - start)
        room = reader.read(path)
        folder = write_room(
            out,
            self.superpoints.apply(room.scene),
            reader.class_set,
            source,
            room.notes,
            instance_sources=room.instance_sources,
            superpoints=asdict(self.superpoints),
            command=self.command,
        )
        return RoomResult(name, "written", read_manifest(folder), seconds=time.perf_counter() - start)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that all preprocessing tools share."""
    add_parallel_options(parser, default=None, note="default: one per core, fewer for little work")
    parser.add_argument(
        "--shard", type=_shard, default=(1, 1), metavar="I/N", help="process every N-th room, starting with the I-th"
    )
    parser.add_argument(
        "--superpoints",
        choices=["graph", "voxel"],
        default="graph",
        help="graph: superpoints of the scan, or made from its mesh or points; voxel: coarse voxels (default: graph)",
    )
    parser.add_argument(
        "--voxel-size", type=float, default=0.02, help="voxel size for merging points, in meters (default: 0.02)"
    )
    parser.add_argument(
        "--max-superpoints",
        type=int,
        default=2000,
        help="maximum number of superpoints of a point cloud (default: 2000)",
    )
    parser.add_argument(
        "--coarse-voxel-size", type=float, default=0.2, help="size of --superpoints voxel, in meters (default: 0.2)"
    )
    parser.add_argument("--force", action="store_true", help="process rooms again even if they are up to date")
    parser.add_argument("--json", type=Path, help="also write the report as JSON")


def run(paths: Sequence[Path], reader: RoomReader, args: argparse.Namespace) -> None:
    """Preprocesses as a command line says, prints the report, and raises where a room failed.

    Args:
        paths: raw files or folders, one per room.
        reader: how to read them.
        args: `out` and the options of `add_options`.

    Raises:
        ValueError: an option is out of range, or a room failed; all failed rooms are named.
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
        command=_command(),
    )
    print(format_report(report))
    if args.json:
        atomic_write(args.json, report_text(report))
    raise_failures(report)


def _shard(text: str) -> tuple[int, int]:
    part, slash, whole = text.partition("/")
    if not slash or not part.isdigit() or not whole.isdigit():
        raise argparse.ArgumentTypeError(f"expected I/N, for example 2/4, got {text!r}")
    return int(part), int(whole)


def _command() -> str:
    """The current command line without the options that do not change the rooms."""
    words, skip = [], False
    for word in sys.argv[1:]:
        drop = word in ("--shard", "--workers", "--cluster", "--json")
        if not skip and not drop and word != "--force":
            words.append(word)
        skip = drop
    return shlex.join(["python", f"tools/{Path(sys.argv[0]).name}", *words])


def _num_bytes(path: Path, reader: RoomReader) -> int:
    """Size of a raw room; 0 if it is unknown, as processing it will say why."""
    try:
        return sum(file.stat().st_size for file in reader.files_of(path))
    except (ValueError, OSError):
        return 0


def _defaults() -> str:
    """Defaults of the over-segmentation: when they change, processed rooms are out of date."""
    functions = (over_segment, over_segment_mesh)
    return str([(p.name, p.default) for f in functions for p in inspect.signature(f).parameters.values()])
