"""Floors that are made level and flat: what a bent and tilted room gives, and what is left as it is."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pcseg.data.floor import flat_floor
from pcseg.data.scan_frame import likely_up
from pcseg.structures import Scene


@pytest.fixture
def room(rng: np.random.Generator) -> Scene:
    """6 by 4 m of floor with two walls and a table top, 1 cm of noise, and a few points under the floor."""
    plan = rng.uniform(0, 1, (12_000, 2)) * (6, 4)
    floor = np.column_stack([plan, np.zeros(len(plan))])
    floor = floor[~((plan > (2, 1)) & (plan < (4, 2))).all(axis=1)]
    table = np.column_stack([rng.uniform((2, 1), (4, 2), (2_000, 2)), np.full(2_000, 0.75)])
    walls = [rng.uniform((0, 0, 0), (6, 0, 2.5), (6_000, 3)), rng.uniform((0, 0, 0), (0, 4, 2.5), (4_000, 3))]
    below = rng.uniform((0, 0, -1), (6, 4, 0), (50, 3))
    xyz = np.concatenate([floor, table, *walls, below]) + rng.normal(0, 0.01, (len(floor) + 12_050, 3))
    return Scene("room", xyz.astype(np.float32), normal=np.tile(np.float32([0, 0, 1]), (len(xyz), 1)))


@pytest.mark.parametrize(("degrees", "bend"), [(0.0, 0.0), (7.0, 0.0), (0.0, 0.03), (15.0, 0.02)])
def test_a_bent_floor_becomes_flat_and_a_table_keeps_its_height(room: Scene, degrees: float, bend: float) -> None:
    # The room as a bowl, tilted about x.
    away = room.xyz[:, :2] - np.array([3, 2], np.float32)
    bowl = room.xyz + np.column_stack([np.zeros_like(away), bend * (away**2).sum(axis=1)])
    rotation = Rotation.from_euler("x", degrees, degrees=True)
    xyz, normal = (rotation.apply(rows).astype(np.float32) for rows in (bowl, room.normal))
    bent = room.with_(xyz=xyz, normal=normal)
    flat = flat_floor(bent)
    is_floor, is_table = room.xyz[:, 2] < 0.05, abs(room.xyz[:, 2] - 0.75) < 0.05
    assert np.abs(np.percentile(flat.xyz[is_floor, 2], [5, 95])).max() < 0.04
    assert np.median(flat.xyz[is_table & (room.xyz[:, 0] > 2), 2]) == pytest.approx(0.75, abs=0.03)
    assert flat.normal is not None
    np.testing.assert_allclose(np.degrees(np.arccos(flat.normal[0, 2])), 0, atol=1.0)
    np.testing.assert_array_equal(flat_floor(bent).xyz, flat.xyz)


def test_stairs_stay_and_without_a_floor_only_the_tilt_is_removed(room: Scene, rng: np.random.Generator) -> None:
    steps = rng.uniform((0, 0), (5, 1.2), (20_000, 2))
    stairs = Scene("stairs", np.column_stack([steps, 0.17 * np.floor(steps[:, 0] / 0.28)]).astype(np.float32))
    np.testing.assert_allclose(np.ptp(flat_floor(stairs).xyz[:, 2]), np.ptp(stairs.xyz[:, 2]), atol=0.1)
    wall = Scene("wall", room.xyz[(room.xyz[:, 1] < 0.05) & (room.xyz[:, 2] > 0.1)])
    assert likely_up(flat_floor(wall).xyz)[1] == 0
    few = Scene("few", room.xyz[:10])
    np.testing.assert_allclose(flat_floor(few).xyz, few.xyz, atol=1e-6)
