"""Find the objects of scans.

SCAN: a scan (formats: docs/predict.md), a processed room, or a folder of either.
Labels are ignored. CHECKPOINT is the only file needed from training; without it, the
built-in model for indoor scans is used. Writes these files to DIR for each scan NAME:

NAME.npz            the scan and every object with class, score and mask; read by
                    pcseg.Prediction.load, pcseg show and pcseg export
NAME.ply            all points of the scan in their order, colored by object, with scalar
                    fields instance, score and semantic; for CloudCompare, MeshLab and Open3D
NAME.instances.csv  one line per object: id, class, score, number of points, center (mean of
                    its points), corners of its axis-aligned box, box volume
NAME.ids.npy        int32 (P,): object id of each point of the file, 0 for none, -1 for points
                    that were left out (--drop-nan, --drop-duplicates); same ids as in .ply
                    and .csv
NAME.png            picture of the scan and its objects
NAME.html           interactive page that needs no installation

The .ply and .csv have the coordinates of the file; the .npz those after --scale, --up and
--origin, with the way back. Objects may overlap in the .npz. In the other files each point
belongs to its best-scoring object, and objects below --threshold are omitted (the page has a
slider). Earlier results of the same name are replaced, but no file that pcseg did not write.
If a scan cannot be read, the others are still processed and the exit code is 2.
"""

import argparse
import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pcseg.choices import SUFFIXES, AnyPrecision, ViewSet, check_threshold
from pcseg.commands.results import inputs_in
from pcseg.data.reader_options import READER_OPTIONS, add_reader_options, as_flags
from pcseg.parallel import add_parallel_options, map_rooms, progress_bar

if TYPE_CHECKING:
    from tqdm import tqdm

    from pcseg.inference.segmenter import Segmenter

KINDS = {suffix.split(".")[-1].replace("npy", "ids"): suffix for suffix in SUFFIXES}
_NETWORK = threading.Lock()  # one scan at a time goes through the network, which uses all of torch's threads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN", help="scan, processed room, or folder of these")
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="output folder (default: predictions)")
    parser.add_argument(
        "--model", type=Path, default=Path("builtin"), metavar="CHECKPOINT", help="trained model (default: built in)"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="minimum score of objects to show (default: from the model's config)",
    )
    parser.add_argument("--min-points", type=int, help="minimum object size in points (default: from the config)")
    parser.add_argument("--tile", type=float, metavar="METERS", help="tile size for larger scans; 0 disables tiling")
    views = parser.add_mutually_exclusive_group()
    views.add_argument("--views", choices=get_args(ViewSet), help="test-time augmentation by flips and rotations")
    views.add_argument("--fast", action="store_true", help="one view only: faster, and less exact")
    parser.add_argument("--device", help="device (default: cuda if available, otherwise cpu)")
    parser.add_argument(
        "--precision",
        choices=get_args(AnyPrecision),
        help="fp16 is for GPUs, bf16 for CPUs with avx512_bf16 (default: auto, bf16 on those of AMD)",
    )
    add_reader_options(parser)
    parser.add_argument("--only", metavar="KINDS", help=f"write only these files, such as ids,csv: {', '.join(KINDS)}")
    parser.add_argument(
        "--only-classes", metavar="NAMES", help="keep only objects of these classes, such as chair,table"
    )
    parser.add_argument("--no-picture", action="store_true", help="write no .png")
    parser.add_argument("--no-page", action="store_true", help="write no .html")
    add_parallel_options(parser)


def run(args: argparse.Namespace) -> None:
    from pcseg.config_files import check_checkpoint

    args.suffixes = _suffixes(args)
    if checkpoints := [path for path in args.scans if path.suffix in (".pt", ".safetensors")]:
        raise ValueError(f"{checkpoints[0]} is a model, not a scan; give it as --model {checkpoints[0]}")
    check_threshold(args.threshold)
    check_checkpoint(args.model)
    if len(args.scans) == 1 and not args.scans[0].exists():
        raise FileNotFoundError(f"{args.scans[0]}: no such file")
    from pcseg.commands.warm_up import compile_missing, quick_imports

    with quick_imports():
        from pcseg.inference.prediction_files import prediction_targets
        from pcseg.kernels import FOR_PICTURES, FOR_PREDICTION

        args.scans = inputs_in(args.scans, results=False)
        targets = prediction_targets(args.scans, args.out, args.suffixes)
        for_files = FOR_PICTURES if {".png", ".html"} & {*args.suffixes} else ()
        compiled = compile_missing((*FOR_PREDICTION, *for_files))  # while torch is imported
    with _progress(len(args.scans)) as bar:
        bar.set_postfix_str("loading the model")
        with quick_imports():
            segmenter = _segmenter(args)
        if args.only_classes is not None:
            args.only_classes = [segmenter.classes.index(name.strip()) for name in args.only_classes.split(",")]
        args.out.mkdir(parents=True, exist_ok=True)
        if args.threshold is None:
            args.threshold = segmenter.options.shown_above
        failed = []
        alone = args.workers == 1 and args.cluster is None
        compiled(FOR_PREDICTION if alone else (*FOR_PREDICTION, *for_files))
        here = (bar, partial(compiled, for_files)) if alone else (None, None)
        work = partial(_predict, segmenter, args, *here)
        items = list(zip(args.scans, targets))
        # In one process, a scan is read or written while another is in the network.
        done = map_rooms(work, items, workers=args.workers, cluster=args.cluster, threads=2 if alone else 1)
        for (path, _), lines in done:
            bar.update()
            if isinstance(lines, Exception):
                if len(args.scans) == 1:
                    raise lines
                reason = str(lines).removeprefix(f"{path}: ")
                bar.write(as_flags(f"{path}: not predicted: {reason}\n"), file=sys.stderr, end="")
                failed.append(path)
            elif lines:
                bar.write("\n".join(lines))
    if failed:
        from pcseg.files import first_of

        names = first_of([path.name for path in args.scans if path in failed])
        raise ValueError(f"{len(failed)} of {len(args.scans)} scans not predicted, reasons above: {names}")


def _segmenter(args: argparse.Namespace) -> "Segmenter":
    from pcseg.ops.device import pick_device
    from pcseg.trained import load_model

    views = "one" if args.fast else args.views
    given = {"views": views, "min_points": args.min_points, "precision": args.precision}
    if args.tile == 0:
        given["tile_above"] = math.inf
    elif args.tile is not None:
        given |= {"tile_above": args.tile, "tile_size": args.tile, "tile_overlap": 0.4 * args.tile}
    options = {key: value for key, value in given.items() if value is not None}
    return load_model(args.model, pick_device(args.device)).with_options(**options)


@contextmanager
def _progress(num_scans: int) -> Iterator[Any]:
    """One line in a terminal: scans done, time, and what is being done; it moves every second."""
    done = threading.Event()
    text = "{n_fmt} of {total_fmt} scans, {elapsed}{postfix}"
    with progress_bar(total=num_scans, bar_format=text) as bar:

        def tick() -> None:
            while not done.wait(1):
                bar.refresh()

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield bar
        finally:
            done.set()
            thread.join()
            bar.set_postfix_str("")


def _suffixes(args: argparse.Namespace) -> list[str]:
    """Suffixes of the files to write."""
    kinds = [*KINDS] if args.only is None else [kind.strip() for kind in args.only.split(",")]
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"--only {args.only}: unknown {unknown[0]!r}; choose from {', '.join(KINDS)}")
    left_out = {"png": args.no_picture, "html": args.no_page}
    suffixes = [suffix for kind, suffix in KINDS.items() if kind in kinds and not left_out.get(kind)]
    if not suffixes:
        raise ValueError(f"--only {args.only} with --no-picture or --no-page leaves no file to write")
    return suffixes


def _predict(
    segmenter: "Segmenter",
    args: argparse.Namespace,
    bar: "tqdm | None",
    wait: Callable[[], None] | None,
    item: tuple[Path, Path],
) -> list[str]:
    """Predicts a scan and writes its files; returns lines for the user, where there is no bar that writes them."""
    import numpy as np
    import torch

    from pcseg.inference.exports import object_rows
    from pcseg.inference.prediction_files import object_table, replaced_text, write_prediction
    from pcseg.prediction import counted

    path, target = item
    lines: list[str] = []
    notes: list[str] = []  # of several scans, which would mix if they were written at once

    def say(text: str) -> None:
        if bar is None:
            lines.append(as_flags(text))
        else:
            bar.write(as_flags(f"{text}\n"), end="")  # one write, which no other thread can part

    def stage(text: str) -> None:
        if bar is not None:
            bar.set_postfix_str(f"{path.name}: {text}")

    stage("reading")
    options = {key: getattr(args, key) for key in READER_OPTIONS}
    report = say if len(args.scans) == 1 else notes.append
    scene = segmenter.read(path, report=report, stage=stage, **options).with_(name=target.name)
    for warning in segmenter.warnings(path, scene, **options):
        report(f"{path.name}: {warning}")
    try:
        with _NETWORK:
            prediction = segmenter.predict(scene, stage=stage)
    except torch.cuda.OutOfMemoryError:
        raise ValueError(f"{path}: out of GPU memory; use a smaller --tile or --device cpu") from None
    if args.only_classes is not None:
        prediction = prediction.select(np.flatnonzero(np.isin(prediction.labels, args.only_classes)))
    rows = object_rows(prediction, args.threshold, in_meters=True)
    found = f"{path}: {counted(len(rows), 'object')} with score >= {args.threshold}"
    say("\n".join([*notes, found, *object_table(rows, segmenter.classes.stuff)]))
    replaced = replaced_text(Path(f"{target}{suffix}") for suffix in args.suffixes)
    if wait is not None:
        stage("compiling")
        wait()  # for the kernels of the files
    write_prediction(target, prediction, threshold=args.threshold, suffixes=args.suffixes, stage=stage)
    written = f"files: {target}{', '.join(args.suffixes)}{replaced}"
    others = [suffix for suffix in SUFFIXES if suffix not in args.suffixes]
    if stale := [suffix for suffix in others if Path(f"{target}{suffix}").exists()]:
        written += f"\nnot written now, and perhaps of an earlier run: {target}{', '.join(stale)}"
    say(written)
    return lines
