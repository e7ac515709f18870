"""Test a trained model on held-out rooms.

tools/test.py CONFIG CHECKPOINT [key=value ...] [--json FILE] [--export DIR] [--results DIR]
"""

import argparse
from pathlib import Path

import numpy as np

from pcseg import build
from pcseg import config as cfg
from pcseg.cli import run_tool, write_json
from pcseg.engine.checkpoint import load_checkpoint, load_weights
from pcseg.engine.evaluate import evaluate
from pcseg.inference.result_file import save_result
from pcseg.metrics.benchmark_files import write_predictions
from pcseg.structures import Instances, Scene


def main() -> None:
    parser = argparse.ArgumentParser(description="AP table, S3DIS protocols, mIoU and PQ on the held-out rooms.")
    parser.add_argument("config", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--device", help="cuda where there is one, otherwise cpu")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--export", type=Path, help="write predictions in the benchmark's own format into this folder")
    parser.add_argument("--results", type=Path, help="write one result file a room, for tools/visualize.py")
    args = parser.parse_intermixed_args()

    config = cfg.load(args.config, args.overrides)
    device = build.pick_device(args.device)
    content = load_checkpoint(args.checkpoint)
    model = build.build_model(config)
    load_weights(model, content["ema"]["weights"] if "ema" in content else content["model"], args.checkpoint)
    segmenter = build.build_segmenter(config, model.to(device))
    rooms = build.build_dataset(config, config.data.val, augmented=False)

    def on_room(scene: Scene, instances: Instances, semantic: np.ndarray) -> None:
        if args.results:
            save_result(args.results / f"{scene.name}.npz", scene, instances, semantic, segmenter.classes)
        if args.export:
            write_predictions(args.export, scene.name, instances, segmenter.classes)

    result = evaluate(segmenter, (rooms.scene(i) for i in range(len(rooms))), on_room=on_room)
    print(result.to_text())
    if args.json:
        write_json(args.json, result.to_json())


if __name__ == "__main__":
    run_tool(main)
