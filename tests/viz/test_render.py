"""Figures have a cell for each kind of available data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcseg.classes import S3DIS, SCANNET20
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.viz import render
from pcseg.viz.grid import Cell, Label, image_grid, save_png
from pcseg.viz.render import room_picture

SMALL = {"width": 200, "height": 150}


def _cells(image: Image.Image) -> tuple[int, int]:
    """Columns and rows of a grid of small cells."""
    return image.width // 200, image.height // 150


def test_cells(room: Scene, predicted: Prediction, whole: Prediction) -> None:
    bare = room.with_(semantic=None, instance=None)
    assert _cells(room_picture(Prediction(bare), **SMALL)) == (1, 1)
    assert _cells(room_picture(Prediction(bare.with_(rgb=None)), **SMALL)) == (1, 1)
    assert _cells(room_picture(Prediction(room, classes=S3DIS), **SMALL)) == (2, 1)
    assert _cells(room_picture(replace(predicted, scene=bare), **SMALL)) == (2, 1)
    for rows in ([0, 1, 2], [2], []):  # all objects, one below the threshold, none
        assert _cells(room_picture(predicted.select(np.array(rows, np.int64)), **SMALL)) == (3, 2)
    assert _cells(room_picture(whole, **SMALL)) == (3, 2)
    assert _cells(room_picture(Prediction(bare, semantic=room.semantic, classes=S3DIS), **SMALL)) == (1, 2)


def test_views(room: Scene, whole: Prediction) -> None:
    bare = room.with_(semantic=None, instance=None)
    assert _cells(room_picture(Prediction(bare), views=3, **SMALL)) == (3, 1), "a scan alone: its views side by side"
    assert _cells(room_picture(Prediction(room, classes=S3DIS), views=2, **SMALL)) == (2, 2)
    picture = room_picture(whole, views=3, **SMALL)
    assert 4 * 150 < picture.height < 4 * 200, "two rows from the corner, one from the other side, one from above"
    rows = [np.asarray(picture.crop((0, top, picture.width, top + 140))).astype(int) for top in range(60, 600, 175)]
    for first in range(4):
        for second in range(first):
            assert (rows[first] != rows[second]).any(axis=2).mean() > 0.1, "each row is another picture"
    for views in (0, 4):
        with pytest.raises(ValueError, match="1 to 3 views"):
            room_picture(whole, views=views, **SMALL)


def test_pictures_show_the_room(predicted: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.asarray(room_picture(predicted, **SMALL)).astype(int)
    strong = np.ptp(image, axis=2) > 90
    assert strong[:, 200:].sum() > 500, "table and chair have strong colors"
    monkeypatch.setattr(render, "_object_labels", lambda *_: ())
    assert (np.asarray(room_picture(predicted, **SMALL)) != image).any(), "names are on the objects"


def test_one_point() -> None:
    scene = Scene("one", np.zeros((1, 3), np.float32), instance=np.ones(1, np.int32), semantic=np.zeros(1, np.int32))
    for name in ("", "Büro 中文", "x" * 300):
        assert _cells(room_picture(Prediction(scene.with_(name=name), classes=S3DIS), **SMALL)) == (2, 1)
    with pytest.raises(ValueError, match="no points"):
        room_picture(Prediction(Scene.without_xyz("none", 0)))


def test_image_grid() -> None:
    red = np.zeros((40, 60, 3), np.uint8)
    red[:] = (200, 0, 0)
    cell = Cell("one", red, (Label(30.0, 20.0, "chair", 1.0), Label(32.0, 21.0, "behind", 0.5)))
    legend = [(name, color) for name, color in zip(SCANNET20.names, SCANNET20.colors)]
    grid = np.asarray(image_grid([[cell, cell], [cell]], title="t", note="n", legend=legend))
    assert (grid == (200, 0, 0)).all(axis=2).sum() > 3 * 40 * 60 * 0.5
    for color in SCANNET20.colors:
        assert (grid == color).all(axis=2).any(), "every class is in the legend"
    with pytest.raises(ValueError, match="at least one cell"):
        image_grid([[]])


def test_save_png(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 3), (1, 2, 3))
    save_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as again:
        assert again.getpixel((0, 0)) == (1, 2, 3)
    with pytest.raises(ValueError, match=r"a\.jpg: pictures are written as \.png"):
        save_png(tmp_path / "a.jpg", image)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(OSError, match="a folder; expected"):
        save_png(tmp_path / "b.png", image)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]
