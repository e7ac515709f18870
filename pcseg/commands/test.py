"""Evaluate a trained model on held-out rooms: AP, S3DIS protocols, mIoU, PQ. On images: COCO's AP.

--export writes DIR/ROOM.txt and masks in ScanNet benchmark format, DIR/submission.zip (already
checked), and DIR/rooms, the per-room results for tools/aggregate.py. Objects of classes that AP
does not count are left out. Rooms without labels are exported but not evaluated. Several
processes share the rooms under torchrun, with --workers N, or on a Dask cluster (--cluster
ADDRESS); results do not change. For images, --export writes DIR/results.json in COCO's format,
and torchrun alone makes several processes.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pcseg.choices import MaskFormat
from pcseg.commands.results import claim, report_scores
from pcseg.parallel import add_parallel_options, map_rooms, progress_bar

if TYPE_CHECKING:
    from pcseg.classes import ClassSet
    from pcseg.config import Config
    from pcseg.images.config import ImagesConfig
    from pcseg.inference.segmenter import Segmenter
    from pcseg.metrics.scores import Scores
    from pcseg.prediction import Prediction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file, or the name of a shipped one such as synthetic")
    parser.add_argument("checkpoint", type=Path, help="trained model (.pt), or builtin")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="config overrides such as inference.views=flips"
    )
    parser.add_argument("--device", help="device (default: cuda if available, otherwise cpu)")
    parser.add_argument("--json", type=Path, help="also write the results as JSON")
    parser.add_argument("--csv", type=Path, help="also write per-class results as CSV")
    parser.add_argument("--report", type=Path, help="also write an HTML report with curves, errors and the worst rooms")
    parser.add_argument("--export", type=Path, help="folder for predictions in ScanNet benchmark format")
    parser.add_argument("--mask-format", choices=get_args(MaskFormat), help="mask format of --export (default: txt)")
    parser.add_argument("--results", type=Path, help="folder for one prediction file per room, for pcseg show")
    add_parallel_options(parser)


def run(args: argparse.Namespace) -> None:
    from pcseg.config_files import check_checkpoint, check_data_root, find_config

    if args.mask_format and not args.export:
        raise ValueError("--mask-format is for --export")
    path = find_config(args.config)
    check_data_root(path, args.overrides)
    check_checkpoint(args.checkpoint)
    from pcseg.config import Config
    from pcseg.images import config as cfg

    config = cfg.load(path, args.overrides)
    if isinstance(config, Config):
        _test_rooms(args, config)
    else:
        _test_images(args, config)


def _test_rooms(args: argparse.Namespace, config: "Config") -> None:
    """Predicts and scores this process's share of the rooms; the first process reports on all of them."""
    from pcseg import build
    from pcseg.classes import class_set
    from pcseg.files import first_of
    from pcseg.metrics.room_results import save_room
    from pcseg.metrics.scores import Scores
    from pcseg.ops.device import pick_device
    from pcseg.trained import load_model
    from pcseg.training.distributed import join_processes
    from pcseg.training.evaluate import gather_scores
    from pcseg.viz.report import WorstRooms

    processes = join_processes()
    device, classes = pick_device(args.device, processes.local_rank), class_set(config.data.classes)
    segmenter = load_model(args.checkpoint, device, config)
    if segmenter.classes.names != classes.names and processes.is_first:
        note = f"{args.checkpoint} predicts classes {segmenter.classes.name}, which are mapped to {classes.name}"
        note += "; its own config decides how it predicts"
        known = segmenter.classes.mapping_to(classes)
        if unknown := [classes.names[k] for k in classes.instance_classes if k not in known]:
            note += f"; of classes that it does not know, AP is 0 and counts in the mean: {first_of(unknown)}"
        print(f"note: {note}", file=sys.stderr)
    rooms = build.build_dataset(config, config.data.val, augmented=False)
    places = {args.results: ".npz", args.export: ".txt"}
    per_room = [folder / f"{room.name}{end}" for folder, end in places.items() if folder for room in rooms.rooms]
    packed = args.export and args.export / "submission.zip"
    written = claim(args.json, args.csv, args.report, packed, *per_room)
    worst = WorstRooms(classes, min_points=segmenter.options.min_points)
    if args.results:
        args.results.mkdir(parents=True, exist_ok=True)
    mine = [rooms.rooms[index] for index in processes.shard(len(rooms))]
    scores = Scores(classes, min_points=segmenter.options.min_points)
    sizes: dict[str, tuple[int, int]] = {}  # of every room, also of those without labels
    found = map_rooms(partial(_test_room, segmenter, classes, args), mine, workers=args.workers, cluster=args.cluster)
    for _, result in progress_bar(found, total=len(mine), desc="evaluate", unit="room", disable=not processes.is_first):
        if isinstance(result, Exception):
            raise result
        scored, size, prediction = result
        scores.merge([scored.state()])
        sizes |= size
        if prediction is not None:
            worst.offer(prediction)
    if args.export:
        for name in scores.names:
            save_room(args.export / "rooms", name, scores)
    scores = gather_scores(scores, processes)
    sizes = _union(processes.gather(sizes))
    pictures = _union(processes.gather(worst.pictures(scores))) if args.report else {}
    if processes.is_first:
        _finish(args, scores, sizes, pictures)
        written()
    processes.close()


def _union(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


def _test_room(
    segmenter: "Segmenter", classes: "ClassSet", args: argparse.Namespace, folder: Path
) -> "tuple[Scores, dict[str, tuple[int, int]], Prediction | None]":
    """Predicts, scores and saves a room.

    Returns:
        Its scores, its numbers of points and of objects that the export left out, the prediction if the report needs
        it.
    """
    from pcseg.data.store import read_room
    from pcseg.metrics.benchmark_files import write_predictions
    from pcseg.metrics.scores import Scores

    prediction = segmenter.predict(read_room(folder), classes)
    scene = prediction.scene
    scores = Scores(classes, min_points=segmenter.options.min_points)
    if (scene.semantic is not None and scene.instance is not None) or not (args.export or args.results):
        scores.add(prediction)
    if args.results:
        prediction.save(args.results / f"{scene.name}.npz")
    left_out = 0
    if args.export:
        left_out = write_predictions(args.export, prediction, mask_format=args.mask_format or "txt")
    return scores, {scene.name: (len(scene), left_out)}, prediction if args.report else None


def _finish(
    args: argparse.Namespace, scores: "Scores", sizes: dict[str, tuple[int, int]], pictures: dict[str, bytes]
) -> None:
    """Prints the results and writes the files that cover all rooms."""
    from pcseg.metrics.benchmark_files import check_submission, write_submission
    from pcseg.prediction import counted
    from pcseg.viz.report import write_report

    if len(scores) < len(sizes):
        print(f"{len(sizes) - len(scores)} of {len(sizes)} rooms have no labels: predicted, not scored")
    report_scores(args, scores)
    if args.report:
        write_report(args.report, scores, title=str(args.checkpoint), pictures=pictures)
    if args.export:
        path = write_submission(args.export / "submission.zip", args.export, sizes)
        num_points = {name: num for name, (num, _) in sizes.items()}
        num_rooms, num_objects = check_submission(path, scores.classes, num_points)
        print(f"{path}: valid; {counted(num_rooms, 'room')}, {counted(num_objects, 'object')}")
        if left_out := sum(num for _, num in sizes.values()):
            print(f"{counted(left_out, 'object')} left out of the export: AP does not count their classes")


def _test_images(args: argparse.Namespace, config: "ImagesConfig") -> None:
    """The same for images."""
    import json

    from pcseg.files import atomic_write, write_json
    from pcseg.images.run import ImageTest
    from pcseg.ops.device import pick_device
    from pcseg.training.distributed import join_processes
    from pcseg.viz.report import NUM_WORST, write_image_report

    if args.csv or args.mask_format or args.workers > 1 or args.cluster:
        raise ValueError("--csv, --mask-format, --workers and --cluster are for rooms")
    written = claim(args.json, args.report, args.export and args.export / "results.json")
    processes = join_processes()
    test = ImageTest.load(args.checkpoint, config, pick_device(args.device, processes.local_rank))
    folder, num_saved = (args.results, len(test.images)) if args.results else (Path(), 0)
    scores, results = test.evaluate(processes, folder, num_saved)
    if processes.is_first:
        print(scores.to_text())
        if args.json:
            write_json(args.json, scores.to_json())
        if args.export:
            atomic_write(args.export / "results.json", json.dumps(results))
        if args.report:
            index = {image["id"]: number for number, image in enumerate(test.images.images)}
            worst = scores.worst(NUM_WORST)
            found = test.predict([index[scores.image_ids[row]] for row in worst])
            shown = {row: test.prediction(*each) for row, each in zip(worst, found, strict=True)}
            write_image_report(args.report, scores, shown, title=str(args.checkpoint))
        written()
    processes.close()
