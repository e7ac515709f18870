"""A small room that the tests of viz share, and predictions for it."""

from dataclasses import replace

import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.prediction import Prediction
from pcseg.structures import Scene

PARTS = [
    ((0, 0, 0), (4, 3, 0), "floor"),
    ((0, 0, 2.5), (4, 3, 2.5), "ceiling"),
    ((0, 0, 0), (0, 3, 2.5), "wall"),
    ((4, 0, 0), (4, 3, 2.5), "wall"),
    ((0, 0, 0), (4, 0, 2.5), "wall"),
    ((0, 3, 0), (4, 3, 2.5), "wall"),
    ((0.8, 0.8, 0.7), (2.0, 1.6, 0.75), "table"),
    ((2.6, 1.6, 0.4), (3.0, 2.0, 0.45), "chair"),
]


@pytest.fixture
def room(rng: np.random.Generator) -> Scene:
    """4 x 3 x 2.5 m: floor, ceiling, four walls, a table and a chair; instance ids 1 to 8 in this order."""
    count = 1500
    xyz = np.vstack([rng.uniform(low, high, (count, 3)) for low, high, _ in PARTS]).astype(np.float32)
    rgb, superpoint = rng.integers(0, 256, xyz.shape).astype(np.uint8), (np.arange(len(xyz)) // 300).astype(np.int32)
    semantic = np.repeat([S3DIS.index(name) for _, _, name in PARTS], count).astype(np.int32)
    instance = np.repeat(np.arange(1, len(PARTS) + 1), count).astype(np.int32)
    return Scene("box room", xyz, rgb, semantic=semantic, instance=instance, superpoint=superpoint)


@pytest.fixture
def whole(predicted: Prediction) -> Prediction:
    """`predicted`, and the true class of every point as the predicted one."""
    return replace(predicted, semantic=predicted.scene.semantic)


@pytest.fixture
def predicted(room: Scene) -> Prediction:
    """The table whole, the chair with a third missing and called a sofa, and a weak false object on the floor."""
    masks = np.stack([room.instance == 7, room.instance == 8, (room.instance == 1) & (room.xyz[:, 0] < 0.4)])
    masks[1, np.flatnonzero(room.instance == 8)[:500]] = False
    labels = np.array([S3DIS.index(name) for name in ("table", "sofa", "clutter")])
    return Prediction(room, masks, labels, np.array([0.9, 0.8, 0.1], np.float32), classes=S3DIS)
