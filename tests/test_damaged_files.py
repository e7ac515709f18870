"""Damaged files of every kind: a reader gives what it can read, or one message with the file's name, within seconds."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pcseg import load_model
from pcseg.classes import class_set
from pcseg.data.mesh_files import MESH_SUFFIXES
from pcseg.data.scan_files import read_scan
from pcseg.data.store import Source, verify_room, write_room
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.training.checkpoint import load_checkpoint
from pcseg.training.weights_file import write_weights
from tests.data.test_formats import write_e57, write_ptx
from tests.data.test_scan_files import XYZ, write_pcd, write_ply
from tests.tools.small import fresh_checkpoint

DAMAGES = 24  # of each file; fewer where reading starts a process


def damaged(content: bytes, seed: int, count: int = DAMAGES) -> Iterator[bytes]:
    """Copies cut short, or with bytes flipped, blanked, repeated or with other digits; mostly near the start."""
    rng = np.random.default_rng(seed)
    digits = [i for i, byte in enumerate(content[:2048]) if chr(byte).isdigit()] or [0]
    for number in range(count):
        at = int(rng.integers(min(len(content), 512) if number % 2 else len(content)))
        part, digit = content[at : at + int(rng.integers(1, 40))], int(rng.choice(digits))
        yield [
            content[:at],
            content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :],
            content[:at] + bytes(len(part)) + content[at + len(part) :],
            content[:at] + rng.bytes(len(part)) + content[at + len(part) :],
            content[:at] + part + content[at:],
            content[:digit] + str(rng.integers(10)).encode() + content[digit + 1 :],
        ][number % 6]


def _las(path: Path) -> None:
    las = pytest.importorskip("laspy").create(point_format=3, file_version="1.2" if path.stem == "old" else "1.4")
    las.header.scales = [0.001] * 3
    las.x, las.y, las.z = np.random.default_rng(0).random((3, 500))
    las.write(path)


def _pcd(path: Path) -> None:
    write_pcd(path, path.stem, dict(zip("xyz", np.tile(XYZ.astype("<f4"), (20, 1)).T)))


def _result(path: Path) -> None:
    scene = Scene("a", np.random.default_rng(0).random((300, 3)).astype(np.float32))
    masks = np.arange(300) // 100 == np.arange(3)[:, None]
    Prediction(scene, masks, np.arange(3), np.linspace(0.9, 0.5, 3), classes=class_set("s3dis")).save(path)


def _weights(path: Path) -> None:
    content = load_checkpoint(fresh_checkpoint(path.with_suffix(".pt")))
    write_weights(path, {"superpoints": None, **content}, content["model"], {"license": "none"})


def _text(path: Path) -> None:
    separator, names = (",", "x,y,z,r,g,b") if path.suffix == ".csv" else (" ", "")
    np.savetxt(path, np.random.default_rng(0).random((40, 6)), delimiter=separator, header=names, comments="")


def _mesh(path: Path) -> None:
    pytest.importorskip("trimesh").creation.icosphere(2).export(path)


CASES: list[tuple[str, Callable[[Path], object], Callable[[Path], object]]] = [
    *((name, _las, read_scan) for name in ("old.las", "new.las", "old.laz", "new.laz")),
    *((f"{form}.pcd", _pcd, read_scan) for form in ("ascii", "binary", "binary_compressed")),
    ("a.ply", lambda path: write_ply(path, "ascii"), read_scan),
    ("b.ply", write_ply, read_scan),
    ("a.npz", lambda path: np.savez_compressed(path, xyz=np.random.default_rng(0).random((500, 3))), read_scan),
    ("b.npz", lambda path: np.savez(path, xyz=np.random.default_rng(0).random((500, 3))), read_scan),
    ("a.npy", lambda path: np.save(path, np.random.default_rng(0).random((20, 3))), read_scan),
    *((f"a.{kind}", _text, read_scan) for kind in ("txt", "csv", "xyz", "pts")),
    ("a.ptx", write_ptx, read_scan),
    ("a.e57", write_e57, read_scan),
    *((f"a{suffix}", _mesh, read_scan) for suffix in MESH_SUFFIXES if suffix != ".gltf"),
    ("result.npz", _result, Prediction.load),
    ("model.pt", fresh_checkpoint, load_model),
    ("model.safetensors", _weights, load_model),
]


@pytest.mark.parametrize(("name", "write", "read"), CASES, ids=[name for name, _, _ in CASES])
def test_damaged_file(tmp_path: Path, name: str, write: Callable, read: Callable) -> None:
    path = tmp_path / name
    write(path)
    read(path)
    for content in damaged(path.read_bytes(), len(name), 6 if path.suffix == ".laz" else DAMAGES):
        path.write_bytes(content)
        _reads_or_refuses(read, path)


def test_damaged_room(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = {key: rng.integers(0, 3, 100).astype(np.int32) for key in ("semantic", "instance", "superpoint")}
    room = Scene("room", rng.random((100, 3), np.float32), rng.integers(0, 256, (100, 3), np.uint8))
    whole = write_room(tmp_path / "whole", room.with_(**labels), "s3dis", Source("", ""))
    for part in sorted(path.name for path in whole.iterdir()):
        for content in damaged((whole / part).read_bytes(), len(part), 12):
            folder = Path(shutil.copytree(whole, tmp_path / "room", dirs_exist_ok=True))
            (folder / part).write_bytes(content)
            _reads_or_refuses(read_scan, folder)
            _reads_or_refuses(verify_room, folder)


def _reads_or_refuses(read: Callable, path: Path) -> None:
    message = ""
    try:
        read(path)
    except (ValueError, OSError) as error:
        message = str(error)
    assert not message or (str(path) in message and "\n" not in message), message
