import random
from pathlib import Path

import numpy as np
import pytest
import torch

from pcseg.training import reproducible
from pcseg.training.checkpoint import load_checkpoint, save_checkpoint
from pcseg.training.reproducible import warn_of_other_versions, write_record
from tests.conftest import refuses

CPU = torch.device("cpu")


def test_random_states_and_deterministic_algorithms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw() -> tuple[float, ...]:
        normal = np.random.standard_normal()  # noqa: NPY002 - the global generator is tested
        return random.random(), random.gauss(0, 1), float(normal), float(torch.rand(()))

    draw()  # leaves a half-used pair in the generators that draw normal numbers by twos
    save_checkpoint(tmp_path / "a.pt", config="", classes={}, model={}, random=reproducible.random_states(CPU))
    first = draw(), draw()
    reproducible.set_random_states(load_checkpoint(tmp_path / "a.pt")["random"], CPU)
    assert (draw(), draw()) == first
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    try:
        reproducible.use_deterministic_algorithms()
        assert torch.are_deterministic_algorithms_enabled()
        assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
    finally:
        torch.use_deterministic_algorithms(False)
        cudnn.benchmark, cudnn.deterministic = before


def test_other_versions_give_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, found = tmp_path / "versions.json", reproducible.versions()
    assert (found["torch"], found["numpy"]) == (torch.__version__, np.__version__)
    assert found["commit"] is None or len(found["commit"].split()[0]) == 40
    warn_of_other_versions(path)  # nothing to compare with
    write_record(path, found | {"cpus": "1000"})
    warn_of_other_versions(path)
    assert not caplog.records
    before = found | {"torch": "1.2.0", "threads": "77"}
    del before["scipy"]
    write_record(path, before)
    warn_of_other_versions(path)
    (record,) = caplog.records
    changes = f"torch was 1.2.0, is {torch.__version__}, threads was 77, is {torch.get_num_threads()}"
    assert record.getMessage().startswith(f"{path}: {changes}: resuming; results may differ bitwise")
    path.write_text("{")
    refuses(r"damaged .*; remove it", warn_of_other_versions, path)
