"""One class and one instance id per point, from objects that may overlap and a class for every point."""

import numpy as np
from jaxtyping import Int32

from pcseg.classes import ClassSet
from pcseg.structures import Instances


def panoptic_prediction(
    instances: Instances, semantic: Int32[np.ndarray, "P"], classes: ClassSet, *, threshold: float = 0.3
) -> tuple[Int32[np.ndarray, "P"], Int32[np.ndarray, "P"]]:
    """Objects over surfaces: a point takes the class of its best object, elsewhere its semantic class.

    Args:
        instances: of one room.
        semantic: class of each point.
        classes: tells surfaces (stuff) from objects.
        threshold: objects that score less are left out.

    Returns:
        Class of each point and its instance id, 0 for none; surfaces carry no ids.
    """
    ids = instances.point_ids(threshold)
    label_of_id = np.concatenate([[-1], instances.labels]).astype(np.int32)
    panoptic = np.where(ids > 0, label_of_id[ids], semantic).astype(np.int32)
    surfaces = [classes.index(name) for name in classes.stuff]
    return panoptic, np.where(np.isin(panoptic, surfaces), 0, ids).astype(np.int32)
