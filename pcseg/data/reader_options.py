"""Options of `pcseg.data.scan_files.read_scan` on command lines. It imports nothing that is slow to load."""

import argparse
import re
from collections.abc import Mapping

READER_OPTIONS = (
    "drop_nan",
    "drop_duplicates",
    "gray",
    "scale",
    "up",
    "as_is",
    "columns",
    "color_range",
    "origin",
    "level",
)
UP_AXES = ("x", "y", "z", "-x", "-y", "-z")
COLOR_RANGES = (1, 255, 65535)
_NAMES = (*READER_OPTIONS, "label_ids", "first_instance", "ignore_labels", "min_points")
_WORDS = "|".join(name for name in _NAMES if "_" in name)
_OPTION = re.compile(
    rf"(?<![\w./\\-])(?:({'|'.join(_NAMES)})=(\([^)]*\)|'[^']*'|[-\w.]*\w)|({_WORDS})(?!\.?[\w/\\=-]))"
)


def check_unused(path: object, options: Mapping[str, object]) -> None:
    """Refuses options of `read_scan`, by name, for what is no file of a scan: a processed room, or a result.

    Raises:
        ValueError: one is given.
    """
    given = {name: value for name, value in options.items() if value not in (None, False) and name != "drop_nan"}
    if given:
        listed = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise ValueError(f"{path}: {listed} is for files of scans; results and processed rooms stay as they are")


def as_flags(text: str) -> str:
    """A message about `read_scan`, whose options are spelled as in Python, for people at a command line.

    >>> as_flags("use scale=0.001, up='-y', origin=(1, -2, 0) or drop_nan=False; see color_range.")
    'use --scale 0.001, --up -y, --origin 1 -2 0 or --no-drop-nan; see --color-range.'
    >>> as_flags("as_is/scan.ply: name them with columns='x y z label'")
    "as_is/scan.ply: name them with --columns 'x y z label'"
    """
    return _OPTION.sub(_flag, text)


def _flag(option: re.Match[str]) -> str:
    name, value = (option[1] or option[3]).replace("_", "-"), option[2]
    if value in (None, "True", "False"):
        return f"--{'no-' if value == 'False' else ''}{name}"
    if value[0] == "(" or (value[0] == "'" and " " not in value):
        value = value[1:-1].replace(",", "")
    return f"--{name} {value}"


def add_reader_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `read_scan` that all tools share, `READER_OPTIONS`."""
    add = parser.add_argument
    add("--columns", help="columns of text files, instead of their header, such as 'x y z r g b semantic instance'")
    add("--scale", type=float, help="factor to meters, such as 0.001 for millimeters (default: recognized)")
    text = "axis of the file that points up, such as --up -y (default: z, y for glTF; predict recognizes it)"
    add("--up", choices=UP_AXES, help=text)
    add("--level", action="store_true", help="make the floor level")
    text = "point to use as origin, for georeferenced scans"
    add("--origin", type=float, nargs=3, metavar=("X", "Y", "Z"), help=text)
    add("--as-is", action="store_true", help="do not recognize the unit and the up axis: the file is in meters")
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
