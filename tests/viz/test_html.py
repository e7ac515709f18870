"""Pages need no other file and hold what went in; test_page_in_browser.py opens them."""

import base64
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pcseg.classes import S3DIS
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.viz.html import write_page
from pcseg.viz.layers import DEFAULT_THRESHOLD, scene_layers


class Page(HTMLParser):
    """Elements, their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.scripts: dict[str, str] = {}
        self.title = ""
        self.current = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in ("meta", "link", "input", "img"):
            self.open.append(tag)
        if tag == "script":
            self.current = dict(attrs).get("id") or "main"
            assert self.current not in self.scripts
            self.scripts[self.current] = ""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[self.current] += data
        elif self.open and self.open[-1] == "title":
            self.title += data


Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a page and returns its text."""

    def write(prediction: Prediction, **options: Any) -> str:
        write_page(tmp_path / "page.html", prediction, **options)
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    return write


@dataclass(frozen=True)
class _Content:
    meta: dict
    xyz: np.ndarray
    rgb: np.ndarray
    normal: np.ndarray
    ids: dict[str, np.ndarray]


def _read(text: str) -> _Content:
    """What the page's own script reads, read in Python."""
    page = Page(text)
    meta = json.loads(page.scripts["meta"])
    raw = np.frombuffer(gzip.decompress(base64.b64decode(page.scripts["data"])), np.uint8)
    count, offset = meta["num_points"], 0

    def plane() -> np.ndarray:
        nonlocal offset
        offset += count
        return raw[offset - count : offset]

    def integers(width: int) -> np.ndarray:
        return sum(plane().astype(np.int64) << (8 * byte) for byte in range(width))

    axes = []
    for _ in range(3):
        folded = integers(2)
        axes.append(np.cumsum((folded >> 1) ^ -(folded & 1)) % 65536)
    rgb = np.stack([np.cumsum(plane().astype(np.int64)) % 256 for _ in range(3)], axis=1)
    plane()  # spacing
    octant = np.stack([plane().view(np.int8) for _ in range(2)], axis=1).astype(float) / 127
    normal = np.concatenate([octant, 1 - np.abs(octant).sum(axis=1, keepdims=True)], axis=1)
    lower = normal[:, 2] < 0
    normal[lower, :2] = (1 - np.abs(normal[lower, 1::-1])) * np.where(normal[lower, :2] < 0, -1, 1)
    ids = {layer["key"]: integers(layer["bytes"]) for layer in meta["layers"]}
    assert offset == len(raw)
    xyz = np.stack(axes, axis=1) * meta["step"] + np.array(meta["origin"])
    return _Content(meta, xyz, rgb, normal, ids)


def test_round_trip(room: Scene, whole: Prediction, write: Write) -> None:
    content = _read(write(whole))
    distance, rows = cKDTree(content.xyz).query(room.xyz[:200], p=1)
    assert distance.max() < 3 * 0.6 * content.meta["step"]
    np.testing.assert_array_equal(content.rgb[rows], room.rgb[:200])
    layers = scene_layers(whole, DEFAULT_THRESHOLD, all_objects=True)
    assert list(content.ids) == [layer.key for layer in layers]
    for layer, described in zip(layers, content.meta["layers"]):
        np.testing.assert_array_equal(content.ids[layer.key][rows], layer.ids[:200])
        np.testing.assert_array_equal(np.sort(content.ids[layer.key]), np.sort(layer.ids))
        assert bytes.fromhex(described["colors"]) == layer.colors.tobytes()
        assert [row["n"] for row in described["rows"]] == [entry.name for entry in layer.entries]
    prediction = content.meta["layers"][1]
    assert prediction["rows"][1] == {"n": "table", "i": 1, "p": 1500, "s": 0.9, "m": 7, "u": 1.0}
    floor = content.xyz[:, 2] < 0.01
    assert np.median(np.abs(content.normal[floor, 2])) > 0.98


def test_needs_no_other_file(whole: Prediction, write: Write) -> None:
    text = write(whole)
    assert text == write(whole), "the same bytes"
    page = Page(text)
    assert page.open == []
    assert not re.search(r"https?:|//[a-z]+\.|\bimport\s*\(|@import|url\(|fetch\(|XMLHttpRequest|WebSocket", text)
    for tag, key, value in page.attributes:
        if key in ("src", "href", "action", "data", "poster", "srcset"):
            assert (value or "").startswith("data:"), f"{tag} {key}={value}"
    policy = [v for tag, key, v in page.attributes if tag == "meta" and key == "content" and "default-src" in (v or "")]
    assert policy
    assert "default-src 'none'" in policy[0]


HOSTILE = '</script><script>alert("x")</script><!-- <b>&amp; \u2028 __DATA__ \\'


def test_names_cannot_break_out(room: Scene, write: Write) -> None:
    text = write(Prediction(room.with_(name=HOSTILE), classes=S3DIS))
    page = Page(text)
    assert sorted(page.scripts) == ["data", "main", "meta"]
    assert page.title == HOSTILE
    assert _read(text).meta["name"] == HOSTILE
    assert _read(write(Prediction(room, classes=S3DIS), title=HOSTILE)).meta["title"] == HOSTILE


@pytest.mark.parametrize("extent", [0.0, 0.01, 1.0, 30.0, 65.0, 500.0])
@pytest.mark.parametrize("offset", [0.0, -20000.0])
def test_positions_keep_their_precision(rng: np.random.Generator, extent: float, offset: float, write: Write) -> None:
    xyz = (rng.random((500, 3)) * extent + offset).astype(np.float32)
    content = _read(write(Prediction(Scene("cloud", xyz))))
    step = content.meta["step"]
    assert step <= max(0.001, extent / 65000)
    spread = np.ptp(xyz, axis=0)
    np.testing.assert_allclose(np.ptp(content.xyz, axis=0), spread, atol=1.01 * step)
    for axis in range(3):
        found, given = np.sort(content.xyz[:, axis]), np.sort(xyz[:, axis].astype(np.float64))
        np.testing.assert_allclose(found, given, atol=0.51 * step + 2e-6)


def test_thinned(room: Scene, write: Write) -> None:
    content = _read(write(Prediction(room, classes=S3DIS), max_points=5000))
    assert content.meta["num_points"] == 4000
    assert content.meta["subtitle"].startswith("4,000 of 12,000 points")


def test_many_superpoints(rng: np.random.Generator, write: Write) -> None:
    for count, width in ((200, 1), (300, 2), (66_000, 4)):
        scene = Scene("cloud", rng.random((count, 3), np.float32), superpoint=np.arange(count, dtype=np.int32))
        content = _read(write(Prediction(scene)))
        assert content.meta["layers"][0]["bytes"] == width
        assert sorted(content.ids["superpoint"]) == list(range(1, count + 1))


def test_degenerate(tmp_path: Path, write: Write) -> None:
    one = Scene("one", np.zeros((1, 3), np.float32))
    assert _read(write(Prediction(one))).meta["start"] == "input"
    nothing = Prediction(one, np.zeros((0, 1), np.bool_))
    assert _read(write(nothing)).ids["prediction"].tolist() == [0]
    with pytest.raises(ValueError, match="no points"):
        write_page(tmp_path / "none.html", Prediction(Scene.without_xyz("none", 0)))
    with pytest.raises(OSError, match="a folder; expected"):
        write_page(tmp_path, Prediction(one))
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_million_points_stay_small(rng: np.random.Generator, write: Write) -> None:
    count = 200_000
    xyz = rng.uniform(0, 6, (count, 3)).astype(np.float32)
    xyz[np.arange(count), rng.integers(0, 3, count)] = 0
    xyz += rng.normal(0, 0.003, xyz.shape).astype(np.float32)
    place = (xyz[:, 0] // 1.5 + 4 * (xyz[:, 1] // 1.5)).astype(np.int32) + 8
    rgb = (xyz * 40 + rng.normal(0, 6, xyz.shape)).clip(0, 255).astype(np.uint8)
    semantic = np.clip(place % 13, 0, 12).astype(np.int32)
    parts = (xyz * 5).astype(np.int32) - (xyz * 5).astype(np.int32).min()
    _, superpoint = np.unique(parts, axis=0, return_inverse=True)
    scene = Scene("big", xyz, rgb, semantic=semantic, instance=place, superpoint=superpoint.ravel().astype(np.int32))
    masks, scores = place[None] == np.arange(8, 20)[:, None], np.linspace(1, 0.5, 12)
    assert len(write(Prediction(scene, masks, np.arange(12), scores, semantic, S3DIS))) < 12e6 / 5
