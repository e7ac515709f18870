"""Show results, processed rooms and scans in a window, web page or picture.

RESULT: a result of pcseg predict or pcseg test (.npz, .ply), a folder of these, a processed
room, or a scan (.ply .pcd .las .e57 .obj .glb .npz .txt ...). If --html or --png is a folder, or a
name without a suffix, as required for several RESULTs, it gets one file per RESULT. Without
either option a window opens (needs Open3D and a display).
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcseg.choices import CLASS_SETS, DEFAULT_THRESHOLD, check_threshold
from pcseg.commands.results import inputs_in
from pcseg.data.reader_options import READER_OPTIONS, add_reader_options, check_unused
from pcseg.viz.display import NO_DISPLAY, has_display

if TYPE_CHECKING:
    from pcseg.prediction import Prediction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT", help="result, processed room or scan")
    parser.add_argument("--html", type=Path, metavar="FILE", help="web page to write, or folder for several RESULTs")
    parser.add_argument("--png", type=Path, metavar="FILE", help="picture to write, or folder for several RESULTs")
    parser.add_argument("--views", type=int, help="number of views in the picture, 1 to 3 (default: 3)")
    parser.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        help=f"minimum score of objects to show (default: {DEFAULT_THRESHOLD})",
    )
    parser.add_argument("--cut", type=float, metavar="METERS", help="hide points above this height in the picture")
    parser.add_argument("--classes", help="class set of a scan with class labels: a name or a YAML file")
    add_reader_options(parser)


def run(args: argparse.Namespace) -> None:
    if missing := [path for path in args.results if not path.exists()]:
        raise FileNotFoundError(f"{missing[0]}: no such file or folder; expected a result, a processed room or a scan")
    check_threshold(args.threshold)
    for_picture = {key: value for key in ("cut", "views") if (value := getattr(args, key)) is not None}
    if for_picture and args.png is None:
        raise ValueError(f"--{next(iter(for_picture))} is for pictures; give --png too")
    in_window = args.html is None and args.png is None
    if in_window and not has_display():
        raise ValueError(NO_DISPLAY)
    args.results = inputs_in(args.results, results=True)
    options = {key: getattr(args, key) for key in READER_OPTIONS}
    if in_window:
        from functools import partial

        from pcseg.viz.viewer import show_scenes

        show_scenes([partial(_load, path, args.classes, options) for path in args.results], threshold=args.threshold)
        return
    from pcseg.viz.grid import save_png
    from pcseg.viz.html import write_page
    from pcseg.viz.render import room_picture

    pictures, pages = (_targets(given, args.results, end) for given, end in ((args.png, ".png"), (args.html, ".html")))
    for path, picture, page in zip(args.results, pictures, pages):
        shown = _load(path, args.classes, options)
        if picture is not None:
            save_png(picture, room_picture(shown, threshold=args.threshold, **for_picture))
            print(picture)
        if page is not None:
            write_page(page, shown, threshold=args.threshold)
            print(page)


def _load(path: Path, classes: str | None, options: dict[str, Any]) -> "Prediction":
    """Loads a result, a processed room, or a scan, whose labels are of a class set, with options of `read_scan`."""
    from pcseg.classes import class_set
    from pcseg.data.scan_checks import frame_warnings
    from pcseg.data.scan_fields import report_to_log
    from pcseg.data.scan_files import read_scan
    from pcseg.data.store import classes_of, read_manifest, read_room
    from pcseg.inference.exports import read_painted_ply
    from pcseg.prediction import Prediction, is_result

    if path.is_dir():
        shown = Prediction(read_room(path), classes=classes_of(read_manifest(path)))
    else:
        shown = Prediction.load(path) if is_result(path) else read_painted_ply(path)
    if shown is not None:
        check_unused(path, {"classes": classes, **options})
        return shown
    scene = read_scan(path, label_ids=classes, **options)
    if scene.semantic is not None and classes is None:
        sets = f"{'|'.join(CLASS_SETS)}, or your .yaml"
        raise ValueError(f"{path}: scan with class labels; name the class set with --classes {sets}")
    for warning in frame_warnings(scene):
        report_to_log(f"{path.name}: {warning}")
    return Prediction(scene, classes=None if classes is None else class_set(classes))


def _targets(given: Path | None, results: list[Path], suffix: str) -> list[Path] | list[None]:
    """The given file, or files named after the results in the given folder."""
    from pcseg.inference.prediction_files import check_target, prediction_targets

    if given is None:
        return [None] * len(results)
    if given.is_dir() or not given.suffix:
        return [Path(f"{target}{suffix}") for target in prediction_targets(results, given, [suffix])]
    if len(results) > 1:
        raise ValueError(f"{given}: one file for {len(results)} results; give a folder")
    if given.suffix.lower() != suffix:
        raise ValueError(f"{given}: expected a name that ends with {suffix}, or a folder")
    check_target(given, {result.resolve() for result in results})
    return [given]
