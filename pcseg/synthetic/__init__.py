"""Synthetic indoor rooms to learn instance segmentation on, as clouds in S3DIS's layout and as meshes in ScanNet's."""

from pcseg.synthetic.dataset import FORMATS, write_rooms
from pcseg.synthetic.meshes import make_mesh_room
from pcseg.synthetic.rooms import make_room, room_name
from pcseg.synthetic.writers import write_s3dis, write_scannet

__all__ = ["FORMATS", "make_mesh_room", "make_room", "room_name", "write_rooms", "write_s3dis", "write_scannet"]
