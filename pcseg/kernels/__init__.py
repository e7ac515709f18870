"""All numba code of pcseg.

Kernels are plain functions of arrays and numbers. They import nothing of pcseg but other kernels, and check nothing:
their callers do. Each public function has a slow twin under tests/reference, in a module and with a name like its own,
or its whole operation has a slow form in that module; tests compare the two.

Compiled kernels are cached in the package, or in a folder of the user where the package is read-only. `compile_kernels`
fills the cache ahead: when the package is built, by `pcseg warm-up`, and by the first prediction or training.
"""

import gc
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding
from numba.core import sigutils
from numba.misc.appdirs import AppDirs

MODULES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))
FOR_PREDICTION = ("conv.multiply_pairs", "neighbors", "regions", "superpoints", "voxelize")
FOR_PICTURES = ("render", "shade", "splats")  # needed last, so compiled last
FOR_TRAINING = ("conv", "elastic", "mask_sums", "neighbors", "norm", "voxelize")
COMPILE_SECONDS = 0.7  # of one core for each kernel

_OWN_CACHE = Path(__file__).parent / "__pycache__"
_config: Any = numba.config
_kernels: list[tuple[Any, str]] = []  # kernels with the types of their arguments
_rare: set[Any] = set()  # kernels that most commands do not call
_processes: list[subprocess.Popen[bytes]] = []  # that compile; kept, since a command that fails does not wait for them


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _cache_folder() -> str | None:
    """The folder for `numba.config.CACHE_DIR`, empty for the package itself; None if no folder is writable."""
    if _config.CACHE_DIR or _is_writable(_OWN_CACHE):
        return _config.CACHE_DIR
    folder = Path(AppDirs("pcseg", appauthor=False).user_cache_dir)
    return str(folder) if _is_writable(folder) else None


_CACHE_FOLDER = _cache_folder()


@cache
def _copy_cache(folder: Path) -> None:
    """Copies what the package has compiled to another cache, unless a newer file is there."""
    for path in (*_OWN_CACHE.glob("*.nb?"), *_OWN_CACHE.glob("*.compiled")):
        target = folder / path.name
        if not target.exists() or target.stat().st_mtime < path.stat().st_mtime:
            shutil.copy2(path, target)


def kernel(*signatures: str, rare: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` without the lock of Python and calls from C, with a cache for what is not part of another kernel.

    Args:
        *signatures: types of the arguments that pcseg calls the kernel with, such as "f4[:,::1], i8"; none for what
            only kernels call.
        rare: compiled when it is called, or with all kernels.
        **options: further options of `numba.njit`.
    """
    flags: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True, **options}

    def decorate(function: Callable[..., Any]) -> Any:
        before, _config.CACHE_DIR = _config.CACHE_DIR, _CACHE_FOLDER or ""
        try:
            compiled: Any = numba.njit(cache=bool(signatures) and _CACHE_FOLDER is not None, **flags)(function)
        finally:
            _config.CACHE_DIR = before
        if signatures and _CACHE_FOLDER and not before:
            _copy_cache(Path(compiled.stats.cache_path))
        _kernels.extend((compiled, signature) for signature in signatures)
        _rare.update([compiled] if rare else [])
        return compiled

    return decorate


def compile_kernels(modules: Sequence[str] = MODULES, workers: int | None = None) -> tuple[list[str], Iterable[str]]:
    """Starts to compile kernels, in processes of their own: one per core, or `workers`.

    Args:
        modules: modules of pcseg.kernels, or kernels such as "conv.multiply_pairs".
        workers: number of processes; None is one per core.

    Returns:
        Names of the kernels, such as "conv.multiply_pairs", none if all are in the cache or there is no cache. Also
        an iterator that waits and yields the name of each as it is done.

    Raises:
        RuntimeError: from the iterator; a process has failed.
    """
    found = _of_modules(modules)
    if _CACHE_FOLDER is None or any(_mark(each).exists() for each in (modules, MODULES)):
        return [], ()
    workers = min(workers or os.cpu_count() or 1, len(found))
    reading, writing = os.pipe()
    program = "import sys, pcseg.kernels as k; k._compile_share(sys.argv[3:], int(sys.argv[1]), int(sys.argv[2]))"
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(turn), str(workers), *modules],
            stdout=writing,
            env=os.environ | {"PYTHONPATH": path},
        )
        for turn in range(workers)
    ]
    _processes.extend(processes)
    os.close(writing)

    def wait() -> Iterator[str]:
        with open(reading) as lines:
            for line in lines:
                yield line.strip()
        if [process for process in processes if process.wait()]:
            raise RuntimeError("kernels could not be compiled, reasons above")
        _mark(modules).parent.mkdir(parents=True, exist_ok=True)
        _mark(modules).touch()

    return [_name(compiled) for compiled, _ in found], wait()


def _compile_share(modules: Sequence[str], turn: int, workers: int) -> None:
    """Compiles the share of process `turn` of `workers` and writes the name of each kernel to stdout."""
    gc.disable()  # a tenth of the time, for garbage of a few seconds
    # Long kernels first, for even shares.
    found = sorted(_of_modules(modules), key=lambda pair: -len(pair[0].py_func.__code__.co_code))
    found.sort(key=lambda pair: _name(pair[0]).startswith(FOR_PICTURES))
    with suppress(BrokenPipeError):  # nobody waits any more
        for compiled, signature in found[turn::workers]:
            compiled.compile(types_of(signature))
            os.write(1, f"{_name(compiled)}\n".encode())


def types_of(signature: str) -> tuple[Any, ...]:
    """Types of arguments; as a tuple, because the cache takes a string for another key than a call."""
    return sigutils.normalize_signature(f"({signature},)")[0]


def _name(compiled: Any) -> str:
    return f"{compiled.py_func.__module__.rpartition('.')[2]}.{compiled.__name__}"


def _of_modules(modules: Sequence[str]) -> list[tuple[Any, str]]:
    for module in modules:
        import_module(f"pcseg.kernels.{module.partition('.')[0]}")
    wanted = tuple(f"{module}." for module in modules)
    skipped = set() if tuple(modules) == MODULES else _rare
    return [pair for pair in _kernels if f"{_name(pair[0])}.".startswith(wanted) and pair[0] not in skipped]


def _mark(modules: Sequence[str]) -> Path:
    """File that exists if the kernels of these modules are in the cache, for this machine and these sources."""
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    machine = [binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten(), numba.__version__, sys.version]
    key = hashlib.sha256(b"".join([*sources, *(part.encode() for part in (*machine, *modules))])).hexdigest()
    return Path(_kernels[0][0].stats.cache_path) / f"{key[:20]}.compiled"
