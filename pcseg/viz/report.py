"""A page about an evaluation, in one file: AP, what is wrong, and the worst rooms; everything else is folded."""

import base64
import io
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import numpy as np

from pcseg.classes import ClassSet
from pcseg.files import atomic_write
from pcseg.metrics.coco import MIN_SCORE, SIZES, CocoScores
from pcseg.metrics.outcomes import DUPLICATE, FOUND, NO_OBJECT, OBJECT_OUTCOMES, OutcomeResult, count_outcomes
from pcseg.metrics.scores import COCO_NOTE, TITLES, Scores
from pcseg.prediction import Prediction, counted
from pcseg.viz.figures import precision_recall_chart, to_svg
from pcseg.viz.layers import MATCH_IOU
from pcseg.viz.render import room_picture

NUM_WORST = 10
_Rank = tuple[float, int, str]  # AP50, minus the number of lost objects, name of the room
# After Okabe and Ito (2008), as in the pictures of errors; what is right stays pale.
OUTCOME_COLORS = ("#9dd0be", "#e69f00", "#56b4e9", "#cc79a7", "#0072b2")
_BLUES = ("#1f5f8b", "#6aa7cf", "#cfe3f1")  # of bars, the shortest first
WORDS = {  # columns
    **{"ap": "AP", "ap25": "AP at IoU 0.25", "ap50": "AP at IoU 0.50", "ap75": "AP at IoU 0.75"},
    **{"iou": "IoU", "acc": "accuracy", "miou": "mean IoU", "macc": "mean accuracy of classes"},
    **{"oa": "accuracy of all points", "mcov": "coverage", "mwcov": "coverage weighted by points"},
    **{"pq": "panoptic quality", "sq": "segmentation quality", "rq": "recognition quality"},
    "precision_confidence": "precision at scores from 0.8",
    "recall_confidence": "recall at scores from 0.8",
    "precision_best_f1": "precision at the best F1",
    "recall_best_f1": "recall at the best F1",
    "precision_partition": "precision, one object per point",
    "recall_partition": "recall, one object per point",
}
MAX_MATRIX = 40  # classes; with more, the confusion is a list of its largest cells


class WorstRooms:
    """Collects the rooms with the worst predictions, at most ten in memory, and draws them."""

    def __init__(self, classes: ClassSet, *, min_points: int = 100) -> None:
        self.classes, self.min_points = classes, min_points
        self._worst: list[tuple[_Rank, Prediction]] = []

    def offer(self, prediction: Prediction) -> None:
        """Takes a room if it has ground truth with objects and is worse than one of those in memory."""
        scene = prediction.scene
        if scene.semantic is None or scene.instance is None:
            return
        single = Scores(self.classes, min_points=self.min_points)
        single.add(prediction)
        ranks = [(rank, prediction) for rank in _ranks(single)]
        self._worst = sorted([*self._worst, *ranks], key=lambda item: item[0])[:NUM_WORST]

    def pictures(self, scores: Scores) -> dict[str, bytes]:
        """JPEG images of those rooms in memory that are the worst of all rooms in `scores`, by name."""
        wanted = worst_rooms(scores)
        return {name: _jpeg(each, scores.min_score) for (_, _, name), each in self._worst if name in wanted}


def worst_rooms(scores: Scores) -> list[str]:
    """Names of the ten rooms with the lowest AP50, worst first; among equals, the one with more lost objects."""
    return [name for _, _, name in _ranks(scores)[:NUM_WORST]]


def _ranks(scores: Scores) -> list[_Rank]:
    """Ranks of the rooms that have objects, the worst first."""
    ranks = []
    for name in scores.names:
        room = scores.subset([name])
        lost = np.count_nonzero(room.records()[0].outcomes.object_outcome != FOUND)
        ranks.append((room.average_precision((0.5,)).ap50, -int(lost), name))
    return sorted(rank for rank in ranks if not math.isnan(rank[0]))


def write_report(path: Path, scores: Scores, *, title: str, pictures: Mapping[str, bytes] | None = None) -> Path:
    """Writes the page; the file appears complete or not at all.

    Args:
        path: HTML file to write.
        scores: scores of all rooms.
        title: heading of the page.
        pictures: JPEG files by name of room, from `WorstRooms`; a worst room without one has its counts only.

    Raises:
        OSError: the file cannot be written.
    """
    result, pictures = scores.compute(), pictures or {}
    outcomes, num_gt = result.outcomes, result.ap.num_gt
    total = sum(num_gt.values())
    everything = ("all", outcomes.objects.sum(axis=0), outcomes.predictions.sum(axis=0))
    counts = [*zip(outcomes.class_names, outcomes.objects, outcomes.predictions), everything]
    mean = {"ap": result.ap.ap, "ap50": result.ap.ap50, "ap25": result.ap.ap25}
    return _write(
        path,
        title=title,
        scenes="rooms",
        summary=f"{counted(len(scores.names), 'room')}, {counted(total, 'object')} of {scores.classes.name}.",
        left_out=f"Objects and predictions with fewer than {scores.min_points} points do not count. The outcomes "
        f"of objects, panoptic quality and pictures have only predictions that score at least {scores.min_score:g}; "
        "AP counts all.",
        ap_note=f"As ScanNet's script computes it. {COCO_NOTE}: {_percent(result.coco.ap)}. {result.objects_note()}.",
        ap_columns=_columns("0.50 to 0.90", ap50=1, ap25=2),
        bars=("ap25", "ap50", "ap"),
        ap_rows={"all classes": mean, **result.ap.per_group, **result.ap.per_class},
        num_gt={"all classes": total, **num_gt},
        outcome_note="Found: a prediction of its class with IoU above 0.5. Wrong class: only predictions of other "
        "classes. Split: two or more predictions inside the object together cover more than half of it. Merged: one "
        "prediction covers more than half of it and of another object. Missed: none of these. Duplicates are further "
        "predictions of a found object. Predictions without object cover no object by more than half.",
        outcome_colors=dict(zip(OBJECT_OUTCOMES, OUTCOME_COLORS)),
        further_outcomes=("duplicates", "without object"),
        outcome_rows=[
            (name, a.tolist(), b[[DUPLICATE, NO_OBJECT]].tolist()) for name, a, b in counts if a.any() or b.any()
        ],
        worst_by="AP at IoU 0.50",
        worst=[_room(scores, name, pictures.get(name)) for name in worst_rooms(scores)],
        thresholds=result.ap.threshold_means(),
        curves=markupsafe.Markup(to_svg(precision_recall_chart(scores))),
        confusion=_confusion(outcomes),
        further={TITLES[key]: measure for key, measure in result.further().items()},
    )


def write_image_report(path: Path, scores: CocoScores, worst: Mapping[int, Prediction], *, title: str) -> Path:
    """Writes such a page about images.

    Args:
        path: HTML file to write.
        scores: scores of all images.
        worst: predictions for the worst images, as flat scenes with ground truth, by row of `scores.counts`.
        title: heading of the page.

    Raises:
        OSError: the file cannot be written.
    """
    counts = scores.counts.sum(0)
    total = int(counts[:, :2].sum())
    rows = [*zip(scores.per_class, counts.tolist()), ("all", counts.sum(0).tolist())]
    return _write(
        path,
        title=title,
        scenes="images",
        summary=f"{counted(len(scores.image_ids), 'image')}, {counted(total, 'object')}.",
        left_out="The outcomes of objects and pictures have only predictions that score at least "
        f"{MIN_SCORE:g}; AP counts all.",
        ap_note="As COCO's script computes it. Small: less than 32 x 32 pixels. Large: more than 96 x 96 pixels.",
        ap_columns=_columns("0.50 to 0.95", ap50=2, ap75=1),
        bars=("ap50", "ap75", "ap"),
        ap_rows={
            "all classes": scores.mean,
            **{f"{size} objects": row for size, row in scores.per_group.items()},
            **{name: row for name, row in scores.per_class.items() if scores.num_gt[name]},
        },
        num_gt={"all classes": total, **scores.num_gt, **{f"{size} objects": scores.num_gt[size] for size in SIZES}},
        outcome_note="Found: a prediction of its class with IoU above 0.5. Missed: none. Predictions without object: "
        "all others, duplicates included.",
        outcome_colors={"found": OUTCOME_COLORS[0], "missed": OUTCOME_COLORS[-1]},
        further_outcomes=("without object",),
        outcome_rows=[(name, row[:2], row[2:]) for name, row in rows if any(row)],
        worst_by="F1 at IoU 0.50",
        worst=[
            {"name": each.scene.name, "text": scores.count_text(row), "picture": _base64(_jpeg(each, MIN_SCORE))}
            for row, each in worst.items()
        ],
    )


def _columns(thresholds: str, **blues: int) -> dict[str, tuple[str, str]]:
    """Text and color of each kind of AP."""
    others = {key: (WORDS[key], _BLUES[blue]) for key, blue in blues.items()}
    return {"ap": (f"AP: mean over IoU {thresholds}", _BLUES[0]), **others}


def _write(path: Path, **content: Any) -> Path:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters |= {"percent": _percent, "words": _words}
    template = environment.from_string((resources.files("pcseg.viz") / "report.html").read_text("utf-8"))
    return atomic_write(path, template.render(content, match_iou=f"{MATCH_IOU:.2f}"))


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _jpeg(prediction: Prediction, min_score: float) -> bytes:
    stream = io.BytesIO()
    picture = room_picture(prediction, threshold=min_score, width=480, height=360, views=1)
    picture.save(stream, format="JPEG", quality=80, optimize=True)
    return stream.getvalue()


def _base64(picture: bytes | None) -> str:
    return base64.b64encode(picture).decode() if picture else ""


def _words(column: str) -> str:
    """Name of a column for people."""
    stem, _, part = column.rpartition("_")
    if part in ("things", "stuff"):
        return f"{WORDS[stem]} of {'surfaces' if part == 'stuff' else 'objects'}"
    return WORDS[column]


def _confusion(outcomes: OutcomeResult) -> dict[str, Any]:
    """A matrix with the names of its classes, or the most frequent pairs of classes if there are many."""
    counts, names = outcomes.confusion, outcomes.class_names
    used = np.flatnonzero(counts[:-1].any(axis=1) | counts[:, :-1].any(axis=0))
    if len(used) <= MAX_MATRIX:
        rows = [*used, len(names)]
        return {"names": [names[row] for row in used], "matrix": counts[np.ix_(rows, rows)].tolist()}
    pairs = sorted((-int(counts[i, j]), i, j) for i, j in zip(*np.nonzero(counts[:-1, :-1])) if i != j)
    return {"matrix": None, "pairs": [(names[i], names[j], -count) for count, i, j in pairs[:MAX_MATRIX]]}


def _room(scores: Scores, name: str, picture: bytes | None) -> dict[str, Any]:
    room = scores.subset([name])
    ap50, outcomes = room.average_precision((0.5,)).ap50, [room.records()[0].outcomes]
    text = f"AP at IoU 0.50: {_percent(ap50)} · {count_outcomes(outcomes, scores.classes.names).to_text()}"
    return {"name": name, "text": text, "picture": _base64(picture)}
