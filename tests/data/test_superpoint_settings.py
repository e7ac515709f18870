"""How superpoints were made stands in the rooms, so that models can make those of new scans likewise."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pcseg.data.preprocess import RoomReader, preprocess, superpoints_of
from pcseg.data.scan_files import read_labeled_scan
from pcseg.data.store import MANIFEST, Source, read_manifest, write_room
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.structures import Scene

Writer = Callable[[str, SuperpointOptions | None], Path]


@pytest.fixture
def write(tmp_path: Path, rng: np.random.Generator) -> Writer:
    def write_one(name: str, options: SuperpointOptions | None) -> Path:
        zeros = np.zeros(20, np.int32)
        scene = Scene(name, rng.random((20, 3), np.float32), semantic=zeros, instance=zeros, superpoint=zeros)
        settings = None if options is None else asdict(options)
        return write_room(tmp_path / "rooms", scene, "s3dis", Source("made", "0"), superpoints=settings)

    return write_one


def test_preprocessing_leaves_its_settings_in_the_rooms(tmp_path: Path, rng: np.random.Generator) -> None:
    zeros = np.zeros(50, np.int32)
    np.savez(tmp_path / "a.npz", xyz=rng.random((50, 3)), semantic=zeros, instance=zeros)
    options = SuperpointOptions(voxel_size=0.04, max_superpoints=77)
    reader = RoomReader("s3dis", lambda path: path.stem, lambda path: [path], read_labeled_scan)
    preprocess([tmp_path / "a.npz"], reader, tmp_path / "rooms", superpoints=options, progress=False)
    assert read_manifest(tmp_path / "rooms" / "a")["superpoints"] == asdict(options)
    assert superpoints_of([tmp_path / "rooms" / "a"]) == options


def test_rooms_that_differ_or_do_not_say_give_none(write: Writer) -> None:
    graph, voxel = SuperpointOptions(), SuperpointOptions(method="voxel")
    a, b, c, d = write("a", graph), write("b", graph), write("c", voxel), write("d", None)
    assert superpoints_of([a, b]) == graph
    assert superpoints_of([c]) == voxel
    assert superpoints_of([a, c]) is None
    assert superpoints_of([a, d]) is None
    assert superpoints_of([d]) is None
    assert superpoints_of([]) is None


def test_settings_of_a_newer_version_are_refused(write: Writer) -> None:
    room = write("a", SuperpointOptions())
    manifest = json.loads((room / MANIFEST).read_text())
    manifest["superpoints"]["snap_to_edges"] = True
    (room / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"rooms/a: superpoint settings .*snap_to_edges.* update it"):
        superpoints_of([room])


@pytest.mark.parametrize("content", [None, [], "graph", {"method": "other"}, {"max_superpoints": 0}])
def test_malformed_settings(content: object) -> None:
    with pytest.raises(ValueError, match=r"settings|expected"):
        SuperpointOptions.from_dict(content, "here")
