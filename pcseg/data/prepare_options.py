"""Options that all commands share which prepare rooms. It imports nothing that is slow to load."""

import argparse
from pathlib import Path

from pcseg.ops.superpoint_options import SuperpointOptions
from pcseg.parallel import add_parallel_options


def add_prepare_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that all commands share which prepare rooms."""
    add_parallel_options(parser, default=None)
    parser.add_argument(
        "--shard", type=_shard, default=(1, 1), metavar="I/N", help="process every N-th room, starting with the I-th"
    )
    defaults = SuperpointOptions()
    parser.add_argument(
        "--superpoints",
        choices=["graph", "voxel"],
        default=defaults.method,
        help="graph: superpoints of the scan, or made from its mesh or points; voxel: coarse voxels (default: graph)",
    )
    for name, text in (
        ("voxel_size", "voxel size for merging points, in meters"),
        ("max_superpoints", "maximum number of superpoints of a point cloud"),
        ("coarse_voxel_size", "size of --superpoints voxel, in meters"),
    ):
        value = getattr(defaults, name)
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(value), default=value, help=f"{text} (default: {value})")
    parser.add_argument("--force", action="store_true", help="process rooms again even if they are up to date")
    parser.add_argument("--json", type=Path, help="also write the report as JSON")


def _shard(text: str) -> tuple[int, int]:
    part, slash, whole = text.partition("/")
    if not slash or not part.isdigit() or not whole.isdigit():
        raise argparse.ArgumentTypeError(f"expected I/N, for example 2/4, got {text!r}")
    return int(part), int(whole)
