"""Train a config.

tools/train.py CONFIG [key=value ...] [--run DIR] [--resume [--from NAME] | --auto-resume] [--device cpu|cuda]
               [--json FILE]

Under torchrun, several processes share the rooms of each step and train the same model as one process would:

    torchrun --nproc-per-node 8 --max-restarts 3 -- tools/train.py CONFIG --auto-resume

The -- keeps torchrun from parsing --run itself.
"""

import argparse
from pathlib import Path

from pcseg import config as cfg
from pcseg.cli import run_tool, write_json
from pcseg.ops.device import pick_device
from pcseg.run import Run
from pcseg.training.checkpoint import LAST
from pcseg.training.distributed import join_processes


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a config and evaluate the model on held-out rooms.")
    parser.add_argument("config", type=Path, help="config file such as configs/synthetic.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config overrides such as train.steps=100")
    parser.add_argument("--run", type=Path, help="run folder (default: runs/NAME-OF-CONFIG)")
    parser.add_argument("--resume", action="store_true", help="continue the run in the run folder")
    parser.add_argument(
        "--auto-resume",
        action="store_true",
        help="continue if the run folder has a checkpoint, otherwise start; for jobs that restart",
    )
    parser.add_argument(
        "--from", dest="name", metavar="NAME", help="checkpoint to resume from, such as step_0000500.pt"
    )
    parser.add_argument("--device", help="device (default: cuda if available, otherwise cpu)")
    parser.add_argument("--json", type=Path, help="also write the results as JSON")
    args = parser.parse_intermixed_args()
    if args.name and not args.resume:
        parser.error("--from requires --resume")

    config = cfg.load(args.config, args.overrides)
    processes = join_processes()
    folder = args.run or Path("runs") / args.config.stem
    run = Run(config, folder, pick_device(args.device, processes.local_rank), processes)
    resumes = args.resume or (args.auto_resume and (folder / LAST).exists())
    run.resume(args.name or LAST) if resumes else run.start()
    if processes.is_first:
        where = f"{processes.world} processes on {run.device.type}" if processes.world > 1 else f"on {run.device}"
        num_parameters = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
        print(f"{run.folder}: {len(run.rooms)} rooms, {num_parameters:,} parameters, {where}")
    result = run.train()
    processes.close()
    if result is not None and processes.is_first:
        print(result.to_text())
        if args.json:
            write_json(args.json, result.to_json())


if __name__ == "__main__":
    run_tool(main)
