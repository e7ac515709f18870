import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pcseg.classes import S3DIS, SCANNET20
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.viz import raster, render
from pcseg.viz.colors import NO_OBJECT
from pcseg.viz.grid import Cell, Label, _labeled, image_grid, save_png
from pcseg.viz.raster import Splats, core_box, inside, room_view
from pcseg.viz.render import room_picture
from tests.conftest import refuses

SMALL = {"width": 200, "height": 150}


def _cells(image: Image.Image) -> tuple[int, int]:
    """Columns and rows of a grid of small cells, none of them empty."""
    columns, rows = image.width // 200, round((image.height - 50) / 173)
    pixels = np.asarray(image).astype(int)
    for row in range(rows):
        for column in range(columns):
            x, y = 11 + 211 * column, 55 + 173 * row
            assert (pixels[y : y + 150, x : x + 200] < 235).any(axis=2).mean() > 0.1, (row, column)
    return columns, rows


def test_no_cell_is_empty(room: Scene, predicted: Prediction, whole: Prediction) -> None:
    bare, flat = room.with_(semantic=None, instance=None), room.with_(instance=None)
    classes_alone = Prediction(bare, semantic=room.semantic, classes=S3DIS)
    scan = replace(whole, scene=bare)
    for prediction, views, expected in (
        (Prediction(bare), 1, (1, 1)),
        (Prediction(bare.with_(rgb=None)), 1, (1, 1)),
        (Prediction(room, classes=S3DIS), 1, (3, 1)),  # labels: objects and classes
        (replace(predicted, scene=bare), 3, (2, 3)),
        (scan, 1, (3, 1)),  # input, objects and classes, as predict draws them
        (scan, 3, (3, 3)),
        (classes_alone, 1, (2, 1)),
        (Prediction(flat, semantic=room.semantic, classes=S3DIS), 1, (3, 2)),
        (replace(predicted, scene=room.with_(semantic=None)), 1, (3, 2)),
        (whole, 1, (3, 2)),
        (whole, 3, (3, 4)),
    ):
        assert _cells(room_picture(prediction, views=views, **SMALL)) == expected
    for rows in ([0, 1, 2], [2], []):  # all objects, one below the threshold, none
        chosen = predicted.select(np.array(rows, np.int64))
        assert _cells(room_picture(chosen, views=1, **SMALL)) == (3, 2), "five cells and another view"
    for views in (0, 4):
        refuses("1 to 3 views", room_picture, whole, views=views, **SMALL)


def test_views_differ_and_show_the_room(whole: Prediction, predicted: Prediction, monkeypatch) -> None:
    picture = room_picture(whole, **SMALL)
    rows = [np.asarray(picture.crop((0, top, picture.width, top + 140))).astype(int) for top in range(60, 600, 175)]
    for first in range(4):
        for second in range(first):
            assert (rows[first] != rows[second]).any(axis=2).mean() > 0.1, "each row is another picture"
    image = np.asarray(room_picture(predicted, views=1, **SMALL)).astype(int)
    assert (np.ptp(image, axis=2)[:, 200:] > 90).sum() > 500, "table and chair have strong colors"
    monkeypatch.setattr(render, "_names", lambda *_: ())
    assert (np.asarray(room_picture(predicted, views=1, **SMALL)) != image).any(), "names are on the objects"


def test_every_object_but_surfaces_has_its_name(predicted: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}

    def grid(cells: list[list[Cell]], **more: Any) -> Image.Image:
        drawn.update(cells=cells, **more)
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr(render, "image_grid", grid)
    room_picture(predicted, threshold=0.0, **SMALL)
    named = {label.text for row in drawn["cells"] for cell in row for label in cell.labels}
    assert {"table", "chair", "1 table 0.90", "2 sofa 0.80", "3 clutter 0.10"} <= named
    assert not {"floor", "wall", "ceiling"} & {word for text in named for word in text.split()}, (
        "surfaces would cover the rest"
    )
    assert ("no object", NO_OBJECT) in drawn["legend"]
    assert drawn["note"] == "12,000 points, 4.0 x 3.0 x 2.5 m; hidden in ground truth: ceiling"
    monkeypatch.setattr(raster, "MAX_POINTS", 6000)
    room_picture(predicted, threshold=0.0, **SMALL)
    assert re.match(r"12,000 points, 4.0 x 3.0 x 2.5 m; thinned to [3-6],\d{3}; hidden", drawn["note"])
    again = {label.text for row in drawn["cells"] for cell in row for label in cell.labels}
    assert {"table", "chair", "1 table 0.90"} <= again
    monkeypatch.setattr(render, "_MAX_NAMES", 1)
    room_picture(predicted, threshold=0.0, **SMALL)
    titles = {cell.title: [label.text for label in cell.labels] for row in drawn["cells"] for cell in row}
    assert max(map(len, titles.values())) == 1
    assert any(title.startswith("Ground truth") and title.endswith(", at most 1 named") for title in titles)


@pytest.mark.parametrize(("low", "high", "count"), [(-500, 500, 100), ((6, 0, 0), (10, 3, 1), 700)])
def test_strays_do_not_shrink_the_room(room: Scene, rng: np.random.Generator, low: Any, high: Any, count: int) -> None:
    more = np.vstack([room.xyz, rng.uniform(low, high, (count, 3)).astype(np.float32)])
    view, wide = (room_view(xyz, width=200, height=150) for xyz in (room.xyz, more))
    np.testing.assert_allclose(wide.eye, view.eye, atol=0.2)
    np.testing.assert_array_equal(np.flatnonzero(~inside(more, core_box(more))), np.arange(12_000, 12_000 + count))
    before, after = (np.median(Splats.of_points(xyz).spacing) for xyz in (room.xyz, more))
    assert after == pytest.approx(before, rel=0.1)
    for xyz in (np.vstack([room.xyz, room.xyz + np.float32([6, 0, 0])]), rng.normal(0, 9, (30, 3)).astype(np.float32)):
        np.testing.assert_array_equal(core_box(xyz), [xyz.min(axis=0), xyz.max(axis=0)])


def test_one_point_is_drawn() -> None:
    scene = Scene("one", np.zeros((1, 3), np.float32), instance=np.ones(1, np.int32), semantic=np.zeros(1, np.int32))
    for name in ("", "Büro 中文", "x" * 300):
        picture = room_picture(Prediction(scene.with_(name=name), classes=S3DIS), **SMALL)
        assert (picture.width // 200, picture.height // 150) == (3, 3)
    refuses("no points", room_picture, Prediction(Scene.without_xyz("none", 0)))


def test_image_grid_and_save_png(tmp_path: Path) -> None:
    red = np.zeros((40, 60, 3), np.uint8)
    red[:] = (200, 0, 0)
    pixels = np.stack(np.meshgrid(np.arange(60), np.arange(40)), axis=-1).reshape(-1, 2)
    top, column = pixels[pixels[:, 1] < 20], pixels[pixels[:, 0] > 55]
    cell = Cell("one", red, (Label(top, "chair", 1.0), Label(pixels, "all", 0.5), Label(top[:600], "hidden")))
    ink = np.asarray(_labeled(cell, 10.0))[:, :, 0] < 150
    assert ink[5:15].any()
    assert ink[16:].any(), "the word behind moves out of the way, but stays on its object"
    two = np.asarray(_labeled(replace(cell, labels=cell.labels[:2]), 10.0))[:, :, 0] < 150
    assert (ink == two).all(), "there is no room for the third"
    assert (np.asarray(_labeled(Cell("", red, (Label(column, "wall"),)), 10.0)) < 150)[15:25, 30:, 0].any()
    legend = [(name, color) for name, color in zip(SCANNET20.names, SCANNET20.colors)]
    grid = np.asarray(image_grid([[cell, cell], [cell]], title="t", note="n", legend=legend))
    assert (grid == (200, 0, 0)).all(axis=2).sum() > 3 * 40 * 60 * 0.5
    for color in SCANNET20.colors:
        assert (grid == color).all(axis=2).any(), "every class is in the legend"
    image = Image.new("RGB", (4, 3), (1, 2, 3))
    save_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as again:
        assert again.getpixel((0, 0)) == (1, 2, 3)
    refuses(r"a\.jpg: pictures are written as \.png", save_png, tmp_path / "a.jpg", image)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
