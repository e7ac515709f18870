"""Write the weights of a run for publication: half precision, with config, classes, data and attribution inside."""

import argparse
import json
from pathlib import Path

from pcseg import config as cfg
from pcseg.cli import run_tool
from pcseg.config_reader import to_text
from pcseg.training.checkpoint import LAST, load_checkpoint, prediction_weights
from pcseg.training.weights_file import write_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a training run")
    parser.add_argument("out", type=Path, metavar="OUT", help="file to write (.safetensors)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes such as inference.views=flips")
    parser.add_argument("--checkpoint", default=LAST, help=f"name of its checkpoint (default: {LAST})")
    parser.add_argument(
        "--mix",
        nargs=2,
        action="append",
        default=[],
        metavar=("CHECKPOINT", "SHARE"),
        help="a share (0 to 1) of the weights comes from another checkpoint, or from builtin; can be repeated",
    )
    parser.add_argument("--license", required=True, help="license of the weights")
    parser.add_argument("--attribution", type=Path, help="text file that names the sources of the training data")
    args = parser.parse_intermixed_args()
    content = load_checkpoint(args.run / args.checkpoint)
    content["config"] = to_text(cfg.load(args.run / "config.yaml", args.overrides))
    data = json.loads((args.run / "data.json").read_text(encoding="utf-8"))["train"]
    notes = {
        "license": args.license,
        "attribution": args.attribution.read_text(encoding="utf-8") if args.attribution else "",
        "rooms": f"{data['num_rooms']} rooms, SHA-256 {data['sha256']}",
        "steps": str(content["state"]["step"]),
    }
    parts = [(prediction_weights(load_checkpoint(path)), float(share)) for path, share in args.mix]
    weights = prediction_weights(content)
    own = 1 - sum(share for _, share in parts)
    for name, value in weights.items():
        if value.is_floating_point():
            weights[name] = own * value + sum(share * other[name] for other, share in parts)
    write_weights(args.out, content, weights, notes)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_tool(main)
