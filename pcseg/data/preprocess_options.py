"""The options that all preprocessing tools share."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from pcseg.data.preprocess import SuperpointOptions, parse_shard


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add them to a tool's own."""
    parser.add_argument("--workers", type=int, help="processes (one a core, fewer where there is little to do)")
    parser.add_argument(
        "--shard", default="1/1", metavar="I/N", help="this machine takes every N-th room from the I-th"
    )
    parser.add_argument(
        "--superpoints",
        choices=["graph", "voxel"],
        default="graph",
        help="graph: those of the scan, or merged from mesh or points; voxel: coarse voxels (graph)",
    )
    parser.add_argument("--voxel-size", type=float, default=0.02, help="of merging points, in meters (0.02)")
    parser.add_argument("--max-superpoints", type=int, default=2000, help="of a room of points (2000)")
    parser.add_argument("--coarse-voxel-size", type=float, default=0.2, help="of --superpoints voxel, in meters (0.2)")
    parser.add_argument("--force", action="store_true", help="process rooms again that are up to date")
    parser.add_argument("--json", type=Path, help="write the report here as well")


def keywords_of(args: argparse.Namespace) -> dict[str, Any]:
    """What they are to `preprocess`.

    Raises:
        ValueError: an option is out of range.
    """
    return {
        "num_workers": args.workers,
        "force": args.force,
        "shard": parse_shard(args.shard),
        "superpoints": SuperpointOptions(
            args.superpoints, args.voxel_size, args.max_superpoints, args.coarse_voxel_size
        ),
    }


def command_of(tool: str) -> str:
    """The present command line, less what does not decide what the rooms look like."""
    words, skip = [], False
    for word in sys.argv[1:]:
        drop = word in ("--shard", "--workers", "--json")
        if not skip and not drop and word != "--force":
            words.append(word)
        skip = drop
    return shlex.join(["python", f"tools/{tool}", *words])
