"""Convert raw S3DIS to processed rooms.

tools/preprocess_s3dis.py RAW OUT [--workers N] [--areas 5 6] [--force] [--json FILE]
"""

import argparse
from pathlib import Path

from pcseg.cli import run_tool
from pcseg.data import s3dis
from pcseg.data.preprocess import RoomReader, add_options, run


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Convert raw S3DIS (Area_N/ROOM/Annotations/CLASS_I.txt) to processed rooms."
    )
    parser.add_argument("raw", type=Path, help="folder with Area_1 to Area_6")
    parser.add_argument("out", type=Path, help="folder for the processed rooms")
    parser.add_argument("--areas", type=int, nargs="+", help="numbers of the areas to process (default: all)")
    add_options(parser)
    args = parser.parse_args()
    reader = RoomReader("s3dis", s3dis.room_name, s3dis.room_files, s3dis.read_room, group_of=s3dis.area_of)
    run(s3dis.find_rooms(args.raw, args.areas), reader, args)


if __name__ == "__main__":
    run_tool(main)
