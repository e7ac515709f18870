"""Speed figures, each measured side by side in one process.

tools/benchmark.py [NAME...] [--threads N] [--rounds N] [--json FILE]

Without a NAME all benchmarks run. Times are medians over rounds in which the candidates take turns.
"""

import argparse
import ctypes
import functools
import multiprocessing
import pickle
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pcseg.cli import run_tool, write_json
from pcseg.labels import SCANNET20
from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.set_criterion import SetCriterion
from pcseg.metrics.histogram import find_objects
from pcseg.metrics.instance_ap import InstanceAP, average_precision
from pcseg.metrics.matching import match_scene
from pcseg.metrics.scores import Scores
from pcseg.structures import Instances

Step = Callable[[], Any]


def keep_freed_memory() -> None:
    """Has freed memory stay with the process (glibc); mapping it anew in every round would blur the times."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        mallopt(-3, 2**30)  # M_MMAP_THRESHOLD


def median_ms(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median milliseconds of each step; the steps take turns, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


def peak_memory_mb(make_step: Callable[..., Step], *args: Any) -> float | None:
    """What one step adds to the resident memory of a fresh process at most; None where the system does not tell."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_in_this_process, (make_step, *args))


def _peak_in_this_process(make_step: Callable[..., Step], *args: Any) -> float | None:
    torch.set_num_threads(1)
    if not Path("/proc/self/clear_refs").exists():
        return None
    make_step(*args, warm_up=True)()
    step = make_step(*args)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _resident_kb("VmRSS")
    step()
    return (_resident_kb("VmHWM") - before) / 1024


def _resident_kb(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise ValueError(f"/proc/self/status has no {key}")


CRITERIA: dict[str, Callable[[], torch.nn.Module]] = {
    "competitive (softmax)": lambda: InfluencerCriterion(18),
    "Hungarian (sigmoid)": lambda: SetCriterion(18),
    "Hungarian (softmax)": lambda: SetCriterion(18, mask_activation="softmax"),
    "competitive (sigmoid)": lambda: InfluencerCriterion(18, mask_activation="sigmoid"),
}


class _EndOfGraph(torch.autograd.Function):
    """Lets gradients go once they are computed, as the product behind mask logits does in a model."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> None:
        return None


def criterion_step(name: str, num_queries: int, num_instances: int, warm_up: bool = False) -> Step:
    """Forward and backward of a criterion on random predictions: batch 4, 7 layers, 2000 superpoints."""
    batch_size, num_layers, num_tokens, num_classes = 4, 7, 20 if warm_up else 2000, 18
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    layers = [
        {
            "pred_logits": normal(batch_size, num_queries, num_classes + 1),
            "pred_scores": normal(batch_size, num_queries),
            "pred_masks": [normal(num_tokens, num_queries) for _ in range(batch_size)],
        }
        for _ in range(num_layers)
    ]
    targets = [
        {
            "labels": torch.randint(num_classes, (num_instances,), generator=generator),
            "instance_labels": torch.randint(num_instances + 1, (num_tokens,), generator=generator),
        }
        for _ in range(batch_size)
    ]
    criterion = CRITERIA[name]()

    def step() -> None:
        ends: list[dict[str, Any]] = [
            {
                k: [_EndOfGraph.apply(m) for m in v] if isinstance(v, list) else _EndOfGraph.apply(v)
                for k, v in x.items()
            }
            for x in layers
        ]
        criterion.total(criterion({**ends[-1], "aux_outputs": ends[:-1]}, targets)).backward()  # type: ignore[operator]

    return step


def criterion(rounds: int) -> dict[str, Any]:
    """The criteria, forward and backward, float32: batch 4, 7 layers, N 2000."""
    result: dict[str, Any] = {}
    print(f"{'criterion, ms (and MB at the peak)':<40}" + "".join(f"{name:>24}" for name in CRITERIA))
    for num_queries in (100, 400):
        for num_instances in (20, 60):
            steps = {name: criterion_step(name, num_queries, num_instances) for name in CRITERIA}
            times = median_ms(steps, rounds)
            memory = {name: peak_memory_mb(criterion_step, name, num_queries, num_instances) for name in CRITERIA}
            cells = [
                f"{times[name]:.1f} ({memory[name]:.0f})" if memory[name] else f"{times[name]:.1f}" for name in times
            ]
            print(f"{f'M {num_queries}, K {num_instances}':<40}" + "".join(f"{cell:>24}" for cell in cells), flush=True)
            result[f"M{num_queries}_K{num_instances}"] = {
                name: {"ms": times[name], "peak_mb": memory[name]} for name in CRITERIA
            }
    return result


def metric_scene(seed: int, num_points: int, num_preds: int = 100, num_objects: int = 30) -> dict[str, np.ndarray]:
    """A labelled scene with points in no order, the worst case, and predictions over 2000 superpoints."""
    rng = np.random.default_rng(seed)
    num_superpoints = 2000
    superpoint = rng.permutation(num_superpoints)[rng.integers(0, num_superpoints, num_points)].astype(np.int32)
    owner = np.sort(rng.integers(0, num_objects + 1, num_superpoints)).astype(np.int32)
    label_of_object = np.append(-1, rng.integers(2, 20, num_objects)).astype(np.int32)
    target = rng.integers(1, num_objects + 1, num_preds)
    return {
        "masks": (owner[None] == target[:, None]) ^ (rng.random((num_preds, num_superpoints)) < 0.02),
        "labels": label_of_object[target].astype(np.int64),
        "scores": rng.random(num_preds),
        "gt_semantic": label_of_object[owner[superpoint]],
        "gt_instance": owner[superpoint],
        "superpoint": superpoint,
    }


def count_one_by_one(
    masks: np.ndarray, labels: np.ndarray, gt_semantic: np.ndarray, gt_instance: np.ndarray
) -> np.ndarray:
    """Overlaps the straightforward way of the official script: each mask with void and each object of its class."""
    objects = find_objects(gt_semantic, gt_instance, np.isin(np.arange(20), SCANNET20.instance_classes))
    overlaps = np.zeros((len(masks), len(objects) + 1), np.int64)
    for row, mask in enumerate(masks):
        for column in [0, *(1 + np.flatnonzero(objects.labels == labels[row])).tolist()]:
            overlaps[row, column] = np.count_nonzero(np.logical_and(objects.of_point == column, mask))
        # The rest of its points, on whatever object of another class: they count for its size alone.
        others = np.flatnonzero(objects.labels != labels[row])
        overlaps[row, 1 + others[:1]] = np.count_nonzero(mask) - overlaps[row].sum()
    return overlaps


def metrics(rounds: int, num_scenes: int = 20, num_points: int = 150_000) -> dict[str, Any]:
    """Instance AP of 20 scenes of 150k points, 100 predictions and 30 objects each, and all measures together."""
    scenes = [metric_scene(seed, num_points) for seed in range(num_scenes)]
    points = [{**s, "masks": np.ascontiguousarray(s["masks"][:, s["superpoint"]]), "superpoint": None} for s in scenes]
    counted = np.isin(np.arange(20), SCANNET20.instance_classes)
    options = {"counted_classes": SCANNET20.instance_classes}
    found: dict[str, Any] = {}

    def fast(name: str, given: list[Any]) -> None:
        found[name] = InstanceAP(SCANNET20.names, **options)  # type: ignore[arg-type]
        for i, scene in enumerate(given):
            found[name].add(str(i), **scene)
        found[name].compute()

    def straightforward() -> None:
        matches = []
        for s in points:
            overlaps = count_one_by_one(s["masks"], s["labels"], s["gt_semantic"], s["gt_instance"])
            objects = find_objects(s["gt_semantic"], s["gt_instance"], counted)
            matches.append(match_scene(overlaps, s["labels"], s["scores"], objects, counted, 100))
        found["straightforward"] = average_precision(matches, SCANNET20.names, **options)  # type: ignore[arg-type]

    def everything() -> None:
        scores = Scores(SCANNET20)
        for i, s in enumerate(scenes):
            instances = Instances(s["masks"], s["labels"], s["scores"], s["superpoint"])
            scores.add(str(i), instances, s["gt_semantic"], s["gt_instance"])
        scores.compute()

    steps = {
        "AP, superpoint masks": lambda: fast("superpoints", scenes),
        "AP, point masks": lambda: fast("points", points),
        "AP, straightforward": straightforward,
        "every measure, superpoint masks": everything,
    }
    times = {name: ms / num_scenes for name, ms in median_ms(steps, min(rounds, 5)).items()}
    results = [found["superpoints"].compute(), found["points"].compute(), found["straightforward"]]
    difference = max(float(np.nanmax(np.abs(r.per_threshold - results[2].per_threshold))) for r in results)
    kilobytes = len(pickle.dumps(found["superpoints"].state())) / num_scenes / 1024
    for name, ms in times.items():
        print(f"{name:<40}{ms:>10.2f} ms a scene")
    print(f"largest difference of an AP {difference:.0e}; {kilobytes:.1f} KiB kept a scene", flush=True)
    return {"ms_per_scene": times, "largest_difference": difference, "kib_kept_per_scene": kilobytes}


def data_benchmark(name: str, rounds: int) -> dict[str, Any]:
    """One of tools/benchmarks/data.py."""
    root = str(Path(__file__).resolve().parent.parent)
    if root not in sys.path:
        sys.path.append(root)
    from tools.benchmarks import data

    return data.BENCHMARKS[name](rounds, median_ms)


BENCHMARKS: dict[str, Callable[[int], dict[str, Any]]] = {
    "criterion": criterion,
    "metrics": metrics,
    "voxelize": functools.partial(data_benchmark, "voxelize"),
    "loader": functools.partial(data_benchmark, "loader"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how fast pcseg is.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all without one")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--rounds", type=int, default=15, help="over which the median is taken")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        raise ValueError(f"no benchmark is called {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    results = {name: BENCHMARKS[name](args.rounds) for name in args.names or BENCHMARKS}
    if args.json:
        write_json(args.json, {"threads": args.threads, "torch": torch.__version__, **results})


if __name__ == "__main__":
    run_tool(main)
