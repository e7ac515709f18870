"""Objects of any scan.

tools/predict.py CHECKPOINT SCAN... --out DIR
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from pcseg import build
from pcseg.cli import run_tool
from pcseg.data.scan_files import describe, read_scan
from pcseg.inference.result_file import save_result
from pcseg.viz.html import write_page
from pcseg.viz.render import room_picture, save_png


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the objects of scans: .ply .pcd .las .laz .npz .npy .txt")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--device", help="cuda where there is one, otherwise cpu")
    parser.add_argument("--drop-nan", action="store_true", help="leave out points whose coordinates are not finite")
    parser.add_argument("--drop-doubled", action="store_true", help="keep one of the points that stand at one place")
    parser.add_argument("--grey", action="store_true", help="points without colour become mid-grey")
    parser.add_argument("--columns", help="columns of text files that do not name them: 'x y z r g b'")
    parser.add_argument("--scale", type=float, default=1.0, help="factor to metres, 0.001 for millimetres")
    parser.add_argument("--up", choices=["x", "y", "z"], default="z", help="the axis that points up in the file")
    args = parser.parse_args()

    segmenter = build.load_model(args.checkpoint, build.pick_device(args.device))
    args.out.mkdir(parents=True, exist_ok=True)
    for path in tqdm(args.scans, unit="scan"):
        scene = read_scan(
            path,
            drop_nan=args.drop_nan,
            drop_doubled=args.drop_doubled,
            grey=args.grey,
            columns=args.columns,
            scale=args.scale,
            up=args.up,
        )
        for advice in describe(scene):
            tqdm.write(f"{path}: {advice}")
        scene = scene.with_(semantic=None, instance=None)  # labels of the scan may be of other classes
        instances, semantic, scene = segmenter.predict_all(scene)
        target = args.out / scene.name
        save_result(target.with_suffix(".npz"), scene, instances, semantic, segmenter.classes)
        save_png(target.with_suffix(".png"), room_picture(scene, instances, semantic, segmenter.classes))
        write_page(target.with_suffix(".html"), scene, instances, semantic, segmenter.classes)
        tqdm.write(f"{path}: {len(instances)} objects -> {target}.npz, .png, .html")


if __name__ == "__main__":
    run_tool(main)
