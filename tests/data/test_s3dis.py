"""Raw S3DIS rooms, whole and damaged."""

from pathlib import Path

import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.data.s3dis import find_rooms, read_instance, read_room, room_files
from pcseg.data.s3dis_repair import Plausible, is_mendable, mend

PLAUSIBLE = Plausible(frozenset({3}), (-30.0, -30.0, -5.0), (30.0, 30.0, 5.0))
SOUND = [f"19.{i:03d} -9.{i:03d} 1.{i:03d} {i} {i + 1} {i + 2}" for i in range(100, 140)]


def write_room(root: Path, files: dict[str, list[str] | bytes], area: int = 5, room: str = "office_1") -> Path:
    folder = root / f"Area_{area}" / room / "Annotations"
    folder.mkdir(parents=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else ("\n".join(content) + "\n").encode()
        (folder / name).write_bytes(data)
    return folder.parent


def test_sound_room(tmp_path: Path) -> None:
    folder = write_room(tmp_path, {"wall_1.txt": SOUND[:20], "chair_10.txt": SOUND[20:30], "chair_2.txt": SOUND[30:]})
    scene, repairs = read_room(folder)
    assert scene.name == "Area_5_office_1"
    assert repairs == []
    assert scene.semantic is not None
    assert scene.instance is not None
    assert scene.rgb is not None
    # Natural order: chair_2, chair_10, wall_1.
    np.testing.assert_array_equal(scene.instance, [1] * 10 + [2] * 10 + [3] * 20)
    chair, wall = S3DIS.index("chair"), S3DIS.index("wall")
    np.testing.assert_array_equal(scene.semantic, [chair] * 20 + [wall] * 20)
    np.testing.assert_allclose(scene.xyz[0], [19.130, -9.130, 1.130], atol=1e-6)
    assert scene.rgb[0].tolist() == [130, 131, 132]


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        # A byte too many inside a number, and one in the place of a blank.
        (b"19.302 -9.1\x1060 1.785 146 137 106", (19.302, -9.16, 1.785, 146, 137, 106)),
        (b"22.350 6.692 3.048 185\x00187 182", (22.35, 6.692, 3.048, 185, 187, 182)),
        (b"22.350 6.692 3.048 185\x10187 182\r", (22.35, 6.692, 3.048, 185, 187, 182)),
        (b"1.302\x10-9.160 1.785 146 137 106", (1.302, -9.16, 1.785, 146, 137, 106)),
        # In the place of a point; the other readings lie outside the room.
        (b"1\x10302 9.160 1.785 146 137 106", (1.302, 9.16, 1.785, 146, 137, 106)),
        # Glued columns.
        (b"19.302 -9.160 1.785 146137 106", (19.302, -9.16, 1.785, 146, 137, 106)),
        (b"19.302-9.160 1.785 146 137 106", (19.302, -9.16, 1.785, 146, 137, 106)),
        (b"19.302 -9.1601.785 146 137 106", (19.302, -9.16, 1.785, 146, 137, 106)),
        (b"19.302-9.160 1.785 146137 106", (19.302, -9.16, 1.785, 146, 137, 106)),
    ],
)
def test_mended_in_the_one_plausible_way(line: bytes, numbers: tuple[float, ...]) -> None:
    assert is_mendable(line)
    assert mend(line, PLAUSIBLE) == numbers


@pytest.mark.parametrize(
    "line",
    [
        b"19.302 -9.1\x100 1.785 146 137 106",  # the byte was a digit: ten readings
        b"19.302 -9.160 1.785 1\x106 137 106",  # 16 or 106 or 116 ...
        b"19.302 -9.160 1.785 1234 106",  # 1|234, 12|34, 123|4
        b"19.302 -9.160 1.785 146 137",  # a column is missing
        b"19.302 -9.160 1.785 9 10",  # a column is missing, and 10 could be parted
        b"19.302 -9.160 1.785 146 137 106 7",
        b"19.302 -9.160 1.785 146 137 30\x106",
        b"\x10\x10\x10\x10\x10",
        b"",
    ],
)
def test_not_mended(line: bytes) -> None:
    assert is_mendable(line)
    assert mend(line, PLAUSIBLE) is None


def test_damaged_lines_are_mended_or_dropped_in_place(tmp_path: Path) -> None:
    lines = [line.encode() for line in SOUND]
    lines[3] = lines[3].replace(b"19.1", b"19.\x101")
    lines[7] = lines[7][:4] + b"\x10" + lines[7][5:]
    lines[9] = b"19.500 -9.500"
    folder = write_room(tmp_path, {"ceiling_1.txt": b"\n".join(lines)})
    scene, repairs = read_room(folder)
    assert len(scene) == len(SOUND) - 2
    np.testing.assert_allclose(scene.xyz[3], [19.103, -9.103, 1.103], atol=1e-6)
    assert [line.split(":")[1] for line in repairs] == ["4", "8", "10"]
    assert all(line.startswith("Area_5/office_1/Annotations/ceiling_1.txt:") for line in repairs)
    assert "read as '19.103 -9.103 1.103 103 104 105'" in repairs[0]
    assert "dropped" in repairs[1]
    assert r"\x10" in repairs[1]
    assert "wrong number of columns, dropped" in repairs[2]


def test_doubles_empty_files_and_stairs(tmp_path: Path) -> None:
    folder = write_room(
        tmp_path,
        {
            "board_1.txt": SOUND[:10],
            "board_2.txt": SOUND[:10][::-1],
            "chair_1.txt": SOUND[10:20],
            "clutter_1.txt": SOUND[10:20],
            "stairs_1.txt": SOUND[20:],
            "table_1.txt": b"",
            "notes.md": b"not points",
            ".DS_Store": b"\x00\x01",
        },
    )
    scene, repairs = read_room(folder)
    assert len(scene) == len(SOUND)
    assert scene.semantic is not None
    assert scene.instance is not None
    assert scene.instance.max() == 3
    names = [S3DIS.names[i] for i in np.unique(scene.semantic)]
    assert names == ["chair", "board", "clutter"]
    assert len(repairs) == 5
    text = "\n".join(repairs)
    for part in ("board_2.txt: the same 10 points as board_1.txt", "clutter_1.txt: the same", "stairs is not one"):
        assert part in text
    assert "table_1.txt: no points" in text
    assert "notes.md" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("19.302 -9.160 one 1 2 3", "ceiling_1.txt:41: expected six numbers"),
        ("nan -9.160 1.785 1 2 3", "ceiling_1.txt:41: expected finite"),
        ("inf -9.160 1.785 1 2 3", "ceiling_1.txt:41: expected finite"),
        ("19.302 -9.160 1.785 1 2 256", "ceiling_1.txt:41: expected colors"),
        ("19.302 -9.160 1.785 -1 2 3", "ceiling_1.txt:41: expected colors"),
        ("19.302 -9.160 1.785 1.5 2 3", "ceiling_1.txt:41: expected colors"),
    ],
)
def test_refused_lines(tmp_path: Path, line: str, message: str) -> None:
    folder = write_room(tmp_path, {"ceiling_1.txt": [*SOUND, line]})
    with pytest.raises(ValueError, match=message):
        read_room(folder)


def test_whole_float_colors_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "wall_1.txt"
    path.write_text("1.0 2.0 3.0 255.0 0.0 7.000000\n")
    xyz, rgb, repairs = read_instance(path)
    assert xyz.tolist() == [[1, 2, 3]]
    assert rgb.tolist() == [[255, 0, 7]]
    assert repairs == []


@pytest.mark.parametrize("lines", [["1 2 3"] * 30, [*SOUND[:20], *["1 2 3"] * 20]])
def test_another_layout_is_not_taken_for_damage(tmp_path: Path, lines: list[str]) -> None:
    folder = write_room(tmp_path, {"wall_1.txt": lines})
    with pytest.raises(ValueError, match="not a file of the release"):
        read_room(folder)


def test_refused_rooms(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        read_room(tmp_path / "absent")
    (tmp_path / "Area_1" / "empty").mkdir(parents=True)
    with pytest.raises(ValueError, match="no folder Annotations in it, found nothing"):
        read_room(tmp_path / "Area_1" / "empty")
    (tmp_path / "Area_1" / "empty" / "Annotations").mkdir()
    with pytest.raises(ValueError, match=r"no file CLASS_I\.txt"):
        room_files(tmp_path / "Area_1" / "empty")
    folder = write_room(tmp_path, {"dragon_1.txt": SOUND})
    with pytest.raises(ValueError, match="found class 'dragon'; classes: ceiling, floor"):
        read_room(folder)
    folder = write_room(tmp_path, {"wall_1.txt": b"\n"}, room="hall_1")
    with pytest.raises(ValueError, match="none of its files holds a point"):
        read_room(folder)


def test_find_rooms(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        find_rooms(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"no folder Area_\*"):
        find_rooms(tmp_path)
    for area, room in ((2, "office_10"), (2, "office_9"), (5, "hall_1")):
        write_room(tmp_path, {"wall_1.txt": SOUND}, area, room)
    assert [room.name for room in find_rooms(tmp_path)] == ["office_9", "office_10", "hall_1"]
    assert [room.name for room in find_rooms(tmp_path, [5])] == ["hall_1"]
    with pytest.raises(ValueError, match="no folder Area_3 in it; there are Area_2, Area_5"):
        find_rooms(tmp_path, [3])
