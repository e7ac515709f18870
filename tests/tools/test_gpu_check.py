"""The check of a GPU runs on the CPU, and goes on after a part that fails."""

import json
from pathlib import Path

import pytest

from tools import gpu_check


@pytest.mark.slow
def test_every_part_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(context: gpu_check.Context) -> gpu_check.Part:
        yield "before", 1
        raise RuntimeError("no kernel image")

    monkeypatch.setitem(gpu_check.PARTS, "environment", breaks)
    monkeypatch.setattr("sys.argv", ["gpu_check.py", "--device", "cpu", "--quick", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="True"):
        gpu_check.main()
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    assert found.pop("program") == "pcseg"
    assert [name for name, part in found.items() if "error" in part] == ["environment"]
    assert found["environment"]["values"] == {"before": 1}
    assert "breaks" in found["environment"]["traceback"]
    assert all(part["values"] for part in found.values())
    assert "| environment | 0 s | RuntimeError: no kernel image |" in (tmp_path / "gpu_check.md").read_text()
