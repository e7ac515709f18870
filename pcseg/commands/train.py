"""Train a config, and evaluate the model on held-out rooms.

    pcseg train synthetic optimizer.lr=0.001 --run runs/a
    pcseg train --resume --run runs/a
    pcseg train --resume --run runs/a train.steps=20000

A resumed run takes the config of its folder; `pcseg train synthetic --resume` is the run in
runs/synthetic. A config file, or a name and --run, replaces its config. More train.steps
extend it, on the learning rate of the longer run.

Under torchrun, several processes share the rooms of each step and train the same model as one
process would. The -- keeps torchrun from parsing --run itself:

    torchrun --nproc-per-node 8 --max-restarts 3 -m -- pcseg train CONFIG --auto-resume
"""

import argparse
from pathlib import Path

from pcseg.choices import LAST
from pcseg.commands.results import claim


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", nargs="?", help="config file, or the name of a shipped one such as synthetic; not needed to resume"
    )
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="overrides such as train.steps=100"
    )
    parser.add_argument("--run", type=Path, metavar="DIR", help="run folder (default: runs/NAME-OF-CONFIG)")
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


def run(args: argparse.Namespace) -> None:
    path, folder, overrides, resumes = _check(args)
    from pcseg.commands.warm_up import compile_missing, quick_imports

    with quick_imports():
        from pcseg.kernels import FOR_TRAINING

        compiled = compile_missing(FOR_TRAINING)  # while torch is imported
        from pcseg.config import Config
        from pcseg.files import write_json
        from pcseg.images import config as cfg
        from pcseg.ops.device import pick_device
        from pcseg.prediction import counted
        from pcseg.run import Run
        from pcseg.training.distributed import join_processes

        make, config = Run, cfg.load(path, overrides)
        if not isinstance(config, Config):
            from pcseg.images.run import ImageRun

            make = ImageRun
        written = claim(args.json)
        processes = join_processes()
        run = make(config, folder, pick_device(args.device, processes.local_rank), processes)
    compiled(FOR_TRAINING)
    run.resume(args.name or LAST) if resumes else run.start()
    if processes.is_first:
        where = f"{processes.world} processes on {run.device.type}" if processes.world > 1 else f"on {run.device}"
        num_parameters = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
        data = counted(len(run.rooms), "room" if make is Run else "image")
        done = f", {run.state.step} of {config.train.steps} steps done" if resumes else ""
        print(f"{run.folder}: {data}, {num_parameters:,} parameters, {where}{done}")
    result = run.train()
    processes.close()
    if processes.is_first:
        share = config.train.init_share
        mean = f", the mean of the weights before and after training (train.init_share={share:g})" if share else ""
        print(f"model: {run.folder / LAST}{mean}")
    if result is not None and processes.is_first:
        print(result.to_text())
        if args.json:
            write_json(args.json, result.to_json())
        written()


def _check(args: argparse.Namespace) -> tuple[Path, Path, list[str], bool]:
    """Config file, run folder, overrides, and whether to resume, as far as they can be checked without torch."""
    from pcseg.config_files import check_data_root, find_config

    if args.name and not args.resume:
        raise ValueError("--from requires --resume")
    given, overrides = args.config, args.overrides
    if given and "=" in given:
        given, overrides = None, [given, *overrides]
    if given is None and args.run is None:
        raise ValueError("name a config, such as synthetic, or continue a run with --resume --run DIR")
    if given and args.resume and not (args.run or Path(given).is_file()):
        args.run, given = Path("runs") / find_config(given).stem, None
    path = find_config(given) if given else args.run / "config.yaml"
    folder = args.run or Path("runs") / path.stem
    resumes = args.resume or (args.auto_resume and (folder / LAST).exists())
    if resumes and not any(folder.glob("*.pt")):
        raise ValueError(f"{folder}: no checkpoint to continue from; start without --resume")
    if given is None and not (resumes and path.is_file()):
        raise ValueError(f"{folder}: no config.yaml to continue with; name the config")
    check_data_root(path, overrides)
    return path, folder, overrides, resumes
