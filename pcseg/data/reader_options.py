"""Options of `pcseg.data.scan_files.read_scan` on command lines. It imports nothing that is slow to load."""

import argparse

READER_OPTIONS = ("drop_nan", "drop_duplicates", "gray", "scale", "up", "as_is", "columns", "color_range")
UP_AXES = ("x", "y", "z", "-x", "-y", "-z")
COLOR_RANGES = (1, 255, 65535)


def add_reader_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `read_scan` that all tools share, `READER_OPTIONS`."""
    add = parser.add_argument
    add("--columns", help="columns of text files without a header, such as 'x y z r g b semantic instance'")
    add("--scale", type=float, help="factor to meters, such as 0.001 for millimeters (default: recognized)")
    add("--up", choices=UP_AXES, help="axis of the file that points up (default: z; y for glTF); write --up=-y")
    add("--as-is", action="store_true", help="do not recognize the unit: the file is in meters")
    add("--drop-duplicates", action="store_true", help="remove duplicate points")
    add("--gray", action="store_true", help="color uncolored points mid-gray")
    add(
        "--drop-nan",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="remove points with non-finite coordinates, or refuse such a scan (default: remove)",
    )
    add(
        "--color-range",
        type=int,
        choices=COLOR_RANGES,
        help="brightest value of the colors in the file (default: decided from all colors)",
    )
