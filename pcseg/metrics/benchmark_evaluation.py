"""Scores folders of predictions and ground truth in the benchmark's own format, without a model."""

from dataclasses import dataclass
from pathlib import Path

from pcseg.labels import ClassSet
from pcseg.metrics.benchmark_files import read_ground_truth, read_predictions
from pcseg.metrics.instance_ap import APResult, InstanceAP
from pcseg.metrics.s3dis_protocols import S3DISProtocols, S3DISResult


@dataclass(frozen=True)
class FolderScores:
    """Scores of a folder.

    Args:
        ap: instance AP.
        s3dis: the S3DIS protocols, for S3DIS only.
        scenes: names of the scenes that were scored.
        missing: names of the scenes without predictions, left out.
    """

    ap: APResult
    s3dis: S3DISResult | None
    scenes: tuple[str, ...]
    missing: tuple[str, ...]


def evaluate_folders(pred: Path, gt: Path, classes: ClassSet, *, allow_missing: bool = False) -> FolderScores:
    """Scores all scenes of two folders; one scene is in memory at a time.

    Args:
        pred: folder with SCENE.txt and mask files.
        gt: folder with SCENE.txt.
        classes: the dataset's classes.
        allow_missing: leave out scenes of `gt` that `pred` does not have, as ScanNet's script does, and do not refuse.

    Returns:
        FolderScores.

    Raises:
        ValueError: a folder without scenes, scenes that only one of the folders has, or a file that is wrong.
    """
    pred_names, gt_names = _scene_names(pred, "predictions"), _scene_names(gt, "ground truth")
    unknown = sorted(pred_names - gt_names)
    if unknown:
        raise ValueError(f"{gt} has no ground truth {unknown[0]}.txt for the predictions in {pred}{_more(unknown)}")
    missing = sorted(gt_names - pred_names)
    if missing and not allow_missing:
        raise ValueError(
            f"{pred} has no predictions {missing[0]}.txt for the ground truth in {gt}{_more(missing)}; "
            "an empty file stands for no objects, --allow-missing leaves such scenes out"
        )
    ap = InstanceAP(classes.names, counted_classes=classes.instance_classes)
    s3dis = S3DISProtocols(classes.names) if classes.name == "s3dis" else None
    for name in sorted(pred_names):
        semantic, instance = read_ground_truth(gt / f"{name}.txt", classes)
        found = read_predictions(pred / f"{name}.txt", classes, len(semantic))
        arguments = (name, found.masks, found.labels, found.scores, semantic, instance)
        ap.add(*arguments)
        if s3dis is not None:
            s3dis.add(*arguments)
    return FolderScores(ap.compute(), s3dis.compute() if s3dis else None, tuple(sorted(pred_names)), tuple(missing))


def _scene_names(folder: Path, what: str) -> set[str]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder of {what}")
    names = {path.stem for path in folder.glob("*.txt") if not path.name.startswith(".")}
    if not names:
        raise ValueError(f"{folder}: expected one SCENE.txt per scene of {what}, found none")
    return names


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more scenes)" if len(names) > 1 else ""
