"""Train a recipe.

tools/train.py CONFIG [key=value ...] [--run DIR] [--resume] [--device cpu|cuda] [--json FILE]
"""

import argparse
from pathlib import Path

from pcseg import build
from pcseg import config as cfg
from pcseg.cli import run_tool, write_json
from pcseg.models.influencerformer import count_parameters
from pcseg.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a recipe and evaluate it on its held-out rooms.")
    parser.add_argument("config", type=Path, help="recipe, as configs/synthetic.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes, as train.steps=100")
    parser.add_argument("--run", type=Path, help="folder of the run; runs/NAME-OF-CONFIG without it")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder")
    parser.add_argument("--device", help="cuda where there is one, otherwise cpu")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    args = parser.parse_intermixed_args()

    config = cfg.load(args.config, args.overrides)
    run = Run(config, args.run or Path("runs") / args.config.stem, build.pick_device(args.device))
    run.resume() if args.resume else run.start()
    print(f"{run.folder}: {len(run.rooms)} rooms, {count_parameters(run.model):,} parameters, on {run.device}")
    run.train()
    result = run.evaluate()
    if result is not None:
        print(result.to_text())
        if args.json:
            write_json(args.json, result.to_json())


if __name__ == "__main__":
    run_tool(main)
