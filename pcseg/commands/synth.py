"""Generate synthetic rooms in the raw layout of S3DIS or ScanNet, or simulated scans of homes."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pcseg.choices import RAW_FORMATS, Sensor
from pcseg.parallel import add_parallel_options, progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="output folder; created if missing")
    parser.add_argument("--kind", choices=["rooms", "homes"], default="rooms", help="type of scenes (default: rooms)")
    parser.add_argument("--format", choices=RAW_FORMATS, help="raw layout; required for rooms")
    parser.add_argument("--sensor", choices=get_args(Sensor), help="simulated scanner, for homes (default: rgbd)")
    parser.add_argument("--assets", type=Path, metavar="DIR", help="furniture models for homes")
    parser.add_argument(
        "--fetch-assets", action="store_true", help="first download the models to DIR (Debian packages, by apt-get)"
    )
    parser.add_argument("--rooms", type=int, default=12, metavar="N", help="number of rooms or homes (default: 12)")
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed; room i depends only on the seed and i (default: 0)"
    )
    parser.add_argument(
        "--points", type=int, help="number of points of an average room, not for homes (default: 60000)"
    )
    add_parallel_options(parser, default=None)


def run(args: argparse.Namespace) -> None:
    if (args.format is None) == (args.kind == "rooms"):
        raise ValueError(f"--format ({', '.join(RAW_FORMATS)}) is required with --kind rooms and invalid otherwise")
    for kind, names in {"rooms": ["points"], "homes": ["sensor", "assets"]}.items():
        if kind != args.kind and (given := [name for name in names if getattr(args, name) is not None]):
            raise ValueError(f"--{given[0]} is for --kind {kind}")
    args.sensor = args.sensor or "rgbd"
    args.points = 60_000 if args.points is None else args.points
    if args.fetch_assets and args.assets is None:
        raise ValueError("--fetch-assets requires --assets DIR")
    for _ in progress_bar(_write(args), total=args.rooms, desc=f"synthetic {args.format or args.kind}", unit="room"):
        pass


def _write(args: argparse.Namespace) -> Iterator[str]:
    import joblib

    workers = joblib.cpu_count() if args.workers is None else args.workers
    parallel = {"num_workers": workers, "cluster": args.cluster}
    if args.kind == "homes":
        from pcseg.synthetic.homes.assets import fetch_assets
        from pcseg.synthetic.homes.dataset import write_homes

        if args.fetch_assets:
            fetch_assets(args.assets)
        if args.assets is None:
            print("note: all furniture is procedural; --assets DIR --fetch-assets downloads real models")
        return write_homes(
            args.out, num_homes=args.rooms, seed=args.seed, sensor=args.sensor, assets=args.assets, **parallel
        )
    from pcseg.synthetic import write_rooms

    return write_rooms(
        args.out, format=args.format, num_rooms=args.rooms, seed=args.seed, num_points=args.points, **parallel
    )
