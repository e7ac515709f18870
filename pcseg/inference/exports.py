"""Predictions for other programs: point clouds with scalar fields, tables of objects, and COCO's JSON."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from plyfile import PlyData, PlyElement

from pcseg.choices import CLASS_SETS
from pcseg.classes import NO_CLASSES, ClassSet, class_set
from pcseg.data.ply import painted_classes
from pcseg.data.scan_fields import report_to_log
from pcseg.data.scan_files import PAINTED, read_scan
from pcseg.files import atomic_open, atomic_write
from pcseg.ops.overlap import group_bounds, group_means
from pcseg.prediction import Prediction, masks_of_ids
from pcseg.viz.layers import input_colors, scene_layers

_FIRST_CODE = 64  # of the classification in LAS that is free for users

COLUMNS = (
    *("id", "class", "score", "points", "center_x", "center_y", "center_z"),
    *("min_x", "min_y", "min_z", "max_x", "max_y", "max_z", "volume", "meters_per_unit"),
)
CSV_HEADER = ",".join(COLUMNS) + "\n"


def object_rows(prediction: Prediction, threshold: float = 0.0, *, in_meters: bool = False) -> list[dict[str, Any]]:
    """Measures the objects on the points that have their ids; objects that better ones cover are left out.

    Args:
        prediction: objects of a scene.
        threshold: objects that score less are left out.
        in_meters: measure in the frame of the scene, not in that of the scan's file.

    Returns:
        One row per object in their order, with the keys of COLUMNS. Ids are those of `Prediction.point_ids`. Center,
        box corners and box volume cover the points with this id, in the frame and units of the scan's file.
        `meters_per_unit` is 0.001 for a file in millimeters.

    Raises:
        ValueError: no objects were predicted.
    """
    classes, owner, xyz, unit = _classes(prediction), prediction.point_rows(threshold), prediction.scene.xyz, 1.0
    if (file := prediction.scene.file) is not None and not in_meters:
        xyz, unit = file.xyz(xyz), float(np.cbrt(np.linalg.det(file.matrix[:3, :3])))
    counts = np.bincount(owner)
    low, high = (bound.astype(np.float64) for bound in group_bounds(xyz, owner, len(counts)))
    center = group_means(xyz, owner, len(counts))
    rows = []
    for number in (1 + np.flatnonzero(counts[1:])).tolist():
        name, score = classes.names[prediction.labels[number - 1]], float(prediction.scores[number - 1])
        lengths = *center[number], *low[number], *high[number], (high[number] - low[number]).prod()
        values = int(prediction.ids[number - 1]), name, score, int(counts[number]), *lengths, round(unit, 12)
        rows.append(dict(zip(COLUMNS, values)))
    return rows


def write_csv(path: Path | str, prediction: Prediction, threshold: float = 0.0) -> None:
    """Writes the rows of `object_rows` as a table.

    Args:
        path: the file; it is replaced only when the new one is complete.
        prediction: objects of a scene.
        threshold: objects that score less are left out.

    Raises:
        ValueError: no objects were predicted.
        OSError: the file cannot be written.
    """
    text = io.StringIO()
    text.write(CSV_HEADER)
    writer = csv.writer(text, lineterminator="\n")
    for row in object_rows(prediction, threshold):
        *values, unit = row.values()
        writer.writerow([*(f"{value:.4f}" if isinstance(value, float) else value for value in values), f"{unit:.6g}"])
    atomic_write(path, text.getvalue())


def painted_colors(prediction: Prediction, threshold: float) -> UInt8[np.ndarray, "P 3"]:
    """The colors of the pictures: objects from the threshold on, or else predicted classes, or else the scan's own.

    Raises:
        ValueError: the scene has no points.
    """
    layers = scene_layers(prediction, threshold)
    layer = layers.get("prediction") or layers.get("semantic_prediction")
    return input_colors(prediction.scene) if layer is None else layer.point_colors()


def write_ply(path: Path | str, prediction: Prediction, threshold: float = 0.0) -> None:
    """Writes the painted points in their order, with predictions as scalar fields; a mesh keeps its faces.

    The points are those of the scan's file, in its frame, and in double precision where it differs from the scene's.
    Points that the scene does not have get -1 as id and class. A vertex has x y z, nx ny nz if the scene has normals,
    and red green blue. It also has scalar_instance (id of `Prediction.point_ids`), scalar_score (0 for no object),
    scalar_semantic, and quality, which repeats the id. Of these, scalar_semantic is the class index of the object, or
    of the point where there is no object, and -1 for none. CloudCompare reads properties with "scal" in their name as
    scalar fields; MeshLab has one scalar per vertex, called quality. Comments name the classes.

    Args:
        path: the file; it is replaced only when the new one is complete.
        prediction: a scene with its objects and the classes of its points; absent parts get no scalar fields.
        threshold: objects that score less are left out.

    Raises:
        ValueError: the scene has no points.
        OSError: the file cannot be written.

    Source:
        CloudCompare, libs/qCC_io/src/PlyFilter.cpp; MeshLab, issue 107.
    """
    scene, file = prediction.scene, prediction.scene.file
    vertices = _vertices(prediction, painted_colors(prediction, threshold), threshold)
    elements = [PlyElement.describe(vertices, "vertex")]
    if scene.faces is not None:
        faces = np.empty(len(scene.faces), [("vertex_indices", np.int32, (3,))])
        faces["vertex_indices"] = scene.faces if file is None else file.rows[scene.faces]
        elements.append(PlyElement.describe(faces, "face"))
    _write_elements(path, elements, prediction.classes)


def write_object_plys(folder: Path | str, prediction: Prediction, threshold: float = 0.0) -> list[Path]:
    """Writes the points of each object to ID_CLASS.ply, in the colors of the scan, if it has any, and without faces.

    The other properties are those of `write_ply`.

    Args:
        folder: where the files go; it is made.
        prediction: a scene with its objects.
        threshold: objects that score less are left out.

    Raises:
        ValueError: no objects were predicted.
        OSError: a file cannot be written.
    """
    rows, written = object_rows(prediction, threshold), []
    vertices, folder = _vertices(prediction, prediction.scene.rgb, threshold), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        name = "".join(letter if letter.isalnum() else "_" for letter in row["class"])
        written.append(folder / f"{row['id']:03d}_{name}.ply")
        inside = vertices[vertices["scalar_instance"] == row["id"]]
        _write_elements(written[-1], [PlyElement.describe(inside, "vertex")], None)  # not painted
    return written


def write_las(path: Path | str, prediction: Prediction, threshold: float = 0.0) -> None:
    """Writes the points as LAS 1.4, in the colors of the scan, with instance, score and semantic as extra dimensions.

    The classification is 64 + the class index, as codes from 64 on are free for users, and 0 for no class. A table in
    the file names the codes. Points and frame are as in `write_ply`; points without finite coordinates are left out.

    Args:
        path: the file; it is replaced only when the new one is complete.
        prediction: a scene with its objects.
        threshold: objects that score less are left out.

    Raises:
        ValueError: laspy is missing, no objects were predicted, or there are more classes than codes.
        OSError: the file cannot be written.

    Source:
        ASPRS, LAS specification 1.4, tables 17 and 25.
    """
    try:
        import laspy
        from laspy.vlrs.known import ClassificationLookupVlr
    except ImportError as error:
        raise ValueError(f"{path}: writing it needs laspy, run: pip install 'pcseg[las]'") from error
    classes = _classes(prediction)
    if len(classes) > 256 - _FIRST_CODE:
        raise ValueError(f"{path}: LAS has codes for {256 - _FIRST_CODE} classes, {classes.name} has {len(classes)}")
    vertices = _vertices(prediction, prediction.scene.rgb, threshold)
    vertices = vertices[np.isfinite(vertices["x"])]
    names = ClassificationLookupVlr()
    for index, name in enumerate(classes.names):
        names[_FIRST_CODE + index] = name.encode("ascii", "replace")[:15].decode()
    header = laspy.LasHeader(point_format=6 if prediction.scene.rgb is None else 7, version="1.4")  # 7 has colors
    header.generating_software = "pcseg"
    header.vlrs.append(names)
    kinds = {"instance": np.int32, "score": np.float32, "semantic": np.int32}
    header.add_extra_dims([laspy.ExtraBytesParams(name, kind) for name, kind in kinds.items()])
    xyz = np.stack([vertices[name] for name in "xyz"], axis=1).astype(np.float64)
    low, extent = xyz.min(axis=0), np.ptp(xyz, axis=0).max()
    step = max(1e-4, 10 ** np.ceil(np.log10(max(extent, 1) / 2**30)))  # coordinates are 32-bit integers
    header.offsets, header.scales = np.floor(low), np.full(3, step)
    las = laspy.LasData(header)
    las.x, las.y, las.z = xyz.T
    for name in {"red", "green", "blue"} & {*(vertices.dtype.names or ())}:
        las[name] = vertices[name].astype(np.uint16) * 257
    for name, kind in kinds.items():
        las[name] = vertices[f"scalar_{name}"].astype(kind)
    semantic = las["semantic"]
    las.classification = np.where(semantic < 0, 0, _FIRST_CODE + np.asarray(semantic)).astype(np.uint8)
    with atomic_open(path) as out:
        las.write(out, do_compress=False)


def read_painted_ply(path: Path) -> Prediction | None:
    """The prediction that `write_ply` wrote to a file, without low scores and overlaps; None for any other file.

    Raises:
        ValueError: `read_scan` refuses the file.
    """
    if path.suffix.lower() != ".ply" or not path.is_file():
        return None
    if not (found := painted_classes(path)):
        return None
    set_name, *names = found

    def report(text: str) -> None:
        if PAINTED not in text:
            report_to_log(text)

    scene = read_scan(path, labels=False, report=report)
    rows = np.arange(len(scene)) if scene.file is None else scene.file.rows
    vertex = PlyData.read(str(path))["vertex"].data[rows]
    ids, semantic = (vertex[f"scalar_{key}"].astype(np.int32) for key in ("instance", "semantic"))
    found, masks = masks_of_ids(ids)
    firsts = masks.indices[masks.indptr[:-1]]
    classes = class_set(set_name) if set_name in CLASS_SETS else ClassSet.from_dict({"name": set_name, "names": names})
    scores = vertex["scalar_score"][firsts].astype(np.float32)
    return Prediction(scene, masks, semantic[firsts].astype(np.int64), scores, semantic, classes, ids=found)


def _vertices(prediction: Prediction, colors: UInt8[np.ndarray, "P 3"] | None, threshold: float) -> np.ndarray:
    """The points of the scan's file as the vertices of `write_ply`."""
    scene, file = prediction.scene, prediction.scene.file
    columns = dict(zip("xyz", scene.xyz.T if file is None else file.xyz(scene.xyz).T))
    if scene.normal is not None:
        columns |= zip(("nx", "ny", "nz"), (scene.normal if file is None else file.normals(scene.normal)).T)
    columns |= {} if colors is None else zip(("red", "green", "blue"), colors.T)
    rows = prediction.point_rows(threshold)
    # Both programs hold scalars in single precision, which counts to 16 million without gaps.
    if prediction.has_objects:
        columns["scalar_instance"] = columns["quality"] = np.append(0, prediction.ids).astype(np.float32)[rows]
        columns["scalar_score"] = np.append(np.float32(0), prediction.scores.astype(np.float32))[rows]
    if prediction.has_objects or prediction.semantic is not None:
        columns["scalar_semantic"] = prediction.row_labels(rows).astype(np.float32)
    vertex = np.empty(len(scene), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        vertex[name] = values
    if file is not None:
        vertex = vertex[file.places]
        vertex[file.places < 0] = 0
        for name in "xyz":
            vertex[name][file.places < 0] = np.nan
        for name, none in {"scalar_instance": -1, "quality": -1, "scalar_score": 0, "scalar_semantic": -1}.items():
            if name in columns:
                vertex[name][file.is_left_out] = none
    return vertex


def _write_elements(path: Path | str, elements: list[PlyElement], classes: ClassSet | None) -> None:
    comments = ["pcseg"]
    if classes is not None:
        # The name of the set, then those of its classes; one line each, since readers limit the length of a line.
        comments += [f"pcseg class {json.dumps(name)}" for name in (classes.name, *classes.names)]
    with atomic_open(path) as file:
        PlyData(elements, byte_order="<", comments=comments).write(file)


def coco_document(predictions: Iterable[Prediction], *, threshold: float = 0.0) -> dict[str, Any]:
    """Rooms and their objects as COCO writes images and annotations, with run-length encoded masks over points.

    A room is an image of P rows and 1 column, so that pycocotools reads the masks. Masks may overlap. `bbox` is the
    axis-aligned box as x, y, z of its least corner and its three edges; `area` counts points. Points and boxes are
    those of the scan's file, in its order, frame and units.

    Args:
        predictions: rooms of one class set; each is taken when the previous one is done.
        threshold: objects that score less are left out.

    Returns:
        The keys info, images, categories (with the dataset's own class ids) and annotations, as lists of JSON objects.

    Raises:
        ValueError: different class sets, or a prediction without objects.

    Source:
        COCO's data format, cocodataset.org, with a third dimension to the boxes.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    classes = NO_CLASSES
    for image_id, prediction in enumerate(predictions, 1):
        scene, file, previous, classes = prediction.scene, prediction.scene.file, classes, _classes(prediction)
        if images and classes != previous:
            raise ValueError(
                f"{scene.name} has the classes of {classes.name}, those before it the classes of {previous.name}; "
                "write a file for each class set"
            )
        num_points = len(scene if file is None else file.places)
        size = {"height": num_points, "width": 1, "num_points": num_points}
        images.append({"id": image_id, "file_name": scene.name, **size})
        shown = prediction.select(np.flatnonzero(prediction.scores >= threshold))
        for label, found in zip(shown.labels, shown):
            box, mask = found.box.astype(np.float64), found.mask
            if file is not None:
                inside = file.xyz(scene.xyz[mask]) if mask.any() else np.zeros((1, 3))
                box, mask = np.stack([inside.min(axis=0), inside.max(axis=0)]), file.labels(mask.astype(np.int8)) > 0
            low, high = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": classes.ids[label],
                    "segmentation": {"size": [num_points, 1], "counts": rle_counts(mask)},
                    "area": found.num_points,
                    "bbox": [round(float(value), 4) for value in (*low, *(high - low))],
                    "score": round(found.score, 6),
                    "iscrowd": 0,
                }
            )
    categories = [
        {"id": number, "name": name, "isthing": int(name not in classes.stuff), "color": list(color)}
        for number, name, color in zip(classes.ids, classes.names, classes.colors)
    ]
    info = {"description": "objects found by pcseg"}
    return {"info": info, "images": images, "categories": categories, "annotations": annotations}


def rle_counts(mask: Bool[np.ndarray, "P"]) -> list[int]:
    """Lengths of the runs of a mask; the first counts points outside, 0 if the mask begins with a point inside.

    Source:
        The uncompressed RLE of COCO (cocoapi, PythonAPI/pycocotools/mask.py), for an image P high and 1 wide.

    >>> rle_counts(np.array([True, False, False, True]))
    [0, 1, 2, 1]
    """
    borders = np.flatnonzero(np.diff(mask, prepend=False))
    return np.diff(borders, prepend=0, append=len(mask)).tolist()


def _classes(prediction: Prediction) -> ClassSet:
    if not prediction.has_objects:
        raise ValueError(f"{prediction.scene.name}: no objects were predicted for it, only classes")
    return prediction.classes or NO_CLASSES
