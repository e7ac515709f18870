"""Draw the effect of every augmentation on one synthetic room.

tools/augmentation_pictures.py [OUT.png]
"""

import argparse
from pathlib import Path

import numpy as np

from pcseg.cli import run_tool
from pcseg.data.augment import AUGMENTATIONS, compose, middle_of_floor
from pcseg.data.scan_fields import keep_points
from pcseg.files import atomic_open
from pcseg.structures import Scene
from pcseg.synthetic import make_room
from pcseg.viz.grid import Cell, image_grid
from pcseg.viz.raster import rasterize, room_view

# Stronger than in the configs, to be visible.
OPTIONS: dict[str, dict[str, float | int]] = {
    "rotate": {"degrees": 40.0},
    "tilt": {"degrees": 12.0},
    "scale": {"low": 0.6, "high": 0.7},
    "jitter": {"std": 0.03},
    "elastic": {"granularity": 0.4, "magnitude": 1.2, "probability": 1.0},
    "color_shift": {"std": 50.0},
    "color_contrast": {"low": 1.8, "high": 1.9},
    "color_jitter": {"std": 40.0},
    "color_drop": {"probability": 1.0},
    "drop_points": {"share": 1.0},
    "crop_cuboid": {"size": 2.5},
    "crop_points": {"max_points": 20000},
    "mix": {"probability": 1.0},
    "thin_objects": {"probability": 1.0},
    "limit_objects": {"low": 300, "high": 300, "probability": 1.0},
}
SEEDS = {"flip": 1}  # a seed that flips
WIDTH, HEIGHT, COLUMNS = 300, 210, 4


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the effect of every augmentation on one synthetic room.")
    default = Path("docs/augmentations.png")
    parser.add_argument("out", type=Path, nargs="?", default=default, help=f"PNG file to write (default: {default})")
    args = parser.parse_args()
    room, other = (_open(make_room(4, index, num_points=60_000)) for index in (0, 2))
    view = room_view(room.xyz, width=WIDTH, height=HEIGHT)

    def cell(title: str, scene: Scene) -> Cell:
        assert scene.rgb is not None
        return Cell(title, rasterize(scene.xyz, view, width=WIDTH, height=HEIGHT).paint(scene.rgb))

    cells = [cell("as scanned", room)]
    for name in AUGMENTATIONS:
        augment, rng = compose([(name, OPTIONS.get(name, {}))]), np.random.default_rng(SEEDS.get(name, 5))
        cells.append(cell(name, augment(room, rng, lambda rng: other)))
    rows = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
    picture = image_grid(rows, title="Augmentations", note="stronger than in the configs, to be visible")
    with atomic_open(args.out) as file:
        picture.quantize(192).save(file, format="PNG", optimize=True)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


def _open(scene: Scene) -> Scene:
    """Removes the ceiling and centers the room for a fixed camera."""
    scene = keep_points(scene, scene.xyz[:, 2] < scene.xyz[:, 2].min() + 2.2)
    return Scene(scene.name, scene.xyz - middle_of_floor(scene.xyz), rgb=scene.rgb, instance=scene.instance)


if __name__ == "__main__":
    run_tool(main)
