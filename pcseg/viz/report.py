"""One HTML page about an evaluation: classes, curves, confusions, mistakes, the worst rooms. It needs no network."""

import base64
import html
import io
import string
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from pcseg.classes import ClassSet
from pcseg.files import atomic_write
from pcseg.metrics.instance_ap import precision_recall_curves
from pcseg.metrics.outcomes import FOUND, OBJECT_OUTCOMES, OutcomeResult, count_outcomes
from pcseg.metrics.scores import COCO_NOTE, Evaluation, Scores
from pcseg.structures import Instances, Scene
from pcseg.training.distributed import DistributedContext
from pcseg.viz import report_charts as charts
from pcseg.viz.render import room_picture

NUM_WORST = 10
MAX_MATRIX = 40  # classes; above it the confusion is a list of its largest cells


class WorstRooms:
    """Keeps the rooms that came out worst, and draws them; no more than ten are in memory.

    Args:
        classes: the dataset's classes.
        num: how many rooms.
        min_points: as for the scores.
    """

    def __init__(self, classes: ClassSet, *, num: int = NUM_WORST, min_points: int = 100) -> None:
        self.classes, self.num, self.min_points = classes, num, min_points
        self._kept: dict[str, tuple[tuple[float, int, str], Scene, Instances, Int32[np.ndarray, "P"]]] = {}

    def offer(self, scene: Scene, instances: Instances, semantic: Int32[np.ndarray, "P"]) -> None:
        """Takes a room if it is labeled, holds objects, and is worse than one of those kept."""
        if scene.semantic is None or scene.instance is None:
            return
        single = Scores(self.classes, min_points=self.min_points)
        single.add(scene.name, instances, scene.semantic, scene.instance)
        if worst_rooms(single, 1):
            self._kept[scene.name] = (_rank(single, scene.name), scene, instances, semantic)
        for name in sorted(self._kept, key=lambda name: self._kept[name][0])[self.num :]:
            del self._kept[name]

    def pictures(self, scores: Scores, processes: DistributedContext | None = None) -> dict[str, bytes]:
        """The worst of all rooms as JPEG, by name.

        Args:
            scores: over the rooms of all processes.
            processes: whose rooms are drawn where they are; each process gets all pictures.
        """
        wanted = [name for name in worst_rooms(scores, self.num) if name in self._kept]
        mine = {name: self._draw(name) for name in wanted}
        parts = [mine] if processes is None else processes.gather(mine)
        return {name: picture for part in parts for name, picture in part.items()}

    def _draw(self, name: str) -> bytes:
        _, scene, instances, semantic = self._kept[name]
        picture = room_picture(scene, instances, semantic, self.classes, width=480, height=360)
        stream = io.BytesIO()
        picture.save(stream, format="JPEG", quality=80, optimize=True)
        return stream.getvalue()


def worst_rooms(scores: Scores, num: int = NUM_WORST) -> list[str]:
    """Names of the rooms of the lowest AP50 of their own, worst first; of equals the one that lost more objects.

    Args:
        scores: the rooms; those without objects are passed over.
        num: how many.
    """
    ranked = [_rank(scores, name) for name in scores.names]
    return [name for ap50, _, name in sorted(rank for rank in ranked if not np.isnan(rank[0]))[:num]]


def _rank(scores: Scores, name: str) -> tuple[float, int, str]:
    room = scores.subset([name])
    outcome = room.records()[0].outcomes.object_outcome
    return room.average_precision((0.5,)).ap50, -int(np.count_nonzero(outcome != FOUND)), name


def write_report(path: Path, scores: Scores, *, title: str, pictures: Mapping[str, bytes] | None = None) -> Path:
    """Writes the page; the file appears whole or not at all.

    Args:
        path: the .html file.
        scores: all rooms.
        title: of the page.
        pictures: JPEG of rooms by name, shown with the worst rooms.

    Returns:
        The path.
    """
    return atomic_write(path, report_page(scores, title=title, pictures=pictures or {}))


def report_page(scores: Scores, *, title: str, pictures: Mapping[str, bytes]) -> str:
    """The text of the page; arguments are those of `write_report`."""
    result = scores.compute()
    num_objects = sum(result.ap.num_gt.values())
    template = string.Template(resources.files("pcseg.viz").joinpath("report_template.html").read_text("utf-8"))
    sections = [
        _classes(result),
        _curves(scores),
        _outcomes(result.outcomes),
        _confusion(result.outcomes),
        _tables(result),
        _worst(scores, pictures),
    ]
    return template.substitute(
        title=html.escape(title),
        subtitle=html.escape(
            f"{len(scores)} rooms, {num_objects} objects of {scores.classes.name}. Numbers are per cent; a dash stands "
            f"for nothing to measure. Objects and predictions under {scores.min_points} points do not count."
        ),
        tiles=charts.tiles(_headline(result)),
        sections="\n".join(sections),
    )


def _headline(result: Evaluation) -> dict[str, float]:
    values = {"AP": result.ap.ap, "AP50": result.ap.ap50, "AP25": result.ap.ap25, "AP 0.50–0.95": result.coco.ap}
    for group, numbers in result.ap.groups().items():
        values[f"AP {group}"] = numbers["ap"]
    if result.s3dis is not None:
        mean = result.s3dis.mean
        values |= {"mCov": mean["mcov"], "mWCov": mean["mwcov"]}
        values |= {"mPrec (best F1)": mean["precision_best_f1"], "mRec (best F1)": mean["recall_best_f1"]}
    values |= {"mIoU": result.semantic.miou, "accuracy": result.semantic.oa}
    return values | {f"{key.upper()}": result.panoptic.all[key] for key in ("pq", "sq", "rq")}


def _section(title: str, text: str, content: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n<p>{html.escape(text)}</p>\n{content}"


def _classes(result: Evaluation) -> str:
    key = charts.key([("AP (IoU 0.50 to 0.90)", "#1f5f8b"), ("AP50", "#6aa7cf"), ("AP25", "#cfe3f1")])
    rows = {**result.ap.classes(), **result.ap.groups()}
    bars = charts.ap_bars(rows, result.ap.num_gt)
    means = result.ap.threshold_means()
    by_threshold = charts.table(
        ["mean over classes at IoU", *means], [["AP", *(charts.percent(value) for value in means.values())]]
    )
    return _section(
        "Classes",
        "Average precision as ScanNet's script computes it. In brackets: how many objects there are. "
        f"{COCO_NOTE}: {charts.percent(result.coco.ap)}.",
        f"{key}{bars}<p></p>{by_threshold}",
    )


def _curves(scores: Scores) -> str:
    curves = precision_recall_curves(
        [record.ap for record in scores.records()],
        scores.classes.names,
        counted_classes=scores.classes.instance_classes,
        min_points=scores.min_points,
    )
    key = charts.key([("IoU 0.25, dashed", "#6aa7cf"), ("IoU 0.50", "#1f5f8b"), ("IoU 0.75, dotted", "#20242c")])
    return _section(
        "Precision and recall",
        "Recall to the right, precision upwards, both from 0 to 100: what is kept as the least score falls.",
        key + charts.curve_grid(curves),
    )


def _outcomes(outcomes: OutcomeResult) -> str:
    header = ["class", "", *OBJECT_OUTCOMES, "duplicates", "without object"]
    rows = []
    for name, objects, predictions in [
        *zip(outcomes.class_names, outcomes.objects, outcomes.predictions),
        ("all", outcomes.objects.sum(axis=0), outcomes.predictions.sum(axis=0)),
    ]:
        if objects.any() or predictions.any():
            extra = [str(predictions[1]), str(predictions[3])]
            rows.append([name, charts.stacked_bar(objects), *map(str, objects.tolist()), *extra])
    return _section(
        "What became of each object",
        "Found: a prediction of its class with IoU over 0.5. Wrong class: only predictions of other classes. Split: "
        "two or more predictions lie in it and together cover over half. Merged: one prediction covers more than half "
        "of it and of another object. Missed: none of these. Duplicates are further predictions on an object that was "
        "found already; those without object overlap none by more than half. Low-scored predictions are left out.",
        charts.key(list(zip(OBJECT_OUTCOMES, charts.OUTCOME_COLORS))) + charts.table(header, rows, wide=1),
    )


def _confusion(outcomes: OutcomeResult) -> str:
    counts = outcomes.confusion
    names = [*outcomes.class_names, "no object"]
    used = np.flatnonzero(counts[:-1].any(axis=1) | counts[:, :-1].any(axis=0))
    text = "Rows: what an object is. Columns: what it was taken for. Last row: predictions where no object is."
    if len(used) <= MAX_MATRIX:
        rows, columns = [*used.tolist(), len(names) - 1], [*used.tolist(), len(names) - 1]
        right = {(i, i) for i in range(len(used))}
        column_names = [*(names[j] for j in columns[:-1]), "not found"]
        chosen = counts[np.ix_(rows, columns)]
        return _section(
            "Confusion of classes", text, charts.heat_table([names[i] for i in rows], column_names, chosen, right)
        )
    pairs = [(int(counts[i, j]), i, j) for i, j in zip(*np.nonzero(counts[:-1, :-1])) if i != j]
    listed = [[names[i], names[j], str(count)] for count, i, j in sorted(pairs, key=lambda pair: -pair[0])[:MAX_MATRIX]]
    return _section(
        "Confusion of classes",
        f"The {MAX_MATRIX} most frequent confusions of {len(pairs)}.",
        charts.table(["is", "was taken for", "objects"], listed),
    )


def _tables(result: Evaluation) -> str:
    parts = []
    named = [("Points: IoU and accuracy", result.semantic), ("Panoptic quality", result.panoptic)]
    for title, measure in [*named, ("S3DIS: coverage, precision, recall", result.s3dis)]:
        if measure is not None:
            rows = measure.classes()
            columns = list(next(iter(rows.values()), {}))
            cells = [[name, *(charts.percent(row[column]) for column in columns)] for name, row in rows.items()]
            summary = " · ".join(f"{key} {charts.percent(value)}" for key, value in measure.summary().items())
            parts.append(_section(title, summary, charts.table(["class", *columns], cells)))
    return "\n".join(parts)


def _worst(scores: Scores, pictures: Mapping[str, bytes]) -> str:
    rooms = []
    for name in worst_rooms(scores):
        room = scores.subset([name])
        counts = count_outcomes([room.records()[0].outcomes], scores.classes.names)
        picture = ""
        if name in pictures:
            data = base64.b64encode(pictures[name]).decode()
            label = f"{name}: input, truth, prediction, mistakes"
            picture = f'<img alt="{html.escape(label)}" src="data:image/jpeg;base64,{data}">'
        text = f"AP50 {charts.percent(room.average_precision((0.5,)).ap50)} · {counts.to_text()}"
        rooms.append(f'<div class="room"><h3>{html.escape(name)}</h3><p>{html.escape(text)}</p>{picture}</div>')
    return _section("The worst rooms", "By AP50 of the room alone, worst first.", "\n".join(rooms))
