"""Raw S3DIS rooms, whole and damaged."""

from pathlib import Path

import numpy as np
import pytest

from pcseg.classes import S3DIS
from pcseg.data.s3dis import find_rooms, read_room, room_files
from tests.conftest import refuses

# Some programs write whole colors as decimals.
SOUND = [f"19.{i:03d} -9.{i:03d} 1.{i:03d} {i} {i + 1}.000 {i + 2}.0" for i in range(100, 140)]


def write_room(root: Path, files: dict[str, list[str] | bytes], area: int = 5, room: str = "office_1") -> Path:
    folder = root / f"Area_{area}" / room / "Annotations"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else ("\n".join(content) + "\n").encode())
    return folder.parent


def test_sound_room(tmp_path: Path) -> None:
    folder = write_room(tmp_path, {"wall_1.txt": SOUND[:20], "chair_10.txt": SOUND[20:30], "chair_2.txt": SOUND[30:]})
    room = read_room(folder)
    scene = room.scene
    assert (scene.name, room.notes) == ("Area_5_office_1", [])
    # Natural order.
    assert room.instance_sources == ["chair_2.txt", "chair_10.txt", "wall_1.txt"]
    np.testing.assert_array_equal(scene.instance, [1] * 10 + [2] * 10 + [3] * 20)
    np.testing.assert_array_equal(scene.semantic, [S3DIS.index("chair")] * 20 + [S3DIS.index("wall")] * 20)
    np.testing.assert_allclose(scene.xyz[0], [19.130, -9.130, 1.130], atol=1e-6)
    assert scene.rgb[0].tolist() == [130, 131, 132]


def test_a_known_damaged_line_is_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.encode() for line in SOUND]
    lines[2] = b"22.350 6.692 3.048 185\x00187 182"
    damage = {("Area_5/hallway_6/Annotations/ceiling_1.txt", 3): b" "}
    monkeypatch.setattr("pcseg.data.s3dis._KNOWN_DAMAGE", damage)
    room = read_room(write_room(tmp_path, {"ceiling_1.txt": b"\n".join(lines)}, 5, "hallway_6"))
    np.testing.assert_allclose(room.scene.xyz[2], [22.35, 6.692, 3.048], atol=1e-6)
    assert room.scene.rgb[2].tolist() == [185, 187, 182]
    where = "Area_5/hallway_6/Annotations/ceiling_1.txt:3: control byte"
    assert room.notes == [where + r", '22.350 6.692 3.048 185\x00187 182' read as '22.350 6.692 3.048 185 187 182'"]


def test_other_bad_lines_are_dropped_and_reported(tmp_path: Path) -> None:
    lines = (
        "19.302 -9.1\x1060 1.785 146 137 106",
        "19.302 -9.160 1.785 146137 106",
        "19.302 -9.160 1.785 1 2 3 4",
        "19.302 -9.160 one 1 2 3",
        "nan -9.160 1.785 1 2 3",
        "19.302 -9.160 1.785 -1 2 256",
        "19.302 -9.160 1.785 1.5 2 3",
    )
    for number, line in enumerate(lines):
        room = read_room(write_room(tmp_path / str(number), {"ceiling_1.txt": [*SOUND[:3], line, *SOUND[3:]]}))
        assert len(room.scene) == len(SOUND)
        np.testing.assert_allclose(room.scene.xyz[3], [19.103, -9.103, 1.103], atol=1e-6)
        (note,) = room.notes
        assert note.startswith("Area_5/office_1/Annotations/ceiling_1.txt:4: not a point x y z r g b, dropped '")


def test_duplicates_empty_files_and_stairs(tmp_path: Path) -> None:
    files = {"board_1.txt": SOUND[:10], "board_2.txt": SOUND[:10][::-1], "chair_1.txt": SOUND[10:20]}
    files |= {"clutter_1.txt": SOUND[10:20], "stairs_1.txt": SOUND[20:], "table_1.txt": b""}
    room = read_room(write_room(tmp_path, {**files, "notes.md": b"not points", ".DS_Store": b"\x00\x01"}))
    assert (len(room.scene), room.scene.instance.max()) == (len(SOUND), 3)
    assert [S3DIS.names[i] for i in np.unique(room.scene.semantic)] == ["chair", "board", "clutter"]
    assert len(room.notes) == 5
    twice = "board_2.txt: the same 10 points as board_1.txt", "clutter_1.txt: the same"
    for part in (*twice, "stairs is not one", "table_1.txt: no points", "notes.md"):
        assert part in "\n".join(room.notes)


def test_find_rooms_and_what_is_refused(tmp_path: Path) -> None:
    refuses("no such folder", find_rooms, tmp_path / "absent", error=FileNotFoundError)
    refuses(r"no folder Area_\*", find_rooms, tmp_path)
    for area, room in ((2, "office_10"), (2, "office_9"), (5, "hall_1")):
        write_room(tmp_path, {"wall_1.txt": SOUND}, area, room)
    assert [room.name for room in find_rooms(tmp_path)] == ["office_9", "office_10", "hall_1"]
    assert [room.name for room in find_rooms(tmp_path, [5])] == ["hall_1"]
    refuses("no folder Area_3 in it; there are Area_2, Area_5", find_rooms, tmp_path, [3])
    refuses("no such folder", read_room, tmp_path / "absent", error=FileNotFoundError)
    (tmp_path / "Area_1" / "empty").mkdir(parents=True)
    refuses("no folder Annotations in it, found nothing", read_room, tmp_path / "Area_1" / "empty")
    (tmp_path / "Area_1" / "empty" / "Annotations").mkdir()
    refuses(r"no file CLASS_I\.txt", room_files, tmp_path / "Area_1" / "empty")
    folder = write_room(tmp_path, {"dragon_1.txt": SOUND})
    refuses("found class 'dragon'; classes: ceiling, floor", read_room, folder)
    folder = write_room(tmp_path, {"wall_1.txt": b"\n"}, room="hall_2")
    refuses("none of its files holds a point", read_room, folder)
    for number, lines in enumerate((["1 2 3"] * 30, [*SOUND[:20], *["1 2 3"] * 20])):  # another layout is no damage
        folder = write_room(tmp_path, {"wall_1.txt": lines}, room=f"other_{number}")
        refuses("not a file of the release", read_room, folder)
