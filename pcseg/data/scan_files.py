"""Reads any scan as a Scene: points, meshes, and text of many formats."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32

from pcseg.classes import class_set
from pcseg.data.las import open_las
from pcseg.data.laser_scans import read_e57, read_ptx
from pcseg.data.mesh_files import MESH_SUFFIXES, read_mesh
from pcseg.data.pcd import read_pcd
from pcseg.data.ply import painted_classes, read_ply
from pcseg.data.reader_options import UP_AXES, check_unused
from pcseg.data.scan_checks import scan_warnings
from pcseg.data.scan_fields import (
    LABEL_COLUMNS,
    MID_GRAY,
    Report,
    check_faces,
    color_to_uint8,
    fields_of_columns,
    is_whole,
    keep_points,
    place_keys,
    report_to_log,
)
from pcseg.data.scan_frame import frame_of_scan
from pcseg.data.store import RawRoom, read_room
from pcseg.data.text import fields_of_table, read_text
from pcseg.files import decoding, first_of, read_npz
from pcseg.ops.overlap import by_first_seen, object_ids, unique_ids
from pcseg.ops.voxelize import bounding_box
from pcseg.structures import ScanFile, Scene

_LAS_COLUMNS = {"x", "y", "z", "red", "green", "blue", *LABEL_COLUMNS}
# Beyond this distance in meters, single precision is coarser than 4 mm.
_TOO_FAR = 65536.0
_TABLES = (".txt", ".xyz", ".asc", ".pts", ".csv")
_Y_UP = (".glb", ".gltf")
_OF_MESHES = (".mtl", ".bin", ".png", ".jpg", ".jpeg")  # files beside meshes, with their materials and textures
_SPACING = 0.02  # meters between samples of a mesh
PAINTED = "Its colors are those that pcseg painted objects with, and are left out; use the scan, or .las."


def read_scan(
    path: Path | str | np.ndarray,
    *,
    drop_nan: bool = True,
    drop_duplicates: bool = False,
    gray: bool = False,
    scale: float | int | None = None,
    up: str | None = None,
    origin: Sequence[float | int] | None = None,
    level: bool = False,
    as_is: bool = False,
    columns: str | None = None,
    labels: bool = True,
    label_ids: str | None = None,
    first_instance: int = 1,
    ignore_labels: Sequence[int] = (),
    color_range: float | int | None = None,
    report: Report = report_to_log,
) -> Scene:
    """Reads a scan, a file or an array. What is decided from its content, such as the unit, is reported.

    An instance id whose points have several classes is one object of each class, and gets an id for each.

    Args:
        path: the file, whose extension decides the format, or the folder of a processed room, which is not changed.
            Or an array (P, 3) of x y z, (P, 6) of x y z r g b, or of other `columns`. A .npz has the keys xyz and
            optionally rgb (or color, colors), normal, semantic, semantic_nyu40, label, instance, superpoint, faces.
            A .ply or .pcd has properties of these names. `semantic` holds class indices, -1 for none. A mesh of large
            triangles becomes samples of its surface, 2 cm apart, but .ply and .npz keep their points.
        drop_nan: leave out points with coordinates that are not finite, and their faces; False refuses such a file.
        drop_duplicates: keep the first of several points at the same place; refused for meshes.
        gray: color a scan without colors mid-gray, for models that were trained with color.
        scale: factor to meters, 0.001 for a file in millimeters; None recognizes the unit.
        up: axis that points up in the file: "x", "y", "z", "-x", "-y" or "-z"; None is "z", and "y" for glTF, which
            its specification sets.
        origin: point in meters, z up, that becomes 0 0 0; None recognizes coordinates far from 0.
        level: make the floor level.
        as_is: recognize nothing: the file is in meters, unless `scale` is given.
        columns: names of the columns of a text file, .npy or array without names, for example "x y z intensity r g b".
        labels: read the labels; False also takes files with labels that are invalid.
        label_ids: name of the class set whose benchmark ids the column `label` holds; None ignores the column.
        first_instance: first valid instance id. With 1, instance 0 means no instance; with 0, negative ids mean none.
        ignore_labels: values of `semantic` that mean no class, such as 255 or -100; their points have no instance, and
            negative ones mean no instance too.
        color_range: 1, 255 or 65535: value of the brightest color; None decides from all colors of the file.
            Not used for .e57 and formats of meshes.
        report: called with a sentence for each decision; by default a warning in the log ``pcseg``.

    Returns:
        The scan, named after the file, or "points" for an array. Fields that the file does not have are None. Normals
        have length 1, or 0 where the file has none. Superpoints are numbered without gaps. `Scene.file` says which
        points of the file these are.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unknown extension, damaged content, no points, or options out of range. Also coordinates too far
            from 0, rounded, or not finite (unless drop_nan), or a unit that is not certain.

    >>> scene = read_scan(np.array([[0.0, 1.0, 2.0, 255.0, 0.0, 0.0]]))
    >>> scene.xyz.tolist(), scene.rgb.tolist()
    ([[0.0, 1.0, 2.0]], [[255, 0, 0]])
    """
    table, path = (path, Path("points")) if isinstance(path, np.ndarray) else (None, Path(path))
    _check_options(scale, up, origin, first_instance)
    if table is None and path.is_dir():
        given = {"scale": scale, "up": up, "origin": origin, "level": level, "columns": columns, "gray": gray}
        check_unused(path, given | {"color_range": color_range, "drop_duplicates": drop_duplicates})
        return read_room(path)

    def say(text: str) -> None:
        report(f"{path.name}: {text}")

    up = up or ("y" if path.suffix.lower() in _Y_UP else "z")
    as_given = functools.partial(frame_of_scan, path, scale=scale, up=up, origin=origin, as_is=as_is)

    def spacing(xyz: np.ndarray) -> float:
        """Distance between samples of a surface, in units of the file."""
        return _SPACING / float(np.linalg.norm(as_given(xyz, report=lambda text: None)[0, :3]))

    names = None if columns is None else tuple(columns.replace(",", " ").split())
    how = _Reading(names, spacing, say)
    fields = _read_fields(path, how) if table is None else _fields_of_array(path, table, names)
    fields, finite = _without_nan(path, fields, drop_nan, say)
    matrix = as_given(fields["xyz"], level=level, report=say)
    more: dict[str, Any] = {}
    if table is None and path.suffix.lower() in (".e57", *MESH_SUFFIXES):
        color_range = None  # their readers give bytes
    if "rgb" in fields:
        more["rgb"] = color_to_uint8(path, fields["rgb"], color_range=color_range, report=say)
    elif gray:
        more["rgb"] = np.full((len(fields["xyz"]), 3), MID_GRAY, np.uint8)
    if labels:
        more |= _labels(path, fields, label_ids, first_instance, ignore_labels, say)
    return _of_file(_in_meters(path, fields, matrix, **more), matrix, finite, drop_duplicates)


def find_scans(raw: Path, report: Report = report_to_log) -> list[Path]:
    """Scans of a folder in order of name; the scan itself if `raw` is a file.

    What it skips, such as folders and macOS's "._a.ply", is reported; files that go with meshes are not.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no scan in it.
    """
    if raw.is_file():
        return [raw]
    if not raw.is_dir():
        raise FileNotFoundError(f"{raw}: no such folder; expected a folder of scans")
    reasons = {path: _why_skipped(path) for path in sorted(raw.iterdir())}
    if skipped := [f"{path.name} ({reason})" for path, reason in reasons.items() if reason]:
        report(f"{raw}: skipped {first_of(skipped)}.")
    scans = [path for path, reason in reasons.items() if reason is None]
    if not scans:
        inside = sorted({path.parent.name for path in raw.glob("[!.]*/*") if _why_skipped(path) is None})
        where = f", but in its folders {first_of(inside)}" if inside else ""
        raise ValueError(f"{raw}: no scan in it{where}; expected files {' '.join(_READERS)}")
    return scans


def _why_skipped(path: Path) -> str | None:
    """Why something in a folder is not taken as a scan, empty if that needs no mention; None for a scan."""
    is_hidden, suffix = path.name.startswith("."), path.suffix.lower()
    if path.is_dir():
        return "" if is_hidden else "a folder"
    if suffix not in _READERS:
        return "" if is_hidden or suffix in _OF_MESHES else "not a scan"
    return "hidden" if is_hidden else None if path.exists() else "a link to a missing file"


def read_labeled_scan(path: Path, *, needs_labels: bool = True, **options: Any) -> RawRoom:
    """Reads a scan with labels, as a room; its notes are what `read_scan` reports, its advice is `scan_warnings`.

    `options` are those of `read_scan`.

    Raises:
        ValueError: `read_scan` refuses the file, or it has no labels.
    """
    notes: list[str] = []
    scene = read_scan(path, report=notes.append, **options)
    missing = [key for key in ("semantic", "instance") if getattr(scene, key) is None]
    if needs_labels and missing:
        remedy = "rename its columns, or take unlabeled scans with --unlabeled"
        any_ids = {**options, "label_ids": "scannet20"}
        if "semantic" in missing and read_scan(path, report=lambda text: None, **any_ids).semantic is not None:
            remedy = "its column `label` is read with label_ids, the class set that its ids are of"
        raise ValueError(f"{path}: no {' and no '.join(missing)} in it; {remedy}")
    return RawRoom(scene, notes, advice=[f"{path.name}: {warning}" for warning in scan_warnings(scene)])


def _in_meters(path: Path, fields: dict[str, np.ndarray], matrix: Float64[np.ndarray, "4 4"], **more: Any) -> Scene:
    """The points, normals and faces of a file in meters with z up, and more fields."""
    xyz, normal, faces = fields["xyz"], fields.get("normal"), fields.get("faces")
    if not np.array_equal(matrix, np.eye(4)):
        xyz = xyz @ matrix[:3, :3].T + matrix[:3, 3]
    low, high = bounding_box(xyz)
    if np.abs([low, high]).max() >= _TOO_FAR:
        point = ", ".join(f"{value:.0f}" for value in low)
        found = f"coordinates reach from {low.tolist()} to {high.tolist()}, too far from 0 for single precision"
        raise ValueError(f"{path}: {found}; use origin=({point}), or scale=0.001 if it is in millimeters")
    return Scene(
        name=path.stem,
        xyz=np.ascontiguousarray(xyz, np.float32),
        normal=None if normal is None else _unit(normal @ matrix[:3, :3].T),
        faces=None if faces is None else np.ascontiguousarray(faces, np.int32),
        **more,
    )


def _of_file(
    scene: Scene, matrix: Float64[np.ndarray, "4 4"], finite: Bool[np.ndarray, "F"], drop_duplicates: bool
) -> Scene:
    """The scene, perhaps without duplicates, with the record of which points of its file it has, and where."""
    places, rows = np.where(finite, np.cumsum(finite) - 1, -1), np.flatnonzero(finite)
    if drop_duplicates:
        if scene.faces is not None:
            raise ValueError(f"scene {scene.name} is a mesh; its vertices stay; do not use drop_duplicates")
        kept, place = by_first_seen(place_keys(scene.xyz))
        places, rows, scene = np.where(finite, place[places], -1), rows[kept], keep_points(scene, kept)
        if scene.superpoint is not None:
            scene = scene.with_(superpoint=unique_ids(scene.superpoint)[1].astype(np.int32))
    if len(rows) == len(finite) and np.array_equal(matrix, np.eye(4)):
        return scene
    return scene.with_(file=ScanFile(rows.astype(np.int32), places.astype(np.int32), matrix))


class _Reading(NamedTuple):
    """How to read a file, for the readers that need it."""

    columns: tuple[str, ...] | None
    spacing: Callable[[np.ndarray], float]
    report: Report


def _read_fields(path: Path, how: _Reading) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: unknown extension {path.suffix!r}; expected one of {' '.join(_READERS)}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    if how.columns is not None and path.suffix.lower() not in (*_TABLES, ".npy"):
        raise ValueError(f"{path}: columns name those of text files, .npy, and arrays; this format has its own")
    fields = reader(path, how)
    lengths = {key: len(value) for key, value in fields.items() if key != "faces"}
    if wrong := [key for key, length in lengths.items() if length != lengths["xyz"]]:
        raise ValueError(f"{path}: {wrong[0]} has {lengths[wrong[0]]} rows, xyz has {lengths['xyz']}")
    return fields


def _read_ply(path: Path, how: _Reading) -> dict[str, np.ndarray]:
    fields = read_ply(path)
    if painted_classes(path):
        how.report(PAINTED)
        fields.pop("rgb", None)
        _own_ids(fields)
    return fields


def _own_ids(fields: dict[str, np.ndarray]) -> None:
    """In a file of pcseg, points that the scene did not have are in no object, instead of -1."""
    if "instance" in fields:
        fields["instance"] = np.maximum(fields["instance"], 0)


def _read_npz(path: Path, how: _Reading) -> dict[str, np.ndarray]:
    colors = ("rgb", "color", "colors")
    fields = read_npz(path, ("xyz", "normal", "faces", *LABEL_COLUMNS, *colors))
    if "xyz" not in fields:
        raise ValueError(f"{path}: expected an array xyz, found {', '.join(read_npz(path)) or 'none'}")
    if color := next((key for key in colors if key in fields), None):
        fields["rgb"] = fields.pop(color)
    for key, value in fields.items():
        shape = "(P,)" if key in LABEL_COLUMNS else "(P, 3)"
        fits = value.ndim == 1 if key in LABEL_COLUMNS else value.ndim == 2 and value.shape[1] == 3
        if value.dtype.kind not in "fiu" or not fits:
            raise ValueError(f"{path}: expected {key} as numbers {shape}, found {value.dtype} {value.shape}")
    if "faces" in fields:
        fields["faces"] = _whole(path, "faces", fields["faces"], how.report)
    check_faces(path, fields.get("faces"), len(fields["xyz"]))
    return fields | {key: fields[key].astype(np.float64) for key in ("xyz", "normal") if key in fields}


def _read_npy(path: Path, how: _Reading) -> dict[str, np.ndarray]:
    with path.open("rb") as file, decoding(path, "an .npy file"):
        table = np.lib.format.read_array(file, allow_pickle=False)
    if table.ndim != 2 or table.dtype.kind not in "fiu":
        raise ValueError(f"{path}: expected numbers (P, columns), found {table.dtype} {table.shape}")
    return fields_of_table(path, table.astype(np.float64), how.columns, how.report)


def _fields_of_array(path: Path, table: np.ndarray, names: tuple[str, ...] | None) -> dict[str, np.ndarray]:
    if names is None and table.ndim:
        names = {3: tuple("xyz"), 6: tuple("xyzrgb")}.get(table.shape[-1])
    if table.dtype == np.uint8:
        raise ValueError("an array of uint8 has colors, no coordinates; both are one array (P, 6)")
    if table.ndim != 2 or table.dtype.kind not in "fiu" or names is None:
        expected = "an array of numbers (P, 3) of x y z or (P, 6) of x y z r g b"
        remedy = "name other columns: pcseg.read_scan(array, columns='x y z intensity')"
        raise ValueError(f"expected {expected}, got {table.dtype} {table.shape}; {remedy}")
    return fields_of_table(path, table.astype(np.float64), names)


def _read_las(path: Path, how: _Reading) -> dict[str, np.ndarray]:
    las = open_las(path)
    names = ["x", "y", "z", *set(las.point_format.dimension_names) - set("xyzXYZ")]
    known = [name for name in names if name.lower().removeprefix("scalar_") in _LAS_COLUMNS]
    fields = fields_of_columns(path, {name: np.asarray(las[name]) for name in known})
    if las.header.generating_software == "pcseg":
        _own_ids(fields)
    return fields


_READERS: dict[str, Callable[[Path, _Reading], dict[str, np.ndarray]]] = {
    ".ply": _read_ply,
    ".pcd": lambda path, how: read_pcd(path),
    ".npz": _read_npz,
    ".npy": _read_npy,
    **dict.fromkeys(_TABLES, lambda path, how: read_text(path, how.columns, how.report)),
    **dict.fromkeys((".las", ".laz"), _read_las),
    ".e57": lambda path, how: read_e57(path),
    ".ptx": lambda path, how: read_ptx(path),
    **dict.fromkeys(MESH_SUFFIXES, lambda path, how: read_mesh(path, how.spacing, how.report)),
}


def _check_options(
    scale: float | int | None, up: str | None, origin: Sequence[float | int] | None, first_instance: int
) -> None:
    if scale is not None and not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"expected a finite scale above 0, got {scale}")
    if up is not None and up not in UP_AXES:
        raise ValueError(f"expected up {', '.join(UP_AXES)}, got {up!r}")
    if origin is not None and (len(origin) != 3 or not np.isfinite(origin).all()):
        raise ValueError(f"expected an origin of three finite numbers, got {origin}")
    if first_instance not in (0, 1):
        raise ValueError(f"expected first_instance 0 or 1, got {first_instance}")


def _without_nan(
    path: Path, fields: dict[str, np.ndarray], drop_nan: bool, report: Report
) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, "F"]]:
    """The fields of the points with finite coordinates, and which points these are."""
    if len(fields["xyz"]) == 0:
        raise ValueError(f"{path}: no points in it")
    finite = np.logical_and.reduce([np.isfinite(column) for column in fields["xyz"].T])
    num_bad = int((~finite).sum())
    if num_bad == 0:
        return fields, finite
    found = f"{num_bad} of {len(finite)} points have coordinates that are not finite"
    if not drop_nan:
        raise ValueError(f"{path}: {found}; leave them out with drop_nan=True")
    if num_bad == len(finite):
        raise ValueError(f"{path}: none of its {num_bad} points has finite coordinates")
    report(f"{found} and are left out: drop_nan=False refuses such a file.")
    kept = {key: value[finite] for key, value in fields.items() if key != "faces"}
    if (faces := fields.get("faces")) is not None:
        kept["faces"] = (np.cumsum(finite) - 1)[faces[finite[faces].all(axis=1)]]
    return kept, finite


def _unit(normal: np.ndarray) -> np.ndarray:
    normal = np.where(np.isfinite(normal).all(axis=1, keepdims=True), normal, 0.0)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return (normal / np.where(length > 0, length, 1)).astype(np.float32)


def _whole(path: Path, key: str, values: np.ndarray, report: Report, none: int = -1) -> np.ndarray:
    """The values as whole numbers; nan, which programs write for points that have no value, becomes `none`."""
    if values.dtype.kind == "f" and key not in ("superpoint", "faces") and (missing := np.isnan(values)).any():
        report(f"{missing.sum()} of {len(values)} points have no {key} (nan).")
        values = np.where(missing, none, values)
    if not (np.isfinite(values).all() and is_whole(values)):
        raise ValueError(f"{path}: expected whole numbers in {key}")
    bits = 54 if key in ("instance", "superpoint") else 32  # these are numbered again; 54 bits are exact in doubles
    if values.size and not -(2 ** (bits - 1)) <= values.min() <= values.max() < 2 ** (bits - 1):
        raise ValueError(f"{path}: expected {key} within {bits} bits, found {values.min()}..{values.max()}")
    return values.astype(np.int64)


def _labels(
    path: Path,
    fields: dict[str, np.ndarray],
    label_ids: str | None,
    first_instance: int,
    ignore_labels: Sequence[int],
    report: Report,
) -> dict[str, Any]:
    """semantic, instance and superpoint of a scan, where it has them."""
    labels: dict[str, np.ndarray] = {}
    ignored = np.zeros(len(fields["xyz"]), np.bool_)
    for key, classes in (("semantic", None), ("label", label_ids), ("semantic_nyu40", "scannet20")):
        if key in fields and "semantic" not in labels and (key != "label" or label_ids is not None):
            ids = _whole(path, key, fields[key], report)
            ignored = np.isin(ids, ignore_labels)
            ids = np.where(ignored, -1, ids)
            labels["semantic"] = ids.astype(np.int32) if classes is None else class_set(classes).index_of_ids(ids)
    if "instance" in fields:
        instance = _whole(path, "instance", fields["instance"], report, none=first_instance - 1)
        ignored |= np.isin(instance, [value for value in ignore_labels if value < 0])
        instance = np.where(ignored, first_instance - 1, instance)
        if first_instance == 0:
            instance = np.maximum(instance, -1) + 1
        elif instance.min() < 0:
            found = f"found {instance.min()}; see first_instance and ignore_labels"
            raise ValueError(f"{path}: expected instance ids from 0 (none), {found}")
        if instance.max() >= 2**31 - 1:  # such as packed colors
            instance = unique_ids(np.append(0, instance))[1][1:]
        labels["instance"] = instance.astype(np.int32)
        if "semantic" in labels:
            labels["instance"] = _one_class_each(labels["semantic"], labels["instance"], report)
    if "superpoint" in fields:
        ids = _whole(path, "superpoint", fields["superpoint"], report)
        labels["superpoint"] = unique_ids(ids)[1].astype(np.int32)
    return labels


def _one_class_each(
    semantic: Int32[np.ndarray, "P"], instance: Int32[np.ndarray, "P"], report: Report
) -> Int32[np.ndarray, "P"]:
    """Instance ids that hold points of one class each; unlabeled points make no object."""
    labeled = instance[(semantic >= 0) & (instance > 0)]
    objects = object_ids(semantic, np.where(semantic < 0, 0, instance))
    ids, num_objects = np.unique(labeled), int(objects.max(initial=0))
    if num_lost := len(np.setdiff1d(instance[instance > 0], ids)):
        report(f"{num_lost} of its {len(ids) + num_lost} instance ids have no point with a class.")
    if num_objects == len(ids):
        return instance
    found = "Its instance ids are not unique, or hold points of several classes"
    report(f"{found}: the {len(ids)} ids are split into {num_objects} objects, one for each class and id.")
    return objects
