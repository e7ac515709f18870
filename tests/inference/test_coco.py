"""COCO-like documents hold every mask, and read as COCO's tools read them."""

import json

import numpy as np
import pytest

from pcseg.classes import S3DIS, SCANNET20, ClassSet
from pcseg.inference.coco import coco_document, rle_counts
from pcseg.structures import Prediction, Scene


def _decode(segmentation: dict) -> np.ndarray:
    """What COCO says of uncompressed RLE, word by word: runs of 0 and 1 in turn, from 0 on."""
    values = np.arange(len(segmentation["counts"])) % 2 == 1
    mask = np.repeat(values, segmentation["counts"])
    assert segmentation["size"] == [len(mask), 1]
    return mask


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([], []),
        ([0], [1]),
        ([1], [0, 1]),
        ([1, 1, 1], [0, 3]),
        ([0, 0, 1], [2, 1]),
        ([1, 0, 0, 1, 1, 0], [0, 1, 2, 2, 1]),
    ],
)
def test_rle_counts(mask: list[int], counts: list[int]) -> None:
    assert rle_counts(np.array(mask, np.bool_)) == counts


def _result(rng: np.random.Generator, name: str, num_objects: int, classes: ClassSet = S3DIS) -> Prediction:
    scene = Scene(name, rng.random((90, 3), np.float32), superpoint=(np.arange(90) % 11).astype(np.int32))
    scores = np.sort(rng.random(num_objects).astype(np.float32))[::-1].copy()
    masks = rng.random((num_objects, 11)) < 0.4
    labels = rng.integers(0, len(classes), num_objects)
    return Prediction(scene, masks, labels, scores, classes=classes, superpoint=scene.superpoint)


def test_round_trip_through_json(rng: np.random.Generator) -> None:
    results = [_result(rng, "a", 4), _result(rng, "b", 0), _result(rng, "c", 7)]
    document = json.loads(json.dumps(coco_document(iter(results))))
    assert [image["file_name"] for image in document["images"]] == ["a", "b", "c"]
    assert all(image["num_points"] == image["height"] == 90 for image in document["images"])
    assert [category["name"] for category in document["categories"]] == list(S3DIS.names)
    assert [category["id"] for category in document["categories"]] == list(S3DIS.ids)
    assert document["categories"][S3DIS.index("wall")]["isthing"] == 0
    assert [entry["id"] for entry in document["annotations"]] == list(range(1, 12))
    index = 0
    for image, result in zip(document["images"], results):
        for row in range(len(result)):
            entry = document["annotations"][index]
            index += 1
            mask = _decode(entry["segmentation"])
            points = result.scene.xyz[mask]
            np.testing.assert_array_equal(mask, result.point_mask(row))
            assert (entry["image_id"], entry["area"]) == (image["id"], len(points))
            assert entry["category_id"] == S3DIS.ids[result.labels[row]]
            assert entry["score"] == pytest.approx(float(result.scores[row]), abs=1e-6)
            box = [*points.min(axis=0), *np.ptp(points, axis=0)] if len(points) else [0] * 6
            assert entry["bbox"] == pytest.approx(box, abs=1e-4)


def test_threshold(rng: np.random.Generator) -> None:
    result = _result(rng, "a", 9)
    kept = coco_document([result], threshold=0.5)["annotations"]
    assert len(kept) == int((result.scores >= 0.5).sum()) < 9
    assert all(entry["score"] >= 0.5 for entry in kept)


def test_nothing_at_all() -> None:
    assert coco_document([]) == {"images": [], "categories": [], "annotations": []}


def test_refuses_what_does_not_belong_together(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="b has the classes of scannet20, those before it the classes of s3dis"):
        coco_document([_result(rng, "a", 1), _result(rng, "b", 1, SCANNET20)])
    with pytest.raises(ValueError, match="a: no objects were predicted"):
        coco_document([Prediction(_result(rng, "a", 1).scene, classes=S3DIS)])
