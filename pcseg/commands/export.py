"""Export saved predictions to other programs.

RESULT: .npz file written by pcseg predict or pcseg test --results, or a folder of these.

--ply   NAME.ply: colored points with scalar fields instance, score and semantic, for
        CloudCompare and MeshLab
--csv   NAME.instances.csv: id, class, score, number of points, center, box and box volume
        of each object
--objects  NAME/ID_CLASS.ply: the points of each object, floors and walls too, in the
        coordinates of the scan file
--las   NAME.las: points in the colors of the scan, with classification (64 + class index),
        instance, score and semantic
--coco  one JSON file for all results: images, categories, and annotations with RLE masks
        over points

Files that pcseg did not write are not replaced.
"""

import argparse
from pathlib import Path

from pcseg.choices import DEFAULT_THRESHOLD, check_threshold
from pcseg.commands.results import inputs_in


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT", help="saved predictions (.npz)")
    parser.add_argument(
        "--ply", type=Path, metavar="DIR", help="folder for NAME.ply: colored points with scalar fields"
    )
    parser.add_argument("--csv", type=Path, metavar="DIR", help="folder for NAME.instances.csv: one line per object")
    parser.add_argument("--objects", type=Path, metavar="DIR", help="folder for NAME/ID_CLASS.ply: one file per object")
    parser.add_argument("--las", type=Path, metavar="DIR", help="folder for NAME.las, classified points")
    parser.add_argument("--coco", type=Path, metavar="FILE", help="JSON file for all results")
    parser.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        help=f"minimum object score; with 0, --coco has all objects, for an evaluation (default: {DEFAULT_THRESHOLD})",
    )


def run(args: argparse.Namespace) -> None:
    if missing := [path for path in args.results if not path.exists()]:
        raise FileNotFoundError(f"{missing[0]}: no such file or folder; expected a result")
    args.results = inputs_in(args.results, results=True)
    if others := [path for path in args.results if path.suffix.lower() != ".npz"]:
        raise ValueError(f"{others[0]}: expected a result, the NAME.npz that pcseg predict writes")
    check_threshold(args.threshold)
    if all(value is None for value in (args.ply, args.csv, args.objects, args.las, args.coco)):
        raise ValueError("give at least one of --ply, --csv, --objects, --las and --coco")
    from pcseg.files import write_json
    from pcseg.inference.exports import coco_document, write_csv, write_las, write_object_plys, write_ply
    from pcseg.inference.prediction_files import check_target, prediction_targets
    from pcseg.prediction import Prediction

    kinds = (
        (args.ply, ".ply", write_ply),
        (args.csv, ".instances.csv", write_csv),
        (args.objects, "", write_object_plys),
        (args.las, ".las", write_las),
    )
    if args.coco is not None:
        check_target(args.coco, {result.resolve() for result in args.results})
    for folder, suffix, write in kinds:
        targets = [] if folder is None else prediction_targets(args.results, folder, [suffix] if suffix else [])
        earlier = [file for target in targets if not suffix for file in target.glob("*.ply")]  # may be more objects
        for file in earlier:
            check_target(file)
        for file in earlier:
            file.unlink()
        for path, target in zip(args.results, targets):
            written = Path(f"{target}{suffix}")
            write(written, Prediction.load(path), args.threshold)
            print(written)
    if args.coco is not None:
        write_json(args.coco, coco_document((Prediction.load(p) for p in args.results), threshold=args.threshold))
        print(args.coco)
