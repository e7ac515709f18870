"""Scores folders of predictions and ground truth in the benchmark's own format, without a model."""

import logging
from collections import Counter
from functools import partial
from pathlib import Path

from pcseg.classes import ClassSet
from pcseg.metrics.benchmark_files import and_more, object_lines, read_ground_truth, read_predictions
from pcseg.metrics.scores import SceneRecord, Scores
from pcseg.parallel import map_rooms
from pcseg.structures import Scene

logger = logging.getLogger(__name__)


def evaluate_folders(
    pred: Path,
    gt: Path,
    classes: ClassSet,
    *,
    allow_missing: bool = False,
    min_score: float = 0.3,
    workers: int = 1,
    cluster: str | None = None,
) -> tuple[Scores, list[str]]:
    """Scores all scenes of two folders, with one scene in memory per worker.

    The format has only objects, so semantic and panoptic metrics use them: a point has the class of its best object.
    Points of classes that instance AP does not count are void.

    Args:
        pred: folder with SCENE.txt and mask files.
        gt: folder with SCENE.txt.
        classes: the dataset's classes.
        allow_missing: leave out scenes without predictions, as ScanNet's script does, instead of an error.
        min_score: objects that score less count for AP and the S3DIS protocols only.
        workers: number of processes.
        cluster: address of a Dask scheduler, whose workers share the scenes instead.

    Returns:
        Scores, and the names of the scenes without predictions, which are left out. Objects of label ids that the
        class set does not have are passed over, and the log says how many.

    Raises:
        ValueError: a folder without scenes, scenes that only one of the folders has, or an invalid file.
    """
    pred_names, gt_names = _scene_names(pred, "predictions"), _scene_names(gt, "ground truth")
    unknown, missing = sorted(pred_names - gt_names), sorted(gt_names - pred_names)
    if unknown:
        raise ValueError(f"{gt} has no ground truth {unknown[0]}.txt for the predictions in {pred}{and_more(unknown)}")
    if missing and not allow_missing:
        found = f"{pred} has no predictions {missing[0]}.txt for the ground truth in {gt}{and_more(missing)}"
        raise ValueError(f"{found}; an empty file means no objects, --allow-missing skips such scenes")
    scores = Scores(classes, min_score=min_score)
    unknown_ids: Counter[int] = Counter()
    score = partial(_score_scene, pred, gt, scores)
    for _, result in map_rooms(score, sorted(pred_names), workers=workers, cluster=cluster):
        if isinstance(result, Exception):
            raise result
        state, ids = result
        scores.merge([state])
        unknown_ids += ids
    if unknown_ids:
        ids = ", ".join(map(str, sorted(unknown_ids)))
        text = "passed over objects of label ids that %s does not have: %d, of ids %s"
        logger.warning(text, classes.name, unknown_ids.total(), ids)
    return scores, missing


def _score_scene(pred: Path, gt: Path, settings: Scores, name: str) -> tuple[dict[str, SceneRecord], Counter[int]]:
    """The scores of a scene, and how many objects have each label id that the class set does not have."""
    semantic, instance = read_ground_truth(gt / f"{name}.txt", settings.classes)
    scene = Scene.without_xyz(name, len(semantic), semantic=semantic, instance=instance)
    scores = settings.subset([])
    path = pred / f"{name}.txt"
    scores.add(read_predictions(path, scene, settings.classes))
    labels = (label for _, _, label, _ in object_lines(path.read_bytes(), str(path)))
    return scores.state(), Counter(label for label in labels if label not in settings.classes.ids)


def _scene_names(folder: Path, what: str) -> set[str]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder of {what}")
    names = {path.stem for path in folder.glob("*.txt") if not path.name.startswith(".")}
    if not names:
        remedy = "; tools/make_gt.py writes them from processed rooms" if what == "ground truth" else ""
        raise ValueError(f"{folder}: expected one SCENE.txt per scene of {what}, found none{remedy}")
    return names
