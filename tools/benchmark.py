"""Speed figures, each measured side by side in one process.

tools/benchmark.py [NAME...] [--threads N] [--rounds N] [--json FILE]

Without a NAME all benchmarks run. Times are medians over rounds in which the candidates take turns.
"""

import argparse
import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pcseg.cli import run_tool, write_json
from pcseg.losses.influencer_criterion import InfluencerCriterion
from pcseg.losses.set_criterion import SetCriterion

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


BENCHMARKS: dict[str, Callable[[int], dict[str, Any]]] = {"criterion": criterion}


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
