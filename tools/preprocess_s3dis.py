"""Raw S3DIS to processed rooms.

tools/preprocess_s3dis.py RAW OUT [--workers N] [--areas 5 6] [--force] [--json FILE]
"""

import argparse
from pathlib import Path

from pcseg.cli import run_tool, write_json
from pcseg.data import s3dis
from pcseg.data.preprocess import RoomReader, format_report, preprocess, raise_failures


def main() -> None:
    parser = argparse.ArgumentParser(description="Raw S3DIS (Area_N/ROOM/Annotations/CLASS_I.txt) to processed rooms.")
    parser.add_argument("raw", type=Path, help="folder that holds Area_1 .. Area_6")
    parser.add_argument("out", type=Path, help="folder for the processed rooms")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument("--areas", type=int, nargs="+", help="numbers of the areas wanted (all)")
    parser.add_argument("--voxel-size", type=float, default=0.02, help="of the over-segmentation, in metres (0.02)")
    parser.add_argument("--force", action="store_true", help="process rooms again that are up to date")
    parser.add_argument("--json", type=Path, help="write the report here as well")
    args = parser.parse_args()

    rooms = s3dis.find_rooms(args.raw, args.areas)
    reader = RoomReader("s3dis", s3dis.room_name, s3dis.room_files, s3dis.read_room)
    report = preprocess(rooms, reader, args.out, num_workers=args.workers, force=args.force, voxel_size=args.voxel_size)
    print(format_report(report))
    if args.json:
        write_json(args.json, report)
    raise_failures(report)


if __name__ == "__main__":
    run_tool(main)
