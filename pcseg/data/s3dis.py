"""Rooms of S3DIS from the raw release; its known defects are repaired and reported."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64

from pcseg.classes import S3DIS
from pcseg.data.store import RawRoom
from pcseg.data.text import load_rows, numbers_of_line, show, text_lines
from pcseg.structures import Scene

_Instance = tuple[Path, int, np.ndarray, np.ndarray]  # file, class, coordinates (P, 3), colors (P, 3)

_FILE_NAME = re.compile(r"([A-Za-z]+)_(\d+)\.txt")
# Classes of the release that its benchmark counts as clutter.
_CLUTTER = frozenset({"stairs"})
# Lines of the release with a control byte inside, and what belongs there.
_KNOWN_DAMAGE = {
    ("Area_5/hallway_6/Annotations/ceiling_1.txt", 180389): b" ",
    ("Area_5/office_19/Annotations/ceiling_1.txt", 323474): b"0",
}
_CONTROL_BYTE = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
# The release has few bad lines; a file with more than this is not part of it.
_MAX_BAD_LINES = 10
_MAX_BAD_SHARE = 0.01


def find_rooms(raw: Path, areas: list[int] | None = None) -> list[Path]:
    """Room folders below the folders Area_1 .. Area_6, in natural order.

    Args:
        raw: folder that holds Area_1 .. Area_6.
        areas: numbers of the wanted areas; None for all that are there.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are no areas in it, or a requested area is missing.
    """
    if not raw.is_dir():
        raise FileNotFoundError(f"{raw}: no such folder; expected the folder of S3DIS that holds Area_1 .. Area_6")
    found = {folder.name: folder for folder in raw.iterdir() if folder.is_dir() and folder.name.startswith("Area_")}
    if not found:
        raise ValueError(f"{raw}: no folder Area_* in it; expected the folder of S3DIS that holds Area_1 .. Area_6")
    there = sorted(found, key=_natural)
    names = there if areas is None else [f"Area_{area}" for area in sorted(set(areas))]
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{raw}: no folder {missing[0]} in it; there are {', '.join(there)}")
    rooms = []
    for name in names:
        inside = [room for room in found[name].iterdir() if room.is_dir() and not room.name.startswith(".")]
        rooms += sorted(inside, key=lambda room: _natural(room.name))
    if not rooms:
        raise ValueError(f"{raw}: the folders Area_* hold no rooms; expected Area_N/ROOM/Annotations/CLASS_I.txt")
    return rooms


def room_name(folder: Path) -> str:
    """Name of a room, unique over all areas, for example ``Area_5_office_1``."""
    return f"{folder.parent.name}_{folder.name}"


def room_files(folder: Path) -> list[Path]:
    """The files that a room is read from.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder is empty, or has no Annotations, or these hold no text file.
    """
    annotations = folder / "Annotations"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected a room of S3DIS")
    if not annotations.is_dir():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise ValueError(f"{folder}: no folder Annotations in it, found {found}; unpack the release again")
    files = [path for path in annotations.iterdir() if path.suffix == ".txt" and not path.name.startswith(".")]
    if not files:
        raise ValueError(f"{annotations}: no file CLASS_I.txt in it; unpack the release again")
    return sorted(files, key=lambda path: _natural(path.name))


def area_of(name: str) -> str:
    """Area of a room.

    >>> area_of("Area_5_office_1")
    'Area_5'
    """
    return "_".join(name.split("_")[:2])


def read_room(folder: Path) -> RawRoom:
    """Reads a room from its Annotations: every file is an instance, its name the class.

    Known defects of the release are repaired and reported: damaged lines, objects that are there twice, empty files,
    classes outside the benchmark. Other lines that are not a point are dropped and reported.

    Returns:
        The room with the coordinates of the files, a note per repair, and the files of its instances.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no Annotations, an unknown class name, no points, or more bad lines than the release has.

    Source: the release's layout (Stanford3dDataset_v1.2_Aligned_Version) and the defects that its users report.
    """
    notes: list[str] = []
    parts: list[_Instance] = []
    for path in room_files(folder):
        label, rows = _class_of(path, notes), load_rows(path, 6)
        if rows is None or not _are_points(rows).all():
            rows = _read_lines(path, notes)
        if len(rows):
            parts.append((path, label, rows[:, :3].astype(np.float32), rows[:, 3:].astype(np.uint8)))
        else:
            notes.append(f"{_short(path)}: no points in it, left out")
    others = [path for path in (folder / "Annotations").iterdir() if path.suffix != ".txt"]
    notes += [f"{_short(path)}: not a text file, left out" for path in others if not path.name.startswith(".")]
    parts = _without_duplicates(parts, notes)
    if not parts:
        raise ValueError(f"{folder / 'Annotations'}: none of its files holds a point; unpack the release again")
    paths, labels, xyz, rgb = zip(*parts)
    counts = [len(points) for points in xyz]
    scene = Scene(
        name=room_name(folder),
        xyz=np.concatenate(xyz),
        rgb=np.concatenate(rgb),
        semantic=np.repeat(np.array(labels, np.int32), counts),
        instance=np.repeat(np.arange(1, len(parts) + 1, dtype=np.int32), counts),
    )
    return RawRoom(scene, notes, [path.name for path in paths])


def _read_lines(path: Path, notes: list[str]) -> Float64[np.ndarray, "R 6"]:
    """The points of a file with bad lines, which are repaired or dropped, and noted."""
    found, lines, bad = [], [], []
    for line, content in text_lines(path):
        known = _KNOWN_DAMAGE.get((_short(path), line))
        if known is not None and _CONTROL_BYTE.search(content):
            repaired = _CONTROL_BYTE.sub(known, content)
            notes.append(f"{_short(path)}:{line}: control byte, {show(content)} read as {show(repaired)}")
            content = repaired
        numbers = numbers_of_line(content)
        if numbers is None or len(numbers) != 6:
            bad.append((line, show(content)))
        else:
            found.append(numbers)
            lines.append(line)
    rows = np.array(found, np.float64).reshape(-1, 6)
    good = _are_points(rows)
    bad += [(lines[row], f"'{' '.join(f'{x:.9g}' for x in found[row])}'") for row in np.flatnonzero(~good)]
    num_lines = len(rows) + len(bad)
    if bad and (not good.any() or len(bad) > max(_MAX_BAD_LINES, _MAX_BAD_SHARE * num_lines)):
        line, text = min(bad)
        what = f"{len(bad)} of {num_lines} lines are not points x y z r g b, the first is {text}"
        raise ValueError(f"{path}:{line}: {what}; this is not a file of the release, unpack it again")
    notes += [f"{_short(path)}:{line}: not a point x y z r g b, dropped {text}" for line, text in sorted(bad)]
    return rows[good]


def _are_points(rows: Float64[np.ndarray, "R 6"]) -> Bool[np.ndarray, "R"]:
    colors = rows[:, 3:]
    fits = (colors >= 0) & (colors <= 255) & (colors == np.rint(colors))
    return np.isfinite(rows[:, :3]).all(axis=1) & fits.all(axis=1)


def _class_of(path: Path, notes: list[str]) -> int:
    match = _FILE_NAME.fullmatch(path.name)
    name = match[1] if match else path.stem
    if match and name in _CLUTTER:
        notes.append(f"{_short(path)}: class {name} is not one of the benchmark, read as clutter")
        name = "clutter"
    if not match or name not in S3DIS.names:
        raise ValueError(f"{path}: expected CLASS_NUMBER.txt, found class {name!r}; classes: {', '.join(S3DIS.names)}")
    return S3DIS.index(name)


def _without_duplicates(parts: list[_Instance], notes: list[str]) -> list[_Instance]:
    """Removes instances with the same points as another one, in any order; clutter yields to other classes."""
    clutter = S3DIS.index("clutter")
    alike: dict[tuple, list[_Instance]] = {}
    unique = []
    for part in sorted(parts, key=lambda part: part[1] == clutter):
        path, _, xyz, rgb = part
        # Sums that do not depend on the order distinguish most instances; only equal ones are sorted and compared.
        bits = xyz.view(np.uint32).sum(axis=0, dtype=np.uint64)
        rivals = alike.setdefault((len(xyz), *bits.tolist(), *rgb.sum(axis=0, dtype=np.uint64).tolist()), [])
        if same := [other for other in rivals if np.array_equal(_sorted_points(other), _sorted_points(part))]:
            notes.append(f"{_short(path)}: the same {len(xyz)} points as {same[0][0].name}, left out")
        else:
            rivals.append(part)
            unique.append(path)
    return [part for part in parts if part[0] in unique]


def _sorted_points(part: _Instance) -> Float32[np.ndarray, "P 6"]:
    rows = np.column_stack([part[2], part[3].astype(np.float32)])
    return rows[np.lexsort(rows.T)]


def _natural(name: str) -> tuple[str | int, ...]:
    return tuple(int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", name))


def _short(path: Path) -> str:
    return "/".join(path.parts[-4:])
