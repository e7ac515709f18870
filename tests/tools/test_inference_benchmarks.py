"""The benchmark of large scans, its plot, and the table of inference options."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pcseg import build
from pcseg import config as cfg
from pcseg.data.store import Source, write_room
from pcseg.data.synthetic import make_room
from pcseg.engine.checkpoint import save_checkpoint
from pcseg.labels import S3DIS
from pcseg.ops.superpoints import over_segment
from tools.benchmarks.plot import log_log_plot
from tools.benchmarks.tiles import make_floor, plot_tiles, predict_floor

RECIPE = """
data: {root: ROOMS, classes: s3dis, voxel_size: 0.15, features: [rgb, xyz]}
model:
  unet: {channels: [8, 16], blocks_per_level: 1}
  decoder: {width: 16, num_heads: 2, num_layers: 1, ffn_width: 32, num_queries: 20}
inference: {top_k: 8}
"""


def test_a_floor_grows_in_area_and_not_in_density() -> None:
    one, two = make_floor(1500, 1500), make_floor(3000, 1500)
    assert (len(one), len(two)) == (1500, 3000)
    assert np.ptp(two.xyz[:, 0]) > 8 > np.ptp(one.xyz[:, 0])
    assert np.ptp(two.xyz[:, 2]) < 5
    np.testing.assert_array_equal(two.xyz[:1500], one.xyz)


def test_a_small_floor_is_measured_and_drawn(tmp_path: Path) -> None:
    found = {str(size): predict_floor(size, 1500) for size in (1500, 3000)}
    for row in found.values():
        assert row["seconds"] > 0
        assert row["peak_mb"] >= row["peak_mb_before"] > 10
    assert found["3000"]["superpoints"] > found["1500"]["superpoints"]
    plot_tiles(found, tmp_path / "tiles.png")
    with Image.open(tmp_path / "tiles.png") as image:
        picture = np.asarray(image)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 4  # lines of several colours


def test_a_plot_refuses_what_has_no_logarithm(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="logarithmic axes takes positive values only"):
        log_log_plot(tmp_path / "x.png", [1, 2], {"a": [0, 1]}, title="a", x_name="x")
    assert not (tmp_path / "x.png").exists()
    log_log_plot(tmp_path / "x.png", [0.5], {"a": [3]}, title="one value", x_name="x")
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (900, 620)


def test_the_table_of_options(tmp_path: Path, tool: Callable[..., tuple[int, str, str]]) -> None:
    room = make_room(0, 0, num_points=4000)
    room = room.with_(name="Area_5_office_1", superpoint=over_segment(room.xyz, room.rgb))
    write_room(tmp_path / "rooms", room, "s3dis", Source("made", "0"))
    (tmp_path / "small.yaml").write_text(RECIPE.replace("ROOMS", str(tmp_path / "rooms")))
    config = cfg.load(tmp_path / "small.yaml", [])
    torch.manual_seed(0)
    weights = build.build_model(config, S3DIS).state_dict()
    checkpoint = tmp_path / "last.pt"
    save_checkpoint(checkpoint, config=cfg.dumps(config), classes=S3DIS.to_dict(), model=weights)
    out = tmp_path / "table.json"
    options = ["--only", "matrix", "--json", out, "--device", "cpu"]
    status, printed, errors = tool("inference_options", checkpoint, tmp_path / "rooms", *options)
    assert status == 0, errors
    assert "flips, matrix NMS" in printed
    content = json.loads(out.read_text())
    assert content["num_rooms"] == 1
    assert list(content["options"]) == ["base", "matrix NMS", "flips, matrix NMS"]
    assert set(content["options"]["base"]) == {"ap", "ap50", "ap25", "seconds_per_room"}
