"""Raw ScanNet to processed rooms.

tools/preprocess_scannet.py RAW OUT [--workers N] [--classes scannet20] [--labels FILE] [--force] [--json FILE]
"""

import argparse
import functools
from pathlib import Path

from pcseg.cli import run_tool, write_json
from pcseg.data import scannet
from pcseg.data.preprocess import RoomReader, format_report, preprocess, raise_failures
from pcseg.labels import class_set


def main() -> None:
    parser = argparse.ArgumentParser(description="Raw ScanNet (scans/sceneNNNN_NN/...) to processed rooms.")
    parser.add_argument("raw", type=Path, help="folder that holds scans/ and scannetv2-labels.combined.tsv")
    parser.add_argument("out", type=Path, help="folder for the processed rooms")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument("--classes", choices=sorted(scannet.LABEL_COLUMNS), default="scannet20")
    parser.add_argument("--labels", type=Path, help=f"the label table (RAW/{scannet.LABEL_TABLE})")
    parser.add_argument("--force", action="store_true", help="process rooms again that are up to date")
    parser.add_argument("--json", type=Path, help="write the report here as well")
    args = parser.parse_args()

    rooms = scannet.find_rooms(args.raw)
    table = args.labels or args.raw / scannet.LABEL_TABLE
    reader = RoomReader(
        class_set(args.classes).name,
        scannet.room_name,
        functools.partial(scannet.room_files, label_table=table),
        functools.partial(scannet.read_room, label_table=table, class_set=args.classes),
    )
    report = preprocess(rooms, reader, args.out, num_workers=args.workers, force=args.force)
    print(format_report(report))
    if args.json:
        write_json(args.json, report)
    raise_failures(report)


if __name__ == "__main__":
    run_tool(main)
