import numpy as np
import pytest

from pcseg.viz.charts import Axis, Line, line_chart, line_color, log_ticks, ticks

BLUE = (0, 114, 178)


def _colored(image: np.ndarray) -> np.ndarray:
    """Rows and columns of pixels of the first line's color."""
    return np.argwhere(np.abs(image.astype(int) - BLUE).max(axis=2) < 60)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.0, 1000.0, [0, 200, 400, 600, 800, 1000]),
        (-3e-4, 2e-4, [-3e-4, -2e-4, -1e-4, 0, 1e-4, 2e-4]),
        (2.6, 13.5, [4, 6, 8, 10, 12]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    np.testing.assert_allclose(ticks(low, high, 5), expected, atol=1e-12)


def test_line_goes_where_its_points_are() -> None:
    x = np.linspace(0, 10, 50)
    pixels = _colored(line_chart([Line(x, x)], width=300, height=200))
    corner = {
        name: pixels[order] for name, order in (("left", pixels[:, 1].argmin()), ("right", pixels[:, 1].argmax()))
    }
    assert corner["left"][0] > 150, "low at its left end"
    assert corner["right"][0] < 30, "high at its right end"


def test_gap_where_values_are_missing() -> None:
    x = np.arange(101.0)
    y = np.where((x > 40) & (x < 60), np.nan, 1.0)
    columns = np.unique(_colored(line_chart([Line(x, y)], width=300, height=200))[:, 1])
    assert np.diff(columns).max() > 30


@pytest.mark.parametrize(
    "y", [np.empty(0), np.full(3, np.nan), np.array([2.0]), np.zeros(3), np.array([1e30, -1e30, np.inf])]
)
def test_degenerate_lines(y: np.ndarray) -> None:
    for faint in (False, True):
        image = line_chart([Line(np.arange(len(y), dtype=np.float64), y, faint=faint)], width=200, height=120)
        assert image.shape == (120, 200, 3)
    assert line_chart([], width=200, height=120).min() < 255, "axes alone"


def test_outliers_of_a_faint_line_leave_the_chart() -> None:
    y = np.ones(1000)
    y[::2] = 2
    y[500] = 1e6
    image = line_chart([Line(np.arange(1000.0), y, faint=True)], width=300, height=200)
    pale = np.argwhere((image[..., 0] < 200) & (image[..., 2] > 200))
    assert pale[:, 0].max() - pale[:, 0].min() > 150, "1 and 2 fill the height"


def test_colors_repeat() -> None:
    assert line_color(0) == line_color(7) != line_color(1)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.3, 0.9, [2, 3, 4, 5, 6, 7]),
        (-2.0, 0.0, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]),
        (-1.5, 3.2, [0.1, 1, 10, 100, 1000]),
    ],
)
def test_ticks_over_the_logarithm(low: float, high: float, expected: list[float]) -> None:
    np.testing.assert_allclose(log_ticks(low, high, 5), expected)


def test_powers_are_straight_over_logarithms() -> None:
    x = np.array([1.0, 10.0, 100.0, 1000.0])
    axis = Axis(log=True)
    rows, columns = _colored(line_chart([Line(x, x**2)], width=300, height=200, x_axis=axis, y_axis=axis)).T
    assert np.corrcoef(rows, columns)[0, 1] < -0.999
    with pytest.raises(ValueError, match="logarithmic axis takes values above zero only, got 0"):
        line_chart([Line(x, x - 1)], y_axis=axis)
    assert line_chart([Line(x[:1], x[:1])], x_axis=axis, y_axis=axis).shape == (320, 480, 3), "one value"


def test_dots_are_whole_and_not_joined() -> None:
    x = np.array([0.0, 1.0, 2.0])
    dots, both = (line_chart([Line(x, x, mark=mark)], width=300, height=200) for mark in ("dots", "both"))
    assert len(np.unique(_colored(dots)[:, 1])) == 3 * 8, "three dots of eight pixels"
    assert len(np.unique(_colored(both)[:, 1])) > 200, "and a line from the first to the last"


def test_names_in_the_place_of_numbers() -> None:
    x = np.array([0.0, 1.0])
    axis = Axis(names=("dual", "none"))
    columns = _colored(line_chart([Line(x, x, mark="dots")], width=300, height=200, x_axis=axis))[:, 1]
    assert columns.max() < 260, "half a step from the right end"
    assert columns.min() > 60, "half a step from the left end"
