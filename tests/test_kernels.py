"""Kernels are compiled ahead of their use, and cached where there is a writable folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pcseg import kernels
from tests.conftest import ROOT

COMPILE = """
import numpy as np, pcseg.kernels as k
from pcseg.kernels.lzf import unpack_lzf
names, done = k.compile_kernels(["neighbors", "lzf"], 2)
print(len(names), sorted(done), unpack_lzf(*np.zeros((2, 2), np.uint8)), *unpack_lzf.stats.cache_hits.values())
"""


def test_declared_types_fit() -> None:
    found = kernels._of_modules(kernels.MODULES)
    assert {compiled.py_func.__module__ for compiled, _ in found} == {f"pcseg.kernels.{m}" for m in kernels.MODULES}
    for compiled, signature in found:
        assert len(kernels.types_of(signature)) == compiled.py_func.__code__.co_argcount, compiled


def test_kernels_are_compiled_once_in_processes(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for expected in ("2 ['lzf.unpack_lzf', 'neighbors.find_shifted'] 1 1\n", "0 [] 1 1\n"):
        done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
        assert done.stdout == expected, done.stderr
    assert len([*tmp_path.rglob("*.nbc")]) == 2


def test_cache_outside_of_a_package_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernels._config, "CACHE_DIR", "")
    monkeypatch.setattr(kernels, "_kernels", [])
    assert kernels._cache_folder() == ""
    monkeypatch.setattr(kernels, "_is_writable", lambda folder: folder != kernels._OWN_CACHE)
    monkeypatch.setattr(kernels, "_CACHE_FOLDER", kernels._cache_folder())
    own = {path.name for path in kernels._OWN_CACHE.glob("*.nb?")}
    compiled = kernels.kernel("i8")(test_declared_types_fit)
    assert str(compiled.stats.cache_path).startswith(str(tmp_path))
    assert set() < own <= {path.name for path in tmp_path.rglob("*.nb?")}, "another process may add some"
    monkeypatch.setattr(kernels, "_is_writable", lambda folder: False)
    monkeypatch.setattr(kernels, "_CACHE_FOLDER", kernels._cache_folder())
    assert kernels.kernel("i8")(test_declared_types_fit).stats.cache_path is None
    assert kernels.compile_kernels() == ([], ())
