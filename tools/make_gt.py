"""Write ground truth in ScanNet benchmark format, for tools/evaluate.py.

tools/make_gt.py ROOMS OUT [PATTERN...] [--json FILE]

ROOMS: folder of processed rooms (tools/preprocess_*.py). OUT/ROOM.txt: one number per point, label id * 1000 +
instance, or 0 for unannotated points. Rooms without labels are listed and skipped.
"""

import argparse
import sys
from pathlib import Path

from pcseg.cli import run_tool
from pcseg.commands.results import claim
from pcseg.data.store import classes_of, list_rooms, read_manifest, read_room
from pcseg.files import write_json
from pcseg.metrics.benchmark_files import write_ground_truth
from pcseg.prediction import counted


def main() -> None:
    parser = argparse.ArgumentParser(description="Write ground truth of processed rooms in ScanNet benchmark format.")
    parser.add_argument("rooms", type=Path, help="folder of processed rooms")
    parser.add_argument("out", type=Path, help="output folder")
    parser.add_argument(
        "patterns", nargs="*", default=["*"], help="globs of room names such as Area_5_* (default: all)"
    )
    parser.add_argument("--json", type=Path, help="also write the room names as JSON")
    args = parser.parse_args()

    claimed = claim(args.json)
    written: list[str] = []
    unlabeled: list[str] = []
    for folder in list_rooms(args.rooms, args.patterns):
        scene = read_room(folder)
        if scene.semantic is None or scene.instance is None:
            unlabeled.append(scene.name)
            continue
        write_ground_truth(args.out, scene, classes_of(read_manifest(folder)))
        written.append(scene.name)
    if unlabeled:
        print(f"{len(unlabeled)} rooms have no labels and were left out: {', '.join(unlabeled)}", file=sys.stderr)
    if not written:
        raise ValueError(f"{args.rooms}: no room has labels; there is no ground truth to write")
    print(f"{args.out}: {counted(len(written), 'room')}")
    if args.json:
        write_json(args.json, {"written": written, "unlabeled": unlabeled})
    claimed()


if __name__ == "__main__":
    run_tool(main)
