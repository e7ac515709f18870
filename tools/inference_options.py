"""Effect of each inference option on AP of held-out rooms, one option at a time.

tools/inference_options.py CHECKPOINT ROOMS [--rooms GLOB...] [--only TEXT] [--json FILE]

ROOMS is a folder of processed, labeled rooms. In a config, these options are keys such as inference.views.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from pcseg import load_model
from pcseg.cli import run_tool
from pcseg.commands.results import claim
from pcseg.data.store import check_classes, list_rooms, read_room
from pcseg.files import write_json
from pcseg.metrics.scores import Scores
from pcseg.ops.device import pick_device

# Every row changes this base: one view of whole rooms, the number of queries used in training, and matrix NMS.
BASE: dict[str, Any] = {
    "views": "one",
    "matrix_nms": True,
    "num_queries": 0,
    "non_overlapping": False,
    "iou_power": 5.0,
    "score_threshold": 0.0,
    "min_points": 100,
    "tile_above": float("inf"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "base": {},
    "flips": {"views": "flips"},
    "flips and rotations": {"views": "flips_rotations"},
    "100 queries": {"num_queries": 100},
    "200 queries": {"num_queries": 200},
    "400 queries": {"num_queries": 400},
    "200 queries, flips": {"num_queries": 200, "views": "flips"},
    "200 queries, flips and rotations": {"num_queries": 200, "views": "flips_rotations"},
    "no matrix NMS": {"matrix_nms": False},
    "masks above 0.3": {"mask_threshold": 0.3},
    "masks above 0.15": {"mask_threshold": 0.15},
    "superpoints to their best object": {"non_overlapping": True},
    "score at least 0.05": {"score_threshold": 0.05},
    "score at least 0.2": {"score_threshold": 0.2},
    "at least 1 point": {"min_points": 1},
    "at least 200 points": {"min_points": 200},
    "IoU to the power 3": {"iou_power": 3.0},
    "IoU to the power 8": {"iou_power": 8.0},
    "tiles of 5 m, overlap 2 m": {"tile_above": 0.0, "tile_size": 5.0, "tile_overlap": 2.0},
    "tiles of 4 m, overlap 1.5 m": {"tile_above": 0.0, "tile_size": 4.0, "tile_overlap": 1.5},
    "tiles of 3 m, overlap 1 m": {"tile_above": 0.0, "tile_size": 3.0, "tile_overlap": 1.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure AP with each inference option.")
    parser.add_argument("checkpoint", type=Path, help="trained model (.pt)")
    parser.add_argument("root", type=Path, metavar="ROOMS", help="folder of processed rooms")
    parser.add_argument(
        "--rooms", nargs="+", default=["Area_5_*"], metavar="GLOB", help="room names (default: Area_5_*)"
    )
    parser.add_argument("--only", default="", help="run the base and the options whose names contain this text")
    parser.add_argument("--device", help="device (default: cuda if available, otherwise cpu)")
    parser.add_argument("--json", type=Path, help="also write the results as JSON")
    args = parser.parse_args()

    written = claim(args.json)
    segmenter = load_model(args.checkpoint, pick_device(args.device))
    rooms = list_rooms(args.root, args.rooms)
    check_classes(rooms, segmenter.classes)
    print(f"{len(rooms)} rooms{'':<36}{'AP':>7}{'AP50':>7}{'AP25':>7}{'s a room':>10}")
    rows = {}
    for name, changes in OPTIONS.items():
        if name != "base" and args.only not in name:
            continue
        if "num_queries" in changes and getattr(segmenter.model.decoder.options, "queries", None) != "superpoint":
            print(f"{name:<43} skipped: needs superpoint queries")
            continue
        changed = segmenter.with_options(**{**BASE, **changes})
        start = time.perf_counter()
        scores = Scores(changed.classes, min_points=changed.options.min_points)
        for room in rooms:
            scores.add(changed.predict(read_room(room)))
        found = scores.compute().to_json()
        seconds = (time.perf_counter() - start) / len(rooms)
        rows[name] = {key: found[key] for key in ("ap", "ap50", "ap25")} | {"seconds_per_room": seconds}
        percent = "".join(f"{100 * found[key]:>7.1f}" for key in ("ap", "ap50", "ap25"))
        print(f"{name:<43}{percent}{seconds:>10.2f}", flush=True)
    if args.json:
        write_json(args.json, {"num_rooms": len(rooms), "options": rows})
    written()


if __name__ == "__main__":
    run_tool(main)
