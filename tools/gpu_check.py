"""Check pcseg on a GPU: tests, convolutions, training and speed, in one JSON and one table.

On a bare machine with CPython 3.12 and torch, from the folder of the repository, about 8 minutes:

    PYTHONPATH=SITE:. python3 tools/gpu_check.py --out "$OUT"

SITE holds the packages that the machine lacks: spconv with its needs, plyfile, beartype. Nothing is installed, fetched
or compiled by a C compiler. A part that fails is reported, and the others run. Each part is written when it is done.
"""

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

NEEDED = ("numpy", "scipy", "numba", "torch", "jaxtyping", "yaml", "tqdm", "joblib", "plyfile", "safetensors", "PIL")
OPTIONAL = ("spconv", "torch_scatter", "pytest", "beartype")  # for speed and for tests
ROOT = Path(__file__).resolve().parent.parent
WORST = {"float32": 1e-2, "bf16": 5e-2}  # largest relative errors; spconv may multiply in TF32


class Sizes(NamedTuple):
    """Amounts of work."""

    num_rooms: int
    room_points: int
    steps: int  # of training
    rounds: int  # of each timing
    criterion: tuple[tuple[int, int, int], ...]  # queries, instances, tokens
    channels: tuple[int, ...]  # of timed convolutions
    conv_points: int


FULL = Sizes(10, 60_000, 300, 10, ((100, 20, 2000), (400, 60, 20_000)), (32, 96), 300_000)
QUICK = Sizes(2, 3000, 24, 1, ((20, 5, 200),), (16,), 6000)
SMALL = ["model.unet.channels=[16,32]", "model.decoder.num_layers=1", "model.decoder.num_queries=20"]


class Context(NamedTuple):
    """What every part gets."""

    device: Any  # torch.device
    sizes: Sizes
    folder: Path  # for a run
    overrides: list[str]  # of configs/synthetic.yaml


Part = Iterator[tuple[str, Any]]  # names and values, as they are found


def environment(context: Context) -> Part:
    """Versions, the GPU, and missing packages."""
    import torch

    from pcseg.ops.sparse_conv import spconv_on_gpu

    yield "python", platform.python_version()
    for name in ("torch", "numpy", "scipy", "numba"):
        yield name, metadata.version(name)
    on_gpu = context.device.type == "cuda"
    yield "cuda", torch.version.cuda or "none"
    yield "gpu", torch.cuda.get_device_name(context.device) if on_gpu else "none"
    yield "missing", ", ".join(name for name in OPTIONAL if importlib.util.find_spec(name) is None) or "none"
    yield "convolutions by", "spconv" if on_gpu and spconv_on_gpu() else "torch"


def tests(context: Context) -> Part:
    """Every test that is marked gpu."""
    if context.device.type != "cuda":
        yield "result", "not run: no GPU"
        return
    assert importlib.util.find_spec("pytest") is not None, "not run: pytest is missing"
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    # Without the settings of the project, which need plugins.
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ".", "--import-mode=importlib"]
    command += ["-m", "gpu", "-q", "--tb=short", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()
    yield "result", lines[-1]
    assert done.returncode == 0, "\n".join(lines[-80:])


def agreement(context: Context) -> Part:
    """Relative errors of a U-Net with each backend, against the torch backend on the CPU in float32."""
    import torch

    from pcseg.benchmarks.conv import room_coords
    from pcseg.models.sparse_unet import SparseUNet, SparseUNetOptions
    from pcseg.ops.precision import autocast

    torch.manual_seed(0)
    coords = room_coords(context.sizes.conv_points // 10)
    features, pull = torch.randn(len(coords), 6), torch.randn(len(coords), 16)
    network = SparseUNet(6, SparseUNetOptions((16, 32), blocks_per_level=1))

    def run(device: torch.device, backend: str, precision: str) -> list[torch.Tensor]:
        """Output, and the gradients of the features and of every parameter."""
        network.to(device).zero_grad()
        for module in network.modules():
            if hasattr(module, "backend"):
                module.backend = backend  # type: ignore[assignment]
        x = features.to(device).requires_grad_()
        with autocast(device, precision):
            out = network(coords.to(device), x, 1)
        (out.float() * pull.to(device)).sum().backward()
        return [
            t.detach().float().cpu() for t in (out, x.grad, *(p.grad for p in network.parameters())) if t is not None
        ]

    expected, failed = run(torch.device("cpu"), "torch", "float32"), []
    for backend in ("torch", "spconv") if context.device.type == "cuda" else ("torch",):
        for precision, worst in WORST.items():
            # spconv has no bfloat16.
            name = f"{backend}, {precision}" + " (products in float32)" * (backend == "spconv" and precision == "bf16")
            try:
                found = run(context.device, backend, precision)
            except Exception as error:
                failed.append(f"{name}: {error}")
                continue
            pairs = list(zip(found, expected, strict=True))
            for what, some in (("output", pairs[:1]), ("gradients", pairs[1:])):
                ours, theirs = (torch.cat([tensor.flatten() for tensor in side]) for side in zip(*some))
                error = float((ours - theirs).norm() / theirs.norm())
                yield f"{name}: error of the {what}", error
                if not error < worst:
                    failed.append(f"{name}: error of the {what} is {error:.2g}, expected below {worst}")
    assert not failed, "; ".join(failed)


def training(context: Context) -> Part:
    """Mean loss of the first and the last sixth of the steps, on this device and on the CPU, with the same rooms."""
    import torch

    from pcseg import config as cfg
    from pcseg.run import Run

    ends, steps = [], context.sizes.steps
    for device in dict.fromkeys([context.device, torch.device("cpu")]):
        own = [f"train.steps={steps}", "train.checkpoint_every=100000", "train.log_every=4"]
        run = Run(cfg.load("synthetic", [*context.overrides, *own]), context.folder / "run", device)
        losses: list[float] = []
        add = lambda record, losses=losses: losses.append(record["loss"])  # noqa: E731
        run.logger = SimpleNamespace(step=add)  # type: ignore[assignment]
        start = time.perf_counter()
        run.train_on(run._loader())
        yield f"{device.type}: seconds of {steps} steps", time.perf_counter() - start
        first, last = (sum(part) / len(part) for part in (losses[: steps // 6], losses[-(steps // 6) :]))
        yield f"{device.type}: loss at first", first
        yield f"{device.type}: loss at last", last
        assert last < 0.9 * first, f"the loss does not fall on {device.type}"
        ends.append(last)
    assert max(ends) < 1.2 * min(ends), "the last losses differ by more than a fifth"


def criterion_speed(context: Context) -> Part:
    """Milliseconds and host synchronizations of each criterion, forward and backward."""
    from pcseg.benchmarks.criterion import CRITERIA, criterion_step
    from pcseg.benchmarks.measure import count_waits, median_ms

    for size in context.sizes.criterion:
        steps = {name: criterion_step(name, *size, context.device) for name in CRITERIA}
        for name, ms in median_ms(steps, context.sizes.rounds).items():
            yield f"{name}, M {size[0]}, K {size[1]}, N {size[2]}: ms", ms
        for name, step in steps.items():
            yield f"{name}, M {size[0]}, K {size[1]}, N {size[2]}: synchronizations", count_waits(step, context.device)


def convolution_speed(context: Context) -> Part:
    """Milliseconds of a 3x3x3 convolution on 2 cm voxels, forward and backward; kernel maps are made before."""
    import torch

    from pcseg.benchmarks.conv import room_coords
    from pcseg.benchmarks.measure import median_ms, wait_for
    from pcseg.ops.neighbors import SparseGrid
    from pcseg.ops.precision import autocast
    from pcseg.ops.sparse_conv import SparseTensor, SubmanifoldConv3d, spconv_on_gpu

    device, coords = context.device, room_coords(context.sizes.conv_points)
    on_gpu, grid = device.type == "cuda", SparseGrid(coords.to(device), 1)
    yield "voxels", len(coords)
    for channels in context.sizes.channels:
        x = torch.randn(len(coords), channels, device=device, requires_grad=True)
        for backend in ("torch", "spconv") if on_gpu and spconv_on_gpu() else ("torch",):
            layer = SubmanifoldConv3d(channels, channels, backend=backend).to(device)
            for precision in ("float32", "bf16", "fp16") if on_gpu else ("float32",):

                def step(layer=layer, x=x, precision=precision) -> None:
                    with autocast(device, precision):
                        layer(SparseTensor(x, grid)).features.sum().backward()
                    wait_for(device)

                name = f"{channels} channels, {backend}, {precision}: ms"
                yield name, median_ms({name: step}, context.sizes.rounds)[name]


def training_speed(context: Context) -> Part:
    """Rooms per second of training, shares of its phases, and host synchronizations ("waits") of a step."""
    from pcseg import config as cfg
    from pcseg.benchmarks.train import UNREAD, measure_training

    for workers in (0, 4) if context.device.type == "cuda" else (0,):
        config = cfg.load("synthetic", [*context.overrides, f"train.num_workers={workers}", *UNREAD])
        for key, value in measure_training(config, context.device, 4 * context.sizes.rounds).items():
            yield f"{workers} loader processes: {key}", value


def prediction_speed(context: Context) -> Part:
    """Rooms per second of the built-in model, shares of superpoints and network, and host synchronizations."""
    import torch

    from pcseg import load_model
    from pcseg.benchmarks.measure import count_waits, median_ms, wait_for
    from pcseg.data.dataset import make_batch
    from pcseg.synthetic import make_room

    segmenter = load_model("builtin", context.device).with_options(views="one")
    room = make_room(1, 0, num_points=context.sizes.room_points).with_(semantic=None, instance=None)
    given: dict[str, Any] = {"voxel_size": segmenter.voxel_size, "features": segmenter.features}
    batch = make_batch([segmenter.superpoints.apply(room)], **given, instance_classes=())

    @torch.no_grad()
    def network() -> None:
        segmenter.model(batch.to(context.device))
        wait_for(context.device)

    whole: Callable[[], Any] = lambda: segmenter.predict(room)  # noqa: E731
    steps = {"whole": whole, "superpoints": lambda: segmenter.superpoints.apply(room), "network": network}
    ms = median_ms(steps, min(3, context.sizes.rounds))
    yield "rooms per second", 1000 / ms["whole"]
    yield "share of superpoints", ms["superpoints"] / ms["whole"]
    yield "share of network", ms["network"] / ms["whole"]
    yield "synchronizations", count_waits(whole, context.device)


_PARTS = (environment, tests, agreement, criterion_speed, convolution_speed, training_speed, prediction_speed, training)
PARTS: dict[str, Callable[[Context], Part]] = {part.__name__: part for part in _PARTS}


def table(results: dict[str, dict[str, Any]]) -> str:
    """One markdown table of all parts."""
    lines = ["| part | what | value |", "|---|---|---|"]
    for part, result in results.items():
        outcome = result.get("error", "ok").replace("\n", " ")[:200]
        lines.append(f"| {part} | {result['seconds']:.0f} s | {outcome} |")
        for key, value in result["values"].items():
            lines.append(f"| | {key} | {f'{value:.4g}' if isinstance(value, float) else value} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the parts and writes gpu_check.json and gpu_check.md; the exit code is 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="device to check (default: cuda)")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"parts: {', '.join(PARTS)}")
    folder = Path("outputs/gpu_check")
    parser.add_argument("--out", type=Path, default=folder, help=f"output folder (default: {folder})")
    args = parser.parse_args()
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        sys.exit(f"missing packages: {', '.join(missing)}")
    from pcseg.benchmarks.measure import write_segmented_rooms
    from pcseg.files import atomic_write, write_json
    from pcseg.ops.device import pick_device

    args.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    sizes, device = QUICK if args.quick else FULL, pick_device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"data.root={folder}/rooms", 'data.train=["*"]', "data.val=[]", *(SMALL if args.quick else [])]
        write_segmented_rooms(Path(folder) / "rooms", [sizes.room_points] * sizes.num_rooms)
        context = Context(device, sizes, Path(folder), overrides)
        for name in args.only or PARTS:
            print(f"{name} ...", flush=True)
            start, values = time.perf_counter(), dict[str, Any]()
            result = results[name] = {"values": values}
            try:
                for key, value in PARTS[name](context):
                    values[key] = value
            except Exception as error:
                result |= {"traceback": traceback.format_exc(), "error": f"{type(error).__name__}: {error}"}
                print(result["traceback"], flush=True)
            result["seconds"] = time.perf_counter() - start
            write_json(args.out / "gpu_check.json", results)
            atomic_write(args.out / "gpu_check.md", table(results))
    print(table(results))
    sys.exit(any("error" in result for result in results.values()))


if __name__ == "__main__":
    main()
