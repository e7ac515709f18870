"""Generate synthetic rooms in the raw layout of S3DIS or ScanNet, or simulated scans of homes."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import joblib
from tqdm import tqdm

from pcseg.cli import run_tool
from pcseg.parallel import add_parallel_options
from pcseg.synthetic import FORMATS, write_rooms
from pcseg.synthetic.homes.dataset import SENSORS, write_homes


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="output folder; created if missing")
    parser.add_argument("--kind", choices=["rooms", "homes"], default="rooms", help="type of scenes (default: rooms)")
    parser.add_argument("--format", choices=FORMATS, help="raw layout; required for rooms")
    parser.add_argument(
        "--sensor", choices=SENSORS, default="rgbd", help="simulated scanner, for homes (default: rgbd)"
    )
    parser.add_argument(
        "--assets", type=Path, metavar="DIR", help="furniture models for homes, see tools/fetch_assets.py"
    )
    parser.add_argument("--rooms", type=int, default=12, metavar="N", help="number of rooms or homes (default: 12)")
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed; room i depends only on the seed and i (default: 0)"
    )
    parser.add_argument(
        "--points", type=int, default=60_000, help="number of points of an average room (default: 60000)"
    )
    add_parallel_options(parser, default=joblib.cpu_count())
    args = parser.parse_args(arguments)
    if (args.format is None) == (args.kind == "rooms"):
        parser.error("--format is required with --kind rooms and invalid otherwise")
    return args


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    for _ in tqdm(_write(args), total=args.rooms, desc=f"synthetic {args.format or args.kind}", unit="room"):
        pass


def _write(args: argparse.Namespace) -> Iterator[str]:
    parallel = {"num_workers": args.workers, "cluster": args.cluster}
    if args.kind == "homes":
        if args.assets is None:
            print("note: no --assets, so all furniture is procedural; tools/fetch_assets.py downloads real models")
        return write_homes(
            args.out, num_homes=args.rooms, seed=args.seed, sensor=args.sensor, assets=args.assets, **parallel
        )
    return write_rooms(
        args.out, format=args.format, num_rooms=args.rooms, seed=args.seed, num_points=args.points, **parallel
    )


if __name__ == "__main__":
    run_tool(main)
