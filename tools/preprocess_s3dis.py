"""Raw S3DIS to processed rooms.

tools/preprocess_s3dis.py RAW OUT [--workers N] [--areas 5 6] [--force] [--json FILE]
"""

import argparse
from pathlib import Path

from pcseg.cli import run_tool, write_json
from pcseg.data import s3dis
from pcseg.data.preprocess import RoomReader, format_report, preprocess, raise_failures
from pcseg.data.preprocess_options import add_options, command_of, keywords_of


def main() -> None:
    parser = argparse.ArgumentParser(description="Raw S3DIS (Area_N/ROOM/Annotations/CLASS_I.txt) to processed rooms.")
    parser.add_argument("raw", type=Path, help="folder that holds Area_1 .. Area_6")
    parser.add_argument("out", type=Path, help="folder for the processed rooms")
    parser.add_argument("--areas", type=int, nargs="+", help="numbers of the areas wanted (all)")
    add_options(parser)
    args = parser.parse_args()

    rooms = s3dis.find_rooms(args.raw, args.areas)
    reader = RoomReader(
        "s3dis",
        s3dis.room_name,
        s3dis.room_files,
        s3dis.read_room_with_files,
        group_of=s3dis.area_of,
        command=command_of("preprocess_s3dis.py"),
    )
    report = preprocess(rooms, reader, args.out, **keywords_of(args))
    print(format_report(report))
    if args.json:
        write_json(args.json, report)
    raise_failures(report)


if __name__ == "__main__":
    run_tool(main)
