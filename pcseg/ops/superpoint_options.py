"""Options of the over-segmentation. It imports nothing that is slow to load, for command lines."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pcseg.structures import Scene


@dataclass(frozen=True)
class SuperpointOptions:
    """Options of the over-segmentation; also the ``superpoints`` of manifests and checkpoints.

    Raises:
        ValueError: an option is out of range.
    """

    method: str = "graph"  # keeps superpoints of a scan, or merges its mesh or points; "voxel": coarse voxels
    voxel_size: float = 0.02  # edge of the voxels in which points are merged, in meters
    max_superpoints: int = 2000  # most superpoints of a point cloud, see `over_segment`
    coarse_voxel_size: float = 0.2  # edge of the coarse voxels in meters

    def __post_init__(self) -> None:
        if self.method not in ("graph", "voxel"):
            raise ValueError(f"expected superpoints graph or voxel, got {self.method!r}")
        for size in (self.voxel_size, self.coarse_voxel_size):
            if not size > 0:
                raise ValueError(f"expected a voxel size above 0, got {size}")
        if self.max_superpoints < 1:
            raise ValueError(f"expected at least 1 superpoint, got {self.max_superpoints}")

    def apply(self, scene: "Scene") -> "Scene":
        """The scene with superpoints."""
        from pcseg.ops.superpoints import over_segment, over_segment_mesh, over_segment_voxels

        if self.method == "voxel":
            return scene.with_(superpoint=over_segment_voxels(scene.xyz, self.coarse_voxel_size))
        if scene.superpoint is not None:
            return scene
        if scene.faces is not None and len(scene.faces):
            return scene.with_(superpoint=over_segment_mesh(scene.xyz, scene.faces))
        sizes = {"voxel_size": self.voxel_size, "max_superpoints": self.max_superpoints}
        return scene.with_(superpoint=over_segment(scene.xyz, scene.rgb, **sizes))

    @staticmethod
    def from_dict(content: Any, where: str) -> "SuperpointOptions":
        """The options that `dataclasses.asdict` gave, as manifests and checkpoints store them.

        `where` names the mapping in messages.

        Raises:
            ValueError: an option that this version does not know, or one out of range.
        """
        if not isinstance(content, dict) or not set(content) <= {f.name for f in fields(SuperpointOptions)}:
            raise ValueError(f"{where}: superpoint settings {content!r} are not of this version of pcseg; update it")
        return SuperpointOptions(**content)
