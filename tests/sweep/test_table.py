from pcseg.sweep.table import Row, best_first, to_json, to_markdown


def _runs(*aps: float) -> dict[int, dict[str, float]]:
    return {seed: {"ap": ap, "ap50": ap + 0.1, "ap25": ap + 0.2} for seed, ap in enumerate(aps)}


ROWS = [
    Row({"lr": "0.1", "claims": "dual"}, _runs(0.3, 0.5)),
    Row({"lr": "0.2", "claims": "dual"}, _runs(0.4), "exit status 2, error: too high"),
    Row({"lr": "0.3", "claims": "none"}, _runs(0.45, 0.45)),
]


def test_table() -> None:
    assert to_markdown(ROWS).splitlines() == [
        "| lr | claims | AP | AP50 | AP25 | seeds |",
        "|---|---|---|---|---|---|",
        "| 0.1 | dual | 40.0 (30.0 to 50.0) | 50.0 (40.0 to 60.0) | 60.0 (50.0 to 70.0) | 0, 1 |",
        "| 0.2 | dual | failed |  |  | 0 |",
        "| 0.3 | none | 45.0 (45.0 to 45.0) | 55.0 (55.0 to 55.0) | 65.0 (65.0 to 65.0) | 0, 1 |",
        "",
        "lr=0.2 claims=dual: exit status 2, error: too high",
    ]
    assert to_markdown([]) == "no run is done\n"
    assert "| 0.1 | 30.0 | 40.0 | 50.0 | 0 |" in to_markdown([Row({"lr": "0.1"}, _runs(0.3))])


def test_best_come_first_and_failed_last() -> None:
    assert [row.setting["lr"] for row in best_first(ROWS)] == ["0.3", "0.1", "0.2"]


def test_numbers() -> None:
    first, second, _ = to_json(ROWS)["settings"]
    assert first["ap"] == {"mean": 0.4, "min": 0.3, "max": 0.5}
    assert first["runs"]["1"]["ap25"] == 0.7
    assert second["failure"] == "exit status 2, error: too high"
    assert "ap" not in second
