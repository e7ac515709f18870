"""The benchmark of large scans, and the table of inference options."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pcseg.data.store import Source, write_room
from pcseg.ops.superpoints import over_segment
from pcseg.synthetic import make_room
from tests.tools.small_model import fresh_checkpoint
from tools.benchmarks import tiles
from tools.benchmarks.tiles import make_floor, predict_floor


def test_a_floor_grows_in_area_and_not_in_density() -> None:
    one, two = make_floor(1500, 1500), make_floor(3000, 1500)
    assert (len(one), len(two)) == (1500, 3000)
    assert np.ptp(two.xyz[:, 0]) > 8 > np.ptp(one.xyz[:, 0])
    assert np.ptp(two.xyz[:, 2]) < 5
    np.testing.assert_array_equal(two.xyz[:1500], one.xyz)


def test_a_small_floor_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "NUM_MODELS", 2)
    found = {str(size): predict_floor(size, 1500) for size in (1500, 3000)}
    for row in found.values():
        assert row["seconds"] > 0
        assert row["peak_mb"] >= row["peak_mb_before"] > 10
    assert found["3000"]["superpoints"] > found["1500"]["superpoints"]


def test_the_table_of_options(tmp_path: Path, tool: Callable[..., tuple[int, str, str]]) -> None:
    room = make_room(0, 0, num_points=4000)
    room = room.with_(name="Area_5_office_1", superpoint=over_segment(room.xyz, room.rgb))
    write_room(tmp_path / "rooms", room, "s3dis", Source("made", "0"))
    checkpoint = fresh_checkpoint(tmp_path / "last.pt", "inference.top_k=8")
    out = tmp_path / "table.json"
    options = ["--only", "matrix", "--json", out, "--device", "cpu"]
    status, printed, errors = tool("inference_options", checkpoint, tmp_path / "rooms", *options)
    assert status == 0, errors
    assert "no matrix NMS" in printed
    content = json.loads(out.read_text())
    assert content["num_rooms"] == 1
    assert list(content["options"]) == ["base", "no matrix NMS"]
    assert set(content["options"]["base"]) == {"ap", "ap50", "ap25", "seconds_per_room"}
