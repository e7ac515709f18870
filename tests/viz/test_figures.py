from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pcseg.classes import S3DIS
from pcseg.files import append_record
from pcseg.metrics.scores import Scores
from pcseg.viz.figures import precision_recall_chart, smooth, sweep_chart, to_image, to_svg, training_curves
from tests.conftest import refuses
from tests.metrics.scenes import predict
from tests.tools.commands import passes, refused


def _steps(num: int, **more: Any) -> list[dict[str, Any]]:
    record = {"lr": 1e-3, "grad_norm": 2.0, "loss_ce_0": 3.0, "rooms": 2, "seconds": 0.1, "loading_seconds": 0.0}
    return [{"step": step, **record, "loss": 5 / step, "loss_ce": 1 / step, **more} for step in range(1, num + 1)]


def _charts(figure: Any) -> dict[str, Any]:
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_visible()}


def _points(axes: Any, label: str) -> np.ndarray:
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return np.array(line.get_xydata())


def test_training_curves() -> None:
    evaluations = [{"step": 20, "ap": 0.3, "ap50": 0.5, "ap25": None}]
    figure = training_curves({"a": (_steps(30), evaluations), "b": (_steps(10, seconds=0.0), [])}, smoothing=0.0)
    charts = _charts(figure)
    held_out = ["AP of held-out rooms, %", "AP50 of held-out rooms, %"]
    assert list(charts) == ["loss", "loss ce", "learning rate", "gradient norm", "rooms per second", *held_out]
    assert {axes.get_xlabel() for axes in charts.values()} == {"step"}
    np.testing.assert_allclose(_points(charts["loss"], "b"), [(step, 5 / step) for step in range(1, 11)])
    np.testing.assert_allclose(_points(charts["rooms per second"], "a")[:, 1], 20)
    ap = charts[held_out[0]]
    assert _points(ap, "a").tolist() == [[20, 30]]
    assert ap.lines[0].get_marker() == "o", "a single evaluation is visible"
    assert ap.get_ylim() == (-3, 103)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_smoothing_outliers_and_bad_logs(tmp_path: Path) -> None:
    steps = _steps(1000)
    steps[500]["grad_norm"], steps[501]["grad_norm"] = 1e6, float("nan")
    assert _charts(training_curves({"a": (steps, [])}, smoothing=0.9999999))["gradient norm"].get_ylim()[1] < 1e4
    values = np.array([1.0, np.nan, 4.0, 4.0])
    np.testing.assert_allclose(smooth(values, 0.0), values)
    half = smooth(values, 0.5)
    np.testing.assert_allclose(half, [1.0, np.nan, (0.5 * 1 + 4) / 1.5, (0.25 * 1 + 0.5 * 4 + 4) / 1.75])
    assert smooth(np.empty(0), 0.5).shape == (0,)
    refuses("a: holds no step yet", training_curves, {"a": ([], [])})
    out = ("--out", tmp_path / "a.png")
    assert "no metrics.jsonl found; expected a run folder" in refused("plot", tmp_path, *out)
    run = _run(tmp_path / "run", _steps(3))
    assert "smoothing must be at least 0 and less than 1, got 1.0" in refused("plot", run, *out, "--smoothing", 1)
    assert not (tmp_path / "a.png").exists()


def test_precision_over_recall_and_sweep() -> None:
    scores = Scores(S3DIS)
    assert list(_charts(precision_recall_chart(scores))) == ["no objects to find"]
    instance = np.repeat([1, 2], 200)
    scores.add(predict((instance == 1)[None], [8], [0.9], np.full(400, 8), instance, classes=S3DIS))
    figure = precision_recall_chart(scores)
    charts = _charts(figure)
    assert list(charts) == ["chair"]
    assert _points(charts["chair"], "IoU 0.50").tolist() == [[50, 100], [0, 100]]
    assert charts["chair"].get_xlim() == charts["chair"].get_ylim() == (0, 102)
    svg = to_svg(figure)
    assert svg.startswith('<svg role="img" viewBox="0 0 ')
    assert ">precision, %</text>" in svg
    assert "http" not in svg
    assert svg == to_svg(precision_recall_chart(scores)), "the same chart is the same text"
    assert np.asarray(to_image(figure)).std() > 1
    assert list(_charts(sweep_chart([], []))) == ["no run is done"]
    settings = [{"lr": "0.01", "claims": "b"}, {"lr": "0.0001", "claims": "a"}]
    charts = _charts(sweep_chart(settings, [[0.3, 0.5], [0.2, 0.2]]))
    np.testing.assert_allclose(_points(charts["AP over lr"], "mean over seeds"), [(0.0001, 20), (0.01, 40)])
    assert charts["AP over lr"].get_xscale() == "log"
    assert len(_points(charts["AP over claims"], "one run")) == 4
    assert [tick.get_text() for tick in charts["AP over claims"].get_xticklabels()] == ["b", "a"]
    (chart,) = _charts(sweep_chart([{"lr": "1"}, {"lr": "2"}], [[0.1], [0.2]])).values()
    assert chart.get_xscale() == "linear"


def _run(folder: Path, records: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True)
    for record in records:
        append_record(folder / "metrics.jsonl", record)
    append_record(folder / "evaluations.jsonl", {"step": 10, "ap": 0.1, "ap50": 0.5, "ap25": None})
    return folder


def test_plot_of_runs_new_old_and_torn(tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    assert passes("plot", _run(tmp_path / "one", _steps(30)), "--out", out) == (f"files: {out}\n", "")
    with Image.open(out) as image:
        assert image.width > 3 * 400, "three charts side by side"
        assert image.height > 3 * 250, "seven charts in three rows"
    first = _run(tmp_path / "a" / "run", _steps(30))
    second = _run(tmp_path / "b" / "run", [{"step": 1, "lr": 1e-3, "grad_norm": 2.0, "loss": 5.0}])
    with (first / "metrics.jsonl").open("a") as file:
        file.write('{"step": 31, "lo')
    (second / "evaluations.jsonl").write_text("")
    assert passes("plot", first, second, "--out", tmp_path / "a.png", "--smoothing", 0)[1] == ""
