import numpy as np
import pytest

from pcseg.inference.rooms import split_rooms

HEIGHT = 2.7


def _wall(start: tuple[float, float], end: tuple[float, float], low: float = 0.0, high: float = HEIGHT) -> np.ndarray:
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    along, z = (a.ravel() for a in np.meshgrid(np.arange(0, length, 0.05), np.arange(low, high, 0.05)))
    return np.column_stack([np.add(start, along[:, None] / length * np.subtract(end, start)), z])


def _box(x: tuple[float, float], y: tuple[float, float], height: float = HEIGHT) -> np.ndarray:
    """Floor, ceiling and four walls."""
    grid = np.stack(np.meshgrid(np.arange(*x, 0.05), np.arange(*y, 0.05)), axis=-1).reshape(-1, 2)
    parts = [np.column_stack([grid, np.full(len(grid), z)]) for z in (0, height)]
    corners = [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])]
    parts += [_wall(a, b, high=height) for a, b in zip(corners, [*corners[1:], corners[0]])]
    return np.concatenate(parts)


def _rooms(*parts: np.ndarray) -> list[np.ndarray]:
    found = split_rooms(np.concatenate(parts).astype(np.float32) + np.float32([40, -7, 3]))
    assert sorted(set(found.tolist())) == list(range(found.max() + 1))
    return np.split(found, np.cumsum([len(part) for part in parts])[:-1])


def test_rooms_that_touch_are_two_and_each_has_its_side_of_the_wall() -> None:
    left, right = _rooms(_box((0, 4), (0, 5)), _box((4.2, 9), (1, 5), height=3.2))
    assert np.bincount(left).max() > 0.97 * len(left)
    assert np.bincount(right).max() > 0.97 * len(right)
    assert np.bincount(left).argmax() != np.bincount(right).argmax()


@pytest.mark.parametrize(("opening", "num"), [(0.9, 2), (3.0, 1)])
def test_a_door_parts_rooms_and_a_wide_opening_does_not(opening: float, num: int) -> None:
    middle = _wall((5, 0), (5, 2.5 - opening / 2)), _wall((5, 2.5 + opening / 2), (5, 5))
    lintel = _wall((5, 2.5 - opening / 2), (5, 2.5 + opening / 2), low=2.1)
    shell, *_ = _rooms(_box((0, 10), (0, 5)), *middle, lintel)
    assert shell.max() + 1 == num


def test_furniture_and_beams_part_nothing_and_a_scan_without_plan_is_one_room() -> None:
    table, shelf = _wall((1, 1), (9, 1), high=0.75), _wall((2, 4.8), (6, 4.8), high=2.1)
    beam = _wall((5, 0), (5, 5), low=2.4)
    assert all((part == 0).all() for part in _rooms(_box((0, 10), (0, 5)), table, shelf, beam))
    for xyz in (np.zeros((1, 3)), np.array([[0, 0, 0], [1e6, 1e6, 0]]), np.array([[0, 0, 0], [0, 0, 1e7]])):
        assert split_rooms(xyz.astype(np.float32)).tolist() == [0] * len(xyz)
