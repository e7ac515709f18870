"""Rooms record their superpoint settings, so that models apply them to new scans."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pcseg.data.preprocess import RoomReader, preprocess, superpoints_of
from pcseg.data.scan_files import read_labeled_scan
from pcseg.data.store import MANIFEST
from pcseg.ops.superpoints import SuperpointOptions
from tests.conftest import refuses

GRAPH, VOXEL = SuperpointOptions(voxel_size=0.04, max_superpoints=77), SuperpointOptions(method="voxel")


@pytest.fixture
def rooms(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    """Two rooms with superpoints of a graph, one with coarse voxels, one without settings."""
    reader = RoomReader("s3dis", lambda path: path.stem, lambda path: [path], read_labeled_scan)
    zeros = np.zeros(50, np.int32)
    for name, options in (("a", GRAPH), ("b", GRAPH), ("voxel", VOXEL), ("old", GRAPH)):
        np.savez(tmp_path / f"{name}.npz", xyz=rng.random((50, 3)), semantic=zeros, instance=zeros)
        preprocess([tmp_path / f"{name}.npz"], reader, tmp_path / "rooms", superpoints=options, progress=False)
    change(tmp_path / "rooms" / "old", None)
    return {path.name: path for path in (tmp_path / "rooms").iterdir() if path.is_dir()}


def change(room: Path, settings: dict | None) -> None:
    manifest = json.loads((room / MANIFEST).read_text())
    (room / MANIFEST).write_text(json.dumps({**manifest, "superpoints": settings}))


def test_settings_of_rooms(rooms: dict[str, Path]) -> None:
    assert superpoints_of([rooms["a"], rooms["b"]]) == GRAPH
    assert superpoints_of([rooms["voxel"]]) == VOXEL
    for names in ("a voxel", "a old", "old", ""):
        assert superpoints_of([rooms[name] for name in names.split()]) is None
    change(rooms["a"], {**asdict(GRAPH), "snap_to_edges": True})
    refuses(r"rooms/a: superpoint settings .*snap_to_edges.* update it", superpoints_of, [rooms["a"]])


@pytest.mark.parametrize("content", [None, [], "graph", {"method": "other"}, {"max_superpoints": 0}])
def test_malformed_settings(content: object) -> None:
    refuses(r"settings|expected", SuperpointOptions.from_dict, content, "here")
