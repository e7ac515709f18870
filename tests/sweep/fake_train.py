"""Replaces pcseg train in tests of sweeps: takes its arguments and writes numbers computed from them."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("config")
parser.add_argument("overrides", nargs="*")
parser.add_argument("--run", type=Path, required=True)
parser.add_argument("--json", type=Path, required=True)
parser.add_argument("--auto-resume", action="store_true", required=True)
args = parser.parse_intermixed_args()
values = dict(item.split("=", 1) for item in args.overrides)
with (args.run / "calls.txt").open("a") as file:
    file.write(f"{time.time()} {os.environ['OMP_NUM_THREADS']}\n")

rate, seed = float(values.get("optimizer.lr", "0.01")), int(values["train.seed"])
if rate == 7:
    print("error: the rate is too high", file=sys.stderr)
    sys.exit(2)
# Some runs wait for others, or for the test, so that no clock decides what a test sees.
others, gate = os.environ.get("FAKE_MEET"), os.environ.get("FAKE_GATE")
while others and len(list(args.run.parent.parent.glob("*/*/calls.txt"))) < int(others):
    time.sleep(0.02)
while gate and (rate, seed) == (0.02, 1) and not Path(gate).exists():
    time.sleep(0.02)
ap = None if rate == 8 else 0.5 - abs(rate - 0.01) + 0.001 * seed
args.json.write_text(json.dumps({"ap": ap, "ap50": 0.6, "ap25": 0.7, "classes": {}}))
