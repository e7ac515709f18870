"""What a room must be like to be stored, and what its manifest counts."""

import numpy as np

from pcseg.classes import ClassSet
from pcseg.structures import Scene


def counts_of(scene: Scene, classes: ClassSet) -> dict[str, object]:
    """What the manifest counts: points, superpoints, instances; points and instances of each class."""
    counts: dict[str, object] = {"num_points": len(scene), "num_superpoints": scene.num_superpoints}
    if scene.semantic is not None:
        labeled = scene.semantic >= 0
        per_class = np.bincount(scene.semantic[labeled], minlength=len(classes))
        counts["points_per_class"] = dict(zip(classes.names, per_class.tolist()))
        counts["num_unlabeled_points"] = int((~labeled).sum())
    if scene.instance is not None:
        ids, first = np.unique(scene.instance, return_index=True)
        first = first[ids > 0]
        counts["num_instances"] = len(first)
        if scene.semantic is not None:
            # The class of an instance is that of its first point; data sets give each object one class.
            labels = scene.semantic[first]
            per_class = np.bincount(labels[labels >= 0], minlength=len(classes))
            counts["instances_per_class"] = dict(zip(classes.names, per_class.tolist()))
    return counts


def check_scene(scene: Scene, classes: ClassSet) -> None:
    """See to it that a room can be stored.

    Raises:
        ValueError: no points, a name that cannot be a folder's, labels outside the class set, superpoints with gaps, or
            faces of points that are not there.
    """
    if not scene.name or scene.name.startswith(".") or "/" in scene.name or "\\" in scene.name:
        raise ValueError(f"scene {scene.name!r}: its name cannot be a folder's; use letters, digits, - and _")
    if len(scene) == 0:
        raise ValueError(f"scene {scene.name}: it has no points")
    semantic, instance, superpoint, faces = scene.semantic, scene.instance, scene.superpoint, scene.faces
    if semantic is not None and (semantic.min() < -1 or semantic.max() >= len(classes)):
        raise ValueError(
            f"scene {scene.name}: expected semantic -1..{len(classes) - 1} ({classes.name}), found "
            f"{semantic.min()}..{semantic.max()}"
        )
    if instance is not None and instance.min() < 0:
        raise ValueError(f"scene {scene.name}: expected instance ids from 0 (no instance), found {instance.min()}")
    if superpoint is not None:
        if superpoint.min() < 0:
            raise ValueError(f"scene {scene.name}: expected superpoint ids from 0, found {superpoint.min()}")
        empty = np.bincount(superpoint) == 0
        if empty.any():
            raise ValueError(f"scene {scene.name}: superpoint ids have gaps, no point has {int(empty.argmax())}")
    if faces is not None and len(faces) and (faces.min() < 0 or faces.max() >= len(scene)):
        raise ValueError(f"scene {scene.name}: faces name points {faces.min()}..{faces.max()} of {len(scene)}")
