"""Check a zip file against the rules of the ScanNet benchmark before uploading it.

tools/check_submission.py ZIP --dataset scannet [--scenes FILE] [--json FILE]
"""

import argparse
from pathlib import Path

from pcseg.classes import CLASS_SETS, class_set
from pcseg.cli import run_tool
from pcseg.commands.results import claim
from pcseg.files import write_json
from pcseg.metrics.benchmark_files import check_submission
from pcseg.prediction import counted


def main() -> None:
    parser = argparse.ArgumentParser(description="Check a submission to the ScanNet instance segmentation benchmark.")
    parser.add_argument("zip", type=Path, help="submission file")
    parser.add_argument("--dataset", required=True, help=f"class set: scannet, {', '.join(CLASS_SETS)}, or a YAML file")
    parser.add_argument(
        "--scenes", type=Path, help="file with the required scene names, one per line (see data/splits)"
    )
    parser.add_argument("--json", type=Path, help="also write the counts as JSON")
    args = parser.parse_args()

    written = claim(args.json)
    scenes = dict.fromkeys(args.scenes.read_text(encoding="utf-8").split()) if args.scenes else None
    num_scenes, num_objects = check_submission(args.zip, class_set(args.dataset), scenes)
    print(f"{args.zip}: valid; {counted(num_scenes, 'scene')}, {counted(num_objects, 'object')}")
    if args.json:
        write_json(args.json, {"num_scenes": num_scenes, "num_objects": num_objects})
    written()


if __name__ == "__main__":
    run_tool(main)
