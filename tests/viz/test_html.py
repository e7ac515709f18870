"""Pages need no other file and hold what went in; test_page_in_browser.py opens them."""

import base64
import gzip
import json
import re
from collections import defaultdict
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pcseg.classes import S3DIS
from pcseg.ops.superpoints import over_segment_voxels
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.synthetic import make_room
from pcseg.synthetic.predictions import simulate_predictions
from pcseg.viz.html import write_page
from pcseg.viz.layers import DEFAULT_THRESHOLD, scene_layers
from tests.conftest import refuses

HOSTILE = '</script><script>alert("x")</script><!-- <b>&amp; \u2028 __DATA__ \\'


class Page(HTMLParser):
    """Attributes, names of scripts, elements that are still open, and texts; a name is an id or else a tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.scripts: list[str] = []
        self.texts: dict[str, str] = defaultdict(str)
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, key, value) for key, value in attrs]
        name = dict(attrs).get("id") or tag
        if tag not in ("meta", "link", "input", "img"):
            self.open.append((tag, name))
        if tag == "script":
            self.scripts.append(name)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1][1]] += data


def _write(folder: Path, prediction: Prediction, **options: Any) -> str:
    write_page(folder / "page.html", prediction, **options)
    return (folder / "page.html").read_text(encoding="utf-8")


def _read(text: str) -> SimpleNamespace:
    """What the page's own script reads, read in Python."""
    page = Page(text)
    meta = json.loads(page.texts["meta"])
    raw = np.frombuffer(gzip.decompress(base64.b64decode(page.texts["data"])), np.uint8)
    planes = iter(raw.reshape(-1, meta["num_points"]))

    def integers(width: int) -> np.ndarray:
        return sum(next(planes).astype(np.int64) << (8 * byte) for byte in range(width))

    axes = []
    for _ in range(3):
        folded = integers(2)
        axes.append(np.cumsum((folded >> 1) ^ -(folded & 1)) % 65536)
    rgb = np.stack([np.cumsum(integers(1)) % 256 for _ in range(3)], axis=1)
    next(planes)  # spacing
    octant = np.stack([next(planes).view(np.int8) for _ in range(2)], axis=1).astype(float) / 127
    normal = np.concatenate([octant, 1 - np.abs(octant).sum(axis=1, keepdims=True)], axis=1)
    lower = normal[:, 2] < 0
    normal[lower, :2] = (1 - np.abs(normal[lower, 1::-1])) * np.where(normal[lower, :2] < 0, -1, 1)
    ids = {layer["key"]: integers(layer["bytes"]) for layer in meta["layers"]}
    assert next(planes, None) is None
    xyz = np.stack(axes, axis=1) * meta["step"] + np.array(meta["origin"])
    return SimpleNamespace(meta=meta, xyz=xyz, rgb=rgb, normal=normal, ids=ids)


def test_round_trip(room: Scene, whole: Prediction, tmp_path: Path) -> None:
    content = _read(_write(tmp_path, whole))
    distance, rows = cKDTree(content.xyz).query(room.xyz[:200], p=1)
    assert distance.max() < 3 * 0.6 * content.meta["step"]
    np.testing.assert_array_equal(content.rgb[rows], room.rgb[:200])
    layers = scene_layers(whole, DEFAULT_THRESHOLD, all_objects=True)
    assert list(content.ids) == [*layers]
    for layer, described in zip(layers.values(), content.meta["layers"]):
        np.testing.assert_array_equal(content.ids[layer.key][rows], layer.ids[:200])
        np.testing.assert_array_equal(np.sort(content.ids[layer.key]), np.sort(layer.ids))
        assert bytes.fromhex(described["colors"]) == layer.colors.tobytes()
        assert [row["n"] for row in described["rows"]] == [entry.name for entry in layer.entries]
    assert content.meta["layers"][1]["rows"][1] == {"n": "table", "i": 1, "p": 1500, "s": 0.9, "m": 7, "u": 1.0}
    assert np.median(np.abs(content.normal[content.xyz[:, 2] < 0.01, 2])) > 0.98


def test_needs_no_other_file_and_names_cannot_break_out(whole: Prediction, tmp_path: Path, room: Scene) -> None:
    text = _write(tmp_path, whole)
    assert text == _write(tmp_path, whole), "the same bytes"
    page = Page(text)
    assert page.open == []
    assert not re.search(r"https?:|//[a-z]+\.|\bimport\s*\(|@import|url\(|fetch\(|XMLHttpRequest|WebSocket", text)
    for tag, key, value in page.attributes:
        if key in ("src", "href", "action", "data", "poster", "srcset"):
            assert (value or "").startswith("data:"), f"{tag} {key}={value}"
    (policy,) = (value for _, key, value in page.attributes if key == "content" and "default-src" in value)
    assert "default-src 'none'" in policy
    text = _write(tmp_path, Prediction(room.with_(name=HOSTILE), classes=S3DIS))
    page = Page(text)
    assert sorted(page.scripts) == ["data", "meta", "script"]
    assert page.texts["title"] == _read(text).meta["name"] == HOSTILE


@pytest.mark.parametrize("extent", [0.0, 0.01, 1.0, 30.0, 65.0, 500.0])
@pytest.mark.parametrize("offset", [0.0, -20000.0])
def test_positions_keep_their_precision(rng: np.random.Generator, extent: float, offset: float, tmp_path: Path) -> None:
    xyz = (rng.random((500, 3)) * extent + offset).astype(np.float32)
    content = _read(_write(tmp_path, Prediction(Scene("cloud", xyz))))
    step = content.meta["step"]
    assert step <= max(0.001, extent / 65000)
    np.testing.assert_allclose(np.ptp(content.xyz, axis=0), np.ptp(xyz, axis=0), atol=1.01 * step)
    found, given = np.sort(content.xyz, axis=0), np.sort(xyz.astype(np.float64), axis=0)
    np.testing.assert_allclose(found, given, atol=0.51 * step + 2e-6)


@pytest.mark.parametrize(("count", "width"), [(200, 1), (300, 2), (66_000, 4)])
def test_many_superpoints(rng: np.random.Generator, tmp_path: Path, count: int, width: int) -> None:
    scene = Scene("cloud", rng.random((count, 3), np.float32), superpoint=np.arange(count, dtype=np.int32))
    content = _read(_write(tmp_path, Prediction(scene)))
    assert content.meta["layers"][0]["bytes"] == width
    assert sorted(content.ids["superpoint"]) == list(range(1, count + 1))


def test_thinned_and_degenerate(tmp_path: Path, room: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Scene("one", np.zeros((1, 3), np.float32))
    assert _read(_write(tmp_path, Prediction(one))).meta["start"] == "input"
    assert _read(_write(tmp_path, Prediction(one, np.zeros((0, 1), np.bool_)))).ids["prediction"].tolist() == [0]
    refuses("no points", write_page, tmp_path / "none.html", Prediction(Scene.without_xyz("none", 0)))
    refuses("a folder; expected", write_page, tmp_path, Prediction(one), error=OSError)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    monkeypatch.setattr("pcseg.viz.raster.MAX_POINTS", 5000)
    content = _read(_write(tmp_path, Prediction(room, classes=S3DIS)))
    number = content.meta["num_points"]
    assert 2500 < number <= 5000
    assert content.meta["subtitle"].startswith("12,000 points · ")
    assert f" · thinned to {number:,}, one in " in content.meta["subtitle"]
    assert sum(row["p"] for row in content.meta["layers"][0]["rows"]) == 12_000, "sizes are those of the scan"


def test_a_million_points_stay_small(rng: np.random.Generator, tmp_path: Path) -> None:
    scene = make_room(0, 0, num_points=200_000)
    scene = scene.with_(superpoint=over_segment_voxels(scene.xyz))
    prediction = replace(simulate_predictions(scene, S3DIS, rng), semantic=scene.semantic)
    assert len(_write(tmp_path, prediction)) < 12e6 * len(scene) / 1e6
