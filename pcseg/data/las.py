"""Opens LAS and LAZ files, whose decoder may hang, panic or abort on damaged ones."""

import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pcseg.files import decoding

if TYPE_CHECKING:
    from laspy import LasData

# LAZ stores identical points in a few bytes a chunk; no file of a scanner comes near this.
_MAX_POINTS_PER_BYTE = 4096
# The decoder of LAZ ends the whole process on some damaged files, so another process runs it.
_UNPACK = """import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, 2 * (int(sys.argv[3]),))
except ImportError:  # Windows
    pass
import laspy
laspy.read(sys.argv[1]).write(sys.argv[2], do_compress=False)
"""
_SECONDS, _POINTS_PER_SECOND = 20, 100_000  # of the processor
_BUSY = 10  # times as many seconds, where other processes have the processor


def open_las(path: Path) -> "LasData":
    """Reads a LAS file, or a LAZ file with lazrs.

    Raises:
        ValueError: laspy is missing, or the file is damaged, cut short, or of another kind.
    """
    try:
        import laspy
    except ImportError as error:
        raise ValueError(f"{path}: reading it needs laspy, run: pip install 'laspy[lazrs]'") from error
    with decoding(path, "a LAS file"), tempfile.TemporaryDirectory() as folder:
        num_points, is_compressed = _check_header(path)
        las = laspy.read(_unpacked(path, Path(folder), num_points) if is_compressed else path)
        if len(las.points) != num_points:
            raise ValueError(f"its header counts {num_points} points, found {len(las.points)}")
        return las


def _unpacked(path: Path, folder: Path, num_points: int) -> Path:
    out = folder / "unpacked.las"
    seconds = _SECONDS + num_points // _POINTS_PER_SECOND
    command = [sys.executable, "-c", _UNPACK, str(path), str(out), str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_BUSY * seconds)
    except subprocess.TimeoutExpired:
        raise ValueError("its compressed points take too long to read") from None
    if done.returncode and not done.stderr:
        raise ValueError("its compressed points cannot be read, or take too long")
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        reason = next((line for line in reversed(lines) if "rror" in line or "Panic" in line), lines[0])
        raise ValueError(f"compressed points: {reason}")
    return out


def _check_header(path: Path) -> tuple[int, bool]:
    """Number of points and whether they are compressed; refuses counts that laspy would loop over in vain."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(375)
    if head[:4] != b"LASF" or len(head) < 227:
        raise ValueError("no LAS header")
    header_size, points_at, num_records, kind, point_size, num_points = struct.unpack_from("<HIIBHI", head, 94)
    extended_at = num_extended = 0
    if head[25] >= 4:  # LAS 1.4
        extended_at, num_extended, num_points = struct.unpack_from("<QIQ", head, 235)
    if header_size + 54 * num_records > points_at or (num_extended and extended_at + 60 * num_extended > size):
        raise ValueError(f"its header counts {num_records + num_extended} records, more than fit")
    is_compressed = kind >= 128
    most = size * _MAX_POINTS_PER_BYTE if is_compressed else (size - points_at) // max(point_size, 1)
    if num_points > most:
        raise ValueError(f"its header counts {num_points} points, there is room for {max(most, 0)}; it is cut short")
    return num_points, is_compressed
