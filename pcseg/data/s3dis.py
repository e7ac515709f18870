"""Rooms of S3DIS from the raw release, its known defects mended and reported."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from pcseg.classes import S3DIS
from pcseg.data.s3dis_repair import Plausible, has_control_byte, is_mendable, mend
from pcseg.data.text_points import TextRows, numbers_of_line, parse_text, read_bytes, show
from pcseg.structures import Scene

_FILE_NAME = re.compile(r"([A-Za-z]+)_(\d+)\.txt")
# Classes of the release that its benchmark counts as clutter.
_CLUTTER = frozenset({"stairs"})
# A file with more damaged lines than this is not the release with its few defects, but something else.
_MAX_DAMAGED_LINES = 10
_MAX_DAMAGED_SHARE = 0.01
_SAMPLE_LINES = 1000


def find_rooms(raw: Path, areas: list[int] | None = None) -> list[Path]:
    """Room folders below the folders Area_1 .. Area_6, in natural order.

    Args:
        raw: folder of the release.
        areas: numbers of the areas wanted; None for all there are.

    Raises:
        ValueError: no such folder, no areas in it, or one of those asked for is missing.
    """
    if not raw.is_dir():
        raise ValueError(f"{raw}: no such folder; expected the folder of S3DIS that holds Area_1 .. Area_6")
    found = {folder.name: folder for folder in raw.iterdir() if folder.is_dir() and folder.name.startswith("Area_")}
    if not found:
        raise ValueError(f"{raw}: no folder Area_* in it; expected the folder of S3DIS that holds Area_1 .. Area_6")
    if areas is not None:
        missing = [area for area in areas if f"Area_{area}" not in found]
        if missing:
            raise ValueError(
                f"{raw}: no folder Area_{missing[0]} in it; there are {', '.join(sorted(found, key=_natural))}"
            )
        found = {f"Area_{area}": found[f"Area_{area}"] for area in areas}
    rooms = []
    for name in sorted(found, key=_natural):
        inside = [room for room in found[name].iterdir() if room.is_dir() and not room.name.startswith(".")]
        rooms += sorted(inside, key=lambda room: _natural(room.name))
    if not rooms:
        raise ValueError(f"{raw}: the folders Area_* hold no rooms; expected Area_N/ROOM/Annotations/CLASS_I.txt")
    return rooms


def room_name(folder: Path) -> str:
    """Name of a room over all areas, e.g. ``Area_5_office_1``."""
    return f"{folder.parent.name}_{folder.name}"


def room_files(folder: Path) -> list[Path]:
    """The files that a room is read from.

    Raises:
        ValueError: the folder is empty, or has no Annotations, or these hold no text file.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected a room of S3DIS")
    annotations = folder / "Annotations"
    if not annotations.is_dir():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise ValueError(f"{folder}: no folder Annotations in it, found {found}; unpack the release again")
    files = [path for path in annotations.iterdir() if path.suffix == ".txt" and not path.name.startswith(".")]
    if not files:
        raise ValueError(f"{annotations}: no file CLASS_I.txt in it; unpack the release again")
    return sorted(files, key=lambda path: _natural(path.name))


def area_of(name: str) -> str:
    """Area of a room's name, ``Area_5`` of ``Area_5_office_1``."""
    return "_".join(name.split("_")[:2])


def read_room(folder: Path) -> tuple[Scene, list[str]]:
    """One room of S3DIS with one line of text per repair; see `read_room_with_files`."""
    scene, repairs, _ = read_room_with_files(folder)
    return scene, repairs


def read_room_with_files(folder: Path) -> tuple[Scene, list[str], list[str]]:
    """One room of S3DIS from its Annotations: every file is an instance, its name the class.

    Known defects of the release are mended and reported: control bytes inside a number or in the place of a blank,
    glued or missing columns, objects that are there twice, empty files, classes outside the benchmark. A damaged line
    that has not exactly one plausible reading is dropped and reported.

    Args:
        folder: Area_N/ROOM of the release.

    Returns:
        The room, coordinates as they stand in the files; one line of text per repair with file and line number; and the
        name of the file of instance 1, 2, ...

    Raises:
        ValueError: no Annotations, a class name that is not known, a line that is not numbers, coordinates that are not
            finite, colors outside 0..255, or more damaged lines than the release has.

    Source: the release's layout (Stanford3dDataset_v1.2_Aligned_Version) and the defects that its users report.
    """
    repairs: list[str] = []
    parts: list[tuple[Path, int, Float32[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]] = []
    for path in room_files(folder):
        label = _class_of(path, repairs)
        xyz, rgb, mended = read_instance(path)
        repairs += mended
        if len(xyz) == 0:
            repairs.append(f"{_short(path)}: no points in it, left out")
        else:
            parts.append((path, label, xyz, rgb))
    others = [path for path in (folder / "Annotations").iterdir() if path.suffix != ".txt"]
    repairs += [f"{_short(path)}: not a text file, left out" for path in others if not path.name.startswith(".")]
    parts = _without_doubles(parts, repairs)
    if not parts:
        raise ValueError(f"{folder / 'Annotations'}: none of its files holds a point; unpack the release again")
    counts = [len(xyz) for _, _, xyz, _ in parts]
    scene = Scene(
        name=room_name(folder),
        xyz=np.concatenate([xyz for _, _, xyz, _ in parts]),
        rgb=np.concatenate([rgb for _, _, _, rgb in parts]),
        semantic=np.repeat(np.array([label for _, label, _, _ in parts], np.int32), counts),
        instance=np.repeat(np.arange(1, len(parts) + 1, dtype=np.int32), counts),
    )
    return scene, repairs, [path.name for path, _, _, _ in parts]


def read_instance(path: Path) -> tuple[Float32[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"], list[str]]:
    """One file of ``x y z r g b`` lines.

    Args:
        path: CLASS_I.txt.

    Returns:
        Coordinates, colors, and one line of text per repair.

    Raises:
        ValueError: see `read_room`.
    """
    text = read_bytes(path)
    rows = parse_text(text, 6)
    values, lines, repairs = rows.values, rows.lines, []
    if rows.odd:
        values, lines, repairs = _mend_lines(path, text, rows)
    _check_rows(path, values, lines)
    return values[:, :3].astype(np.float32), values[:, 3:].astype(np.uint8), repairs


def _mend_lines(
    path: Path, text: UInt8[np.ndarray, "bytes"], rows: TextRows
) -> tuple[Float64[np.ndarray, "R 6"], np.ndarray, list[str]]:
    """All rows of a file with damaged lines, in order, with their line numbers and the repairs."""
    for line, content in rows.odd:
        if not is_mendable(content):
            numbers = numbers_of_line(content)
            found = show(content) if numbers is None else f"{len(numbers)} numbers, {show(content)}"
            raise ValueError(f"{path}:{line}: expected six numbers x y z r g b, found {found}")
    num_plain = sum(not has_control_byte(content) for _, content in rows.odd)
    num_lines = len(rows.values) + len(rows.odd)
    if num_plain == num_lines or len(rows.odd) > max(_MAX_DAMAGED_LINES, _MAX_DAMAGED_SHARE * num_lines):
        line, content = rows.odd[0]
        raise ValueError(
            f"{path}:{line}: {len(rows.odd)} of {num_lines} lines are not six numbers x y z r g b, the first is "
            f"{show(content)}; this is not a file of the release, unpack it again"
        )
    sample = text[: 64 * _SAMPLE_LINES].tobytes().split(b"\n")[:-1] or text.tobytes().split(b"\n")
    sound = [line for line in sample if not has_control_byte(line) and len(line.split()) == 6]
    finite = rows.values[np.isfinite(rows.values).all(axis=1), :3].astype(np.float32)
    plausible = Plausible.of(sound, finite)
    repairs, mended, mended_lines = [], [], []
    for line, content in rows.odd:
        reading = mend(content, plausible)
        defect = "control byte" if has_control_byte(content) else "wrong number of columns"
        if reading is None:
            repairs.append(f"{_short(path)}:{line}: {defect}, dropped {show(content)}")
        else:
            repairs.append(
                f"{_short(path)}:{line}: {defect}, {show(content)} read as '{' '.join(f'{x:.9g}' for x in reading)}'"
            )
            mended.append(reading)
            mended_lines.append(line)
    values = np.concatenate([rows.values, np.array(mended, np.float64).reshape(-1, 6)])
    lines = np.concatenate([rows.lines, np.array(mended_lines, np.int64)])
    order = np.argsort(lines, kind="stable")
    return values[order], lines[order], repairs


def _check_rows(path: Path, values: Float64[np.ndarray, "R 6"], lines: np.ndarray) -> None:
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise ValueError(
            f"{path}:{lines[row]}: expected finite numbers, found {' '.join(f'{x:.9g}' for x in values[row])} "
            f"({int((~finite).sum())} such lines); remove them"
        )
    colors = values[:, 3:]
    wrong = ((colors < 0) | (colors > 255) | (colors != np.rint(colors))).any(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{path}:{lines[row]}: expected colors r g b as whole numbers 0..255, found "
            f"{' '.join(f'{x:.9g}' for x in colors[row])}"
        )


def _class_of(path: Path, repairs: list[str]) -> int:
    match = _FILE_NAME.fullmatch(path.name)
    name = match[1] if match else path.stem
    if match and name in _CLUTTER:
        repairs.append(f"{_short(path)}: class {name} is not one of the benchmark, read as clutter")
        name = "clutter"
    if not match or name not in S3DIS.names:
        raise ValueError(
            f"{path}: expected a file name CLASS_NUMBER.txt, found class {name!r}; classes: {', '.join(S3DIS.names)}"
        )
    return S3DIS.index(name)


def _without_doubles(
    parts: list[tuple[Path, int, np.ndarray, np.ndarray]], repairs: list[str]
) -> list[tuple[Path, int, np.ndarray, np.ndarray]]:
    """Instances without those whose points, in any order, another one has already; a class is kept before clutter."""
    clutter = S3DIS.index("clutter")
    kept: list[tuple[Path, int, np.ndarray, np.ndarray]] = []
    alike: dict[tuple[int, ...], list[tuple[Path, int, np.ndarray, np.ndarray]]] = {}
    for part in sorted(parts, key=lambda part: part[1] == clutter):
        path, _, xyz, rgb = part
        # Sums that no order changes tell most instances apart; sorting decides about the others.
        bits = xyz.view(np.uint32).sum(axis=0, dtype=np.uint64)
        key = (len(xyz), *bits.tolist(), *rgb.sum(axis=0, dtype=np.uint64).tolist())
        rivals = alike.setdefault(key, [])
        rows = _sorted_points(xyz, rgb) if rivals else xyz
        double = next((other for other in rivals if np.array_equal(_sorted_points(other[2], other[3]), rows)), None)
        if double is None:
            kept.append(part)
            rivals.append(part)
        else:
            repairs.append(f"{_short(path)}: the same {len(xyz)} points as {double[0].name}, left out")
    order = {id(part): rank for rank, part in enumerate(parts)}
    return sorted(kept, key=lambda part: order[id(part)])


def _sorted_points(xyz: Float32[np.ndarray, "P 3"], rgb: UInt8[np.ndarray, "P 3"]) -> Float32[np.ndarray, "P 6"]:
    rows = np.column_stack([xyz, rgb.astype(np.float32)])
    return rows[np.lexsort(rows.T)]


def _natural(name: str) -> tuple[str | int, ...]:
    return tuple(int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", name))


def _short(path: Path) -> str:
    return "/".join(path.parts[-4:])
