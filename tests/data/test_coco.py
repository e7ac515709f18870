"""Instances in COCO's format, whole and damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from pcseg.data.coco import CocoDataset, mask_of_segmentation
from tests.conftest import ROOT, refuses

COCO = ROOT.parent / "shared" / "coco"
SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]  # 4 x 4 pixels
LARGE = {"size": [10, 12], "counts": [0, 60, 60]}  # the left half


def write(folder: Path, part: str = "", **values: Any) -> CocoDataset:
    """Two images of 12 x 10 pixels, the second without objects; ids with gaps. Changes the first entry of a part."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (12, 10), (10, 20, 30)).save(folder / name)
    masks = ([SQUARE], LARGE, [[1, 1, 1, 1, 1, 1]], {"size": [10, 12], "counts": [84, 36]}, [])
    content: dict[str, Any] = {
        "images": [{"id": i, "file_name": n, "height": 10, "width": 12} for i, n in ((7, "a.png"), (9, "b.png"))],
        "annotations": [{"id": i, "image_id": 7, "category_id": 44, "segmentation": m} for i, m in enumerate(masks)],
        "categories": [{"id": 44, "name": "cup"}, {"id": 3, "name": "car"}],
    }
    content["annotations"][1]["category_id"] = 3
    content["annotations"][3]["iscrowd"] = 1
    (content[part][0] if part else content).update(values)
    (folder / "instances.json").write_text(json.dumps(content))
    return CocoDataset(folder / "instances.json", folder)


def test_reads_polygons_rle_crowds_and_empty_masks(tmp_path: Path) -> None:
    data = write(tmp_path)
    found = data[0]
    assert data.classes.names == ("car", "cup")
    assert (found.name, found.image.shape, found.image[0, 0].tolist()) == ("a.png", (10, 12, 3), [10, 20, 30])
    assert found.labels.tolist() == [1, 0]
    assert found.masks.sum(axis=(1, 2)).tolist() == [16, 60 - 16]  # the smaller one has the pixels of both
    assert found.ignored.sum() == found.ignored[:, 8:].sum() == 36
    assert CocoDataset(data.path, tmp_path, "stay")[0].masks.sum(axis=(1, 2)).tolist() == [16, 60]
    assert data[1].masks.shape == (0, 10, 12)


WRONG_TYPES = [
    *(("images", "id", [7]), ("images", "file_name", 3), ("images", "height", "10"), ("images", "height", 10.0)),
    *(("annotations", "image_id", [7]), ("annotations", "category_id", "44"), ("categories", "name", 3)),
    *(("categories", "id", value) for value in ("44", [44], None)),
]
WRONG_MASKS = {
    r"reaches \(15, 0\)": ([[0, 0, 15, 0, 9, 9]],),
    "must be a list of numbers": ([["a", 0]], [[1, 2, 3]], [[10**400, 1, 5, 1, 5, 5]]),
    "must be polygons or RLE, got int": (7,),
    "RLE has the size": [{**LARGE, "size": size} for size in ([9, 9], None, 120)],
    "RLE is damaged": ({**LARGE, "counts": "zz"}, {**LARGE, "counts": ["a"]}),
}
BROKEN = [
    ("", {"annotations": None}, "instances.json: .*has no list annotations"),
    ("", {"categories": []}, "its list categories is empty"),
    ("", {"images": [{"id": 7}]}, "entry 0 of images has no file_name"),
    *((part, {"id": i}, f"instances.json: 2 {part} have the id {i}") for part, i in (("images", 9), ("categories", 3))),
    *(("annotations", {key: 5}, f"annotation 0 has the unknown {key} 5") for key in ("image_id", "category_id")),
    ("annotations", {"iscrowd": "0"}, "annotation 0: expected iscrowd as 0 or 1, got '0'"),
    *(("images", {"file_name": name}, f"{name}: no such file") for name in ("c.png", "c" * 400)),
    ("images", {"width": 13}, "a.png: the image has 12 x 10 pixels.* 13 x"),
    *((part, {key: value}, f"entry 0 of {part}: expected {key} as") for part, key, value in WRONG_TYPES),
    *(("annotations", {"segmentation": mask}, f"0: .*{text}") for text in WRONG_MASKS for mask in WRONG_MASKS[text]),
]


@pytest.mark.parametrize(("part", "values", "message"), BROKEN)
def test_damage_is_named(part: str, values: dict[str, Any], message: str, tmp_path: Path) -> None:
    refuses(message, lambda: write(tmp_path, part, **values)[0])


def test_damaged_files_are_named(tmp_path: Path) -> None:
    data = write(tmp_path)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    refuses(r"a\.png: not an image, or damaged", data.__getitem__, 0)
    data.path.write_text(data.path.read_text()[:-20])
    refuses(r"instances\.json: not JSON, or damaged", CocoDataset, data.path, tmp_path)


def test_compressed_rle_is_that_of_pycocotools(rng: np.random.Generator) -> None:
    for share in (0.0, 0.1, 0.9, 1.0):
        mask = np.asfortranarray(rng.random((37, 23)) < share)
        rle = coco_mask.encode(mask.view(np.uint8))
        np.testing.assert_array_equal(mask_of_segmentation({**rle, "counts": rle["counts"].decode()}, mask.shape), mask)


@pytest.mark.skipif(not COCO.is_dir(), reason="no folder with COCO images beside the repository")
def test_real_images() -> None:
    data = CocoDataset(COCO / "tinycoco/annotations/instances_val2017.json", COCO / "tinycoco/images/val2017")
    images = [data[index] for index in range(len(data))]
    assert sum(len(image.labels) for image in images) > 120
    assert max(image.masks.sum(axis=0).max() for image in images) == 1
