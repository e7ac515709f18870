import numpy as np

from pcseg.classes import S3DIS
from pcseg.inference.panoptic import panoptic_prediction
from pcseg.structures import Instances


def test_objects_lie_over_surfaces() -> None:
    wall, chair, table = (S3DIS.index(name) for name in ("wall", "chair", "table"))
    masks = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0]], bool)
    instances = Instances(masks, np.array([chair, wall, table]), np.array([0.9, 0.8, 0.1]))
    semantic = np.array([wall, wall, wall, table, wall], np.int32)
    classes, ids = panoptic_prediction(instances, semantic, S3DIS)
    assert classes.tolist() == [chair, chair, wall, table, wall]
    # The second object is a surface, the third scores too low.
    assert ids.tolist() == [1, 1, 0, 0, 0]
