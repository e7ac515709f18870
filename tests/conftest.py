"""Checks the shapes of every annotated function during tests, and has shared fixtures."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook
from scipy.sparse import issparse

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "tests" / "reference"
# Real rooms belong to their owners and are never part of the repository; tests that use them skip without them.
REAL = ROOT.parent / "shared" / "real"


def _modules_to_check() -> list[str]:
    # Numba cannot see through a wrapper, records check themselves, and the types of commands are imported late.
    left_out = {"kernels", "__init__", "__main__", "structures", "prediction", "commands"}
    paths = (path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / "pcseg").rglob("*.py")))
    return [".".join(path.parts) for path in paths if left_out.isdisjoint(path.parts)]


collect_ignore = ["sweep/fake_train.py"]  # a script, which --doctest-modules would import

install_import_hook(_modules_to_check(), "beartype.beartype")


def refuses(message: str, call: Callable, *args: object, error: Any = ValueError, **options: object) -> None:
    """Asserts that a call raises an error of one line with this pattern, FileNotFoundError if it has "no such file"."""
    with pytest.raises(FileNotFoundError if "no such file" in message else error, match=message) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)


def holds(record: object, **arrays: object) -> None:
    """Asserts that a record has these arrays, sparse or not."""
    for key, expected in arrays.items():
        found, expected = (array.toarray() if issparse(array) else array for array in (getattr(record, key), expected))
        assert (found is None) == (expected is None), key
        np.testing.assert_array_equal(found, expected, err_msg=key)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """torch.set_num_threads, until the end of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def example() -> Any:
    """The example room, a scene."""
    from pcseg import read_scan

    return read_scan(ROOT / "data" / "example_room.ply")


@pytest.fixture
def real() -> Path:
    """Folder with real rooms; the test is skipped where there is none."""
    if not REAL.is_dir():
        pytest.skip("no folder with real rooms beside the repository")
    return REAL


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():  # keywords also hold names of folders
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
