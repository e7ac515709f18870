"""Draw the curves of training runs.

tools/plot_run.py RUN... --out FILE.png [--smoothing 0.95]
"""

import argparse
from pathlib import Path

from pcseg.cli import run_tool
from pcseg.viz.run_charts import run_sheet
from pcseg.viz.sheet import save_png


def main() -> None:
    parser = argparse.ArgumentParser(description="Losses, learning rate, speed and AP of one or several runs, as PNG.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, as tools/train.py makes it")
    parser.add_argument("--out", type=Path, required=True, help="picture to write, .png")
    parser.add_argument("--smoothing", type=float, default=0.95, help="0 for none; below 1")
    args = parser.parse_args()
    save_png(args.out, run_sheet(args.runs, smoothing=args.smoothing))
    print(args.out)


if __name__ == "__main__":
    run_tool(main)
