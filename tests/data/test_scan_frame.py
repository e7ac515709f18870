"""The unit of a scan is recognized where it is certain, and refused where it is not; axes and leveling."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pcseg.data.scan_checks import scan_warnings
from pcseg.data.scan_files import read_scan
from pcseg.data.scan_frame import UNITS, likely_up
from pcseg.structures import Scene
from tests.conftest import refuses

FAR = np.array([500_000, 5_400_000, 100])
TURNS = {
    "z": lambda p: p,
    "y": lambda p: p[:, [1, 2, 0]],
    "-y": lambda p: p[:, [0, 2, 1]] * [1, -1, 1],
    "-z": lambda p: p * [1, -1, -1],
    "x": lambda p: p[:, [2, 0, 1]],
}


@pytest.fixture(scope="module")
def room() -> np.ndarray:
    """An open room of 4 x 5 m: floor, four walls and a table, no ceiling."""
    rng = np.random.default_rng(0)
    floor, table = rng.random((9000, 3)) * [4, 5, 0], rng.random((1000, 3)) * [1.2, 0.8, 0] + [1, 2, 0.74]
    walls = [rng.random((2000, 3)) * [0, 5, 1.8] + [x, 0, 0] for x in (0, 4)]
    walls += [rng.random((1600, 3)) * [4, 0, 1.8] + [0, y, 0] for y in (0, 5)]
    return np.concatenate([floor, table, *walls]) + rng.normal(0, 0.004, (17200, 3))


@pytest.fixture(scope="module")
def closed_room(room: np.ndarray) -> np.ndarray:
    return np.concatenate([room, np.random.default_rng(1).random((9000, 3)) * [4, 5, 0] + [0, 0, 2.5]])


def box(rng: np.random.Generator, size: tuple[float, float, float], has_ceiling: bool) -> np.ndarray:
    """An empty room with a surface of even density."""
    x, y, z = size
    faces = [(x * y, 2, 0), (x * y * has_ceiling, 2, z), *((x * z, 1, at) for at in (0, y))]
    faces += [(y * z, 0, at) for at in (0, x)]
    face = rng.choice(6, 40_000, p=np.array([area for area, _, _ in faces]) / sum(area for area, _, _ in faces))
    points = rng.random((40_000, 3)) * size
    for number, (_, axis, at) in enumerate(faces):
        points[face == number, axis] = at
    return points


def read_and_said(path: Path, **options: Any) -> tuple[Scene, str]:
    said: list[str] = []
    return read_scan(path, report=said.append, **options), "\n".join(said)


def read(folder: Path, xyz: np.ndarray, **options: Any) -> tuple[np.ndarray, str]:
    np.save(folder / "a.npy", xyz)
    scene, said = read_and_said(folder / "a.npy", **options)
    return scene.xyz, said


@pytest.mark.parametrize("unit", ["meters", "centimeters", "millimeters"])
@pytest.mark.parametrize("up", TURNS)
def test_unit_and_axis(tmp_path: Path, room: np.ndarray, unit: str, up: str) -> None:
    found, said = read(tmp_path, TURNS[up](room) / UNITS[unit], up=up)
    np.testing.assert_allclose(np.sort(np.ptp(found, axis=0)), np.sort(np.ptp(room, axis=0)), rtol=1e-5)
    np.testing.assert_allclose(np.sort(found[:9000, 2])[[90, -90]], 0, atol=0.02)
    assert (f"as scale={UNITS[unit]} does" in said) == (unit != "meters")
    as_is, said = read(tmp_path, room[:, [1, 2, 0]], as_is=True)
    np.testing.assert_array_equal(as_is, room[:, [1, 2, 0]].astype(np.float32))
    assert said == ""


@pytest.mark.parametrize("unit", ["inches", "centimeters", "millimeters"])
def test_a_storey_tells_the_unit(tmp_path: Path, closed_room: np.ndarray, unit: str) -> None:
    found, said = read(tmp_path, closed_room / UNITS[unit])
    np.testing.assert_allclose(np.ptp(found, axis=0), np.ptp(closed_room, axis=0), rtol=1e-5)
    assert f"as scale={UNITS[unit]} does" in said


@pytest.mark.parametrize("up", TURNS)
def test_another_axis_that_points_up_is_noticed(tmp_path: Path, room: np.ndarray, up: str) -> None:
    np.save(tmp_path / "a.npy", TURNS[up](room))
    advice = "\n".join(scan_warnings(read_scan(tmp_path / "a.npy")))
    assert f"use up={up!r}" in advice if up != "z" else "up=" not in advice
    assert "up=" not in "\n".join(scan_warnings(read_scan(tmp_path / "a.npy", up=up)))


@pytest.mark.parametrize("has_ceiling", [True, False])
@pytest.mark.parametrize("size", [(16, 13, 8), (60, 3, 3), (20, 20, 4), (60, 4, 8), (40, 40, 15), (250, 100, 10)])
def test_halls_are_in_meters(tmp_path: Path, size: tuple[int, int, int], has_ceiling: bool) -> None:
    points = box(np.random.default_rng(0), size, has_ceiling)
    found, said = read(tmp_path, points)
    np.testing.assert_array_equal(found, points.astype(np.float32))
    as_in_feet = (size[2] == 8 and (has_ceiling or size[0] < 50)) or (size[2] == 10 and has_ceiling)
    assert ("if it is in feet, use scale=0.3048" in said) == as_in_feet


def test_what_is_not_certain_is_refused(tmp_path: Path, room: np.ndarray, closed_room: np.ndarray) -> None:
    rounded = (closed_room + FAR).astype(np.float32).astype(np.float64)
    for xyz, message in (
        (box(np.random.default_rng(0), (192, 156, 96), False), r"its unit is not certain; give .*scale=0\.0254 \(in"),
        (box(np.random.default_rng(0), (90, 9, 60), False), r"unit is not certain; give up=.y. or alike if another"),
        (box(np.random.default_rng(0), (1800, 1200, 110), True), r"measures .* and \d+ high: its unit is not certain"),
        (room * 1e5, r"a\.npy: .* its unit is not certain; give .*scale=0\.001 \(millimeters\)"),
        (rounded, r"a\.npy: its coordinates are rounded to steps of 0\.5 m"),
    ):
        refuses(message, read, tmp_path, xyz)


def test_rooms_far_from_0_and_with_strays(tmp_path: Path, room: np.ndarray, closed_room: np.ndarray) -> None:
    found, said = read(tmp_path, room + FAR)
    np.testing.assert_allclose(np.ptp(found, axis=0), np.ptp(room, axis=0), atol=1e-4)
    assert "moved, as origin=(500001, 5400002, 100) does." in said
    _, said = read(tmp_path, np.concatenate([closed_room, np.random.default_rng(2).normal(0, 300, (150, 3))]))
    assert said == ""


@pytest.mark.parametrize("degrees", [12.0, 1.5])
def test_tilt(tmp_path: Path, room: np.ndarray, degrees: float) -> None:
    tilted = Rotation.from_euler("x", degrees, degrees=True).apply(room)
    assert read(tmp_path, tilted)[1] == ""
    assert likely_up(tilted) == ("z", pytest.approx(degrees, abs=0.3))
    advice = scan_warnings(Scene("tilted", tilted.astype(np.float32)))
    assert any("use level=True" in text for text in advice) == (degrees > 3)
    assert not any("up=" in text for text in advice)
    found, said = read(tmp_path, tilted, level=True)
    normal = np.linalg.svd(found[:9000] - found[:9000].mean(axis=0), full_matrices=False)[2][2]
    assert np.degrees(np.arccos(abs(normal[2]))) < 0.3
    assert "degrees and is now level" in said


def test_real_rooms_stay_as_they_are(real: Path) -> None:
    for path in [*(real / "scans").glob("*.ply"), *(real / "scannet").glob("*.npz"), *(real / "s3dis").glob("*.npz")]:
        scene, said = read_and_said(path)
        assert not any("measures" in text for text in scan_warnings(scene))
        assert "scale=" not in said
        assert "level" not in said
