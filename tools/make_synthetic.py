"""Makes synthetic rooms in the raw layout of S3DIS or ScanNet."""

import argparse
from pathlib import Path

import joblib
from tqdm import tqdm

from pcseg.cli import run_tool
from pcseg.parallel import add_parallel_options
from pcseg.synthetic import FORMATS, write_rooms


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to; it is created")
    parser.add_argument("--format", choices=FORMATS, required=True, help="raw layout to write")
    parser.add_argument("--rooms", type=int, default=12, metavar="N", help="number of rooms (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="room i depends on the seed and i alone (default: 0)")
    parser.add_argument("--points", type=int, default=60_000, help="points of a room of average size (default: 60000)")
    add_parallel_options(parser, default=joblib.cpu_count(), note="default: one per core")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    rooms = write_rooms(
        args.out,
        format=args.format,
        num_rooms=args.rooms,
        seed=args.seed,
        num_points=args.points,
        num_workers=args.workers,
        cluster=args.cluster,
    )
    for _ in tqdm(rooms, total=args.rooms, desc=f"synthetic {args.format}", unit="room"):
        pass


if __name__ == "__main__":
    run_tool(main)
