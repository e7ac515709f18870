import numpy as np
import torch

from pcseg.data.dataset import make_batch
from pcseg.structures import Scene
from tests.conftest import refuses


def test_scene_refuses_arrays_of_another_length_and_nan() -> None:
    xyz = np.zeros((4, 3), np.float32)
    refuses("scene room: rgb has 3 rows, xyz has 4", Scene, "room", xyz, np.zeros((3, 3), np.uint8))
    refuses(r"rgb must be uint8 \(P, 3\), 0..255, got float32", Scene, "room", xyz, xyz)
    xyz[2, 1] = np.nan
    refuses("point 2 has a coordinate that is not finite", Scene, "room", xyz)
    assert Scene.without_xyz("room", 0, superpoint=np.zeros(0, np.int32)).num_superpoints == 0


def test_offsets_of_a_batch_stay_on_the_host() -> None:
    zeros = np.zeros(2, np.int32)
    scene = Scene.without_xyz("room", 2, semantic=zeros, instance=zeros, superpoint=zeros)
    moved = make_batch([scene], voxel_size=0.1, features=["xyz"], instance_classes=[0]).to("meta")
    on_host = [name for name, value in vars(moved).items() if isinstance(value, torch.Tensor) and not value.is_meta]
    assert on_host == ["superpoint_offsets"]
    assert all(value.is_meta for value in moved.targets[0].values())
